// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topic_consumer.h>
#include <penstock/topic_producer.h>
#include <penstock/topics.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock {

/// A place where topics live: a directory, or a Kafka cluster.
///
/// Consumers and producers made from it may outlive it.
///
/// Threads: safe from any thread.
/// Errors: ConfigurationError for an address or topic that cannot be used, state::OwnedElsewhere
/// when another process has the directory for itself, Error with code Retry for a broker out of
/// reach (within 30 s, never a hang), state::IoError, state::DiskFull, state::Corruption.
/// Durability: a topic that createTopic made, or deleteTopic removed, stays so after a crash.
///
///   penstock::StreamingClient client("file:///var/lib/clicks");   // or "kafka://broker:9092"
///   client.createTopic("clicks", {.partitions = 4});
///   client.producer("clicks").send({.key = "a", .value = "1"}).get();
class StreamingClient {
 public:
  /// `address`: `file:///dir` or a plain path; `kafka://host:port[,host:port]`. Empty: that of
  /// `$PENSTOCK_BROKER`. `settings`: librdkafka's by their own names; those beginning with
  /// "file." are the file transport's: `file.createDirectory` (true), `file.segmentBytes`,
  /// `file.allowNetworkFileSystem` (false).
  explicit StreamingClient(const std::string& address = {},
                           const std::map<std::string, std::string>& settings = {});
  ~StreamingClient();
  StreamingClient(const StreamingClient&) = default;
  StreamingClient& operator=(const StreamingClient&) = default;
  StreamingClient(StreamingClient&&) noexcept = default;
  StreamingClient& operator=(StreamingClient&&) noexcept = default;

  [[nodiscard]] const std::string& address() const noexcept { return address_; }

  /// Reads these topics: as a member of `options.group`, or all their partitions.
  [[nodiscard]] TopicConsumer consumer(const std::vector<std::string>& topics,
                                       const ConsumerOptions& options = {}) const;
  [[nodiscard]] TopicConsumer consumer(const std::string& topic,
                                       const ConsumerOptions& options = {}) const;
  /// Reads nothing until TopicConsumer::assign.
  [[nodiscard]] TopicConsumer consumer(const ConsumerOptions& options = {}) const;
  [[nodiscard]] TopicProducer producer(const std::string& topic,
                                       const ProducerOptions& options = {}) const;

  /// False when it was there already with as many partitions (or none were asked for);
  /// ConfigurationError naming both numbers when with another.
  bool createTopic(const std::string& topic, const TopicConfig& config = {}) const;
  /// Names in order of bytes.
  [[nodiscard]] std::vector<std::string> listTopics() const;
  [[nodiscard]] std::optional<TopicDescription> describeTopic(const std::string& topic) const;
  /// Takes its records away for good. False when there is none of that name.
  bool deleteTopic(const std::string& topic) const;

 private:
  std::string address_;
  std::shared_ptr<topics::Transport> transport_;
};

}  // namespace penstock
