// SPDX-License-Identifier: Apache-2.0
//
// Goal: the public client, and the command, do on Kafka what tests/sdk/file_topics_test.cpp has
// them do on files. What only the backend can be asked is in the backend's own tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <penstock/streaming_client.h>

#include <csignal>
#include <set>

#include "support/build_paths.h"
#include "support/subprocess.h"
#include "tests/kafka/kafka_test.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::runProgram;

class StreamingClientOnKafka : public ::testing::Test {
 protected:
  StreamingClientOnKafka() : client(kafka::broker().address()), topic(kafka::freshName("client")) {}

  void fill(int count) {
    TopicProducer producer = client.producer(topic);
    for (int i = 0; i < count; ++i) {
      const std::string value = std::to_string(i);
      producer.post(
          {.value = value, .timestamp = EventTime{1000 + i}, .partition = PartitionIndex{0}});
    }
    producer.flush();
  }
  static std::vector<std::string> rest(TopicConsumer& consumer) {
    std::vector<std::string> values;
    consumer.forEach([&](const TopicPartition&, const RecordView& record) {
      values.emplace_back(record.value.value_or("(none)"));
    });
    return values;
  }

  StreamingClient client;
  const std::string topic;
};

TEST_F(StreamingClientOnKafka, RecordsComeBackAsTheyWere) {
  EXPECT_TRUE(client.createTopic(topic, {.partitions = 1}));
  EXPECT_FALSE(client.createTopic(topic, {.partitions = 1}));
  EXPECT_THROW(client.createTopic(topic, {.partitions = 2}), ConfigurationError);
  const std::vector<Record> records{
      {"k", "v", EventTime{1}, {}},
      {std::nullopt, std::nullopt, EventTime{2}, {}},
      {"", "", EventTime{3}, {{"h", "1"}, {"h", std::nullopt}, {"i", ""}}},
  };
  TopicProducer producer = client.producer(topic);
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(producer.send(records[i]).get().offset.value, static_cast<std::int64_t>(i));
  }
  TopicConsumer consumer = client.consumer(topic);
  std::vector<Record> read;
  consumer.forEach(
      [&](const TopicPartition&, const RecordView& record) { read.push_back(record.copy()); });
  EXPECT_EQ(read, records);
}

TEST_F(StreamingClientOnKafka, SeeksBookmarksAndStops) {
  client.createTopic(topic, {.partitions = 1});
  fill(10);
  const TopicPartition first{topic, PartitionIndex{0}};
  TopicConsumer consumer = client.consumer(topic);
  EXPECT_EQ(rest(consumer).size(), 10U);
  consumer.seek(first, Offset{7});
  EXPECT_THAT(rest(consumer), ElementsAre("7", "8", "9"));
  consumer.seek(first, EventTime{1008});
  EXPECT_THAT(rest(consumer), ElementsAre("8", "9"));
  consumer.seek(SeekBegin{});
  int seen = 0;
  consumer.run([&](const TopicPartition&, const RecordView&) {
    if (++seen == 4) consumer.stop();
  });
  const std::string bookmark = consumer.bookmark(first);
  TopicConsumer other = client.consumer(topic);
  other.seekBookmark(first, bookmark);
  EXPECT_THAT(rest(other), ElementsAre("4", "5", "6", "7", "8", "9"));
}

TEST_F(StreamingClientOnKafka, AGroupGoesOnBehindTheRecordWhoseCallbackThrew) {
  client.createTopic(topic, {.partitions = 1});
  fill(5);
  const std::string group = kafka::freshName("group");
  {
    TopicConsumer consumer = client.consumer(topic, {.group = group});
    EXPECT_THROW(consumer.forEach([](const TopicPartition&, const RecordView& record) {
      if (record.value == "2") throw std::runtime_error("no twos");
    }),
                 ProcessingError);
  }
  TopicConsumer again = client.consumer(topic, {.group = group});
  EXPECT_THAT(rest(again), ElementsAre("2", "3", "4"));
}

TEST_F(StreamingClientOnKafka, UnknownTopicsAreErrors) {
  EXPECT_THROW((void)client.producer(topic), ConfigurationError);
  EXPECT_THROW((void)client.consumer(topic), ConfigurationError);
  EXPECT_FALSE(client.describeTopic(topic));
  EXPECT_FALSE(client.deleteTopic(topic));
}

TEST_F(StreamingClientOnKafka, TheCommandCreatesProducesConsumesAndDeletes) {
  const auto penstock = [&](std::vector<std::string> arguments, const std::string& input = {}) {
    arguments.insert(arguments.begin(), {testing::buildDirectory() + "/sdk/penstock", "topics"});
    arguments.insert(arguments.end(), {"--address", kafka::broker().address()});
    return runProgram(std::move(arguments), input);
  };
  EXPECT_EQ(penstock({"create", topic, "--partitions", "2"}).out, "topic " + topic + " created\n");
  const std::string csv = "k,v,5\n,\"\",6\n";
  EXPECT_EQ(penstock({"produce", topic, "--partition", "1", "--format", "csv"}, csv).err, "");
  EXPECT_EQ(penstock({"consume", topic, "--from-beginning", "--until-end", "--format", "csv"}).out,
            csv);
  EXPECT_EQ(penstock({"consume", topic, "--group", kafka::freshName("g"), "--from-beginning",
                      "--until-end", "--format", "csv"})
                .out,
            csv);
  EXPECT_THAT(penstock({"list"}).out, HasSubstr(topic + '\n'));
  EXPECT_THAT(penstock({"describe", topic}).out, HasSubstr("partitions  2"));
  EXPECT_EQ(penstock({"delete", topic}).exitCode, 0);
  EXPECT_EQ(penstock({"describe", topic}).exitCode, 2);
}

TEST_F(StreamingClientOnKafka, AnUnreachableBrokerIsAnErrorInTimeNotAHang) {
  const auto begun = std::chrono::steady_clock::now();
  const testing::Finished finished =
      runProgram({testing::buildDirectory() + "/sdk/penstock", "topics", "list", "--address",
                  "kafka://127.0.0.1:1"});
  EXPECT_EQ(finished.exitCode, 1) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("127.0.0.1:1"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
}

}  // namespace
}  // namespace penstock
