// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace penstock::state {

/// The named locks of a SharedState, and the barrier: snapshots, and threads that hold locks,
/// exclude each other.
///
/// 1. A lock belongs to the thread that took it, which may take it again.
/// 2. A snapshot runs alone: when every other thread that holds a lock rests, which it does while
///    it waits for a snapshot or saves (it does not write then, and is where it wants to be seen).
/// 3. Who holds no lock yet waits for the snapshots that came before; who holds one does not, or
///    that snapshot would wait for him and he for it.
///
/// Threads: safe from any thread.
class SharedLocks : public std::enable_shared_from_this<SharedLocks> {
 public:
  /// InvalidArgument when it is there and may not be.
  void create(std::string_view name, bool mayBeThere);
  /// The lock is held until what is returned goes.
  std::shared_ptr<void> acquire(std::string_view name, std::chrono::milliseconds atMost);
  /// Runs `call` while no other thread holds a lock, or those that do are resting.
  void exclusively(std::chrono::milliseconds atMost, const std::function<void()>& call);
  /// While it lives, the calling thread writes nothing: snapshots need not wait for it.
  class Rest {
   public:
    explicit Rest(SharedLocks& locks);
    ~Rest();
    Rest(const Rest&) = delete;
    Rest& operator=(const Rest&) = delete;

   private:
    SharedLocks& locks_;
    const std::thread::id self_;
  };
  /// Who waits, and who comes, gets Closed.
  void close();

 private:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // nullopt: none
  struct Held;
  struct Lock {
    std::thread::id owner;
    std::size_t depth = 0;  // 0: free
  };
  struct Holder {
    std::vector<std::string> held;  // in the order in which they were taken, each once
    std::size_t resting = 0;        // how often it began to, and did not end
  };

  static Deadline deadlineOf(std::chrono::milliseconds atMost);
  template <typename Ready>
  bool waitFor(std::unique_lock<std::mutex>& lock, const Deadline& deadline, Ready&& ready);
  void release(const std::string& name, std::thread::id owner);
  /// The locks of threads for which a snapshot of `self` has to wait.
  [[nodiscard]] std::vector<std::string> heldByOthers(std::thread::id self) const;
  void checkOrder(const std::string& name, const Holder& holder);
  [[nodiscard]] bool comesBefore(const std::string& earlier, const std::string& later) const;

  std::mutex mutex_;  // guards all of it
  std::condition_variable changed_;
  std::map<std::string, Lock, std::less<>> locks_;
  std::map<std::thread::id, Holder> holders_;  // threads that hold locks, or rest
  std::set<std::uint64_t> pending_;            // tickets of snapshots that wait
  std::uint64_t nextTicket_ = 0;
  bool snapshotRuns_ = false;
  bool closed_ = false;
  std::map<std::string, std::set<std::string>> after_;  // what was taken while it was held
};

}  // namespace penstock::state
