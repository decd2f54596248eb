// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_metrics.h>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "streams/runtime/backend.h"
#include "streams/task_graph.h"

namespace penstock::streams {

struct WorkerContext;

/// One task of a worker: its operators and hot state, the records fetched for it and how far
/// they are processed. With several inputs it takes the record with the smallest timestamp next.
///
/// Threads: owned by the task thread.
class Task final : public TaskContext {
 public:
  /// REQUIRES: the backend has assigned it.
  Task(const WorkerContext& context, const TaskId& id, WorkerBackend& backend);
  ~Task() override;

  /// Processes some records: a few hundred, or so many as take a few milliseconds. False when
  /// there are none. Ends early when the application is to stop.
  bool processSlice();
  /// Runs wall-clock timers that are due; false when none was.
  bool punctuate(std::int64_t wallMs);
  [[nodiscard]] std::int64_t nextPunctuationMs() const { return graph_->nextPunctuationMs(); }

  /// Puts changes and outputs of the commit into the backend.
  void prepareCommit() { graph_->prepareCommit(); }
  void committed() { graph_->committed(); }
  [[nodiscard]] TaskPosition position() const;
  [[nodiscard]] std::int64_t lag() const;
  /// Figures since the last call.
  detail::TaskCounters takeCounters();

 private:
  struct Input {
    RecordBatch batch;
    std::size_t next = 0;  // in batch.records
    Offset position;       // of the next record, in the batch or behind it
    FetchResult last = FetchResult::Pending;
    [[nodiscard]] bool empty() const { return next == batch.records.size(); }
    [[nodiscard]] std::int64_t headMs() const { return batch.records[next].timestamp.ms; }
  };
  class TopicOutput;

  std::shared_ptr<TaskStore> store(std::size_t store, const std::string& name) override;
  detail::Output& output(const std::string& topic) override;
  [[nodiscard]] std::int64_t nowMs() const override;

  bool fill(std::size_t number);
  void processRun(std::size_t number, std::size_t count);
  bool processNext();
  bool processMerged();
  bool waitForOthers();

  const WorkerContext& context_;
  TaskId id_;
  WorkerBackend& backend_;
  std::vector<Input> inputs_;
  std::map<std::string, std::unique_ptr<TopicOutput>> outputs_;
  std::size_t slice_ = 1;                       // records; doubled while they prove fast
  std::optional<std::int64_t> waitingSinceUs_;  // for an input that has nothing
  std::uint64_t passedOver_ = 0;
  detail::TaskCounters taken_;
  std::unique_ptr<TaskGraph> graph_;  // last: uses the others
};

}  // namespace penstock::streams
