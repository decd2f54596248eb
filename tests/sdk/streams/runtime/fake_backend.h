// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "streams/runtime/backend.h"

namespace penstock::streams {

/// What a FakeBackend does where real ones meet trouble; empty functions do nothing. Called from
/// the threads of workers and of run().
struct Script {
  std::function<void()> prepare;
  std::function<void(std::size_t worker)> construct;
  std::function<void(std::size_t worker)> poll;
  std::function<void()> commit;
  std::function<void()> restart;
  std::function<std::optional<Offset>()> committed;
  std::function<std::string()> holder;
  Offset end{0};
  std::atomic<int> living{0};  // workers
};

/// Each worker owns one task, whose input is empty.
class FakeWorker final : public WorkerBackend {
 public:
  FakeWorker(std::shared_ptr<Script> script, std::size_t number)
      : script_(std::move(script)), number_(number) {
    if (script_->construct) script_->construct(number);
    ++script_->living;
  }
  ~FakeWorker() override { --script_->living; }

  void poll(TaskListener& listener, std::chrono::milliseconds timeout) override {
    if (script_->poll) script_->poll(number_);
    if (!assigned_) listener.assigned(std::span(&task_, 1));
    assigned_ = true;
    std::unique_lock lock(mutex_);
    woken_.wait_for(lock, timeout, [&] { return wake_; });
    wake_ = false;
  }
  void wakeup() override {
    const std::lock_guard lock(mutex_);
    wake_ = true;
    woken_.notify_one();
  }
  TaskPosition start(const TaskId& task) override { return {task, {Offset{0}}}; }
  std::shared_ptr<TaskStore> store(const TaskId&, std::size_t) override { return nullptr; }
  FetchResult fetch(const TaskId&, std::size_t, RecordBatch&) override {
    return FetchResult::AtEnd;
  }
  std::optional<Offset> knownEnd(const TaskId&, std::size_t) noexcept override {
    return std::nullopt;
  }
  void output(std::size_t, PartitionIndex, const RecordView&) override {}
  [[nodiscard]] std::size_t pendingBytes() const noexcept override { return 0; }
  void commit(std::span<const TaskPosition>) override {
    if (script_->commit) script_->commit();
  }
  bool settled() override { return true; }
  void settle() override {}
  void restart() override {
    if (script_->restart) script_->restart();
    assigned_ = false;
  }
  void close(TaskListener& listener) override {
    if (assigned_) listener.revoking(std::span(&task_, 1));
  }

 private:
  std::shared_ptr<Script> script_;
  std::size_t number_;
  TaskId task_{0, PartitionIndex{static_cast<std::int32_t>(number_)}};
  bool assigned_ = false;
  std::mutex mutex_;
  std::condition_variable woken_;
  bool wake_ = false;  // guarded by mutex_
};

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(std::shared_ptr<Script> script) : script_(std::move(script)) {}
  void prepare(ApplicationPlan& plan) override {
    if (script_->prepare) script_->prepare();
    for (SubtopologyPlan& subtopology : plan.subtopologies) subtopology.partitions = 1;
    for (OutputPlan& output : plan.outputs) output.partitions = 1;
  }
  std::unique_ptr<WorkerBackend> worker(const ApplicationPlan&, std::size_t number) override {
    return std::make_unique<FakeWorker>(script_, number);
  }
  Offset end(const InputPlan&, PartitionIndex) override { return script_->end; }
  std::optional<Offset> committed(const TaskId&, std::size_t) override {
    return script_->committed ? script_->committed() : std::nullopt;
  }
  std::string holder(const TaskId&) override {
    return script_->holder ? script_->holder() : std::string();
  }
  [[nodiscard]] state::JournalMetrics journalMetrics() const override { return {}; }

 private:
  std::shared_ptr<Script> script_;
};

}  // namespace penstock::streams
