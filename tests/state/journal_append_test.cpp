// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a writer meets while it appends - frames of others that are damaged or half written, a
// sync that fails, stores and logs that are gone - is told by its type, and nothing acknowledged is
// lost. Method: processes of one simulated machine that share a directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/journal.h>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "frame.h"
#include "journal_core.h"
#include "support/frames.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/sim_journal.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::HasSubstr;
using testsupport::addRecords;
using testsupport::filesWith;
using testsupport::firstSegment;
using testsupport::FoundFrame;
using testsupport::FrameChange;
using testsupport::framesOf;
using testsupport::get;
using testsupport::kDirectory;
using testsupport::Process;
using testsupport::put;
using testsupport::recordsIn;
using testsupport::rehash;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::smallSegments;

/// Two processes that share a directory; `behind` has not taken in what `ahead` writes from now on.
struct Sharers {
  explicit Sharers(const JournalOptions& options = smallSegments(Sharing::Shared))
      : machine(1),
        one(machine),
        two(machine),
        behind(one.open(options)),
        ahead(two.open(options)) {
    id = behind->declareStore("s");
    log = behind->declareLog("l");
    put(*behind, id, "k", "old");
    store = behind->store(id);
    (void)get(*ahead->store(id), "k");
  }
  [[nodiscard]] JournalPage& page() {
    mapped = one.process->mapShared("/state/PAGE").value;
    return *reinterpret_cast<JournalPage*>(mapped->data());
  }

  SimFs machine;
  Process one;
  Process two;
  std::shared_ptr<Journal> behind;
  std::shared_ptr<Journal> ahead;
  StoreId id;
  LogId log;
  std::shared_ptr<Store> store;
  std::shared_ptr<SharedPage> mapped;
};

void commitBoth(Sharers& sharers, const std::string& value) {
  Commit commit;
  commit.put(sharers.id, "k", value);
  commit.recordBuffer(sharers.log) += "record";
  commit.recordAdded(sharers.log, 1);
  (void)sharers.ahead->commit(commit, Durability::Buffered);
}

TEST(PublishedFrameTest, ThatIsDamagedIsNamedAndNothingOfItIsTaken) {
  const std::pair<const char*, std::function<void(Sharers&, const FoundFrame&)>> cases[] = {
      {"magic",
       [](Sharers& sharers, const FoundFrame& frame) {
         testsupport::flip(sharers.machine, firstSegment, frame.offset);
       }},
      {"number of sections",
       [](Sharers& sharers, const FoundFrame& frame) {
         testsupport::flip(sharers.machine, firstSegment,
                           frame.offset + offsetof(FrameHeader, sectionCount) + 3);
       }},
      {"checksum",
       [](Sharers& sharers, const FoundFrame& frame) {
         testsupport::flip(sharers.machine, firstSegment,
                           frame.offset + offsetof(FrameHeader, checksum));
       }},
      {"body",
       [](Sharers& sharers, const FoundFrame& frame) {
         testsupport::flip(sharers.machine, firstSegment, frame.view.bodyOffset);
       }},
      {"the end of the file",
       [](Sharers& sharers, const FoundFrame& frame) {
         auto bytes = sharers.machine.image(firstSegment);
         bytes.resize(frame.offset + 20);
         sharers.machine.setImage(firstSegment, bytes);
       }},
      {"the end of the body",
       [](Sharers& sharers, const FoundFrame& frame) {
         auto bytes = sharers.machine.image(firstSegment);
         bytes.resize(frame.view.bodyOffset + 1);
         sharers.machine.setImage(firstSegment, bytes);
       }},
  };
  for (const auto& [what, damage] : cases) {
    SCOPED_TRACE(what);
    Sharers sharers;
    commitBoth(sharers, "new");
    const auto frame = framesOf(sharers.machine, firstSegment).back();
    damage(sharers, frame);
    const std::string said = messageOf<Corruption>([&] { (void)get(*sharers.store, "k"); });
    EXPECT_THAT(said, HasSubstr(firstSegment));
    EXPECT_THAT(said, HasSubstr("offset "));
    EXPECT_THROW((void)sharers.behind->log(sharers.log), Corruption);
    EXPECT_THROW(put(*sharers.behind, sharers.id, "k", "mine"), Corruption);
    EXPECT_EQ(get(*sharers.ahead->store(sharers.id), "k"), "new") << "who wrote it has it";
  }
}

// All its checksums are right, so it is no damage of the disk; still nobody may guess what it says.
TEST(PublishedFrameTest, ThatDoesNotFollowOrIsNotUnderstoodIsNamed) {
  const std::tuple<const char*, const char*, FrameChange> cases[] = {
      {"another sequence", "cannot be read",
       [](auto& header, auto&, auto&) { header.sequence += 1; }},
      {"another history", "cannot be read",
       [](auto& header, auto&, auto&) { header.previousChecksum += 1; }},
      {"a newer section", "does not understand",
       [](auto&, auto& sections, auto&) { sections[0].kind = static_cast<SectionKind>(4); }},
      {"changes of a newer kind", "does not understand",
       [](auto&, auto& sections, auto& body) {
         body[0] = 99;
         rehash(sections[0], body);
       }},
      {"records of another place", "does not understand",
       [](auto&, auto& sections, auto&) { sections[1].baseOffset += 1; }},
  };
  for (const auto& [what, why, change] : cases) {
    SCOPED_TRACE(what);
    Sharers sharers;
    commitBoth(sharers, "new");
    const auto frame = framesOf(sharers.machine, firstSegment).back();
    testsupport::reseal(sharers.machine, firstSegment, frame, change);
    const std::string said = messageOf<Corruption>([&] { (void)get(*sharers.store, "k"); });
    EXPECT_THAT(said, HasSubstr(firstSegment));
    EXPECT_THAT(said, HasSubstr(why));
  }
}

// What a member asks to be synced is in the file that it has open, whatever became of the rest.
TEST(PublishedFrameTest, ThatIsDamagedHindersNoSyncOfWhatWasWrittenBefore) {
  Sharers sharers;
  put(*sharers.behind, sharers.id, "k", "mine", Durability::Buffered);
  const Sequence mine = sharers.behind->written();
  commitBoth(sharers, "new");
  const auto frame = framesOf(sharers.machine, firstSegment).back();
  testsupport::flip(sharers.machine, firstSegment, frame.offset);
  EXPECT_THROW(sharers.behind->flush(), Corruption) << "of what others wrote it knows nothing";
  sharers.machine.clock().advanceMs(1000);
  sharers.ahead->flush();
  EXPECT_GE(sharers.ahead->synced(), mine);
  EXPECT_GE(sharers.behind->synced(), mine);
}

TEST(PublishedFrameTest, WithItsSectionsInAFileOfTheirOwnIsReadFromThere) {
  Sharers sharers;
  put(*sharers.ahead, sharers.id, "k", std::string(9 << 20, 'x'));
  EXPECT_EQ(get(*sharers.store, "k"), std::string(9 << 20, 'x'));
}

TEST(PublishedFrameTest, IsReadWithinATransactionBeforeItIsWrittenTo) {
  Sharers sharers;
  commitBoth(sharers, "new");
  (void)sharers.behind->transact([&](Commit& commit) {
    EXPECT_EQ(get(*sharers.store, "k"), "new");
    EXPECT_EQ(sharers.behind->log(sharers.log).end, 1U);
    commit.put(sharers.id, "k", get(*sharers.store, "k") + "er");
  });
  EXPECT_EQ(get(*sharers.ahead->store(sharers.id), "k"), "newer");
}

/// As if the process that made the last commits had been killed between writing them and telling
/// the others.
struct Unpublished {
  explicit Unpublished(Sharers& sharers)
      : page(sharers.page()), end(page.end.load()), written(page.written.load()) {}
  void happen() const {
    page.end.store(end);
    page.written.store(written);
    page.writing.store(1);
  }
  JournalPage& page;
  std::uint64_t end;
  std::uint64_t written;
};

TEST(UnpublishedFrameTest, IsAdoptedByTheNextWriter) {
  // The last one lies in a file of its own, which was synced before.
  for (const std::size_t bytes : {std::size_t{10}, std::size_t{3} << 20, std::size_t{9} << 20}) {
    JournalOptions options = smallSegments(Sharing::Shared);
    options.segmentBytes = 16U << 20;
    Sharers sharers(options);
    const Unpublished killed(sharers);
    put(*sharers.ahead, sharers.id, "k", std::string(bytes, 'x'));
    sharers.two.process->kill();
    killed.happen();
    put(*sharers.behind, sharers.id, "mine", "1");
    EXPECT_EQ(get(*sharers.store, "k"), std::string(bytes, 'x'));
    EXPECT_EQ(killed.page.writing.load(), 0U);
    EXPECT_EQ(filesWith(sharers.machine, ".torn-"), 0U);
  }
}

TEST(UnpublishedFrameTest, OfANewSegmentIsAdoptedWithIt) {
  for (const bool directoryFails : {false, true}) {
    Sharers sharers;
    const Unpublished killed(sharers);
    put(*sharers.ahead, sharers.id, "k", std::string(70'000, 'n'));  // and rolls
    ASSERT_EQ(filesWith(sharers.machine, "segment-"), 2U);
    sharers.two.process->kill();
    // The segment before is written, and published; the step to the next one is not.
    const auto frames = framesOf(sharers.machine, firstSegment);
    killed.happen();
    killed.page.end.store((std::uint64_t{1} << 40) |
                          (frames.back().offset + frames.back().view.header.frameBytes) / 8);
    killed.page.written.store(frames.back().view.header.sequence);
    if (directoryFails) {
      sharers.machine.fail({SimCall::SyncDirectory, 1, EIO, false, ""});
      EXPECT_THROW(put(*sharers.behind, sharers.id, "mine", "1"), JournalFailed);
      continue;
    }
    put(*sharers.behind, sharers.id, "mine", "1");
    EXPECT_EQ(get(*sharers.store, "k"), std::string(70'000, 'n'));
    EXPECT_EQ(framesOf(sharers.machine, "/state/segment-0000000002.log").size(), 2U);
  }
}

TEST(UnpublishedFrameTest, ThatIsNotWholeIsSetAsideAndCutOff) {
  const std::pair<const char*, std::function<void(SimFs&, const FoundFrame&)>> cases[] = {
      {"a magic alone",
       [](SimFs& machine, const FoundFrame& frame) {
         testsupport::blank(machine, firstSegment, frame.offset + 4);
       }},
      {"sections beyond any number",
       [](SimFs& machine, const FoundFrame& frame) {
         testsupport::flip(machine, firstSegment,
                           frame.offset + offsetof(FrameHeader, sectionCount) + 3);
       }},
      {"damaged head",
       [](SimFs& machine, const FoundFrame& frame) {
         testsupport::flip(machine, firstSegment, frame.offset + offsetof(FrameHeader, wallMs));
       }},
      {"damaged body",
       [](SimFs& machine, const FoundFrame& frame) {
         testsupport::flip(machine, firstSegment, frame.view.bodyOffset);
       }},
      {"head beyond the file",
       [](SimFs& machine, const FoundFrame& frame) {
         auto bytes = machine.image(firstSegment);
         bytes.resize(frame.offset + 20);
         machine.setImage(firstSegment, bytes);
       }},
      {"body beyond the file",
       [](SimFs& machine, const FoundFrame& frame) {
         auto bytes = machine.image(firstSegment);
         bytes.resize(frame.view.bodyOffset + 8);
         machine.setImage(firstSegment, bytes);
       }},
      {"whole, but of another place",
       [](SimFs& machine, const FoundFrame& frame) {
         testsupport::reseal(machine, firstSegment, frame,
                             [](auto& header, auto&, auto&) { header.sequence += 7; });
       }},
  };
  for (const auto& [what, damage] : cases) {
    SCOPED_TRACE(what);
    Sharers sharers;
    const Unpublished killed(sharers);
    put(*sharers.ahead, sharers.id, "k", std::string(200, 'n'));
    sharers.two.process->kill();
    damage(sharers.machine, framesOf(sharers.machine, firstSegment).back());
    killed.happen();
    put(*sharers.behind, sharers.id, "mine", "1");
    EXPECT_EQ(get(*sharers.store, "k"), "old");
    EXPECT_EQ(get(*sharers.store, "mine"), "1");
    EXPECT_EQ(filesWith(sharers.machine, "segment-0000000001.log.torn-"), 1U);
    EXPECT_EQ(sharers.behind->metrics().tornTails, 1U);
  }
}

TEST(UnpublishedFrameTest, ThatCannotBeCutOffEndsTheJournal) {
  Sharers sharers;
  const Unpublished killed(sharers);
  put(*sharers.ahead, sharers.id, "k", "new");
  sharers.two.process->kill();
  testsupport::flip(sharers.machine, firstSegment,
                    framesOf(sharers.machine, firstSegment).back().view.bodyOffset);
  killed.happen();
  sharers.machine.fail({SimCall::Truncate, 1, EIO, false, firstSegment});
  EXPECT_THROW(put(*sharers.behind, sharers.id, "mine", "1"), JournalFailed);
  EXPECT_THROW(put(*sharers.behind, sharers.id, "mine", "1"), JournalFailed) << "and stays so";
}

// Its own sync said OK, but the one of somebody else took the error: what the disk has is not
// known.
TEST(FailedSyncTest, OfAnotherOneMeanwhileIsNotOverlooked) {
  Sharers sharers;
  JournalPage& page = sharers.page();
  sharers.machine.onOperation([&](const SimFs::Operation& operation) {
    if (operation.call == SimCall::Sync) page.poisoned.store(EIO);
  });
  const std::string said =
      messageOf<JournalFailed>([&] { put(*sharers.ahead, sharers.id, "k", "new"); });
  EXPECT_THAT(said, HasSubstr("Input/output error"));
  EXPECT_THAT(said, HasSubstr("open again"));
}

TEST(FailedSyncTest, IsToldToWhoeverWaits) {
  Sharers sharers;
  sharers.machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_THROW(put(*sharers.ahead, sharers.id, "k", "new"), JournalFailed);
  const Sequence seen{1'000'000};
  EXPECT_THROW(sharers.behind->waitForWritten(seen, std::chrono::milliseconds(0)), JournalFailed);
  EXPECT_THROW(sharers.ahead->waitForSynced(seen, std::chrono::hours(1)), JournalFailed);
}

TEST(FailedSyncTest, FailsTheFuturesOfAllThatIsQueued) {
  Sharers sharers;
  sharers.machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_THROW(put(*sharers.ahead, sharers.id, "k", "new"), JournalFailed);
  for (const std::size_t bytes :
       {std::size_t{10}, std::size_t{9} << 20}) {  // with its frame, or not
    Commit commit;
    commit.put(sharers.id, "k", std::string(bytes, 'x'));
    EXPECT_THROW(sharers.ahead->commitAsync(std::move(commit)).get(), JournalFailed);
  }
  EXPECT_EQ(filesWith(sharers.machine, "blob-"), 0U);
}

TEST(FailedSyncTest, OfALargeCommitsOwnFileOrNameEndsTheJournal) {
  for (const SimCall call : {SimCall::Sync, SimCall::SyncDirectory}) {
    SimFs machine(1);
    Process process(machine);
    const auto journal = process.open(smallSegments());
    const StoreId id = journal->declareStore("s");
    journal->flush();
    const Sequence before = journal->written();
    machine.fail({call, 1, EIO, false, ""});
    const std::string large(9 << 20, 'x');
    EXPECT_THROW(put(*journal, id, "k", large), JournalFailed);
    EXPECT_EQ(journal->written(), before);
    EXPECT_THROW(put(*journal, id, "k", "small"), JournalFailed);
  }
}

TEST(FailedSyncTest, OfASegmentThatIsFullIsToldAlsoToWhoDidNotAskForASync) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  journal->flush();
  machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_THROW(put(*journal, id, "k", std::string(70'000, 'x'), Durability::Buffered),
               JournalFailed);
}

// Of what is sealed, of what comes next, and of its name.
TEST(FailedSyncTest, AnywhereInAStepToTheNextSegmentEndsTheJournal) {
  const std::pair<SimCall, std::uint64_t> cases[] = {
      {SimCall::Sync, 1}, {SimCall::Sync, 2}, {SimCall::Sync, 3}, {SimCall::SyncDirectory, 1}};
  for (const auto& [call, nth] : cases) {
    SimFs machine(1);
    StoreId id;
    {
      Process process(machine);
      const auto journal = process.open(smallSegments());
      id = journal->declareStore("s");
      journal->flush();
      machine.fail({call, nth, EIO, false, ""});
      const std::string large(70'000, 'x');
      EXPECT_THROW(put(*journal, id, "k", large), JournalFailed);
      EXPECT_THROW(put(*journal, id, "k", "small"), JournalFailed);
    }
    machine.clearFaults();
    Process process(machine);
    const auto journal = process.open(smallSegments());
    EXPECT_NE(get(*journal->store(id), "k"), "small");
  }
}

TEST(FailedSyncTest, OfAJoinerEndsTheJournalForAll) {
  Sharers sharers;
  Process three(sharers.machine);
  sharers.machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_THROW((void)three.open(smallSegments(Sharing::Shared)), JournalFailed);
  EXPECT_THROW(put(*sharers.ahead, sharers.id, "k", "new"), JournalFailed);
  EXPECT_THROW(put(*sharers.behind, sharers.id, "k", "new"), JournalFailed);
}

// It is derived: whoever misses it reads the frames.
TEST(SegmentIndexTest, ThatCannotBeWrittenIsRebuilt) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l");
  addRecords(*journal, log, 50);
  machine.onOperation([&, armed = false](const SimFs::Operation& operation) mutable {
    if (armed || operation.call != SimCall::Rename) return;
    armed = true;
    machine.fail({SimCall::Write, 1, EIO, true, firstSegment});
  });
  addRecords(*journal, log, 20);
  EXPECT_GT(machine.faultsHit(), 0U);
  EXPECT_EQ(filesWith(machine, "segment-"), 2U);
  process.process->kill();
  Process next(machine);
  const auto again = next.open(smallSegments());
  EXPECT_EQ(recordsIn(again, log), 70U);
}

TEST(FailedSyncTest, InTheBackgroundIsToldToTheNextWriter) {
  SimFs machine(1);
  Process process(machine);
  Environment environment = process.process->environment();
  environment.threads = true;
  JournalOptions options = smallSegments();
  options.syncInterval = std::chrono::milliseconds(0);
  const auto journal = Journal::open(kDirectory, options, environment);
  const StoreId id = journal->declareStore("s");
  journal->flush();
  machine.fail({SimCall::Sync, 1, EIO, true, ""});
  EXPECT_TRUE(testing::eventually([&] {
    try {
      put(*journal, id, "k", "v", Durability::Buffered);
      return false;
    } catch (const JournalFailed&) {
      return true;
    }
  }));
}

// A frame that is written cannot be taken back: who cannot do what it says must not go on.
TEST(CommitTest, ThatIsWrittenButCannotBeAppliedEndsTheJournal) {
  SimFs machine(1);
  {
    Process process(machine);
    const auto journal = process.open(smallSegments());
    const StoreId id = journal->declareStore("s");
    for (int i = 0; i < 50; ++i) put(*journal, id, "key " + std::to_string(i), "v");
    journal->snapshotStore(id);
    process.process->kill();
  }
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->findStore("s").value();
  const auto store = journal->store(id);
  machine.fail({SimCall::Read, 1, EIO, true, "snapshot-"});
  Commit commit;
  commit.erasePrefix(id, "key ");
  EXPECT_THROW((void)journal->commit(commit), JournalFailed);
  machine.clearFaults();
  EXPECT_THROW((void)get(*store, "key 1"), JournalFailed) << "it may have a half of it";
  EXPECT_THROW(put(*journal, id, "k", "v"), JournalFailed);
  process.process->kill();
  Process next(machine);
  const auto again = next.open(smallSegments());
  EXPECT_EQ(again->store(id)->size(), 0U) << "the frame was there";
}

TEST(CommitTest, ToWhatWasRemovedIsRefusedWhole) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId kept = journal->declareStore("kept");
  const StoreId store = journal->declareStore("store");
  const LogId log = journal->declareLog("log");
  journal->removeStore(store);
  journal->removeStore(store);  // again: no change
  journal->removeLog(log);
  Commit commit;
  commit.put(kept, "k", "v");
  commit.put(store, "k", "v");
  EXPECT_THAT(messageOf<InvalidArgument>([&] { (void)journal->commit(commit); }),
              HasSubstr("store " + std::to_string(store.value) + " was removed"));
  commit.reset();
  commit.put(kept, "k", "v");
  commit.recordBuffer(log) += "r";
  commit.recordAdded(log, 1);
  EXPECT_THAT(messageOf<InvalidArgument>([&] { (void)journal->commit(commit); }),
              HasSubstr("log " + std::to_string(log.value) + " was removed"));
  EXPECT_EQ(journal->store(kept)->size(), 0U);
  EXPECT_THROW((void)journal->store(store), InvalidArgument);
  EXPECT_THROW((void)journal->log(log), InvalidArgument);
  EXPECT_THROW((void)journal->offsetForTime(log, 0), InvalidArgument);
  EXPECT_THROW(journal->checkPosition(log, {0, 0}), PositionOutOfRange);
  LogReader reader(journal, log, 0);
  LogChunk chunk;
  EXPECT_THROW((void)reader.next(chunk, ReadLimit::Written), InvalidArgument);
}

TEST(CommitTest, UnderAClaimThatTheJournalNeverHadIsFenced) {
  SimFs machine(1);
  Process process(machine);
  const auto other = Journal::open("/other", {}, process.process->environment());
  const auto claim = other->tryClaim("task");
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  Commit commit;
  commit.require(*claim);
  commit.put(id, "k", "v");
  EXPECT_THAT(messageOf<Fenced>([&] { (void)journal->commit(commit); }),
              HasSubstr("incarnation 0 by now"));
  EXPECT_THROW((void)journal->tryClaim(""), InvalidArgument);
}

TEST(AsyncCommitTest, FromACallbackKeepsItsPlaceAndBlocksNobody) {
  const testing::TemporaryDirectory directory;
  const auto journal = Journal::open(directory.path());
  const StoreId id = journal->declareStore("s");
  const auto asks = [&](const char* value) {
    Commit commit;
    commit.put(id, "k", value);
    return commit;
  };
  std::promise<void> done;
  journal->commitAsync(asks("1"), Durability::Buffered, [&](const CommitResult&, auto) {
    journal->commitAsync(asks("2"), Durability::Synced, nullptr);  // nobody wants to know
    Commit third = asks("3");
    (void)journal->commit(third, Durability::Buffered);
    done.set_value();
  });
  done.get_future().get();
  journal->flush();
  EXPECT_EQ(get(*journal->store(id), "k"), "2") << "what a callback adds is for the next round";
  EXPECT_EQ(journal->synced(), journal->written());
}

TEST(TransactionTest, ThatWritesNothingIsNoFrame) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const Sequence before = journal->written();
  EXPECT_EQ(journal->transact([](Commit&) {}).sequence, before);
  EXPECT_EQ(journal->written(), before);
}

TEST(ClaimTest, HolderIsNamedByItsOwnWordsAlone) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  const auto journal = one.open(smallSegments(Sharing::Shared));
  const auto other = two.open(smallSegments(Sharing::Shared));
  const auto claim = journal->tryClaim("task");
  ASSERT_NE(claim, nullptr);
  EXPECT_EQ(other->tryClaim("task"), nullptr) << "nobody asks who has it";
  std::string holder;
  EXPECT_EQ(other->tryClaim("task", &holder), nullptr);
  EXPECT_THAT(holder, HasSubstr("pid "));
  const std::string text("somebody's text\n\0", 17);
  for (const std::string& path : machine.files()) {
    if (path.find("/claims/") == std::string::npos) continue;
    machine.setImage(path, std::as_bytes(std::span(text)));
  }
  EXPECT_EQ(other->tryClaim("task", &holder), nullptr);
  EXPECT_EQ(holder, "another process");
}

TEST(StoreTest, OfRocksDbNeedsRealFiles) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  EXPECT_THAT(
      messageOf<ConfigurationError>([&] { (void)journal->declareStore("large", Engine::RocksDb); }),
      HasSubstr("store 'large' cannot be kept by RocksDB here: it needs real files"));
  EXPECT_FALSE(journal->findStore("large"));
}

TEST(AsyncCommitTest, ThatIsEmptyAndNotToBeSyncedIsDoneAtOnce) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const Sequence before = journal->written();
  const auto syncs = machine.calls(SimCall::Sync);
  EXPECT_EQ(journal->commitAsync(Commit{}, Durability::Buffered).get().sequence, before);
  EXPECT_EQ(machine.calls(SimCall::Sync), syncs);
}

}  // namespace
}  // namespace penstock::state
