// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

/// Place of a record in its partition.
struct Offset {
  std::int64_t value = 0;
  auto operator<=>(const Offset&) const = default;
};

/// Number of a partition in its topic, from 0.
struct PartitionIndex {
  std::int32_t value = 0;
  auto operator<=>(const PartitionIndex&) const = default;
};

/// Milliseconds since 1970-01-01 UTC, by the record's own clock.
struct EventTime {
  std::int64_t ms = 0;
  auto operator<=>(const EventTime&) const = default;
};

/// One partition of a named topic.
struct TopicPartition {
  std::string topic;
  PartitionIndex partition;
  auto operator<=>(const TopicPartition&) const = default;
};

/// A name with bytes that travels with a record. An absent value is not an empty one.
struct Header {
  std::string name;
  std::optional<std::string> value;
  bool operator==(const Header&) const = default;
};

/// A Header that belongs to someone else; valid as long as its owner says.
struct HeaderView {
  std::string_view name;
  std::optional<std::string_view> value;
};

/// Key, value, timestamp, headers: what is written to and read from topics. An absent key or
/// value (a tombstone) is not an empty one.
///
/// Threads: thread-compatible: one writer or many readers.
struct Record {
  std::optional<std::string> key;
  std::optional<std::string> value;
  EventTime timestamp;
  std::vector<Header> headers;
  bool operator==(const Record&) const = default;
};

/// The same without owning its bytes.
struct RecordView {
  std::optional<std::string_view> key;
  std::optional<std::string_view> value;
  EventTime timestamp;
  Offset offset;  // where it was read; meaningless when producing
  std::span<const HeaderView> headers;

  [[nodiscard]] Record copy() const;
};

/// Consecutive records of one partition, in order of offset (offsets may have gaps on Kafka).
/// The views are valid while the batch lives and is not filled again.
///
/// Threads: thread-compatible: one writer or many readers.
struct RecordBatch {
  TopicPartition source;
  std::vector<RecordView> records;
  std::vector<HeaderView> headerViews;  // what the records' headers point into
  std::shared_ptr<const void> owner;    // what keys and values point into
  Offset next;                          // position behind this batch

  void clear() {
    records.clear();
    headerViews.clear();
    owner.reset();
  }
};

}  // namespace penstock
