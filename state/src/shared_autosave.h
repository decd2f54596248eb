// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/cron.h>
#include <penstock/state/file_system.h>
#include <penstock/state/shared_state.h>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "shared_state_core.h"

namespace penstock::state {

/// Saves a state on the occasions that its options name, in a thread of its own where the
/// environment has threads.
///
/// Threads: safe from any thread, but for `tick`, which belongs to one.
class SharedAutosave {
 public:
  SharedAutosave(const AutosaveOptions& options, const Environment& environment,
                 ChangeSignal& changes, std::function<void()> save);
  ~SharedAutosave() { stop(); }
  SharedAutosave(const SharedAutosave&) = delete;
  SharedAutosave& operator=(const SharedAutosave&) = delete;

  [[nodiscard]] const AutosaveOptions& options() const noexcept { return options_; }
  [[nodiscard]] AutosaveStatus status() const;
  /// Ends the thread, behind the save that runs. Idempotent; one call after the other.
  void stop();
  /// Saves if one of the occasions has come, and there is something to save.
  void tick();
  /// Calls `save` if there is something to save. What it throws is passed on, and remains to be
  /// saved.
  void saveNow(const std::function<void()>& save);

 private:
  void run();
  [[nodiscard]] bool isDue();
  [[nodiscard]] std::chrono::microseconds untilDue() const;

  const AutosaveOptions options_;
  const Environment environment_;
  ChangeSignal& changes_;
  const std::function<void()> save_;
  const std::optional<CronSchedule> cron_;
  std::int64_t intervalDueUs_ = 0;           // monotonic
  std::int64_t cronDueMs_ = 0;               // wall
  std::optional<std::int64_t> changeDueUs_;  // monotonic; nullopt: no change was seen
  bool savedOnce_ = false;
  mutable std::mutex mutex_;  // guards status_
  AutosaveStatus status_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace penstock::state
