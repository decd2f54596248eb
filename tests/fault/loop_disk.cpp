// SPDX-License-Identifier: Apache-2.0
#include "fault/loop_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace penstock::fault {
namespace {

void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

}  // namespace

LoopDisk::LoopDisk(const std::string& kind, std::string mountOptions)
    : mountOptions_(std::move(mountOptions)) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) {
    throw std::system_error(errno, std::generic_category(), "a mount namespace needs root");
  }
  std::filesystem::create_directory(at());
  run("truncate -s 320M " + (place_ / "image"));  // XFS wants at least 300
  run("mkfs." + kind + " -q " + (place_ / "image"));
}

LoopDisk::~LoopDisk() {
  if (mounted_) static_cast<void>(std::system(("umount " + at()).c_str()));
}

void LoopDisk::mount() {
  run("mount -o loop" + (mountOptions_.empty() ? "" : "," + mountOptions_) + " " +
      (place_ / "image") + " " + at());
  mounted_ = true;
}

void LoopDisk::unmount() {
  run("umount " + at());
  mounted_ = false;
}

void LoopDisk::cutPower() const {
  const int fd = ::open(at().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::uint32_t withoutFlush = 2;
  const int result = ::ioctl(fd, _IOR('X', 125, std::uint32_t), &withoutFlush);  // FS_IOC_SHUTDOWN
  const int error = errno;
  ::close(fd);
  if (result != 0) throw std::system_error(error, std::generic_category(), "shutdown");
}

}  // namespace penstock::fault
