// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <librdkafka/rdkafka.h>
#include <penstock/error.h>
#include <penstock/state/errors.h>

#include <random>
#include <thread>

#include "kafka/kafka_handle.h"
#include "tests/kafka/kafka_test.h"

namespace penstock::kafka {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class KafkaPositions : public KafkaTest {
 protected:
  const std::string topic = makeTopic(1);
  const TopicPartition partition{topic, {0}};

  /// Removes what stands before `offset`, as retention would.
  void purgeBelow(std::int64_t offset) {
    Client client(RD_KAFKA_PRODUCER, {broker().servers(), {}});
    const PartitionList list =
        partitionList(std::map<TopicPartition, Offset>{{partition, {offset}}});
    rd_kafka_DeleteRecords_t* request = rd_kafka_DeleteRecords_new(list.get());
    const Queue answers(rd_kafka_queue_new(client.get()));
    rd_kafka_DeleteRecords(client.get(), &request, 1, nullptr, answers.get());
    const Event answer(rd_kafka_queue_poll(answers.get(), 30000));
    rd_kafka_DeleteRecords_destroy(request);
    ASSERT_TRUE(answer);
    ASSERT_EQ(rd_kafka_event_error(answer.get()), RD_KAFKA_RESP_ERR_NO_ERROR);
    ASSERT_TRUE(eventually(
        [&] { return transport->describeTopic(topic)->partitions[0].start.value == offset; }));
  }
};

TEST_F(KafkaPositions, SeekingToBeginEndOffsetAndTime) {
  produceNumbers(topic, 0, 100);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  EXPECT_EQ(consumer->position(partition).value, 0);
  EXPECT_EQ(readValues(*consumer, 100), numbers(0, 100));

  consumer->seek(partition, Offset{40});
  EXPECT_EQ(consumer->position(partition).value, 40);
  EXPECT_EQ(readValues(*consumer, 60), numbers(40, 100));

  consumer->seek(partition, EventTime{1070});
  EXPECT_EQ(consumer->position(partition).value, 70);
  EXPECT_EQ(readValues(*consumer, 30), numbers(70, 100));

  consumer->seek(partition, EventTime{5000});  // later than all: the end
  EXPECT_EQ(consumer->position(partition).value, 100);
  consumer->seek(partition, EventTime{-7});
  EXPECT_EQ(consumer->position(partition).value, 0);

  consumer->seek(partition, SeekEnd{});
  EXPECT_EQ(consumer->position(partition).value, 100);
  RecordBatch batch;
  EXPECT_FALSE(consumer->poll(batch, 50ms));
  produceNumbers(topic, 0, 5, 100);
  EXPECT_EQ(readValues(*consumer, 5), numbers(100, 105));

  consumer->seek(partition, SeekBegin{});
  EXPECT_EQ(consumer->position(partition).value, 0);
  EXPECT_EQ(readValues(*consumer, 105), numbers(0, 105));
}

TEST_F(KafkaPositions, SeekingBeforeTheFirstPoll) {
  produceNumbers(topic, 0, 20);
  const auto consumer = transport->consumer({.offsetReset = OffsetReset::Error});
  consumer->assign({partition});
  consumer->seek(partition, Offset{15});
  EXPECT_EQ(consumer->position(partition).value, 15);
  EXPECT_EQ(readValues(*consumer, 5), numbers(15, 20));
}

TEST_F(KafkaPositions, AssigningAgainForgetsAPause) {
  produceNumbers(topic, 0, 20);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  EXPECT_EQ(readValues(*consumer, 20), numbers(0, 20));
  consumer->pause({partition});
  consumer->assign({partition});
  EXPECT_EQ(readValues(*consumer, 20), numbers(0, 20));
}

TEST_F(KafkaPositions, SeeksAndPausesAtRandomNeverLoseOrRepeat) {
  const std::string wide = makeTopic(3);
  for (int i = 0; i < 3; ++i) produceNumbers(wide, i, 3000);
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto consumer = transport->consumer({.batchRecordsMax = 100});
  std::vector<TopicPartition> partitions = {{wide, {0}}, {wide, {1}}, {wide, {2}}};
  consumer->assign(partitions);
  std::map<TopicPartition, std::int64_t> expected;
  std::set<TopicPartition> paused;
  int seeks = 0;
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  RecordBatch batch;
  while (std::chrono::steady_clock::now() < deadline) {
    bool done = seeks > 30;
    for (const TopicPartition& each : partitions) done = done && expected[each] == 3000;
    if (done) break;
    if (consumer->poll(batch, 20ms)) {
      ASSERT_FALSE(paused.contains(batch.source));
      for (const RecordView& record : batch.records) {
        ASSERT_EQ(record.offset.value, expected[batch.source]++);
      }
      ASSERT_EQ(consumer->position(batch.source).value, expected[batch.source]);
    }
    const TopicPartition& one = partitions[random() % 3];
    switch (random() % 6) {
      case 0:
        consumer->pause({one});
        paused.insert(one);
        break;
      case 1:
      case 2:
        consumer->resume({one});
        paused.erase(one);
        break;
      case 3:
        if (++seeks > 60) break;
        expected[one] = static_cast<std::int64_t>(random() % 3000);
        consumer->seek(one, Offset{expected[one]});
        break;
      default:
        break;
    }
    if (seeks > 60 && !paused.empty()) {
      consumer->resume({paused.begin(), paused.end()});
      paused.clear();
    }
  }
  for (const TopicPartition& each : partitions) EXPECT_EQ(expected[each], 3000);
}

TEST_F(KafkaPositions, AWakeupEndsAPollFromAnotherThread) {
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  RecordBatch batch;
  consumer->wakeup();
  EXPECT_FALSE(consumer->poll(batch, 1h));  // asked before
  std::thread other([&] {
    std::this_thread::yield();
    consumer->wakeup();
  });
  EXPECT_FALSE(consumer->poll(batch, 1h));
  other.join();
  produceNumbers(topic, 0, 1);
  EXPECT_EQ(readValues(*consumer, 1), numbers(0, 1));
}

TEST_F(KafkaPositions, ALoneRecordIsNotHeldBackForABatch) {
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  RecordBatch batch;
  EXPECT_FALSE(consumer->poll(batch, 100ms));
  produceNumbers(topic, 0, 1);
  EXPECT_TRUE(consumer->poll(batch, 1h));
  EXPECT_EQ(batch.records.size(), 1U);
}

TEST_F(KafkaPositions, TheGroupRemembersWhatWasCommitted) {
  produceNumbers(topic, 0, 50);
  const std::string group = freshName("group");
  {
    const auto consumer = transport->consumer({.group = group});
    consumer->subscribe({topic}, {});
    EXPECT_TRUE(consumer->committed({partition}, 10s).empty());
    EXPECT_EQ(readValues(*consumer, 50), numbers(0, 50));
    consumer->commit({{partition, Offset{20}}});
    EXPECT_EQ(consumer->committed({partition}, 10s).at(partition).value, 20);
    consumer->close();
  }
  const auto next = transport->consumer({.group = group, .offsetReset = OffsetReset::Error});
  next->subscribe({topic}, {});
  EXPECT_EQ(readValues(*next, 30), numbers(20, 50));
  const auto byHand = transport->consumer({.group = group});
  byHand->assign({partition});
  EXPECT_EQ(byHand->position(partition).value, 20);
}

TEST_F(KafkaPositions, WithoutACommitOffsetResetDecides) {
  produceNumbers(topic, 0, 10);
  const auto latest =
      transport->consumer({.group = freshName("g"), .offsetReset = OffsetReset::Latest});
  latest->subscribe({topic}, {});
  RecordBatch batch;
  ASSERT_TRUE(eventually([&] {
    EXPECT_FALSE(latest->poll(batch, 20ms));
    return !latest->assignment().empty();
  }));
  EXPECT_EQ(latest->position(partition).value, 10);
  produceNumbers(topic, 0, 3, 10);
  EXPECT_EQ(readValues(*latest, 3), numbers(10, 13));

  const auto strict =
      transport->consumer({.group = "group-without-a-position", .offsetReset = OffsetReset::Error});
  strict->assign({partition});
  try {
    strict->poll(batch, 10s);
    ADD_FAILURE() << "read from nowhere";
  } catch (const state::PositionOutOfRange& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("group-without-a-position"), HasSubstr(topic)));
  }
  strict->seek(partition, Offset{12});  // the way out that the message names
  EXPECT_EQ(readValues(*strict, 1), numbers(12, 13));
}

TEST_F(KafkaPositions, APositionThatRetentionTookIsNeverReset) {
  produceNumbers(topic, 0, 100);
  const std::string group = freshName("group");
  {
    const auto consumer = transport->consumer({.group = group});
    consumer->assign({partition});
    consumer->commit({{partition, Offset{10}}});
  }
  purgeBelow(60);
  const auto consumer = transport->consumer({.group = group});
  consumer->subscribe({topic}, {});
  RecordBatch batch;
  bool refused = false;
  ASSERT_TRUE(eventually([&] {
    try {
      EXPECT_FALSE(consumer->poll(batch, 100ms))
          << "read on from " << batch.records[0].offset.value;
    } catch (const state::PositionOutOfRange& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(topic), HasSubstr("10")));
      refused = true;
    }
    return refused;
  }));
  consumer->seek(partition, SeekBegin{});
  EXPECT_EQ(consumer->position(partition).value, 60);
  EXPECT_EQ(readValues(*consumer, 40), numbers(60, 100));
}

TEST_F(KafkaPositions, APositionBeyondTheEndIsRefused) {
  produceNumbers(topic, 0, 10);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  EXPECT_EQ(readValues(*consumer, 10), numbers(0, 10));
  consumer->seek(partition, Offset{1000});
  RecordBatch batch;
  EXPECT_THROW(
      {
        const auto deadline = std::chrono::steady_clock::now() + 30s;
        while (std::chrono::steady_clock::now() < deadline) consumer->poll(batch, 100ms);
      },
      state::PositionOutOfRange);
}

TEST_F(KafkaPositions, BookmarksAreRefusedWhenTheTopicIsAnotherOne) {
  produceNumbers(topic, 0, 100);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  consumer->seek(partition, Offset{42});
  const std::string kept = consumer->bookmark(partition);
  consumer->seek(partition, SeekBegin{});
  consumer->seekBookmark(partition, kept);
  EXPECT_EQ(readValues(*consumer, 58), numbers(42, 100));

  EXPECT_THROW(consumer->seekBookmark(partition, "rubbish"), ConfigurationError);
  EXPECT_THROW(consumer->seekBookmark(partition, "a/-3"), ConfigurationError);
  EXPECT_THROW(consumer->seekBookmark(partition, "another-cluster/42"), state::PositionOutOfRange);
  purgeBelow(50);
  EXPECT_THROW(consumer->seekBookmark(partition, kept), state::PositionOutOfRange);
  const std::string beyond = kept.substr(0, kept.rfind('/')) + "/101";
  EXPECT_THROW(consumer->seekBookmark(partition, beyond), state::PositionOutOfRange);
}

TEST_F(KafkaPositions, BookmarksAreRefusedInATopicMadeAnew) {
  produceNumbers(topic, 0, 50);
  std::string kept;
  {
    const auto consumer = transport->consumer({});
    consumer->assign({partition});
    EXPECT_EQ(readValues(*consumer, 50), numbers(0, 50));
    kept = consumer->bookmark(partition);
    consumer->seek(partition, SeekBegin{});
    consumer->seekBookmark(partition, kept);
    EXPECT_EQ(consumer->bookmark(partition), kept);
    EXPECT_THROW(consumer->seekBookmark(partition, kept + "x"), ConfigurationError);
  }
  ASSERT_TRUE(transport->deleteTopic(topic));
  ASSERT_TRUE(transport->createTopic(topic, {.partitions = 1}));
  produceNumbers(topic, 0, 100, 1);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  EXPECT_THROW(consumer->seekBookmark(partition, kept), state::PositionOutOfRange);
}

TEST_F(KafkaPositions, ABookmarkWhoseRecordIsGoneStands) {
  produceNumbers(topic, 0, 50);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  EXPECT_EQ(readValues(*consumer, 50), numbers(0, 50));
  const std::string kept = consumer->bookmark(partition);
  purgeBelow(50);
  consumer->seekBookmark(partition, kept);
  produceNumbers(topic, 0, 1, 50);
  EXPECT_EQ(readValues(*consumer, 1), numbers(50, 51));
}

TEST_F(KafkaPositions, TheEndIsReachedPastAbortedRecordsAndControlRecords) {
  produceNumbers(topic, 0, 3);
  transaction(partition, 4, true);
  transaction(partition, 5, false);
  const std::int64_t end = transport->describeTopic(topic)->partitions[0].end.value;
  EXPECT_EQ(end, 3 + 4 + 1 + 5 + 1);
  const auto consumer = transport->consumer({});
  consumer->assign({partition});
  std::vector<std::string> values;
  for (const Record& record : readToEnd(*consumer, *transport)) values.push_back(*record.value);
  EXPECT_EQ(values, (std::vector<std::string>{"0", "1", "2", "c0", "c1", "c2", "c3"}));
  EXPECT_EQ(consumer->position(partition).value, end);
}

TEST_F(KafkaPositions, WhatIsNotAssignedIsRefusedByName) {
  const auto consumer = transport->consumer({.group = freshName("g")});
  EXPECT_THROW(consumer->seek(partition, SeekBegin{}), ConfigurationError);
  EXPECT_THROW(static_cast<void>(consumer->position(partition)), ConfigurationError);
  EXPECT_THROW(consumer->pause({partition}), ConfigurationError);
  EXPECT_THROW(consumer->assign({{topic, {1}}}), ConfigurationError);
  EXPECT_THROW(consumer->assign({{topic, {-1}}}), ConfigurationError);
  consumer->assign({partition});
  EXPECT_THROW(consumer->seek(partition, Offset{-1}), ConfigurationError);
  const auto alone = transport->consumer({});
  EXPECT_THROW(alone->subscribe({topic}, {}), ConfigurationError);
  EXPECT_THROW(alone->commit({{partition, Offset{1}}}), ConfigurationError);
  EXPECT_THROW(static_cast<void>(alone->committed({partition}, 1s)), ConfigurationError);
  alone->close();
  alone->close();
  RecordBatch batch;
  EXPECT_THROW(alone->poll(batch, 1s), state::Closed);
}

}  // namespace
}  // namespace penstock::kafka
