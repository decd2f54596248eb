// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace penstock::fault {

// Disks for the rows that look below a file system. Everything here needs root, and nothing of it
// outlives the process, however that ends: mounts are in a namespace of its own, loop devices are
// freed with their last user, and children die with it.

/// The bytes of a disk, in memory; zeros take none. Forked processes share them.
class DiskImage {
 public:
  explicit DiskImage(std::uint64_t size);
  ~DiskImage();
  DiskImage(const DiskImage&) = delete;
  DiskImage& operator=(const DiskImage&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] char* bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  void erase(std::uint64_t offset, std::uint64_t length) const;  // zeros
  void copyFrom(const DiskImage& other) const;                   // of the same size

 private:
  const std::uint64_t size_;
  int fd_ = -1;
  char* bytes_ = nullptr;
};

/// A loop device over an open file.
class LoopDevice {
 public:
  LoopDevice(int file, bool direct);
  ~LoopDevice();
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

/// Mounts are seen by this process and its children alone from here on.
void leaveMountNamespace();

class Mount {
 public:
  Mount(const std::string& device, const std::string& kind, std::string directory);
  ~Mount();
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

 private:
  const std::string directory_;
};

/// What a disk was asked to do, in order.
struct DiskRequest {
  enum class Kind : std::uint8_t { Write, Erase, Flush };
  Kind kind = Kind::Flush;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  const char* data = nullptr;  // of a write
};

/// A block device that keeps a list of what it was asked to do, and fails on demand: a loop device
/// over the one file of a FUSE file system, which a child of one thread serves.
class LogDevice {
 public:
  /// `file` is an empty file to mount upon. Call without threads of one's own running, as it forks.
  LogDevice(std::string file, std::uint64_t size);
  ~LogDevice();
  LogDevice(const LogDevice&) = delete;
  LogDevice& operator=(const LogDevice&) = delete;

  [[nodiscard]] const std::string& path() const { return loop_->path(); }
  [[nodiscard]] std::uint64_t size() const;
  [[nodiscard]] std::span<const DiskRequest> requests() const;  // so far

  /// After `after` more writes, `count` writes are answered EIO and change nothing.
  void failWrites(std::uint64_t after, std::uint64_t count);
  [[nodiscard]] std::uint64_t failed() const;

 private:
  struct Shared;
  friend struct Fuse;

  const std::string file_;
  const DiskImage image_;
  Shared* shared_ = nullptr;
  pid_t server_ = -1;
  std::unique_ptr<LoopDevice> loop_;
};

}  // namespace penstock::fault
