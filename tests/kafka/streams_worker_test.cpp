// SPDX-License-Identifier: Apache-2.0
//
// Goal: what one worker of the runtime asks of the broker, step by step, without a runtime.
#include <librdkafka/rdkafka.h>
#include <penstock/error.h>
#include <penstock/state/errors.h>

#include <cerrno>
#include <set>

#include "streams/runtime/kafka_streams_worker.h"
#include "tests/kafka/kafka_test.h"
#include "tests/support/sim_fs.h"
#include "tests/support/temporary_directory.h"

namespace penstock::kafka {
namespace {

/// Knows what it owns.
class Owner final : public streams::TaskListener {
 public:
  std::set<streams::TaskId> owned;
  void assigned(std::span<const streams::TaskId> tasks) override {
    owned.insert(tasks.begin(), tasks.end());
  }
  void revoking(std::span<const streams::TaskId> tasks) override { lost(tasks); }
  void lost(std::span<const streams::TaskId> tasks) override {
    for (const auto& task : tasks) owned.erase(task);
  }
};

/// A task without stores that reads `lead` and `other`, which is a repartition topic.
class KafkaStreamsWorkerTest : public KafkaTest {
 protected:
  const std::string lead = makeTopic(1);
  const std::string other = makeTopic(1);
  const streams::TaskId task{0, {0}};
  testing::TemporaryDirectory directory;
  streams::ApplicationPlan plan;
  std::shared_ptr<streams::StreamsContext> context = std::make_shared<streams::StreamsContext>();
  Owner owner;
  std::unique_ptr<streams::KafkaStreamsWorker> worker;

  KafkaStreamsWorkerTest() {
    plan.application = freshName("worker");
    streams::SubtopologyPlan& part = plan.subtopologies.emplace_back();
    part.name = lead;
    part.inputs = {{lead, false, ""}, {other, true, ""}};
    part.partitions = 1;
    context->settings.servers = broker().servers();
    context->application = plan.application;
    context->journal = state::Journal::open(directory.path(), {});
    context->groupStore = context->journal->declareStore("group");
  }

  void start() {
    worker.reset();
    worker = std::make_unique<streams::KafkaStreamsWorker>(plan, context);
    awaitTask();
  }
  void awaitTask() {
    ASSERT_TRUE(eventually([&] {
      worker->poll(owner, 10ms);
      return owner.owned.contains(task);
    }));
  }
  /// Takes `count` records of an input.
  void take(std::size_t input, std::size_t count) {
    RecordBatch batch;
    std::size_t had = 0;
    ASSERT_TRUE(eventually([&] {
      worker->poll(owner, 10ms);
      while (worker->fetch(task, input, batch) == streams::FetchResult::Records) {
        had += batch.records.size();
      }
      return had >= count;
    }));
    EXPECT_EQ(had, count);
  }
  void commit(std::int64_t leadNext, std::int64_t otherNext) {
    const std::vector<streams::TaskPosition> positions{
        {task, {Offset{leadNext}, Offset{otherNext}}, {}}};
    worker->commit(positions);
  }
  /// Of `other`, in the group; -1: none.
  std::int64_t stored() {
    const TopicPartition partition{other, {0}};
    const auto all = transport->consumer({.group = plan.application})->committed({partition}, 10s);
    return all.contains(partition) ? all.at(partition).value : -1;
  }
};

TEST_F(KafkaStreamsWorkerTest, WhatWaitsForATaskIsBoundedInBytes) {
  constexpr std::size_t count = 600;
  constexpr std::size_t size = 100'000;
  {
    const auto producer = transport->producer({});
    const std::string value(size, 'x');
    RecordView record;
    record.value = value;
    record.timestamp.ms = 1;
    for (std::size_t i = 0; i < count; ++i) producer->send(lead, PartitionIndex{0}, record, {});
    producer->close();
  }
  context->settings.values["queued.max.messages.kbytes"] = "1024";
  start();
  const auto end = std::chrono::steady_clock::now() + 5s;  // time to take in all of it
  while (std::chrono::steady_clock::now() < end) worker->poll(owner, 10ms);
  RecordBatch batch;
  std::size_t waiting = 0;
  while (worker->fetch(task, 0, batch) == streams::FetchResult::Records) {
    waiting += batch.records.size();
  }
  EXPECT_GT(waiting, 100U);
  EXPECT_LT(waiting * size, 40U << 20U);
  take(0, count - waiting);
}

TEST_F(KafkaStreamsWorkerTest, RepartitionTopicsArePurgedBehindWhatWasCommitted) {
  produceNumbers(lead, 0, 10);
  produceNumbers(other, 0, 10);
  context->purgeEvery = 0ms;
  start();
  take(0, 10);
  take(1, 10);
  commit(10, 7);
  const auto begin = [&](const std::string& topic) {
    return transport->describeTopic(topic)->partitions[0].start.value;
  };
  EXPECT_TRUE(eventually([&] {
    worker->poll(owner, 10ms);
    return begin(other) == 7;
  }));
  commit(10, 10);
  EXPECT_TRUE(eventually([&] {
    worker->poll(owner, 10ms);
    return begin(other) == 10;
  }));
  EXPECT_EQ(begin(lead), 0);
}

TEST_F(KafkaStreamsWorkerTest, PositionsAreKeptAliveWhileIdle) {
  produceNumbers(other, 0, 10);
  start();
  take(1, 10);
  commit(0, 10);
  worker->close(owner);
  context->refreshEvery = 0ms;
  start();
  {  // as brokers do with positions of topics that nobody subscribes to, after a week
    Client client(RD_KAFKA_CONSUMER, {broker().servers(), {{"group.id", plan.application}}});
    const PartitionList list = partitionList(std::vector<TopicPartition>{{other, {0}}});
    rd_kafka_DeleteConsumerGroupOffsets_t* request =
        rd_kafka_DeleteConsumerGroupOffsets_new(plan.application.c_str(), list.get());
    const Queue answers(rd_kafka_queue_new(client.get()));
    rd_kafka_DeleteConsumerGroupOffsets(client.get(), &request, 1, nullptr, answers.get());
    const Event answer(rd_kafka_queue_poll(answers.get(), 30000));
    rd_kafka_DeleteConsumerGroupOffsets_destroy(request);
    ASSERT_TRUE(answer);
    ASSERT_EQ(rd_kafka_event_error(answer.get()), RD_KAFKA_RESP_ERR_NO_ERROR)
        << rd_kafka_event_error_string(answer.get());
  }
  ASSERT_EQ(stored(), -1);
  worker->poll(owner, 0ms);
  EXPECT_EQ(stored(), 10);
}

TEST_F(KafkaStreamsWorkerTest, AConsumerBeyondUseIsReplaced) {
  produceNumbers(lead, 0, 10);
  start();
  take(0, 10);
  commit(10, 0);
  worker->testingFailConsumer();
  ASSERT_TRUE(eventually([&] {
    try {
      worker->poll(owner, 10ms);
      return false;
    } catch (const Error& error) {
      return error.code() == ErrorCode::RestartTask;
    }
  }));
  owner.owned.clear();
  worker->restart();
  awaitTask();
  produceNumbers(lead, 0, 5, 10);
  take(0, 5);
}

/// The same with a store, whose journal lies on a disk that can be full.
class KafkaStreamsWorkerOnAFullDisk : public KafkaStreamsWorkerTest {
 protected:
  testsupport::SimFs machine{1};
  std::shared_ptr<testsupport::SimProcess> process = machine.startProcess();

  KafkaStreamsWorkerOnAFullDisk() {
    plan.subtopologies[0].stores = {{"counts", false}};
    transport->createTopic(
        streams::changelogTopic(plan.application, plan.subtopologies[0].stores[0]),
        {.partitions = 1});
    machine.makeSyncedDirectory("/data");
    context->journal = state::Journal::open("/data/state", {}, process->environment());
    context->groupStore = context->journal->declareStore("group");
  }
  ~KafkaStreamsWorkerOnAFullDisk() override {  // before the disk goes
    worker.reset();
    context->journal.reset();
  }
  /// What the last commit left.
  int counted() {
    std::string count;
    return worker->store(task, 0)->get("count", count) ? std::stoi(count) : 0;
  }
  /// As a worker of the runtime does with `count` records of `other`.
  void takeAndCount(std::size_t count) {
    take(1, count);
    worker->store(task, 0)->put("count", std::to_string(counted() + static_cast<int>(count)),
                                EventTime{1});
  }
};

TEST_F(KafkaStreamsWorkerOnAFullDisk, ACommitFailsWholeAndGoesOnExactly) {
  produceNumbers(other, 0, 10);
  start();
  takeAndCount(10);
  commit(0, 10);
  produceNumbers(other, 0, 5, 10);
  takeAndCount(5);
  machine.fail({testsupport::SimCall::Write, 1, ENOSPC, true, {}});
  EXPECT_THROW(commit(0, 15), state::DiskFull);
  EXPECT_EQ(stored(), 15);
  EXPECT_EQ(counted(), 10);  // behind: the changelog has the rest

  // It is still full: nothing is taken up, so nothing can go wrong.
  owner.owned.clear();
  worker->restart();
  EXPECT_TRUE(eventually([&] {
    try {
      worker->poll(owner, 10ms);
      return false;
    } catch (const state::DiskFull&) {
      return true;
    }
  }));
  EXPECT_TRUE(owner.owned.empty());

  machine.clearFaults();
  worker->restart();
  awaitTask();
  EXPECT_EQ(worker->start(task).next, (std::vector<Offset>{{0}, {15}}));
  EXPECT_EQ(counted(), 15);
  produceNumbers(other, 0, 5, 15);
  takeAndCount(5);
  commit(0, 20);
  EXPECT_EQ(stored(), 20);
  EXPECT_EQ(counted(), 20);
}

}  // namespace
}  // namespace penstock::kafka
