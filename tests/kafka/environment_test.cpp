// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "kafka/kafka_handle.h"
#include "tests/kafka/kafka_test.h"

namespace penstock::kafka {
namespace {

std::unique_ptr<testing::KafkaBroker> theBroker;

class BrokerEnvironment final : public ::testing::Environment {
 public:
  void SetUp() override { theBroker = std::make_unique<testing::KafkaBroker>(); }
  void TearDown() override { theBroker.reset(); }
};

const ::testing::Environment* const environment =
    ::testing::AddGlobalTestEnvironment(new BrokerEnvironment);

}  // namespace

testing::KafkaBroker& broker() { return *theBroker; }

std::string freshName(const std::string& stem) {
  static const std::string run = std::to_string(std::random_device{}());
  static std::atomic<int> next{0};
  return stem + "-" + run + "-" + std::to_string(next++);
}

std::string KafkaTest::makeTopic(std::int32_t partitions, topics::TopicConfig config) {
  const std::string name = freshName("topic");
  config.partitions = partitions;
  EXPECT_TRUE(transport->createTopic(name, config));
  return name;
}

void KafkaTest::produceNumbers(const std::string& topic, std::int32_t partition, int count,
                               int first) {
  const auto producer = transport->producer({});
  for (int i = first; i < first + count; ++i) {
    const std::string value = std::to_string(i);
    RecordView record;
    record.value = value;
    record.timestamp.ms = 1000 + i;
    producer->send(topic, PartitionIndex{partition}, record, {});
  }
  producer->flush(30s);
}

void KafkaTest::transaction(const TopicPartition& partition, int count, bool commit) {
  Client client(RD_KAFKA_PRODUCER, {broker().servers(), {{"transactional.id", partition.topic}}});
  const auto good = [](rd_kafka_error_t* error) {
    const RdError owned(error);
    ASSERT_FALSE(owned) << rd_kafka_error_string(owned.get());
  };
  good(rd_kafka_init_transactions(client.get(), 30000));
  good(rd_kafka_begin_transaction(client.get()));
  for (int i = 0; i < count; ++i) {
    const std::string value = (commit ? "c" : "a") + std::to_string(i);
    ASSERT_EQ(rd_kafka_producev(client.get(), RD_KAFKA_V_TOPIC(partition.topic.c_str()),
                                RD_KAFKA_V_PARTITION(partition.partition.value),
                                RD_KAFKA_V_KEY(value.data(), value.size()),
                                RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
              RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  // Its delivery reports are events that somebody has to take before the end is sent.
  std::atomic<bool> ended{false};
  std::thread reports([&] {
    const Queue queue(rd_kafka_queue_get_main(client.get()));
    while (!ended) const Event event(rd_kafka_queue_poll(queue.get(), 10));
  });
  if (commit) {
    good(rd_kafka_commit_transaction(client.get(), 30000));
  } else {
    rd_kafka_flush(client.get(), 30000);
    good(rd_kafka_abort_transaction(client.get(), 30000));
  }
  ended = true;
  reports.join();
}

std::map<TopicPartition, std::vector<std::string>> KafkaTest::read(
    topics::ConsumerBackend& consumer, std::size_t count) {
  std::map<TopicPartition, std::vector<std::string>> result;
  RecordBatch batch;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  for (std::size_t had = 0; had < count;) {
    if (std::chrono::steady_clock::now() >= deadline) {
      ADD_FAILURE() << had << " of " << count << " records came";
      break;
    }
    if (!consumer.poll(batch, 1s)) continue;
    for (const RecordView& record : batch.records) {
      result[batch.source].emplace_back(record.value.value_or("absent"));
    }
    had += batch.records.size();
  }
  return result;
}

std::vector<std::string> KafkaTest::readValues(topics::ConsumerBackend& consumer,
                                               std::size_t count) {
  auto all = read(consumer, count);
  EXPECT_EQ(all.size(), 1U);
  return all.empty() ? std::vector<std::string>{} : std::move(all.begin()->second);
}

std::vector<Record> KafkaTest::readToEnd(topics::ConsumerBackend& consumer,
                                         topics::Transport& transport) {
  std::map<TopicPartition, Offset> ends;
  for (const TopicPartition& partition : consumer.assignment()) {
    const auto description = transport.describeTopic(partition.topic);
    for (const auto& each : description->partitions) {
      if (each.partition == partition.partition) ends[partition] = each.end;
    }
  }
  std::vector<Record> result;
  RecordBatch batch;
  EXPECT_TRUE(eventually([&] {
    if (consumer.poll(batch, 100ms)) {
      for (const RecordView& record : batch.records) result.push_back(record.copy());
    }
    return std::all_of(ends.begin(), ends.end(),
                       [&](const auto& end) { return consumer.position(end.first) >= end.second; });
  }));
  return result;
}

std::vector<std::string> numbers(int first, int behind) {
  std::vector<std::string> result;
  for (int i = first; i < behind; ++i) result.push_back(std::to_string(i));
  return result;
}

}  // namespace penstock::kafka
