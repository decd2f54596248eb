// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/log.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace penstock::testing {

/// Text lines of what is logged while it lives; the default sink is back behind it.
class LogLines {
 public:
  LogLines() {
    setLogSink([kept = kept_](const LogEvent& event) {
      const std::lock_guard lock(kept->mutex);
      kept->lines.push_back(formatLogEvent(event, LogFormat::Text));
    });
  }
  ~LogLines() { setLogSink(standardErrorSink(LogFormat::Text)); }
  LogLines(const LogLines&) = delete;
  LogLines& operator=(const LogLines&) = delete;
  [[nodiscard]] std::vector<std::string> get() const {
    const std::lock_guard lock(kept_->mutex);
    return kept_->lines;
  }

 private:
  struct Kept {
    std::mutex mutex;
    std::vector<std::string> lines;
  };
  const std::shared_ptr<Kept> kept_ = std::make_shared<Kept>();
};

}  // namespace penstock::testing
