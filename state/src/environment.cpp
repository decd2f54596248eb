// SPDX-License-Identifier: Apache-2.0
#include <penstock/state/engine.h>
#include <penstock/state/file_system.h>
#include <sys/random.h>

#include <ctime>
#include <random>

#include "memory_file_system.h"
#include "posix_file_system.h"

namespace penstock::state {
namespace {

class SystemClock final : public Clock {
 public:
  std::int64_t wallMs() override {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
  }
  std::int64_t monotonicUs() override {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  }
};

/// The kernel's generator: no state of ours that a forked child could repeat.
class SystemRandom final : public Random {
 public:
  std::uint64_t next() override {
    std::uint64_t value = 0;
    if (::getrandom(&value, sizeof value, 0) == sizeof value) return value;
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  }
};

}  // namespace

const Environment& Environment::real() {
  // Never destroyed: journals with static storage use it until the process ends.
  static const auto* environment =
      new Environment{new PosixFileSystem, new SystemClock, new SystemRandom, true};
  return *environment;
}

const Environment& Environment::memory() {
  static const auto* environment =
      new Environment{new MemoryFileSystem, real().clock, real().random, true};
  return *environment;
}

std::string_view toString(Engine engine) noexcept {
  switch (engine) {
    case Engine::Memory:
      return "memory";
    case Engine::RocksDb:
      return "rocksdb";
    case Engine::File:
      break;
  }
  return "file";
}

}  // namespace penstock::state
