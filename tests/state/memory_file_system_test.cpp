// SPDX-License-Identifier: Apache-2.0
//
// Goal: files in memory answer as files on a disk do, errors included: what opens a journal cannot
// tell them apart.
#include "memory_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/file_system.h>
#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "bytes.h"

namespace penstock::state {
namespace {

using ::testing::UnorderedElementsAre;

class MemoryFileSystemTest : public ::testing::Test {
 protected:
  std::unique_ptr<File> open(const std::string& path, OpenMode mode = OpenMode::ReadWriteCreate) {
    auto file = files_.open(path, mode);
    EXPECT_TRUE(file.ok()) << path << ": error " << file.error;
    return std::move(file.value);
  }
  static void write(File& file, std::uint64_t offset, std::string_view text) {
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
    EXPECT_TRUE(file.write(offset, pieces).ok());
  }
  static std::string read(File& file, std::uint64_t offset, std::size_t bytes) {
    std::string text(bytes, '?');
    const auto got = file.read(offset, std::as_writable_bytes(std::span(text)));
    EXPECT_TRUE(got.ok());
    text.resize(got.value);
    return text;
  }
  bool tryLock(File& file, LockKind kind) { return file.tryLock(kind).value; }

  MemoryFileSystem files_;
};

TEST_F(MemoryFileSystemTest, OpenModesCreateOrRefuse) {
  EXPECT_EQ(files_.open("/d/f", OpenMode::Read).error, ENOENT);
  EXPECT_EQ(files_.open("/d/f", OpenMode::ReadWrite).error, ENOENT);
  const auto first = open("/d/f", OpenMode::CreateNew);
  EXPECT_EQ(files_.open("/d/f", OpenMode::CreateNew).error, EEXIST);
  EXPECT_EQ(files_.open("/d/g", OpenMode::Read).error, ENOENT);
  write(*first, 0, "shared");
  EXPECT_EQ(read(*open("/d/f", OpenMode::Read), 0, 10), "shared");
  EXPECT_EQ(read(*open("/d/f"), 0, 10), "shared");
}

TEST_F(MemoryFileSystemTest, WhatIsWrittenIsReadAndHolesAreZeros) {
  const auto file = open("/d/f");
  write(*file, 5, "end");
  EXPECT_EQ(read(*file, 0, 100), std::string("\0\0\0\0\0end", 8));
  write(*file, 0, "begin");
  EXPECT_EQ(read(*file, 3, 4), "inen");
  EXPECT_EQ(read(*file, 8, 4), "");
  EXPECT_EQ(read(*file, 800, 4), "");
  EXPECT_EQ(file->size().value, 8U);
}

TEST_F(MemoryFileSystemTest, WhatIsCutOffIsZerosWhenTheFileGrowsAgain) {
  const std::string text(600'000, 'x');  // of several pieces
  const auto file = open("/d/f");
  for (const std::uint64_t size : {std::uint64_t{300'000}, std::uint64_t{0}}) {
    write(*file, 0, text);
    EXPECT_TRUE(file->truncate(size).ok());
    EXPECT_EQ(file->size().value, size);
    EXPECT_TRUE(file->truncate(400'000).ok());
    EXPECT_EQ(read(*file, 0, 500'000), text.substr(0, size) + std::string(400'000 - size, '\0'));
  }
}

TEST_F(MemoryFileSystemTest, LocksExcludeOtherOpenFiles) {
  const auto one = open("/d/f");
  const auto two = open("/d/f");
  const auto three = open("/d/f");
  EXPECT_TRUE(tryLock(*one, LockKind::Shared));
  EXPECT_TRUE(tryLock(*two, LockKind::Shared));
  EXPECT_FALSE(tryLock(*three, LockKind::Exclusive));
  EXPECT_FALSE(tryLock(*one, LockKind::Exclusive)) << "another one shares it";
  EXPECT_TRUE(two->unlock().ok());
  EXPECT_TRUE(tryLock(*one, LockKind::Exclusive)) << "its own lock is none of another";
  EXPECT_FALSE(tryLock(*two, LockKind::Shared));
  EXPECT_TRUE(tryLock(*one, LockKind::Shared));
  EXPECT_TRUE(tryLock(*two, LockKind::Shared));
}

TEST_F(MemoryFileSystemTest, LocksOfBytesExcludeEachByItself) {
  auto one = open("/d/f");
  const auto two = open("/d/f");
  EXPECT_TRUE(one->tryLockByte(7).value);
  EXPECT_TRUE(one->tryLockByte(7).value) << "its own";
  EXPECT_FALSE(two->tryLockByte(7).value);
  EXPECT_TRUE(two->tryLockByte(8).value);
  EXPECT_TRUE(two->unlockByte(7).ok());
  EXPECT_FALSE(two->tryLockByte(7).value) << "was not its to unlock";
  EXPECT_TRUE(one->unlockByte(7).ok());
  EXPECT_TRUE(two->tryLockByte(7).value);
  EXPECT_TRUE(one->tryLockByte(9).value);
  one.reset();  // closing is unlocking
  EXPECT_TRUE(two->tryLockByte(9).value);
}

TEST_F(MemoryFileSystemTest, AWaiterGetsTheLockWhenItsHolderCloses) {
  auto holder = open("/d/f");
  const auto waiter = open("/d/f");
  EXPECT_TRUE(tryLock(*holder, LockKind::Exclusive));
  std::atomic<bool> closing{false};
  std::thread waiting([&] {
    EXPECT_TRUE(waiter->lock(LockKind::Exclusive).ok());
    EXPECT_TRUE(closing);
  });
  closing = true;
  holder.reset();
  waiting.join();
  EXPECT_FALSE(tryLock(*open("/d/f"), LockKind::Shared));
}

TEST_F(MemoryFileSystemTest, RenamesRemovesAndLists) {
  EXPECT_EQ(files_.list("/d").error, ENOENT);
  EXPECT_EQ(files_.rename("/d/a", "/d/b").error, ENOENT);
  EXPECT_EQ(files_.remove("/d/a").error, ENOENT);
  const auto a = open("/d/a");
  const auto b = open("/d/b");
  write(*a, 0, "a");
  EXPECT_EQ(files_.rename("/d/none", "/d/b").error, ENOENT);
  EXPECT_EQ(files_.rename("/d/a", "/e/a").error, EXDEV);
  EXPECT_THAT(files_.list("/d").value, UnorderedElementsAre("a", "b"));
  EXPECT_TRUE(files_.rename("/d/a", "/d/b").ok());
  EXPECT_THAT(files_.list("/d").value, UnorderedElementsAre("b"));
  EXPECT_EQ(read(*open("/d/b"), 0, 10), "a");
  EXPECT_TRUE(files_.remove("/d/b").ok());
  EXPECT_EQ(files_.remove("/d/b").error, ENOENT);
  EXPECT_EQ(read(*a, 0, 10), "a") << "it is there while it is open";
}

TEST_F(MemoryFileSystemTest, InfoTellsWhatIsThere) {
  EXPECT_FALSE(files_.info("/d").value.exists);
  EXPECT_FALSE(files_.info("/d/f").value.exists);
  EXPECT_TRUE(files_.makeDirectories("/d").ok());
  EXPECT_TRUE(files_.info("/d").value.directory);
  EXPECT_FALSE(files_.info("/d/f").value.exists);
  const auto file = open("/d/f");
  write(*file, 0, "12345");
  const FileInfo info = files_.info("/d/f").value;
  EXPECT_TRUE(info.exists);
  EXPECT_FALSE(info.directory);
  EXPECT_EQ(info.size, 5U);
  EXPECT_NE(info.inode, files_.info("/d").value.inode);
  EXPECT_EQ(info.inode, files_.info("/x/../d/f").value.inode);
}

TEST_F(MemoryFileSystemTest, ADirectoryGoesWithItsLastOpenFile) {
  auto one = open("/d/f");
  auto two = open("/d/g");
  one.reset();
  EXPECT_THAT(files_.list("/d").value, UnorderedElementsAre("f", "g"));
  two.reset();
  EXPECT_FALSE(files_.info("/d").value.exists);
}

TEST_F(MemoryFileSystemTest, APageIsOneForAllThatMapIt) {
  const auto page = files_.mapShared("/d/PAGE").value;
  page->data()[7] = std::byte{7};
  EXPECT_EQ(files_.mapShared("/d/PAGE").value, page);
  EXPECT_NE(files_.mapShared("/d/OTHER").value, page);
}

}  // namespace
}  // namespace penstock::state
