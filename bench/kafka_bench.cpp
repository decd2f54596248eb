// SPDX-License-Identifier: Apache-2.0
// Producing to and consuming from Kafka: TopicProducer and TopicConsumer beside the same by hand
// with librdkafka's C API, which is the yardstick. Rounds alternate; medians and their ratio.
//
//   kafka_bench [--records N] [--value-bytes N] [--partitions N] [--rounds N]
//
// Starts its own broker on this machine, or uses $PENSTOCK_BROKER.
#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <penstock/log.h>
#include <penstock/streaming_client.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/kafka_client.h"
#include "tests/support/kafka_broker.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Sizes {
  std::int64_t records = 1'000'000;
  std::int64_t valueBytes = 100;
  std::int32_t partitions = 4;
  int rounds = 3;
};

std::string keyOf(std::int64_t i) { return fmt::format("key-{:07d}", i % 100'000); }

/// The same guarantees as ours: idempotent, every report looked at, timestamps set.
void produceByHand(const std::string& servers, const std::string& topic, const Sizes& sizes) {
  rd_kafka_t* producer = penstock::bench::kafkaClient(
      RD_KAFKA_PRODUCER, servers,
      {{"enable.idempotence", "true"}, {"partitioner", "murmur2_random"}});
  rd_kafka_topic_t* handle = rd_kafka_topic_new(producer, topic.c_str(), nullptr);
  std::atomic<std::int64_t> delivered{0};
  std::atomic<bool> stop{false};
  std::thread reports([&] {
    rd_kafka_queue_t* queue = rd_kafka_queue_get_main(producer);
    while (!stop) {
      rd_kafka_event_t* event = rd_kafka_queue_poll(queue, 50);
      if (event == nullptr) continue;
      while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event)) {
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) ++delivered;
      }
      rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
  });
  const std::string value(static_cast<std::size_t>(sizes.valueBytes), 'v');
  for (std::int64_t i = 0; i < sizes.records; ++i) {
    const std::string key = keyOf(i);
    const auto error = rd_kafka_producev(
        producer, RD_KAFKA_V_RKT(handle),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK),
        RD_KAFKA_V_TIMESTAMP(1'700'000'000'000 + i), RD_KAFKA_V_KEY(key.data(), key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) throw std::runtime_error(rd_kafka_err2str(error));
  }
  rd_kafka_flush(producer, 60'000);
  stop = true;
  reports.join();
  rd_kafka_topic_destroy(handle);
  rd_kafka_destroy(producer);
  if (delivered != sizes.records) throw std::runtime_error("records by hand were not delivered");
}

void produceByUs(const std::string& servers, const std::string& topic, const Sizes& sizes) {
  const penstock::StreamingClient place("kafka://" + servers);
  auto producer = place.producer(topic);
  const std::string value(static_cast<std::size_t>(sizes.valueBytes), 'v');
  for (std::int64_t i = 0; i < sizes.records; ++i) {
    const std::string key = keyOf(i);
    producer.post(
        {.key = key, .value = value, .timestamp = penstock::EventTime{1'700'000'000'000 + i}});
  }
  producer.close();
}

void consumeByHand(const std::string& servers, const std::string& topic, const Sizes& sizes) {
  rd_kafka_t* consumer = penstock::bench::kafkaClient(
      RD_KAFKA_CONSUMER, servers, {{"group.id", "by-hand"}, {"enable.auto.commit", "false"}});
  rd_kafka_poll_set_consumer(consumer);
  rd_kafka_topic_partition_list_t* all = rd_kafka_topic_partition_list_new(sizes.partitions);
  for (std::int32_t p = 0; p < sizes.partitions; ++p) {
    rd_kafka_topic_partition_list_add(all, topic.c_str(), p)->offset = RD_KAFKA_OFFSET_BEGINNING;
  }
  rd_kafka_assign(consumer, all);
  rd_kafka_topic_partition_list_destroy(all);
  rd_kafka_queue_t* queue = rd_kafka_queue_get_consumer(consumer);
  std::vector<rd_kafka_message_t*> messages(4096);
  std::int64_t count = 0;
  std::uint64_t bytes = 0;
  while (count < sizes.records) {
    const auto got = rd_kafka_consume_batch_queue(queue, 100, messages.data(), messages.size());
    for (ssize_t i = 0; i < got; ++i) {
      rd_kafka_message_t* message = messages[static_cast<std::size_t>(i)];
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        bytes += message->len + message->key_len;
        ++count;
      }
      rd_kafka_message_destroy(message);
    }
  }
  rd_kafka_queue_destroy(queue);
  rd_kafka_consumer_close(consumer);
  rd_kafka_destroy(consumer);
  if (bytes == 0) throw std::runtime_error("nothing was read by hand");
}

void consumeByUs(const std::string& servers, const std::string& topic, const Sizes& sizes) {
  const penstock::StreamingClient place("kafka://" + servers);
  auto consumer = place.consumer(topic);
  penstock::RecordBatch batch;
  std::int64_t count = 0;
  std::uint64_t bytes = 0;
  while (count < sizes.records) {
    if (!consumer.poll(batch, std::chrono::milliseconds(100))) continue;
    for (const penstock::RecordView& record : batch.records) {
      bytes += record.value->size() + record.key->size();
    }
    count += static_cast<std::int64_t>(batch.records.size());
  }
  if (bytes == 0) throw std::runtime_error("nothing was read");
}

double rate(const Sizes& sizes, const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return static_cast<double>(sizes.records) /
         std::chrono::duration<double>(Clock::now() - begin).count();
}

void report(const std::string& what, std::vector<double> hand, std::vector<double> ours) {
  std::sort(hand.begin(), hand.end());
  std::sort(ours.begin(), ours.end());
  const double yardstick = hand[hand.size() / 2];
  const double median = ours[ours.size() / 2];
  fmt::print(
      "{:8} librdkafka {:>9.0f}/s ({:.0f}..{:.0f})  penstock {:>9.0f}/s ({:.0f}..{:.0f})  "
      "ratio {:.2f}\n",
      what, yardstick, hand.front(), hand.back(), median, ours.front(), ours.back(),
      median / yardstick);
}

}  // namespace

int main(int argc, char** argv) {
  Sizes sizes;
  CLI::App command("Kafka: TopicProducer and TopicConsumer beside bare librdkafka.");
  command.add_option("--records", sizes.records)->check(CLI::PositiveNumber);
  command.add_option("--value-bytes", sizes.valueBytes)->check(CLI::PositiveNumber);
  command.add_option("--partitions", sizes.partitions)->check(CLI::Range(1, 1000));
  command.add_option("--rounds", sizes.rounds)->check(CLI::Range(1, 100));
  CLI11_PARSE(command, argc, argv);
  try {
    penstock::setLogLevel(penstock::LogLevel::Warning);
    const penstock::testing::KafkaBroker broker;
    const penstock::StreamingClient place(broker.address());
    const std::string stem =
        "bench-" + std::to_string(Clock::now().time_since_epoch().count()) + "-";
    fmt::print("{} records of {} B, {} partitions, {} rounds, librdkafka {}\n", sizes.records,
               sizes.valueBytes, sizes.partitions, sizes.rounds, rd_kafka_version_str());
    std::vector<double> figures[4];
    for (int round = 0; round < sizes.rounds; ++round) {
      const std::string byHand = stem + "hand-" + std::to_string(round);
      const std::string byUs = stem + "ours-" + std::to_string(round);
      place.createTopic(byHand, {.partitions = sizes.partitions});
      place.createTopic(byUs, {.partitions = sizes.partitions});
      figures[0].push_back(rate(sizes, [&] { produceByHand(broker.servers(), byHand, sizes); }));
      figures[1].push_back(rate(sizes, [&] { produceByUs(broker.servers(), byUs, sizes); }));
      figures[2].push_back(rate(sizes, [&] { consumeByHand(broker.servers(), byHand, sizes); }));
      figures[3].push_back(rate(sizes, [&] { consumeByUs(broker.servers(), byHand, sizes); }));
      place.deleteTopic(byHand);
      place.deleteTopic(byUs);
    }
    report("produce", figures[0], figures[1]);
    report("consume", figures[2], figures[3]);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "kafka_bench: {}\n", error.what());
    return 1;
  }
}
