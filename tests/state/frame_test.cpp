// SPDX-License-Identifier: Apache-2.0
//
// Goal: of headers, frames and footers whose checksum is right all else is checked too: they may
// be of another place, another machine or a newer version. Method: sealed here, with one wrong
// field each.
#include "frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <cstring>
#include <functional>

#include "file_names.h"
#include "segment_index.h"
#include "support/message_of.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::HasSubstr;

const JournalId journal{.low = 11, .high = 22};

// File headers

std::string sealed(FileHeader header) {
  header.checksum =
      hash64({reinterpret_cast<const char*>(&header), offsetof(FileHeader, checksum)});
  return {reinterpret_cast<const char*>(&header), sizeof(header)};
}

class FileHeaderTest : public ::testing::Test {
 protected:
  FileHeader header_ = makeFileHeader(FileKind::Snapshot, journal, 7, 3, 1000, 0);
  void check() const {
    checkFileHeader(sealed(header_), "/d/file", FileKind::Snapshot, journal, 7, 3);
  }
  [[nodiscard]] std::string damage() const {
    return messageOf<Corruption>([&] { check(); });
  }
  [[nodiscard]] std::string tooNew() const {
    return messageOf<FormatTooNew>([&] { check(); });
  }
};

TEST_F(FileHeaderTest, OfItsPlaceIsTaken) { EXPECT_NO_THROW(check()); }

TEST_F(FileHeaderTest, OfAnotherMachineOrANewerVersionIsSaidToBeThat) {
  header_.byteOrderMark = 0x04030201;
  EXPECT_THAT(tooNew(), HasSubstr("/d/file: written on a machine of another byte order"));
  header_ = makeFileHeader(FileKind::Snapshot, journal, 7, 3, 1000, 0);
  header_.minimumReader = formatVersion + 1;
  EXPECT_THAT(tooNew(), HasSubstr("reads format version " + std::to_string(formatVersion + 1)));
  header_.minimumReader = formatVersion;
  header_.incompatibleFeatures = 0x40;
  EXPECT_THAT(tooNew(), HasSubstr("features 0x40"));
}

TEST_F(FileHeaderTest, OfAnotherKindPlaceOrJournalIsRefused) {
  header_.kind = FileKind::Blob;
  EXPECT_THAT(damage(), HasSubstr("is a file of kind 3, expected kind 2"));
  header_.kind = FileKind::Snapshot;
  for (std::uint64_t FileHeader::*const field :
       {&FileHeader::journalLow, &FileHeader::journalHigh, &FileHeader::number}) {
    FileHeader before = header_;
    header_.*field += 1;
    EXPECT_THAT(damage(), HasSubstr("belongs to another journal or place"));
    header_ = before;
  }
  header_.storeId = 4;
  EXPECT_THAT(damage(), HasSubstr("is a snapshot of store 4, expected store 3"));
}

TEST_F(FileHeaderTest, ThatWasCutOrIsNoneIsRefusedByWhatItIs) {
  const std::string bytes = sealed(header_);
  EXPECT_THAT(messageOf<Corruption>(
                  [&] { (void)readFileHeader(bytes.substr(0, 40), "/d/f", FileKind::Snapshot); }),
              HasSubstr("/d/f: ends after 40 bytes, inside its file header"));
  std::string other = bytes;
  other[0] = 'p';
  EXPECT_THAT(
      messageOf<Corruption>([&] { (void)readFileHeader(other, "/d/f", FileKind::Snapshot); }),
      HasSubstr("not a Penstock file"));
  other = bytes;
  other[70] = static_cast<char>(other[70] + 1);
  EXPECT_THAT(
      messageOf<Corruption>([&] { (void)readFileHeader(other, "/d/f", FileKind::Snapshot); }),
      HasSubstr("file header at offset 0 is damaged"));
}

// Frames

SectionEntry section(SectionKind kind, std::uint8_t flags = 0, std::uint64_t id = 1) {
  SectionEntry entry{};
  entry.kind = kind;
  entry.flags = flags;
  entry.length = 8;
  entry.id = id;
  return entry;
}

TEST(FrameTest, WhatThisVersionDoesNotKnowIsNotUnderstood) {
  using Kind = SectionKind;
  const auto none = static_cast<Kind>(0);
  const auto newer = static_cast<Kind>(4);
  const auto kindBelow = static_cast<FrameKind>(0);
  const auto kindAbove = static_cast<FrameKind>(5);
  struct Case {
    bool good;
    FrameKind kind;
    std::uint64_t blob;
    std::vector<SectionEntry> sections;
  };
  const auto more = sectionMore;
  const auto external = sectionExternal;
  const Case cases[] = {
      {true, FrameKind::Commit, 0, {section(Kind::Store), section(Kind::Log)}},
      {true, FrameKind::Mark, 0, {}},
      {true, FrameKind::Close, 0, {}},
      {true, FrameKind::Commit, 0, {section(Kind::Store, more), section(Kind::Store)}},
      {true, FrameKind::Commit, 5, {section(Kind::Log, external)}},
      {false, kindBelow, 0, {}},
      {false, kindAbove, 0, {}},
      {false, FrameKind::Mark, 0, {section(Kind::Store)}},
      {false, FrameKind::Close, 0, {section(Kind::Store)}},
      {false, FrameKind::Commit, 0, {section(none)}},
      {false, FrameKind::Commit, 0, {section(newer)}},
      {false, FrameKind::Commit, 0, {section(Kind::Store, 4)}},
      {false, FrameKind::Commit, 0, {section(Kind::Log, external)}},  // and no blob
      {false, FrameKind::Commit, 5, {section(Kind::Catalog, external)}},
      {false, FrameKind::Commit, 0, {section(Kind::Store, more), section(Kind::Log)}},
      {false, FrameKind::Commit, 0, {section(Kind::Store, more), section(Kind::Store, 0, 2)}},
      {false, FrameKind::Commit, 5, {section(Kind::Store, more), section(Kind::Store, external)}},
      {false, FrameKind::Commit, 0, {section(Kind::Store, more)}},  // of which nothing comes
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    FrameView frame;
    frame.header.kind = cases[i].kind;
    frame.header.blob = cases[i].blob;
    frame.sections = cases[i].sections;
    EXPECT_EQ(understood(frame), cases[i].good) << "case " << i;
  }
}

class ParsedFrameTest : public ::testing::Test {
 protected:
  ParsedFrameTest() {
    header_.kind = FrameKind::Commit;
    header_.segment = place_.segment;
    header_.fileOffset = place_.fileOffset;
    header_.journalLow = journal.low;
    entries_ = {section(SectionKind::Store), section(SectionKind::Log, sectionExternal)};
  }
  /// With a checksum that is right, whatever else is.
  FrameCheck parse(const std::function<void(FrameHeader&)>& change = {}) {
    std::string bytes;
    encodeFrame(header_, entries_, bytes);
    if (change) {
      FrameHeader changed{};
      std::memcpy(&changed, bytes.data(), sizeof(changed));
      change(changed);
      const std::string_view directory = std::string_view(bytes).substr(sizeof(changed));
      const std::uint64_t head = XXH3_64bits(&changed, offsetof(FrameHeader, checksum));
      changed.checksum = XXH3_64bits_withSeed(directory.data(), directory.size(), head);
      std::memcpy(bytes.data(), &changed, sizeof(changed));
    }
    return parseFrame(bytes, place_, view_);
  }

  const FramePlace place_{journal, 4, 4096};
  FrameHeader header_{};
  std::vector<SectionEntry> entries_;
  FrameView view_;
};

TEST_F(ParsedFrameTest, OfItsPlaceIsValid) {
  EXPECT_EQ(parse(), FrameCheck::Valid);
  EXPECT_EQ(parse([](FrameHeader&) {}), FrameCheck::Valid);
  EXPECT_EQ(view_.header.frameBytes, padded(sizeof(FrameHeader) + 2 * sizeof(SectionEntry) + 8));
  EXPECT_EQ(view_.sections.size(), 2U);
}

TEST_F(ParsedFrameTest, WithOneWrongFieldIsInvalidThoughItsChecksumIsRight) {
  const std::function<void(FrameHeader&)> wrong[] = {
      [](FrameHeader& header) { header.magic += 1; },
      [](FrameHeader& header) { header.segment += 1; },
      [](FrameHeader& header) { header.fileOffset += 8; },
      [](FrameHeader& header) { header.journalLow += 1; },
      [](FrameHeader& header) { header.sectionCount = sectionCountMax + 1; },
      [](FrameHeader& header) { header.frameBytes = sizeof(FrameHeader); },
      [](FrameHeader& header) { header.frameBytes += 4; },
      [](FrameHeader& header) { header.frameBytes += 8; },
  };
  for (std::size_t i = 0; i < std::size(wrong); ++i) {
    EXPECT_EQ(parse(wrong[i]), FrameCheck::Invalid) << "case " << i;
  }
  entries_[1].length = sectionBytesMax + 1;  // external: no part of the frame's size
  EXPECT_EQ(parse(), FrameCheck::Invalid);
}

TEST_F(ParsedFrameTest, ThatEndsEarlyIsIncomplete) {
  std::string bytes;
  encodeFrame(header_, entries_, bytes);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(parseFrame(std::string_view(bytes).substr(0, length), place_, view_),
              FrameCheck::Incomplete)
        << length;
  }
}

// Footers of segments

TEST(SegmentFooterTest, OfAnotherPlaceOrThatWasCutIsNone) {
  SegmentIndex index;
  SectionRef ref{};
  ref.sequence = 5;
  ref.id = 1;
  ref.kind = SectionKind::Log;
  ref.length = 100;
  ref.base = 10;
  ref.count = 3;
  index.add(ref);
  const std::string bytes = index.encodeFooter(11, 4, 4096);
  const auto read = SegmentIndex::decodeFooter(bytes, 11, 4, 4096);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->find(1, 12), 0U);
  EXPECT_FALSE(read->find(1, 13).has_value());
  EXPECT_FALSE(read->find(1, 9).has_value());
  EXPECT_FALSE(read->find(2, 10).has_value());
  EXPECT_FALSE(SegmentIndex::decodeFooter(bytes, 12, 4, 4096).has_value());
  EXPECT_FALSE(SegmentIndex::decodeFooter(bytes, 11, 5, 4096).has_value());
  EXPECT_FALSE(SegmentIndex::decodeFooter(bytes, 11, 4, 4104).has_value());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(SegmentIndex::decodeFooter(bytes.substr(0, length), 11, 4, 4096)) << length;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 1);
    EXPECT_FALSE(SegmentIndex::decodeFooter(damaged, 11, 4, 4096)) << at;
  }
}

TEST(SegmentFooterTest, WhoseLastSectionGoesOnIsNone) {
  SegmentIndex index;
  SectionRef ref{};
  ref.kind = SectionKind::Store;
  ref.flags = sectionMore;
  index.add(ref);
  EXPECT_FALSE(SegmentIndex::decodeFooter(index.encodeFooter(11, 4, 128), 11, 4, 128));
  ref.flags = 0;
  index.add(ref);
  EXPECT_TRUE(SegmentIndex::decodeFooter(index.encodeFooter(11, 4, 128), 11, 4, 128));
}

// Names

TEST(FileNamesTest, ANumberIsReadFromItsOneNameAlone) {
  for (const FileKind kind :
       {FileKind::Segment, FileKind::Snapshot, FileKind::Blob, FileKind::Archive}) {
    for (const std::uint64_t number : {std::uint64_t{1}, ~std::uint64_t{0}}) {
      const std::string name = fileName(number, kind);
      EXPECT_EQ(fileNumber(name, kind), number) << name;
      EXPECT_TRUE(isDurableFile(name)) << name;
      EXPECT_FALSE(fileNumber(name, FileKind::Export)) << name;
    }
  }
  for (const char* name :
       {"segment-1.log", "segment-00000000001.log", "segment-000000000x.log", "segment-.log",
        "segment--000000001.log", "segment-0000000001.log.tmp", "snapshot-000000000000000G.snap",
        "snapshot-000000000000000A.snap", "segment-99999999999999999999.log", "segment-",
        "blob-0000000000000001.arch", "JOURNAL", ""}) {
    EXPECT_FALSE(isDurableFile(name)) << name;
  }
  EXPECT_EQ(fileName(1, FileKind::Export), "");
}

}  // namespace
}  // namespace penstock::state
