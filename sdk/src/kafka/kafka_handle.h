// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <librdkafka/rdkafka.h>
#include <penstock/record.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kafka/kafka_settings.h"

/// Owners of librdkafka's objects, and its errors as exceptions. Nothing outside sdk/src/kafka
/// calls librdkafka.
namespace penstock::kafka {

using std::chrono::milliseconds;

template <auto destroy>
struct Destroy {
  template <typename T>
  void operator()(T* object) const noexcept {
    destroy(object);
  }
};
template <typename T, auto destroy>
using Owned = std::unique_ptr<T, Destroy<destroy>>;

using Conf = Owned<rd_kafka_conf_t, rd_kafka_conf_destroy>;
using TopicHandle = Owned<rd_kafka_topic_t, rd_kafka_topic_destroy>;
using Queue = Owned<rd_kafka_queue_t, rd_kafka_queue_destroy>;
using Event = Owned<rd_kafka_event_t, rd_kafka_event_destroy>;
using Headers = Owned<rd_kafka_headers_t, rd_kafka_headers_destroy>;
using RdError = Owned<rd_kafka_error_t, rd_kafka_error_destroy>;
using Metadata = Owned<const rd_kafka_metadata_t, rd_kafka_metadata_destroy>;
using PartitionList = Owned<rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy>;
using GroupMetadata =
    Owned<rd_kafka_consumer_group_metadata_t, rd_kafka_consumer_group_metadata_destroy>;

/// A position that a group has committed. `metadata`: text of whoever did, 4096 B at most.
struct Committed {
  Offset offset;
  std::string metadata;
  bool operator==(const Committed&) const = default;
};

/// Offsets are left as librdkafka's "invalid".
PartitionList partitionList(const std::vector<TopicPartition>& partitions);
PartitionList partitionList(const std::map<TopicPartition, Offset>& positions);
TopicPartition partitionOf(const rd_kafka_topic_partition_t& partition);
std::string nameOf(const TopicPartition& partition);  // "topic 'clicks' partition 3"

/// `doing`: what was being done, with which name: "listing topics of localhost:9092".
std::exception_ptr kafkaError(rd_kafka_resp_err_t error, const std::string& doing,
                              const std::string& detail = {});
[[noreturn]] void throwKafka(rd_kafka_resp_err_t error, const std::string& doing,
                             const std::string& detail = {});
void check(rd_kafka_resp_err_t error, const std::string& doing);

/// Asks again while a broker says that it is about to know better: a leader or coordinator that
/// takes over, a topic just made. The last answer, after `timeout` at most.
rd_kafka_resp_err_t askAgain(milliseconds timeout,
                             const std::function<rd_kafka_resp_err_t(milliseconds left)>& question);

/// The first error that an entry carries.
rd_kafka_resp_err_t firstError(const rd_kafka_topic_partition_list_t& list);
int milliCount(milliseconds timeout);

/// One librdkafka client. Its logs go to Penstock's sink; the first one made names the version.
///
/// Threads: safe from any thread, as rd_kafka_t is.
class Client {
 public:
  using Rebalance = std::function<void(rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t*)>;
  using Delivered = std::function<void(const rd_kafka_message_t&)>;

  /// `rebalance`: for consumers of groups; called on the thread that polls.
  Client(rd_kafka_type_t type, const ClientSettings& settings, Rebalance rebalance = {});
  /// A producer whose delivery reports come on the thread that polls; without, they are events.
  Client(const ClientSettings& settings, Delivered delivered);
  /// Asks for what a group has committed, and is no member of it.
  static Client ofGroup(const TransportSettings& settings, const std::string& group);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] rd_kafka_t* get() const noexcept { return client_; }

  /// What is behind an error that says no more than that the client is beyond use.
  [[nodiscard]] rd_kafka_resp_err_t causeOf(rd_kafka_resp_err_t error) const;
  [[nodiscard]] bool failed() const {
    return causeOf(RD_KAFKA_RESP_ERR__FATAL) != RD_KAFKA_RESP_ERR__FATAL;
  }

  /// Connections that have ended so far; counted before what was under way on one is sent again.
  /// Of a producer with `delivered`; librdkafka's errors leave some out.
  [[nodiscard]] std::uint64_t connectionsLost() const noexcept { return connectionsLost_; }

  /// Partition count of a topic, or -1 when there is none. Never creates it.
  std::int32_t partitionsOf(const std::string& topic, milliseconds timeout);

  /// The cluster that the servers belong to. Throws KafkaError.
  std::string clusterId(milliseconds timeout);

  Offset end(const TopicPartition& partition, milliseconds timeout);

  /// Offsets of many partitions in one round: times, or rd_kafka's OFFSET_BEGINNING and
  /// OFFSET_END. What has no record at or after the time is at its end.
  std::map<TopicPartition, Offset> offsetsFor(const std::map<TopicPartition, std::int64_t>& wanted,
                                              milliseconds timeout);

  /// What the client's group has committed; partitions without are left out. Waits for
  /// transactions under way that commit some.
  std::map<TopicPartition, Committed> committed(const std::vector<TopicPartition>& partitions,
                                                milliseconds timeout);

 private:
  void connect(rd_kafka_type_t type, const ClientSettings& settings);
  static void onRebalance(rd_kafka_t*, rd_kafka_resp_err_t, rd_kafka_topic_partition_list_t*,
                          void* self);
  static void onDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self);
  static int onClose(int socket, void* self);
  Rebalance rebalance_;
  Delivered delivered_;
  std::atomic<std::uint64_t> connectionsLost_{0};
  std::string servers_;
  std::string group_;
  rd_kafka_t* client_ = nullptr;
};

}  // namespace penstock::kafka
