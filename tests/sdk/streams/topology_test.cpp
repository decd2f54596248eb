// SPDX-License-Identifier: Apache-2.0
#include "streams/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "penstock/application.h"
#include "penstock/error.h"

namespace penstock {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

streams::Topology topologyOf(const Application& app) {
  return streams::Topology(app.options().id, app.builder());
}

TEST(TopologyTest, SplitsAtRepartitionTopicsUpstreamFirst) {
  Application app({.id = "shop"});
  app.stream<std::string, std::string>("orders", {.name = "orders"})
      .groupBy([](const auto&, const auto& value) { return value; })
      .count({.name = "by-customer"})
      .toStream()
      .to("counts", {.name = "out"});
  const streams::Topology topology = topologyOf(app);
  ASSERT_EQ(topology.subTopologies().size(), 2U);
  const auto& first = topology.subTopologies()[0];
  const auto& second = topology.subTopologies()[1];
  EXPECT_EQ(first.name, "orders");
  EXPECT_EQ(first.inputs, (std::vector<streams::TopologyTopic>{{"orders"}}));
  EXPECT_EQ(first.outputs,
            (std::vector<streams::TopologyTopic>{{"shop-by-customer-repartition", true}}));
  EXPECT_EQ(second.inputs,
            (std::vector<streams::TopologyTopic>{{"shop-by-customer-repartition", true}}));
  EXPECT_EQ(second.outputs, (std::vector<streams::TopologyTopic>{{"counts"}}));
  EXPECT_TRUE(first.stores.empty());
  EXPECT_EQ(second.stores.size(), 1U);
  EXPECT_EQ(app.describe(),
            "application shop\n"
            "sub-topology 0 (orders)\n"
            "  orders reads orders (string, string)\n"
            "  selectKey-1 <- orders\n"
            "  to-2 <- selectKey-1 writes shop-by-customer-repartition (string, string)\n"
            "sub-topology 1 (shop-by-customer-repartition)\n"
            "  source-3 reads shop-by-customer-repartition (string, string)\n"
            "  count-4 <- source-3 [store by-customer: string -> int64]\n"
            "  out <- count-4 writes counts (string, int64)\n");
}

TEST(TopologyTest, GroupsByAnUnchangedKeyInPlaceAndShareTheirRepartitionTopic) {
  Application app({.id = "shop"});
  auto orders = app.stream<std::string, std::string>("orders");
  orders.mapValues([](const auto& value) { return value.size(); })
      .mapValues([](std::size_t size) { return static_cast<std::int64_t>(size); })
      .groupByKey()
      .count({.name = "in-place"});
  auto group = orders.selectKey([](const auto&, const auto& value) { return value; })
                   .groupByKey({.name = "by-value", .partitions = 7});
  group.count({.name = "one"});
  group.reduce([](const auto& left, const auto&) { return left; }, {.name = "two"});
  const streams::Topology topology = topologyOf(app);
  ASSERT_EQ(topology.subTopologies().size(), 2U);
  EXPECT_EQ(topology.subTopologies()[0].stores.size(), 1U);
  EXPECT_EQ(topology.subTopologies()[1].stores.size(), 2U);
  EXPECT_EQ(topology.outputs(),
            (std::vector<streams::TopologyTopic>{{"shop-by-value-repartition", true, 7}}));
}

TEST(TopologyTest, MergedAndStoreSharingStreamsRunTogether) {
  struct Touch : Processor<std::string, std::string, None, None> {
    void process(const std::string&, const std::string&) override {}
  };
  Application app({.id = "shop"});
  auto a = app.stream<std::string, std::string>("a");
  auto b = app.stream<std::string, std::string>("b");
  auto c = app.stream<std::string, std::string>("c");
  auto d = app.stream<std::string, std::string>("d");
  a.merge(b).to("ab");
  auto seen = app.store<std::string, bool>({.name = "seen"});
  c.process([] { return std::make_unique<Touch>(); }, {.stores = {seen}});
  d.process([] { return std::make_unique<Touch>(); }, {.stores = {seen}});
  const streams::Topology topology = topologyOf(app);
  ASSERT_EQ(topology.subTopologies().size(), 2U);
  EXPECT_EQ(topology.subTopologies()[0].inputs,
            (std::vector<streams::TopologyTopic>{{"a"}, {"b"}}));
  EXPECT_EQ(topology.subTopologies()[1].inputs,
            (std::vector<streams::TopologyTopic>{{"c"}, {"d"}}));
}

TEST(TopologyTest, SubTopologyThatReadsWhatALaterOneWritesComesBehindIt) {
  Application app({.id = "shop"});
  app.stream<None, std::string>("b").to("c");
  app.stream<None, std::string>("a").to("b");
  const streams::Topology topology = topologyOf(app);
  EXPECT_EQ(topology.subTopologies()[0].name, "a");
  EXPECT_EQ(topology.subTopologies()[1].name, "b");
}

TEST(TopologyTest, RefusesWhatCannotRun) {
  Application app({.id = "shop"});
  EXPECT_THAT([&] { static_cast<void>(app.describe()); },
              ThrowsMessage<ConfigurationError>(HasSubstr("reads no topic")));
  auto lines = app.stream<std::string, std::string>("lines", {.name = "in"});
  EXPECT_THAT(([&] { app.stream<std::string, std::string>("lines"); }),
              ThrowsMessage<ConfigurationError>(
                  HasSubstr("topic \"lines\" is already read by operator \"in\"")));
  EXPECT_THAT(([&] { app.stream<std::string, std::string>("a/b"); }),
              ThrowsMessage<ConfigurationError>(HasSubstr("a/b")));
  EXPECT_THAT([&] { lines.to("a/b"); }, ThrowsMessage<ConfigurationError>(HasSubstr("a/b")));
  EXPECT_THAT([&] { lines.groupByKey().count({}); },
              ThrowsMessage<ConfigurationError>(HasSubstr("store without a name")));
  EXPECT_THAT([&] { lines.groupByKey().count({.name = "a b"}); },
              ThrowsMessage<ConfigurationError>(HasSubstr("\"a b\"")));
  lines.groupByKey().count({.name = "counts"});
  EXPECT_THAT([&] { lines.groupByKey().count({.name = "counts"}); },
              ThrowsMessage<ConfigurationError>(HasSubstr("two stores are named \"counts\"")));
  EXPECT_THAT([&] { lines.peek([](auto&, auto&) {}, {.name = "in"}); },
              ThrowsMessage<ConfigurationError>(HasSubstr("two operators are named \"in\"")));
  app.store<std::string, bool>({.name = "unused"});
  EXPECT_THAT([&] { static_cast<void>(app.describe()); },
              ThrowsMessage<ConfigurationError>(HasSubstr("\"unused\" is used by no operator")));
}

std::string fingerprintOf(bool withSum, bool textKeys, std::int32_t partitions) {
  Application app({.id = "shop"});
  auto orders = app.stream<std::string, std::int64_t>("orders");
  if (textKeys) {
    orders.groupBy([](const auto& key, auto) { return key; }).count({.name = "counts"});
  } else {
    orders.groupBy([](const auto&, auto value) { return value; }).count({.name = "counts"});
  }
  if (withSum) orders.groupByKey().count({.name = "sum"});
  return topologyOf(app).fingerprint(
      {{"orders", partitions}, {"shop-counts-repartition", partitions}});
}

TEST(TopologyTest, FingerprintHoldsWhatIsDurable) {
  EXPECT_EQ(fingerprintOf(true, true, 4),
            "input orders partitions=4\n"
            "repartition shop-counts-repartition key=string value=int64 partitions=4\n"
            "store counts kind=keyvalue/1 key=string value=int64\n"
            "store sum kind=keyvalue/1 key=string value=int64\n");
  EXPECT_EQ(streams::explainDifference(fingerprintOf(true, true, 4), fingerprintOf(true, true, 4)),
            std::nullopt);
}

TEST(TopologyTest, DifferencesAreSpelledOut) {
  EXPECT_EQ(
      streams::explainDifference(fingerprintOf(true, true, 4), fingerprintOf(false, false, 4)),
      "  input orders: in the state, but no longer in the program\n"
      "  repartition shop-counts-repartition: key=string value=int64 partitions=4 in the "
      "state, key=int64 value=int64 partitions=4 in the program\n"
      "  store counts: kind=keyvalue/1 key=string value=int64 in the state, "
      "kind=keyvalue/1 key=int64 value=int64 in the program\n"
      "  store sum: in the state, but no longer in the program\n");
  EXPECT_THAT(
      *streams::explainDifference(fingerprintOf(false, true, 4), fingerprintOf(true, true, 5)),
      testing::AllOf(HasSubstr("partitions=4 in the state"),
                     HasSubstr("partitions=5 in the program"),
                     HasSubstr("store sum: in the program, but not in the state")));
}

}  // namespace
}  // namespace penstock
