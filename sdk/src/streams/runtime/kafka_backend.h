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

/// The Kafka backend of the runtime. Topics are the brokers'; state lives in one Shared journal,
/// `<stateDirectory>/<application>`, of all processes on this machine, and its changes also in
/// changelog topics, which is where a task that moves finds them.
///
/// 1. A commit of a worker: every record is stored by the brokers -> one transaction with outputs,
///    changes of state and the positions of all its tasks -> one frame of the journal with the
///    same changes and positions. With AtLeastOnce the outputs are written before the transaction,
///    by a producer of their own.
/// 2. The group's position of a task's first input carries a CommitStamp (kafka_position.h), as
///    does the frame. On assignment they are compared: the same, and the stores are what they were
///    at that commit; behind, and the changelogs are applied from where the stores stand to where
///    the commit ended (changelog_restore.h). Stores ahead, positions without a stamp, changes
///    without positions: refused by name, never guessed.
/// 3. The commit's transaction names the membership that the tasks were assigned with: the
///    coordinator refuses one whose partitions it has given to others. On this machine the claim
///    of a task in the journal does the same.
/// 4. A worker's number is claimed in the journal too. It makes its group.instance.id, so that a
///    process that was killed gets its partitions back at once, and its transactional.id, by which
///    it settles the transaction that it left.
/// 5. Repartition topics are kept for ever by the brokers, and purged by their readers up to what
///    is committed.
namespace penstock::streams {

/// What the workers share; outlives them.
struct StreamsContext {
  kafka::TransportSettings settings;
  std::map<std::string, std::size_t> batchBytesMax;  // of topics written, where it is known
  std::string application;
  Guarantee guarantee = Guarantee::ExactlyOnce;
  std::chrono::milliseconds transactionTimeout{10000};  // brokers end one that lasts longer
  /// How often a worker purges repartition topics: each time is a write of every broker's.
  std::chrono::milliseconds purgeEvery{5000};
  /// How often positions that don't change are committed: brokers drop old ones, of topics that
  /// the group does not subscribe to even while it lives.
  std::chrono::milliseconds refreshEvery{3600 * 1000};
  std::shared_ptr<state::Journal> journal;
  state::StoreId groupStore;  // docs/formats/positions.md

  /// `settings`, with batches that every topic written takes: librdkafka does not part one that a
  /// broker has refused.
  [[nodiscard]] kafka::TransportSettings producing() const;
};

/// Brokers forget that a key was erased so long after they have compacted it away.
inline constexpr std::chrono::milliseconds tombstonesKept = std::chrono::hours(7 * 24);

[[nodiscard]] inline std::string changelogTopic(const std::string& application,
                                                const StorePlan& store) {
  return application + "-" + store.name + "-changelog";
}

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
  void createTopic(const std::string& topic, const TopicConfig& config);
  void prepareChangelog(const std::string& topic, std::int32_t partitions);
  void prepareOutput(std::int32_t writerPartitions, OutputPlan& output);
  void checkCluster();
  void checkTopology(const ApplicationPlan& plan);
  void refreshCommitted();

  const ApplicationOptions options_;
  std::shared_ptr<StreamsContext> context_;
  kafka::KafkaAdmin admin_;
  kafka::Client client_;                   // asks for the group's positions
  const ApplicationPlan* plan_ = nullptr;  // set by prepare

  std::mutex mutex_;
  std::map<TopicPartition, kafka::Committed> committed_;  // guarded by mutex_; of a moment ago
  std::chrono::steady_clock::time_point committedAt_{};   // guarded by mutex_
};

}  // namespace penstock::streams
