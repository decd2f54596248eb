// SPDX-License-Identifier: Apache-2.0
#include "file/topic_catalog.h"

#include <penstock/error.h>

#include <cstring>
#include <thread>

#include "file/groups.h"
#include "topics/transport.h"

namespace penstock::file {

namespace {

constexpr std::string_view kStoreName = "topics";
constexpr std::string_view kClaimName = "topics";
constexpr char kVersion = 1;
constexpr std::size_t kIdBytes = 16;
constexpr std::int64_t kDefault = -2;

void appendU32(std::string& out, std::uint32_t number) {
  out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

std::string encode(const Topic& topic) {
  std::string value(1, kVersion);
  value += topic.id;
  appendU32(value, static_cast<std::uint32_t>(topic.logs.size()));
  for (const state::LogId log : topic.logs) appendU32(value, log.value);
  return value;
}

Topic decode(const std::string& directory, std::string_view name, const std::string& value) {
  constexpr std::size_t head = 1 + kIdBytes + 4;
  if (!value.empty() && value[0] > kVersion) {
    throw state::FormatTooNew("topic '" + std::string(name) + "' in " + directory +
                              " was made by a newer Penstock (catalog version " +
                              std::to_string(value[0]) + ", this one reads 1); use a newer one");
  }
  std::uint32_t count = 0;
  if (value.size() >= head) std::memcpy(&count, value.data() + 1 + kIdBytes, 4);
  if (value.size() < head || value[0] != kVersion || count == 0 ||
      value.size() != head + std::size_t{count} * 4) {
    throw state::Corruption(directory, 0,
                            "the catalog entry of topic '" + std::string(name) + "' in " +
                                directory + " is not readable");
  }
  Topic topic;
  topic.name = name;
  topic.id = value.substr(1, kIdBytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    state::LogId& log = topic.logs.emplace_back();
    std::memcpy(&log.value, value.data() + head + std::size_t{i} * 4, 4);
  }
  return topic;
}

std::string randomId() {
  std::string id(kIdBytes, '\0');
  for (std::size_t i = 0; i < kIdBytes; i += 8) {
    const std::uint64_t part = state::Environment::real().random->next();
    std::memcpy(id.data() + i, &part, 8);
  }
  return id;
}

}  // namespace

TopicCatalog::TopicCatalog(std::shared_ptr<state::Journal> journal)
    : journal_(std::move(journal)), store_(journal_->store(journal_->declareStore(kStoreName))) {}

std::string TopicCatalog::logName(std::string_view topic, PartitionIndex partition) {
  return "topic/" + std::string(topic) + '/' + std::to_string(partition.value);
}

std::string TopicCatalog::describe(const TopicPartition& partition) {
  return "topic '" + partition.topic + "' partition " + std::to_string(partition.partition.value);
}

std::unique_ptr<state::Claim> TopicCatalog::claim(const std::string& what) const {
  constexpr int attempts = 1000;  // 10 s: creating many partitions takes a while
  std::string holder;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    if (auto claim = journal_->tryClaim(kClaimName, &holder)) return claim;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw state::OwnedElsewhere(
      what + " in " + journal_->directory() +
      ": another process has been creating or deleting topics for 10 s: " + holder);
}

bool TopicCatalog::create(const std::string& name, const TopicConfig& config) {
  topics::checkTopicName(name);
  const std::string what = "creating topic '" + name + "'";
  const auto held = claim(what);
  if (const auto existing = find(name)) {
    if (config.partitions == 0 || config.partitions == existing->partitions()) return false;
    throw ConfigurationError(what + " with " + std::to_string(config.partitions) +
                             " partitions in " + journal_->directory() + ": it exists with " +
                             std::to_string(existing->partitions()) +
                             ", and the number of partitions cannot be changed");
  }
  state::LogRetention retention;
  if (config.retentionMs != kDefault) retention.maxAgeMs = config.retentionMs;
  if (config.retentionBytes != kDefault) retention.maxBytes = config.retentionBytes;
  Topic topic;
  topic.name = name;
  topic.id = randomId();
  const std::int32_t partitions = config.partitions == 0 ? 1 : config.partitions;
  for (std::int32_t i = 0; i < partitions; ++i) {
    const std::string log = logName(name, PartitionIndex{i});
    // left over from a creation or deletion that a crash cut short: may hold an old topic's records
    if (const auto leftOver = journal_->findLog(log)) journal_->removeLog(*leftOver);
    topic.logs.push_back(journal_->declareLog(log, retention));
  }
  state::Commit commit;
  commit.require(*held);
  commit.put(store_->id(), name, encode(topic));
  journal_->commit(commit);
  return true;
}

bool TopicCatalog::remove(const std::string& name) {
  topics::checkTopicName(name);
  const auto held = claim("deleting topic '" + name + "'");
  const auto topic = find(name);
  if (!topic) return false;
  state::Commit commit;
  commit.require(*held);
  commit.erase(store_->id(), name);
  forgetPositions(*journal_, name, commit);
  journal_->commit(commit);
  // from here on a crash leaves logs without a topic, which the next creation takes away
  for (const state::LogId log : topic->logs) journal_->removeLog(log);
  return true;
}

std::optional<Topic> TopicCatalog::find(std::string_view name) const {
  std::string value;
  if (!store_->get(name, value)) return std::nullopt;
  return decode(journal_->directory(), name, value);
}

Topic TopicCatalog::get(std::string_view name) const {
  auto topic = find(name);
  if (!topic) topics::throwUnknownTopic(name, journal_->directory());
  return *std::move(topic);
}

std::vector<std::string> TopicCatalog::list() const {
  std::vector<std::string> names;
  store_->scan({}, {}, [&](std::string_view name, std::string_view) {
    names.emplace_back(name);
    return true;
  });
  return names;
}

}  // namespace penstock::file
