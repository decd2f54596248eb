// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_admin.h"

#include <penstock/error.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <string_view>
#include <thread>

#include "topics/transport.h"

namespace penstock::kafka {
namespace {

using NewTopic = Owned<rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy>;
using DeleteTopic = Owned<rd_kafka_DeleteTopic_t, rd_kafka_DeleteTopic_destroy>;
using ConfigResource = Owned<rd_kafka_ConfigResource_t, rd_kafka_ConfigResource_destroy>;
using AdminOptions = Owned<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy>;

// The brokers' own.
const std::set<std::string_view> internalTopics = {"__consumer_offsets", "__transaction_state",
                                                   "__share_group_state"};

void put(rd_kafka_NewTopic_t* topic, const std::string& name, const std::string& value) {
  check(rd_kafka_NewTopic_set_config(topic, name.c_str(), value.c_str()),
        "setting '" + name + "' of a new topic");
}

std::int16_t replicationOf(const TopicConfig& config) {
  const auto found = config.extra.find("replication.factor");
  if (found == config.extra.end()) return -1;
  int value = 0;
  try {
    value = std::stoi(found->second);
  } catch (const std::exception&) {
  }
  if (value < 1 || value > 1000) {
    throw ConfigurationError("topic setting 'replication.factor' is '" + found->second +
                             "'; expected 1 to 1000");
  }
  return static_cast<std::int16_t>(value);
}

}  // namespace

// A client of the consumer kind: a producer's questions would make the topics they are about.
KafkaAdmin::KafkaAdmin(const TransportSettings& settings)
    : settings_(settings), client_(RD_KAFKA_CONSUMER, {settings.servers, settings.values}) {}

Event KafkaAdmin::ask(
    const std::string& doing,
    const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& question,
    rd_kafka_admin_op_t kind) {
  const int timeout = static_cast<int>(settings_.timeout.count());
  const AdminOptions options(rd_kafka_AdminOptions_new(client_.get(), kind));
  char reason[256];
  check(rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout, reason, sizeof(reason)),
        doing);
  const Queue answers(rd_kafka_queue_new(client_.get()));
  question(options.get(), answers.get());
  Event answer(rd_kafka_queue_poll(answers.get(), timeout + 1000));
  if (!answer) throwKafka(RD_KAFKA_RESP_ERR__TIMED_OUT, doing);
  const auto error = rd_kafka_event_error(answer.get());
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throwKafka(error, doing, rd_kafka_event_error_string(answer.get()));
  }
  return answer;
}

/// Brokers hear of what the controller did a little later.
void KafkaAdmin::await(const std::string& doing, const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + settings_.timeout;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      throwKafka(RD_KAFKA_RESP_ERR__TIMED_OUT, doing);
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
}

bool KafkaAdmin::createTopic(const std::string& name, const TopicConfig& config) {
  topics::checkTopicName(name);
  if (config.partitions < 0 || config.partitions > 1000000) {
    throw ConfigurationError("creating topic '" + name + "' with " +
                             std::to_string(config.partitions) +
                             " partitions; expected 1 to 1000000, or 0 for the broker's default");
  }
  const std::string doing = "creating topic '" + name + "'";
  char reason[512];
  const NewTopic topic(rd_kafka_NewTopic_new(name.c_str(),
                                             config.partitions == 0 ? -1 : config.partitions,
                                             replicationOf(config), reason, sizeof(reason)));
  if (!topic) throw ConfigurationError(doing + ": " + reason);
  if (config.retentionMs != -2)
    put(topic.get(), "retention.ms", std::to_string(config.retentionMs));
  if (config.retentionBytes != -2) {
    put(topic.get(), "retention.bytes", std::to_string(config.retentionBytes));
  }
  for (const auto& [key, value] : config.extra) {
    if (key != "replication.factor") put(topic.get(), key, value);
  }
  std::array<rd_kafka_NewTopic_t*, 1> wanted{topic.get()};
  const Event answer = ask(
      doing,
      [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* answers) {
        rd_kafka_CreateTopics(client_.get(), wanted.data(), wanted.size(), options, answers);
      },
      RD_KAFKA_ADMIN_OP_CREATETOPICS);
  std::size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(answer.get()), &count);
  const auto error = rd_kafka_topic_result_error(results[0]);
  if (error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
    // Somebody else's may be so new that brokers do not tell of it yet.
    std::int32_t there = -1;
    await("waiting to see topic '" + name + "', which exists already", [&] {
      there = client_.partitionsOf(name, settings_.timeout);
      return there >= 0;
    });
    if (config.partitions != 0 && there != config.partitions) {
      throw ConfigurationError(doing + " with " + std::to_string(config.partitions) +
                               " partitions: it exists with " + std::to_string(there));
    }
    return false;
  }
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* text = rd_kafka_topic_result_error_string(results[0]);
    throwKafka(error, doing, text != nullptr ? text : "");
  }
  await("waiting for topic '" + name + "' to have leaders", [&] {
    TopicHandle handle(rd_kafka_topic_new(client_.get(), name.c_str(), nullptr));
    const rd_kafka_metadata_t* raw = nullptr;
    check(rd_kafka_metadata(client_.get(), 0, handle.get(), &raw,
                            static_cast<int>(settings_.timeout.count())),
          doing);
    const Metadata metadata(raw);
    const rd_kafka_metadata_topic& found = metadata->topics[0];
    return found.err == RD_KAFKA_RESP_ERR_NO_ERROR && found.partition_cnt > 0 &&
           std::all_of(found.partitions, found.partitions + found.partition_cnt,
                       [](const auto& partition) { return partition.leader >= 0; });
  });
  return true;
}

std::vector<std::string> KafkaAdmin::listTopics() {
  const rd_kafka_metadata_t* raw = nullptr;
  check(rd_kafka_metadata(client_.get(), 1, nullptr, &raw,
                          static_cast<int>(settings_.timeout.count())),
        "listing the topics of " + settings_.servers);
  const Metadata metadata(raw);
  std::vector<std::string> names;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const std::string name = metadata->topics[i].topic;
    if (!internalTopics.contains(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void KafkaAdmin::eachSetting(const std::string& name, const Setting& take) {
  const std::string doing = "asking for the settings of topic '" + name + "'";
  const ConfigResource resource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name.c_str()));
  std::array<rd_kafka_ConfigResource_t*, 1> wanted{resource.get()};
  const Event answer = ask(
      doing,
      [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* answers) {
        rd_kafka_DescribeConfigs(client_.get(), wanted.data(), wanted.size(), options, answers);
      },
      RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
  std::size_t count = 0;
  const rd_kafka_ConfigResource_t** resources = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(answer.get()), &count);
  const auto error = rd_kafka_ConfigResource_error(resources[0]);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* text = rd_kafka_ConfigResource_error_string(resources[0]);
    throwKafka(error, doing, text != nullptr ? text : "");
  }
  const rd_kafka_ConfigEntry_t** entries = rd_kafka_ConfigResource_configs(resources[0], &count);
  for (std::size_t i = 0; i < count; ++i) {
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    if (value == nullptr) continue;  // sensitive
    take(rd_kafka_ConfigEntry_name(entries[i]), value,
         rd_kafka_ConfigEntry_source(entries[i]) == RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG);
  }
}

TopicConfig KafkaAdmin::configOf(const std::string& name) {
  TopicConfig config;
  eachSetting(name, [&](const std::string& key, const char* value, bool ofTopic) {
    if (key == "retention.ms") {
      config.retentionMs = std::stoll(value);
    } else if (key == "retention.bytes") {
      config.retentionBytes = std::stoll(value);
    } else if (ofTopic) {
      config.extra[key] = value;
    }
  });
  return config;
}

std::size_t KafkaAdmin::batchBytesMax(const std::string& name) {
  std::size_t most = std::numeric_limits<std::size_t>::max();
  eachSetting(name, [&](const std::string& key, const char* value, bool /*ofTopic*/) {
    if (key == "max.message.bytes") most = static_cast<std::size_t>(std::stoll(value));
  });
  return most;
}

std::optional<TopicDescription> KafkaAdmin::describeTopic(const std::string& name) {
  auto partitions = partitionOffsets(name);
  if (!partitions) return std::nullopt;
  TopicDescription description;
  description.name = name;
  description.config = configOf(name);
  description.config.partitions = static_cast<std::int32_t>(partitions->size());
  description.partitions = std::move(*partitions);
  return description;
}

std::optional<std::int32_t> KafkaAdmin::partitionCount(const std::string& name) {
  topics::checkTopicName(name);
  const std::int32_t count = client_.partitionsOf(name, settings_.timeout);
  if (count < 0) return std::nullopt;
  return count;
}

std::optional<std::vector<PartitionDescription>> KafkaAdmin::partitionOffsets(
    const std::string& name) {
  const auto count = partitionCount(name);
  if (!count) return std::nullopt;
  std::map<TopicPartition, std::int64_t> first;
  std::map<TopicPartition, std::int64_t> behind;
  for (std::int32_t i = 0; i < *count; ++i) {
    first[{name, {i}}] = RD_KAFKA_OFFSET_BEGINNING;
    behind[{name, {i}}] = RD_KAFKA_OFFSET_END;
  }
  const auto starts = client_.offsetsFor(first, settings_.timeout);
  const auto ends = client_.offsetsFor(behind, settings_.timeout);
  std::vector<PartitionDescription> partitions;
  for (const auto& [partition, start] : starts) {
    partitions.push_back({partition.partition, start, ends.at(partition)});
  }
  return partitions;
}

bool KafkaAdmin::deleteTopic(const std::string& name) {
  topics::checkTopicName(name);
  const std::string doing = "deleting topic '" + name + "'";
  const DeleteTopic topic(rd_kafka_DeleteTopic_new(name.c_str()));
  std::array<rd_kafka_DeleteTopic_t*, 1> wanted{topic.get()};
  const Event answer = ask(
      doing,
      [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* answers) {
        rd_kafka_DeleteTopics(client_.get(), wanted.data(), wanted.size(), options, answers);
      },
      RD_KAFKA_ADMIN_OP_DELETETOPICS);
  std::size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(answer.get()), &count);
  const auto error = rd_kafka_topic_result_error(results[0]);
  if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return false;
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* text = rd_kafka_topic_result_error_string(results[0]);
    throwKafka(error, doing, text != nullptr ? text : "");
  }
  await("waiting for topic '" + name + "' to be gone",
        [&] { return client_.partitionsOf(name, settings_.timeout) < 0; });
  return true;
}

}  // namespace penstock::kafka
