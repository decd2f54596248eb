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

#include "kafka/kafka_backend.h"
#include "kafka/kafka_consumer.h"
#include "kafka/kafka_producer.h"
#include "kafka/kafka_purger.h"
#include "streams/runtime/file_worker.h"

/// One worker of the Kafka backend (kafka_backend.h).
namespace penstock::kafka {

/// Only `poll` and `close` talk to the consumer's queue, so that partitions come and go between
/// the tasks' steps and never inside one; what is fetched was taken from it before.
class KafkaStreamsWorker final : public streams::WorkerBackend {
 public:
  KafkaStreamsWorker(const streams::ApplicationPlan& plan, std::shared_ptr<StreamsContext> context);
  ~KafkaStreamsWorker() override;

  void poll(streams::TaskListener& listener, milliseconds timeout) override;
  void wakeup() override;
  streams::TaskPosition start(const streams::TaskId& task) override;
  std::shared_ptr<streams::TaskStore> store(const streams::TaskId& task,
                                            std::size_t store) override;
  streams::FetchResult fetch(const streams::TaskId& task, std::size_t input,
                             RecordBatch& batch) override;
  std::optional<Offset> knownEnd(const streams::TaskId& task, std::size_t input) noexcept override;
  void output(std::size_t output, PartitionIndex partition, const RecordView& record) override;
  [[nodiscard]] std::size_t pendingBytes() const noexcept override { return 0; }  // sent at once
  void commit(std::span<const streams::TaskPosition> positions) override;
  bool settled() override { return true; }
  void settle() override {}
  void restart() override;
  void testingFailConsumer() { consumer_->testingFail(); }
  void close(streams::TaskListener& listener) override;

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
    streams::TaskPosition start;
    std::vector<Input> inputs;
    std::vector<std::shared_ptr<streams::FileTaskStore>> stores;
  };

  [[nodiscard]] const streams::SubtopologyPlan& planOf(const streams::TaskId& id) const {
    return plan_.subtopologies[static_cast<std::size_t>(id.subtopology)];
  }
  [[nodiscard]] std::string where(const streams::TaskId& id) const;
  [[nodiscard]] std::unique_ptr<KafkaConsumer> makeConsumer() const;
  void subscribe();
  void onAssigned(const std::vector<TopicPartition>& partitions);
  void onGone(bool lost);
  void takeUp(const streams::TaskId& id, Task& task,
              const std::map<TopicPartition, Offset>& inGroup);
  void readPosition(const streams::TaskId& id, Task& task);
  void openStores(const streams::TaskId& id, Task& task);
  void commitStarts(const std::map<TopicPartition, Offset>& notInGroup);
  void putPosition(const Task& task, const streams::TaskPosition& position, state::Commit& commit);
  static Amount amountOf(const RecordBatch& batch);
  static const Amount bufferedMax;
  static const Amount inputPauseAt;
  static const Amount inputResumeBelow;
  void drain(milliseconds timeout);
  void keep(RecordBatch&& batch);
  void balance();
  void commitEnds();
  void refresh(Clock::time_point now);
  void purge(Clock::time_point now);
  std::vector<streams::TaskId> owned() const;

  const streams::ApplicationPlan& plan_;
  std::shared_ptr<StreamsContext> context_;
  std::shared_ptr<state::Store> group_;
  state::Commit commit_;
  std::unique_ptr<state::Claim> instance_;     // of this worker's number; before the consumer
  std::string instanceId_;
  streams::TaskListener* listener_ = nullptr;  // during poll and close
  std::map<streams::TaskId, Task> tasks_;
  std::map<TopicPartition, Input*> bySource_;  // into tasks_
  Amount buffered_;                            // taken and not fetched
  KafkaPurger purger_;
  std::map<TopicPartition, Offset> purgeable_;  // when synced up to purgeableAt_
  state::Sequence purgeableAt_{};
  Clock::time_point nextPurge_;
  Clock::time_point nextRefresh_;
  std::string encoded_;      // kept for its buffer
  bool subscribed_ = false;  // consumer_ is
  // Behind what its listener uses: it gives up its partitions when it goes.
  std::mutex consumerMutex_;  // for another thread's wakeup while the consumer is replaced
  std::unique_ptr<KafkaConsumer> consumer_;
  std::unique_ptr<KafkaProducer> producer_;
};

}  // namespace penstock::kafka
