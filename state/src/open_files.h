// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace penstock::state {

/// The files of a journal that are kept open for reading, by number. Beyond `filesMax` the one
/// that was asked for longest ago is closed: a directory may hold thousands, and descriptors
/// belong to the host.
///
/// Threads: safe from any thread.
class OpenFiles {
 public:
  static constexpr std::size_t filesMax = 64;  // arbitrary; far below the usual limit of 1024

  /// Null when it is not open.
  std::shared_ptr<File> find(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    const auto at = files_.find(number);
    if (at == files_.end()) return nullptr;
    at->second.asked = ++asked_;
    return at->second.file;
  }

  void keep(std::uint64_t number, std::shared_ptr<File> file) {
    const std::lock_guard lock(mutex_);
    files_[number] = {std::move(file), ++asked_};
    if (files_.size() <= filesMax) return;
    auto oldest = files_.begin();
    for (auto at = files_.begin(); at != files_.end(); ++at) {
      if (at->second.asked < oldest->second.asked) oldest = at;
    }
    files_.erase(oldest);
  }

  void drop(std::uint64_t number) {
    const std::lock_guard lock(mutex_);
    files_.erase(number);
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    files_.clear();
  }

 private:
  struct Kept {
    std::shared_ptr<File> file;
    std::uint64_t asked = 0;
  };
  std::mutex mutex_;
  std::map<std::uint64_t, Kept> files_;
  std::uint64_t asked_ = 0;
};

}  // namespace penstock::state
