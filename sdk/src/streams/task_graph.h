// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_options.h>
#include <penstock/detail/node.h>
#include <penstock/detail/store_base.h>
#include <penstock/record.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "streams/task_store.h"
#include "streams/topology.h"

namespace penstock::streams {

/// What a task gets from whoever runs it (runtime or TestDriver). Outlives the TaskGraph.
///
/// Threads: owned by the task thread.
class TaskContext {
 public:
  virtual ~TaskContext() = default;
  /// Asked for once per store when the task is built. `store`: position in SubTopology::stores.
  virtual std::shared_ptr<TaskStore> store(std::size_t store, const std::string& name) = 0;
  /// Asked for once per topic when the task is built (also for the dead-letter topic). The
  /// reference stays valid while the TaskGraph lives.
  virtual detail::Output& output(const std::string& topic) = 0;
  [[nodiscard]] virtual std::int64_t nowMs() const = 0;  // wall clock; not called per record
};

/// What becomes of records that cannot be handled.
struct ErrorHandling {
  ErrorPolicy policy = ErrorPolicy::Fail;
  std::string deadLetterTopic;  // for DeadLetter
  /// Called for each record passed over, with the message that Fail would have thrown; may be
  /// empty. For logs: it is the caller who limits their rate.
  std::function<void(const std::string& message)> passedOver;
};

/// The operators and hot state of one task: one partition number of one sub-topology.
///
/// Life: build; restoreStreamTime; then process, punctuate and commits in any order. A commit is
/// `prepareCommit`, then whoever runs the task commits what was put and sent, then `committed`
/// once reads of the TaskStores (which must then include it) can see it. Processing may go on
/// between the two. After an error, or an abort: `rollback`, and go on from the committed
/// positions; timers start anew, stream time is set by restoreStreamTime.
///
/// Objects of user code (Processor) are made when the task is built, and made again by
/// `rollback`: what they kept in members is gone as it would be after a crash.
///
/// Threads: owned by the task thread.
/// Errors: RecordError under ErrorPolicy::Fail; errors of the stores and of outputs as they are.
/// After any exception: `rollback` or destroy.
/// Cost: no heap allocation, lock or system call of ours per record.
class TaskGraph {
 public:
  TaskGraph(const Topology& topology, std::size_t subTopology, TaskContext& context,
            const ErrorHandling& errors);
  ~TaskGraph();
  TaskGraph(const TaskGraph&) = delete;
  TaskGraph& operator=(const TaskGraph&) = delete;

  /// All records of the batch, whose source must be an input of the sub-topology.
  void process(const RecordBatch& batch) { process(batch, 0, batch.records.size()); }
  /// Records [first, first + count) of it: for commits in the middle, and for merging by time.
  void process(const RecordBatch& batch, std::size_t first, std::size_t count);

  /// Runs the wall-clock timers that are due.
  void punctuate(std::int64_t nowMs);
  /// When the next timer is due; INT64_MAX: there is none.
  [[nodiscard]] std::int64_t nextPunctuationMs() const noexcept;

  /// Sends what is emitted per commit, then puts all changes into the TaskStores.
  void prepareCommit();
  void committed();
  void rollback();

  /// Highest timestamp seen, saved with the positions; -1: none yet.
  [[nodiscard]] EventTime streamTime() const noexcept;
  void restoreStreamTime(EventTime time) noexcept;

  /// Plain numbers that grow; read them on the task's thread (after a batch) and publish copies.
  [[nodiscard]] const detail::TaskCounters& counters() const noexcept;
  [[nodiscard]] std::size_t dirtyEntries() const noexcept;
  [[nodiscard]] std::size_t memoryBytes() const noexcept;  // of hot state, about
  /// Null: the sub-topology has none of that name.
  [[nodiscard]] detail::StoreBase* findStore(std::string_view name) noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::streams
