// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace penstock::topics {

/// A time to wait such that it can be added to the time of any clock: from 0 to a year, which
/// stands for "for ever" (milliseconds::max()).
inline std::chrono::milliseconds waitTime(std::chrono::milliseconds timeout) {
  return std::clamp(timeout, std::chrono::milliseconds(0),
                    std::chrono::milliseconds(std::chrono::hours(24 * 365)));
}

}  // namespace penstock::topics
