// SPDX-License-Identifier: Apache-2.0
//
// Goal: what is read from sealed segments is right or an error that names its place, whether their
// index is there, is rebuilt from the frames, or lacks what the journal lists.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/journal.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "catalog.h"
#include "frame.h"
#include "segment_index.h"
#include "support/frames.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/sim_journal.h"
#include "support/two_segments.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testsupport::activeSegment;
using testsupport::addRecords;
using testsupport::firstSegment;
using testsupport::FoundFrame;
using testsupport::FrameChange;
using testsupport::framesOf;
using testsupport::get;
using testsupport::Process;
using testsupport::put;
using testsupport::rehash;
using testsupport::sealedSegment;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::smallSegments;
using testsupport::twoSegments;

std::string readAll(const std::shared_ptr<Journal>& journal, const std::string& log) {
  const LogId id = journal->findLog(log).value();
  LogReader reader(journal, id, journal->log(id).start);
  LogChunk chunk;
  std::string all;
  while (reader.next(chunk, ReadLimit::Written)) {
    all.append(reinterpret_cast<const char*>(chunk.bytes.data()), chunk.bytes.size());
  }
  return all;
}

class SealedSegment : public ::testing::Test {
 protected:
  SealedSegment() { reset(); }
  void reset() {
    if (process_) process_->kill();
    machine_ = testsupport::machineOfTwoSegments().clone(1);
    process_ = machine_->startProcess();
    frames_ = framesOf(*machine_, sealedSegment);
    end_ = frames_.back().offset + frames_.back().view.header.frameBytes;
  }
  std::shared_ptr<Journal> open() {
    return Journal::open(twoSegments, {}, process_->environment());
  }
  void cutIndex() {
    auto bytes = machine_->image(sealedSegment);
    bytes.resize(end_);
    machine_->setImage(sealedSegment, bytes);
  }

  std::unique_ptr<SimFs> machine_;
  std::shared_ptr<testsupport::SimProcess> process_;
  std::vector<FoundFrame> frames_;
  std::uint64_t end_ = 0;
};

TEST_F(SealedSegment, IsReadTheSameWithoutItsIndex) {
  const std::string whole = readAll(open(), "log");
  reset();
  cutIndex();
  const auto journal = open();
  EXPECT_EQ(readAll(journal, "log"), whole);
  EXPECT_EQ(get(*journal->store(journal->findStore("plain").value()), "plain 3"), "value of 3");
}

TEST_F(SealedSegment, WithoutIndexAndWithADamagedFrameIsNamedByThat) {
  const auto resealed = [&](std::size_t at, const FrameChange& change) {
    return
        [this, at, change] { testsupport::reseal(*machine_, sealedSegment, frames_[at], change); };
  };
  const std::size_t last = frames_.size() - 1;
  const std::tuple<const char*, std::size_t, std::function<void()>> cases[] = {
      {"magic", 20, [&] { testsupport::flip(*machine_, sealedSegment, frames_[20].offset); }},
      {"number of sections", 20,
       [&] {
         testsupport::flip(*machine_, sealedSegment,
                           frames_[20].offset + offsetof(FrameHeader, sectionCount) + 3);
       }},
      {"checksum", 20,
       [&] {
         testsupport::flip(*machine_, sealedSegment,
                           frames_[20].offset + offsetof(FrameHeader, checksum));
       }},
      {"a newer kind", 20,
       resealed(20, [](auto& header, auto&, auto&) { header.kind = static_cast<FrameKind>(9); })},
      {"another sequence", 20, resealed(20, [](auto& header, auto&, auto&) { ++header.sequence; })},
      {"another history", 20,
       resealed(20, [](auto& header, auto&, auto&) { ++header.previousChecksum; })},
      {"a last one that is not the listed one", last,
       resealed(last, [](auto& header, auto&, auto&) { ++header.wallMs; })},
  };
  for (const auto& [what, at, damage] : cases) {
    SCOPED_TRACE(what);
    reset();
    cutIndex();
    damage();
    const auto journal = open();
    const std::string said = messageOf<Corruption>([&] { (void)readAll(journal, "log"); });
    EXPECT_THAT(said, HasSubstr(sealedSegment));
    EXPECT_THAT(said, at == last
                          ? HasSubstr("a sealed segment ends with frame")
                          : HasSubstr("the frame at offset " + std::to_string(frames_[at].offset)));
    EXPECT_THROW((void)journal->store(journal->findStore("plain").value()), Corruption);
  }
}

TEST_F(SealedSegment, WhoseIndexLacksWhatTheJournalListsIsNamed) {
  auto bytes = machine_->image(sealedSegment);
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const FileHeader header = readFileHeader(all, "", FileKind::Segment);
  const auto index =
      SegmentIndex::decodeFooter(all.substr(end_), header.journalLow, header.number, end_);
  ASSERT_TRUE(index);
  const std::string less = SegmentIndex{}.encodeFooter(header.journalLow, header.number, end_);
  std::memcpy(bytes.data() + end_, less.data(), less.size());
  machine_->setImage(sealedSegment, bytes);
  const auto journal = open();
  EXPECT_THAT(messageOf<Corruption>([&] { (void)readAll(journal, "log"); }),
              HasSubstr("segment 1 lacks offset 0 of log"));
  // Nobody may take what such an index does not know for what nobody needs.
  for (const LogInfo& log : journal->logs()) journal->trimLog(log.id, log.end - 1);
  (void)journal->clean();
  EXPECT_TRUE(process_->info(sealedSegment).value.exists);
}

TEST_F(SealedSegment, WhichACatalogDoesNotListForALogIsNamed) {
  testsupport::reseal(*machine_, activeSegment, framesOf(*machine_, activeSegment).front(),
                      [](auto&, auto& sections, auto& body) {
                        Catalog catalog;
                        ASSERT_TRUE(catalog.decode(body.substr(0, sections[0].length)));
                        for (LogRange& range : catalog.sealed.front().logs) range.log += 50;
                        std::string changed;
                        catalog.encode(changed);
                        ASSERT_EQ(changed.size(), sections[0].length);
                        body.replace(0, changed.size(), changed);
                        rehash(sections[0], body);
                      });
  testsupport::blank(*machine_, activeSegment, [&] {
    const FoundFrame base = framesOf(*machine_, activeSegment).front();
    return base.offset + base.view.header.frameBytes;
  }());
  EXPECT_THAT(messageOf<Corruption>([&] { (void)readAll(open(), "log"); }),
              HasSubstr("no file holds offset 0 of 'log'"));
}

TEST_F(SealedSegment, TimesAreFoundInItAndBehindIt) {
  const auto journal = open();
  const LogId log = journal->findLog("log").value();
  const LogId pieces = journal->findLog("pieces").value();
  EXPECT_EQ(journal->offsetForTime(log, -1), 0U);
  EXPECT_EQ(journal->offsetForTime(log, 13), 13U);
  EXPECT_EQ(journal->offsetForTime(log, 25), 25U) << "of the active segment";
  EXPECT_EQ(journal->offsetForTime(log, 1000), std::nullopt);
  EXPECT_EQ(journal->offsetForTime(pieces, 11), 1U);
  journal->trimLog(log, 5);
  EXPECT_EQ(journal->offsetForTime(log, 0), 5U);
  journal->trimLog(log, 22);
  EXPECT_EQ(journal->offsetForTime(log, 0), 22U) << "nothing of the sealed one is kept";
  EXPECT_EQ(journal->offsetForTime(journal->declareLog("empty"), 0), std::nullopt);
}

TEST_F(SealedSegment, PositionsBeyondTheEndOrBeforeTheStartAreRefused) {
  const auto journal = open();
  const LogId log = journal->findLog("log").value();
  const std::uint64_t end = journal->log(log).end;
  journal->trimLog(log, 5);
  LogChunk chunk;
  for (const std::uint64_t offset : {std::uint64_t{4}, end + 1}) {
    LogReader reader(journal, log, offset);
    EXPECT_THAT(
        messageOf<PositionOutOfRange>([&] { (void)reader.next(chunk, ReadLimit::Written); }),
        AllOf(HasSubstr("position " + std::to_string(offset)), HasSubstr("[5, ")));
    EXPECT_THROW(journal->checkPosition(log, {journal->position(log, 0).epoch, offset}),
                 PositionOutOfRange);
  }
}

TEST(LogReaderTest, ReadsNothingThatIsNotSyncedUnlessAsked) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l");
  journal->flush();
  addRecords(*journal, log, 1);
  LogReader reader(journal, log, 0);
  LogChunk chunk;
  EXPECT_FALSE(reader.next(chunk, ReadLimit::Synced));
  EXPECT_TRUE(reader.next(chunk, ReadLimit::Written));
  journal->flush();
  reader.seek(0);
  EXPECT_TRUE(reader.next(chunk, ReadLimit::Synced));
}

TEST(LogReaderTest, ChunksThatAreKeptKeepTheirBytes) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open({});
  const LogId log = journal->declareLog("l");
  Commit commit;
  for (int i = 0; i < 30; ++i) {
    commit.recordBuffer(log) +=
        std::string(1 + 400 * static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
    commit.recordAdded(log, i);
    (void)journal->commit(commit);
  }
  LogReader reader(journal, log, 0);
  std::vector<LogChunk> kept(20);  // more than it has buffers for
  for (LogChunk& chunk : kept) EXPECT_TRUE(reader.next(chunk, ReadLimit::Written));
  for (int again = 0; again < 2; ++again) {
    LogChunk chunk;
    while (reader.next(chunk, ReadLimit::Written)) {
    }
    reader.seek(0);
  }
  LogReader another(journal, log, 0);  // whose buffer grows
  LogChunk chunk;
  std::size_t bytesMax = 0;
  while (another.next(chunk, ReadLimit::Written)) bytesMax = std::max(bytesMax, chunk.bytes.size());
  EXPECT_EQ(bytesMax, 1U + 400 * 29);
  for (int i = 0; i < 20; ++i) {
    const auto& bytes = kept[static_cast<std::size_t>(i)].bytes;
    EXPECT_EQ(bytes.size(), static_cast<std::size_t>(1 + i * 400));
    EXPECT_EQ(bytes.front(), static_cast<std::byte>('a' + i % 26));
    EXPECT_EQ(bytes.back(), static_cast<std::byte>('a' + i % 26));
  }
}

TEST(StoreTest, WhoseChangesCannotBeReadIsNamedWhenItIsOpened) {
  SimFs machine(1);
  {
    Process process(machine);
    const auto journal = process.open(smallSegments());
    put(*journal, journal->declareStore("bad"), "k", "v");
    process.process->kill();
  }
  testsupport::reseal(machine, firstSegment, framesOf(machine, firstSegment).back(),
                      [](auto&, auto& sections, auto& body) {
                        body[0] = 99;
                        rehash(sections[0], body);
                      });
  Process process(machine);
  const auto journal = process.open(smallSegments());
  EXPECT_THAT(messageOf<Corruption>([&] { (void)journal->store(*journal->findStore("bad")); }),
              AllOf(HasSubstr("store 'bad' cannot be opened"), HasSubstr(firstSegment),
                    HasSubstr("is not a list of changes")));
}

// A cleaner may have taken a file away; one that stays away is missing.
TEST(StoreTest, WhoseFileStaysAwayIsAnErrorAfterAFewLooks) {
  SimFs machine(1);
  {
    Process process(machine);
    const auto journal = process.open(smallSegments());
    const StoreId id = journal->declareStore("s");
    put(*journal, id, "k", "v");
    journal->snapshotStore(id);
    addRecords(*journal, journal->declareLog("l"), 100);
    process.process->kill();
  }
  for (const auto& [error, looks] : {std::pair{ENOENT, 4U}, std::pair{EACCES, 1U}}) {
    Process process(machine);
    const auto journal = process.open(smallSegments());
    const StoreId id = journal->findStore("s").value();
    const LogId log = journal->findLog("l").value();
    machine.fail({SimCall::Open, 1, error, true, "snapshot-"});
    machine.fail({SimCall::Open, 1, error, true, "segment-0000000001"});
    const std::uint64_t before = machine.faultsHit();
    EXPECT_THROW((void)journal->store(id), IoError);
    EXPECT_EQ(machine.faultsHit() - before, looks);
    LogReader reader(journal, log, 0);
    LogChunk chunk;
    EXPECT_THROW((void)reader.next(chunk, ReadLimit::Written), IoError);
    EXPECT_THROW((void)journal->offsetForTime(log, 0), IoError);
    machine.clearFaults();
    EXPECT_EQ(get(*journal->store(id), "k"), "v");
    EXPECT_TRUE(reader.next(chunk, ReadLimit::Written));
    EXPECT_EQ(journal->offsetForTime(log, 0), 0U);
  }
}

TEST(StoreTest, AScanEndsWhereItIsToldTo) {
  SimFs machine(1);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  const std::string last(3, '\xff');
  for (const std::string& key : {std::string("a"), std::string("b"), last, last + "z"}) {
    put(*journal, id, key, "v");
  }
  const auto store = journal->store(id);
  std::vector<std::string> keys;
  const auto collect = [&](std::size_t most) {
    return [&keys, most](std::string_view key, std::string_view) {
      keys.emplace_back(key);
      return keys.size() < most;
    };
  };
  store->scan({}, {}, collect(2));
  EXPECT_EQ(keys, (std::vector<std::string>{"a", "b"}));
  keys.clear();
  store->scanPrefix(last, collect(9));
  EXPECT_EQ(keys, (std::vector<std::string>{last, last + "z"})) << "no key is behind them all";
  keys.clear();
  store->scanPrefix("a" + last, collect(9));
  EXPECT_TRUE(keys.empty());
  keys.clear();
  store->scanPrefix("", collect(9));
  EXPECT_EQ(keys.size(), 4U);
}

TEST(StoreTest, ViewsInAJournalThatIsSharedHaveWhatOthersWrote) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  const auto behind = one.open(smallSegments(Sharing::Shared));
  const StoreId id = behind->declareStore("s");
  const auto store = behind->store(id);
  const auto ahead = two.open(smallSegments(Sharing::Shared));
  put(*ahead, id, "k", "v");
  const std::array ids{id};
  const auto views = behind->views(ids);
  put(*ahead, id, "k", "w");
  EXPECT_EQ(get(*views[0], "k"), "v");
  EXPECT_EQ(views[0]->size(), 1U);
  EXPECT_EQ(views[0]->size(), 1U) << "counted once";
  EXPECT_EQ(get(*store, "k"), "w");
}

}  // namespace
}  // namespace penstock::state
