// SPDX-License-Identifier: Apache-2.0
#include "topics/transport.h"

#include <penstock/error.h>

#include <charconv>

namespace penstock::topics {

std::string ConsumerBackend::bookmark(const TopicPartition& partition) {
  return std::to_string(position(partition).value);
}

void ConsumerBackend::seekBookmark(const TopicPartition& partition, const std::string& bookmark) {
  Offset offset;
  const char* end = bookmark.data() + bookmark.size();
  const auto parsed = std::from_chars(bookmark.data(), end, offset.value);
  if (parsed.ec != std::errc{} || parsed.ptr != end || offset.value < 0) {
    throw ConfigurationError("seeking topic '" + partition.topic + "' partition " +
                             std::to_string(partition.partition.value) + ": '" + bookmark +
                             "' is not a bookmark of this transport");
  }
  seek(partition, offset);
}

std::optional<std::int32_t> Transport::partitionCount(const std::string& name) {
  const auto description = describeTopic(name);
  if (!description) return std::nullopt;
  return description->config.partitions;
}

std::optional<std::vector<PartitionDescription>> Transport::partitionOffsets(
    const std::string& name) {
  auto description = describeTopic(name);
  if (!description) return std::nullopt;
  return std::move(description->partitions);
}

void checkConsumerOptions(const ConsumerOptions& options) {
  constexpr std::size_t recordsMax = 1'000'000;  // librdkafka's bound; the same on files
  if (options.batchRecordsMax == 0 || options.batchRecordsMax > recordsMax) {
    throw ConfigurationError("ConsumerOptions::batchRecordsMax is " +
                             std::to_string(options.batchRecordsMax) + "; expected 1 to " +
                             std::to_string(recordsMax));
  }
  if (options.commitInterval < std::chrono::milliseconds(0)) {
    throw ConfigurationError("ConsumerOptions::commitInterval is " +
                             std::to_string(options.commitInterval.count()) +
                             " ms; expected 0 ms (after each batch) or more");
  }
}

void checkTopicName(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  bool good = !name.empty() && name.size() <= 249 && name != "." && name != "..";
  for (const char c : name) good = good && allowed(c);
  if (!good) {
    throw ConfigurationError("'" + std::string(name) +
                             "' is not a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ - "
                             "and not '.' or '..'");
  }
}

void throwUnknownTopic(std::string_view name, std::string_view where) {
  throw ConfigurationError("there is no topic '" + std::string(name) + "' in " +
                           std::string(where) +
                           "; create it with StreamingClient::createTopic or `penstock topics "
                           "create`");
}

}  // namespace penstock::topics
