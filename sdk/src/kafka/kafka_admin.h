// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topics.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kafka/kafka_handle.h"

namespace penstock::kafka {

/// Making, listing, describing and deleting topics. Each call ends within the transport's time.
///
/// Threads: safe from any thread.
class KafkaAdmin {
 public:
  explicit KafkaAdmin(const TransportSettings& settings);

  bool createTopic(const std::string& name, const TopicConfig& config);
  std::vector<std::string> listTopics();
  std::optional<TopicDescription> describeTopic(const std::string& name);
  std::optional<std::int32_t> partitionCount(const std::string& name);
  std::optional<std::vector<PartitionDescription>> partitionOffsets(const std::string& name);
  bool deleteTopic(const std::string& name);
  /// Its max.message.bytes: the most that a batch of records may take on the wire.
  std::size_t batchBytesMax(const std::string& name);

 private:
  Event ask(const std::string& doing,
            const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& question,
            rd_kafka_admin_op_t kind);
  using Setting = std::function<void(const std::string& key, const char* value, bool ofTopic)>;
  void eachSetting(const std::string& name, const Setting& take);
  TopicConfig configOf(const std::string& name);
  void await(const std::string& doing, const std::function<bool()>& done);

  const TransportSettings settings_;
  Client client_;
};

}  // namespace penstock::kafka
