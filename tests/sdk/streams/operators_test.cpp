// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/test_driver.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace penstock {
namespace {

using Pairs = std::vector<std::pair<std::string, std::int64_t>>;
using testing::ElementsAre;
using testing::Pair;

class OperatorsTest : public testing::Test {
 protected:
  Application app{{.id = "test"}};
  Stream<std::string, std::int64_t> in = app.stream<std::string, std::int64_t>("in");

  /// "out" after a=1 b=2 c=3.
  Pairs run() {
    TestDriver driver(app);
    driver.pipe("in", "a", std::int64_t{1});
    driver.pipe("in", "b", std::int64_t{2});
    driver.pipe("in", "c", std::int64_t{3});
    return driver.read<std::string, std::int64_t>("out");
  }
};

TEST_F(OperatorsTest, FilterKeepsWhatHolds) {
  in.filter([](const std::string&, std::int64_t value) { return value != 2; }).to("out");
  EXPECT_EQ(run(), (Pairs{{"a", 1}, {"c", 3}}));
}

TEST_F(OperatorsTest, MapMakesKeyAndValue) {
  in.map([](const std::string& key, std::int64_t value) {
      return std::pair(key + "x", value * 10);
    }).to("out");
  EXPECT_EQ(run(), (Pairs{{"ax", 10}, {"bx", 20}, {"cx", 30}}));
}

TEST_F(OperatorsTest, MapValuesTakesTheValueOrBoth) {
  in.mapValues([](std::int64_t value) { return value + 1; })
      .mapValues([](const std::string& key, std::int64_t value) {
        return key == "a" ? value * 100 : value;
      })
      .to("out");
  EXPECT_EQ(run(), (Pairs{{"a", 200}, {"b", 3}, {"c", 4}}));
}

TEST_F(OperatorsTest, FlatMapEmitsAnyNumber) {
  in.flatMap<std::string, std::int64_t>([](const auto& key, std::int64_t value, const auto& emit) {
      for (std::int64_t i = 1; i < value; ++i) emit(key + std::to_string(i), i);
    }).to("out");
  EXPECT_EQ(run(), (Pairs{{"b1", 1}, {"c1", 1}, {"c2", 2}}));
}

TEST_F(OperatorsTest, FlatMapValuesKeepsTheKey) {
  in.flatMapValues<std::int64_t>([](std::int64_t value, const auto& emit) {
      for (std::int64_t i = 1; i < value; ++i) emit(i);
    }).to("out");
  EXPECT_EQ(run(), (Pairs{{"b", 1}, {"c", 1}, {"c", 2}}));
}

TEST_F(OperatorsTest, PeekSeesRecordsWithTheirOrigin) {
  std::vector<std::string> seen;
  in.peek([&](const std::string& key, std::int64_t, const RecordInfo& info) {
      seen.push_back(key + "@" + std::string(info.topic()) + "/" +
                     std::to_string(info.partition()->value) + "/" +
                     std::to_string(info.offset()->value));
    }).to("out");
  EXPECT_EQ(run().size(), 3U);
  EXPECT_THAT(seen, ElementsAre("a@in/0/0", "b@in/0/1", "c@in/0/2"));
}

TEST_F(OperatorsTest, MergePassesBothOn) {
  auto other = in.mapValues([](std::int64_t value) { return -value; });
  in.merge(other).to("out");
  EXPECT_EQ(run(), (Pairs{{"a", -1}, {"a", 1}, {"b", -2}, {"b", 2}, {"c", -3}, {"c", 3}}));
}

TEST_F(OperatorsTest, StreamUsedTwiceGoesBothWays) {
  in.filter([](const auto&, auto value) { return value == 1; }).to("out");
  in.filter([](const auto&, auto value) { return value == 3; }).to("out");
  EXPECT_EQ(run(), (Pairs{{"a", 1}, {"c", 3}}));
}

TEST_F(OperatorsTest, SelectKeyRepartitionsWhatIsGroupedBehindIt) {
  in.selectKey([](const std::string&, std::int64_t value) {
      return value % 2 == 0 ? std::string("even") : std::string("odd");
    })
      .groupByKey()
      .reduce([](std::int64_t left, std::int64_t right) { return left * 10 + right; },
              {.name = "parity", .emit = Emit::EveryUpdate})
      .toStream()
      .to("out");
  EXPECT_EQ(run(), (Pairs{{"odd", 1}, {"even", 2}, {"odd", 13}}));
}

TEST_F(OperatorsTest, AggregateInPlaceAndByValue) {
  auto group = in.groupBy([](const auto&, auto) { return std::string("all"); }, {.name = "all"});
  group
      .aggregate(
          [] { return std::string("<"); },
          [](const auto&, std::int64_t value, std::string& text) { text += std::to_string(value); },
          {.name = "text", .emit = Emit::EveryUpdate})
      .toStream()
      .to("texts");
  group
      .aggregate(
          [] { return std::int64_t{100}; },
          [](const auto&, std::int64_t value, const std::int64_t& sum) { return sum + value; },
          {.name = "sum", .emit = Emit::EveryUpdate})
      .toStream()
      .to("out");
  TestDriver driver(app);
  driver.pipe("in", "a", std::int64_t{1});
  driver.pipe("in", "b", std::int64_t{2});
  EXPECT_EQ((driver.read<std::string, std::int64_t>("out")), (Pairs{{"all", 101}, {"all", 103}}));
  EXPECT_THAT((driver.read<std::string, std::string>("texts")),
              ElementsAre(Pair("all", "<1"), Pair("all", "<12")));
}

TEST_F(OperatorsTest, PerCommitEmitsTheLastValueOfEachChangedKeyOnce) {
  in.groupByKey().count({.name = "counts"}).toStream().to("out");
  TestDriver driver(app, {.commitAtOnce = false});
  for (int i = 0; i < 3; ++i) driver.pipe("in", "a", std::int64_t{i}, {.timestamp = {i + 5}});
  driver.pipe("in", "b", std::int64_t{0}, {.timestamp = {9}});
  driver.pipe("in", "a", std::int64_t{0}, {.timestamp = {2}});
  EXPECT_TRUE(driver.take("out").empty());
  driver.commit();
  const std::vector<Record> records = driver.take("out");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].key, "a");
  EXPECT_EQ(records[0].value, std::string("\0\0\0\0\0\0\0\4", 8));
  EXPECT_EQ(records[0].timestamp, EventTime{7});  // the highest of its records
  EXPECT_EQ(records[1].key, "b");
  driver.commit();
  EXPECT_TRUE(driver.take("out").empty());
}

// The first count changes the second one's store while the commit is being made.
TEST_F(OperatorsTest, AggregatesInARowEmitWithinOneCommit) {
  in.groupByKey()
      .count({.name = "first"})
      .toStream()
      .groupByKey()
      .reduce([](std::int64_t left, std::int64_t right) { return left + right; },
              {.name = "second"})
      .toStream()
      .to("out");
  EXPECT_EQ(run(), (Pairs{{"a", 1}, {"b", 1}, {"c", 1}}));
}

TEST_F(OperatorsTest, HeadersTravelAndTimestampsCanBeExtracted) {
  app.stream<None, std::int64_t>("timed",
                                 {.timestamp = [](const None&, std::int64_t value,
                                                  const RecordInfo&) { return EventTime{value}; }})
      .to("timed-out");
  TestDriver driver(app);
  driver.pipe("timed", None{}, std::int64_t{1234}, {.headers = {{"trace", "t1"}, {"none", {}}}});
  const std::vector<Record> records = driver.take("timed-out");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].timestamp, EventTime{1234});
  EXPECT_EQ(records[0].key, std::nullopt);
  EXPECT_EQ(records[0].headers, (std::vector<Header>{{"trace", "t1"}, {"none", std::nullopt}}));
}

TEST_F(OperatorsTest, RepartitioningSendsEqualKeysToOneTask) {
  in.groupBy([](const auto&, std::int64_t value) { return value; })
      .count({.name = "counts"})
      .toStream()
      .to("out");
  TestDriver driver(app, {.partitions = 4});
  for (std::int64_t i = 0; i < 200; ++i) {
    driver.pipe("in", std::to_string(i), i % 10);
  }
  const auto counts = driver.readTable<std::int64_t, std::int64_t>("out");
  ASSERT_EQ(counts.size(), 10U);
  for (const auto& [value, count] : counts) EXPECT_EQ(count, 20) << value;
}

}  // namespace
}  // namespace penstock
