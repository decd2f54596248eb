// SPDX-License-Identifier: Apache-2.0
//
//   TOPIC --> [TopicConsumer] --> count by key --+
//                                                +--> one batch --> [LocalFileStorage]
//                                   position ----+
//
// Counts the records of a topic by key (those without one by value), exactly, however often it is
// killed: counts and the position behind what was counted are written as one batch, so a restart
// finds both or neither. Shows what Application does for you.
#include <penstock/exit_code.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/streaming_client.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

using penstock::Offset;
using penstock::RecordView;
using penstock::TopicConsumer;
using penstock::TopicPartition;
using penstock::state::LocalFileStorage;

constexpr std::string_view kCount = "count/";

std::atomic<bool> stopping{false};

std::string positionKey(const TopicPartition& partition) {
  return "position/" + partition.topic + '/' + std::to_string(partition.partition.value);
}

/// Goes on behind what the counts in `storage` were made of.
void resume(TopicConsumer& consumer, const LocalFileStorage& storage) {
  for (const TopicPartition& partition : consumer.assignment()) {
    if (const auto bookmark = storage.find<std::string>(positionKey(partition))) {
      consumer.seekBookmark(partition, *bookmark);
    }
  }
}

/// Where the partitions end now.
std::map<TopicPartition, Offset> endsOf(const penstock::StreamingClient& client,
                                        const std::string& topic) {
  std::map<TopicPartition, Offset> ends;
  const penstock::TopicDescription description = client.describeTopic(topic).value();
  for (const auto& partition : description.partitions) {
    ends[{topic, partition.partition}] = partition.end;
  }
  return ends;
}

bool reached(TopicConsumer& consumer, const std::map<TopicPartition, Offset>& ends) {
  return std::all_of(ends.begin(), ends.end(),
                     [&](const auto& end) { return consumer.position(end.first) >= end.second; });
}

void count(const std::string& address, const std::string& topic, LocalFileStorage& storage,
           bool untilEnd) {
  const penstock::StreamingClient client(address);
  TopicConsumer consumer = client.consumer(topic);  // no group: the positions are ours to keep
  const auto ends = endsOf(client, topic);
  resume(consumer, storage);

  penstock::RecordBatch records;
  penstock::state::Batch changes = storage.batch();
  std::unordered_map<std::string, std::int64_t> counts;  // of the keys in this batch
  while (!stopping && !(untilEnd && reached(consumer, ends))) {
    if (!consumer.poll(records, std::chrono::milliseconds(100))) continue;
    counts.clear();
    for (const RecordView& record : records.records) {
      std::string key(kCount);
      key += record.key.value_or(record.value.value_or(""));
      const auto found = counts.try_emplace(std::move(key), 0).first;
      if (found->second == 0) found->second = storage.getOr<std::int64_t>(found->first, 0);
      ++found->second;
    }
    for (const auto& [key, value] : counts) changes.set(key, value);
    changes.set(positionKey(records.source), consumer.bookmark(records.source));
    storage.write(changes);  // on disk when it returns: all of it, or nothing
  }
}

void print(const LocalFileStorage& storage) {
  for (const std::string& key : storage.keys(kCount)) {
    std::printf("%s %lld\n", key.c_str() + kCount.size(),
                static_cast<long long>(storage.getLong(key)));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string address;
  std::string topic;
  std::string directory = LocalFileStorage::defaultDirectory();
  bool untilEnd = false;
  CLI::App app("Counts the records of a topic by key, exactly, over crashes", "counter");
  app.add_option("--broker", address, "file:///directory or kafka://host:port")
      ->envname("PENSTOCK_BROKER")
      ->required();
  app.add_option("--input", topic, "topic to count")->required();
  app.add_option("--state", directory, "directory of the counts")->capture_default_str();
  app.add_flag("--until-end", untilEnd, "end at the end that the topic had at the start");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  struct sigaction action {};
  action.sa_handler = [](int) { stopping = true; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  try {
    LocalFileStorage storage(directory);
    count(address, topic, storage, untilEnd);
    print(storage);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "counter: %s\n", error.what());
    return penstock::exitCode(error);
  }
}
