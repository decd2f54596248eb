// SPDX-License-Identifier: Apache-2.0
#define FUSE_USE_VERSION 35
#include "fault/block_log/log_device.h"

#include <fcntl.h>
#include <fuse.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>

namespace penstock::fault {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

DiskImage::DiskImage(std::uint64_t size) : size_(size) {
  fd_ = ::memfd_create("disk", MFD_CLOEXEC);
  if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(size)) != 0) fail("a disk in memory");
  void* const mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (mapped == MAP_FAILED) fail("mapping a disk");
  bytes_ = static_cast<char*>(mapped);
}

DiskImage::~DiskImage() {
  ::munmap(bytes_, size_);
  ::close(fd_);
}

void DiskImage::erase(std::uint64_t offset, std::uint64_t length) const {
  if (::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(length)) != 0) {
    fail("erasing");
  }
}

void DiskImage::copyFrom(const DiskImage& other) const {
  erase(0, size_);
  for (off_t end = 0;;) {
    const off_t begin = ::lseek(other.fd_, end, SEEK_DATA);
    if (begin < 0) break;
    end = ::lseek(other.fd_, begin, SEEK_HOLE);
    std::memcpy(bytes_ + begin, other.bytes_ + begin, static_cast<std::size_t>(end - begin));
  }
}

LoopDevice::LoopDevice(int file, bool direct) {
  const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control < 0) fail("/dev/loop-control");
  loop_config config{};
  config.fd = static_cast<std::uint32_t>(file);
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
  if (direct) config.info.lo_flags |= LO_FLAGS_DIRECT_IO;
  for (int tries = 0; tries < 100; ++tries) {  // another may take the free one first
    path_ = "/dev/loop" + std::to_string(::ioctl(control, LOOP_CTL_GET_FREE));
    fd_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    if (fd_ >= 0 && ::ioctl(fd_, LOOP_CONFIGURE, &config) == 0) break;
    ::close(fd_);
    fd_ = -1;
  }
  ::close(control);
  if (fd_ < 0) fail("taking " + path_);
  loop_info64 info{};
  if (::ioctl(fd_, LOOP_GET_STATUS64, &info) != 0) fail("asking " + path_);
  if (direct && (info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
    ::close(fd_);
    throw std::runtime_error(path_ + " does not write directly");
  }
}

LoopDevice::~LoopDevice() { ::close(fd_); }

void leaveMountNamespace() {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) {
    fail("a mount namespace needs root");
  }
}

Mount::Mount(const std::string& device, const std::string& kind, std::string directory)
    : directory_(std::move(directory)) {
  if (::mount(device.c_str(), directory_.c_str(), kind.c_str(), 0, nullptr) != 0) {
    fail("mounting " + kind);
  }
}

Mount::~Mount() {
  if (::umount2(directory_.c_str(), 0) != 0) ::umount2(directory_.c_str(), MNT_DETACH);
}

/// In memory that the serving child shares.
struct LogDevice::Shared {
  static constexpr std::size_t requestsMax = std::size_t{1} << 20;
  static constexpr std::size_t bytesMax = std::size_t{2} << 30;  // taken when written

  std::atomic<std::uint64_t> writes, failFrom, failTo, failed;
  std::atomic<std::size_t> count;  // of requests
  std::size_t bytes;               // of data
  std::array<DiskRequest, requestsMax> requests;
  std::array<char, bytesMax> data;

  int add(DiskRequest::Kind kind, off_t offset, std::size_t length, const char* from = nullptr) {
    const std::size_t at = count.load();
    if (at == requestsMax || (from != nullptr && bytesMax - bytes < length)) return -ENOSPC;
    char* const kept = from == nullptr ? nullptr : data.data() + bytes;
    if (from != nullptr) {
      std::memcpy(kept, from, length);
      bytes += length;
    }
    requests[at] = {kind, static_cast<std::uint64_t>(offset), length, kept};
    count.store(at + 1);
    return 0;
  }
};

/// The file system's calls, of its one file.
struct Fuse {
  static LogDevice& device() {
    return *static_cast<LogDevice*>(::fuse_get_context()->private_data);
  }
  static int getattr(const char*, struct stat* into, fuse_file_info*) {
    into->st_mode = S_IFREG | 0600;
    into->st_nlink = 1;
    into->st_size = static_cast<off_t>(device().size());
    return 0;
  }
  static int open(const char*, fuse_file_info*) { return 0; }
  static int read(const char*, char* into, std::size_t length, off_t offset, fuse_file_info*) {
    const auto from = std::min(static_cast<std::uint64_t>(offset), device().size());
    const std::size_t count = std::min(length, device().size() - from);
    std::memcpy(into, device().image_.bytes() + from, count);
    return static_cast<int>(count);
  }
  static int write(const char*, const char* from, std::size_t length, off_t offset,
                   fuse_file_info*) {
    LogDevice::Shared& shared = *device().shared_;
    const std::uint64_t number = shared.writes++;
    if (number >= shared.failFrom && number < shared.failTo) {
      ++shared.failed;
      return -EIO;
    }
    std::memcpy(device().image_.bytes() + offset, from, length);
    const int error = shared.add(DiskRequest::Kind::Write, offset, length, from);
    return error != 0 ? error : static_cast<int>(length);
  }
  static int fallocate(const char*, int mode, off_t offset, off_t length, fuse_file_info*) {
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) return -EOPNOTSUPP;
    const auto bytes = static_cast<std::size_t>(length);
    device().image_.erase(static_cast<std::uint64_t>(offset), bytes);
    return device().shared_->add(DiskRequest::Kind::Erase, offset, bytes);
  }
  static int fsync(const char*, int, fuse_file_info*) {
    return device().shared_->add(DiskRequest::Kind::Flush, 0, 0);
  }

  /// Mounts, says so, and answers until unmounted.
  static void serve(LogDevice& device, int ready) {
    fuse_operations calls{};
    calls.getattr = getattr;
    calls.open = open;
    calls.read = read;
    calls.write = write;
    calls.fallocate = fallocate;
    calls.fsync = fsync;
    std::array<char, 9> name{"penstock"};
    std::array<char*, 2> words{name.data(), nullptr};
    fuse_args arguments = FUSE_ARGS_INIT(1, words.data());
    fuse* const server = ::fuse_new(&arguments, &calls, sizeof calls, &device);
    if (server == nullptr || ::fuse_mount(server, device.file_.c_str()) != 0) return;
    if (::write(ready, "", 1) == 1) ::fuse_loop(server);
  }
};

LogDevice::LogDevice(std::string file, std::uint64_t size) : file_(std::move(file)), image_(size) {
  void* const mapped = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) fail("memory for requests");
  shared_ = static_cast<Shared*>(mapped);  // zeros are its beginning
  std::array<int, 2> ready{};
  if (::pipe2(ready.data(), O_CLOEXEC) != 0) fail("pipe");
  server_ = ::fork();
  if (server_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ready[0]);
    Fuse::serve(*this, ready[1]);
    ::_exit(1);
  }
  ::close(ready[1]);
  char told = 0;
  const bool mounted = server_ > 0 && ::read(ready[0], &told, 1) == 1;
  ::close(ready[0]);
  if (!mounted) throw std::runtime_error("no FUSE file system on " + file_);
  const int opened = ::open(file_.c_str(), O_RDWR | O_CLOEXEC);
  if (opened < 0) fail(file_);
  loop_ = std::make_unique<LoopDevice>(opened, true);
  ::close(opened);
}

LogDevice::~LogDevice() {
  loop_.reset();
  ::umount2(file_.c_str(), MNT_DETACH);
  ::kill(server_, SIGKILL);
  ::waitpid(server_, nullptr, 0);
  ::munmap(shared_, sizeof(Shared));
}

std::uint64_t LogDevice::size() const { return image_.size(); }

std::span<const DiskRequest> LogDevice::requests() const {
  return {shared_->requests.data(), shared_->count.load()};
}

void LogDevice::failWrites(std::uint64_t after, std::uint64_t count) {
  shared_->failTo = 0;
  shared_->failFrom = shared_->writes + after;
  shared_->failTo = shared_->failFrom + count;
}

std::uint64_t LogDevice::failed() const { return shared_->failed; }

}  // namespace penstock::fault
