// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace penstock::state {

/// Counts what the stores of this process hold in memory; see penstock/state/memory.h.
///
/// Threads: safe from any thread.
class MemoryBudget {
 public:
  static MemoryBudget& process() noexcept;

  void take(std::uint64_t bytes) noexcept { used_.fetch_add(bytes, std::memory_order_relaxed); }
  void give(std::uint64_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  void limitTo(std::uint64_t bytes) noexcept { limit_.store(bytes, std::memory_order_relaxed); }

  [[nodiscard]] std::uint64_t used() const noexcept {
    return used_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t limit() const noexcept {
    return limit_.load(std::memory_order_relaxed);
  }
  /// Whether there is room for what could be read again.
  [[nodiscard]] bool mayKeep(std::uint64_t bytes) const noexcept {
    return used() + bytes <= limit() / 2;
  }
  /// Whether snapshots are to be made sooner.
  [[nodiscard]] bool pressed() const noexcept { return used() > limit() / 4 * 3; }
  [[nodiscard]] bool exceeded() const noexcept { return used() > limit(); }

 private:
  MemoryBudget() noexcept;

  std::atomic<std::uint64_t> used_{0};
  std::atomic<std::uint64_t> limit_;
};

/// Bytes taken from the budget by one owner; they go back with it.
///
/// Threads: thread-compatible, but `add` is safe from any thread.
class MemoryCharge {
 public:
  MemoryCharge() = default;
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;
  ~MemoryCharge() { MemoryBudget::process().give(bytes()); }

  void add(std::size_t bytes) noexcept {
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
    MemoryBudget::process().take(bytes);
  }
  void remove(std::size_t bytes) noexcept {
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    MemoryBudget::process().give(bytes);
  }
  void swap(MemoryCharge& other) noexcept {
    other.bytes_ = bytes_.exchange(other.bytes(), std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return bytes_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace penstock::state
