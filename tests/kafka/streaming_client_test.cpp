// SPDX-License-Identifier: Apache-2.0
//
// Goal: the public client, and the command, do on Kafka what tests/sdk/file_topics_test.cpp has
// them do on files. What only the backend can be asked is in the backend's own tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <penstock/kafka_error.h>
#include <penstock/state/errors.h>
#include <penstock/streaming_client.h>

#include <array>
#include <csignal>
#include <optional>
#include <set>

#include "kafka/kafka_handle.h"
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

  /// Allows all that is done with a topic, and forbids one thing.
  static void forbid(const std::string& name, rd_kafka_AclOperation_t operation) {
    const kafka::Client admin(RD_KAFKA_CONSUMER, {kafka::broker().servers(), {}});
    char reason[256];
    const auto rule = [&](rd_kafka_AclOperation_t what, rd_kafka_AclPermissionType_t how) {
      return rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, name.c_str(),
                                     RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:*", "*", what, how,
                                     reason, sizeof(reason));
    };
    std::array<rd_kafka_AclBinding_t*, 2> rules{
        rule(RD_KAFKA_ACL_OPERATION_ALL, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW),
        rule(operation, RD_KAFKA_ACL_PERMISSION_TYPE_DENY)};
    const kafka::Queue answers(rd_kafka_queue_new(admin.get()));
    rd_kafka_CreateAcls(admin.get(), rules.data(), rules.size(), nullptr, answers.get());
    const kafka::Event answer(rd_kafka_queue_poll(answers.get(), 30000));
    rd_kafka_AclBinding_destroy_array(rules.data(), rules.size());
    ASSERT_TRUE(answer);
    ASSERT_EQ(rd_kafka_event_error(answer.get()), RD_KAFKA_RESP_ERR_NO_ERROR);
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

TEST_F(StreamingClientOnKafka, ReadingAndWritingNeedNoRightToASettingsList) {
  if (!kafka::broker().ours()) return;  // somebody else's may ask nobody for rights
  client.createTopic(topic, {.partitions = 1});
  forbid(topic, RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS);
  ASSERT_TRUE(testing::eventually([&] {
    try {
      static_cast<void>(client.describeTopic(topic));
      return false;
    } catch (const KafkaError& error) {
      return error.code() == ErrorCode::FixConfiguration;
    }
  }));
  fill(3);
  TopicConsumer consumer = client.consumer(topic);
  EXPECT_THAT(rest(consumer), ElementsAre("0", "1", "2"));
  TopicConsumer member = client.consumer(topic, {.group = kafka::freshName("group")});
  EXPECT_THAT(rest(member), ElementsAre("0", "1", "2"));
}

TEST_F(StreamingClientOnKafka, AGiveUpWhoseCommitFailsIsNotCommittedLater) {
  if (!kafka::broker().ours()) return;
  using namespace std::chrono_literals;
  const std::string closed = kafka::freshName("closed");
  client.createTopic(closed, {.partitions = 1});
  client.createTopic(topic, {.partitions = 2});
  const auto write = [&](const std::string& to, std::int32_t partition, int count) {
    TopicProducer producer = client.producer(to);
    for (int i = 0; i < count; ++i) producer.post({.value = "v", .partition = {{partition}}});
    producer.flush();
  };
  write(closed, 0, 5);
  for (const int partition : {0, 1}) write(topic, partition, 5);
  const ConsumerOptions options{.group = kafka::freshName("group"), .commitInterval = 1h};
  TopicConsumer first = client.consumer({closed, topic}, options);
  std::optional<TopicConsumer> second;
  int seen = 0;
  EXPECT_THROW(first.run([&](const TopicPartition&, const RecordView&) {
    if (++seen < 15) return;
    first.pause({{closed, {0}}});
    forbid(closed, RD_KAFKA_ACL_OPERATION_READ);  // commits in it are refused, too
    second = client.consumer(topic, options);
  }),
               KafkaError);
  // The partition that the second one got goes on, and is left alone by the first.
  for (const int partition : {0, 1}) write(topic, partition, 3);
  RecordBatch batch;
  ASSERT_TRUE(
      testing::eventually([&] { return second->poll(batch, 10ms) && batch.next == Offset{8}; }));
  second->commit();
  const TopicPartition theirs = batch.source;
  EXPECT_EQ(second->committed({theirs}).at(theirs), Offset{8});
  bool read = false;
  try {
    first.run([&](const TopicPartition& from, const RecordView& record) {
      EXPECT_NE(from, theirs);
      read = read || record.offset == Offset{7};
      if (read) first.stop();
    });
  } catch (const KafkaError&) {  // the topic that it may no longer read
  }
  EXPECT_EQ(second->committed({theirs}).at(theirs), Offset{8});
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
  EXPECT_EQ(finished.exitCode, 4) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("127.0.0.1:1"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(60));
}

}  // namespace
}  // namespace penstock
