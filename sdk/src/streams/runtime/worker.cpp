// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/worker.h"

#include <penstock/log.h>

#include <algorithm>
#include <utility>

namespace penstock::streams {
namespace {

// Looking at every end costs a lock each.
constexpr std::int64_t kLagUs = 1'000'000;
// A round looks after ownership this often even when records never run out.
constexpr std::size_t kSlicesPerRound = 16;
// And when they are slow.
constexpr std::int64_t kRoundUs = 50'000;

}  // namespace

Worker::Worker(const WorkerContext& context, std::size_t number)
    : context_(context),
      backend_(context.backend->worker(*context.plan, number)),
      commitStartUs_(context.clock->monotonicUs()) {}

Worker::~Worker() = default;

bool Worker::step(std::chrono::milliseconds idle) {
  backend_->poll(*this, std::chrono::milliseconds(0));
  bool worked = processRound();
  const std::int64_t wallMs = context_.clock->wallMs();
  for (auto& [id, task] : tasks_) {
    if (!task->punctuate(wallMs)) continue;
    dirty_ = worked = true;
    collect(*task);
  }
  if (commitDue(nowUs())) {
    commit();
    worked = true;
  }
  if (settling_ && (!worked || backend_->settled())) settle();
  publishMetrics();
  if (!worked) backend_->poll(*this, waitTime(idle));
  return worked;
}

/// Tasks by turns, one round going on where the last one ended: none waits for ever. False when
/// none had anything.
bool Worker::processRound() {
  bool worked = false;
  const std::int64_t until = nowUs() + kRoundUs;
  std::size_t idle = 0;  // tasks in a row that had nothing
  for (std::size_t left = kSlicesPerRound * tasks_.size(); left > 0 && idle < tasks_.size();
       --left) {
    auto at = tasks_.upper_bound(turn_);
    if (at == tasks_.end()) at = tasks_.begin();
    turn_ = at->first;
    Task& task = *at->second;
    if (!task.processSlice()) {
      ++idle;
      continue;
    }
    idle = 0;
    worked = dirty_ = true;
    collect(task);
    const std::int64_t now = nowUs();
    if (commitDue(now)) commit();
    if (now >= until || context_.stopping()) break;
  }
  return worked;
}

std::chrono::milliseconds Worker::waitTime(std::chrono::milliseconds idle) const {
  std::int64_t us = idle.count() * 1000;
  if (dirty_) us = std::min(us, commitStartUs_ + intervalUs() - nowUs());
  const std::int64_t wallMs = context_.clock->wallMs();
  for (const auto& [id, task] : tasks_) {
    const std::int64_t next = task->nextPunctuationMs();
    if (next < wallMs + idle.count()) us = std::min(us, (next - wallMs) * 1000);
  }
  return std::chrono::milliseconds(std::max<std::int64_t>((us + 999) / 1000, 0));
}

std::int64_t Worker::intervalUs() const {
  return std::chrono::microseconds(context_.options->commitInterval).count();
}

bool Worker::commitDue(std::int64_t nowUs) {
  if (!dirty_) return false;
  const ApplicationOptions& options = *context_.options;
  if (backend_->pendingBytes() >= static_cast<std::size_t>(options.commitBytesMax)) return true;
  if (options.commitRecordsMax > 0 && counts_.recordsIn - recordsAtCommit_ >=
                                          static_cast<std::uint64_t>(options.commitRecordsMax)) {
    return true;
  }
  return nowUs - commitStartUs_ >= intervalUs() && (!settling_ || backend_->settled());
}

void Worker::commit() {
  if (settling_) settle();
  std::vector<TaskPosition> positions;
  positions.reserve(tasks_.size());
  for (auto& [id, task] : tasks_) {
    task->prepareCommit();
    collect(*task);
    positions.push_back(task->position());
  }
  commitStartUs_ = nowUs();
  backend_->commit(positions);
  for (auto& [id, task] : tasks_) task->committed();
  settling_ = true;
  dirty_ = false;
  recordsAtCommit_ = counts_.recordsIn;
}

void Worker::settle() {
  backend_->settle();
  settling_ = false;
  const std::int64_t us = nowUs() - commitStartUs_;
  ++counts_.commits;
  counts_.commitMicros += static_cast<std::uint64_t>(us);
  const auto& bounds = ApplicationMetrics::commitBucketsMs;
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), (us + 999) / 1000);
  ++counts_.commitsByMs[static_cast<std::size_t>(bucket - bounds.begin())];
}

void Worker::collect(Task& task) {
  const detail::TaskCounters since = task.takeCounters();
  counts_.recordsIn += since.recordsIn;
  counts_.recordsOut += since.recordsOut;
  counts_.skipped += since.skipped;
  counts_.deadLettered += since.deadLettered;
}

void Worker::finish() {
  backend_->close(*this);
  publishMetrics();
}

void Worker::recover() {
  ++counts_.restarts;
  counts_.tasks = 0;
  tasks_.clear();
  dirty_ = settling_ = false;
  // The first record is committed alone: it may be one that a commit cannot wait for.
  commitStartUs_ = 0;
  backend_->restart();
  publishMetrics();
}

void Worker::assigned(std::span<const TaskId> tasks) {
  for (const TaskId& id : tasks) {
    tasks_.emplace(id, std::make_unique<Task>(context_, id, *backend_));
    ++counts_.tasksAssigned;
    log(LogLevel::Info, "runtime", "task assigned",
        {{"application", context_.plan->application}, {"task", id.name()}});
  }
  // Positions become durable with the first commit even when no record comes.
  dirty_ = true;
  counts_.tasks = static_cast<std::int64_t>(tasks_.size());
}

void Worker::commitAll() {
  if (dirty_) commit();
  if (settling_) settle();
}

void Worker::revoking(std::span<const TaskId> tasks) {
  commitAll();
  lost(tasks);
}

void Worker::lost(std::span<const TaskId> tasks) {
  for (const TaskId& id : tasks) {
    tasks_.erase(id);
    log(LogLevel::Info, "runtime", "task given up",
        {{"application", context_.plan->application}, {"task", id.name()}});
  }
  counts_.tasks = static_cast<std::int64_t>(tasks_.size());
}

void Worker::publishMetrics() {
  const std::int64_t now = nowUs();
  if (now >= nextLagUs_) {
    nextLagUs_ = now + kLagUs;
    counts_.lag = 0;
    for (const auto& [id, task] : tasks_) counts_.lag += task->lag();
  }
  const std::lock_guard lock(publishedMutex_);
  published_ = counts_;
}

ApplicationMetrics Worker::metrics() const {
  const std::lock_guard lock(publishedMutex_);
  return published_;
}

}  // namespace penstock::streams
