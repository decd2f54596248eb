// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace penstock::state {

/// Files of this process only. A directory, with all files in it, is gone when none of its files
/// is open any more; creating a file creates its directory. Syncs do nothing, and nothing fails
/// but for want of memory (std::bad_alloc).
///
/// Threads: safe from any thread.
class MemoryFileSystem final : public FileSystem {
 public:
  MemoryFileSystem();
  ~MemoryFileSystem() override;

  IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  IoStatus makeDirectories(const std::string& path) override;
  IoStatus rename(const std::string& from, const std::string& to) override;
  IoStatus remove(const std::string& path) override;
  IoStatus syncDirectory(const std::string& path) override;
  IoResult<std::vector<std::string>> list(const std::string& path) override;
  IoResult<FileInfo> info(const std::string& path) override;
  IoResult<std::string> resolve(const std::string& path) override;
  IoStatus copyMode(const std::string& from, const std::string& to) override;
  IoResult<std::shared_ptr<SharedPage>> mapShared(const std::string& path) override;
  IoResult<std::uint64_t> freeBytes(const std::string& path) override;
  std::string bootId() override;

 private:
  struct Node;       // a file, named or not
  struct Directory;  // its files by name
  struct Place {     // of a path
    std::string directory;
    std::string name;
  };
  class OpenFile;

  static Place placeOf(const std::string& path);
  Directory& directoryAt(const std::string& path);  // created when it is not there
  void close(const std::string& directory) noexcept;

  std::mutex mutex_;
  std::map<std::string, Directory, std::less<>> directories_;
  std::uint64_t nextInode_ = 1;
};

}  // namespace penstock::state
