// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <penstock/state/shared_state.h>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "process.h"
#include "shared_locks.h"

namespace penstock::state {

/// What a name stands for. Immutable once it is shared.
struct SharedContent {
  std::string name;
  Value value;
  std::vector<std::string> scopes;
};
using SharedContentPtr = std::shared_ptr<const SharedContent>;

SharedValue valueOf(SharedContentPtr content) noexcept;

/// A filter, ready to be asked. InvalidArgument for a pattern that is none.
std::function<bool(const SharedContent&)> passes(const SharedFilter& filter);

/// Whether something has changed since it was last asked.
///
/// Threads: safe from any thread.
class ChangeSignal {
 public:
  void raise() {
    if (raised_.load(std::memory_order_relaxed) || raised_.exchange(true)) return;
    wake();
  }
  /// A change that is not seen by who reads the values behind this raises it again.
  bool take() noexcept { return raised_.exchange(false); }
  [[nodiscard]] bool raised() const noexcept { return raised_; }
  void wake() {
    const std::lock_guard guard(mutex_);
    changed_.notify_all();
  }
  /// Until `done()`, asked when it is raised or woken; at most so long.
  template <typename Done>
  void waitFor(std::chrono::microseconds atMost, Done&& done) {
    std::unique_lock guard(mutex_);
    changed_.wait_for(guard, atMost, done);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<bool> raised_{false};
};

/// The values of a SharedState in memory.
///
/// 1. A name lives in the stripe that its hash says. What a stripe holds changes only under both of
///    its mutexes, so that one of them is enough to read.
/// 2. `writers` is held while the function of an update runs, `data` for a moment. Who takes
/// several
///    takes them in the order of the stripes, `writers` of all before `data` of any.
/// 3. In the function of an update a thread may only read: it would wait for itself.
///
/// Threads: safe from any thread.
class SharedCore {
 public:
  /// nullptr: the name is absent.
  using Make = std::function<SharedContentPtr(const SharedContentPtr& found)>;
  struct Written {
    SharedContentPtr before;
    SharedContentPtr after;
  };

  SharedContentPtr get(std::string_view name) const;
  /// Sets the name to what `make` returns, or removes it.
  Written write(std::string_view name, const Make& make);
  /// All that pass, as they are at one moment, in the order in which they came. Also after close.
  std::vector<SharedContentPtr> cut(const SharedFilter& filter) const;
  /// The same at a moment at which no other thread holds a lock.
  std::vector<SharedContentPtr> quietCut(const SharedFilter& filter,
                                         std::chrono::milliseconds atMost) const;
  /// Sets all of them at once, at such a moment; without `merge` they take the place of all others.
  /// REQUIRES: each name once.
  void put(std::vector<SharedContentPtr> contents, bool merge, std::chrono::milliseconds atMost);
  /// Writes and reads fail from now on; with `quietFor`, from a moment on at which no other thread
  /// holds a lock.
  void close(std::optional<std::chrono::milliseconds> quietFor);
  void reopen() noexcept { closed_ = false; }
  [[nodiscard]] bool closed() const noexcept { return closed_; }

  /// Throws what a call has to after close and in a forked child.
  void checkOpen() const;
  /// The same, and for a call that is not allowed in the function of an update.
  void checkMayWrite() const;
  [[nodiscard]] bool forkedChild() const noexcept { return process_.forkedChild(); }
  [[nodiscard]] SharedLocks& locks() const noexcept { return *locks_; }

  /// Raised by each write.
  [[nodiscard]] ChangeSignal& changes() noexcept { return changes_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept {
      return std::hash<std::string_view>()(name);
    }
  };
  struct Slot {
    std::uint64_t order = 0;  // grows with each name that comes
    SharedContentPtr content;
  };
  using Slots = std::unordered_map<std::string, Slot, Hash, std::equal_to<>>;
  struct alignas(64) Stripe {
    std::mutex writers;
    mutable std::mutex data;
    Slots slots;
  };
  static constexpr std::size_t stripeCount = 16;  // twice the threads that are usual

  static std::size_t stripeOf(std::string_view name) noexcept { return Hash()(name) % stripeCount; }
  std::vector<std::unique_lock<std::mutex>> lockAll(std::mutex Stripe::*which);

  mutable std::array<Stripe, stripeCount> stripes_;
  std::atomic<std::uint64_t> nextOrder_{0};
  std::atomic<bool> closed_{false};  // set under `data` of all stripes
  const std::shared_ptr<SharedLocks> locks_ = std::make_shared<SharedLocks>();
  const ProcessMark process_;
  ChangeSignal changes_;
};

}  // namespace penstock::state
