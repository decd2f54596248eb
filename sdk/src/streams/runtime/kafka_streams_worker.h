// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kafka/kafka_consumer.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_purger.h"
#include "kafka/transactional_producer.h"
#include "streams/runtime/changelog_restore.h"
#include "streams/runtime/kafka_backend.h"
#include "streams/runtime/kafka_inputs.h"
#include "streams/runtime/kafka_task_store.h"

/// One worker of the Kafka backend (kafka_backend.h).
namespace penstock::streams {

/// Life of a task here: given by the group -> (with stores: claimed, its stores brought to the
/// group's commit in the background) -> ready, and the listener told -> given up.
class KafkaStreamsWorker final : public WorkerBackend {
 public:
  KafkaStreamsWorker(const ApplicationPlan& plan, std::shared_ptr<StreamsContext> context);
  ~KafkaStreamsWorker() override;

  void poll(TaskListener& listener, std::chrono::milliseconds timeout) override;
  void wakeup() override;
  TaskPosition start(const TaskId& task) override;
  std::shared_ptr<TaskStore> store(const TaskId& task, std::size_t store) override;
  FetchResult fetch(const TaskId& task, std::size_t input, RecordBatch& batch) override;
  std::optional<Offset> knownEnd(const TaskId& task, std::size_t input) noexcept override;
  void output(std::size_t output, PartitionIndex partition, const RecordView& record) override;
  [[nodiscard]] std::size_t pendingBytes() const noexcept override;
  void commit(std::span<const TaskPosition> positions) override;
  bool settled() override { return true; }
  void settle() override {}
  void restart() override;
  void testingFailConsumer() { consumer_->testingFail(); }
  void close(TaskListener& listener) override;

 private:
  using Clock = std::chrono::steady_clock;
  using Stored = std::map<TopicPartition, kafka::Committed>;

  struct Input {
    TopicPartition source;
    bool repartition = false;
    KafkaInputs::Input* buffer = nullptr;
    Offset purged;  // deleted before it
  };
  struct Task {
    std::unique_ptr<state::Claim> claim;  // null without stores
    bool ready = false;
    bool waits = false;  // for its claim, and that was said
    bool fresh = false;  // the group has no position of it: it gets where the task begins
    TaskPosition committed;
    LocalPosition local;  // the same, as it is stored
    std::vector<Input> inputs;
    std::vector<std::size_t> byName;  // numbers of its stores; that is how stamps list them
    std::vector<std::shared_ptr<KafkaTaskStore>> stores;  // by number, of a ready task
  };

  [[nodiscard]] const SubtopologyPlan& planOf(const TaskId& id) const {
    return plan_.subtopologies[static_cast<std::size_t>(id.subtopology)];
  }
  [[nodiscard]] std::string where(const TaskId& id) const;
  [[nodiscard]] std::unique_ptr<kafka::KafkaConsumer> makeConsumer() const;
  void makeProducers();
  void initialise();
  void subscribe();
  void onAssigned(const std::vector<TopicPartition>& partitions);
  void onGone(bool lost);
  void addTasks(const std::vector<TopicPartition>& leads);
  void takePosition(const TaskId& id, Task& task, const Stored& inGroup);
  void takeStores();
  [[nodiscard]] std::optional<LocalPosition> localPosition(const TaskId& id, const Task& task);
  [[nodiscard]] RestoreTask planRestore(const TaskId& id, Task& task);
  void takeRestored();
  void makeReady(const std::vector<TaskId>& ids);
  void forget();
  void send(std::size_t output, PartitionIndex partition, const RecordView& record);
  void commitEnds();
  void refresh(Clock::time_point now);
  void purge(Clock::time_point now);
  [[nodiscard]] std::vector<TaskId> readyTasks() const;
  [[nodiscard]] std::vector<TaskPosition> committedPositions() const;

  const ApplicationPlan& plan_;
  std::shared_ptr<StreamsContext> context_;
  std::shared_ptr<state::Store> group_;
  state::Commit commit_;
  std::unique_ptr<state::Claim> instance_;  // of this worker's number; before the clients
  std::string instanceId_;
  TaskListener* listener_ = nullptr;  // during poll and close
  std::map<TaskId, Task> tasks_;
  KafkaInputs inputs_;
  kafka::KafkaPurger purger_;
  std::optional<Clock::time_point> claimAt_;  // some tasks wait for their claims: tried again then
  // Outputs that begin no transaction before their record is processed: after an error, which may
  // have been that the transaction had lasted too long.
  struct Held {
    std::size_t output;
    PartitionIndex partition;
    Record record;
  };
  bool holds_ = false;
  std::vector<Held> held_;
  std::size_t heldBytes_ = 0;
  Clock::time_point committedAt_;
  Clock::time_point nextPurge_;
  Clock::time_point nextRefresh_;
  std::unique_ptr<kafka::KafkaProducer> outputs_;  // AtLeastOnce only
  std::unique_ptr<kafka::TransactionalProducer> transactions_;
  std::vector<kafka::ProducerTopic*> outputTopics_;  // of transactions_, by output
  bool initialised_ = false;                         // transactions_ is
  bool left_ = false;                                // an earlier one has left a transaction open
  std::uint64_t writer_ = 0;                         // stamps of transactions_
  std::uint64_t number_ = 0;
  bool subscribed_ = false;  // consumer_ is
  // Behind what its listener uses: it gives up its partitions when it goes.
  std::mutex consumerMutex_;  // for another thread's wakeup while the consumer is replaced
  std::unique_ptr<kafka::KafkaConsumer> consumer_;
  std::vector<std::unique_ptr<ChangelogRestore>> restores_;  // use the claims in tasks_
};

}  // namespace penstock::streams
