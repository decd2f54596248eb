// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/stream_errors.h>
#include <penstock/test_driver.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/state/errors.h"
#include "streams/task_graph.h"

namespace penstock {
namespace {

using testing::ElementsAre;
using testing::Pair;

Record raw(std::string key, std::string value) {
  return Record{.key = std::move(key), .value = std::move(value), .timestamp = {5}, .headers = {}};
}

std::string number(char value) { return std::string(7, '\0') + value; }

/// in -> throws at 13 -> out, and a sum per key that throws at 14 after changing its aggregate.
void build(Application& app) {
  auto in = app.stream<std::string, std::int64_t>("in", {.name = "numbers"});
  in.mapValues(
        [](std::int64_t value) {
          if (value == 13) throw std::runtime_error("thirteen");
          return value;
        },
        {.name = "unlucky"})
      .to("out");
  in.groupByKey()
      .aggregate([] { return std::int64_t{0}; },
                 [](const auto&, std::int64_t value, std::int64_t& sum) {
                   sum += value;
                   if (value == 14) throw std::runtime_error("fourteen");
                 },
                 {.name = "sums"})
      .toStream()
      .to("sums-out");
}

TEST(ErrorPolicyTest, FailNamesOperatorAndPlaceAndKeepsTheCause) {
  Application app({.id = "test"});
  build(app);
  TestDriver driver(app);
  driver.pipeRecord("in", raw("a", number('\1')));
  try {
    driver.pipeRecord("in", raw("a", number('\15')));
    FAIL();
  } catch (const RecordError& error) {
    EXPECT_STREQ(error.what(),
                 "cannot process in operator unlucky, topic in, partition 0, offset 1: thirteen");
    EXPECT_EQ(error.node(), "unlucky");
    EXPECT_EQ(error.offset(), Offset{1});
    EXPECT_EQ(error.source(), (TopicPartition{"in", PartitionIndex{0}}));
    EXPECT_THROW(std::rethrow_exception(error.cause()), std::runtime_error);
  }
  EXPECT_THROW(driver.crash(), RecordError);  // it is still there, and is not passed over
}

TEST(ErrorPolicyTest, FailOnUndecodableBytes) {
  Application app({.id = "test"});
  build(app);
  TestDriver driver(app);
  try {
    driver.pipeRecord("in", raw("a", "short"));
    FAIL();
  } catch (const RecordError& error) {
    EXPECT_STREQ(error.what(),
                 "cannot decode in operator numbers, topic in, partition 0, offset 0: int64: "
                 "expected 8 bytes, found 5");
  }
}

TEST(ErrorPolicyTest, SkipCountsAndGoesOn) {
  Application app({.id = "test", .errorPolicy = ErrorPolicy::Skip});
  build(app);
  TestDriver driver(app);
  for (const char value : {'\1', '\15', '\16', '\2'})
    driver.pipeRecord("in", raw("a", number(value)));
  driver.pipeRecord("in", raw("a", "short"));
  EXPECT_EQ(driver.counters().skipped, 3U);
  EXPECT_THAT((driver.read<std::string, std::int64_t>("out")),
              ElementsAre(Pair("a", 1), Pair("a", 14), Pair("a", 2)));
  // 14 changed the aggregate before it threw: that must be gone.
  EXPECT_THAT((driver.readTable<std::string, std::int64_t>("sums-out")),
              ElementsAre(Pair("a", 1 + 13 + 2)));
}

TEST(ErrorPolicyTest, SkippedFirstRecordOfAKeyLeavesNoAggregate) {
  Application app({.id = "test", .errorPolicy = ErrorPolicy::Skip});
  build(app);
  TestDriver driver(app);
  driver.pipeRecord("in", raw("a", number('\16')));
  EXPECT_TRUE(driver.take("sums-out").empty());
  EXPECT_TRUE((driver.readStore<std::string, std::int64_t>("sums").empty()));
}

TEST(ErrorPolicyTest, DeadLetterKeepsTheRecordAndSaysWhy) {
  Application app(
      {.id = "test", .errorPolicy = ErrorPolicy::DeadLetter, .deadLetterTopic = "dead"});
  build(app);
  TestDriver driver(app);
  Record record = raw("a", "short");
  record.headers = {{"trace", "t1"}};
  driver.pipeRecord("in", record);
  driver.pipeRecord("in", raw("b", number('\15')));
  const std::vector<Record> letters = driver.take("dead");
  ASSERT_EQ(letters.size(), 2U);
  EXPECT_EQ(letters[0].key, "a");
  EXPECT_EQ(letters[0].value, "short");
  EXPECT_EQ(letters[0].timestamp, EventTime{5});
  EXPECT_EQ(letters[0].headers,
            (std::vector<Header>{{"trace", "t1"},
                                 {"penstock.error.stage", "decode"},
                                 {"penstock.error.reason", "int64: expected 8 bytes, found 5"},
                                 {"penstock.error.node", "numbers"},
                                 {"penstock.source.topic", "in"},
                                 {"penstock.source.partition", "0"},
                                 {"penstock.source.offset", "0"}}));
  EXPECT_EQ(letters[1].headers.at(0).value, "process");
  EXPECT_EQ(letters[1].headers.at(1).value, "thirteen");
  EXPECT_EQ(letters[1].headers.at(5).value, "1");
  EXPECT_EQ(driver.counters().deadLettered, 2U);
}

TEST(ErrorPolicyTest, ErrorsThatAreNotTheRecordsFaultAreNeverSkipped) {
  Application app({.id = "test", .errorPolicy = ErrorPolicy::Skip});
  app.stream<None, std::string>("in").peek(
      [](const None&, const std::string&) { throw state::DiskFull("full"); });
  TestDriver driver(app);
  EXPECT_THROW(driver.pipe("in", None{}, "x"), state::DiskFull);
}

TEST(ErrorPolicyTest, FailureBehindAFlatMapIsTheInnerOperatorsAndTheRestGoesOn) {
  Application app({.id = "test", .errorPolicy = ErrorPolicy::Skip});
  app.stream<None, std::string>("in")
      .flatMapValues<char>([](const std::string& text, const auto& emit) {
        for (const char each : text) emit(each);
      })
      .mapValues([](char each) {
        if (each == 'x') throw std::runtime_error("x");
        return std::string(1, each);
      })
      .to("out");
  TestDriver driver(app);
  driver.pipe("in", None{}, "axb");
  EXPECT_THAT((driver.read<None, std::string>("out")),
              ElementsAre(Pair(None{}, "a"), Pair(None{}, "b")));
  EXPECT_EQ(driver.counters().skipped, 1U);
}

TEST(ErrorPolicyTest, KeyTooLongForAStoreFollowsThePolicy) {
  Application app({.id = "test", .errorPolicy = ErrorPolicy::Skip});
  app.stream<std::string, None>("in").groupByKey().count({.name = "counts"});
  TestDriver driver(app);
  driver.pipe("in", std::string(70000, 'k'), None{});
  driver.pipe("in", "k", None{});
  EXPECT_EQ(driver.counters().skipped, 1U);
  EXPECT_EQ((driver.readStore<std::string, std::int64_t>("counts").size()), 1U);
}

/// A task whose output refuses what it is sent.
class RefusingContext final : public streams::TaskContext, private detail::Output {
 public:
  explicit RefusingContext(const Error& error) : error_(error) {}
  std::shared_ptr<streams::TaskStore> store(std::size_t, const std::string&) override {
    return nullptr;
  }
  detail::Output& output(const std::string&) override { return *this; }
  [[nodiscard]] std::int64_t nowMs() const override { return 0; }

 private:
  void send(std::optional<PartitionIndex>, const RecordView&) override { throw Error(error_); }
  Error error_;
};

TEST(ErrorPolicyTest, RecordThatAnOutputRefusesIsTheRecordsFault) {
  Application app({.id = "test"});
  app.stream<std::string_view, std::string_view>("in").to("out", {.name = "sink"});
  const streams::Topology topology("test", app.builder());
  RecordBatch batch;
  batch.source = {"in", PartitionIndex{0}};
  batch.records.emplace_back();
  batch.records[0].key = "k";
  batch.records[0].value = "v";

  RefusingContext tooLong(Error(ErrorCode::FixData, "too long"));
  streams::TaskGraph skips(topology, 0, tooLong, {ErrorPolicy::Skip, {}, {}});
  EXPECT_NO_THROW(skips.process(batch));
  EXPECT_EQ(skips.counters().skipped, 1U);
  EXPECT_EQ(skips.counters().recordsOut, 0U);
  streams::TaskGraph fails(topology, 0, tooLong, {ErrorPolicy::Fail, {}, {}});
  try {
    fails.process(batch);
    ADD_FAILURE() << "no error";
  } catch (const RecordError& error) {
    EXPECT_STREQ(error.what(),
                 "cannot encode in operator sink, topic in, partition 0, offset 0: too long");
  }

  RefusingContext full(Error(ErrorCode::Retry, "disk full"));
  streams::TaskGraph passes(topology, 0, full, {ErrorPolicy::Skip, {}, {}});
  try {
    passes.process(batch);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Retry);
  }
  EXPECT_EQ(passes.counters().skipped, 0U);
}

}  // namespace
}  // namespace penstock
