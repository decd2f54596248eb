// SPDX-License-Identifier: Apache-2.0
#include <penstock/state/errors.h>

#include <set>

#include "tests/kafka/kafka_test.h"

namespace penstock::kafka {
namespace {

/// A member that commits what it was given when it gives partitions up.
struct Member {
  std::map<TopicPartition, Offset> done;
  std::multiset<std::string> values;
  std::vector<TopicPartition> assigned;
  int revocations = 0;
  int losses = 0;
  std::unique_ptr<topics::ConsumerBackend> consumer;  // goes first: its listener uses the rest

  Member(topics::Transport& transport, const std::string& group, const std::string& topic) {
    consumer = transport.consumer(
        {.group = group,
         .extra = {{"session.timeout.ms", "1000"}, {"heartbeat.interval.ms", "100"}},
         .batchRecordsMax = 64});
    topics::RebalanceListener listener;
    listener.assigned = [this](const auto& partitions) { assigned = partitions; };
    listener.revoked = [this](const auto& partitions) {
      ++revocations;
      std::map<TopicPartition, Offset> theirs;
      for (const auto& partition : partitions) {
        if (done.contains(partition)) theirs[partition] = done[partition];
      }
      consumer->commit(theirs);
      assigned.clear();
      done.clear();
    };
    listener.lost = [this](const auto&) {
      ++losses;
      assigned.clear();
      done.clear();
    };
    consumer->subscribe({topic}, std::move(listener));
  }

  void step() {
    RecordBatch batch;
    if (!consumer->poll(batch, 10ms)) return;
    for (const RecordView& record : batch.records) values.emplace(*record.value);
    done[batch.source] = batch.next;
  }
};

class KafkaGroups : public KafkaTest {
 protected:
  const std::string topic = makeTopic(4);
  const std::string group = freshName("group");

  void produceAll(int count, int first = 0) {
    for (int i = 0; i < 4; ++i) produceNumbers(topic, i, count, first + i * 100000);
  }
  std::multiset<std::string> all(int count) {
    std::multiset<std::string> expected;
    for (int i = 0; i < 4; ++i) {
      for (const auto& value : numbers(i * 100000, i * 100000 + count)) expected.insert(value);
    }
    return expected;
  }
};

// librdkafka keeps a partition paused over assignments; for us an assignment begins anew.
TEST_F(KafkaGroups, PartitionsPausedBeforeARebalanceAreReadAfterIt) {
  Member first(*transport, group, topic);
  ASSERT_TRUE(eventually([&] {
    first.step();
    return first.assigned.size() == 4;
  }));
  first.consumer->pause(first.assigned);
  {
    Member second(*transport, group, topic);
    ASSERT_TRUE(eventually([&] {
      first.step();
      second.step();
      return first.assigned.size() == 2 && second.assigned.size() == 2;
    }));
  }
  produceAll(100);
  EXPECT_TRUE(eventually([&] {
    first.step();
    return first.values == all(100);
  }));
}

TEST_F(KafkaGroups, TwoMembersShareAndAClosedOneLeavesItsShare) {
  produceAll(500);
  Member first(*transport, group, topic);
  ASSERT_TRUE(eventually([&] {
    first.step();
    return first.assigned.size() == 4 && first.values.size() > 100;
  }));
  Member second(*transport, group, topic);
  ASSERT_TRUE(eventually([&] {
    first.step();
    second.step();
    return first.assigned.size() == 2 && second.assigned.size() == 2;
  }));
  EXPECT_EQ(first.revocations, 1);
  for (const auto& partition : second.assigned) {
    EXPECT_EQ(std::count(first.assigned.begin(), first.assigned.end(), partition), 0);
  }
  ASSERT_TRUE(eventually([&] {
    first.step();
    second.step();
    return first.values.size() + second.values.size() >= 2000;
  }));
  second.consumer->close();
  EXPECT_EQ(second.revocations, 1);
  ASSERT_TRUE(eventually([&] {
    first.step();
    return first.assigned.size() == 4;
  }));
  // What was committed on the way came once: nothing is lost, nothing repeated.
  std::multiset<std::string> together = first.values;
  together.insert(second.values.begin(), second.values.end());
  EXPECT_EQ(together, all(500));
  first.consumer->close();
}

TEST_F(KafkaGroups, AMemberThatNoLongerPollsLosesItsShare) {
  produceAll(100);
  Member first(*transport, group, topic);
  first.consumer = transport->consumer({.group = group,
                                        .extra = {{"session.timeout.ms", "1000"},
                                                  {"heartbeat.interval.ms", "100"},
                                                  {"max.poll.interval.ms", "1000"}}});
  int losses = 0;
  topics::RebalanceListener listener;
  listener.lost = [&](const auto&) { ++losses; };
  std::size_t owned = 0;
  listener.assigned = [&](const auto& partitions) { owned = partitions.size(); };
  first.consumer->subscribe({topic}, listener);
  RecordBatch batch;
  ASSERT_TRUE(eventually([&] {
    first.consumer->poll(batch, 10ms);
    return owned == 4;
  }));
  Member second(*transport, group, topic);
  ASSERT_TRUE(eventually([&] {
    second.step();
    return second.assigned.size() == 4 && second.values.size() == 400;
  }));
  // The late one may not commit, and hears of its loss.
  bool fenced = false;
  try {
    first.consumer->commit({{{topic, {0}}, Offset{1}}});
  } catch (const state::Fenced&) {
    fenced = true;
  }
  EXPECT_TRUE(fenced);
  ASSERT_TRUE(eventually([&] {
    first.consumer->poll(batch, 10ms);
    second.step();
    return losses == 1;
  }));
}

TEST_F(KafkaGroups, WhatAListenerThrowsComesOutOfPoll) {
  const auto consumer = transport->consumer({.group = group});
  topics::RebalanceListener listener;
  bool thrown = false;
  listener.assigned = [](const auto&) { throw std::runtime_error("from the listener"); };
  consumer->subscribe({topic}, listener);
  RecordBatch batch;
  ASSERT_TRUE(eventually([&] {
    try {
      consumer->poll(batch, 100ms);
    } catch (const std::runtime_error& error) {
      thrown = std::string(error.what()) == "from the listener";
    }
    return thrown;
  }));
}

TEST_F(KafkaGroups, AListenerMaySeekBeforeTheFirstRecord) {
  produceAll(10);
  const auto consumer = transport->consumer({.group = group, .offsetReset = OffsetReset::Error});
  topics::RebalanceListener listener;
  listener.assigned = [&](const auto& partitions) {
    for (const auto& partition : partitions) consumer->seek(partition, Offset{7});
  };
  consumer->subscribe({topic}, listener);
  for (const auto& [partition, values] : read(*consumer, 12)) EXPECT_EQ(values.size(), 3U);
}

TEST_F(KafkaGroups, PartitionsAssignedByHandSurviveTheGroupThatWasLeft) {
  produceAll(100);
  const TopicPartition byHand{topic, {2}};
  std::vector<std::string> expected = numbers(200000, 200100);
  for (const bool joined : {true, false}) {
    const auto consumer = transport->consumer({.group = freshName("group")});
    consumer->subscribe({topic}, {});
    RecordBatch batch;
    if (joined) {
      ASSERT_TRUE(eventually([&] {
        consumer->poll(batch, 10ms);
        return consumer->assignment().size() == 4;
      }));
    }
    consumer->assign({byHand});
    EXPECT_EQ(readValues(*consumer, expected.size()), expected);
    produceNumbers(topic, 2, 1, 7);
    EXPECT_EQ(readValues(*consumer, 1), numbers(7, 8));
    expected.emplace_back("7");
    EXPECT_EQ(consumer->assignment(), std::vector<TopicPartition>{byHand});
    consumer->subscribe({topic}, {});  // and back
    ASSERT_TRUE(eventually([&] {
      consumer->poll(batch, 10ms);
      return consumer->assignment().size() == 4;
    }));
  }
}

TEST_F(KafkaGroups, AnUnusedMemberClosesAtOnce) {
  const auto begin = std::chrono::steady_clock::now();
  {
    const auto consumer = transport->consumer({.group = group});
    consumer->subscribe({topic}, {});
  }
  { const auto consumer = transport->consumer({}); }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

}  // namespace
}  // namespace penstock::kafka
