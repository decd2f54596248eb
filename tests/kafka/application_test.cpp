// SPDX-License-Identifier: Apache-2.0
//
// Goal: an Application in this process against the broker: what it counts, where its group
// stands, and how it ends when something is wrong.
#include <gmock/gmock.h>
#include <penstock/application.h>
#include <penstock/stream_errors.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "tests/kafka/kafka_test.h"
#include "tests/support/temporary_directory.h"

namespace penstock::kafka {
namespace {

using ::testing::HasSubstr;

class ApplicationOnKafka : public KafkaTest {
 protected:
  using Counts = std::map<std::string, std::int64_t>;

  const std::string id = freshName("application");
  testing::TemporaryDirectory state;

  ApplicationOptions optionsFor(const std::string& directory) const {
    ApplicationOptions options;
    options.id = id;
    options.broker = broker().address();
    options.stateDirectory = directory;
    options.guarantee = Guarantee::AtLeastOnce;
    options.commitInterval = 20ms;
    options.handleSignals = false;
    return options;
  }
  ApplicationOptions untilEnd() const {
    ApplicationOptions options = optionsFor(state.path());
    options.untilEnd = true;
    return options;
  }

  /// One record per key, without a value.
  void produceKeys(const std::string& topic, const std::vector<std::string>& keys,
                   std::int32_t partition = 0) {
    const auto producer = transport->producer({});
    for (const std::string& key : keys) {
      RecordView record;
      record.key = key;
      record.timestamp.ms = 1000;
      producer->send(topic, PartitionIndex{partition}, record, {});
    }
    producer->close();
  }

  /// Counts `topic` by key into store `name`; throws at key "bad".
  static void count(Application& application, const std::string& topic, const std::string& name) {
    application.stream<std::string_view, None>(topic)
        .filter([](std::string_view key, const None&) {
          if (key == "bad") throw std::runtime_error("no bad ones");
          return true;
        })
        .groupByKey()
        .count({.name = name});
  }
  static void runCount(const ApplicationOptions& options, const std::string& topic) {
    Application application(options);
    count(application, topic, "counts");
    application.run();
  }

  /// What store `name` of one partition holds.
  Counts stored(const std::string& name, std::int32_t partition = 0) const {
    state::JournalOptions options;
    options.sharing = state::Sharing::Shared;
    const auto journal = state::Journal::open(state.path() + "/" + id, options);
    const auto store = journal->findStore(name + "/" + std::to_string(partition));
    Counts counts;
    if (!store) return counts;
    journal->store(*store)->scan("", "", [&](std::string_view key, std::string_view value) {
      Serde<std::int64_t>::decode(value, counts[std::string(key)]);
      return true;
    });
    return counts;
  }

  Offset committed(const TopicPartition& partition) {
    const auto group = transport->consumer({.group = id});
    const auto stored = group->committed({partition}, 10s);
    const auto found = stored.find(partition);
    return found == stored.end() ? Offset{-1} : found->second;
  }
};

TEST_F(ApplicationOnKafka, ARecordThatFailsEndsItAtTheLastCommit) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a", "b"});
  runCount(untilEnd(), topic);
  produceKeys(topic, {"a", "bad", "b"});
  for (int round = 0; round < 2; ++round) {  // it is still there, and is not passed over
    try {
      runCount(untilEnd(), topic);
      ADD_FAILURE() << "the bad record was passed over";
    } catch (const RecordError& error) {
      EXPECT_THAT(error.what(), HasSubstr("no bad ones"));
      EXPECT_EQ(error.offset(), Offset{3});
    }
    const Counts counts = stored("counts");
    EXPECT_LE(counts.at("a"), 2);
    EXPECT_EQ(counts.at("b"), 1);
  }
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::Skip;
  runCount(options, topic);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}, {"b", 2}}));
}

TEST_F(ApplicationOnKafka, ARecordThatFailsIsSkippedAndCounted) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a", "bad", "a"});
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::Skip;
  Application application(options);
  count(application, topic, "counts");
  application.run();
  EXPECT_EQ(application.metrics().skipped, 1U);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}}));
  EXPECT_EQ(committed({topic, {0}}), Offset{3});
}

TEST_F(ApplicationOnKafka, ARecordThatFailsGoesToTheDeadLetterTopic) {
  const std::string topic = makeTopic(1);
  const std::string letters = makeTopic(1);
  produceKeys(topic, {"a", "bad", "a"});
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::DeadLetter;
  options.deadLetterTopic = letters;
  runCount(options, topic);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}}));
  const auto consumer = transport->consumer({});
  consumer->assign({{letters, {0}}});
  const std::vector<Record> dead = readToEnd(*consumer, *transport);
  ASSERT_EQ(dead.size(), 1U);
  EXPECT_EQ(dead[0].key, "bad");
  const auto& headers = dead[0].headers;
  EXPECT_TRUE(std::any_of(headers.begin(), headers.end(), [](const Header& header) {
    return header.name == DeadLetterHeaders::reason &&
           header.value.value_or("").find("no bad ones") != std::string::npos;
  }));
}

}  // namespace
}  // namespace penstock::kafka
