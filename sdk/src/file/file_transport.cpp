// SPDX-License-Identifier: Apache-2.0
#include "file/file_transport.h"

#include <penstock/error.h>

#include <charconv>

#include "file/file_consumer.h"
#include "file/file_producer.h"
#include "open_journal.h"

namespace penstock::file {

namespace {

bool parseBool(const std::string& name, const std::string& value) {
  if (value == "true") return true;
  if (value == "false") return false;
  throw ConfigurationError("setting " + name + ": '" + value + "' is neither true nor false");
}

std::uint64_t parseBytes(const std::string& name, const std::string& value) {
  constexpr std::uint64_t least = 1U << 16U;
  constexpr std::uint64_t most = std::uint64_t{1} << 40U;
  std::uint64_t bytes = 0;
  const char* end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, bytes);
  if (parsed.ec != std::errc{} || parsed.ptr != end || bytes < least || bytes > most) {
    throw ConfigurationError("setting " + name + ": '" + value +
                             "' is not a number of bytes from " + std::to_string(least) + " to " +
                             std::to_string(most));
  }
  return bytes;
}

state::JournalOptions optionsOf(const std::map<std::string, std::string>& settings) {
  state::JournalOptions options;
  options.sharing = state::Sharing::Shared;
  for (const auto& [name, value] : settings) {
    if (!name.starts_with("file.")) continue;
    if (name == "file.createDirectory") {
      options.createDirectory = parseBool(name, value);
    } else if (name == "file.allowNetworkFileSystem") {
      options.allowNetworkFileSystem = parseBool(name, value);
    } else if (name == "file.segmentBytes") {
      options.segmentBytes = parseBytes(name, value);
    } else {
      throw ConfigurationError(
          "there is no setting " + name +
          ": file.createDirectory, file.allowNetworkFileSystem, file.segmentBytes");
    }
  }
  return options;
}

}  // namespace

FileTransport::FileTransport(const std::string& directory,
                             const std::map<std::string, std::string>& settings)
    : journal_(openJournal(directory, optionsOf(settings))),
      catalog_(std::make_shared<TopicCatalog>(journal_)) {}

bool FileTransport::createTopic(const std::string& name, const TopicConfig& config) {
  return catalog_->create(name, config);
}

std::vector<std::string> FileTransport::listTopics() { return catalog_->list(); }

std::optional<TopicDescription> FileTransport::describeTopic(const std::string& name) {
  const auto topic = catalog_->find(name);
  if (!topic) return std::nullopt;
  TopicDescription description;
  description.name = name;
  description.config.partitions = topic->partitions();
  for (std::int32_t i = 0; i < topic->partitions(); ++i) {
    const state::LogInfo log = journal_->log(topic->logs[static_cast<std::size_t>(i)]);
    description.config.retentionMs = log.retention.maxAgeMs;
    description.config.retentionBytes = log.retention.maxBytes;
    description.partitions.push_back({PartitionIndex{i},
                                      Offset{static_cast<std::int64_t>(log.start)},
                                      Offset{static_cast<std::int64_t>(log.syncedEnd)}});
  }
  return description;
}

bool FileTransport::deleteTopic(const std::string& name) { return catalog_->remove(name); }

std::unique_ptr<topics::ConsumerBackend> FileTransport::consumer(const ConsumerOptions& options) {
  return std::make_unique<FileConsumer>(journal_, catalog_, options);
}

std::unique_ptr<topics::ProducerBackend> FileTransport::producer(const ProducerOptions& options) {
  return std::make_unique<FileProducer>(journal_, catalog_, options);
}

}  // namespace penstock::file

namespace penstock::topics {

std::shared_ptr<Transport> openFileTransport(const std::string& directory,
                                             const std::map<std::string, std::string>& settings) {
  return std::make_shared<file::FileTransport>(directory, settings);
}

}  // namespace penstock::topics
