// SPDX-License-Identifier: Apache-2.0
#include "output.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

namespace penstock::command {

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error(ErrorCode::Retry,
                fmt::format("writing to standard output: {}", std::strerror(errno)));
  }
}

std::string dumped(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n';
}

std::string keptText(std::int64_t amount, const char* unit) {
  return amount < 0 ? "no bound" : fmt::format("{} {}", amount, unit);
}

std::string bytesText(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double amount = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; amount >= 1024 && unit + 1 < units.size(); ++unit) amount /= 1024;
  return fmt::format("{:.1f} {}", amount, units[unit]);
}

ProgressMeter::ProgressMeter(std::string doing)
    : doing_(std::move(doing)), terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressMeter::~ProgressMeter() {
  if (terminal_ && shown_) std::fprintf(stderr, "\r\033[K");
}

void ProgressMeter::show(std::uint64_t done, std::uint64_t total) {
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  const auto now = Clock::now();
  if (now - last_ < pause) return;
  last_ = now;
  shown_ = true;
  const std::uint64_t percent = total == 0 ? 0 : std::min(done, total) * 100 / total;
  const std::string said =
      total == 0 ? fmt::format("{} {}", doing_, done) : fmt::format("{} {:>3} %", doing_, percent);
  if (terminal_) {
    constexpr std::size_t width = 30;
    const std::string bar(percent * width / 100, '#');
    std::fprintf(stderr, "\r[%-*s] %s\033[K", static_cast<int>(width), bar.c_str(), said.c_str());
  } else {
    std::fprintf(stderr, "%s\n", said.c_str());
  }
}

}  // namespace penstock::command
