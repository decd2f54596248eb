// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace penstock::testing {

/// What a test draws from, printed: $PENSTOCK_TEST_SEED to run a failed test again, else a new one.
inline std::uint32_t testSeed() {
  const char* given = std::getenv("PENSTOCK_TEST_SEED");
  const bool replay = given != nullptr && *given != '\0';
  const std::uint32_t seed = replay ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10))
                                    : std::random_device{}();
  std::printf("PENSTOCK_TEST_SEED=%u\n", seed);
  return seed;
}

}  // namespace penstock::testing
