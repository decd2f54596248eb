// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The seam: every file call, every reading of a clock that something durable or visible depends
/// on, and every random number of Penstock goes through here, so that tests run the same engine
/// on a simulated file system (tests/support/sim_fs.h). Only time-outs of waits are real time.
namespace penstock::state {

/// Outcome of a call: 0 or an errno value. Never throws.
struct [[nodiscard]] IoStatus {
  int error = 0;
  [[nodiscard]] bool ok() const noexcept { return error == 0; }
};

/// A value or an errno value. `value` means something only when ok().
template <typename T>
struct [[nodiscard]] IoResult {
  T value{};
  int error = 0;
  [[nodiscard]] bool ok() const noexcept { return error == 0; }
};

enum class LockKind : std::uint8_t { Shared, Exclusive };

/// Bytes after which whoever writes on and on has them written back.
inline constexpr std::uint64_t writebackStep = 4U << 20;

/// One open file. Closing is destruction; locks held through it end there.
///
/// Threads: safe from any thread, except that a lock belongs to the File, not to a thread.
class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;

  /// Reads up to into.size() bytes at `offset`; fewer only at the end of the file. Retries EINTR.
  virtual IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) = 0;
  /// Writes all pieces one after the other at `offset`. On an error, any prefix may be there.
  virtual IoStatus write(std::uint64_t offset,
                         std::span<const std::span<const std::byte>> pieces) = 0;
  virtual IoResult<std::uint64_t> size() = 0;
  virtual IoStatus truncate(std::uint64_t size) = 0;
  /// Reserves space up to `size` and extends the file to it (zeros). EOPNOTSUPP where the file
  /// system cannot; the caller goes on without.
  virtual IoStatus allocate(std::uint64_t size) = 0;
  /// fdatasync. After an error nothing written since the last success may be relied on.
  virtual IoStatus sync() = 0;
  /// Starts write-back of a range without waiting (sync_file_range), so that dirty pages never
  /// pile up; every `writebackStep`. A hint; cannot fail.
  virtual void startWriteback(std::uint64_t offset, std::uint64_t length) = 0;
  /// Makes the next reads of a range come from the disk, as far as its pages are clean
  /// (posix_fadvise DONTNEED); so may those of its neighbours, up to 2 MiB away. A length of 0 is
  /// all up to the end.
  virtual IoStatus dropCache(std::uint64_t offset, std::uint64_t length) = 0;
  /// flock, non-blocking: false when another open file holds a conflicting lock.
  virtual IoResult<bool> tryLock(LockKind kind) = 0;
  /// flock, blocking.
  virtual IoStatus lock(LockKind kind) = 0;
  virtual IoStatus unlock() = 0;
  /// Locks the byte at `offset` (below 2^63), which need not exist, exclusively and without waiting
  /// (open file description lock): false when another open file holds it. This file holds it once,
  /// however often it asks.
  virtual IoResult<bool> tryLockByte(std::uint64_t offset) = 0;
  virtual IoStatus unlockByte(std::uint64_t offset) = 0;
};

/// A few KiB shared by all processes that map the same file; its content does not survive a
/// power cut and must carry the boot id. Only lock-free atomics may be placed in it.
class SharedPage {
 public:
  SharedPage() = default;
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  virtual ~SharedPage() = default;
  [[nodiscard]] virtual std::byte* data() noexcept = 0;  // 8-byte aligned, kSize bytes
  /// Sleeps until `wake` is called for the 32-bit word at `wordOffset`, the word differs from
  /// `expected`, or the time-out passes. May return early for no reason (futex).
  virtual void wait(std::size_t wordOffset, std::uint32_t expected,
                    std::chrono::milliseconds timeout) = 0;
  virtual void wake(std::size_t wordOffset) = 0;
  static constexpr std::size_t kSize = 4096;
};

/// What open() expects to find.
enum class OpenMode : std::uint8_t {
  Read,             // must exist
  ReadWrite,        // must exist
  ReadWriteCreate,  // created when absent, mode 0600
  CreateNew,        // EEXIST when there, mode 0600
};

/// What lies at a path.
struct FileInfo {
  bool exists = false;
  bool directory = false;
  bool regular = false;      // an ordinary file: no directory, device, pipe or socket
  std::uint64_t size = 0;    // bytes
  std::uint64_t device = 0;  // with inode: the identity of a directory or file
  std::uint64_t inode = 0;
  std::string networkKind;  // "nfs", "cifs", ... when on a network file system, else ""
  std::string layeredKind;  // "overlay", "fuse": what a sync means is up to what lies below
};

/// Directory calls. Paths are absolute or relative to the working directory.
///
/// Threads: safe from any thread.
class FileSystem {
 public:
  FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  virtual ~FileSystem() = default;

  virtual IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
  /// Creates the directory and its missing parents, mode 0700, and syncs each parent it changed.
  virtual IoStatus makeDirectories(const std::string& path) = 0;
  virtual IoStatus rename(const std::string& from, const std::string& to) = 0;
  virtual IoStatus remove(const std::string& path) = 0;
  virtual IoStatus syncDirectory(const std::string& path) = 0;
  /// Names (not paths) of the entries, without "." and "..", in no particular order.
  virtual IoResult<std::vector<std::string>> list(const std::string& path) = 0;
  /// exists == false is not an error; EACCES and the like are.
  virtual IoResult<FileInfo> info(const std::string& path) = 0;
  /// Where a symbolic link leads, also when nothing is there; any other path as it is.
  virtual IoResult<std::string> resolve(const std::string& path) = 0;
  /// Gives a file the permission bits of another one.
  virtual IoStatus copyMode(const std::string& from, const std::string& to) = 0;
  virtual IoResult<std::shared_ptr<SharedPage>> mapShared(const std::string& path) = 0;
  virtual IoResult<std::uint64_t> freeBytes(const std::string& path) = 0;
  /// Changes with every boot of the machine.
  virtual std::string bootId() = 0;
};

/// Threads: safe from any thread.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;
  [[nodiscard]] virtual std::int64_t wallMs() = 0;       // ms since 1970-01-01 UTC; may jump
  [[nodiscard]] virtual std::int64_t monotonicUs() = 0;  // µs, never goes back
};

/// Threads: safe from any thread.
class Random {
 public:
  Random() = default;
  Random(const Random&) = delete;
  Random& operator=(const Random&) = delete;
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;
};

/// The three together. Members outlive everything opened with them.
struct Environment {
  FileSystem* files = nullptr;
  Clock* clock = nullptr;
  Random* random = nullptr;
  bool threads = true;  // false: no background threads; the test drives Journal::testingTick()

  /// The real machine. Lives until the process ends.
  static const Environment& real();
  /// The real clock, and files of this process only: a directory is gone when the last journal in
  /// it is closed. Lives until the process ends.
  static const Environment& memory();
};

}  // namespace penstock::state
