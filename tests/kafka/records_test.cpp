// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <penstock/error.h>
#include <penstock/kafka_error.h>
#include <penstock/state/errors.h>

#include <atomic>
#include <future>
#include <random>
#include <thread>

#include "tests/kafka/kafka_test.h"

namespace penstock::kafka {
namespace {

using KafkaRecords = KafkaTest;

std::vector<HeaderView> viewsOf(const std::vector<Header>& headers) {
  std::vector<HeaderView> views;
  for (const Header& header : headers) {
    HeaderView view;
    view.name = header.name;
    if (header.value) view.value = *header.value;
    views.push_back(view);
  }
  return views;
}

void send(topics::ProducerBackend& producer, const std::string& topic,
          std::optional<PartitionIndex> partition, const Record& record,
          topics::ProducerBackend::Done done = {}) {
  const auto headers = viewsOf(record.headers);
  RecordView view;
  if (record.key) view.key = *record.key;
  if (record.value) view.value = *record.value;
  view.timestamp = record.timestamp;
  view.headers = headers;
  producer.send(topic, partition, view, std::move(done));
}

TEST_F(KafkaRecords, EverythingARecordHoldsRoundTrips) {
  const std::string topic = makeTopic(1);
  const std::string zeros("a\0b\0", 4);
  const std::string large(900000, 'x');
  const std::vector<Record> records = {
      {"key", "value", {1234567}, {}},
      {std::nullopt, "keyless", {2}, {}},
      {"tombstone", std::nullopt, {3}, {}},
      {std::nullopt, std::nullopt, {4}, {}},
      {"", "", {5}, {}},
      {zeros, zeros, {6}, {{"zeros", zeros}}},
      {"h",
       "v",
       {7},
       {{"one", "1"}, {"absent", std::nullopt}, {"empty", ""}, {"one", "again"}, {"", "nameless"}}},
      {"large", large, {8}, {{"large", std::string(10000, 'y')}}},
      {"after", "headers", {9}, {}},
      {"recent", "v", {1700000000123}, {}},
  };
  const auto producer = transport->producer({});
  for (const Record& record : records) send(*producer, topic, {}, record);
  producer->flush(30s);
  const auto consumer = transport->consumer({});
  consumer->assign({{topic, {0}}});
  const auto back = readToEnd(*consumer, *transport);
  ASSERT_EQ(back.size(), records.size());
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(back[i], records[i]) << "record " << i;
  }
}

TEST_F(KafkaRecords, AViewWithoutBytesIsNotAbsent) {
  const std::string topic = makeTopic(1);
  const auto producer = transport->producer({});
  const HeaderView header{"h", std::string_view{}};
  RecordView record;
  record.key = std::string_view{};
  record.value = std::string_view{};
  record.timestamp.ms = 1;
  record.headers = {&header, 1};
  producer->send(topic, {}, record, {});
  producer->flush(30s);
  const auto consumer = transport->consumer({});
  consumer->assign({{topic, {0}}});
  const auto back = readToEnd(*consumer, *transport);
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(back[0], (Record{"", "", {1}, {{"h", ""}}}));
}

TEST_F(KafkaRecords, KeysGoWhereKafkasJavaClientPutsThem) {
  const std::string topic = makeTopic(7);
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto producer = transport->producer({});
  std::atomic<int> delivered{0};
  std::atomic<int> wrong{0};
  for (int i = 0; i < 500; ++i) {
    std::string key(random() % 40, 0);
    for (char& c : key) c = static_cast<char>(random());
    const PartitionIndex expected = topics::partitionForKey(key, 7);
    send(*producer, topic, {}, {key, "v", {1}, {}},
         [&, expected](const Delivery& delivery, const std::exception_ptr& error) {
           if (error || delivery.partition != expected) ++wrong;
           ++delivered;
         });
  }
  producer->flush(30s);
  EXPECT_EQ(delivered, 500);
  EXPECT_EQ(wrong, 0);
}

TEST_F(KafkaRecords, DeliveriesNameWhereTheRecordStands) {
  const std::string topic = makeTopic(2);
  const auto producer = transport->producer({});
  std::vector<std::future<Delivery>> deliveries;
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> sameThread{false};
  for (int i = 0; i < 20; ++i) {
    const auto promise = std::make_shared<std::promise<Delivery>>();
    deliveries.push_back(promise->get_future());
    send(*producer, topic, PartitionIndex{i % 2}, {std::nullopt, std::to_string(i), {1}, {}},
         [&, promise](const Delivery& delivery, const std::exception_ptr& error) {
           if (std::this_thread::get_id() == caller) sameThread = true;
           error ? promise->set_exception(error) : promise->set_value(delivery);
         });
  }
  for (int i = 0; i < 20; ++i) {  // without a flush
    auto& future = deliveries[static_cast<std::size_t>(i)];
    ASSERT_EQ(future.wait_for(30s), std::future_status::ready);
    const Delivery delivery = future.get();
    EXPECT_EQ(delivery.partition.value, i % 2);
    EXPECT_EQ(delivery.offset.value, i / 2);
  }
  EXPECT_FALSE(sameThread);
}

TEST_F(KafkaRecords, ABatchOutlivesItsConsumerAndTheNextPoll) {
  const std::string topic = makeTopic(1);
  produceNumbers(topic, 0, 1000);
  std::vector<RecordBatch> batches;
  {
    const auto consumer = transport->consumer({.batchRecordsMax = 100});
    consumer->assign({{topic, {0}}});
    for (std::size_t count = 0; count < 1000;) {
      RecordBatch batch;
      if (!consumer->poll(batch, 10s)) break;
      EXPECT_LE(batch.records.size(), 100U);
      count += batch.records.size();
      EXPECT_EQ(batch.next, consumer->position({topic, {0}}));
      batches.push_back(std::move(batch));
    }
  }
  std::vector<std::string> values;
  for (const RecordBatch& batch : batches) {
    for (const RecordView& record : batch.records) {
      EXPECT_EQ(record.offset.value, static_cast<std::int64_t>(values.size()));
      EXPECT_EQ(record.timestamp.ms, 1000 + static_cast<std::int64_t>(values.size()));
      values.emplace_back(*record.value);
    }
  }
  EXPECT_EQ(values, numbers(0, 1000));
}

TEST_F(KafkaRecords, ManyPartitionsAreReadWhole) {
  const std::string topic = makeTopic(8);
  const auto producer = transport->producer({});
  for (int i = 0; i < 20000; ++i) {
    send(*producer, topic, PartitionIndex{i % 8}, {std::nullopt, std::to_string(i / 8), {1}, {}});
  }
  producer->close();
  const auto consumer = transport->consumer({.batchRecordsMax = 777});
  std::vector<TopicPartition> partitions;
  for (int i = 0; i < 8; ++i) partitions.push_back({topic, {i}});
  consumer->assign(partitions);
  const auto back = read(*consumer, 20000);
  for (const TopicPartition& partition : partitions) {
    ASSERT_TRUE(back.contains(partition));
    EXPECT_EQ(back.at(partition), numbers(0, 2500));
  }
}

TEST_F(KafkaRecords, ASmallQueueBlocksTheSenderAndLosesNothing) {
  const std::string topic = makeTopic(1);
  const auto producer = transport->producer({.extra = {{"queue.buffering.max.messages", "50"}}});
  std::vector<std::thread> threads;
  std::atomic<int> delivered{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        send(*producer, topic, PartitionIndex{0}, {"k", "v", {1}, {}},
             [&](const Delivery&, const std::exception_ptr& error) {
               if (!error) ++delivered;
             });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  producer->flush(30s);
  EXPECT_EQ(delivered, 4000);
  EXPECT_EQ(transport->describeTopic(topic)->partitions[0].end.value, 4000);
}

TEST_F(KafkaRecords, WhatCannotBeStoredIsRefusedByKind) {
  const std::string topic = makeTopic(2);
  const auto producer = transport->producer({});
  EXPECT_THROW(send(*producer, topic, {}, {"k", "v", {-5}, {}}), state::InvalidArgument);
  EXPECT_THROW(send(*producer, topic, PartitionIndex{2}, {"k", "v", {1}, {}}), ConfigurationError);
  EXPECT_THROW(send(*producer, topic, PartitionIndex{-1}, {"k", "v", {1}, {}}), ConfigurationError);
  EXPECT_THROW(send(*producer, "no/topic", {}, {"k", "v", {1}, {}}), ConfigurationError);
  try {
    send(*producer, topic, {}, {"k", std::string(2000000, 'x'), {1}, {}});
    ADD_FAILURE() << "two megabytes were taken";
  } catch (const KafkaError& error) {
    EXPECT_EQ(error.code(), ErrorCode::FixData);
  }
  producer->flush(30s);  // none of these was sent
  EXPECT_EQ(transport->describeTopic(topic)->partitions[0].end.value, 0);
}

TEST_F(KafkaRecords, WhatTheBrokerRefusesReachesTheCallbackAndTheFlush) {
  const std::string topic = makeTopic(1, {.extra = {{"max.message.bytes", "1000"}}});
  const auto producer = transport->producer({});
  std::promise<std::exception_ptr> outcome;
  send(*producer, topic, {}, {"k", std::string(5000, 'x'), {1}, {}},
       [&](const Delivery&, const std::exception_ptr& error) { outcome.set_value(error); });
  EXPECT_THROW(producer->flush(30s), KafkaError);
  auto future = outcome.get_future();
  ASSERT_EQ(future.wait_for(0s), std::future_status::ready);
  const std::exception_ptr error = future.get();
  ASSERT_TRUE(error);
  try {
    std::rethrow_exception(error);
  } catch (const KafkaError& refused) {
    EXPECT_EQ(refused.code(), ErrorCode::FixData);
  }
  producer->flush(30s);  // told once
}

TEST_F(KafkaRecords, AClosedProducerSaysSo) {
  const std::string topic = makeTopic(1);
  const auto producer = transport->producer({});
  send(*producer, topic, {}, {"k", "v", {1}, {}});
  producer->close();
  producer->close();
  EXPECT_EQ(transport->describeTopic(topic)->partitions[0].end.value, 1);
  EXPECT_THROW(send(*producer, topic, {}, {"k", "v", {1}, {}}), state::Closed);
}

}  // namespace
}  // namespace penstock::kafka
