// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <penstock/log.h>
#include <penstock/streaming_client.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "record_lines.h"

namespace penstock::command {

namespace {

struct TopicsArguments {
  std::string address;
  std::vector<std::string> settings;  // name=value
  std::string topic;
  TopicConfig config;
  std::vector<std::string> topicSettings;
  LineFormat format = LineFormat::Lines;
  bool json = false;
  bool fromBeginning = false;
  bool untilEnd = false;
  bool valuesAreInt64 = false;
  std::optional<std::int64_t> offset;
  std::optional<std::int64_t> time;
  std::optional<std::int32_t> partition;
  std::uint64_t max = UINT64_MAX;
  std::string group;
};

std::atomic<bool> interrupted{false};

void interruptOnSignals() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second one ends the program at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

std::map<std::string, std::string> pairsOf(const std::vector<std::string>& pairs) {
  std::map<std::string, std::string> result;
  for (const std::string& pair : pairs) {
    const std::size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      throw ConfigurationError("'" + pair + "' is not name=value");
    }
    result[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return result;
}

/// Only `create` makes a directory: a mistyped address must not.
StreamingClient clientOf(const TopicsArguments& arguments, bool createDirectory = false) {
  auto settings = pairsOf(arguments.settings);
  if (!createDirectory) settings.emplace("file.createDirectory", "false");
  return StreamingClient(arguments.address, settings);
}

TopicDescription describe(const StreamingClient& client, const std::string& topic) {
  auto description = client.describeTopic(topic);
  if (!description) {
    throw ConfigurationError("there is no topic '" + topic + "' at " + client.address() +
                             "; `penstock topics list` shows what there is");
  }
  return *std::move(description);
}

void create(TopicsArguments& arguments) {
  arguments.config.extra = pairsOf(arguments.topicSettings);
  const bool made = clientOf(arguments, true).createTopic(arguments.topic, arguments.config);
  print(fmt::format("topic {} {}\n", arguments.topic, made ? "created" : "was there already"));
}

void list(const TopicsArguments& arguments) {
  std::string text;
  for (const std::string& topic : clientOf(arguments).listTopics()) text += topic + '\n';
  print(text);
}

void describeTopic(const TopicsArguments& arguments) {
  const TopicDescription topic = describe(clientOf(arguments), arguments.topic);
  if (arguments.json) {
    nlohmann::ordered_json json{{"name", topic.name},
                                {"retentionMs", topic.config.retentionMs},
                                {"retentionBytes", topic.config.retentionBytes},
                                {"partitions", nlohmann::ordered_json::array()}};
    for (const PartitionDescription& partition : topic.partitions) {
      json["partitions"].push_back({{"partition", partition.partition.value},
                                    {"start", partition.start.value},
                                    {"end", partition.end.value}});
    }
    return print(json.dump() + '\n');
  }
  std::string text = fmt::format(
      "topic       {}\npartitions  {}\nretention   {}, {}\n\n{:>9} {:>14} {:>14} {:>14}\n",
      topic.name, topic.partitions.size(), keptText(topic.config.retentionMs, "ms"),
      keptText(topic.config.retentionBytes, "bytes"), "partition", "start", "end", "records");
  for (const PartitionDescription& partition : topic.partitions) {
    text += fmt::format("{:>9} {:>14} {:>14} {:>14}\n", partition.partition.value,
                        partition.start.value, partition.end.value,
                        partition.end.value - partition.start.value);
  }
  print(text);
}

void deleteTopic(const TopicsArguments& arguments) {
  const StreamingClient client = clientOf(arguments);
  if (!client.deleteTopic(arguments.topic)) describe(client, arguments.topic);  // says so
  print(fmt::format("topic {} deleted\n", arguments.topic));
}

void produce(const TopicsArguments& arguments) {
  const StreamingClient client = clientOf(arguments);
  TopicProducer producer = client.producer(arguments.topic);
  RecordLineReader reader(std::cin, arguments.format);
  try {
    while (auto parsed = reader.next()) {
      std::vector<HeaderView> headers;
      for (const Header& header : parsed->headers) headers.push_back({header.name, header.value});
      ProducerRecord record;
      record.key = parsed->key;
      record.value = parsed->value;
      record.timestamp = parsed->timestamp;
      record.headers = headers;
      record.partition = parsed->partition;
      if (!record.partition && arguments.partition) {
        record.partition = PartitionIndex{*arguments.partition};
      }
      producer.post(record);
    }
  } catch (...) {
    try {
      producer.close();  // what was read before the bad line counts
    } catch (const std::exception& error) {
      log(LogLevel::Error, "command", "records before the error were not written",
          {{"topic", arguments.topic}, {"error", error.what()}});
    }
    throw;
  }
  producer.close();
}

/// An offset that was typed is an argument, unlike a position that was committed.
void requireOffset(const TopicDescription& topic, const TopicsArguments& arguments) {
  for (const PartitionDescription& each : topic.partitions) {
    if (arguments.partition && each.partition.value != *arguments.partition) continue;
    if (*arguments.offset >= each.start.value && *arguments.offset <= each.end.value) continue;
    throw ConfigurationError(fmt::format("--offset {}: topic '{}' partition {} holds {} to {}",
                                         *arguments.offset, topic.name, each.partition.value,
                                         each.start.value, each.end.value));
  }
}

/// What is to be printed, and where a consumer without a group begins.
TopicConsumer consumerOf(const StreamingClient& client, const TopicsArguments& arguments) {
  ConsumerOptions options;
  options.group = arguments.group;
  options.offsetReset = arguments.fromBeginning ? OffsetReset::Earliest : OffsetReset::Latest;
  const TopicDescription topic = describe(client, arguments.topic);
  if (!arguments.partition && !arguments.group.empty()) {
    return client.consumer(arguments.topic, options);
  }
  std::vector<TopicPartition> partitions;
  for (const PartitionDescription& partition : topic.partitions) {
    if (!arguments.partition || partition.partition.value == *arguments.partition) {
      partitions.push_back({topic.name, partition.partition});
    }
  }
  if (partitions.empty()) {
    throw ConfigurationError(fmt::format("topic '{}' has no partition {}, it has 0 to {}",
                                         topic.name, *arguments.partition,
                                         topic.partitions.size() - 1));
  }
  if (arguments.offset) requireOffset(topic, arguments);
  TopicConsumer consumer = client.consumer(options);
  consumer.assign(partitions);
  if (arguments.offset) consumer.seek(Offset{*arguments.offset});
  if (arguments.time) consumer.seek(EventTime{*arguments.time});
  return consumer;
}

/// Whether everything below `ends` was read, by this consumer or by others of its group.
bool allRead(TopicConsumer& consumer, const TopicsArguments& arguments,
             const std::map<TopicPartition, Offset>& ends) {
  const std::vector<TopicPartition> owned = consumer.assignment();
  std::vector<TopicPartition> others;
  for (const auto& [partition, end] : ends) {
    if (std::find(owned.begin(), owned.end(), partition) == owned.end()) {
      if (!arguments.partition) others.push_back(partition);
    } else if (consumer.position(partition) < end) {
      return false;
    }
  }
  if (others.empty()) return true;
  const auto committed = consumer.committed(others);
  return std::all_of(others.begin(), others.end(), [&](const TopicPartition& partition) {
    const auto found = committed.find(partition);
    const Offset read = found == committed.end() ? Offset{0} : found->second;
    return read >= ends.at(partition);
  });
}

/// Big-endian, as serdes write it.
std::int64_t int64Of(const TopicPartition& source, const RecordView& record) {
  if (record.value->size() != sizeof(std::int64_t)) {
    throw Error(ErrorCode::FixData,
                fmt::format("topic {} partition {} offset {}: a value of {} bytes is no int64",
                            source.topic, source.partition.value, record.offset.value,
                            record.value->size()));
  }
  std::uint64_t number = 0;
  for (const char byte : *record.value) number = number << 8 | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(number);
}

void consume(const TopicsArguments& arguments) {
  interruptOnSignals();
  const StreamingClient client = clientOf(arguments);
  TopicConsumer consumer = consumerOf(client, arguments);
  std::map<TopicPartition, Offset> ends;
  if (arguments.untilEnd) {
    for (const PartitionDescription& partition : describe(client, arguments.topic).partitions) {
      const bool empty = partition.start == partition.end;
      ends[{arguments.topic, partition.partition}] = empty ? Offset{0} : partition.end;
    }
  }
  std::uint64_t printed = 0;
  std::string text;
  RecordBatch batch;
  while (!interrupted && printed < arguments.max) {
    if (consumer.poll(batch, std::chrono::milliseconds(100))) {
      Offset next = batch.next;
      for (const RecordView& record : batch.records) {
        if (printed == arguments.max) {
          next = record.offset;
          break;
        }
        RecordView shown = record;
        std::string number;
        if (arguments.valuesAreInt64 && record.value) {
          number = std::to_string(int64Of(batch.source, record));
          shown.value = number;
        }
        appendRecordLine(batch.source, shown, arguments.format, text);
        ++printed;
      }
      print(text);
      text.clear();
      if (!arguments.group.empty()) consumer.commit({{batch.source, next}});
    }
    if (arguments.untilEnd && allRead(consumer, arguments, ends)) break;
  }
  consumer.close();
}

/// A subcommand with what all have. `run` is called when it was asked for.
CLI::App* subcommand(CLI::App& topics, const std::shared_ptr<TopicsArguments>& arguments,
                     const std::string& name, const std::string& description, bool withTopic,
                     const std::function<void(TopicsArguments&)>& run) {
  CLI::App* command = topics.add_subcommand(name, description);
  command->add_option("--address", arguments->address,
                      "file:///directory, a path, or kafka://host:port; default $PENSTOCK_BROKER");
  command->add_option("--set", arguments->settings, "a setting of the transport: name=value")
      ->take_all()
      ->allow_extra_args(false);
  if (withTopic) command->add_option("topic", arguments->topic, "name of the topic")->required();
  command->callback([arguments, run] { run(*arguments); });
  return command;
}

void addFormat(CLI::App& command, TopicsArguments& arguments) {
  const std::map<std::string, LineFormat> names{
      {"lines", LineFormat::Lines}, {"csv", LineFormat::Csv}, {"json", LineFormat::Json}};
  command
      .add_option_function<std::string>(
          "--format",
          [&arguments, names](const std::string& name) { arguments.format = names.at(name); },
          "lines (values), csv (key,value[,timestamp]) or json (one object per line)")
      ->check(CLI::IsMember(names));
}

}  // namespace

void addTopicsCommand(CLI::App& app) {
  CLI::App& topics = *app.add_subcommand("topics", "Create, look into, write and read topics");
  topics.require_subcommand(1);
  const auto arguments = std::make_shared<TopicsArguments>();
  const CLI::Range natural(std::int64_t{0}, INT64_MAX, "a whole number from 0");

  CLI::App* made = subcommand(topics, arguments, "create", "Create a topic", true, create);
  made->add_option("--partitions", arguments->config.partitions, "number of partitions")
      ->check(CLI::Range(1, TopicConfig::partitionsMax));
  made->add_option("--retention-ms", arguments->config.retentionMs,
                   "how long records are kept; -1: for ever")
      ->check(CLI::Range(std::int64_t{-1}, INT64_MAX));
  made->add_option("--retention-bytes", arguments->config.retentionBytes,
                   "how much of each partition is kept; -1: no bound")
      ->check(CLI::Range(std::int64_t{-1}, INT64_MAX));
  made->add_option("--config", arguments->topicSettings, "a Kafka topic setting: name=value")
      ->take_all()
      ->allow_extra_args(false);

  subcommand(topics, arguments, "list", "Names of the topics", false, list);

  CLI::App* described = subcommand(topics, arguments, "describe", "Partitions and what they hold",
                                   true, describeTopic);
  described->add_flag("--json", arguments->json, "as one JSON object");

  CLI::App* produced = subcommand(topics, arguments, "produce",
                                  "Write records read from standard input", true, produce);
  addFormat(*produced, *arguments);
  produced->add_option("--partition", arguments->partition, "write to this partition")
      ->check(CLI::Range(0, TopicConfig::partitionsMax - 1));

  CLI::App* consumed =
      subcommand(topics, arguments, "consume", "Print records, from now on if nothing else is said",
                 true, consume);
  addFormat(*consumed, *arguments);
  CLI::Option* beginning =
      consumed->add_flag("--from-beginning", arguments->fromBeginning,
                         "from the first record kept; in a group: unless it has a position");
  CLI::Option* offset =
      consumed->add_option("--offset", arguments->offset, "from this offset")->check(natural);
  CLI::Option* time = consumed->add_option("--from-time", arguments->time,
                                           "from the first record at or after this time (ms)");
  CLI::Option* partition =
      consumed->add_option("--partition", arguments->partition, "this partition alone")
          ->check(CLI::Range(0, TopicConfig::partitionsMax - 1));
  CLI::Option* group =
      consumed->add_option("--group", arguments->group, "share the topic with this group");
  consumed->add_option("--max", arguments->max, "end after so many records")
      ->check(CLI::Range(std::int64_t{1}, INT64_MAX));
  consumed
      ->add_option_function<std::string>(
          "--value-type",
          [arguments](const std::string& type) { arguments->valuesAreInt64 = type == "int64"; },
          "what values are: text (default) or int64 (8 bytes, as counts are written)")
      ->check(CLI::IsMember({"text", "int64"}));
  consumed->add_flag("--until-end", arguments->untilEnd,
                     "end when everything that is there at the start was read");
  offset->excludes(beginning)->excludes(time)->excludes(group);
  time->excludes(beginning)->excludes(group);
  partition->excludes(group);

  subcommand(topics, arguments, "delete", "Delete a topic with its records", true, deleteTopic);
}

}  // namespace penstock::command
