// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_metrics.h>
#include <penstock/application_options.h>
#include <penstock/state/file_system.h>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "streams/runtime/backend.h"
#include "streams/runtime/task.h"

namespace penstock::streams {

/// What the workers of one application share; outlives them.
struct WorkerContext {
  const Topology* topology = nullptr;
  const ApplicationPlan* plan = nullptr;
  const ApplicationOptions* options = nullptr;
  Backend* backend = nullptr;
  state::Clock* clock = nullptr;
  const std::atomic<bool>* stop = nullptr;  // set: rounds end early; null: never

  [[nodiscard]] bool stopping() const {
    return stop != nullptr && stop->load(std::memory_order_relaxed);
  }
};

/// One worker: its tasks, what to process next, when to commit.
///
///   step: poll (ownership) -> slices of each task's records -> timers -> commit when due
///
/// A round of slices ends after 50 ms, and when the application is to stop: however slow the
/// functions of the program are, a stop waits for a few records only.
///
/// A commit is due after the commit interval, or when outputs or records reach their bound. All
/// tasks stop at a barrier (they are this thread's), write what is dirty, and one commit holds it
/// all. It settles while the next records are processed; the next one waits for it, so that the
/// interval stretches when syncs don't keep up.
///
/// Threads: owned by its thread; `wakeup` and `metrics` are safe from any thread.
/// Errors: RecordError; those of the backend. After Retry and RestartTask errors `recover` goes
/// back to the last commit; state::JournalFailed and all others end the worker.
class Worker final : private TaskListener {
 public:
  Worker(const WorkerContext& context, std::size_t number);
  ~Worker() override;

  /// One round. Waits at most `idle` when there is nothing to do. False when nothing was done.
  bool step(std::chrono::milliseconds idle);
  /// Commits, gives up its tasks, leaves.
  void finish();
  /// Drops everything since the last commit.
  void recover();
  void wakeup() { backend_->wakeup(); }
  /// Those that have settled. Of the worker's thread, as the rest.
  [[nodiscard]] std::uint64_t commits() const { return counts_.commits; }
  [[nodiscard]] ApplicationMetrics metrics() const;

 private:
  void assigned(std::span<const TaskId> tasks) override;
  void revoking(std::span<const TaskId> tasks) override;
  void commitAll() override;
  void lost(std::span<const TaskId> tasks) override;

  bool processRound();
  bool commitDue(std::int64_t nowUs);
  void commit();
  void settle();
  void collect(Task& task);  // its figures
  [[nodiscard]] std::chrono::milliseconds waitTime(std::chrono::milliseconds idle) const;
  [[nodiscard]] std::int64_t intervalUs() const;
  void publishMetrics();
  [[nodiscard]] std::int64_t nowUs() const { return context_.clock->monotonicUs(); }

  WorkerContext context_;
  std::unique_ptr<WorkerBackend> backend_;
  std::map<TaskId, std::unique_ptr<Task>> tasks_;
  TaskId turn_;         // whose slice was last
  bool dirty_ = false;  // anything since the last commit
  std::uint64_t recordsAtCommit_ = 0;
  std::int64_t commitStartUs_ = 0;  // of the last one
  bool settling_ = false;           // it is in flight
  std::int64_t nextLagUs_ = 0;
  ApplicationMetrics counts_;  // this thread's
  mutable std::mutex publishedMutex_;
  ApplicationMetrics published_;  // guarded by publishedMutex_; once a round, not per record
};

}  // namespace penstock::streams
