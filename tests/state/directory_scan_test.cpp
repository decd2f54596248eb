// SPDX-License-Identifier: Apache-2.0
//
// Goal: damage of several files at a time, of what spans frames and files, and of what the newest
// base frame is derived from, is named, judged as the engine does, and repaired as far as it can be
// proven. Method: a journal of two segments that have all of that (support/two_segments.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/inspect.h>
#include <penstock/state/repair.h>
#include <penstock/state/verify.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bytes.h"
#include "catalog.h"
#include "frame.h"
#include "segment_index.h"
#include "support/frames.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/sim_journal.h"
#include "support/specimen.h"
#include "support/two_segments.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testsupport::activeSegment;
using testsupport::askEngine;
using testsupport::expectSame;
using testsupport::flip;
using testsupport::FoundFrame;
using testsupport::FrameChange;
using testsupport::framesOf;
using testsupport::placeOf;
using testsupport::rehash;
using testsupport::reseal;
using testsupport::sealedSegment;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::twoSegments;
using testsupport::Verdict;

const std::string target = "/repaired";

class DamagedSegments : public ::testing::Test {
 protected:
  DamagedSegments() { reset(); }

  void reset() { machine_ = testsupport::machineOfTwoSegments().clone(1); }
  VerifyReport verify() {
    return verifyJournal(twoSegments, {}, machine_->startProcess()->environment());
  }
  /// What verify says, which has to be what the engine says.
  VerifyReport verifyAsTheEngine() {
    const VerifyReport report = verify();
    expectSame(askEngine(*machine_->clone(1), twoSegments), report);
    return report;
  }
  RepairPlan plan() { return planRepair(twoSegments, machine_->startProcess()->environment()); }
  Verdict repair(const RepairPlan& plan) {
    repairInto(plan, target, machine_->startProcess()->environment());
    Verdict copy = askEngine(*machine_, target);
    EXPECT_FALSE(copy.refused) << copy.why;
    EXPECT_THAT(copy.failedStores, IsEmpty());
    EXPECT_THAT(copy.failedOffsets, IsEmpty());
    return copy;
  }
  JournalDescription inspect() {
    return inspectJournal(twoSegments, machine_->startProcess()->environment());
  }
  static const Verdict& original() {
    static const Verdict verdict =
        askEngine(*testsupport::machineOfTwoSegments().clone(1), twoSegments);
    return verdict;
  }
  static const RepairedStore& storeOf(const RepairPlan& plan, const std::string& name) {
    return *std::find_if(plan.stores.begin(), plan.stores.end(),
                         [&](const RepairedStore& store) { return store.name == name; });
  }
  static const RepairedLog& logOf(const RepairPlan& plan, const std::string& name) {
    return *std::find_if(plan.logs.begin(), plan.logs.end(),
                         [&](const RepairedLog& log) { return log.name == name; });
  }
  void flipText(const std::string& path, const std::string& text) {
    flip(*machine_, path, placeOf(*machine_, path, text));
  }
  /// Behind what the journal lists of a sealed segment: its index.
  [[nodiscard]] std::uint64_t footerOf(const std::string& path) const {
    const FoundFrame last = framesOf(*machine_, path).back();
    return last.offset + last.view.header.frameBytes;
  }
  void resealFrame(const std::string& path, std::size_t at, const FrameChange& change) {
    reseal(*machine_, path, framesOf(*machine_, path).at(at), change);
  }
  [[nodiscard]] std::vector<std::string> texts(const VerifyReport& report) const {
    std::vector<std::string> all;
    for (const Damage& damage : report.damages) all.push_back(damage.text);
    return all;
  }

  std::unique_ptr<SimFs> machine_;
};

TEST_F(DamagedSegments, WithoutDamageAllIsReadAndCopied) {
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(report.leftovers, IsEmpty());
  const Verdict copy = repair(plan());
  EXPECT_EQ(copy.stores, original().stores);
  EXPECT_EQ(copy.logs, original().logs);
}

TEST_F(DamagedSegments, ASectionOfSeveralPiecesIsNamedOnceWithWhatDependsOnIt) {
  for (const auto& [letter, store, log] :
       {std::tuple{'T', "pieces", ""}, std::tuple{'M', "", "pieces"}}) {
    reset();
    // Of its second piece, the last byte.
    const std::string run(4096, letter);
    auto bytes = machine_->image(sealedSegment);
    const auto last =
        std::find_end(bytes.begin(), bytes.end(), asBytes(run).begin(), asBytes(run).end());
    ASSERT_NE(last, bytes.end());
    flip(*machine_, sealedSegment, static_cast<std::uint64_t>(last - bytes.begin()));
    const VerifyReport report = verifyAsTheEngine();
    ASSERT_THAT(report.damages, SizeIs(1));
    EXPECT_EQ(report.damages[0].kind, DamageKind::Section);
    if (*store != '\0') {
      EXPECT_THAT(report.damages[0].stores, ElementsAre(store));
    } else {
      EXPECT_THAT(report.damages[0].logs, ElementsAre(LogSpan{log, 1, 2}));
    }
  }
}

TEST_F(DamagedSegments, WhatWasRemovedSinceIsDamageThatNothingDependsOn) {
  flipText(sealedSegment, "of a store that is gone");
  flipText(sealedSegment, "of a log that is gone");
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_FALSE(report.sound());
  for (const Damage& damage : report.damages) {
    EXPECT_THAT(damage.stores, IsEmpty());
    EXPECT_THAT(damage.logs, IsEmpty());
  }
  EXPECT_THAT(plan().losses(), IsEmpty());
  const Verdict copy = repair(plan());
  EXPECT_EQ(copy.stores, original().stores);
  EXPECT_EQ(copy.logs, original().logs);
}

// Damage in three places of two files: what is between comes to the copy, or is said to be lost.
TEST_F(DamagedSegments, EachLossOfSeveralIsSaid) {
  for (const char* text : {"log 3", "log 7", "other 12", "value of 15"}) {
    flipText(sealedSegment, text);
  }
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_THAT(report.damages, SizeIs(4));
  const RepairPlan planned = plan();
  const RepairedLog& log = logOf(planned, "log");
  EXPECT_THAT(log.damaged, ElementsAre(LogSpan{"log", 3, 4}, LogSpan{"log", 7, 8}));
  EXPECT_THAT(log.dropped, ElementsAre(LogSpan{"log", 0, 3}, LogSpan{"log", 4, 7}));
  EXPECT_EQ(log.start, 8U);
  EXPECT_EQ(logOf(planned, "other").start, 13U);
  EXPECT_EQ(storeOf(planned, "plain").fate, StoreFate::Ended);
  EXPECT_EQ(storeOf(planned, "plain").keys, 15U);
  EXPECT_EQ(storeOf(planned, "pieces").fate, StoreFate::Kept);
  EXPECT_THAT(planned.losses(),
              ::testing::UnorderedElementsAre(
                  AllOf(HasSubstr("store 'plain' ends at frame"), HasSubstr("with 15 keys")),
                  HasSubstr("log 'log': the records from 3 to 4 are damaged"),
                  HasSubstr("log 'log': the records from 7 to 8 are damaged"),
                  HasSubstr("log 'log': the records from 0 to 3, before damaged ones"),
                  HasSubstr("log 'log': the records from 4 to 7, before damaged ones"),
                  HasSubstr("log 'other': the records from 12 to 13 are damaged"),
                  HasSubstr("log 'other': the records from 0 to 12, before damaged ones")));
  const Verdict copy = repair(planned);
  EXPECT_TRUE(copy.logs.at("log").starts_with("log 8"));
  EXPECT_TRUE(copy.logs.at("other").starts_with("other 13"));
  EXPECT_EQ(copy.logs.at("pieces"), original().logs.at("pieces")) << "of an archive by now";
  EXPECT_EQ(copy.stores.at("pieces"), original().stores.at("pieces"));
  EXPECT_EQ(copy.stores.at("blobs"), original().stores.at("blobs"));
}

TEST_F(DamagedSegments, AStoreThatWasClearedOwesNothingToWhatWasBefore) {
  flipText(sealedSegment, "before 1");
  EXPECT_THAT(verifyAsTheEngine().damages, SizeIs(1));
  const RepairPlan planned = plan();
  EXPECT_EQ(storeOf(planned, "cleared").fate, StoreFate::Rebuilt);
  EXPECT_THAT(planned.losses(), IsEmpty());
  EXPECT_EQ(repair(planned).stores.at("cleared"), original().stores.at("cleared"));
}

// The frames are gone and so is the index that could say what was in them.
TEST_F(DamagedSegments, ASealedSegmentWithoutIndexAndWithLostFramesEndsItsStores) {
  const auto frames = framesOf(*machine_, sealedSegment);
  flip(*machine_, sealedSegment, footerOf(sealedSegment));
  const std::uint64_t bad = placeOf(*machine_, sealedSegment, "value of 5");
  for (const FoundFrame& frame : frames) {
    if (frame.offset < bad && bad < frame.offset + frame.view.header.frameBytes) {
      flip(*machine_, sealedSegment, frame.offset);
    }
  }
  flipText(sealedSegment, "log 12");
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_THAT(texts(report), Contains(HasSubstr("its index at offset")));
  EXPECT_THAT(texts(report), Contains(HasSubstr("of a sealed segment is damaged")));
  const RepairPlan planned = plan();
  EXPECT_EQ(storeOf(planned, "plain").fate, StoreFate::Ended);
  EXPECT_EQ(storeOf(planned, "plain").keys, 5U);
  EXPECT_EQ(storeOf(planned, "cleared").fate, StoreFate::Rebuilt) << "cleared behind the damage";
  EXPECT_EQ(logOf(planned, "log").start, 13U);
  const Verdict copy = repair(planned);
  EXPECT_EQ(copy.stores.at("plain").size(), 5U);
}

TEST_F(DamagedSegments, FramesOfASealedSegmentThatDoNotFollowAreNamed) {
  const FrameChange changes[] = {
      [](auto& header, auto&, auto&) { header.sequence += 1; },
      [](auto& header, auto&, auto&) { header.previousChecksum += 1; },
      [](auto& header, auto&, auto&) { header.kind = FrameKind::Base; },
  };
  for (const FrameChange& change : changes) {
    reset();
    const auto frames = framesOf(*machine_, sealedSegment);
    resealFrame(sealedSegment, 15, change);
    const VerifyReport report = verify();
    EXPECT_FALSE(report.refused());
    ASSERT_THAT(report.damages, Not(IsEmpty()));
    EXPECT_EQ(report.damages[0].kind, DamageKind::Frame);
    EXPECT_EQ(report.damages[0].offset, frames[15].offset);
    EXPECT_THAT(report.damages[0].text, HasSubstr("of a sealed segment is damaged"));
    EXPECT_TRUE(askEngine(*machine_->clone(1), twoSegments).failedStores.empty())
        << "its index says where all is";
  }
}

TEST_F(DamagedSegments, ASealedSegmentWithAnotherLastFrameThanListedIsNamed) {
  const auto frames = framesOf(*machine_, sealedSegment);
  resealFrame(sealedSegment, frames.size() - 1,
              [](auto& header, auto&, auto&) { ++header.wallMs; });
  const VerifyReport report = verify();
  ASSERT_THAT(report.damages, Not(IsEmpty()));
  EXPECT_THAT(report.damages[0].text, HasSubstr("of a sealed segment is damaged"));
}

TEST_F(DamagedSegments, AnIndexThatSaysOtherThanItsFramesIsNamed) {
  const std::uint64_t at = footerOf(sealedSegment);
  auto bytes = machine_->image(sealedSegment);
  const std::string footer(reinterpret_cast<const char*>(bytes.data()) + at, bytes.size() - at);
  const FileHeader header = readFileHeader(
      {reinterpret_cast<const char*>(bytes.data()), sizeof(FileHeader)}, "", FileKind::Segment);
  const auto index = SegmentIndex::decodeFooter(footer, header.journalLow, header.number, at);
  ASSERT_TRUE(index);
  SegmentIndex changed;
  for (SectionRef ref : index->refs()) {
    ref.minTimeMs ^= 1;
    changed.add(ref);
  }
  const std::string other = changed.encodeFooter(header.journalLow, header.number, at);
  ASSERT_EQ(other.size(), footer.size());
  std::memcpy(bytes.data() + at, other.data(), other.size());
  machine_->setImage(sealedSegment, bytes);
  const VerifyReport report = verify();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].kind, DamageKind::Index);
  EXPECT_TRUE(report.sound()) << "it is rebuilt from the frames";
}

TEST_F(DamagedSegments, ASealedSegmentWithoutIndexIsReadByItsFrames) {
  testsupport::blank(*machine_, sealedSegment, footerOf(sealedSegment));
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(report.notices, ElementsAre(HasSubstr("has no index")));
  EXPECT_THAT(inspect().damages, IsEmpty());
  const auto copy = repair(plan());
  EXPECT_EQ(copy.stores, original().stores);
}

TEST_F(DamagedSegments, ASectionThatIsNoListOfChangesEndsItsStore) {
  const auto frames = framesOf(*machine_, sealedSegment);
  const std::uint64_t text = placeOf(*machine_, sealedSegment, "value of 4");
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (text < frames[i].offset || text > frames[i].offset + frames[i].view.header.frameBytes) {
      continue;
    }
    resealFrame(sealedSegment, i, [](auto&, auto& sections, auto& body) {
      ASSERT_EQ(sections[0].kind, SectionKind::Store);
      body[0] = 99;
      rehash(sections[0], body);
    });
    break;
  }
  testsupport::blank(*machine_, sealedSegment, footerOf(sealedSegment));
  EXPECT_EQ(storeOf(plan(), "plain").keys, 4U);
}

// The newest base frame is what the segment before leads to.

TEST_F(DamagedSegments, ABaseFrameIsDerivedFromAllKindsOfFramesBefore) {
  for (const bool footer : {true, false}) {
    reset();
    flip(*machine_, activeSegment, framesOf(*machine_, activeSegment).front().view.bodyOffset);
    if (!footer) testsupport::blank(*machine_, sealedSegment, footerOf(sealedSegment));
    EXPECT_TRUE(verifyAsTheEngine().refused());
    const RepairPlan planned = plan();
    EXPECT_EQ(planned.refusal, "");
    EXPECT_THAT(planned.losses(), IsEmpty());
    const Verdict copy = repair(planned);
    EXPECT_EQ(copy.stores, original().stores);
    EXPECT_EQ(copy.logs, original().logs);
  }
}

TEST_F(DamagedSegments, ABaseFrameThatIsNoneIsDerivedToo) {
  const FrameChange changes[] = {
      [](auto& header, auto&, auto&) { header.kind = FrameKind::Commit; },
      [](auto& header, auto&, auto&) { header.sequence += 1; },
      [](auto&, auto& sections, auto& body) {
        body[2] = 0x7f;  // stores
        rehash(sections[0], body);
      },
  };
  for (const FrameChange& change : changes) {
    reset();
    resealFrame(activeSegment, 0, change);
    const VerifyReport report = verifyAsTheEngine();
    EXPECT_TRUE(report.refused());
    EXPECT_THAT(texts(report), Contains(HasSubstr("every store and log of the directory")));
    EXPECT_EQ(plan().refusal, "");
  }
}

TEST_F(DamagedSegments, ABaseFrameIsNotDerivedFromASegmentThatIsNotWhole) {
  const FoundFrame base = framesOf(*machine_, sealedSegment).front();
  const auto middle = [&](const FrameChange& change) { resealFrame(sealedSegment, 20, change); };
  const std::pair<const char*, std::function<void()>> cases[] = {
      {"no header", [&] { flip(*machine_, sealedSegment, 20); }},
      {"another segment in its place",
       [&] { machine_->setImage(sealedSegment, machine_->image(activeSegment)); }},
      {"no base frame", [&] { flip(*machine_, sealedSegment, base.offset); }},
      {"a catalog that is damaged", [&] { flip(*machine_, sealedSegment, base.view.bodyOffset); }},
      {"a catalog that is cut off",
       [&] {
         auto bytes = machine_->image(sealedSegment);
         bytes.resize(base.view.bodyOffset + 1);
         machine_->setImage(sealedSegment, bytes);
       }},
      {"a catalog that cannot be read",
       [&] {
         resealFrame(sealedSegment, 0, [](auto&, auto& sections, auto& body) {
           body[2] = 0x7f;  // stores
           rehash(sections[0], body);
         });
       }},
      {"a change of it that cannot be read",
       [&] {
         resealFrame(sealedSegment, 1, [](auto&, auto& sections, auto& body) {
           ASSERT_EQ(sections[0].kind, SectionKind::Catalog);
           body[0] = 99;
           rehash(sections[0], body);
         });
       }},
      {"another sequence", [&] { middle([](auto& header, auto&, auto&) { ++header.sequence; }); }},
      {"another history",
       [&] { middle([](auto& header, auto&, auto&) { ++header.previousChecksum; }); }},
      {"two base frames",
       [&] { middle([](auto& header, auto&, auto&) { header.kind = FrameKind::Base; }); }},
      {"an index that is damaged",
       [&] { flip(*machine_, sealedSegment, footerOf(sealedSegment)); }},
  };
  for (const auto& [what, damage] : cases) {
    SCOPED_TRACE(what);
    reset();
    flip(*machine_, activeSegment, framesOf(*machine_, activeSegment).front().view.bodyOffset);
    damage();
    const VerifyReport report = verifyAsTheEngine();
    EXPECT_TRUE(report.refused());
    EXPECT_THAT(report.notices, ElementsAre(HasSubstr("were not looked at")));
    const RepairPlan planned = plan();
    EXPECT_THAT(planned.refusal, HasSubstr("restore the directory from a backup"));
    EXPECT_THAT(messageOf<Corruption>([&] { (void)inspect(); }), HasSubstr(activeSegment));
  }
}

TEST_F(DamagedSegments, WithoutAnyHeaderNotEvenTheJournalIsKnown) {
  flip(*machine_, activeSegment, 20);
  machine_->removeSynced(sealedSegment);
  const VerifyReport report = verify();
  EXPECT_TRUE(report.refused());
  EXPECT_EQ(report.journalId, "");
  EXPECT_THAT(texts(report), ElementsAre(HasSubstr(activeSegment)));
}

// The active segment

TEST_F(DamagedSegments, TwoLostFramesInARowAreNamedAsOneDamage) {
  const auto frames = framesOf(*machine_, activeSegment);
  const std::uint64_t first = frames.size() - 5;
  flip(*machine_, activeSegment, frames[first].offset);
  flip(*machine_, activeSegment, frames[first + 1].offset);
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_TRUE(report.refused());
  ASSERT_THAT(report.damages, SizeIs(1));
  const std::uint64_t sequence = frames[first].view.header.sequence;
  EXPECT_THAT(report.damages[0].text, HasSubstr("(sequence " + std::to_string(sequence) + " to " +
                                                std::to_string(sequence + 1) + ") is damaged"));
  const RepairPlan planned = plan();
  EXPECT_EQ(planned.last.value, sequence - 1);
  EXPECT_GT(planned.lostFrames, 0U);
  const Verdict copy = repair(planned);
  EXPECT_TRUE(original().logs.at("log").starts_with(copy.logs.at("log")));
}

TEST_F(DamagedSegments, ABlobOfTheActiveSegmentIsNamedWithItsStore) {
  for (const bool missing : {false, true}) {
    reset();
    const auto files = machine_->files();
    const auto blob = std::find_if(files.rbegin(), files.rend(), [&](const std::string& path) {
      return path.starts_with(twoSegments + "/blob-") && machine_->image(path).size() > 1'000'000;
    });
    ASSERT_NE(blob, files.rend());
    if (missing) {
      machine_->removeSynced(*blob);
    } else {
      flip(*machine_, *blob, 1000);
    }
    const VerifyReport report = verifyAsTheEngine();
    ASSERT_THAT(report.damages, SizeIs(1));
    EXPECT_EQ(report.damages[0].file, *blob);
    EXPECT_EQ(report.damages[0].kind, missing ? DamageKind::MissingFile : DamageKind::Section);
    EXPECT_THAT(report.damages[0].stores, ElementsAre("blobs"));
    EXPECT_EQ(storeOf(plan(), "blobs").fate, StoreFate::Ended);
    EXPECT_EQ(repair(plan()).stores.at("plain"), original().stores.at("plain"));
  }
}

TEST_F(DamagedSegments, DamageOfADirectoryInUseIsLookedAtTwiceAndNamed) {
  const auto holder = machine_->startProcess();
  const auto journal = Journal::open(twoSegments, {}, holder->environment());
  testsupport::put(*journal, journal->findStore("plain").value(), "k", "v");
  const auto frames = framesOf(*machine_, activeSegment);
  flip(*machine_, activeSegment, frames[3].offset);
  const auto files = machine_->files();
  const auto blob = std::find_if(files.begin(), files.end(), [](const std::string& path) {
    return path.starts_with(twoSegments + "/blob-");
  });
  machine_->removeSynced(*blob);
  const VerifyReport report = verify();
  EXPECT_EQ(report.use, DirectoryUse::Exclusive);
  EXPECT_TRUE(report.refused());
  EXPECT_THAT(texts(report), Contains(HasSubstr(activeSegment + ": the frame at offset " +
                                                std::to_string(frames[3].offset))));
  EXPECT_THAT(texts(report), Contains(HasSubstr(*blob + ": is missing")));
  holder->kill();
}

TEST_F(DamagedSegments, ABlobThatIsMissingInADirectoryInUseIsNamed) {
  const auto holder = machine_->startProcess();
  const auto journal = Journal::open(twoSegments, {}, holder->environment());
  testsupport::put(*journal, journal->findStore("blobs").value(), "k", "v");
  std::size_t removed = 0;
  for (const std::string& path : machine_->files()) {
    if (!path.starts_with(twoSegments + "/blob-")) continue;
    machine_->removeSynced(path);
    ++removed;
  }
  const VerifyReport report = verify();
  EXPECT_EQ(report.use, DirectoryUse::Exclusive);
  EXPECT_THAT(report.damages, SizeIs(removed));
  for (const Damage& damage : report.damages) EXPECT_EQ(damage.kind, DamageKind::MissingFile);
  holder->kill();
}

// Bytes of a record that look as a frame begins, at every distance from where one may.
TEST_F(DamagedSegments, WhatOnlyLooksLikeAFrameIsNotTakenForTheNextOne) {
  machine_ = std::make_unique<SimFs>(1);
  std::string segment = twoSegments + "/segment-0000000001.log";
  {
    const auto process = machine_->startProcess();
    const auto journal = Journal::open(twoSegments, {}, process->environment());
    const LogId log = journal->declareLog("log");
    for (int i = 0; i < 6; ++i) {
      Commit commit;
      for (int shift = 0; shift < 8; ++shift) {
        commit.recordBuffer(log) += "PFR1" + std::string(5, 'x');  // 9 bytes
        commit.recordAdded(log, i);
      }
      (void)journal->commit(commit);
    }
    process->kill();
  }
  const auto frames = framesOf(*machine_, segment);
  const std::size_t bad = frames.size() - 4;
  flip(*machine_, segment, frames[bad].offset);
  const VerifyReport report = verifyAsTheEngine();
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].offset, frames[bad].offset);
  EXPECT_EQ(report.damages[0].bytes, frames[bad].view.header.frameBytes) << "up to the next one";
  EXPECT_EQ(plan().lostFrames, 3U);
}

// They are larger than what is read at a time, so that it may fail in the middle.
TEST_F(DamagedSegments, AFileThatCannotBeReadFromSomewhereOnIsNamedWithTheReason) {
  for (const std::string& path : {sealedSegment, activeSegment}) {
    for (std::uint64_t nth = 1; nth <= 6; ++nth) {
      SCOPED_TRACE(path + " " + std::to_string(nth));
      reset();
      const bool derived = path == sealedSegment && nth % 2 == 0;
      if (derived) {  // what the segment after begins with
        flip(*machine_, activeSegment, framesOf(*machine_, activeSegment).front().view.bodyOffset);
      }
      machine_->fail({SimCall::Read, nth, EIO, true, path});
      const VerifyReport report = verify();
      if (machine_->faultsHit() == 0) continue;
      EXPECT_FALSE(report.sound()) << "what cannot be read is not known to be torn";
      if (!derived) {
        EXPECT_THAT(texts(report), Contains(HasSubstr("Input/output error")));
      }
      const RepairPlan planned = plan();
      if (path == activeSegment) {
        EXPECT_TRUE(!planned.refusal.empty() || planned.lostBytes > 0);
      }
      if (!planned.refusal.empty()) continue;
      machine_->clearFaults();
      EXPECT_THROW(repairInto(planned, target, machine_->startProcess()->environment()), Error)
          << "by then all can be read";
    }
  }
}

// A sharer that recovers holds the lock alone; what it wrote there of itself says that it shares.
TEST_F(DamagedSegments, WhoSharesAndHoldsTheLockAloneIsOneThatRecovers) {
  const auto holder = machine_->startProcess();
  const std::string text = "pid 7 on somewhere (shared)\n";
  const std::string path = twoSegments + "/PRESENCE";
  const auto presence = std::move(holder->open(path, OpenMode::ReadWriteCreate).value);
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
  ASSERT_TRUE(presence->write(0, pieces).ok());
  ASSERT_TRUE(presence->tryLock(LockKind::Exclusive).value);
  const VerifyReport report = verify();
  EXPECT_EQ(report.use, DirectoryUse::Shared);
  EXPECT_THAT(report.holder, HasSubstr("pid 7"));
  EXPECT_THAT(messageOf<OwnedElsewhere>([&] { (void)plan(); }), HasSubstr("pid 7"));
  ASSERT_TRUE(presence->truncate(0).ok());
  EXPECT_EQ(verify().holder, "another process");
  EXPECT_THAT(messageOf<OwnedElsewhere>([&] { (void)plan(); }), HasSubstr("another process"));
}

TEST_F(DamagedSegments, FilesOfPeopleAreNoLeftovers) {
  const std::vector<std::byte> some(10, std::byte{1});
  for (const char* name : {"/notes.torn-1", "/notes.tmp", "/JOURNAL.tmp"}) {
    machine_->setImage(twoSegments + name, some);
  }
  const VerifyReport report = verify();
  EXPECT_THAT(report.keptAside, IsEmpty());
  EXPECT_THAT(report.leftovers, ElementsAre(twoSegments + "/JOURNAL.tmp"));
}

// Repair

TEST_F(DamagedSegments, ADirectoryThatNobodyEverOpenedIsRepairedToo) {
  machine_->removeSynced(twoSegments + "/PRESENCE");
  EXPECT_EQ(repair(plan()).stores, original().stores);
  EXPECT_THROW((void)planRepair(sealedSegment, machine_->startProcess()->environment()),
               ConfigurationError);
}

TEST_F(DamagedSegments, APlanWithOtherStoresOrLogsIsRefused) {
  const std::function<void(RepairPlan&)> changes[] = {
      [](RepairPlan& plan) { ++plan.stores[0].keys; },
      [](RepairPlan& plan) { plan.stores[0].fate = StoreFate::Lost; },
      [](RepairPlan& plan) { ++plan.stores[0].endsAt.value; },
      [](RepairPlan& plan) { plan.stores.pop_back(); },
      [](RepairPlan& plan) { ++plan.logs[0].start; },
      [](RepairPlan& plan) { ++plan.logs[0].end; },
      [](RepairPlan& plan) { plan.logs[0].name = "another"; },
      [](RepairPlan& plan) {
        plan.logs[0].damaged.push_back({"log", 1, 2});
      },
      [](RepairPlan& plan) {
        plan.logs[0].dropped.push_back({"log", 0, 1});
      },
  };
  for (const auto& change : changes) {
    RepairPlan planned = plan();
    change(planned);
    const auto process = machine_->startProcess();
    EXPECT_THAT(messageOf<Error>([&] { repairInto(planned, target, process->environment()); }),
                HasSubstr("plan it again"));
    EXPECT_FALSE(process->info(target).value.exists);
  }
}

// The disk goes on failing while the copy is written: what was planned cannot be had any more.
TEST_F(DamagedSegments, ADiskThatFailsDuringTheRepairLeavesNoCopy) {
  const std::pair<std::string, const char*> cases[] = {
      {sealedSegment, "cannot be read any more as it was for the plan"},
      {sealedSegment, "a section that was whole a moment ago is not"},
      {target, "the copy is damaged"},
  };
  for (const auto& [path, why] : cases) {
    SCOPED_TRACE(why);
    reset();
    flipText(sealedSegment, why == cases[1].second ? "log 3" : "before 1");
    const RepairPlan planned = plan();
    machine_->onOperation([&, armed = false](const SimFs::Operation& operation) mutable {
      if (armed || !operation.path.starts_with(target)) return;
      armed = true;
      machine_->fail({SimCall::Read, 1, EIO, true, path});
    });
    const auto process = machine_->startProcess();
    const std::string said =
        messageOf<Corruption>([&] { repairInto(planned, target, process->environment()); });
    EXPECT_THAT(said, HasSubstr(why));
    EXPECT_THAT(said, HasSubstr("the disk may be failing; plan the repair again"));
    EXPECT_THAT(process->list(target).value, IsEmpty());
  }
}

// Snapshots

/// A store with a snapshot of several blocks and changes on top; its log keeps all segments.
std::unique_ptr<SimFs> machineWithSnapshot() {
  auto machine = std::make_unique<SimFs>(1);
  const auto process = machine->startProcess();
  JournalOptions options = testsupport::smallSegments();
  const auto journal = Journal::open(twoSegments, options, process->environment());
  const StoreId id = journal->declareStore("s");
  for (int i = 0; i < 300; ++i) {
    testsupport::put(*journal, id, "key " + std::to_string(i), std::string(300, 'v'));
  }
  journal->snapshotStore(id);
  for (int i = 0; i < 300; ++i) {
    testsupport::put(*journal, id, "key " + std::to_string(i * 2), std::string(300, 'w'));
  }
  return machine;
}

std::string pathOf(const SimFs& machine, const std::string& part) {
  const auto files = machine.files();
  return *std::find_if(files.begin(), files.end(), [&](const std::string& path) {
    return path.find(part) != std::string::npos;
  });
}

TEST_F(DamagedSegments, InspectNamesABlockThatItNeedsAndGoesOn) {
  machine_ = machineWithSnapshot();
  flip(*machine_, pathOf(*machine_, "snapshot-"), 300);
  const JournalDescription found = inspect();
  ASSERT_THAT(found.stores, SizeIs(1));
  EXPECT_FALSE(found.stores[0].keys.has_value());
  EXPECT_THAT(found.damages, Contains(HasSubstr("snapshot-")));
}

TEST_F(DamagedSegments, InspectCountsNoKeysOfAStoreWhoseSnapshotIsMissing) {
  machine_ = machineWithSnapshot();
  machine_->removeSynced(pathOf(*machine_, "snapshot-"));
  machine_->setImage(pathOf(*machine_, "segment-") + ".torn-9", std::vector<std::byte>(10));
  const JournalDescription found = inspect();
  ASSERT_THAT(found.stores, SizeIs(1));
  EXPECT_FALSE(found.stores[0].keys.has_value());
  const auto torn = std::find_if(found.files.begin(), found.files.end(),
                                 [](const FileTotal& total) { return total.kind == "torn tails"; });
  ASSERT_NE(torn, found.files.end());
  EXPECT_EQ(torn->files, 1U);
  EXPECT_EQ(torn->bytes, 10U);
}

// As when somebody puts an older segment back: its checksums are right.
TEST_F(DamagedSegments, ASnapshotThatIsAheadOfTheJournalIsRefusedAndRebuilt) {
  machine_ = machineWithSnapshot();
  const auto files = machine_->files();
  std::string newest;
  for (const std::string& path : files) {
    if (path.find("/segment-") != std::string::npos) newest = path;
  }
  resealFrame(newest, 0, [](auto&, auto& sections, auto& body) {
    Catalog catalog;
    ASSERT_TRUE(catalog.decode(std::string_view(body).substr(0, sections[0].length)));
    catalog.stores.begin()->second.snapshot.covers += 5000;
    std::string bytes;
    catalog.encode(bytes);
    ASSERT_EQ(bytes.size(), sections[0].length);
    body.replace(0, bytes.size(), bytes);
    rehash(sections[0], body);
  });
  testsupport::blank(*machine_, newest, [&] {
    const FoundFrame base = framesOf(*machine_, newest).front();
    return base.offset + base.view.header.frameBytes;
  }());
  const VerifyReport report = verifyAsTheEngine();
  EXPECT_TRUE(report.refused());
  EXPECT_THAT(texts(report), Contains(HasSubstr("but the journal ends at frame")));
  EXPECT_EQ(storeOf(plan(), "s").fate, StoreFate::Rebuilt);
  EXPECT_EQ(repair(plan()).stores.at("s").size(), storeOf(plan(), "s").keys);
}

}  // namespace
}  // namespace penstock::state
