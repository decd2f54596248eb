// SPDX-License-Identifier: Apache-2.0
//
// Goal: verifyJournal names all that is damaged, says of stores and logs exactly what the engine
// says when they are opened, and changes nothing. Method: a journal with every kind of file is
// damaged in every file - bytes flipped, cut, removed, swapped - and both are asked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/verify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "frame.h"
#include "support/frames.h"
#include "support/message_of.h"
#include "support/specimen.h"
#include "support/temporary_directory.h"
#include "support/unprivileged.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testsupport::askEngine;
using testsupport::blank;
using testsupport::expectSame;
using testsupport::FoundFrame;
using testsupport::FrameChange;
using testsupport::framesOf;
using testsupport::rehash;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::specimen;
using testsupport::specimenDirectory;
using testsupport::specimenFiles;
using testsupport::Verdict;

using Bytes = std::vector<std::byte>;

VerifyReport verify(SimFs& machine) {
  const auto process = machine.startProcess();
  const std::uint64_t before = machine.operations();
  const VerifyReport report = verifyJournal(specimenDirectory, {}, process->environment());
  EXPECT_EQ(machine.operations(), before) << "something was changed";
  return report;
}

class VerifyTest : public ::testing::Test {
 protected:
  /// The durable files of that kind.
  static std::vector<std::string> filesOf(const std::string& kind) {
    return specimenFiles(specimen(), kind);
  }
  static std::size_t usedBytes(const Bytes& bytes) {
    std::size_t used = bytes.size();
    while (used > 0 && bytes[used - 1] == std::byte{0}) --used;
    return used;
  }
  /// Whether `report` says something of the file.
  static bool names(const VerifyReport& report, const std::string& path) {
    if (report.torn && report.torn->file == path) return true;
    for (const Damage& damage : report.damages) {
      if (damage.file == path && damage.text.find(path) != std::string::npos) return true;
    }
    return false;
  }
};

TEST_F(VerifyTest, ASoundDirectoryIsSoundAndAllOfItWasRead) {
  const auto machine = specimen().clone(1);
  const VerifyReport report = verify(*machine);
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(report.damages, IsEmpty());
  EXPECT_THAT(report.notices, IsEmpty());
  EXPECT_THAT(report.leftovers, IsEmpty());
  EXPECT_FALSE(report.torn.has_value());
  EXPECT_EQ(report.use, DirectoryUse::Nobody);
  EXPECT_GT(report.frames, 60U);
  EXPECT_GT(report.blocks, 0U);
  std::uint64_t bytes = 0;
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) bytes += usedBytes(specimen().image(path));
  }
  EXPECT_GE(report.bytes, bytes);
  EXPECT_EQ(report.files, filesOf("segment-").size() + filesOf("snapshot-").size() +
                              filesOf("blob-").size() + filesOf("archive-").size());
}

TEST_F(VerifyTest, EveryFlippedByteIsNamedAndJudgedAsTheEngineDoes) {
  std::size_t flips = 0;
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) {
      const Bytes image = specimen().image(path);
      const std::size_t used = usedBytes(image);
      for (std::size_t at = 0; at < used; at += at < 400 || at + 200 > used ? 13 : 151) {
        const auto machine = specimen().clone(at);
        Bytes bytes = image;
        bytes[at] ^= std::byte{0x10};
        machine->setImage(path, bytes);
        const VerifyReport report = verify(*machine);
        SCOPED_TRACE(path + " byte " + std::to_string(at) + " of " + std::to_string(used));
        expectSame(askEngine(*machine), report);
        // Zeros that pad a frame, and fields that are not looked at, are in no checksum.
        if (!names(report, path)) {
          EXPECT_EQ(image[at], std::byte{0});
        }
        if (HasFailure()) return;
        ++flips;
      }
    }
  }
  EXPECT_GT(flips, 500U);
}

TEST_F(VerifyTest, EveryCutIsNamedAndJudgedAsTheEngineDoes) {
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) {
      const Bytes image = specimen().image(path);
      const std::size_t used = usedBytes(image);
      for (const std::size_t to : {std::size_t{0}, std::size_t{60}, std::size_t{128},
                                   std::size_t{140}, used / 2, used - 100, used - 9}) {
        const auto machine = specimen().clone(to);
        machine->setImage(path, std::span(image).first(to));
        const VerifyReport report = verify(*machine);
        SCOPED_TRACE(path + " cut at " + std::to_string(to) + " of " + std::to_string(used));
        expectSame(askEngine(*machine), report);
        EXPECT_TRUE(names(report, path));
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(VerifyTest, EveryMissingFileIsNamedAndJudgedAsTheEngineDoes) {
  const std::string newest = filesOf("segment-").back();
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) {
      if (path == newest) continue;
      const auto machine = specimen().clone(1);
      machine->removeSynced(path);
      const VerifyReport report = verify(*machine);
      SCOPED_TRACE(path);
      expectSame(askEngine(*machine), report);
      ASSERT_TRUE(names(report, path));
      EXPECT_EQ(report.damages[0].kind, DamageKind::MissingFile);
      EXPECT_TRUE(report.refused());
    }
  }
}

TEST_F(VerifyTest, ARemovedNewestSegmentIsNoticedByTheFooterOfTheOneBefore) {
  const auto machine = specimen().clone(1);
  const std::string newest = filesOf("segment-").back();
  machine->removeSynced(newest);
  const VerifyReport report = verify(*machine);
  EXPECT_FALSE(report.sound());
  ASSERT_THAT(report.damages, ::testing::Not(IsEmpty()));
  const auto missing =
      std::find_if(report.damages.begin(), report.damages.end(),
                   [&](const Damage& damage) { return damage.kind == DamageKind::MissingFile; });
  ASSERT_NE(missing, report.damages.end());
  EXPECT_EQ(missing->file, newest);
  expectSame(askEngine(*machine), report);
}

TEST_F(VerifyTest, SwappedFilesAreNamedAndJudgedAsTheEngineDoes) {
  for (const char* kind : {"segment-", "snapshot-"}) {
    const auto paths = filesOf(kind);
    for (std::size_t i = 0; i + 1 < paths.size(); ++i) {
      const auto machine = specimen().clone(1);
      machine->setImage(paths[i], specimen().image(paths[i + 1]));
      machine->setImage(paths[i + 1], specimen().image(paths[i]));
      const VerifyReport report = verify(*machine);
      SCOPED_TRACE(paths[i]);
      expectSame(askEngine(*machine), report);
      EXPECT_TRUE(names(report, paths[i + 1]));
      // Without the newest segment, and the one before it, nothing is known of the others.
      if (i + 2 < paths.size() || kind == std::string("snapshot-")) {
        EXPECT_TRUE(names(report, paths[i]));
      }
    }
  }
}

TEST_F(VerifyTest, AllDamageIsReportedNotOnlyTheFirst) {
  const auto machine = specimen().clone(1);
  std::size_t damaged = 0;
  for (const char* kind : {"segment-", "snapshot-", "blob-", "archive-"}) {
    for (const std::string& path : filesOf(kind)) {
      Bytes bytes = specimen().image(path);
      bytes[usedBytes(bytes) / 3] ^= std::byte{1};
      machine->setImage(path, bytes);
      ++damaged;
    }
  }
  std::set<std::string> files;
  for (const Damage& damage : verify(*machine).damages) files.insert(damage.file);
  EXPECT_EQ(files.size(), damaged);
}

TEST_F(VerifyTest, DamageSaysFileOffsetSequenceAndWhatDependsOnIt) {
  const auto machine = specimen().clone(1);
  const std::string path = filesOf("blob-").front();
  Bytes bytes = specimen().image(path);
  bytes[200] ^= std::byte{1};
  machine->setImage(path, bytes);
  const VerifyReport report = verify(*machine);
  ASSERT_THAT(report.damages, SizeIs(1));
  const Damage& damage = report.damages[0];
  EXPECT_EQ(damage.kind, DamageKind::Section);
  EXPECT_EQ(damage.file, path);
  EXPECT_EQ(damage.offset, 128U);
  EXPECT_GT(damage.sequence.value, 0U);
  EXPECT_EQ(damage.stores, std::vector<std::string>{"large"});
  EXPECT_FALSE(damage.refusesDirectory);
  EXPECT_THAT(damage.text, HasSubstr("offset 128"));
}

TEST_F(VerifyTest, ATornTailIsNamedWithWhatWouldBeCut) {
  const auto machine = specimen().clone(1);
  const std::string path = filesOf("segment-").back();
  Bytes bytes = specimen().image(path);
  const std::size_t used = usedBytes(bytes);
  for (std::size_t i = 0; i < 40; ++i) bytes[used + i] = std::byte{0x5a};
  machine->setImage(path, bytes);
  const VerifyReport report = verify(*machine);
  ASSERT_TRUE(report.torn.has_value());
  EXPECT_TRUE(report.sound());
  EXPECT_EQ(report.torn->file, path);
  EXPECT_EQ(report.torn->offset, used);
  EXPECT_EQ(report.torn->bytes, 40U);
  EXPECT_EQ(report.torn->sequence.value, report.last.value + 1);
  EXPECT_FALSE(report.torn->underWay);
}

TEST_F(VerifyTest, LeftoversAndWhatWasKeptAsideAreListed) {
  const auto machine = specimen().clone(1);
  const Bytes some(10, std::byte{1});
  const std::string leftover = specimenDirectory + "/blob-00000000000000ff.blob";
  const std::string unfinished = specimenDirectory + "/snapshot-00000000000000ff.snap.tmp";
  const std::string torn = specimenDirectory + "/segment-0000000001.log.torn-9";
  for (const std::string& path : {leftover, unfinished, torn}) machine->setImage(path, some);
  const VerifyReport report = verify(*machine);
  EXPECT_TRUE(report.sound());
  EXPECT_THAT(report.leftovers, ::testing::ElementsAre(leftover, unfinished));
  EXPECT_THAT(report.keptAside, ::testing::ElementsAre(torn));
}

TEST_F(VerifyTest, ABadIdentityFileIsNamedAndOneOfAnotherJournalRefuses) {
  const auto machine = specimen().clone(1);
  const std::string path = specimenDirectory + "/JOURNAL";
  constexpr std::size_t behindId = 49;
  for (const std::size_t at : {std::size_t{0}, std::size_t{20}, behindId}) {  // 0: in a word
    Bytes bytes = specimen().image(path);
    bytes[at] ^= at == behindId ? std::byte{' '} : std::byte{1};  // a NUL would end the message
    machine->setImage(path, bytes);
    const VerifyReport report = verify(*machine);
    ASSERT_THAT(report.damages, SizeIs(1));
    EXPECT_EQ(report.damages[0].file, path);
    EXPECT_EQ(report.refused(), at != 0);
    expectSame(askEngine(*machine->clone(1)), report);
  }
  machine->removeSynced(path);
  EXPECT_THAT(verify(*machine).notices, SizeIs(1));
}

TEST_F(VerifyTest, AnUnreadableFileIsDamageAndTheOthersAreReadAllTheSame) {
  const auto machine = specimen().clone(1);
  const std::string path = filesOf("snapshot-").front();
  machine->fail({.call = SimCall::Read, .nth = 1, .error = EIO, .always = true, .path = path});
  const VerifyReport report = verify(*machine);
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_EQ(report.damages[0].file, path);
  EXPECT_THAT(report.damages[0].text, HasSubstr("Input/output error"));
  EXPECT_GT(report.frames, 60U);
}

TEST_F(VerifyTest, ANewestSegmentThatCannotBeOpenedIsDamageThatRefuses) {
  const auto machine = specimen().clone(1);
  const std::string path = filesOf("segment-").back();
  machine->fail({.call = SimCall::Open, .nth = 1, .error = EACCES, .always = true, .path = path});
  const VerifyReport report = verify(*machine);
  ASSERT_THAT(report.damages, SizeIs(1));
  EXPECT_TRUE(report.refused());
  EXPECT_THAT(report.damages[0].text,
              HasSubstr(path + ": the newest segment cannot be opened: Permission denied"));
}

TEST_F(VerifyTest, AFileThatCannotBeOpenedIsDamageButNotMissing) {
  for (const char* kind : {"snapshot-", "blob-", "archive-"}) {
    const auto machine = specimen().clone(1);
    const std::string path = filesOf(kind).front();
    machine->fail({.call = SimCall::Open, .nth = 1, .error = EACCES, .always = true, .path = path});
    const VerifyReport report = verify(*machine);
    ASSERT_THAT(report.damages, ::testing::Not(IsEmpty())) << kind;
    EXPECT_EQ(report.damages[0].kind, DamageKind::File);
    EXPECT_EQ(report.damages[0].file, path);
    EXPECT_THAT(report.damages[0].text, HasSubstr("cannot be opened: Permission denied"));
  }
}

/// Changes the base frame, or the last frame with sections, of the newest segment. Behind the last
/// one there is nothing then.
void reseal(SimFs& machine, const std::string& path, bool base, const FrameChange& change) {
  const auto frames = framesOf(machine, path);
  if (base) return testsupport::reseal(machine, path, frames.front(), change);
  const auto last = std::find_if(frames.rbegin(), frames.rend(), [](const FoundFrame& frame) {
    return !frame.view.sections.empty();
  });
  testsupport::reseal(machine, path, *last, change);
  blank(machine, path, last->offset + last->view.header.frameBytes);
}

// They are no damage of the disk, but the engine refuses the directory for them.
TEST_F(VerifyTest, FramesThatThisVersionDoesNotUnderstandRefuseAsTheEngineDoes) {
  const std::tuple<const char*, bool, FrameChange> cases[] = {
      {"section of a newer kind", false,
       [](auto&, auto& sections, auto&) { sections[0].kind = static_cast<SectionKind>(4); }},
      {"flag of a newer kind", false,
       [](auto&, auto& sections, auto&) { sections[0].flags = 0x40; }},
      {"frame of a newer kind", false,
       [](auto& header, auto&, auto&) { header.kind = static_cast<FrameKind>(9); }},
      {"section that never ends", false,
       [](auto&, auto& sections, auto&) { sections[0].flags = sectionMore; }},
      {"change of the catalog of a newer kind", false,
       [](auto&, auto& sections, auto& body) {
         sections[0].kind = SectionKind::Catalog;
         body[0] = 99;
         rehash(sections[0], body);
       }},
      {"catalog that cannot be read", true,
       [](auto&, auto& sections, auto& body) {
         body[2] = 0x7f;  // stores
         rehash(sections[0], body);
       }},
      {"base frame with a flag of a newer kind", true,
       [](auto&, auto& sections, auto&) { sections[0].flags = 0x40; }},
  };
  const std::string path = filesOf("segment-").back();
  for (const auto& [what, base, change] : cases) {
    SCOPED_TRACE(what);
    const auto machine = specimen().clone(1);
    reseal(*machine, path, base, change);
    const VerifyReport report = verify(*machine);
    EXPECT_TRUE(report.refused());
    EXPECT_TRUE(names(report, path));
    expectSame(askEngine(*machine), report);
  }
}

TEST_F(VerifyTest, ALastFrameOfAnotherOrderIsATornTailAsTheEngineSays) {
  const FrameChange changes[] = {
      [](auto& header, auto&, auto&) { header.sequence += 1; },
      [](auto& header, auto&, auto&) { header.sequence -= 1; },
      [](auto& header, auto&, auto&) { header.previousChecksum += 1; },
      [](auto& header, auto&, auto&) { header.kind = FrameKind::Base; },
  };
  const std::string path = filesOf("segment-").back();
  for (const FrameChange& change : changes) {
    const auto machine = specimen().clone(1);
    reseal(*machine, path, false, change);
    const VerifyReport report = verify(*machine);
    EXPECT_TRUE(report.sound());
    EXPECT_TRUE(report.torn.has_value());
    expectSame(askEngine(*machine), report);
  }
}

TEST_F(VerifyTest, PartsWithoutSegmentsAreSaidToBeThat) {
  const auto machine = specimen().clone(1);
  for (const std::string& path : filesOf("segment-")) machine->removeSynced(path);
  EXPECT_THAT(messageOf<Corruption>([&] { (void)verify(*machine); }),
              HasSubstr("holds parts of a journal but not its segments"));
}

TEST_F(VerifyTest, ADirectoryThatAnotherProcessHasIsVerifiedAndItsHolderNamed) {
  for (const Sharing sharing : {Sharing::Exclusive, Sharing::Shared}) {
    const auto machine = specimen().clone(1);
    const auto holder = machine->startProcess();
    JournalOptions options;
    options.sharing = sharing;
    const auto journal = Journal::open(specimenDirectory, options, holder->environment());
    Commit commit;
    commit.put(journal->findStore("young").value(), "k", "v");
    (void)journal->commit(commit);
    const VerifyReport report = verify(*machine);
    EXPECT_TRUE(report.sound());
    EXPECT_EQ(report.use,
              sharing == Sharing::Exclusive ? DirectoryUse::Exclusive : DirectoryUse::Shared);
    EXPECT_THAT(report.holder, HasSubstr("pid "));
    EXPECT_EQ(report.last, journal->written());
    commit.put(journal->findStore("young").value(), "k", "w");
    EXPECT_NO_THROW((void)journal->commit(commit)) << "the lock of PRESENCE was only looked at";
    holder->kill();
  }
}

// Threads write, roll, snapshot and clean while it reads: nothing of it may look like damage.
TEST_F(VerifyTest, ADamagedNewestBaseFrameDoesNotHideTheRest) {
  const auto machine = specimen().clone(1);
  for (const std::string& path : {filesOf("segment-").back(), filesOf("blob-").front()}) {
    Bytes bytes = specimen().image(path);
    bytes[300] ^= std::byte{1};
    machine->setImage(path, bytes);
  }
  const VerifyReport report = verify(*machine);
  EXPECT_TRUE(report.refused());
  EXPECT_TRUE(names(report, filesOf("segment-").back()));
  EXPECT_TRUE(names(report, filesOf("blob-").front()));
}

TEST(VerifyLiveTest, WhatAWriterDoesMeanwhileIsNotTakenForDamage) {
  const TemporaryDirectory temporary;
  const std::string directory = temporary / "state";
  JournalOptions options;
  options.segmentBytes = 16 << 10;
  options.snapshotAfterBytes = 8 << 10;
  const auto journal = Journal::open(directory, options);
  const StoreId store = journal->declareStore("store");
  const LogId log = journal->declareLog("log");
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> commits{0};  // so many may be made: verify must get to an end
  std::thread writer([&] {
    Commit commit;
    for (std::uint64_t i = 0; !stop;) {
      if (i == commits.load()) {
        std::this_thread::yield();
        continue;
      }
      ++i;
      commit.put(store, "k" + std::to_string(i % 50), std::string(200, 'v'));
      commit.recordBuffer(log) += std::string(100, 'r');
      commit.recordAdded(log, 1);
      (void)journal->commit(commit, Durability::Buffered);
      if (i % 200 == 0) {
        journal->trimLog(log, journal->log(log).end - 20);
        journal->snapshotStore(store);
        (void)journal->clean();
      }
    }
  });
  for (int i = 0; i < 15; ++i) {
    commits += 1000;
    const VerifyReport report = verifyJournal(directory);
    EXPECT_TRUE(report.sound()) << report.damages[0].text;
    EXPECT_EQ(report.use, DirectoryUse::Exclusive);
  }
  stop = true;
  writer.join();
}

TEST(VerifyDirectoryTest, WhatIsNoJournalIsRefused) {
  const TemporaryDirectory temporary;
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)verifyJournal(temporary / "none"); }),
              HasSubstr("is not there"));
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)verifyJournal(temporary.path()); }),
              HasSubstr("holds no journal"));
  std::ofstream(temporary / "file") << "x";
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)verifyJournal(temporary / "file"); }),
              HasSubstr("is a file"));
}

TEST(VerifyDirectoryTest, EachKindOfDamageHasAName) {
  const std::pair<DamageKind, const char*> names[] = {
      {DamageKind::File, "file"},   {DamageKind::MissingFile, "missing file"},
      {DamageKind::Frame, "frame"}, {DamageKind::Section, "section"},
      {DamageKind::Block, "block"}, {DamageKind::Index, "index"},
  };
  for (const auto& [kind, name] : names) EXPECT_EQ(nameOf(kind), name);
}

TEST(VerifyDirectoryTest, ProgressEndsAtAllBytes) {
  const TemporaryDirectory temporary;
  const std::string directory = temporary / "state";
  {
    const auto journal = Journal::open(directory);
    Commit commit;
    commit.put(journal->declareStore("s"), "k", "v");
    (void)journal->commit(commit);
  }
  VerifyProgress last;
  (void)verifyJournal(directory, {.progress = [&](const VerifyProgress& now) {
                        EXPECT_GE(now.bytesDone, last.bytesDone);
                        last = now;
                      }});
  EXPECT_GT(last.bytesDone, 0U);
  EXPECT_LE(last.bytesDone, last.bytesTotal);
}

}  // namespace
}  // namespace penstock::state
