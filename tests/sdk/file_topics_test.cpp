// SPDX-License-Identifier: Apache-2.0
//
// Goal: what StreamingClient, TopicConsumer and TopicProducer promise, on files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <penstock/state/journal.h>
#include <penstock/streaming_client.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "file/file_consumer.h"
#include "support/log_lines.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"
#include "support/unprivileged.h"
#include "topics/transport.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::eventually;
using ::testing::HasSubstr;
using testing::messageOf;
using testing::TemporaryDirectory;

constexpr std::chrono::milliseconds kPatience{20000};

class FileTopics : public ::testing::Test {
 protected:
  FileTopics() : client(directory.path()) {}

  /// `count` records "0", "1", ... with their number as time, to one partition.
  void fill(const std::string& topic, int count, std::int32_t partition = 0) {
    TopicProducer producer = client.producer(topic);
    for (int i = 0; i < count; ++i) {
      const std::string value = std::to_string(i);
      producer.post(
          {.value = value, .timestamp = EventTime{i}, .partition = PartitionIndex{partition}});
    }
    producer.flush();
  }

  /// The values of everything from where the consumer stands to the end.
  std::vector<std::string> rest(TopicConsumer& consumer) {
    std::vector<std::string> values;
    consumer.forEach([&](const TopicPartition&, const RecordView& record) {
      values.emplace_back(record.value.value_or("(none)"));
    });
    return values;
  }

  TemporaryDirectory directory;
  StreamingClient client;
};

const TopicPartition t0{"t", PartitionIndex{0}};

TEST_F(FileTopics, ATopicIsCreatedListedDescribedAndDeleted) {
  EXPECT_TRUE(client.createTopic("clicks", {.partitions = 3, .retentionMs = 5000}));
  EXPECT_TRUE(client.createTopic("a"));
  EXPECT_THAT(client.listTopics(), ElementsAre("a", "clicks"));
  const auto clicks = client.describeTopic("clicks");
  ASSERT_TRUE(clicks);
  EXPECT_EQ(clicks->config.partitions, 3);
  EXPECT_EQ(clicks->config.retentionMs, 5000);
  EXPECT_EQ(clicks->config.retentionBytes, -1);
  ASSERT_EQ(clicks->partitions.size(), 3U);
  EXPECT_EQ(clicks->partitions[2].partition.value, 2);
  EXPECT_EQ(clicks->partitions[2].end.value, 0);
  EXPECT_TRUE(client.deleteTopic("clicks"));
  EXPECT_FALSE(client.deleteTopic("clicks"));
  EXPECT_THAT(client.listTopics(), ElementsAre("a"));
  EXPECT_FALSE(client.describeTopic("clicks"));
}

TEST_F(FileTopics, CreatingAgainIsFineUnlessThePartitionsDiffer) {
  EXPECT_TRUE(client.createTopic("t", {.partitions = 4}));
  EXPECT_FALSE(client.createTopic("t", {.partitions = 4}));
  EXPECT_FALSE(client.createTopic("t"));
  const std::string message =
      messageOf<ConfigurationError>([&] { client.createTopic("t", {.partitions = 7}); });
  EXPECT_THAT(message, HasSubstr("7 partitions"));
  EXPECT_THAT(message, HasSubstr("exists with 4"));
}

TEST_F(FileTopics, BadNamesAndNumbersAreRefusedByName) {
  for (const char* name : {"", ".", "..", "a/b", "a b", "é", "a\n"}) {
    EXPECT_THROW(client.createTopic(name), ConfigurationError) << name;
    EXPECT_THROW((void)client.consumer(name), ConfigurationError) << name;
    EXPECT_THROW((void)client.producer(name), ConfigurationError) << name;
    EXPECT_THROW((void)client.describeTopic(name), ConfigurationError) << name;
  }
  EXPECT_THROW(client.createTopic(std::string(250, 'a')), ConfigurationError);
  EXPECT_TRUE(client.createTopic(std::string(249, 'a')));
  EXPECT_THAT(messageOf<ConfigurationError>([&] { client.createTopic("t", {.partitions = -1}); }),
              HasSubstr("-1"));
  EXPECT_THROW(client.createTopic("t", {.partitions = 100001}), ConfigurationError);
  EXPECT_THROW(client.createTopic("t", {.retentionMs = -3}), ConfigurationError);
  EXPECT_THROW(client.createTopic("t", {.retentionBytes = -3}), ConfigurationError);
  EXPECT_FALSE(client.describeTopic("t"));
}

TEST_F(FileTopics, AnUnknownTopicOrPartitionIsAnErrorAtOnce) {
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)client.producer("nothere"); }),
              HasSubstr("'nothere'"));
  EXPECT_THROW((void)client.consumer("nothere"), ConfigurationError);
  EXPECT_THROW((void)client.consumer("nothere", {.group = "g"}), ConfigurationError);
  client.createTopic("t", {.partitions = 2});
  TopicProducer producer = client.producer("t");
  EXPECT_THAT(messageOf<ConfigurationError>(
                  [&] { producer.post({.value = "v", .partition = PartitionIndex{2}}); }),
              HasSubstr("0 to 1"));
  EXPECT_THROW(producer.post({.value = "v", .partition = PartitionIndex{-1}}), ConfigurationError);
  TopicConsumer consumer = client.consumer();
  EXPECT_THROW(consumer.assign({{"t", PartitionIndex{2}}}), ConfigurationError);
  EXPECT_THROW((void)consumer.position(t0), ConfigurationError);
  EXPECT_THROW(consumer.commit(), ConfigurationError);
}

TEST_F(FileTopics, AbsurdOptionsAreRefusedByNameValueAndBounds) {
  client.createTopic("t");
  const auto consumerOf = [&](const ConsumerOptions& options) {
    return messageOf<ConfigurationError>([&] { (void)client.consumer("t", options); });
  };
  EXPECT_THAT(consumerOf({.batchRecordsMax = 0}),
              HasSubstr("ConsumerOptions::batchRecordsMax is 0; expected 1 to 1000000"));
  EXPECT_THAT(consumerOf({.batchRecordsMax = 1'000'001}),
              HasSubstr("ConsumerOptions::batchRecordsMax is 1000001; expected 1 to 1000000"));
  EXPECT_NO_THROW((void)client.consumer("t", {.batchRecordsMax = 1'000'000}));
  EXPECT_THAT(consumerOf({.commitInterval = std::chrono::milliseconds(-1)}),
              HasSubstr("ConsumerOptions::commitInterval is -1 ms; expected 0 ms"));
  EXPECT_THAT(messageOf<ConfigurationError>(
                  [&] { (void)client.consumer(ConsumerOptions{.batchRecordsMax = 0}); }),
              HasSubstr("ConsumerOptions::batchRecordsMax"));
  for (const int ms : {0, -1}) {
    EXPECT_THAT(messageOf<ConfigurationError>([&] {
                  (void)client.producer("t", {.deliveryTimeout = std::chrono::milliseconds(ms)});
                }),
                HasSubstr("topic 't': ProducerOptions::deliveryTimeout is " + std::to_string(ms) +
                          " ms; expected 1 ms or more"));
  }
}

TEST_F(FileTopics, RecordsComeBackAsTheyWere) {
  client.createTopic("t");
  const std::vector<Record> records{
      {"k", "v", EventTime{1}, {}},
      {std::nullopt, std::nullopt, EventTime{-5}, {}},
      {"", "", EventTime{INT64_MAX}, {{"h", "1"}, {"h", std::nullopt}, {"", ""}}},
      {std::string("\0\xff", 2), std::string(3U << 20U, 'x'), EventTime{0}, {{"a", "b"}}},
  };
  TopicProducer producer = client.producer("t");
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Delivery delivery = producer.send(records[i]).get();
    EXPECT_EQ(delivery.partition.value, 0);
    EXPECT_EQ(delivery.offset.value, static_cast<std::int64_t>(i));
  }
  TopicConsumer consumer = client.consumer("t");
  std::vector<Record> read;
  consumer.forEach(
      [&](const TopicPartition&, const RecordView& record) { read.push_back(record.copy()); });
  EXPECT_EQ(read, records);
}

TEST_F(FileTopics, ARecordWithoutATimestampGetsTheTimeOfTheClock) {
  client.createTopic("t");
  const std::int64_t before = state::Environment::real().clock->wallMs();
  client.producer("t").send({.value = "v"}).get();
  TopicConsumer consumer = client.consumer("t");
  const RecordBatch batch = consumer.poll(kPatience);
  ASSERT_EQ(batch.records.size(), 1U);
  EXPECT_GE(batch.records[0].timestamp.ms, before);
  EXPECT_LE(batch.records[0].timestamp.ms, state::Environment::real().clock->wallMs());
}

TEST_F(FileTopics, KeysChooseThePartitionAsTheJavaClientDoes) {
  client.createTopic("t", {.partitions = 5});
  TopicProducer producer = client.producer("t");
  std::map<std::string, std::int32_t> chosen;
  for (int i = 0; i < 40; ++i) {
    const std::string key = "key-" + std::to_string(i);
    chosen[key] = producer.send({.key = key, .value = "v"}).get().partition.value;
    EXPECT_EQ(chosen[key], topics::partitionForKey(key, 5).value) << key;
  }
  std::set<std::int32_t> without;
  for (int i = 0; i < 10; ++i) without.insert(producer.send({.value = "v"}).get().partition.value);
  EXPECT_EQ(without.size(), 5U);
}

TEST_F(FileTopics, AFutureIsReadyWhenASyncedReaderSeesTheRecord) {
  client.createTopic("t");
  TopicProducer producer = client.producer("t");
  TopicConsumer consumer = client.consumer("t");
  for (int i = 0; i < 20; ++i) {
    const std::string value = std::to_string(i);
    producer.send({.value = value}).get();
    const RecordBatch batch = consumer.poll(std::chrono::milliseconds(0));
    ASSERT_EQ(batch.records.size(), 1U) << "delivered, but not there to read";
    EXPECT_EQ(batch.records[0].value, value);
  }
}

TEST_F(FileTopics, ManyThreadsProduceAndNothingIsLostOrReorderedWithinAThread) {
  constexpr int kThreads = 4;
  constexpr int kRecords = 5000;
  client.createTopic("t", {.partitions = 2});
  {
    TopicProducer producer = client.producer("t");
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const std::string key = std::to_string(t);
        for (int i = 0; i < kRecords; ++i) {
          const std::string value = std::to_string(i);
          producer.post({.key = key, .value = value, .partition = PartitionIndex{t % 2}});
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    producer.close();
    EXPECT_THROW(producer.post({.value = "v"}), state::Closed);
    EXPECT_NO_THROW(producer.close());
  }
  std::map<std::string, int> next;
  TopicConsumer consumer = client.consumer("t");
  consumer.forEach([&](const TopicPartition&, const RecordView& record) {
    EXPECT_EQ(*record.value, std::to_string(next[std::string(*record.key)]++));
  });
  for (int t = 0; t < kThreads; ++t) EXPECT_EQ(next[std::to_string(t)], kRecords);
}

TEST_F(FileTopics, SeeksToBeginEndOffsetAndTime) {
  client.createTopic("t");
  fill("t", 10);
  TopicConsumer consumer = client.consumer("t", {.batchRecordsMax = 3});
  const auto from = [&](const SeekTarget& target) {
    consumer.seek(t0, target);
    const std::vector<std::string> values = rest(consumer);
    return values.empty() ? "end" : values.front() + "+" + std::to_string(values.size());
  };
  EXPECT_EQ(from(SeekBegin{}), "0+10");
  EXPECT_EQ(from(SeekEnd{}), "end");
  EXPECT_EQ(from(Offset{7}), "7+3");
  EXPECT_EQ(from(Offset{10}), "end");
  EXPECT_EQ(from(EventTime{4}), "4+6");
  EXPECT_EQ(from(EventTime{-100}), "0+10");
  EXPECT_EQ(from(EventTime{10}), "end");
  EXPECT_THROW(consumer.seek(t0, Offset{11}), state::PositionOutOfRange);
  EXPECT_THROW(consumer.seek(t0, Offset{-1}), state::PositionOutOfRange);
  consumer.seek(SeekBegin{});
  EXPECT_EQ(consumer.position(t0).value, 0);
}

TEST_F(FileTopics, LatestBeginsBehindWhatIsThereWhenTheConsumerIsMade) {
  client.createTopic("t");
  fill("t", 3);
  TopicConsumer consumer = client.consumer("t", {.offsetReset = OffsetReset::Latest});
  client.producer("t").send({.value = "new"}).get();
  EXPECT_THAT(rest(consumer), ElementsAre("new"));
  TopicConsumer strict = client.consumer("t", {.group = "g", .offsetReset = OffsetReset::Error});
  EXPECT_THROW((void)strict.poll(kPatience), state::PositionOutOfRange);
  strict.seek(t0, Offset{2});
  EXPECT_THAT(rest(strict), ElementsAre("2", "new"));
}

TEST_F(FileTopics, PausedPartitionsGiveNothingUntilResumed) {
  client.createTopic("t", {.partitions = 2});
  fill("t", 3, 0);
  fill("t", 3, 1);
  TopicConsumer consumer = client.consumer("t");
  consumer.pause({t0});
  const RecordBatch other = consumer.poll(kPatience);
  EXPECT_EQ(other.source.partition.value, 1);
  EXPECT_TRUE(consumer.poll(std::chrono::milliseconds(0)).records.empty());
  consumer.resume({t0});
  EXPECT_EQ(consumer.poll(kPatience).source.partition.value, 0);
}

TEST_F(FileTopics, ABatchStaysValidWhileOthersAreRead) {
  client.createTopic("t");
  fill("t", 100);
  TopicConsumer consumer = client.consumer("t", {.batchRecordsMax = 7});
  std::vector<RecordBatch> kept;
  for (RecordBatch batch = consumer.poll(kPatience); !batch.records.empty();
       batch = consumer.poll(std::chrono::milliseconds(0))) {
    EXPECT_LE(batch.records.size(), 7U);
    kept.push_back(std::move(batch));
  }
  int next = 0;
  for (const RecordBatch& batch : kept) {
    for (const RecordView& record : batch.records) EXPECT_EQ(record.value, std::to_string(next++));
  }
  EXPECT_EQ(next, 100);
}

TEST_F(FileTopics, AWaitingPollIsWokenByARecordAndByWakeup) {
  client.createTopic("t");
  TopicConsumer consumer = client.consumer("t");
  std::thread producing([&] { client.producer("t").send({.value = "v"}).get(); });
  EXPECT_EQ(consumer.poll(kPatience).records.size(), 1U);
  producing.join();
  std::thread waking([&] { consumer.wakeup(); });
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(consumer.poll(kPatience).records.empty());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, kPatience / 2);
  waking.join();
}

TEST_F(FileTopics, ACallbackThatThrowsLeavesTheConsumerAtItsRecord) {
  client.createTopic("t");
  fill("t", 5);
  TopicConsumer consumer = client.consumer("t", {.group = "g"});
  std::vector<std::string> seen;
  const auto callback = [&](const TopicPartition&, const RecordView& record) {
    if (record.value == "2" && seen.size() == 2) throw std::runtime_error("no twos");
    seen.emplace_back(*record.value);
  };
  try {
    consumer.forEach(callback);
    FAIL() << "the exception was lost";
  } catch (const ProcessingError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no twos"));
    EXPECT_THAT(error.what(), HasSubstr("topic 't' partition 0 offset 2"));
    EXPECT_EQ(error.offset().value, 2);
    EXPECT_THROW(std::rethrow_if_nested(error), std::runtime_error);
  }
  EXPECT_EQ(consumer.committed({t0})[t0].value, 2);
  seen.emplace_back("again");
  consumer.forEach(callback);
  EXPECT_THAT(seen, ElementsAre("0", "1", "again", "2", "3", "4"));
}

TEST_F(FileTopics, StopEndsRunAndCommitsWhatWasDone) {
  client.createTopic("t");
  fill("t", 5);
  TopicConsumer consumer = client.consumer("t", {.group = "g"});
  int seen = 0;
  consumer.run([&](const TopicPartition&, const RecordView&) {
    if (++seen == 3) consumer.stop();
  });
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(consumer.committed({t0})[t0].value, 3);
  EXPECT_THAT(rest(consumer), ElementsAre("3", "4"));
}

TEST_F(FileTopics, CommittedPositionsSurviveTheClientAndAreNotResetWhenTheirTopicIsGone) {
  client.createTopic("t");
  fill("t", 5);
  {
    TopicConsumer consumer = client.consumer("t", {.group = "g"});
    ASSERT_EQ(consumer.poll(kPatience).records.size(), 5U);
    consumer.commit({{t0, Offset{2}}});
    EXPECT_THROW(consumer.commit({{t0, Offset{6}}}), state::PositionOutOfRange);
    EXPECT_THROW(consumer.commit({{t0, Offset{-1}}}), state::PositionOutOfRange);
    EXPECT_THROW(consumer.commit({{{"t", PartitionIndex{1}}, Offset{0}}}), state::Fenced);
  }
  TopicConsumer again = client.consumer("t", {.group = "g"});
  EXPECT_THAT(rest(again), ElementsAre("2", "3", "4"));
  again.close();
  EXPECT_THROW((void)again.poll(kPatience), state::Closed);
  EXPECT_NO_THROW(again.close());
  // deleting a topic is deleting the groups' positions in it
  client.deleteTopic("t");
  client.createTopic("t");
  fill("t", 1);
  TopicConsumer anew = client.consumer("t", {.group = "g"});
  EXPECT_THAT(rest(anew), ElementsAre("0"));
}

TEST_F(FileTopics, ABookmarkGoesOnWhereItWasTakenAndIsRefusedInAnotherTopic) {
  client.createTopic("t");
  fill("t", 5);
  TopicConsumer consumer = client.consumer("t", {.batchRecordsMax = 2});
  (void)consumer.poll(kPatience);
  const std::string bookmark = consumer.bookmark(t0);
  {
    TopicConsumer other = client.consumer("t");
    other.seekBookmark(t0, bookmark);
    EXPECT_THAT(rest(other), ElementsAre("2", "3", "4"));
    for (const std::string bad : {"", "7", "x", bookmark.c_str() + 1}) {
      EXPECT_THROW(other.seekBookmark(t0, bad), ConfigurationError) << bad;
    }
    EXPECT_THROW(other.seekBookmark(t0, bookmark + "0000"), state::PositionOutOfRange);
  }
  client.deleteTopic("t");
  client.createTopic("t");
  fill("t", 5);
  TopicConsumer anew = client.consumer("t");
  EXPECT_THROW(anew.seekBookmark(t0, bookmark), state::PositionOutOfRange);
}

TEST_F(FileTopics, WhatRetentionTookAwayStopsAReaderInsteadOfSkippingIt) {
  client.createTopic("t", {.retentionBytes = 1});
  TopicConsumer slow = client.consumer("t", {.group = "g", .batchRecordsMax = 1});
  fill("t", 2);
  ASSERT_EQ(slow.poll(kPatience).records.size(), 1U);
  slow.commit();
  slow.close();
  fill("t", 10);
  {
    const auto journal =
        state::Journal::open(directory.path(), {.sharing = state::Sharing::Shared});
    const auto log = journal->findLog("topic/t/0");
    ASSERT_TRUE(log);
    journal->trimLog(*log, 5);
  }
  EXPECT_EQ(client.describeTopic("t")->partitions[0].start.value, 5);
  TopicConsumer back = client.consumer("t", {.group = "g"});
  EXPECT_THROW((void)back.poll(kPatience), state::PositionOutOfRange);
  EXPECT_THROW((void)back.poll(kPatience), state::PositionOutOfRange) << "once more, not skipped";
  back.seek(t0, SeekBegin{});
  const RecordBatch batch = back.poll(kPatience);
  ASSERT_FALSE(batch.records.empty());
  EXPECT_EQ(batch.records[0].offset.value, 5);
}

TEST_F(FileTopics, ADeletedTopicIsNamedByWhoeverStillUsesIt) {
  client.createTopic("t");
  TopicProducer producer = client.producer("t");
  producer.send({.value = "old"}).get();
  TopicConsumer consumer = client.consumer("t");
  client.deleteTopic("t");
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)consumer.poll(kPatience); }),
              HasSubstr("was deleted"));
  EXPECT_THROW(consumer.seek(SeekEnd{}), ConfigurationError);
  EXPECT_THROW(producer.send({.value = "lost"}).get(), Error);
  EXPECT_THROW(producer.flush(), Error);
  EXPECT_NO_THROW(producer.flush()) << "a failure is told once";
  client.createTopic("t");
  // found anew with a send after the one that failed
  EXPECT_TRUE(eventually([&] {
    try {
      producer.send({.value = "new"}).get();
      return true;
    } catch (const Error&) {
      return false;
    }
  }));
  TopicConsumer anew = client.consumer("t");
  EXPECT_THAT(rest(anew), ElementsAre("new"));
}

TEST_F(FileTopics, ForEachOfAMemberWithoutAShareEndsWhenTheGroupHasReadAll) {
  client.createTopic("t");
  TopicConsumer busy = client.consumer("t", {.group = "g"});
  (void)busy.poll(std::chrono::milliseconds(0));
  ASSERT_EQ(busy.assignment().size(), 1U);
  TopicConsumer idle = client.consumer("t", {.group = "g"});
  EXPECT_THAT(rest(idle), ElementsAre()) << "an empty topic has been read";
  fill("t", 3);
  EXPECT_THAT(rest(busy), ElementsAre("0", "1", "2"));
  EXPECT_THAT(rest(idle), ElementsAre());
}

TEST_F(FileTopics, ADirectoryThatNobodyCanMakeIsRefusedByName) {
  const std::string file = directory / "file";
  ASSERT_EQ(::mknod(file.c_str(), S_IFREG | 0600, 0), 0);
  EXPECT_THAT(messageOf<Error>([&] { const StreamingClient refused(file + "/sub"); }),
              HasSubstr(file));
  EXPECT_THAT(messageOf<Error>([&] { const StreamingClient refused("/proc/penstock"); }),
              HasSubstr("/proc"));
}

// Without the fixture, whose client has threads: a child is forked.
TEST(ReadOnlyFileTopics, AReadOnlyDirectoryIsRefusedByNameAndKept) {
  const TemporaryDirectory directory;
  const std::string path = directory / "topics";
  { StreamingClient(path).createTopic("t"); }
  const auto content = [&] {
    std::map<std::string, std::uintmax_t> sizes;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
      sizes[entry.path().string()] = entry.is_regular_file() ? entry.file_size() : 0;
    }
    return sizes;
  };
  const auto before = content();
  for (const auto& [name, size] : before) ASSERT_EQ(::chmod(name.c_str(), 0555), 0);
  ASSERT_EQ(::chmod(directory.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0555), 0);
  EXPECT_THAT(testing::asUnprivileged([&] {
                return messageOf<state::IoError>([&] { const StreamingClient refused(path); });
              }),
              AllOf(HasSubstr(path), HasSubstr("Permission denied"),
                    HasSubstr("check the owner and permissions")));
  ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
  EXPECT_EQ(content(), before);
}

TEST_F(FileTopics, ACallbacksErrorIsNotReplacedByOneOfCommitting) {
  client.createTopic("t");
  fill("t", 5);
  TopicConsumer consumer = client.consumer("t", {.group = "g"});
  const auto callback = [&](const TopicPartition&, const RecordView&) {
    client.deleteTopic("t");
    throw std::runtime_error("the real reason");
  };
  EXPECT_THAT(messageOf<ProcessingError>([&] { consumer.forEach(callback); }),
              HasSubstr("the real reason"));
}

TEST_F(FileTopics, WakingAConsumerThatIsBeingClosedIsFine) {
  client.createTopic("t");
  for (int i = 0; i < 50; ++i) {
    TopicConsumer consumer = client.consumer("t", {.group = "g"});
    std::atomic<bool> closed{false};
    std::thread waker([&] {
      while (!closed) consumer.stop();
      consumer.wakeup();
    });
    consumer.run([](const TopicPartition&, const RecordView&) {});
    consumer.close();
    closed = true;
    waker.join();
  }
}

TEST_F(FileTopics, ForEverIsATimeToWait) {
  constexpr auto forEver = std::chrono::milliseconds::max();
  client.createTopic("t");
  TopicConsumer consumer = client.consumer("t", {.group = "g", .commitInterval = forEver});
  std::thread writer([&] {
    TopicProducer producer = client.producer("t", {.deliveryTimeout = forEver});
    for (int i = 0; i < 20; ++i) producer.post({.value = std::string(1U << 20U, 'x')});
    producer.flush(forEver);
  });
  const std::size_t first = consumer.poll(forEver).records.size();  // all of them, at times
  EXPECT_GT(first, 0U);
  writer.join();
  EXPECT_EQ(first + rest(consumer).size(), 20U);
}

TEST_F(FileTopics, AForkedChildIsRefusedTheParentsProducer) {
  client.createTopic("t");
  TopicProducer producer = client.producer("t");
  producer.send({.value = "parent"}).get();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);
    int code = 1;
    try {
      producer.post({.value = "child"});
    } catch (const state::Closed&) {
      code = 0;
    } catch (...) {
      code = 2;
    }
    ::_exit(code);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: it took the record, which nobody will write";
}

TEST(FileConsumerTest, ReportsAJournalThatFailed) {
  testsupport::SimFs machine(1);
  machine.makeSyncedDirectory("/data");
  const auto process = machine.startProcess();
  state::JournalOptions options;
  options.sharing = state::Sharing::Shared;
  const auto journal = state::Journal::open("/data/topics", options, process->environment());
  const auto catalog = std::make_shared<file::TopicCatalog>(journal);
  catalog->create("t", {.partitions = 1});
  file::FileConsumer consumer(journal, catalog, {});
  consumer.assign({t0});
  RecordBatch batch;
  EXPECT_FALSE(consumer.poll(batch, std::chrono::milliseconds(0)));
  machine.fail({testsupport::SimCall::Sync, 1, EIO, true, {}});
  state::Commit commit;
  commit.put(journal->declareStore("other"), "k", "v");
  EXPECT_THROW(journal->commit(commit), state::JournalFailed);
  EXPECT_THROW(consumer.poll(batch, std::chrono::milliseconds(500)), state::JournalFailed);
  EXPECT_THROW(consumer.poll(batch, std::chrono::milliseconds(0)), state::JournalFailed);
}

TEST_F(FileTopics, ATornTailIsCutAndLogged) {
  client.createTopic("t", {.partitions = 1});
  fill("t", 10);
  // What a crash in the middle of a write leaves.
  const std::string crashed = directory.path() + "/crashed";
  std::filesystem::create_directory(crashed);
  for (const auto& file : std::filesystem::directory_iterator(directory.path())) {
    if (file.is_regular_file()) std::filesystem::copy(file, crashed);
  }
  const std::string segment = crashed + "/segment-0000000001.log";
  std::ofstream(segment, std::ios::app) << "half a fr";

  const testing::LogLines log;
  {
    StreamingClient recovered(crashed);
    TopicConsumer consumer = recovered.consumer();
    consumer.assign({{"t", PartitionIndex{0}}});
    EXPECT_EQ(rest(consumer).size(), 10U);
  }
  EXPECT_THAT(log.get(), ::testing::Contains(::testing::AllOf(
                             HasSubstr("WARNING"), HasSubstr("torn"), HasSubstr(crashed))));
}

}  // namespace
}  // namespace penstock
