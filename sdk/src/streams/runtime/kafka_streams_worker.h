// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "kafka/kafka_consumer.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_purger.h"
#include "streams/runtime/file_worker.h"
#include "streams/runtime/kafka_backend.h"

/// One worker of the Kafka backend (kafka_backend.h).
namespace penstock::streams {

/// Only `poll` and `close` talk to the consumer's queue, so that partitions come and go between
/// the tasks' steps and never inside one; what is fetched was taken from it before.
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
  [[nodiscard]] std::size_t pendingBytes() const noexcept override { return 0; }  // sent at once
  void commit(std::span<const TaskPosition> positions) override;
  bool settled() override { return true; }
  void settle() override {}
  void restart() override;
  void testingFailConsumer() { consumer_->testingFail(); }
  void close(TaskListener& listener) override;

 private:
  using Clock = std::chrono::steady_clock;

  /// What waits for the tasks: both bound memory, small records by number and large ones by size.
  struct Amount {
    std::size_t records = 0;
    std::size_t bytes = 0;  // of keys, values and headers
    Amount& operator+=(const Amount& more) noexcept;
    Amount& operator-=(const Amount& less) noexcept;
    [[nodiscard]] bool reaches(const Amount& bound) const noexcept {
      return records >= bound.records || bytes >= bound.bytes;
    }
  };
  struct Fetched {
    RecordBatch batch;
    Amount amount;
  };
  struct Input {
    TopicPartition source;
    std::deque<Fetched> fetched;  // taken from the consumer, not by the task yet
    Amount amount;                // of them
    bool paused = false;
    bool repartition = false;
    Offset given;      // behind what the task was given
    Offset committed;  // behind what the group has stored
    Offset purged;     // deleted before it
  };
  struct Task {
    std::unique_ptr<state::Claim> claim;  // null without stores
    bool confirmed = false;               // journal and group have positions of it
    TaskPosition start;
    std::vector<Input> inputs;
    std::vector<std::shared_ptr<FileTaskStore>> stores;
  };

  [[nodiscard]] const SubtopologyPlan& planOf(const TaskId& id) const {
    return plan_.subtopologies[static_cast<std::size_t>(id.subtopology)];
  }
  [[nodiscard]] std::string where(const TaskId& id) const;
  [[nodiscard]] std::unique_ptr<kafka::KafkaConsumer> makeConsumer() const;
  void subscribe();
  void onAssigned(const std::vector<TopicPartition>& partitions);
  void onGone(bool lost);
  void takeUp(const TaskId& id, Task& task, const std::map<TopicPartition, Offset>& inGroup);
  void readPosition(const TaskId& id, Task& task);
  void openStores(const TaskId& id, Task& task);
  void commitStarts(const std::map<TopicPartition, Offset>& notInGroup);
  void putPosition(const Task& task, const TaskPosition& position, state::Commit& commit);
  static Amount amountOf(const RecordBatch& batch);
  static const Amount bufferedMax;
  static const Amount inputPauseAt;
  static const Amount inputResumeBelow;
  void drain(std::chrono::milliseconds timeout);
  void keep(RecordBatch&& batch);
  void balance();
  void commitEnds();
  void refresh(Clock::time_point now);
  void purge(Clock::time_point now);
  std::vector<TaskId> owned() const;

  const ApplicationPlan& plan_;
  std::shared_ptr<StreamsContext> context_;
  std::shared_ptr<state::Store> group_;
  state::Commit commit_;
  std::unique_ptr<state::Claim> instance_;  // of this worker's number; before the consumer
  std::string instanceId_;
  TaskListener* listener_ = nullptr;  // during poll and close
  std::map<TaskId, Task> tasks_;
  std::map<TopicPartition, Input*> bySource_;  // into tasks_
  Amount buffered_;                            // taken and not fetched
  kafka::KafkaPurger purger_;
  std::map<TopicPartition, Offset> purgeable_;  // when synced up to purgeableAt_
  state::Sequence purgeableAt_{};
  Clock::time_point nextPurge_;
  Clock::time_point nextRefresh_;
  std::string encoded_;      // kept for its buffer
  bool subscribed_ = false;  // consumer_ is
  // Behind what its listener uses: it gives up its partitions when it goes.
  std::mutex consumerMutex_;  // for another thread's wakeup while the consumer is replaced
  std::unique_ptr<kafka::KafkaConsumer> consumer_;
  std::unique_ptr<kafka::KafkaProducer> producer_;
};

}  // namespace penstock::streams
