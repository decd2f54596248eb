// SPDX-License-Identifier: Apache-2.0
//
// Goal: the reader of a store's snapshot takes nothing for it that is not, though its checksums are
// right, and finds every key with and without its table. Method: files written and sealed here.
#include "snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>

#include "support/message_of.h"
#include "support/sim_fs.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::HasSubstr;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimProcess;

const JournalId journal{.low = 11, .high = 22};

class StoreSnapshotTest : public ::testing::Test {
 protected:
  StoreSnapshotTest() { machine_.makeSyncedDirectory("/d"); }

  void write(int entries, std::size_t valueBytes = 100) {
    auto file = process_->open("/d/snap", OpenMode::CreateNew);
    ASSERT_TRUE(file.ok());
    SnapshotWriter writer(*file.value, "/d/snap", journal, 7, 3, 90, 0);
    for (int i = 0; i < entries; ++i) writer.add(key(i), std::string(valueBytes, 'v'));
    checksum_ = writer.finish().checksum;
  }
  static std::string key(int i) { return "key" + std::to_string(100'000 + i); }
  std::unique_ptr<SnapshotReader> open() {
    auto file = process_->open("/d/snap", OpenMode::Read);
    EXPECT_TRUE(file.ok());
    return std::make_unique<SnapshotReader>(std::move(file.value), "/d/snap", journal, 7, 3, 90,
                                            checksum_);
  }
  /// Seals the file again with a footer, and an index of the same size, that `change` has changed.
  void reseal(const std::function<void(SnapshotFooter&, std::string&)>& change) {
    auto bytes = machine_.image("/d/snap");
    SnapshotFooter footer{};
    const std::size_t footerAt = bytes.size() - sizeof(footer);
    std::memcpy(&footer, bytes.data() + footerAt, sizeof(footer));
    const std::size_t indexAt = footer.indexOffset;
    std::string index(footer.indexBytes, '\0');
    std::memcpy(index.data(), bytes.data() + indexAt, index.size());
    change(footer, index);
    footer.indexHash = hash64(index);
    footer.checksum =
        hash64({reinterpret_cast<const char*>(&footer), offsetof(SnapshotFooter, checksum)});
    std::memcpy(bytes.data() + indexAt, index.data(), index.size());
    std::memcpy(bytes.data() + footerAt, &footer, sizeof(footer));
    checksum_ = footer.checksum;
    machine_.setImage("/d/snap", bytes);
  }
  std::string damage() {
    return messageOf<Corruption>([&] { (void)open(); });
  }

  SimFs machine_{1};
  std::shared_ptr<SimProcess> process_ = machine_.startProcess();
  std::uint64_t checksum_ = 0;
};

TEST_F(StoreSnapshotTest, EachKeyIsFoundWithAndWithoutItsTable) {
  write(1000);
  const auto reader = open();
  for (const bool table : {false, true}) {
    if (table) reader->makeTable();
    std::string scratch;
    std::string_view value;
    for (int i = 0; i < 1000; ++i)
      ASSERT_TRUE(reader->find(key(i), hash64(key(i)), scratch, value)) << i;
    EXPECT_EQ(value, std::string(100, 'v'));
    for (const std::string& absent : {std::string("a"), key(500) + "x", std::string("z")}) {
      EXPECT_FALSE(reader->find(absent, hash64(absent), scratch, value)) << absent;
    }
  }
  EXPECT_FALSE(reader->wantsTable());
}

TEST_F(StoreSnapshotTest, LargeValuesHaveNoTable) {
  write(20, 20'000);
  const auto reader = open();
  const std::size_t before = reader->memoryBytes();
  reader->makeTable();
  EXPECT_EQ(reader->memoryBytes(), before);
  EXPECT_FALSE(reader->wantsTable()) << "it was tried";
}

TEST_F(StoreSnapshotTest, OneWithoutEntriesHoldsNothing) {
  write(0);
  const auto reader = open();
  std::string scratch;
  std::string_view value;
  EXPECT_FALSE(reader->find("k", hash64("k"), scratch, value));
  EXPECT_FALSE(reader->cursor("")->valid());
}

TEST_F(StoreSnapshotTest, ACursorBeginsAtTheFirstKeyThatIsNotBefore) {
  write(1000);
  const auto reader = open();
  const auto middle = reader->cursor(key(499) + "x");
  ASSERT_TRUE(middle->valid());
  EXPECT_EQ(middle->key(), key(500));
  EXPECT_FALSE(reader->cursor("z")->valid());
}

TEST_F(StoreSnapshotTest, AFooterThatIsNotThisOnesIsRefusedThoughItsChecksumIsRight) {
  using Change = std::function<void(SnapshotFooter&, std::string&)>;
  const std::pair<Change, const char*> cases[] = {
      {[](auto& footer, auto&) { footer.magic += 1; }, "has a damaged footer"},
      {[](auto& footer, auto&) { footer.number += 1; }, "has a damaged footer"},
      {[](auto& footer, auto&) { footer.storeId += 1; }, "has a damaged footer"},
      {[](auto& footer, auto&) { footer.covers += 1; }, "has a damaged footer"},
      {[](auto& footer, auto&) { footer.indexOffset += 8; }, "footer that does not fit its size"},
      {[](auto& footer, auto&) { footer.indexOffset = 1 << 30; }, "does not fit its size"},
      {[](auto& footer, auto&) { footer.indexBytes -= 1; }, "footer that does not fit its size"},
      {[](auto& footer, auto&) { footer.blocks += 1; }, "has an index that cannot be read"},
      {[](auto&, std::string& index) { index[24] = '\x7f'; }, "has an index that cannot be read"},
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    ASSERT_TRUE(process_->remove("/d/snap").ok() || i == 0);
    write(10);
    reseal(cases[i].first);
    EXPECT_THAT(damage(), HasSubstr(cases[i].second));
  }
}

TEST_F(StoreSnapshotTest, AnotherSnapshotThanTheJournalListsIsRefused) {
  write(10);
  checksum_ += 1;
  EXPECT_THAT(damage(), HasSubstr("/d/snap: has a damaged footer at offset "));
}

TEST_F(StoreSnapshotTest, OneThatIsTooShortOrWasCutIsRefused) {
  write(10);
  const auto whole = machine_.image("/d/snap");
  for (const std::size_t length : {std::size_t{0}, std::size_t{100}, sizeof(FileHeader),
                                   sizeof(FileHeader) + 79, whole.size() - 1}) {
    machine_.setImage("/d/snap", std::span(whole).first(length));
    EXPECT_THAT(damage(), HasSubstr("/d/snap: ")) << length;
  }
  machine_.setImage("/d/snap", std::span(whole).first(sizeof(FileHeader) + 79));
  EXPECT_THAT(damage(), HasSubstr("is too short for a snapshot"));
}

TEST_F(StoreSnapshotTest, ADamagedBlockIsNamedWhenItIsReadAndCountedWhenScrubbed) {
  write(1000);
  auto bytes = machine_.image("/d/snap");
  bytes[sizeof(FileHeader) + 200] ^= std::byte{1};
  machine_.setImage("/d/snap", bytes);
  const auto reader = open();
  std::string scratch;
  std::string_view value;
  EXPECT_THAT(
      messageOf<Corruption>([&] { (void)reader->find(key(0), hash64(key(0)), scratch, value); }),
      HasSubstr("has a damaged block at offset 128"));
  EXPECT_TRUE(reader->find(key(999), hash64(key(999)), scratch, value));
  const auto some = reader->scrub(1, 1);
  EXPECT_EQ(some.damaged, 1U);
  const auto rest = reader->scrub(1 << 20, 1);
  EXPECT_GT(rest.bytes, some.bytes);
  EXPECT_EQ(rest.damaged, 0U);
  EXPECT_EQ(reader->scrub(1 << 20, 1).bytes, 0U);
  EXPECT_EQ(reader->scrub(1 << 20, 2).damaged, 1U);
}

TEST_F(StoreSnapshotTest, ScrubbingReadsItsBlocksFromTheDiskAndLeavesTheOtherPages) {
  write(1000);
  // A sync that failed: the page cache says something else than the disk.
  const auto file = std::move(process_->open("/d/snap", OpenMode::ReadWrite).value);
  const std::string bad(100'000, 'b');
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(bad)};
  const auto reader = open();
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(file->write(sizeof(FileHeader), pieces).ok());
  machine_.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_EQ(file->sync().error, EIO);

  EXPECT_EQ(reader->scrub(1, 1).damaged, 0U);
  std::string scratch;
  std::string_view value;
  EXPECT_TRUE(reader->find(key(0), hash64(key(0)), scratch, value));
  EXPECT_THROW((void)reader->find(key(500), hash64(key(500)), scratch, value), Corruption);
  EXPECT_EQ(reader->scrub(1 << 20, 1).damaged, 0U);
  EXPECT_TRUE(reader->find(key(500), hash64(key(500)), scratch, value));
}

}  // namespace
}  // namespace penstock::state
