// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_options.h>
#include <penstock/state/journal.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kafka/kafka_admin.h"
#include "kafka/kafka_handle.h"
#include "streams/runtime/backend.h"

/// The Kafka backend of the runtime, at least once. Topics are the brokers'; state lives in one
/// Shared journal, `<stateDirectory>/<application>`, of all processes on this machine.
///
/// 1. A commit: outputs acknowledged -> one frame of the journal with changed state and positions
///    of the tasks that have stores, synced -> positions committed to the group. So state is
///    exact per task, whatever dies when; outputs after the last commit repeat.
/// 2. On assignment the positions in the journal win, if the group has some, too: it loses them
///    with the topic, and the same number in one made anew is another record. Positions in the
///    group without a store are refused: counting on from nothing would be wrong. Neither: the
///    inputs' beginning, as numbers that journal and group get before the first record is read.
/// 3. A task that has stores is claimed in the journal, so that a member that the group has given
///    up cannot commit any more. A worker's group.instance.id is a claimed number too: a process
///    that was killed gets its partitions back at once.
/// 4. Repartition topics are kept for ever by the brokers, and purged by their readers up to what
///    is committed and synced.
/// 5. Exactly once needs Kafka's transaction protocol, and is refused.
namespace penstock::streams {

/// What the workers share; outlives them.
struct StreamsContext {
  kafka::TransportSettings settings;
  std::string application;
  state::Durability durability = state::Durability::Synced;
  /// How often a worker purges repartition topics: each time is a write of every broker's.
  std::chrono::milliseconds purgeEvery{5000};
  /// How often positions that don't change are committed: brokers drop old ones, of topics that
  /// the group does not subscribe to even while it lives.
  std::chrono::milliseconds refreshEvery{3600 * 1000};
  std::shared_ptr<state::Journal> journal;
  state::StoreId groupStore;  // docs/formats/positions.md
};

class KafkaBackend final : public Backend {
 public:
  KafkaBackend(const std::string& servers, const ApplicationOptions& options);

  void prepare(ApplicationPlan& plan) override;
  std::unique_ptr<WorkerBackend> worker(const ApplicationPlan& plan, std::size_t number) override;
  Offset end(const InputPlan& input, PartitionIndex partition) override;
  std::optional<Offset> committed(const TaskId& task, std::size_t input) override;
  [[nodiscard]] state::JournalMetrics journalMetrics() const override;

 private:
  std::int32_t prepareInput(const InputPlan& input);
  void prepareOutput(std::int32_t writerPartitions, OutputPlan& output);
  void checkCluster();
  void checkTopology(const ApplicationPlan& plan);
  void checkState();
  void refreshCommitted();

  const ApplicationOptions options_;
  std::shared_ptr<StreamsContext> context_;
  kafka::KafkaAdmin admin_;
  kafka::Client client_;                   // asks for the group's positions
  const ApplicationPlan* plan_ = nullptr;  // set by prepare

  std::mutex mutex_;
  std::map<TopicPartition, Offset> committed_;           // guarded by mutex_; of a moment ago
  std::chrono::steady_clock::time_point committedAt_{};  // guarded by mutex_
};

}  // namespace penstock::streams
