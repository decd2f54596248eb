// SPDX-License-Identifier: Apache-2.0
#include "kafka/producer_topics.h"

#include <penstock/error.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "topics/transport.h"

namespace penstock::kafka {
namespace {

/// librdkafka tells an absent key or value by a null pointer, which an empty view may have too.
rd_kafka_vu_t bytes(rd_kafka_vtype_t type, const std::optional<std::string_view>& view) {
  rd_kafka_vu_t argument{};
  argument.vtype = type;
  const char* data = nullptr;
  if (view) data = view->data() != nullptr ? view->data() : "";
  argument.u.mem.ptr = const_cast<char*>(data);  // only read, and copied
  argument.u.mem.size = view ? view->size() : 0;
  return argument;
}

Headers headersOf(const RecordView& record) {
  Headers headers(rd_kafka_headers_new(record.headers.size()));
  for (const HeaderView& header : record.headers) {
    const char* value = nullptr;
    if (header.value) value = header.value->data() != nullptr ? header.value->data() : "";
    check(rd_kafka_header_add(headers.get(), header.name.data(),
                              static_cast<ssize_t>(header.name.size()), value,
                              header.value ? static_cast<ssize_t>(header.value->size()) : 0),
          "adding header '" + std::string(header.name) + "'");
  }
  return headers;
}

}  // namespace

ProducerTopic& ProducerTopics::find(std::string_view name, std::int32_t partition) {
  const auto fits = [&](const ProducerTopic& topic) {
    return topic.name == name && partition < topic.partitions;
  };
  ProducerTopic* last = last_.load(std::memory_order_acquire);
  if (last != nullptr && fits(*last)) return *last;
  {
    const std::lock_guard lock(mutex_);
    const auto [begin, end] = topics_.equal_range(name);
    for (auto it = begin; it != end; ++it) {
      if (!fits(*it->second)) continue;
      last_.store(it->second.get(), std::memory_order_release);
      return *it->second;
    }
  }
  topics::checkTopicName(name);
  auto topic = std::make_unique<ProducerTopic>();
  topic->name = name;
  topic->partitions = client_.partitionsOf(topic->name, settings_.timeout);
  if (topic->partitions < 0) topics::throwUnknownTopic(name, settings_.address());
  if (partition >= topic->partitions) {
    throw ConfigurationError("producing to topic '" + topic->name + "' partition " +
                             std::to_string(partition) + ": the topic has " +
                             std::to_string(topic->partitions) + " partitions");
  }
  topic->handle.reset(rd_kafka_topic_new(client_.get(), topic->name.c_str(), nullptr));
  const auto count = static_cast<std::size_t>(topic->partitions);
  topic->ends = std::make_unique<std::atomic<std::int64_t>[]>(count);
  std::for_each_n(topic->ends.get(), count, [](auto& end) { end = -1; });
  const std::lock_guard lock(mutex_);
  const auto inserted = topics_.emplace(topic->name, std::move(topic));
  last_.store(inserted->second.get(), std::memory_order_release);
  return *inserted->second;
}

ClientSettings producerSettings(const TransportSettings& settings) {
  ClientSettings result{settings.servers, settings.values};
  result.values.emplace("partitioner", "murmur2_random");
  result.values["enable.idempotence"] = "true";
  // A topic that is missing is an error, and not made with whatever defaults the broker has.
  result.values.emplace("allow.auto.create.topics", "false");
  return result;
}

void checkRecord(std::string_view topic, std::int32_t partition, const RecordView& record) {
  if (partition < 0) {
    throw ConfigurationError("producing to topic '" + std::string(topic) + "' partition " +
                             std::to_string(partition) + ": partitions begin with 0");
  }
  if (record.timestamp.ms < 0) {
    throw state::InvalidArgument("producing to topic '" + std::string(topic) + "' with timestamp " +
                                 std::to_string(record.timestamp.ms) +
                                 ": Kafka has none before 1970");
  }
}

RdError produce(Client& client, const ProducerTopic& topic, std::int32_t partition,
                const RecordView& record, bool waits, void* opaque) {
  std::array<rd_kafka_vu_t, 8> arguments{};
  arguments[0].vtype = RD_KAFKA_VTYPE_RKT;
  arguments[0].u.rkt = topic.handle.get();
  arguments[1].vtype = RD_KAFKA_VTYPE_PARTITION;
  arguments[1].u.i32 = partition;
  arguments[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
  arguments[2].u.i = RD_KAFKA_MSG_F_COPY | (waits ? RD_KAFKA_MSG_F_BLOCK : 0);
  arguments[3].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
  arguments[3].u.i64 = record.timestamp.ms;
  arguments[4].vtype = RD_KAFKA_VTYPE_OPAQUE;
  arguments[4].u.ptr = opaque;
  arguments[5] = bytes(RD_KAFKA_VTYPE_KEY, record.key);
  arguments[6] = bytes(RD_KAFKA_VTYPE_VALUE, record.value);
  std::size_t count = 7;
  Headers headers;
  if (!record.headers.empty()) {
    headers = headersOf(record);
    arguments[count].vtype = RD_KAFKA_VTYPE_HEADERS;
    arguments[count].u.headers = headers.get();
    ++count;
  }
  RdError failure(rd_kafka_produceva(client.get(), arguments.data(), count));
  if (!failure) static_cast<void>(headers.release());  // librdkafka's now
  return failure;
}

}  // namespace penstock::kafka
