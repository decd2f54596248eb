// SPDX-License-Identifier: Apache-2.0
//
// Goal: a backup of a directory that is written to is what the directory was at one moment, opens
// as a journal of the same id, and is never taken for the original. Method: two stores get the same
// counter in one commit; wherever a copy ends, they are equal in it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/backup.h>
#include <penstock/state/verify.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <vector>

#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/specimen.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using testsupport::askEngine;
using testsupport::CrashStyle;
using testsupport::Damage;
using testsupport::SimCrash;
using testsupport::SimFs;
using testsupport::specimenDirectory;
using testsupport::writeSpecimen;

const std::string target = "/copy";

TEST(BackupTest, TheCopyHoldsWhatTheOriginalHolds) {
  SimFs machine(1);
  writeSpecimen(machine);
  const auto before = askEngine(*machine.clone(1));
  const auto process = machine.startProcess();
  {
    const auto journal = Journal::open(specimenDirectory, {}, process->environment());
    const BackupReport report = backup(*journal, target);
    EXPECT_EQ(report.sequence, journal->synced());
    EXPECT_EQ(report.directory, target);
  }
  EXPECT_TRUE(verifyJournal(target, {}, process->environment()).sound());
  const auto after = askEngine(machine, target);
  EXPECT_FALSE(after.refused) << after.why;
  EXPECT_EQ(after.stores, before.stores);
  EXPECT_EQ(after.logs, before.logs);
}

TEST(BackupTest, TheCopyHasTheSameIdAndAnEpochOfItsOwn) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto journal = Journal::open("/original", {}, process->environment());
  const LogId log = journal->declareLog("log");
  const auto append = [&](Journal& to) {
    Commit commit;
    commit.recordBuffer(log) += "r";
    commit.recordAdded(log, 1);
    (void)to.commit(commit);
  };
  append(*journal);
  const LogPosition before = journal->position(log, 1);
  (void)backup(*journal, target);
  append(*journal);
  const LogPosition later = journal->position(log, 2);

  const auto copy = Journal::open(target, {}, process->environment());
  EXPECT_EQ(copy->id(), journal->id());
  EXPECT_FALSE(copy->sameAs(*journal));
  EXPECT_NO_THROW(copy->checkPosition(log, before));
  append(*copy);
  append(*copy);
  // The copy holds another record at offset 1 than the original.
  EXPECT_THROW(copy->checkPosition(log, later), PositionOutOfRange);
  EXPECT_THROW(journal->checkPosition(log, copy->position(log, 2)), PositionOutOfRange);
}

TEST(BackupTest, ATargetThatIsNotEmptyIsRefusedAndKept) {
  const TemporaryDirectory temporary;
  const auto journal = Journal::open(temporary / "state");
  std::ofstream(temporary / "mine") << "x";
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)backup(*journal, temporary.path()); }),
              HasSubstr("is not empty"));
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)backup(*journal, ""); }),
              HasSubstr("is empty"));
}

TEST(BackupTest, ADamagedSourceIsNamedAndLeavesNoCopy) {
  SimFs machine(1);
  writeSpecimen(machine);
  std::string damaged;
  for (const std::string& path : machine.files()) {
    if (path.find("blob-") == std::string::npos) continue;
    damaged = path.substr(specimenDirectory.size() + 1);
    auto bytes = machine.image(path);
    bytes[200] ^= std::byte{1};
    machine.setImage(path, bytes);
  }
  const auto process = machine.startProcess();
  const auto journal = Journal::open(specimenDirectory, {}, process->environment());
  EXPECT_THAT(messageOf<Corruption>([&] { (void)backup(*journal, target); }), HasSubstr(damaged));
  EXPECT_TRUE(process->list(target).value.empty());
}

TEST(BackupTest, AnExclusiveHolderIsNamed) {
  SimFs machine(1);
  const auto owner = machine.startProcess();
  const auto journal = Journal::open("/original", {}, owner->environment());
  const auto other = machine.startProcess();
  EXPECT_THAT(messageOf<OwnedElsewhere>(
                  [&] { (void)backup("/original", target, {}, other->environment()); }),
              HasSubstr("pid "));
  EXPECT_TRUE(machine.image(target + "/JOURNAL").empty());
}

TEST(BackupTest, ASharedDirectoryIsJoined) {
  SimFs machine(1);
  const auto owner = machine.startProcess();
  JournalOptions options;
  options.sharing = Sharing::Shared;
  const auto journal = Journal::open("/original", options, owner->environment());
  Commit commit;
  commit.put(journal->declareStore("store"), "k", "v");
  (void)journal->commit(commit);
  const auto other = machine.startProcess();
  (void)backup("/original", target, {}, other->environment());
  EXPECT_EQ(askEngine(machine, target).stores.at("store").at("k"), "v");
}

// The power goes at every operation: what is there is refused, or it is the whole copy.
TEST(BackupTest, KilledAnywhereTheCopyIsRefusedOrWhole) {
  SimFs machine(1);
  writeSpecimen(machine);
  const auto before = askEngine(*machine.clone(1));
  std::size_t refused = 0;
  std::size_t whole = 0;
  for (std::uint64_t operation = 1;; ++operation) {
    const auto copy = machine.clone(operation);
    const auto process = copy->startProcess();
    bool done = false;
    {
      const auto journal = Journal::open(specimenDirectory, {}, process->environment());
      copy->crashAfterOperation(operation, CrashStyle::Fail);
      try {
        (void)backup(*journal, target);
        done = !copy->crashed();
      } catch (const Error&) {
      }
    }
    copy->crash(operation, operation % 2 == 0 ? Damage::RandomSubset : Damage::AllKept);
    const auto looking = copy->startProcess();
    if (!looking->info(target + "/JOURNAL").value.exists) {
      EXPECT_FALSE(done);
      // Nothing of it has the name of a segment yet, so nobody takes it for a journal.
      const auto names = looking->list(target);
      for (const std::string& name : names.value) EXPECT_TRUE(name.ends_with(".tmp")) << name;
    } else {
      const auto after = askEngine(*copy, target);
      if (after.refused) {
        EXPECT_FALSE(done) << after.why;
        ++refused;
      } else {
        EXPECT_EQ(after.stores, before.stores) << operation;
        EXPECT_EQ(after.logs, before.logs) << operation;
        ++whole;
      }
    }
    if (HasFailure()) return;
    if (done) break;
  }
  EXPECT_GT(refused, 10U);
  EXPECT_GT(whole, 0U);
}

TEST(BackupTest, AnInterruptedCopyIsNamedWhenItIsATargetAgain) {
  const TemporaryDirectory temporary;
  std::ofstream(temporary / "segment-0000000001.log.tmp") << "x";
  const std::string directory = temporary.path() + "-source";
  {
    const auto journal = Journal::open(directory);
    EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)backup(*journal, temporary.path()); }),
                HasSubstr("interrupted"));
  }
  std::filesystem::remove_all(directory);
}

TEST(BackupTest, UnderTwoWritersItIsOneMomentOfThem) {
  const TemporaryDirectory temporary;
  JournalOptions options;
  options.segmentBytes = 64 << 10;
  options.snapshotAfterBytes = 32 << 10;
  const auto journal = Journal::open(temporary / "state", options);
  const StoreId left = journal->declareStore("left");
  const StoreId right = journal->declareStore("right");
  const LogId log = journal->declareLog("log", {.maxAgeMs = -1, .maxBytes = 100 << 10});
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> written{0};
  std::vector<std::thread> writers;
  for (int writer = 0; writer < 2; ++writer) {
    writers.emplace_back([&, key = "writer-" + std::to_string(writer)] {
      Commit commit;
      for (std::uint64_t i = 1; !stop; ++i) {
        const std::string value = std::to_string(i) + std::string(100, 'v');
        commit.put(left, key, value);
        commit.put(right, key, value);
        commit.put(left, key + std::to_string(i % 100), value);
        commit.recordBuffer(log) += value;
        commit.recordAdded(log, 1);
        (void)journal->commit(commit, Durability::Buffered);
        ++written;
      }
    });
  }
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t seen = written;
    while (written < seen + 300) std::this_thread::yield();
    const std::string copyDirectory = temporary / ("copy" + std::to_string(round));
    const BackupReport report = backup(*journal, copyDirectory);
    EXPECT_LE(report.sequence, journal->synced());
    const auto copy = Journal::open(copyDirectory);
    const auto leftStore = copy->store(copy->findStore("left").value());
    const auto rightStore = copy->store(copy->findStore("right").value());
    for (const char* key : {"writer-0", "writer-1"}) {
      std::string inLeft;
      std::string inRight;
      EXPECT_TRUE(leftStore->get(key, inLeft));
      EXPECT_TRUE(rightStore->get(key, inRight));
      EXPECT_EQ(inLeft, inRight) << round;
    }
  }
  stop = true;
  for (std::thread& writer : writers) writer.join();
}

}  // namespace
}  // namespace penstock::state
