// SPDX-License-Identifier: Apache-2.0
//
// Goal: the copy that repair writes opens, and holds exactly what the plan promised; the source is
// never touched. Method: a journal with every kind of file is damaged in each of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/repair.h>

#include <cstring>
#include <functional>

#include "frame.h"
#include "support/message_of.h"
#include "support/specimen.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testsupport::askEngine;
using testsupport::SimFs;
using testsupport::specimen;
using testsupport::specimenDirectory;
using testsupport::specimenFiles;
using testsupport::Verdict;

using Bytes = std::vector<std::byte>;
const std::string target = "/repaired";

class RepairTest : public ::testing::Test {
 protected:
  RepairTest() : machine_(specimen().clone(1)) {}

  /// What the engine reads of it before it is damaged.
  static const Verdict& original() {
    static const Verdict verdict = askEngine(*specimen().clone(1));
    return verdict;
  }
  [[nodiscard]] std::vector<std::string> filesOf(const std::string& kind) const {
    return specimenFiles(*machine_, kind);
  }
  void flip(const std::string& path, std::size_t at) {
    Bytes bytes = machine_->image(path);
    bytes[at] ^= std::byte{1};
    machine_->setImage(path, bytes);
  }
  static std::size_t placeOf(const Bytes& bytes, std::string_view text, std::size_t from = 0) {
    const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::size_t at = all.find(text, from);
    EXPECT_NE(at, std::string_view::npos) << text;
    return at;
  }
  RepairPlan plan() {
    const auto process = machine_->startProcess();
    return planRepair(specimenDirectory, process->environment());
  }
  /// Repairs, and compares the copy with the plan.
  Verdict repair(const RepairPlan& plan) {
    std::map<std::string, Bytes> before;
    for (const std::string& path : machine_->files()) before[path] = machine_->image(path);
    const auto process = machine_->startProcess();
    repairInto(plan, target, process->environment());
    for (const auto& [path, bytes] : before) EXPECT_EQ(machine_->image(path), bytes) << path;
    const VerifyReport report = verifyJournal(target, {}, process->environment());
    EXPECT_TRUE(report.sound()) << report.damages.front().text;
    EXPECT_THAT(report.notices, IsEmpty());
    EXPECT_THAT(report.leftovers, IsEmpty());

    const Verdict copy = askEngine(*machine_, target);
    EXPECT_FALSE(copy.refused) << copy.why;
    EXPECT_THAT(copy.failedStores, IsEmpty());
    EXPECT_THAT(copy.failedOffsets, IsEmpty());
    for (const RepairedStore& store : plan.stores) {
      EXPECT_EQ(copy.stores.contains(store.name), store.fate != StoreFate::Lost) << store.name;
      if (store.fate == StoreFate::Lost) continue;
      if (!copy.stores.contains(store.name)) continue;
      EXPECT_EQ(copy.stores.at(store.name).size(), store.keys) << store.name;
      if (store.fate != StoreFate::Ended && plan.lostBytes == 0) {
        EXPECT_EQ(copy.stores.at(store.name), original().stores.at(store.name)) << store.name;
      }
    }
    for (const RepairedLog& log : plan.logs) {
      EXPECT_EQ(copy.ranges.at(log.name), std::pair(log.start, log.end)) << log.name;
    }
    return copy;
  }
  static const RepairedStore& storeOf(const RepairPlan& plan, const std::string& name) {
    for (const RepairedStore& store : plan.stores) {
      if (store.name == name) return store;
    }
    throw std::runtime_error("no store " + name);
  }
  static const RepairedLog& logOf(const RepairPlan& plan, const std::string& name) {
    for (const RepairedLog& log : plan.logs) {
      if (log.name == name) return log;
    }
    throw std::runtime_error("no log " + name);
  }

  std::unique_ptr<SimFs> machine_;
};

TEST_F(RepairTest, ASoundDirectoryNeedsNoneAndLosesNothing) {
  const RepairPlan sound = plan();
  EXPECT_FALSE(sound.needed);
  EXPECT_THAT(sound.losses(), IsEmpty());
  const Verdict copy = repair(sound);
  EXPECT_EQ(copy.stores, original().stores);
  EXPECT_EQ(copy.logs, original().logs);
}

TEST_F(RepairTest, TheActiveSegmentIsCutBeforeItsFirstBadFrame) {
  const std::string path = filesOf("segment-").back();
  const Bytes bytes = machine_->image(path);
  // The first frame behind the base: its section of a log.
  flip(path, placeOf(bytes, "record "));
  EXPECT_TRUE(askEngine(*machine_->clone(1)).refused);
  const RepairPlan cut = plan();
  EXPECT_TRUE(cut.needed);
  EXPECT_GT(cut.lostBytes, 0U);
  EXPECT_GT(cut.lostFrames, 0U);
  ASSERT_FALSE(cut.losses().empty());
  EXPECT_THAT(cut.losses()[0], HasSubstr("behind frame " + std::to_string(cut.last.value)));
  const Verdict copy = repair(cut);
  EXPECT_TRUE(original().logs.at("log").starts_with(copy.logs.at("log")));
  EXPECT_LT(copy.logs.at("log").size(), original().logs.at("log").size());
}

TEST_F(RepairTest, ALogBeginsBehindItsDamageAndAStoreEndsBeforeIts) {
  // A record in the middle of the journal, in a sealed segment; and a value beside it.
  std::string path;
  std::size_t at = 0;
  for (const std::string& candidate : filesOf("segment-")) {
    const Bytes bytes = machine_->image(candidate);
    const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (all.find("record 44") == std::string_view::npos) continue;
    path = candidate;
    at = all.find("record 44");
  }
  ASSERT_NE(at, 0U);
  flip(path, at);
  const std::string value = "44" + std::string(90, static_cast<char>('a' + 44 % 26));
  flip(path, placeOf(machine_->image(path), value));
  const RepairPlan planned = plan();
  const RepairedLog& log = logOf(planned, "log");
  ASSERT_EQ(log.damaged.size(), 1U);
  EXPECT_EQ(log.damaged[0].end, log.start);
  EXPECT_EQ(log.damaged[0].end - log.damaged[0].start, 1U);
  ASSERT_EQ(log.dropped.size(), 1U);
  EXPECT_EQ(log.dropped[0].start, 0U);
  EXPECT_EQ(logOf(planned, "other").damaged.size(), 0U);
  EXPECT_EQ(storeOf(planned, "settled").fate, StoreFate::Kept);
  EXPECT_EQ(storeOf(planned, "moving").fate, StoreFate::Ended);
  EXPECT_LT(storeOf(planned, "moving").endsAt, planned.last);
  const Verdict copy = repair(planned);
  EXPECT_TRUE(original().logs.at("log").ends_with(copy.logs.at("log")));
  EXPECT_TRUE(copy.logs.at("log").starts_with("record 45"));
  // As it was before frame 44: 43 is in it, nothing of later.
  EXPECT_EQ(copy.stores.at("moving").at("key-18").substr(0, 2), "43");
  EXPECT_FALSE(copy.stores.at("moving").contains("last"));
}

TEST_F(RepairTest, ADamagedSnapshotIsRebuiltWhileItsSegmentsAreThere) {
  for (const std::string& path : filesOf("snapshot-")) flip(path, 200);
  const RepairPlan planned = plan();
  EXPECT_TRUE(planned.needed);
  // Its log keeps all segments since they were declared.
  EXPECT_EQ(storeOf(planned, "settled").fate, StoreFate::Rebuilt);
  EXPECT_EQ(storeOf(planned, "moving").fate, StoreFate::Rebuilt);
  EXPECT_THAT(planned.losses(), IsEmpty());
  repair(planned);
}

TEST_F(RepairTest, ADamagedSnapshotWithoutItsSegmentsIsALostStoreByName) {
  {
    const auto process = machine_->startProcess();
    JournalOptions options;
    options.segmentBytes = 4096;  // so that its files are too many to wait for a snapshot
    const auto journal = Journal::open(specimenDirectory, options, process->environment());
    for (const LogInfo& log : journal->logs()) journal->trimLog(log.id, log.end);
    (void)journal->clean();
  }
  for (const std::string& path : filesOf("snapshot-")) flip(path, 200);
  const RepairPlan planned = plan();
  EXPECT_EQ(storeOf(planned, "settled").fate, StoreFate::Lost);
  EXPECT_THAT(planned.losses(), ::testing::Contains(HasSubstr("store 'settled'")));
  const auto process = machine_->startProcess();
  repairInto(planned, target, process->environment());
  const Verdict copy = askEngine(*machine_, target);
  EXPECT_FALSE(copy.refused) << copy.why;
  EXPECT_FALSE(copy.stores.contains("settled"));
}

TEST_F(RepairTest, AMissingFileCostsWhatItHeld) {
  const std::string newest = filesOf("segment-").back();
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) {
      if (path == newest) continue;
      machine_ = specimen().clone(1);
      machine_->removeSynced(path);
      SCOPED_TRACE(path);
      const RepairPlan planned = plan();
      EXPECT_TRUE(planned.needed);
      EXPECT_EQ(planned.refusal, "");
      repair(planned);
      if (HasFailure()) return;
    }
  }
}

TEST_F(RepairTest, EveryFileWithABadByteGivesACopyThatKeepsThePlan) {
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) {
      const std::size_t size = specimen().image(path).size();
      for (const std::size_t at : {std::size_t{20}, std::size_t{150}, std::size_t{330},
                                   std::size_t{1500}, std::size_t{3000}}) {
        if (at >= size) continue;
        machine_ = specimen().clone(1);
        flip(path, at);
        SCOPED_TRACE(path + " byte " + std::to_string(at));
        const RepairPlan planned = plan();
        if (planned.refusal.empty()) repair(planned);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(RepairTest, ADamagedNewestBaseFrameIsDerivedFromTheSegmentBefore) {
  const std::string path = filesOf("segment-").back();
  for (const std::size_t at : {std::size_t{20}, std::size_t{140}, std::size_t{300}}) {
    machine_ = specimen().clone(1);
    flip(path, at);
    EXPECT_TRUE(askEngine(*machine_->clone(1)).refused);
    const RepairPlan planned = plan();
    EXPECT_EQ(planned.refusal, "");
    EXPECT_THAT(planned.losses(), IsEmpty());
    const Verdict copy = repair(planned);
    EXPECT_EQ(copy.stores, original().stores);
    EXPECT_EQ(copy.logs, original().logs);
  }
}

TEST_F(RepairTest, ADamagedBaseFrameWithoutTheSegmentBeforeIsRefused) {
  const auto segments = filesOf("segment-");
  flip(segments.back(), 300);
  machine_->removeSynced(segments[segments.size() - 2]);
  const RepairPlan planned = plan();
  EXPECT_THAT(planned.refusal, HasSubstr("restore"));
  const auto process = machine_->startProcess();
  EXPECT_THAT(
      messageOf<ConfigurationError>([&] { repairInto(planned, target, process->environment()); }),
      HasSubstr("restore"));
}

TEST_F(RepairTest, PositionsThatAreNotTrueAnyMoreAreRefused) {
  LogId log;
  LogPosition position;
  {
    const auto process = machine_->startProcess();
    const auto journal = Journal::open(specimenDirectory, {}, process->environment());
    log = journal->findLog("log").value();
    position = journal->position(log, journal->log(log).end);
  }
  const std::string path = filesOf("segment-").back();
  flip(path, placeOf(machine_->image(path), "record "));
  const RepairPlan planned = plan();
  const auto process = machine_->startProcess();
  repairInto(planned, target, process->environment());
  const auto copy = Journal::open(target, {}, process->environment());
  EXPECT_NE(copy->position(log, 0).epoch, position.epoch);
  EXPECT_THROW(copy->checkPosition(log, position), PositionOutOfRange);
  // Also when as many other records were written since.
  while (copy->log(log).end < position.offset + 5) {
    Commit commit;
    commit.recordBuffer(log) += "other";
    commit.recordAdded(log, 1);
    (void)copy->commit(commit);
  }
  EXPECT_THROW(copy->checkPosition(log, position), PositionOutOfRange);
}

TEST_F(RepairTest, ARemovedNewestSegmentIsALossThatIsNamed) {
  const std::string newest = filesOf("segment-").back();
  machine_->removeSynced(newest);
  const RepairPlan planned = plan();
  EXPECT_TRUE(planned.needed);
  EXPECT_THAT(planned.losses(), ::testing::ElementsAre(HasSubstr(newest)));
  const auto process = machine_->startProcess();
  repairInto(planned, target, process->environment());
  const Verdict copy = askEngine(*machine_, target);
  EXPECT_FALSE(copy.refused) << copy.why;
  EXPECT_TRUE(original().logs.at("log").starts_with(copy.logs.at("log")));
}

TEST_F(RepairTest, ADirectoryInUseIsRefusedByTheNameOfTheHolder) {
  const auto holder = machine_->startProcess();
  const auto journal = Journal::open(specimenDirectory, {}, holder->environment());
  EXPECT_THAT(messageOf<OwnedElsewhere>([&] { (void)plan(); }), HasSubstr("pid "));
}

TEST_F(RepairTest, APlanOfAnotherStateIsRefused) {
  RepairPlan planned = plan();
  planned.last.value -= 1;
  const auto process = machine_->startProcess();
  EXPECT_THAT(messageOf<Error>([&] { repairInto(planned, target, process->environment()); }),
              HasSubstr("plan it again"));
}

}  // namespace
}  // namespace penstock::state
