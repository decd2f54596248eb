// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace penstock::fault {

/// How much of a scoreboard row runs: PENSTOCK_FAULT_SCALE is smoke (default: seconds), full (the
/// figures of a pull request) or release. PENSTOCK_TEST_FULL=1 means full.
enum class Scale : std::uint8_t { Smoke, Full, Release };

inline Scale scale() {
  const char* text = std::getenv("PENSTOCK_FAULT_SCALE");
  const std::string_view name = text == nullptr ? "" : text;
  if (name == "release") return Scale::Release;
  const char* all = std::getenv("PENSTOCK_TEST_FULL");
  if (name == "full" || (name.empty() && all != nullptr && std::string_view(all) == "1")) {
    return Scale::Full;
  }
  return Scale::Smoke;
}

template <typename T>
T scaled(T smoke, T full, T release) {
  switch (scale()) {
    case Scale::Smoke:
      return smoke;
    case Scale::Full:
      return full;
    case Scale::Release:
      return release;
  }
  return smoke;
}

/// First seed of a test: PENSTOCK_FAULT_SEED replays what a failure printed.
inline std::uint64_t firstSeed() {
  const char* text = std::getenv("PENSTOCK_FAULT_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

}  // namespace penstock::fault
