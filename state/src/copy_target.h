// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "frame.h"

namespace penstock::state {

/// A directory in which a copy of a journal comes into being, refused by everybody until it is
/// whole:
///   JOURNAL first            with it and no segment a directory is refused
///   all files as NAME.tmp    written and synced; not there to a reader
///   the newest segment       gets its name, and that is on disk before
///   the other files          get theirs: what is still missing of those it lists refuses
/// Killed anywhere, it is refused, and says why when it is asked to be a target again.
///
/// Threads: owned by one thread.
/// Errors: ConfigurationError when the directory is not empty; IoError, DiskFull.
class CopyTarget {
 public:
  using Progress = std::function<void(std::uint64_t bytes)>;

  /// Makes the directory if it is not there.
  CopyTarget(std::string directory, const Environment& environment, const JournalId& journal);

  /// `name` with the first `bytes` of `from` and `tail` behind them.
  void copy(const std::string& name, File& from, const std::string& fromPath, std::uint64_t bytes,
            std::string_view tail, const Progress& progress);
  void write(const std::string& name, std::string_view bytes);
  /// A file to be written by the caller, who calls `written` when it is done.
  std::unique_ptr<File> create(const std::string& name);
  void written(const std::string& name, File& file);
  void drop(const std::string& name);
  /// A directory in it that the caller writes, and has synced before `publish`.
  void addDirectory(const std::string& name) { directories_.push_back(name); }
  [[nodiscard]] bool holds(const std::string& name) const { return files_.contains(name); }
  [[nodiscard]] const std::map<std::string, std::uint64_t>& files() const { return files_; }

  /// Gives all files their names. `newest` is the segment that lists the others.
  void publish(const std::string& newest);
  /// Removes all that was written here.
  void abandon() noexcept;
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }

 private:
  const std::string directory_;
  const Environment environment_;
  std::map<std::string, std::uint64_t> files_;  // with their bytes, once they are written
  std::vector<std::string> directories_;
};

}  // namespace penstock::state
