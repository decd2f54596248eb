// SPDX-License-Identifier: Apache-2.0
// Count per key on Kafka, exactly once: an Application beside the same by hand with librdkafka's C
// API, which is the yardstick, and bare consumption, which is the limit. Rounds alternate; medians
// and their ratios.
//
//   kafka_count_bench [--records N] [--keys N] [--value-bytes N] [--partitions N]
//                     [--commit-interval MS] [--rounds N]
//
// Measured from the first record processed to the commit of the last one. By hand as ours: every
// interval one transaction with a count per changed key in the output and in a changelog, with
// timestamps, and the positions; every delivery report is looked at. By hand keeps no state on
// disk. Starts its own broker on this machine, or uses $PENSTOCK_BROKER.
#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <penstock/application.h>
#include <penstock/log.h>
#include <penstock/streaming_client.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "support/kafka_client.h"
#include "tests/support/kafka_broker.h"

namespace {

using namespace penstock;
using Clock = std::chrono::steady_clock;

struct Sizes {
  std::int64_t records = 4'000'000;
  std::int64_t keys = 100'000;
  std::int64_t valueBytes = 100;
  std::int32_t partitions = 4;
  std::int64_t intervalMs = 100;
  int rounds = 3;
};

std::uint64_t mixed(std::uint64_t number) {  // splitmix64
  number += 0x9e3779b97f4a7c15;
  number = (number ^ (number >> 30U)) * 0xbf58476d1ce4e5b9;
  number = (number ^ (number >> 27U)) * 0x94d049bb133111eb;
  return number ^ (number >> 31U);
}

void fill(const StreamingClient& place, const std::string& topic, const Sizes& sizes) {
  place.createTopic(topic, {.partitions = sizes.partitions});
  auto producer = place.producer(topic);
  const std::string value(static_cast<std::size_t>(sizes.valueBytes), 'v');
  for (std::int64_t i = 0; i < sizes.records; ++i) {
    const std::string key = fmt::format("key-{:07d}", mixed(static_cast<std::uint64_t>(i)) %
                                                          static_cast<std::uint64_t>(sizes.keys));
    producer.post({.key = key, .value = value, .timestamp = EventTime{1'700'000'000'000 + i}});
  }
  producer.close();
}

void must(rd_kafka_error_t* error) {
  if (error == nullptr) return;
  const std::string text = rd_kafka_error_string(error);
  rd_kafka_error_destroy(error);
  throw std::runtime_error(text);
}

struct ByHand {
  struct Count {
    std::int64_t value = 0;
    std::int64_t timeMs = 0;
    bool dirty = false;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  using Counts = boost::unordered_flat_map<std::string, Count, Hash, std::equal_to<>>;
  static inline std::int64_t failed = 0;

  const Sizes& sizes;
  rd_kafka_t* consumer = nullptr;
  rd_kafka_t* producer = nullptr;
  rd_kafka_queue_t* queue = nullptr;
  rd_kafka_topic_t* output = nullptr;
  rd_kafka_topic_t* changelog = nullptr;
  std::vector<Counts> counts{static_cast<std::size_t>(sizes.partitions)};
  std::vector<std::vector<Counts::value_type*>> dirty{counts.size()};
  std::vector<std::int64_t> next = std::vector<std::int64_t>(counts.size());

  static void delivered(rd_kafka_t*, const rd_kafka_message_t* message, void*) {
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) ++failed;
  }

  void connect(const std::string& servers, const std::string& input, const std::string& id) {
    consumer = penstock::bench::kafkaClient(RD_KAFKA_CONSUMER, servers,
                                            {{"group.id", id}, {"enable.auto.commit", "false"}});
    rd_kafka_poll_set_consumer(consumer);
    producer = penstock::bench::kafkaClient(RD_KAFKA_PRODUCER, servers, {{"transactional.id", id}},
                                            delivered);
    must(rd_kafka_init_transactions(producer, 30'000));
    rd_kafka_topic_partition_list_t* all = rd_kafka_topic_partition_list_new(sizes.partitions);
    for (std::int32_t p = 0; p < sizes.partitions; ++p) {
      rd_kafka_topic_partition_list_add(all, input.c_str(), p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_assign(consumer, all);
    rd_kafka_topic_partition_list_destroy(all);
    queue = rd_kafka_queue_get_consumer(consumer);
    output = rd_kafka_topic_new(producer, (id + "-out").c_str(), nullptr);
    changelog = rd_kafka_topic_new(producer, (id + "-log").c_str(), nullptr);
  }
  void disconnect() {
    rd_kafka_topic_destroy(output);
    rd_kafka_topic_destroy(changelog);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_destroy(producer);
  }

  void send(rd_kafka_topic_t* topic, std::int32_t partition, const std::string& key,
            const Count& count) {
    char value[8];
    for (int i = 0; i < 8; ++i) value[i] = static_cast<char>(count.value >> (56 - 8 * i));
    while (true) {
      const auto error = rd_kafka_producev(
          producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(count.timeMs),
          RD_KAFKA_V_KEY(key.data(), key.size()), RD_KAFKA_V_VALUE(value, sizeof(value)),
          RD_KAFKA_V_END);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return;
      if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) throw std::runtime_error(rd_kafka_err2str(error));
      rd_kafka_poll(producer, 100);
    }
  }

  void commit(const std::string& input) {
    must(rd_kafka_begin_transaction(producer));
    for (std::size_t p = 0; p < counts.size(); ++p) {
      for (Counts::value_type* entry : dirty[p]) {
        send(output, static_cast<std::int32_t>(p), entry->first, entry->second);
        send(changelog, static_cast<std::int32_t>(p), entry->first, entry->second);
        entry->second.dirty = false;
      }
      rd_kafka_poll(producer, 0);
      dirty[p].clear();
    }
    rd_kafka_flush(producer, 30'000);
    rd_kafka_topic_partition_list_t* positions =
        rd_kafka_topic_partition_list_new(sizes.partitions);
    for (std::int32_t p = 0; p < sizes.partitions; ++p) {
      rd_kafka_topic_partition_list_add(positions, input.c_str(), p)->offset =
          next[static_cast<std::size_t>(p)];
    }
    rd_kafka_consumer_group_metadata_t* group = rd_kafka_consumer_group_metadata(consumer);
    must(rd_kafka_send_offsets_to_transaction(producer, positions, group, 30'000));
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(positions);
    must(rd_kafka_commit_transaction(producer, 30'000));
    if (failed != 0) throw std::runtime_error("records by hand were not delivered");
  }

  double run(const std::string& input) {
    // A map's entries move when it grows: not here, where their addresses are kept.
    for (Counts& each : counts) each.reserve(static_cast<std::size_t>(sizes.keys));
    std::vector<rd_kafka_message_t*> messages(4096);
    std::int64_t count = 0;
    Clock::time_point began;
    Clock::time_point due;
    while (count < sizes.records) {
      const auto got = rd_kafka_consume_batch_queue(queue, 10, messages.data(), messages.size());
      if (count == 0 && got > 0) {
        began = Clock::now();
        due = began + std::chrono::milliseconds(sizes.intervalMs);
      }
      for (ssize_t i = 0; i < got; ++i) {
        rd_kafka_message_t* message = messages[static_cast<std::size_t>(i)];
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
          const auto p = static_cast<std::size_t>(message->partition);
          const std::string_view key(static_cast<const char*>(message->key), message->key_len);
          auto found = counts[p].find(key);
          if (found == counts[p].end()) found = counts[p].emplace(std::string(key), Count{}).first;
          ++found->second.value;
          found->second.timeMs =
              std::max(found->second.timeMs, rd_kafka_message_timestamp(message, nullptr));
          if (!std::exchange(found->second.dirty, true)) dirty[p].push_back(&*found);
          next[p] = message->offset + 1;
          ++count;
        }
        rd_kafka_message_destroy(message);
      }
      if (Clock::now() < due && count < sizes.records) continue;
      if (count == 0) continue;
      commit(input);
      due = Clock::now() + std::chrono::milliseconds(sizes.intervalMs);
    }
    return std::chrono::duration<double>(Clock::now() - began).count();
  }
};

double countByHand(const StreamingClient& place, const std::string& servers,
                   const std::string& input, const std::string& id, const Sizes& sizes) {
  place.createTopic(id + "-out", {.partitions = sizes.partitions});
  place.createTopic(id + "-log",
                    {.partitions = sizes.partitions, .extra = {{"cleanup.policy", "compact"}}});
  ByHand loop{sizes};
  loop.connect(servers, input, id);
  const double seconds = loop.run(input);
  loop.disconnect();
  return seconds;
}

double consumeOnly(const std::string& servers, const std::string& input, const Sizes& sizes) {
  ByHand loop{sizes};
  loop.connect(servers, input, "bare");
  std::vector<rd_kafka_message_t*> messages(4096);
  std::int64_t count = 0;
  Clock::time_point began;
  while (count < sizes.records) {
    const auto got = rd_kafka_consume_batch_queue(loop.queue, 10, messages.data(), messages.size());
    if (count == 0 && got > 0) began = Clock::now();
    for (ssize_t i = 0; i < got; ++i) {
      rd_kafka_message_t* message = messages[static_cast<std::size_t>(i)];
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) ++count;
      rd_kafka_message_destroy(message);
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  loop.disconnect();
  return seconds;
}

double countByUs(const std::string& address, const std::string& input, const std::string& id,
                 const std::string& directory, const Sizes& sizes) {
  ApplicationOptions options{.id = id, .broker = address};
  options.stateDirectory = directory;
  options.commitInterval = std::chrono::milliseconds(sizes.intervalMs);
  options.handleSignals = false;
  Application application(options);
  application.stream<std::string_view, std::string_view>(input)
      .groupByKey()
      .count({.name = "counts"})
      .toStream()
      .to(id + "-out");
  std::exception_ptr failure;
  std::thread runs([&] {
    try {
      application.run();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  Clock::time_point began;
  std::uint64_t commits = 0;
  bool started = false;
  bool read = false;
  const auto until = Clock::now() + std::chrono::minutes(10);
  while (Clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const ApplicationMetrics now = application.metrics();
    if (!started && now.recordsIn > 0) began = Clock::now(), started = true;
    if (read && now.commits > commits) break;
    if (!read && now.recordsIn == static_cast<std::uint64_t>(sizes.records)) {
      read = true;
      commits = now.commits;
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  application.stop();
  runs.join();
  if (failure) std::rethrow_exception(failure);
  return seconds;
}

struct Figures {
  std::vector<double> rates;
  void add(const Sizes& sizes, double seconds) {
    rates.push_back(static_cast<double>(sizes.records) / seconds);
    std::sort(rates.begin(), rates.end());
  }
  [[nodiscard]] double median() const { return rates[rates.size() / 2]; }
  void print(const char* what, const Figures& yardstick) const {
    fmt::print("{:40} {:>9.0f}/s ({:.0f}..{:.0f})  ratio {:.2f}\n", what, median(), rates.front(),
               rates.back(), median() / yardstick.median());
  }
};

}  // namespace

int main(int argc, char** argv) {
  Sizes sizes;
  CLI::App command("Kafka: count per key, exactly once, beside the same by hand.");
  command.add_option("--records", sizes.records)->check(CLI::PositiveNumber);
  command.add_option("--keys", sizes.keys)->check(CLI::PositiveNumber);
  command.add_option("--value-bytes", sizes.valueBytes)->check(CLI::PositiveNumber);
  command.add_option("--partitions", sizes.partitions)->check(CLI::Range(1, 1000));
  command.add_option("--commit-interval", sizes.intervalMs)->check(CLI::Range(1, 5000));
  command.add_option("--rounds", sizes.rounds)->check(CLI::Range(1, 100));
  CLI11_PARSE(command, argc, argv);
  const std::string directory =
      (std::filesystem::temp_directory_path() / fmt::format("penstock-bench-{}", ::getpid()))
          .string();
  int code = 0;
  try {
    setLogLevel(LogLevel::Warning);
    const testing::KafkaBroker broker;
    const StreamingClient place(broker.address());
    const std::string stem =
        "bench-" + std::to_string(Clock::now().time_since_epoch().count()) + "-";
    fmt::print(
        "{} records of {} B, {} keys, {} partitions, commits every {} ms, {} rounds, "
        "librdkafka {}\n",
        sizes.records, sizes.valueBytes, sizes.keys, sizes.partitions, sizes.intervalMs,
        sizes.rounds, rd_kafka_version_str());
    const std::string input = stem + "in";
    fill(place, input, sizes);
    Figures consume;
    Figures hand;
    Figures ours;
    for (int round = 0; round < sizes.rounds; ++round) {
      const std::string id = stem + std::to_string(round);
      consume.add(sizes, consumeOnly(broker.servers(), input, sizes));
      hand.add(sizes, countByHand(place, broker.servers(), input, id + "-hand", sizes));
      ours.add(sizes, countByUs(broker.address(), input, id + "-ours", directory, sizes));
      for (const std::string& topic :
           {id + "-hand-out", id + "-hand-log", id + "-ours-out", id + "-ours-counts-changelog"}) {
        place.deleteTopic(topic);
      }
    }
    consume.print("librdkafka, consume only", hand);
    hand.print("librdkafka by hand, exactly once", hand);
    ours.print("Application, exactly once", hand);
  } catch (const std::exception& error) {
    fmt::print(stderr, "kafka_count_bench: {}\n", error.what());
    code = 1;
  }
  std::filesystem::remove_all(directory);
  return code;
}
