// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace penstock::state {

/// InvalidArgument when at the path there is something that is no file.
void refuseOther(const FileInfo& info, const std::string& path);

/// A file of a user that is there as a whole or not at all. It is written as
/// `<path>.<16 random hex digits>.tmp`, which goes when the object does unless it was published.
///
/// Threads: owned by one thread.
/// Errors: InvalidArgument when the path is taken and may not be replaced; IoError, DiskFull.
class NewFile {
 public:
  NewFile(const Environment& environment, std::string path, bool replace);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  [[nodiscard]] File& file() noexcept { return *file_; }
  [[nodiscard]] const std::string& temporary() const noexcept { return temporary_; }
  /// Writes behind what was appended before, through a buffer.
  void append(std::string_view bytes);
  /// Syncs it, gives it its name and syncs the directory.
  void publish();

 private:
  void refuseTaken() const;
  void writeBuffer();

  FileSystem& files_;
  const std::string path_;
  const std::string temporary_;
  const bool replace_;
  std::unique_ptr<File> file_;
  std::string buffer_;
  std::uint64_t offset_ = 0;
  bool published_ = false;
};

}  // namespace penstock::state
