// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <penstock/error.h>
#include <penstock/kafka_error.h>

#include <algorithm>
#include <atomic>
#include <future>

#include "tests/kafka/kafka_test.h"
#include "tests/support/message_of.h"

namespace penstock::kafka {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::messageOf;
using ::testing::Not;
using KafkaTopics = KafkaTest;

TEST_F(KafkaTopics, ATopicIsMadeListedDescribedAndDeleted) {
  const std::string name = freshName("life");
  EXPECT_FALSE(transport->describeTopic(name).has_value());
  EXPECT_TRUE(transport->createTopic(name, {.partitions = 3}));
  EXPECT_THAT(transport->listTopics(), Contains(name));
  produceNumbers(name, 1, 5);
  const auto description = transport->describeTopic(name);
  ASSERT_TRUE(description.has_value());
  EXPECT_EQ(description->name, name);
  EXPECT_EQ(description->config.partitions, 3);
  ASSERT_EQ(description->partitions.size(), 3U);
  for (std::int32_t i = 0; i < 3; ++i) {
    const auto& partition = description->partitions[static_cast<std::size_t>(i)];
    EXPECT_EQ(partition.partition.value, i);
    EXPECT_EQ(partition.start.value, 0);
    EXPECT_EQ(partition.end.value, i == 1 ? 5 : 0);
  }
  EXPECT_TRUE(transport->deleteTopic(name));
  EXPECT_THAT(transport->listTopics(), Not(Contains(name)));
  EXPECT_FALSE(transport->describeTopic(name).has_value());
}

TEST_F(KafkaTopics, MakingItAgainIsFalseOrNamesBothPartitionCounts) {
  const std::string name = makeTopic(3);
  EXPECT_FALSE(transport->createTopic(name, {.partitions = 3}));
  EXPECT_FALSE(transport->createTopic(name, {}));
  EXPECT_THAT(
      messageOf<ConfigurationError>([&] { transport->createTopic(name, {.partitions = 5}); }),
      AllOf(HasSubstr(name), HasSubstr("3"), HasSubstr("5")));
}

TEST_F(KafkaTopics, WhoComesSecondSeesTheTopicToo) {
  const auto other = topics::openKafkaTransport(broker().servers(), {});
  for (int round = 0; round < 20; ++round) {
    const std::string name = freshName("raced");
    std::atomic<int> made{0};
    const auto make = [&](topics::Transport& with) {
      if (with.createTopic(name, {.partitions = 3})) ++made;
      EXPECT_EQ(with.partitionCount(name), 3);
    };
    auto second = std::async(std::launch::async, [&] { make(*other); });
    make(*transport);
    second.get();
    EXPECT_EQ(made, 1);
  }
}

TEST_F(KafkaTopics, SettingsArePassedThroughAndDescribed) {
  const std::string name = makeTopic(1, {.partitions = 0,
                                         .retentionMs = 3600000,
                                         .retentionBytes = 1000000,
                                         .extra = {{"cleanup.policy", "compact,delete"}}});
  const auto description = transport->describeTopic(name);
  ASSERT_TRUE(description.has_value());
  EXPECT_EQ(description->config.retentionMs, 3600000);
  EXPECT_EQ(description->config.retentionBytes, 1000000);
  EXPECT_EQ(description->config.extra.at("cleanup.policy"), "compact,delete");
}

TEST_F(KafkaTopics, WithoutACountTheBrokerChooses) {
  const std::string name = makeTopic(0);
  const auto description = transport->describeTopic(name);
  ASSERT_TRUE(description.has_value());
  EXPECT_GE(description->config.partitions, 1);
  if (broker().ours()) {
    EXPECT_EQ(description->config.partitions, 4);
  }
}

TEST_F(KafkaTopics, DeletingWhatIsNotThereIsFalse) {
  EXPECT_FALSE(transport->deleteTopic(freshName("nothing")));
}

TEST_F(KafkaTopics, LookingForATopicDoesNotMakeIt) {
  const std::string name = freshName("nothing");  // the broker makes topics that are asked for
  EXPECT_FALSE(transport->describeTopic(name).has_value());
  EXPECT_THROW(transport->consumer({})->assign({{name, {0}}}), ConfigurationError);
  EXPECT_THROW(transport->consumer({.group = name})->subscribe({name}, {}), ConfigurationError);
  EXPECT_THROW(transport->producer({})->send(name, {}, {}, {}), ConfigurationError);
  EXPECT_THAT(transport->listTopics(), Not(Contains(name)));
}

TEST_F(KafkaTopics, BadNamesCountsAndSettingsAreRefused) {
  EXPECT_THROW(transport->createTopic("a/b", {}), ConfigurationError);
  EXPECT_THROW(transport->createTopic("", {}), ConfigurationError);
  EXPECT_THROW(transport->describeTopic(".."), ConfigurationError);
  EXPECT_THROW(transport->deleteTopic("a b"), ConfigurationError);
  EXPECT_THROW(transport->createTopic(freshName("t"), {.partitions = -1}), ConfigurationError);
  EXPECT_THROW(transport->createTopic(freshName("t"), {.partitions = 2000000}), ConfigurationError);
  EXPECT_THROW(transport->createTopic(freshName("t"), {.extra = {{"replication.factor", "x"}}}),
               ConfigurationError);
  try {
    transport->createTopic(freshName("t"), {.partitions = 1, .extra = {{"no.such.thing", "1"}}});
    ADD_FAILURE() << "an unknown topic setting was taken";
  } catch (const KafkaError& error) {
    EXPECT_EQ(error.code(), ErrorCode::FixConfiguration);
    EXPECT_THAT(error.what(), HasSubstr("no.such.thing"));
  }
}

TEST_F(KafkaTopics, TheBrokersOwnTopicsAreNotListed) {
  const auto consumer = transport->consumer({.group = freshName("group")});
  const std::string name = makeTopic(1);
  consumer->assign({{name, {0}}});
  consumer->commit({{{name, {0}}, Offset{0}}});  // makes __consumer_offsets
  EXPECT_THAT(transport->listTopics(), Not(Contains("__consumer_offsets")));
}

}  // namespace
}  // namespace penstock::kafka
