// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>
#include <penstock/state/journal.h>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streams/task_store.h"

/// What the runtime needs of the place where an application's topics live. Two backends: files
/// (file_backend.h) and Kafka (kafka_backend.h). The protocol of DESIGN section 6 (Commit) is
/// the backend's; when to commit, what to process next and what to do with errors is the
/// worker's (worker.h).
///
/// Life of a task, as a backend shows it to a worker:
///
///   (unowned) --listener.assigned--> processing --listener.revoking--> (unowned)
///                                        \--------listener.lost------> (unowned)
///
/// assigned: its state stands at its committed positions, `start()` gives them. revoking: the
/// worker commits everything and settles before it returns, then closes the task. lost: somebody
/// else owns it by now; the worker drops it without a commit.
namespace penstock::streams {

/// One partition number of one sub-topology: the unit of work, of state and of ownership.
struct TaskId {
  std::int32_t subtopology = 0;
  PartitionIndex partition;
  auto operator<=>(const TaskId&) const = default;
  [[nodiscard]] std::string name() const {  // "0_3": in messages
    return std::to_string(subtopology) + "_" + std::to_string(partition.value);
  }
};

/// A topic that a sub-topology reads. Index in SubtopologyPlan::inputs: the input's number.
struct InputPlan {
  std::string topic;         // full name, internal ones with the application's prefix
  bool repartition = false;  // written by this application, purged behind what was committed
  std::string address;       // of its transport; empty: the application's. Files only.
};

/// A store of a sub-topology; each task has one of its own.
struct StorePlan {
  std::string name;
  bool escapesKeys = false;  // a key that begins with a zero byte has one more in the store
};

struct SubtopologyPlan {
  std::string name;  // does not change with its number; no other one has it
  std::vector<InputPlan> inputs;
  std::vector<StorePlan> stores;
  std::vector<std::size_t> outputs;  // numbers of those it writes, in ApplicationPlan::outputs
  std::int32_t partitions = 0;  // set by Backend::prepare: that of its inputs, which must agree
};

/// A topic that the application writes. Index in ApplicationPlan::outputs: the output's number.
struct OutputPlan {
  std::string topic;            // full name
  bool repartition = false;     // internal. Every output is created by prepare when missing
  std::int32_t partitions = 0;  // asked for (repartition; 0: as many as its writers' inputs have);
                                // prepare sets what it is. Dead letters are an output like others
};

/// The application as a backend sees it: names and numbers, no code.
struct ApplicationPlan {
  std::string application;  // id: the group, and prefix of everything internal
  /// "clicks/3": of a task where it outlives the process, so that a program which defines its
  /// parts in another order goes on. TaskId::name() is for messages.
  [[nodiscard]] std::string durableName(const TaskId& task) const {
    return subtopologies[static_cast<std::size_t>(task.subtopology)].name + "/" +
           std::to_string(task.partition.value);
  }
  /// Of its position in the group's store.
  [[nodiscard]] std::string taskKey(const TaskId& task) const {
    return "task/" + durableName(task);
  }
  /// What must not change while state exists (Topology::fingerprint), by the partition counts of
  /// topics; compared at start with what the first start left (explainDifference).
  std::function<std::string(const std::map<std::string, std::int32_t>&)> fingerprint;
  std::vector<SubtopologyPlan> subtopologies;  // upstream first
  std::vector<OutputPlan> outputs;
};

/// Where a task goes on: per input (by its number) the offset of the next record.
struct TaskPosition {
  TaskId task;
  std::vector<Offset> next;
  EventTime streamTime{-1};  // highest timestamp seen; -1: none yet
};

/// Told by the backend from inside WorkerBackend::poll and close, on the worker's thread.
class TaskListener {
 public:
  virtual ~TaskListener() = default;
  virtual void assigned(std::span<const TaskId> tasks) = 0;
  virtual void revoking(std::span<const TaskId> tasks) = 0;
  virtual void lost(std::span<const TaskId> tasks) = 0;
  /// Commits what was processed, with a call of WorkerBackend::commit, when there is anything.
  virtual void commitAll() {}
};

enum class FetchResult : std::uint8_t {
  Records,  // `batch` holds at least one
  AtEnd,    // the input has been read to its end of this moment; batch.next may say how far that
            // is when what stands before it are no records (Kafka's control records)
  Pending,  // there may be more, not here yet: inputs merged by time wait for it
};

/// One worker's side: its inputs, its outputs, its tasks' stores, its commits. What is written
/// by `output` and to stores becomes visible with the next `commit`, or never.
///
/// Threads: owned by the worker's thread; `wakeup` is safe from any thread.
/// Errors: state::Fenced, state::JournalFailed and every error with code RestartTask: what was
/// not committed is gone; the worker drops its tasks' memory, calls `restart` and goes on from
/// the last commit. Every other error ends the worker.
class WorkerBackend {
 public:
  virtual ~WorkerBackend() = default;

  /// Looks after ownership: calls the listener for tasks won and given up. Returns when a fetch
  /// may find something, when woken, or after `timeout` (0: at once). Called often: before each
  /// round of fetches.
  virtual void poll(TaskListener& listener, std::chrono::milliseconds timeout) = 0;
  virtual void wakeup() = 0;

  /// Where an assigned task goes on: its committed positions, or the start of its inputs.
  virtual TaskPosition start(const TaskId& task) = 0;
  /// `store`: its number in the SubtopologyPlan.
  virtual std::shared_ptr<TaskStore> store(const TaskId& task, std::size_t store) = 0;

  /// The next records of one input of an assigned task, never blocking. The batch is valid until
  /// it is filled again; what was fetched is not fetched again.
  virtual FetchResult fetch(const TaskId& task, std::size_t input, RecordBatch& batch) = 0;

  /// Where an input of an assigned task ends as far as is known without asking anybody: for
  /// metrics. nullopt: not known.
  [[nodiscard]] virtual std::optional<Offset> knownEnd(const TaskId& task,
                                                       std::size_t input) noexcept = 0;

  /// One record for `partition` of an output (its number in ApplicationPlan::outputs). Copies.
  virtual void output(std::size_t output, PartitionIndex partition, const RecordView& record) = 0;
  [[nodiscard]] virtual std::size_t pendingBytes() const noexcept = 0;  // of that kind

  /// Everything since the last commit, with the positions of all owned tasks, atomically.
  /// When it returns, TaskStores include it; it stands at the asked durability when `settled`.
  /// REQUIRES: the one before has settled.
  virtual void commit(std::span<const TaskPosition> positions) = 0;
  /// True when no commit is in flight: the last one stands at the asked durability. Throws
  /// what a commit failed with.
  virtual bool settled() = 0;
  /// Blocks until settled. Throws what the commit failed with.
  virtual void settle() = 0;

  /// After an error: forgets what was not committed and gives up all tasks without a call of
  /// the listener. The next poll assigns anew.
  virtual void restart() = 0;
  /// Gives all tasks up (the listener gets `revoking`) and leaves the group.
  virtual void close(TaskListener& listener) = 0;
};

/// Threads: safe from any thread.
class Backend {
 public:
  virtual ~Backend() = default;

  /// Checks that the inputs exist and fit each other, creates internal topics, sets the
  /// partition counts in `plan`, and compares the fingerprint with what the last start left.
  /// Throws ConfigurationError naming both sides of what does not fit, and RestoreState errors
  /// when committed positions exist whose stores do not.
  virtual void prepare(ApplicationPlan& plan) = 0;

  /// A new member with no tasks yet. `plan` is the prepared one and outlives it.
  virtual std::unique_ptr<WorkerBackend> worker(const ApplicationPlan& plan,
                                                std::size_t number) = 0;

  /// Behind the last record that a reader sees now (Kafka: of committed transactions).
  virtual Offset end(const InputPlan& input, PartitionIndex partition) = 0;
  /// What the group has committed for this input, by whichever process; nullopt: nothing yet.
  /// An input read to `end` has committed >= `end` (Kafka: by EOF, past control records).
  virtual std::optional<Offset> committed(const TaskId& task, std::size_t input) = 0;
  /// The other process that owns the task; empty: this one, nobody, or it cannot be known.
  /// For messages, and not for often: it may write.
  virtual std::string holder(const TaskId& /*task*/) { return {}; }
  /// Of the journal with the application's state.
  [[nodiscard]] virtual state::JournalMetrics journalMetrics() const = 0;
};

}  // namespace penstock::streams
