// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <exception>
#include <map>
#include <string>
#include <string_view>

#include "kafka/kafka_handle.h"
#include "kafka/producer_topics.h"

namespace penstock::kafka {

/// A producer whose records become visible together with positions of a consumer group, or never.
///
///   begin (by the first send) -> sends -> commit -> ...
///
/// Whatever it throws ends its life: the outcome of a transaction may be unknown then. The next
/// one of the same id settles it: it takes back what was not committed, fences this one, and
/// keeps an end of transaction still on its way from ending one of its own. Kafka's protocol up
/// to librdkafka 2.14 (no KIP-890 part 2) has no other way to know.
///
/// Kafka has no timestamps before 1970-01-01 00:00:00.001: 0 becomes the time of the call.
///
/// Threads: owned by one thread, which serves its delivery reports too.
class TransactionalProducer {
 public:
  /// Asks nobody. `id`: its transactional.id; two at a time fence each other.
  TransactionalProducer(const TransportSettings& settings, const std::string& id);
  ~TransactionalProducer();
  TransactionalProducer(const TransactionalProducer&) = delete;
  TransactionalProducer& operator=(const TransactionalProducer&) = delete;

  /// Settles what an earlier one of this id has left. Before the first send.
  void initialise();

  /// Stays valid as long as this lives.
  ProducerTopic& topic(std::string_view name, PartitionIndex partition) {
    return topics_.find(name, partition.value);
  }
  void send(ProducerTopic& topic, PartitionIndex partition, const RecordView& record);

  /// Every record sent is stored by the brokers; ProducerTopic::ends stand behind them.
  void flush();
  /// Together with what was sent since the last commit. REQUIRES: flush() has just returned, and
  /// `positions` are not empty: a transaction without any is not refused when the group has given
  /// its partitions to somebody else.
  void commit(const std::map<TopicPartition, Committed>& positions,
              const rd_kafka_consumer_group_metadata_t& membership);

  /// Something was sent since the last commit.
  [[nodiscard]] bool open() const noexcept { return open_; }
  [[nodiscard]] std::size_t openBytes() const noexcept { return openBytes_; }

 private:
  void begin();
  void delivered(const rd_kafka_message_t& message);
  void check(rd_kafka_error_t* failure, const std::string& doing) const;

  const TransportSettings settings_;
  const std::string id_;
  std::exception_ptr failure_;  // the first record that was not delivered
  Client client_;
  ProducerTopics topics_;
  bool open_ = false;
  std::size_t openBytes_ = 0;
  std::size_t sendsUntilPoll_ = 0;
};

}  // namespace penstock::kafka
