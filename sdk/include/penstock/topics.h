// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

/// The plain types that StreamingClient, TopicConsumer and TopicProducer speak.
namespace penstock {

/// How a topic is made. What is not set is the transport's default.
struct TopicConfig {
  static constexpr std::int32_t partitionsMax = 100000;  // arbitrary: what one journal can list

  std::int32_t partitions = 0;                 // 0: the default (file: 1; Kafka: the broker's)
  std::int64_t retentionMs = -2;               // by record timestamp; -1: for ever, -2: the default
  std::int64_t retentionBytes = -2;            // of each partition; -1: no bound, -2: the default
  std::map<std::string, std::string> extra{};  // Kafka topic settings, passed through

  bool operator==(const TopicConfig&) const = default;
};

/// What one partition holds: offsets in [start, end).
struct PartitionDescription {
  PartitionIndex partition;
  Offset start;  // first record kept
  Offset end;    // behind the last record readable
};

/// What a topic is and holds now.
struct TopicDescription {
  std::string name;
  TopicConfig config;
  std::vector<PartitionDescription> partitions;
};

/// Where a consumer without a committed position begins. Error: it stops with PositionOutOfRange.
/// Latest: at the end when a partition is first assigned; on files a group keeps that position.
enum class OffsetReset : std::uint8_t { Earliest, Latest, Error };

/// Seek to the first record kept.
struct SeekBegin {};
/// Seek behind the last record readable now.
struct SeekEnd {};
/// Where to read on: begin, end, an offset, or the first record at or after a time.
using SeekTarget = std::variant<SeekBegin, SeekEnd, Offset, EventTime>;

/// How a TopicConsumer reads. Designated initialisers: `{.group = "counters"}`.
struct ConsumerOptions {
  // Changes behaviour.
  std::string group{};  // empty: no group; partitions are assigned by hand, nothing is committed
  OffsetReset offsetReset = OffsetReset::Earliest;
  std::chrono::milliseconds commitInterval{1000};  // of TopicConsumer::run; 0: after each batch
  std::map<std::string, std::string> extra{};      // librdkafka settings, passed through
  // Changes performance.
  std::size_t batchRecordsMax = 4096;  // records one poll gives at most; 1 to 1,000,000
};

/// How a TopicProducer writes.
struct ProducerOptions {
  std::chrono::milliseconds deliveryTimeout{30000};  // then the delivery fails
  std::map<std::string, std::string> extra{};        // librdkafka settings, passed through
};

/// Where a delivered record stands. Its future is ready when the record is on disk (file) or
/// acknowledged by all in-sync replicas (Kafka).
struct Delivery {
  PartitionIndex partition;
  Offset offset;
};

/// What a consumer is told when the partitions it owns change. Called from within poll, commit
/// and close, on the thread that called these.
struct RebalanceListener {
  std::function<void(const std::vector<TopicPartition>&)> assigned;  // before their first record
  std::function<void(const std::vector<TopicPartition>&)> revoked;   // may still commit
  std::function<void(const std::vector<TopicPartition>&)> lost;      // may not commit any more
};

}  // namespace penstock
