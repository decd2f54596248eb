// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topics.h>

#include <chrono>
#include <concepts>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

/// A record to be written. Its bytes are copied by the call that takes it.
struct ProducerRecord {
  std::optional<std::string_view> key{};    // absent: to any partition
  std::optional<std::string_view> value{};  // absent: a tombstone
  std::optional<EventTime> timestamp{};     // absent: now
  std::span<const HeaderView> headers{};
  std::optional<PartitionIndex> partition{};  // absent: by the key, as Kafka's Java client does
};

/// Writes records to one topic.
///
/// Made by StreamingClient::producer. Records of one partition are written in the order of the
/// calls, if these do not overlap.
///
/// Threads: safe from any thread.
/// Errors: ConfigurationError for an unknown topic or partition, at once; what goes wrong later
/// (DiskFull, IoError, a broker out of reach) comes through the future and through `flush`. A
/// failed record was not written (file) or may have been (Kafka, on a time-out). Durability: a
/// future is ready when the record is on disk (file) or acknowledged by all in-sync replicas
/// (Kafka). Until then a crash may take it. Cost: copies the record into a queue of bounded size;
/// blocks while that is full. Small records are written and synced together.
///
///   auto producer = client.producer("clicks");
///   producer.send({.key = "a", .value = "1"}).get();
class TopicProducer {
 public:
  TopicProducer(TopicProducer&&) noexcept;
  TopicProducer& operator=(TopicProducer&&) noexcept;
  /// Flushes as close does, but throws nothing: errors of `post` are logged.
  ~TopicProducer();

  [[nodiscard]] const std::string& topic() const noexcept;

  std::future<Delivery> send(const ProducerRecord& record);
  /// A Record by name, not by braces, which are a ProducerRecord.
  std::future<Delivery> send(const std::same_as<Record> auto& record) { return sendOwned(record); }
  /// Fire and forget: cheaper than a future; the first failure is thrown by the next `flush`.
  void post(const ProducerRecord& record);
  void post(const std::same_as<Record> auto& record) { postOwned(record); }

  /// Returns when everything sent before is delivered. Throws the first failure since the
  /// last flush, or Error with code Retry when the time passes.
  void flush(std::chrono::milliseconds timeout = std::chrono::seconds(30));
  /// Flushes; calls after it throw state::Closed. Idempotent.
  void close();

 private:
  friend class StreamingClient;
  struct Impl;
  explicit TopicProducer(std::unique_ptr<Impl> impl);
  std::future<Delivery> sendOwned(const Record& record);
  void postOwned(const Record& record);
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
