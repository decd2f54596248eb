// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topics.h>

#include <atomic>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kafka/kafka_batch.h"
#include "kafka/kafka_handle.h"
#include "topics/transport.h"

namespace penstock::kafka {

/// A ConsumerBackend over one librdkafka consumer and its one queue.
///
/// What librdkafka 2.0.2 needs (reference: the table of hazards):
/// 1. seek, pause, assign and rebalances happen on the thread that polls, between two polls or in
///    a callback of one: batch consumption loses messages otherwise.
/// 2. rd_kafka_yield is never called: a batch under way drops the message at hand.
/// 3. Messages collected before a revocation in the same batch call come back with it. A new
///    assignment is not taken up inside the call, so that whatever it returns then is dropped.
/// 4. A group that was left still sends its farewell, whose answer is taken for partitions assigned
///    by hand, too; a partition taken away twice in a row aborts the process. So assigning by hand
///    after subscribing makes a new client.
/// 5. A position out of range silently restarts at the beginning unless auto.offset.reset is
///    `error`; so where to begin is worked out here, to a number.
///
/// States of the partitions:
///
///   (none) --assign, onAssign--> announced --begin--> reading --onRevoke, assign--> (none)
///
/// announced: given by the group or the caller; seeks are noted. `begin` tells the listener,
/// finds the first offsets and starts librdkafka; it is tried again by the next poll after an
/// error. reading: positions_ holds each of them.
class KafkaConsumer final : public topics::ConsumerBackend {
 public:
  KafkaConsumer(const TransportSettings& settings, const ConsumerOptions& options);
  ~KafkaConsumer() override;

  void subscribe(const std::vector<std::string>& topics, RebalanceListener listener) override;
  void assign(const std::vector<TopicPartition>& partitions) override;
  std::vector<TopicPartition> assignment() override;
  bool poll(RecordBatch& batch, milliseconds timeout) override;
  void wakeup() override;
  void seek(const TopicPartition& partition, const SeekTarget& target) override;
  Offset position(const TopicPartition& partition) override;
  std::string bookmark(const TopicPartition& partition) override;
  void seekBookmark(const TopicPartition& partition, const std::string& bookmark) override;
  void pause(const std::vector<TopicPartition>& partitions) override;
  void resume(const std::vector<TopicPartition>& partitions) override;
  void commit(const std::map<TopicPartition, Offset>& positions) override;
  std::map<TopicPartition, Offset> committed(const std::vector<TopicPartition>& partitions,
                                             milliseconds timeout) override;
  void close() override;

  // What the streaming runtime needs beyond a consumer's interface.

  /// Reads these too, until the next rebalance. Only from inside RebalanceListener::assigned.
  void alsoRead(const std::vector<TopicPartition>& partitions);
  /// `committed`, with what was said along.
  std::map<TopicPartition, Committed> committedByGroup(
      const std::vector<TopicPartition>& partitions);
  /// This member and its generation when it was given its partitions: by it the coordinator knows
  /// a commit of one that is no member any more. Asked for later, it might be nobody's, which a
  /// coordinator lets pass. REQUIRES: the group has given partitions.
  [[nodiscard]] const rd_kafka_consumer_group_metadata_t& membership() const {
    return *membership_;
  }
  /// `position` of many in one round.
  std::map<TopicPartition, Offset> positions(const std::vector<TopicPartition>& partitions);
  /// Whether the last thing heard of the partition was that its end was reached.
  [[nodiscard]] bool atEnd(const TopicPartition& partition) const {
    return atEnd_.contains(partition);
  }
  /// The partition's end as the last fetch told it; asks nobody.
  [[nodiscard]] std::optional<Offset> knownEnd(const TopicPartition& partition) const noexcept;
  /// What the group gave is announced once more by the next poll, as if it was new.
  void announceAgain();
  /// Beyond use: librdkafka has given this client up.
  [[nodiscard]] bool failed() const { return client_ && client_->failed(); }
  /// As if librdkafka had given this client up.
  void testingFail() { rd_kafka_test_fatal_error(client_->get(), testingFailure, "a test"); }
  static constexpr auto testingFailure = RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
  /// Gives the group's partitions up for good, also as a static member; then `close`.
  void leave();

 private:
  /// Consecutive messages of one partition, not given out yet; or its end; or an error.
  struct Run {
    TopicPartition source;
    std::shared_ptr<MessageArray> messages;  // null for the other two
    std::size_t begin = 0;
    std::size_t end = 0;
    Offset next;
    std::exception_ptr error;
  };

  /// A record by which a bookmark knows its topic again.
  struct Mark {
    Offset offset;
    std::uint64_t hash = 0;
  };
  struct Bookmark {
    std::string cluster;
    Offset offset;
    std::optional<Mark> mark;
  };

  using Clock = std::chrono::steady_clock;

  void connect();
  rd_kafka_resp_err_t disconnect();
  Client& open();
  void requireOwned(const TopicPartition& partition, const char* doing);
  void onRebalance(rd_kafka_resp_err_t event, const rd_kafka_topic_partition_list_t& partitions);
  void onRevoke();
  void begin();
  void startReading();
  std::map<TopicPartition, Offset> beginnings(const std::set<TopicPartition>& partitions);
  Offset resolve(const TopicPartition& partition, const SeekTarget& target);
  const std::string& clusterId();
  static std::uint64_t hashOf(const RecordView& record);
  static std::optional<Bookmark> parseBookmark(const std::string& text);
  void requireRecord(const TopicPartition& partition, const Mark& mark);
  void fetch(milliseconds timeout);
  void collect(milliseconds timeout);
  void sort(std::size_t count);
  void sortError(const rd_kafka_message_t& message);
  [[nodiscard]] bool ready() const;
  bool take(RecordBatch& batch);
  void forget();
  void interrupt();

  const TransportSettings settings_;
  const ConsumerOptions options_;
  std::shared_ptr<Client> client_;
  Queue queue_;
  std::string clusterId_;
  RebalanceListener listener_;
  bool subscribed_ = false;

  std::set<TopicPartition> granted_;    // what the group gave
  GroupMetadata membership_;            // with it
  std::set<TopicPartition> announced_;  // and is not read yet, with what is read beside it
  bool listenerTold_ = false;
  std::map<TopicPartition, Offset> seeks_;      // of announced partitions
  std::map<TopicPartition, Offset> positions_;  // of partitions being read
  std::map<TopicPartition, Mark> marks_;        // the last record given out, where there is one
  std::set<TopicPartition> paused_;
  std::set<TopicPartition> atEnd_;

  std::shared_ptr<MessageArray> collecting_;  // being filled, during fetch
  std::deque<Run> runs_;
  milliseconds maxPollInterval_{};
  Clock::time_point polled_ = Clock::now();
  bool late_ = false;                 // the poll under way comes later than the group allows
  std::exception_ptr listenerError_;  // thrown by the next poll
  std::atomic<bool> woken_{false};
  std::mutex interruptMutex_;  // between wakeup and close
  bool closing_ = false;       // guarded by interruptMutex_
};

}  // namespace penstock::kafka
