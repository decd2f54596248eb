// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace penstock::command {

/// Writes to standard output; an Error (Retry) when that fails, a full disk behind it for one.
void print(const std::string& text);

/// As one line; what is no UTF-8 in it (names may be any bytes) is replaced.
std::string dumped(const nlohmann::ordered_json& json);

/// "17 B", "4.2 MiB".
std::string bytesText(std::uint64_t bytes);

/// A bound of retention: "7 ms", or "no bound" when it is negative.
std::string keptText(std::int64_t amount, const char* unit);

/// Shows on standard error how far long work is: on a terminal a bar, which is gone at the end;
/// elsewhere a line now and then, and none for work that is done within seconds.
///
/// Threads: owned by one thread.
class ProgressMeter {
 public:
  explicit ProgressMeter(std::string doing);
  ~ProgressMeter();
  ProgressMeter(const ProgressMeter&) = delete;
  ProgressMeter& operator=(const ProgressMeter&) = delete;
  /// `total` is 0 while it is not known.
  void show(std::uint64_t done, std::uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  const std::string doing_;
  const bool terminal_;
  bool shown_ = false;
  Clock::time_point last_ = Clock::now();
};

}  // namespace penstock::command
