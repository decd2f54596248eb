// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

namespace penstock::state {

/// The descriptors that hold (or held) a lock, so that a forked child can close its copies: a
/// lock lives until the last copy is closed, and a child that outlives its parent would keep
/// the parent's directory locked.
///
/// Threads: safe from any thread.
class LockRegistry {
 public:
  /// Never destroyed: files with static storage may be closed after static destructors ran.
  static LockRegistry& instance() {
    static auto* registry = new LockRegistry;
    return *registry;
  }

  /// Call before the lock, so that no fork falls between the two. Adding twice is harmless.
  void add(std::atomic<int>* descriptor) {
    const std::lock_guard guard(mutex_);
    if (std::find(descriptors_.begin(), descriptors_.end(), descriptor) == descriptors_.end()) {
      descriptors_.push_back(descriptor);
    }
  }

  /// One step, so that no child inherits a locked descriptor that is no longer listed.
  void removeAndClose(std::atomic<int>* descriptor) noexcept {
    const std::lock_guard guard(mutex_);
    std::erase(descriptors_, descriptor);
    const int fd = descriptor->exchange(-1);
    if (fd >= 0) ::close(fd);
  }

  // For the fork handlers only.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }
  /// In the child: the descriptors become -1, so that a later close cannot hit a reused number.
  void closeAll() noexcept {
    for (std::atomic<int>* descriptor : descriptors_) {
      const int fd = descriptor->exchange(-1);
      if (fd >= 0) ::close(fd);
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::atomic<int>*> descriptors_;
};

}  // namespace penstock::state
