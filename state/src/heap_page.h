// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <atomic>
#include <condition_variable>
#include <mutex>

namespace penstock::state {

/// The page of a journal that no other process opens.
class HeapPage final : public SharedPage {
 public:
  std::byte* data() noexcept override { return bytes_; }
  void wait(std::size_t wordOffset, std::uint32_t expected,
            std::chrono::milliseconds timeout) override {
    std::unique_lock lock(mutex_);
    auto& word = *reinterpret_cast<std::atomic<std::uint32_t>*>(bytes_ + wordOffset);
    woken_.wait_for(lock, timeout, [&] { return word.load() != expected; });
  }
  void wake(std::size_t) override {
    const std::lock_guard lock(mutex_);
    woken_.notify_all();
  }

 private:
  alignas(8) std::byte bytes_[kSize] = {};
  std::mutex mutex_;
  std::condition_variable woken_;
};

}  // namespace penstock::state
