// SPDX-License-Identifier: Apache-2.0
//
// Goal: as tests/sdk/counter_test.cpp, on a real broker.
#include <gtest/gtest.h>
#include <penstock/streaming_client.h>

#include <map>
#include <random>

#include "support/counter_kills.h"
#include "support/temporary_directory.h"
#include "tests/kafka/kafka_test.h"

namespace penstock {
namespace {

TEST(CounterOnKafka, CountsExactlyOverKills) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  const testing::TemporaryDirectory directory;
  const StreamingClient client(kafka::broker().address());
  const std::string topic = kafka::freshName("counter");
  client.createTopic(topic, {.partitions = 3});
  std::mt19937 random(seed);
  std::map<std::string, std::int64_t> expected;
  TopicProducer producer = client.producer(topic);
  for (int i = 0; i < 300000; ++i) {
    const std::string key = "k" + std::to_string(random() % 2000);
    ++expected[key];
    producer.post({.key = key, .value = "v"});
  }
  producer.flush();
  const testing::CounterRuns runs =
      testing::runCounterOverKills(kafka::broker().address(), topic, directory / "state", 12, seed);
  EXPECT_EQ(runs.errors, "");
  EXPECT_EQ(runs.counts, expected);
  EXPECT_GE(runs.kills, 3) << "it ended before it could be killed at work";
}

}  // namespace
}  // namespace penstock
