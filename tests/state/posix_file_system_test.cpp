// SPDX-License-Identifier: Apache-2.0
#include "posix_file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "process.h"

namespace penstock::state {
namespace {

std::span<const std::byte> bytesOf(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

IoStatus writeText(File& file, std::uint64_t offset, std::string_view text) {
  const std::span<const std::byte> piece = bytesOf(text);
  return file.write(offset, {&piece, 1});
}

std::string readText(File& file, std::uint64_t offset, std::size_t length) {
  std::string text(length, '?');
  const auto count = file.read(offset, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(count.error, 0);
  text.resize(count.value);
  return text;
}

/// Runs `body` in a forked child; its result is the child's exit code.
template <typename Body>
int inChild(Body body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

class PosixFileSystemTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::unique_ptr<File> open(const std::string& name, OpenMode mode) {
    auto opened = files_.open(path(name), mode);
    EXPECT_EQ(opened.error, 0) << name << ": " << std::strerror(opened.error);
    return std::move(opened.value);
  }

  PosixFileSystem files_;
  std::string directory_;
};

TEST_F(PosixFileSystemTest, ReadsBackWhatWasWrittenInPieces) {
  const auto file = open("a", OpenMode::CreateNew);
  const std::string big(300'000, 'x');
  const std::vector<std::span<const std::byte>> pieces{bytesOf("one"), bytesOf(""), bytesOf(big),
                                                       bytesOf(""), bytesOf("end")};
  ASSERT_TRUE(file->write(5, pieces).ok());
  EXPECT_EQ(file->size().value, 5 + 3 + big.size() + 3);
  EXPECT_EQ(readText(*file, 0, 8), std::string("\0\0\0\0\0one", 8));
  EXPECT_EQ(readText(*file, 8 + big.size(), 100), "end");
  EXPECT_EQ(readText(*file, 1 << 20, 10), "");
}

TEST_F(PosixFileSystemTest, WritesMorePiecesThanOneCallTakes) {
  const auto file = open("a", OpenMode::CreateNew);
  std::vector<std::string> texts;
  for (int i = 0; i < 5000; ++i) texts.push_back(std::to_string(i) + ",");
  std::string expected;
  std::vector<std::span<const std::byte>> pieces;
  for (const std::string& text : texts) {
    pieces.push_back(bytesOf(text));
    expected += text;
  }
  ASSERT_TRUE(file->write(0, pieces).ok());
  EXPECT_EQ(readText(*file, 0, expected.size() + 1), expected);
}

TEST_F(PosixFileSystemTest, AShortWriteIsFinishedOrReportedNeverSwallowed) {
  const auto file = open("a", OpenMode::CreateNew);
  const int code = inChild([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10'000, 10'000};  // the kernel writes up to it, then fails
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 99;
    const IoStatus status = writeText(*file, 0, std::string(20'000, 'y'));
    return status.error;
  });
  EXPECT_EQ(code, EFBIG);
  EXPECT_EQ(file->size().value, 10'000U);
}

TEST_F(PosixFileSystemTest, OpenModesCreateOrRefuse) {
  EXPECT_EQ(files_.open(path("a"), OpenMode::Read).error, ENOENT);
  EXPECT_EQ(files_.open(path("a"), OpenMode::ReadWrite).error, ENOENT);
  EXPECT_TRUE(files_.open(path("a"), OpenMode::CreateNew).ok());
  EXPECT_EQ(files_.open(path("a"), OpenMode::CreateNew).error, EEXIST);
  EXPECT_TRUE(files_.open(path("b"), OpenMode::ReadWriteCreate).ok());
  const auto reader = open("b", OpenMode::Read);
  EXPECT_EQ(writeText(*reader, 0, "x").error, EBADF);
  struct stat status {};
  ASSERT_EQ(::stat(path("b").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
}

TEST_F(PosixFileSystemTest, NeverUsesTheStandardDescriptorsAndClosesOnExec) {
  EXPECT_EQ(inChild([&] {
              ::close(0);
              ::close(1);
              ::close(2);
              ::close(3);  // whoever runs the tests may have left it open
              auto opened = files_.open(path("a"), OpenMode::CreateNew);
              if (!opened.ok()) return 1;
              for (int fd = 0; fd < 3; ++fd) {
                if (::fcntl(fd, F_GETFD) != -1) return 2;
              }
              return ::fcntl(3, F_GETFD) == -1 || (::fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 ? 0 : 3;
            }),
            0);
}

TEST_F(PosixFileSystemTest, APipeIsRefusedNotWaitedFor) {
  const std::string pipe = path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(files_.open(pipe, OpenMode::Read).error, ESPIPE);
  EXPECT_EQ(files_.open(pipe, OpenMode::ReadWrite).error, ESPIPE);
}

TEST_F(PosixFileSystemTest, TruncateAndAllocateSetTheSize) {
  const auto file = open("a", OpenMode::CreateNew);
  ASSERT_TRUE(writeText(*file, 0, "abcdef").ok());
  ASSERT_TRUE(file->truncate(3).ok());
  EXPECT_EQ(readText(*file, 0, 10), "abc");
  const IoStatus allocated = file->allocate(10'000);
  if (allocated.error != EOPNOTSUPP) {
    ASSERT_EQ(allocated.error, 0);
    EXPECT_EQ(file->size().value, 10'000U);
    EXPECT_EQ(readText(*file, 2, 3), std::string("c\0\0", 3));
  }
  EXPECT_TRUE(file->sync().ok());
  file->startWriteback(0, 4096);
  EXPECT_TRUE(file->dropCache(0, 0).ok());
  EXPECT_EQ(readText(*file, 0, 3), "abc");
}

TEST_F(PosixFileSystemTest, DropCacheTakesItsRangeAndLeavesWhatIsFarAway) {
  const auto file = open("a", OpenMode::CreateNew);
  constexpr std::size_t part = 2U << 20;
  ASSERT_TRUE(writeText(*file, 0, std::string(5 * part, 'x')).ok());
  ASSERT_TRUE(file->sync().ok());
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  ASSERT_TRUE(file->dropCache(2 * part - 1, 3).ok());
  const int fd = ::open(path("a").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  void* mapped = ::mmap(nullptr, 5 * part, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  ASSERT_NE(mapped, MAP_FAILED);
  std::vector<unsigned char> cached(5 * part / page);
  EXPECT_EQ(::mincore(mapped, 5 * part, cached.data()), 0);
  ::munmap(mapped, 5 * part);
  EXPECT_EQ(cached[0] & 1, 1);
  EXPECT_EQ(cached[2 * part / page - 1] & 1, 0);
  EXPECT_EQ(cached[2 * part / page] & 1, 0);
  EXPECT_EQ(cached[4 * part / page] & 1, 1);
}

TEST_F(PosixFileSystemTest, MakesDirectoriesWithTheirParents) {
  ASSERT_TRUE(files_.makeDirectories(path("x/y/z/")).ok());
  ASSERT_TRUE(files_.makeDirectories(path("x/y/z")).ok());
  struct stat status {};
  ASSERT_EQ(::stat(path("x/y").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700U);
  open("file", OpenMode::CreateNew);
  EXPECT_EQ(files_.makeDirectories(path("file")).error, ENOTDIR);
  EXPECT_EQ(files_.makeDirectories(path("file/below")).error, ENOTDIR);
  EXPECT_EQ(files_.makeDirectories("").error, ENOENT);
}

TEST_F(PosixFileSystemTest, RenamesRemovesAndLists) {
  open("a", OpenMode::CreateNew);
  open("b", OpenMode::CreateNew);
  ASSERT_TRUE(files_.rename(path("a"), path("c")).ok());
  ASSERT_TRUE(files_.syncDirectory(directory_).ok());
  auto names = files_.list(directory_);
  ASSERT_TRUE(names.ok());
  std::sort(names.value.begin(), names.value.end());
  EXPECT_EQ(names.value, (std::vector<std::string>{"b", "c"}));
  EXPECT_TRUE(files_.remove(path("b")).ok());
  EXPECT_EQ(files_.remove(path("b")).error, ENOENT);
  EXPECT_EQ(files_.list(path("none")).error, ENOENT);
  EXPECT_EQ(files_.syncDirectory(path("none")).error, ENOENT);
  ASSERT_TRUE(files_.makeDirectories(path("d")).ok());
  EXPECT_TRUE(files_.remove(path("d")).ok());
}

TEST_F(PosixFileSystemTest, InfoTellsIdentity) {
  auto file = open("a", OpenMode::CreateNew);
  ASSERT_TRUE(writeText(*file, 0, "1234").ok());
  const auto info = files_.info(path("a"));
  ASSERT_TRUE(info.ok());
  EXPECT_TRUE(info.value.exists);
  EXPECT_FALSE(info.value.directory);
  EXPECT_EQ(info.value.size, 4U);
  EXPECT_NE(info.value.inode, 0U);
  EXPECT_EQ(files_.info(directory_ + "/./a").value.inode, info.value.inode);
  EXPECT_TRUE(files_.info(directory_).value.directory);
  EXPECT_FALSE(files_.info(path("none")).value.exists);
  EXPECT_EQ(files_.info(path("none")).error, 0);
  EXPECT_FALSE(files_.info(path("a/below")).value.exists);
  EXPECT_GT(files_.freeBytes(directory_).value, 0U);
}

TEST_F(PosixFileSystemTest, KnowsNetworkFileSystems) {
  EXPECT_EQ(networkKindOf(0x6969), "nfs");
  EXPECT_EQ(networkKindOf(0xFF534D42), "cifs");
  EXPECT_EQ(networkKindOf(0xFE534D42), "smb2");
  EXPECT_EQ(networkKindOf(0x01021997), "9p");
  EXPECT_EQ(networkKindOf(0x00C36400), "ceph");
  EXPECT_EQ(networkKindOf(0x65735546), "");  // FUSE
  EXPECT_EQ(networkKindOf(0xEF53), "");      // ext4
  EXPECT_EQ(files_.info(directory_).value.networkKind, "");
}

TEST_F(PosixFileSystemTest, KnowsFileSystemsOverOthers) {
  EXPECT_EQ(layeredKindOf(0x794C7630), "overlay");
  EXPECT_EQ(layeredKindOf(0x65735546), "fuse");
  EXPECT_EQ(layeredKindOf(0xEF53), "");  // ext4
}

TEST_F(PosixFileSystemTest, LocksExcludeOtherOpenFiles) {
  const auto first = open("L", OpenMode::ReadWriteCreate);
  auto second = open("L", OpenMode::ReadWriteCreate);
  EXPECT_TRUE(first->tryLock(LockKind::Shared).value);
  EXPECT_TRUE(second->tryLock(LockKind::Shared).value);
  EXPECT_FALSE(first->tryLock(LockKind::Exclusive).value);
  second.reset();  // closing is unlocking
  EXPECT_TRUE(first->tryLock(LockKind::Exclusive).value);
  second = open("L", OpenMode::ReadWriteCreate);
  const auto refused = second->tryLock(LockKind::Shared);
  EXPECT_TRUE(refused.ok());
  EXPECT_FALSE(refused.value);
  std::thread waiter([&] { EXPECT_TRUE(second->lock(LockKind::Exclusive).ok()); });
  EXPECT_TRUE(first->unlock().ok());
  waiter.join();
  EXPECT_FALSE(first->tryLock(LockKind::Shared).value);
}

TEST_F(PosixFileSystemTest, LocksOfBytesExcludeEachByItself) {
  constexpr std::uint64_t last = (std::uint64_t{1} << 63) - 1;
  const auto first = open("L", OpenMode::ReadWriteCreate);
  auto second = open("L", OpenMode::ReadWriteCreate);
  EXPECT_TRUE(first->tryLockByte(last).value);
  EXPECT_TRUE(first->tryLockByte(last).value) << "its own";
  const auto refused = second->tryLockByte(last);
  EXPECT_TRUE(refused.ok());
  EXPECT_FALSE(refused.value);
  EXPECT_TRUE(second->tryLockByte(last - 1).value);
  EXPECT_TRUE(second->unlockByte(last).ok());
  EXPECT_FALSE(second->tryLockByte(last).value) << "was not its to unlock";
  EXPECT_TRUE(first->unlockByte(last).ok());
  EXPECT_TRUE(second->tryLockByte(last).value);
  second.reset();  // closing is unlocking
  EXPECT_TRUE(first->tryLockByte(last).value);
  EXPECT_EQ(first->size().value, 0U) << "the byte need not be there";
}

TEST_F(PosixFileSystemTest, AForkedChildThatOutlivesItsParentHoldsNoLock) {
  auto locked = open("L", OpenMode::ReadWriteCreate);
  const auto unlocked = open("data", OpenMode::CreateNew);
  ASSERT_TRUE(locked->tryLock(LockKind::Exclusive).value);
  ASSERT_TRUE(locked->tryLockByte(7).value);
  const ProcessMark mark;
  int started[2];
  int finish[2];
  ASSERT_EQ(::pipe(started), 0);
  ASSERT_EQ(::pipe(finish), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    ::close(started[1]);  // fork() has returned here, so the handlers have run
    ::close(finish[1]);
    while (::read(finish[0], &byte, 1) < 0) {
    }
    const bool refused = mark.forkedChild() && writeText(*locked, 0, "x").error == EBADF &&
                         locked->tryLock(LockKind::Shared).error == EBADF;
    const bool others = unlocked->size().ok() && !ProcessMark().forkedChild();
    ::_exit(refused && others ? 0 : 1);
  }
  EXPECT_FALSE(mark.forkedChild());
  ::close(started[1]);
  char byte = 0;
  EXPECT_EQ(::read(started[0], &byte, 1), 0);
  ::close(started[0]);
  const auto other = open("L", OpenMode::ReadWriteCreate);
  EXPECT_FALSE(other->tryLock(LockKind::Exclusive).value);  // the fork did not cost us the lock
  EXPECT_FALSE(other->tryLockByte(7).value);
  locked.reset();
  EXPECT_TRUE(other->tryLock(LockKind::Exclusive).value);  // though the child still runs
  EXPECT_TRUE(other->tryLockByte(7).value);
  ::close(finish[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::close(finish[0]);
  EXPECT_EQ(status, 0);
}

TEST_F(PosixFileSystemTest, AChildThatClosesInheritedFilesClosesNothingElse) {
  auto locked = open("L", OpenMode::ReadWriteCreate);
  ASSERT_TRUE(locked->tryLock(LockKind::Exclusive).value);
  EXPECT_EQ(inChild([&] {
              auto fresh = files_.open(path("fresh"), OpenMode::CreateNew);  // reuses the number
              locked.reset();
              return fresh.value->size().error;
            }),
            0);
}

TEST_F(PosixFileSystemTest, ASharedPageIsOneMemoryForAllProcesses) {
  const auto page = files_.mapShared(path("page"));
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(files_.info(path("page")).value.size, SharedPage::kSize);
  auto* word = new (page.value->data() + 8) std::atomic<std::uint32_t>(0);
  ASSERT_EQ(inChild([&] {
              const auto mine = files_.mapShared(path("page"));
              if (!mine.ok()) return 1;
              auto* seen = reinterpret_cast<std::atomic<std::uint32_t>*>(mine.value->data() + 8);
              seen->store(7);
              return 0;
            }),
            0);
  EXPECT_EQ(word->load(), 7U);
  const auto again = files_.mapShared(path("page"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(std::memcmp(again.value->data(), page.value->data(), SharedPage::kSize), 0);
}

TEST_F(PosixFileSystemTest, WaitEndsByWakeByChangeAndByTimeOut) {
  using std::chrono::milliseconds;
  const auto page = files_.mapShared(path("page"));
  const auto other = files_.mapShared(path("page"));  // another address of the same memory
  ASSERT_TRUE(page.ok() && other.ok());
  auto* word = new (page.value->data()) std::atomic<std::uint32_t>(1);
  page.value->wait(0, 0, milliseconds(60'000));  // differs: returns at once
  page.value->wait(0, 1, milliseconds(1));       // times out
  const auto start = std::chrono::steady_clock::now();
  std::thread waker([&] {
    reinterpret_cast<std::atomic<std::uint32_t>*>(other.value->data())->store(2);
    other.value->wake(0);
  });
  while (word->load() == 1) page.value->wait(0, 1, milliseconds(60'000));
  waker.join();
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(30'000));
}

TEST_F(PosixFileSystemTest, AFullDiskIsReportedNotSignalled) {
  auto full = files_.open("/dev/full", OpenMode::ReadWrite);
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(writeText(*full.value, 0, "x").error, ENOSPC);
}

// In a child, so that nothing else runs into the limit.
TEST_F(PosixFileSystemTest, WithoutADescriptorEveryCallSaysSo) {
  const auto kept = open("a", OpenMode::CreateNew);
  // UBSan's look at an object's type takes descriptors.
  EXPECT_EQ(inChild([&]() __attribute__((no_sanitize("vptr"))) {
              rlimit none{};
              if (::getrlimit(RLIMIT_NOFILE, &none) != 0) return 98;
              none.rlim_cur = 0;
              if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 99;
              if (files_.open(path("a"), OpenMode::Read).error != EMFILE) return 1;
              if (files_.list(directory_).error != EMFILE) return 2;
              if (files_.syncDirectory(directory_).error != EMFILE) return 3;
              if (files_.mapShared(path("page")).error != EMFILE) return 4;
              if (!files_.bootId().empty()) return 5;
              if (files_.makeDirectories(path("new")).error != EMFILE) return 6;
              return kept->size().ok() ? 0 : 7;
            }),
            0);
}

TEST_F(PosixFileSystemTest, CallsThatCannotWorkSayWhy) {
  const std::string tooLong = path(std::string(300, 'n'));
  EXPECT_EQ(files_.info(tooLong).error, ENAMETOOLONG);
  EXPECT_EQ(files_.makeDirectories(tooLong + "/below").error, ENAMETOOLONG);
  EXPECT_EQ(files_.freeBytes(path("none")).error, ENOENT);
  EXPECT_GT(files_.freeBytes(directory_).value, 0U);
  EXPECT_EQ(files_.syncDirectory(path("none")).error, ENOENT);
  EXPECT_EQ(files_.list(path("none")).error, ENOENT);
  EXPECT_EQ(files_.makeDirectories("").error, ENOENT);
  const auto file = open("a", OpenMode::CreateNew);
  EXPECT_FALSE(files_.info(path("a/below")).value.exists);  // ENOTDIR: there is no such thing
  EXPECT_EQ(files_.info(path("a/below")).error, 0);
  EXPECT_EQ(files_.list(path("a")).error, ENOTDIR);
  const auto reading = open("a", OpenMode::Read);
  EXPECT_EQ(writeText(*reading, 0, "x").error, EBADF);
  EXPECT_EQ(reading->truncate(1).error, EINVAL);
  const auto directory = files_.open(directory_, OpenMode::Read);
  ASSERT_TRUE(directory.ok());
  std::array<std::byte, 4> bytes{};
  EXPECT_EQ(directory.value->read(0, bytes).error, EISDIR);
}

TEST_F(PosixFileSystemTest, PiecesWithoutBytesAreWrittenByNoCall) {
  const auto file = open("a", OpenMode::CreateNew);
  const std::vector<std::span<const std::byte>> pieces(100);
  EXPECT_TRUE(file->write(5, pieces).ok());
  EXPECT_TRUE(file->write(5, {}).ok());
  EXPECT_EQ(file->size().value, 0U);
}

TEST_F(PosixFileSystemTest, APageWhoseFileMayNotGrowIsRefused) {
  EXPECT_EQ(inChild([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{100, 100};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 99;
              return files_.mapShared(path("page")).error == EFBIG ? 0 : 1;
            }),
            0);
}

TEST_F(PosixFileSystemTest, TheRealEnvironmentIsOneOfEach) {
  const Environment& real = Environment::real();
  EXPECT_TRUE(real.threads);
  EXPECT_EQ(&real, &Environment::real());
  EXPECT_EQ(real.files->bootId().size(), 36U);
  EXPECT_EQ(real.files->bootId(), files_.bootId());
  EXPECT_GT(real.clock->wallMs(), 1'600'000'000'000);
  const auto before = real.clock->monotonicUs();
  EXPECT_LE(before, real.clock->monotonicUs());
  EXPECT_NE(real.random->next(), real.random->next());
}

}  // namespace
}  // namespace penstock::state
