// SPDX-License-Identifier: Apache-2.0
//
// Goal: snapshots, cleaning and backups while others write, remove and clean the same, and while
// the disk fails: what is still wanted stays, what nobody lists goes, and who copies copies a
// whole. Method: other calls and processes come in at the operations of a simulated machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/backup.h>
#include <penstock/state/journal.h>
#include <penstock/state/verify.h>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "support/frames.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/sim_journal.h"
#include "support/specimen.h"
#include "support/subprocess.h"
#include "support/two_segments.h"

namespace penstock::state {
namespace {

using penstock::testing::eventually;
using penstock::testing::messageOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testsupport::addRecords;
using testsupport::askEngine;
using testsupport::filesWith;
using testsupport::firstSegment;
using testsupport::get;
using testsupport::kDirectory;
using testsupport::Process;
using testsupport::put;
using testsupport::recordsIn;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::smallSegments;

/// Calls `once` in front of the first operation on a path that contains `part`.
void before(SimFs& machine, SimCall call, const std::string& part, std::function<void()> once) {
  machine.onOperation([call, part, once = std::move(once)](const SimFs::Operation& at) mutable {
    if (once == nullptr || at.call != call || at.path.find(part) == std::string_view::npos) return;
    std::exchange(once, nullptr)();
  });
}

TEST(StoreSnapshot, OfAStoreThatIsRemovedMeanwhileLeavesNothing) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  put(*journal, id, "k", "v");
  before(machine, SimCall::Sync, ".snap.tmp", [&] { journal->removeStore(id); });
  journal->snapshotStore(id);
  EXPECT_EQ(filesWith(machine, "snapshot-"), 0U);
  EXPECT_FALSE(journal->findStore("s"));
  EXPECT_EQ(journal->metrics().snapshots, 0U);
}

TEST(StoreSnapshot, OfAStoreThatAnotherProcessSnapshotsMeanwhileIsThatOne) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  const auto journal = one.open(smallSegments(Sharing::Shared));
  const auto other = two.open(smallSegments(Sharing::Shared));
  const StoreId id = journal->declareStore("s");
  put(*journal, id, "k", "v");
  before(machine, SimCall::Sync, ".snap.tmp", [&] {
    put(*other, id, "k", "w");
    other->snapshotStore(id);
  });
  journal->snapshotStore(id);
  EXPECT_EQ(filesWith(machine, "snapshot-"), 1U);
  EXPECT_EQ(journal->metrics().snapshots, 0U);
  EXPECT_EQ(other->metrics().snapshots, 1U);
  EXPECT_EQ(get(*journal->store(id), "k"), "w");
  journal->snapshotStore(id);  // takes the other's
  journal->snapshotStore(id);  // nothing has changed since
  EXPECT_EQ(get(*journal->store(id), "k"), "w");
  EXPECT_EQ(filesWith(machine, "snapshot-"), 1U);
}

TEST(StoreSnapshot, ThatCannotBeListedIsRemovedAndThatMayBeListedIsNot) {
  for (const bool known : {true, false}) {
    SimFs machine(1);
    Process process(machine);
    const auto journal = process.open(smallSegments());
    const StoreId id = journal->declareStore("s");
    put(*journal, id, "k", "v");
    before(machine, SimCall::Rename, "snapshot-", [&] {
      machine.fail({SimCall::Write, 1, ENOSPC, false, "segment-"});
      if (!known) machine.fail({SimCall::Truncate, 1, EIO, false, "segment-"});
    });
    if (known) {
      EXPECT_THROW(journal->snapshotStore(id), DiskFull);
      EXPECT_EQ(filesWith(machine, "snapshot-"), 0U);
      journal->snapshotStore(id);  // and later it can
      EXPECT_EQ(filesWith(machine, "snapshot-"), 1U);
    } else {
      EXPECT_THROW(journal->snapshotStore(id), JournalFailed);
      EXPECT_EQ(filesWith(machine, "snapshot-"), 1U) << "the frame that lists it may be there";
    }
  }
}

TEST(StoreSnapshot, WhoseNameIsNotSyncedEndsTheJournal) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  put(*journal, id, "k", "v");
  machine.fail({SimCall::SyncDirectory, 1, EIO, false, ""});
  EXPECT_THROW(journal->snapshotStore(id), JournalFailed);
  EXPECT_THROW(put(*journal, id, "k", "w"), JournalFailed);
}

TEST(Cleaning, IsLeftToTheProcessThatIsAtIt) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  const auto journal = one.open(smallSegments(Sharing::Shared));
  const auto other = two.open(smallSegments(Sharing::Shared));
  const LogId log = journal->declareLog("l");
  addRecords(*journal, log, 300);
  journal->trimLog(log, 290);
  machine.fail({SimCall::Lock, 1, EIO, false, "CLEANER"});
  EXPECT_EQ(journal->clean(), 0U) << "who cannot tell leaves it";
  std::uint64_t freedByOther = 1;
  before(machine, SimCall::Remove, "segment-", [&] { freedByOther = other->clean(); });
  EXPECT_GT(journal->clean(), 0U);
  EXPECT_EQ(freedByOther, 0U);
  EXPECT_EQ(other->log(log).end, 300U);
}

/// A sealed segment of which little is wanted: records of a log that is kept, of one that is not.
LogId fillThin(Journal& journal) {
  const LogId kept = journal.declareLog("kept");
  const LogId trimmed = journal.declareLog("trimmed");
  const LogId removed = journal.declareLog("removed");
  const StoreId gone = journal.declareStore("gone");
  for (int i = 0; i < 40; ++i) {
    addRecords(journal, trimmed, 3);
    addRecords(journal, removed, 1);
    addRecords(journal, kept, 1);
    put(journal, gone, "k", std::to_string(i));
  }
  journal.trimLog(trimmed, 120);
  journal.removeLog(removed);
  journal.removeStore(gone);
  return kept;
}

TEST(Cleaning, ThatCannotListItsArchiveRemovesItAndThatMayHaveDoesNot) {
  for (const bool known : {true, false}) {
    SimFs machine(1);
    Process process(machine);
    const auto journal = process.open(smallSegments());
    const LogId kept = fillThin(*journal);
    before(machine, SimCall::Rename, "archive-", [&] {
      machine.fail({SimCall::Write, 1, ENOSPC, false, "segment-"});
      if (!known) machine.fail({SimCall::Truncate, 1, EIO, false, "segment-"});
    });
    if (known) {
      EXPECT_THROW((void)journal->clean(), DiskFull);
      EXPECT_EQ(recordsIn(journal, kept), 40U);
      EXPECT_GT(journal->clean(), 0U);
    } else {
      EXPECT_THROW((void)journal->clean(), JournalFailed);
      EXPECT_GT(filesWith(machine, "archive-"), 0U) << "the frame that lists it may be there";
      process.process->kill();
    }
    Process next(machine);
    if (known) continue;
    const auto again = next.open(smallSegments());
    EXPECT_EQ(recordsIn(again, kept), 40U);
  }
}

TEST(Cleaning, AnOldRecordStaysWhileOneBeforeItIsYoung) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l", {.maxAgeMs = 3'600'000});
  const LogId other = journal->declareLog("other", {.maxAgeMs = 3'600'000});
  const std::int64_t now = machine.clock().wallMs();
  const auto fill = [&](std::int64_t timeMs) {
    for (int i = 0; i < 70; ++i) {
      Commit commit;
      commit.recordBuffer(log) += std::string(1000, 'r');
      commit.recordAdded(log, timeMs);
      commit.recordBuffer(other) += "o";
      commit.recordAdded(other, now - 7'200'000);
      (void)journal->commit(commit, Durability::Buffered);
    }
  };
  fill(now);
  fill(now - 7'200'000);
  fill(now);
  (void)journal->clean();
  EXPECT_EQ(journal->log(log).start, 0U) << "a log has no gaps";
  EXPECT_GT(journal->log(other).start, 100U);
  machine.clock().advanceMs(7'200'000);
  (void)journal->clean();
  EXPECT_GT(journal->log(log).start, 100U);
}

// The threads of the journal, on a disk whose damage no foreground call has met.

struct Background {
  explicit Background(SimFs& machine, const JournalOptions& options = smallSegments())
      : process(machine) {
    Environment environment = process.process->environment();
    environment.threads = true;
    journal = Journal::open(kDirectory, options, environment);
  }
  ~Background() {
    journal.reset();
    process.process->kill();
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  Process process;
  std::shared_ptr<Journal> journal;
};

TEST(BackgroundCleaning, OfADamagedFileIsCountedAndWritersGoOn) {
  SimFs machine(1);
  {
    Process process(machine);
    const auto journal = process.open(smallSegments());
    put(*journal, journal->declareStore("damaged"), "k", "to be damaged");
    addRecords(*journal, journal->declareLog("l"), 300);
    process.process->kill();
  }
  testsupport::flip(machine, firstSegment,
                    testsupport::placeOf(machine, firstSegment, "to be damaged"));
  Background background(machine);
  const LogId log = background.journal->findLog("l").value();
  background.journal->trimLog(log, 290);
  EXPECT_TRUE(eventually([&] {
    addRecords(*background.journal, log, 20);
    return background.journal->metrics().cleanFailures > 0;
  }));
  put(*background.journal, background.journal->declareStore("fine"), "k", "v");
  EXPECT_TRUE(background.process.process->info(firstSegment).value.exists)
      << "what may be wanted stays";
}

TEST(BackgroundCleaning, OfAStoreThatCannotBeSnapshottedLeavesTheOthersTheirs) {
  SimFs machine(1);
  JournalOptions options = smallSegments();
  options.snapshotAfterBytes = 8 << 10;
  {
    Process process(machine);
    const auto journal = process.open(options);
    const StoreId id = journal->declareStore("damaged");
    put(*journal, id, "k", "to be damaged");
    journal->snapshotStore(id);
    process.process->kill();
  }
  for (const std::string& path : machine.files()) {
    if (path.find("snapshot-") == std::string::npos) continue;
    testsupport::flip(machine, path, testsupport::placeOf(machine, path, "to be damaged"));
  }
  Background background(machine, options);
  const auto damaged = background.journal->store(background.journal->findStore("damaged").value());
  const StoreId fine = background.journal->declareStore("fine");
  const auto store = background.journal->store(fine);
  EXPECT_TRUE(eventually([&] {
    put(*background.journal, damaged->id(), "other", std::string(1000, 'x'));
    put(*background.journal, fine, "k", std::string(1000, 'x'));
    return background.journal->metrics().snapshots > 0;
  }));
  EXPECT_THROW((void)get(*damaged, "k"), Corruption);
  EXPECT_EQ(get(*store, "k"), std::string(1000, 'x'));
}

TEST(BackgroundCleaning, LooksThroughAllSnapshotsOnceADay) {
  SimFs machine(1);
  Background background(machine);
  const StoreId id = background.journal->declareStore("s");
  const auto store = background.journal->store(id);
  put(*background.journal, id, "k", std::string(2000, 'x'));
  background.journal->snapshotStore(id);
  const auto scrubbed = [&] { return background.journal->metrics().scrubbedBytes; };
  for (int pass = 0; pass < 2; ++pass) {  // not in that in which it was written
    const std::uint64_t before = scrubbed();
    EXPECT_TRUE(eventually([&] {
      machine.clock().advanceMs(86'400'000);
      return scrubbed() > before;
    }));
  }
  EXPECT_EQ(background.journal->metrics().damagedBlocks, 0U);
}

// Backups

const std::string target = "/copy";

TEST(BackupUnderCleaning, CopiesWhatIsThereWhenItIsDone) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  const auto journal = one.open(smallSegments(Sharing::Shared));
  const auto other = two.open(smallSegments(Sharing::Shared));
  const StoreId id = journal->declareStore("s");
  const LogId log = journal->declareLog("l");
  put(*journal, id, "k", "v");
  addRecords(*journal, log, 400);
  journal->snapshotStore(id);
  // With the second file that is copied the first ones are cleaned away, and so are some to come.
  before(machine, SimCall::Sync, target + "/segment-", [&] {
    put(*other, id, "k", "w");
    other->snapshotStore(id);
    other->trimLog(log, 390);
    EXPECT_GT(other->clean(), 0U);
  });
  const BackupReport report = backup(*journal, target);
  machine.onOperation({});
  EXPECT_TRUE(verifyJournal(target, {}, one.process->environment()).sound());
  const auto copy = askEngine(machine, target);
  EXPECT_FALSE(copy.refused) << copy.why;
  EXPECT_EQ(copy.stores.at("s").at("k"), "w") << "of the second look";
  EXPECT_EQ(copy.ranges.at("l"), std::pair(std::uint64_t{390}, std::uint64_t{400}));
  EXPECT_GT(report.files, 0U);
  EXPECT_THAT(verifyJournal(target, {}, one.process->environment()).leftovers, IsEmpty());
}

TEST(BackupUnderCleaning, OfAFileThatIsMissingAndStaysMissingSaysWhich) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l");
  addRecords(*journal, log, 200);
  machine.removeSynced("/state/segment-0000000002.log");
  EXPECT_THAT(messageOf<IoError>([&] { (void)backup(*journal, target); }),
              HasSubstr("segment-0000000002.log"));
  EXPECT_THAT(process.process->list(target).value, IsEmpty());
}

TEST(BackupUnderCleaning, HasTheBlobsOfTheActiveSegment) {
  const auto machine = testsupport::machineOfTwoSegments().clone(1);
  const auto original = askEngine(*machine->clone(1), testsupport::twoSegments);
  Process process(*machine);
  (void)backup(testsupport::twoSegments, target, {}, process.process->environment());
  const auto copy = askEngine(*machine, target);
  EXPECT_EQ(copy.stores, original.stores);
  EXPECT_EQ(copy.logs, original.logs);
}

}  // namespace
}  // namespace penstock::state
