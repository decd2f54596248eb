// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <atomic>
#include <cstdint>

namespace penstock::testsupport {

/// A clock that moves only when told. Starts at 2026-01-01.
///
/// Threads: safe from any thread.
class SimClock final : public state::Clock {
 public:
  std::int64_t wallMs() override { return wallMs_; }
  std::int64_t monotonicUs() override { return monotonicUs_; }
  void advanceMs(std::int64_t ms) {
    wallMs_ += ms;
    monotonicUs_ += ms * 1000;
  }
  /// What an administrator or NTP does: the wall clock alone, in either direction.
  void jumpWallMs(std::int64_t ms) { wallMs_ += ms; }

 private:
  std::atomic<std::int64_t> wallMs_{1'767'225'600'000};
  std::atomic<std::int64_t> monotonicUs_{1'000'000};
};

/// SplitMix64: same seed, same numbers, on every machine.
///
/// Threads: safe from any thread.
class SimRandom final : public state::Random {
 public:
  explicit SimRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() override {
    std::uint64_t z = state_.fetch_add(0x9E3779B97F4A7C15ULL) + 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  /// In [0, bound); bound > 0. Slightly uneven, which no test minds.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  bool oneIn(std::uint64_t n) { return below(n) == 0; }

 private:
  std::atomic<std::uint64_t> state_;
};

}  // namespace penstock::testsupport
