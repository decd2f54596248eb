// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>
#include <penstock/topics.h>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What a transport (file, Kafka) gives to StreamingClient and to the runtime.
namespace penstock::topics {

using penstock::ConsumerOptions;
using penstock::Delivery;
using penstock::OffsetReset;
using penstock::PartitionDescription;
using penstock::ProducerOptions;
using penstock::RebalanceListener;
using penstock::SeekBegin;
using penstock::SeekEnd;
using penstock::SeekTarget;
using penstock::TopicConfig;
using penstock::TopicDescription;

/// One member of a consumer group, or a reader of partitions chosen by hand.
///
/// Threads: owned by one thread; `wakeup` is safe from any thread.
/// Errors: penstock::Error and its kinds; an unknown topic or unreachable broker is an error
/// within the given time, never a hang.
class ConsumerBackend {
 public:
  virtual ~ConsumerBackend() = default;
  virtual void subscribe(const std::vector<std::string>& topics, RebalanceListener listener) = 0;
  /// Replaces the partitions read; without a group, or instead of subscribing.
  virtual void assign(const std::vector<TopicPartition>& partitions) = 0;
  [[nodiscard]] virtual std::vector<TopicPartition> assignment() = 0;
  /// Next records of one partition. False: none within the time-out, or woken up.
  virtual bool poll(RecordBatch& batch, std::chrono::milliseconds timeout) = 0;
  virtual void wakeup() = 0;
  virtual void seek(const TopicPartition& partition, const SeekTarget& target) = 0;
  /// Behind the last record given out and whatever is known to follow it that is no record
  /// (Kafka's control records: known by partition EOF). Reaches the partition's end when all of
  /// it was read.
  [[nodiscard]] virtual Offset position(const TopicPartition& partition) = 0;
  /// The position in a form that may be kept in another place (a LocalFileStorage, a database)
  /// and that `seekBookmark` refuses (PositionOutOfRange) when the topic is another one by now or
  /// lost what it stood behind. By default the bare offset, in decimal.
  [[nodiscard]] virtual std::string bookmark(const TopicPartition& partition);
  virtual void seekBookmark(const TopicPartition& partition, const std::string& bookmark);
  virtual void pause(const std::vector<TopicPartition>& partitions) = 0;
  virtual void resume(const std::vector<TopicPartition>& partitions) = 0;
  /// Blocks until the positions are stored in the group.
  virtual void commit(const std::map<TopicPartition, Offset>& positions) = 0;
  [[nodiscard]] virtual std::map<TopicPartition, Offset> committed(
      const std::vector<TopicPartition>& partitions, std::chrono::milliseconds timeout) = 0;
  /// Leaves the group. The destructor does the same.
  virtual void close() = 0;
};

/// Threads: safe from any thread.
class ProducerBackend {
 public:
  using Done = std::function<void(const Delivery&, std::exception_ptr)>;
  virtual ~ProducerBackend() = default;
  /// Copies the record. Without `partition`: by murmur2 of the key as Kafka's Java client does,
  /// keyless records to some partition. Blocks while the queue is full. `done` (may be empty)
  /// is called once, from another thread, with the delivery or the error; it must not block.
  virtual void send(std::string_view topic, std::optional<PartitionIndex> partition,
                    const RecordView& record, Done done) = 0;
  /// Returns when everything sent before is delivered; throws the first failure since the last
  /// flush, or when the time passes.
  virtual void flush(std::chrono::milliseconds timeout) = 0;
  virtual void close() = 0;  // flushes
};

/// A place where topics live.
///
/// Threads: safe from any thread.
class Transport {
 public:
  virtual ~Transport() = default;
  /// The directory, or kafka://host:port[,host:port].
  [[nodiscard]] virtual std::string address() const = 0;
  /// False when it exists already with the same partition count; ConfigurationError naming both
  /// numbers when with another.
  virtual bool createTopic(const std::string& name, const TopicConfig& config) = 0;
  virtual std::vector<std::string> listTopics() = 0;
  virtual std::optional<TopicDescription> describeTopic(const std::string& name) = 0;
  /// Parts of describeTopic that readers and writers need, for whom a Kafka cluster may have
  /// refused the rest (the topic's settings): how many partitions, and their offsets.
  virtual std::optional<std::int32_t> partitionCount(const std::string& name);
  virtual std::optional<std::vector<PartitionDescription>> partitionOffsets(
      const std::string& name);
  /// False when there is none.
  virtual bool deleteTopic(const std::string& name) = 0;
  virtual std::unique_ptr<ConsumerBackend> consumer(const ConsumerOptions& options) = 0;
  virtual std::unique_ptr<ProducerBackend> producer(const ProducerOptions& options) = 0;
};

/// `file:///dir`, `file:dir`, a plain path, or `kafka://host:port[,host:port]`. Any other scheme
/// is a ConfigurationError that lists these.
std::shared_ptr<Transport> openTransport(const std::string& address,
                                         const std::map<std::string, std::string>& settings = {});

/// What openTransport calls. `brokers`: host[:port][,...], checked; settings whose names begin with
/// "file." are not librdkafka's and are to be left out. Implemented in sdk/src/kafka.
std::shared_ptr<Transport> openKafkaTransport(const std::string& brokers,
                                              const std::map<std::string, std::string>& settings);
/// Implemented in sdk/src/file.
std::shared_ptr<Transport> openFileTransport(const std::string& directory,
                                             const std::map<std::string, std::string>& settings);

/// Topic names as Kafka has them: [A-Za-z0-9._-]{1,249}, not "." or "..". Else ConfigurationError.
void checkTopicName(std::string_view name);

/// Of either transport: throws ConfigurationError naming the option, its value and its bounds.
void checkConsumerOptions(const ConsumerOptions& options);

/// Throws ConfigurationError: the topic is unknown, and how it is made.
[[noreturn]] void throwUnknownTopic(std::string_view name, std::string_view where);

/// Kafka's Java client: (murmur2(key) & 0x7fffffff) % partitions.
PartitionIndex partitionForKey(std::string_view key, std::int32_t partitions);

}  // namespace penstock::topics
