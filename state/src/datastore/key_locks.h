// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>

namespace penstock::state::datastore {

using Deadline = std::chrono::steady_clock::time_point;

[[nodiscard]] FileInfo infoOf(const std::string& path, FileSystem& files);
/// Throws SourceChanged unless the path still names the file that it did.
void checkSameFile(const std::string& path, FileSystem& files, const FileInfo& opened);

/// Locks of single keys: among the threads of this process in the order in which they ask and,
/// with a lock file, among all processes that have the file open.
///
/// Threads: safe from any thread. A Hold is let go by the thread that got it, or by any other.
/// Errors: LockTimeout at the deadline; NestedUpdate, at once, when the calling thread has the
/// lock; IoError of the lock file; SourceChanged when it is not the one that its path names any
/// more: who opens it now would not see our locks.
/// After a crash: the kernel frees what a dead process held.
class KeyLocks {
 public:
  /// Among the threads that use this object.
  KeyLocks() = default;
  /// Among all that have the file open too: its bytes are locked, never read or written. Created
  /// when absent, and never removed.
  KeyLocks(std::string path, FileSystem& files);

  /// A key's lock, until it is destroyed.
  class Hold {
   public:
    Hold(Hold&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)), number_(other.number_) {}
    Hold& operator=(Hold&&) = delete;
    ~Hold() {
      if (locks_ != nullptr) locks_->release(number_);
    }

   private:
    friend class KeyLocks;
    Hold(KeyLocks& locks, std::uint64_t number) : locks_(&locks), number_(number) {}
    KeyLocks* locks_;
    std::uint64_t number_;
  };

  [[nodiscard]] Hold acquire(std::string_view key, Deadline deadline);

  /// 62 bits of a key's hash: keys that share it share the lock.
  [[nodiscard]] static std::uint64_t numberOf(std::string_view key) noexcept;
  [[noreturn]] static void throwTimeout(std::string_view key);

 private:
  struct Waiter {
    std::thread::id thread;
    std::condition_variable turn;
  };
  struct Lock {
    std::thread::id owner;
    std::list<Waiter*> waiters;  // in order of arrival
  };

  void acquireHere(std::uint64_t number, std::string_view key, Deadline deadline);
  void releaseHere(std::uint64_t number);
  void acquireByte(std::uint64_t number, std::string_view key, Deadline deadline);
  void awaitByte(std::uint64_t offset, std::string_view key, Deadline deadline);
  void release(std::uint64_t number);

  const std::string path_;
  FileSystem* files_ = nullptr;
  std::unique_ptr<File> file_;  // null: of this process only
  FileInfo opened_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, Lock> locks_;  // those that somebody holds
};

}  // namespace penstock::state::datastore
