// SPDX-License-Identifier: Apache-2.0
#include "posix_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "lock_registry.h"
#include "process.h"

namespace penstock::state {
namespace {

/// Calls until the outcome is something other than EINTR. Never for a sync: after an error the
/// kernel may have marked the pages clean, and the retry would say OK for bytes that are lost.
template <typename Call>
auto retryInterrupted(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

IoStatus statusOf(int result) noexcept { return {result < 0 ? errno : 0}; }

/// A descriptor owned by a scope, for calls that open and close.
class ScopedDescriptor {
 public:
  explicit ScopedDescriptor(int fd) noexcept : fd_(fd) {}
  ScopedDescriptor(const ScopedDescriptor&) = delete;
  ScopedDescriptor& operator=(const ScopedDescriptor&) = delete;
  ~ScopedDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// A descriptor above 2, or -1 with errno. A program started with its standard streams closed
/// would otherwise print into a journal.
int openDescriptor(const char* path, int flags) noexcept {
  const int fd = retryInterrupted([&] { return ::open(path, flags | O_CLOEXEC, 0600); });
  if (fd < 0 || fd > STDERR_FILENO) return fd;
  const int above = ::fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  const int error = errno;
  ::close(fd);
  errno = error;
  return above;
}

class PosixFile final : public File {
 public:
  explicit PosixFile(int fd) noexcept : fd_(fd) {}

  ~PosixFile() override { LockRegistry::instance().removeAndClose(&fd_); }

  IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t count = retryInterrupted([&] {
        return ::pread(fd_, into.data() + done, into.size() - done,
                       static_cast<off_t>(offset + done));
      });
      if (count < 0) return {done, errno};
      if (count == 0) break;
      done += static_cast<std::size_t>(count);
    }
    return {done, 0};
  }

  IoStatus write(std::uint64_t offset,
                 std::span<const std::span<const std::byte>> pieces) override {
    std::array<iovec, 64> vectors;
    std::size_t piece = 0;  // first piece not fully written
    std::size_t skip = 0;   // bytes of it already written
    while (piece < pieces.size()) {
      std::size_t used = 0;
      for (std::size_t i = piece; i < pieces.size() && used < vectors.size(); ++i) {
        const std::span<const std::byte> rest = pieces[i].subspan(i == piece ? skip : 0);
        // pwritev does not write through the pointer; iovec just has no const form.
        vectors[used++] = {const_cast<std::byte*>(rest.data()), rest.size()};
      }
      const std::size_t asked = [&] {
        std::size_t sum = 0;
        for (std::size_t i = 0; i < used; ++i) sum += vectors[i].iov_len;
        return sum;
      }();
      std::size_t written = 0;
      if (asked != 0) {
        const ssize_t count = retryInterrupted([&] {
          return ::pwritev(fd_, vectors.data(), static_cast<int>(used), static_cast<off_t>(offset));
        });
        if (count < 0) return {errno};
        if (count == 0) return {ENOSPC};  // a device that takes nothing more and says nothing
        written = static_cast<std::size_t>(count);
      }
      offset += written;
      while (piece < pieces.size() && written >= pieces[piece].size() - skip) {
        written -= pieces[piece].size() - skip;
        skip = 0;
        ++piece;
      }
      skip += written;
    }
    return {};
  }

  IoResult<std::uint64_t> size() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return {0, errno};
    return {static_cast<std::uint64_t>(status.st_size), 0};
  }

  IoStatus truncate(std::uint64_t size) override {
    return statusOf(retryInterrupted([&] { return ::ftruncate(fd_, static_cast<off_t>(size)); }));
  }

  IoStatus allocate(std::uint64_t size) override {
    // The system call itself, not posix_fallocate, which would write into live blocks where the
    // file system cannot.
    return statusOf(
        retryInterrupted([&] { return ::fallocate(fd_, 0, 0, static_cast<off_t>(size)); }));
  }

  IoStatus sync() override { return statusOf(::fdatasync(fd_)); }

  void startWriteback(std::uint64_t offset, std::uint64_t length) override {
    ::sync_file_range(fd_, static_cast<off64_t>(offset), static_cast<off64_t>(length),
                      SYNC_FILE_RANGE_WRITE);
  }

  IoStatus dropCache(std::uint64_t offset, std::uint64_t length) override {
    // The kernel keeps folios that are only in part within the range; they are aligned, and up to
    // this large.
    constexpr std::uint64_t folio = 2U << 20;
    const std::uint64_t start = offset / folio * folio;
    const std::uint64_t end = (offset + length + folio - 1) / folio * folio;
    return {::posix_fadvise(fd_, static_cast<off_t>(start),
                            length == 0 ? 0 : static_cast<off_t>(end - start),
                            POSIX_FADV_DONTNEED)};
  }

  IoResult<bool> tryLock(LockKind kind) override {
    LockRegistry::instance().add(&fd_);
    if (retryInterrupted([&] { return ::flock(fd_, operationOf(kind) | LOCK_NB); }) == 0) {
      return {true, 0};
    }
    return {false, errno == EWOULDBLOCK ? 0 : errno};
  }

  IoStatus lock(LockKind kind) override {
    LockRegistry::instance().add(&fd_);
    return statusOf(retryInterrupted([&] { return ::flock(fd_, operationOf(kind)); }));
  }

  IoStatus unlock() override {
    return statusOf(retryInterrupted([&] { return ::flock(fd_, LOCK_UN); }));
  }

  IoResult<bool> tryLockByte(std::uint64_t offset) override {
    LockRegistry::instance().add(&fd_);
    const int error = setByteLock(F_WRLCK, offset);
    if (error == EAGAIN || error == EACCES) return {false, 0};
    return {error == 0, error};
  }

  IoStatus unlockByte(std::uint64_t offset) override { return {setByteLock(F_UNLCK, offset)}; }

 private:
  static int operationOf(LockKind kind) noexcept {
    return kind == LockKind::Exclusive ? LOCK_EX : LOCK_SH;
  }

  /// 0 or an errno value.
  int setByteLock(short type, std::uint64_t offset) noexcept {
    struct flock byte {};
    byte.l_type = type;
    byte.l_whence = SEEK_SET;
    byte.l_start = static_cast<off_t>(offset);
    byte.l_len = 1;
    return statusOf(retryInterrupted([&] { return ::fcntl(fd_, F_OFD_SETLK, &byte); })).error;
  }

  std::atomic<int> fd_;  // -1 once closed by the fork handler of a child
};

class PosixSharedPage final : public SharedPage {
 public:
  explicit PosixSharedPage(std::byte* data) noexcept : data_(data) {}
  ~PosixSharedPage() override { ::munmap(data_, kSize); }

  std::byte* data() noexcept override { return data_; }

  void wait(std::size_t wordOffset, std::uint32_t expected,
            std::chrono::milliseconds timeout) override {
    const std::int64_t ms = std::max<std::int64_t>(timeout.count(), 0);
    const timespec time{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000) * 1'000'000};
    // Without FUTEX_PRIVATE_FLAG: the waker may be another process.
    ::syscall(SYS_futex, data_ + wordOffset, FUTEX_WAIT, expected, &time, nullptr, 0);
  }

  void wake(std::size_t wordOffset) override {
    ::syscall(SYS_futex, data_ + wordOffset, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

 private:
  std::byte* data_;
};

std::string parentOf(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  path.resize(slash == 0 ? 1 : slash);
  return path;
}

IoStatus syncDirectoryAt(const std::string& path) {
  const ScopedDescriptor directory(openDescriptor(path.c_str(), O_RDONLY | O_DIRECTORY));
  if (directory.get() < 0) return {errno};
  return statusOf(::fsync(directory.get()));
}

/// Whether an earlier, killed makeDirectories may have made it without syncing its parent.
bool mayBeOurs(const struct stat& status) noexcept {
  return status.st_uid == ::geteuid() && (status.st_mode & 07777) == 0700;
}

using KindOfMagic = std::pair<std::uint64_t, std::string_view>;

constexpr std::array<KindOfMagic, 9> kNetworkKinds{{
    {0x6969, "nfs"},
    {0x517B, "smb"},
    {0xFF534D42, "cifs"},
    {0xFE534D42, "smb2"},
    {0x01021997, "9p"},
    {0x00C36400, "ceph"},
    {0x5346414F, "afs"},
    {0x73757245, "coda"},
    {0x0BD00BD0, "lustre"},
}};

constexpr std::array<KindOfMagic, 3> kLayeredKinds{{
    {0x794C7630, "overlay"},
    {0x65735546, "fuse"},
    {0xF15F, "ecryptfs"},
}};

std::string_view kindOf(std::span<const KindOfMagic> kinds, std::uint64_t statfsMagic) noexcept {
  for (const auto& [magic, name] : kinds) {
    if (magic == statfsMagic) return name;
  }
  return {};
}

}  // namespace

std::string_view networkKindOf(std::uint64_t statfsMagic) noexcept {
  return kindOf(kNetworkKinds, statfsMagic);
}

std::string_view layeredKindOf(std::uint64_t statfsMagic) noexcept {
  return kindOf(kLayeredKinds, statfsMagic);
}

IoResult<std::unique_ptr<File>> PosixFileSystem::open(const std::string& path, OpenMode mode) {
  registerForkHandlers();
  const int flags = [mode] {
    switch (mode) {
      case OpenMode::Read:
        return O_RDONLY;
      case OpenMode::ReadWrite:
        return O_RDWR;
      case OpenMode::ReadWriteCreate:
        return O_RDWR | O_CREAT;
      case OpenMode::CreateNew:
        return O_RDWR | O_CREAT | O_EXCL;
    }
    return O_RDONLY;
  }();
  // A pipe would be waited at for ever, and has no offsets to read at.
  ScopedDescriptor opened(openDescriptor(path.c_str(), flags | O_NONBLOCK));
  if (opened.get() < 0) return {nullptr, errno};
  struct stat status {};
  if (::fstat(opened.get(), &status) != 0) return {nullptr, errno};
  if (S_ISFIFO(status.st_mode)) return {nullptr, ESPIPE};
  auto file = std::make_unique<PosixFile>(opened.get());
  opened.release();
  return {std::move(file), 0};
}

IoStatus PosixFileSystem::makeDirectories(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return syncDirectoryAt(parentOf(path));
  if (errno == ENOENT) {
    const std::string parent = parentOf(path);
    if (parent == path) return {ENOENT};
    if (const IoStatus made = makeDirectories(parent); !made.ok()) return made;
    if (::mkdir(path.c_str(), 0700) == 0) return syncDirectoryAt(parent);
  }
  if (errno != EEXIST) return {errno};
  // There already. Its maker may have been killed before it synced the parent, and what we are
  // about to acknowledge would vanish with the name: sync the parents of what looks like ours.
  for (std::string current = path;;) {
    struct stat status {};
    if (::stat(current.c_str(), &status) != 0) return {errno};
    if (!S_ISDIR(status.st_mode)) return {ENOTDIR};
    const std::string parent = parentOf(current);
    if (!mayBeOurs(status) || parent == current) return {};
    const IoStatus synced = syncDirectoryAt(parent);
    if (synced.error == EACCES) return {};  // a parent that we may not read we did not change
    if (!synced.ok()) return synced;
    current = parent;
  }
}

IoStatus PosixFileSystem::rename(const std::string& from, const std::string& to) {
  return statusOf(::rename(from.c_str(), to.c_str()));
}

IoStatus PosixFileSystem::remove(const std::string& path) {
  if (::unlink(path.c_str()) == 0) return {};
  if (errno == EISDIR) return statusOf(::rmdir(path.c_str()));
  return {errno};
}

IoStatus PosixFileSystem::syncDirectory(const std::string& path) { return syncDirectoryAt(path); }

IoResult<std::vector<std::string>> PosixFileSystem::list(const std::string& path) {
  ScopedDescriptor descriptor(openDescriptor(path.c_str(), O_RDONLY | O_DIRECTORY));
  if (descriptor.get() < 0) return {{}, errno};
  DIR* directory = ::fdopendir(descriptor.get());
  if (directory == nullptr) return {{}, errno};
  descriptor.release();
  const std::unique_ptr<DIR, decltype([](DIR* open) { ::closedir(open); })> closer(directory);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) {
      const int error = errno;
      return {std::move(names), error};
    }
    const std::string_view name(entry->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
  }
}

IoResult<FileInfo> PosixFileSystem::info(const std::string& path) {
  FileInfo info;
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    const int error = errno;
    return {info, error == ENOENT || error == ENOTDIR ? 0 : error};
  }
  info.exists = true;
  info.directory = S_ISDIR(status.st_mode);
  info.regular = S_ISREG(status.st_mode);
  info.size = static_cast<std::uint64_t>(status.st_size);
  info.device = status.st_dev;
  info.inode = status.st_ino;
  struct statfs mounted {};
  if (retryInterrupted([&] { return ::statfs(path.c_str(), &mounted); }) != 0) return {info, errno};
  // f_type is signed and sign-extended on some machines; the magic numbers have 32 bits.
  const auto magic = static_cast<std::uint32_t>(mounted.f_type);
  info.networkKind = networkKindOf(magic);
  info.layeredKind = layeredKindOf(magic);
  return {info, 0};
}

IoResult<std::string> PosixFileSystem::resolve(const std::string& path) {
  constexpr int linksMax = 40;  // as many as Linux follows
  std::string at = path;
  for (int i = 0; i <= linksMax; ++i) {
    std::array<char, PATH_MAX> target;
    const ssize_t size = ::readlink(at.c_str(), target.data(), target.size());
    if (size < 0) {
      const bool none = errno == EINVAL || errno == ENOENT || errno == ENOTDIR;
      return {std::move(at), none ? 0 : errno};
    }
    // What is relative begins at the directory of the link.
    at.resize(target[0] == '/' ? 0 : at.rfind('/') + 1);
    at.append(target.data(), static_cast<std::size_t>(size));
  }
  return {path, ELOOP};
}

IoStatus PosixFileSystem::copyMode(const std::string& from, const std::string& to) {
  struct stat status {};
  if (::stat(from.c_str(), &status) != 0) return {errno};
  return statusOf(::chmod(to.c_str(), status.st_mode & 0777));
}

IoResult<std::shared_ptr<SharedPage>> PosixFileSystem::mapShared(const std::string& path) {
  const ScopedDescriptor file(openDescriptor(path.c_str(), O_RDWR | O_CREAT));
  if (file.get() < 0) return {nullptr, errno};
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return {nullptr, errno};
  const auto size = static_cast<off_t>(SharedPage::kSize);
  if (status.st_size < size) {
    // Reserved, not just extended: a store to a hole on a full disk is a SIGBUS in the host.
    // Neither call touches bytes that another process has put there meanwhile.
    int result = retryInterrupted([&] { return ::fallocate(file.get(), 0, 0, size); });
    if (result != 0 && errno == EOPNOTSUPP) {
      result = retryInterrupted([&] { return ::ftruncate(file.get(), size); });
    }
    if (result != 0) return {nullptr, errno};
  }
  void* data =
      ::mmap(nullptr, SharedPage::kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return {nullptr, errno};
  return {std::make_shared<PosixSharedPage>(static_cast<std::byte*>(data)), 0};
}

IoResult<std::uint64_t> PosixFileSystem::freeBytes(const std::string& path) {
  struct statvfs mounted {};
  if (retryInterrupted([&] { return ::statvfs(path.c_str(), &mounted); }) != 0) return {0, errno};
  return {static_cast<std::uint64_t>(mounted.f_bavail) * mounted.f_frsize, 0};
}

std::string PosixFileSystem::bootId() {
  const ScopedDescriptor file(openDescriptor("/proc/sys/kernel/random/boot_id", O_RDONLY));
  std::array<char, 64> text{};
  const ssize_t count = file.get() < 0 ? -1 : retryInterrupted([&] {
    return ::read(file.get(), text.data(), text.size());
  });
  std::string id(text.data(), count > 0 ? static_cast<std::size_t>(count) : 0);
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace penstock::state
