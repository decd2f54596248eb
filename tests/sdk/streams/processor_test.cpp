// SPDX-License-Identifier: Apache-2.0
#include "penstock/processor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/test_driver.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "tests/support/temporary_directory.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

/// Passes the first record of each key on, sums values per key, and tells the sum of all every
/// 100 ms; what it keeps in a member is lost in a crash.
class Sums : public Processor<std::string, std::int64_t, std::string, std::int64_t> {
 public:
  explicit Sums(StoreHandle<std::string, std::int64_t> store) : handle_(std::move(store)) {}

  void init() override {
    context().schedule(100ms, [this](std::int64_t nowMs) {
      std::int64_t total = 0;
      context().store(handle_).forEach([&](const std::string&, std::int64_t sum) { total += sum; });
      context().forward("total@" + std::to_string(nowMs), total);
      context().forward("records", records_, EventTime{7});
    });
  }

  void process(const std::string& key, const std::int64_t& value) override {
    ++records_;
    auto sums = context().store(handle_);
    if (value < 0) {
      context().deadLetter("negative");
      return;
    }
    if (value == 0) {
      sums.erase(key);
      return;
    }
    if (!sums.contains(key)) context().forward(key, value);
    sums.update(key, [&](std::int64_t& sum) { sum += value; });
  }

 private:
  StoreHandle<std::string, std::int64_t> handle_;
  std::int64_t records_ = 0;
};

class ProcessorTest : public ::testing::Test {
 protected:
  ProcessorTest() {
    auto sums = app.store<std::string, std::int64_t>({.name = "sums"});
    app.stream<std::string, std::int64_t>("in")
        .process([sums] { return std::make_unique<Sums>(sums); }, {.stores = {sums}})
        .to("out");
  }
  Application app{{.id = "test", .deadLetterTopic = "dead"}};
};

TEST_F(ProcessorTest, UsesItsStoreAndForwards) {
  TestDriver driver(app);
  driver.pipe("in", "a", std::int64_t{1});
  driver.pipe("in", "a", std::int64_t{2});
  driver.pipe("in", "b", std::int64_t{5});
  EXPECT_THAT((driver.read<std::string, std::int64_t>("out")),
              ElementsAre(Pair("a", 1), Pair("b", 5)));
  EXPECT_THAT((driver.readStore<std::string, std::int64_t>("sums")),
              ElementsAre(Pair("a", 3), Pair("b", 5)));
  driver.pipe("in", "a", std::int64_t{0});
  EXPECT_THAT((driver.readStore<std::string, std::int64_t>("sums")), ElementsAre(Pair("b", 5)));
}

TEST_F(ProcessorTest, TimersFollowTheWallClockAndDoNotMakeUpForWhatTheyMissed) {
  TestDriver driver(app, {.wallClock = 1000ms});
  driver.pipe("in", "a", std::int64_t{4}, {.timestamp = {3}});
  static_cast<void>(driver.take("out"));
  driver.advanceWallClock(99ms);
  EXPECT_THAT(driver.take("out"), IsEmpty());
  driver.advanceWallClock(1ms);
  const std::vector<Record> records = driver.take("out");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].key, "total@1100");
  EXPECT_EQ(records[0].timestamp, EventTime{1100});
  EXPECT_EQ(records[1].key, "records");
  EXPECT_EQ(records[1].timestamp, EventTime{7});
  driver.advanceWallClock(250ms);
  EXPECT_EQ(driver.take("out").size(), 4U);  // at 1200 and 1300
}

TEST_F(ProcessorTest, CrashKeepsStoresAndLosesMembers) {
  TestDriver driver(app, {.commitAtOnce = false});
  driver.pipe("in", "a", std::int64_t{1});
  driver.commit();
  driver.pipe("in", "a", std::int64_t{10});
  driver.pipe("in", "b", std::int64_t{20});
  driver.crash();
  EXPECT_THAT((driver.readStore<std::string, std::int64_t>("sums")),
              ElementsAre(Pair("a", 11), Pair("b", 20)));
  driver.advanceWallClock(100ms);
  driver.commit();
  EXPECT_THAT((driver.read<std::string, std::int64_t>("out")),
              ElementsAre(Pair("a", 1), Pair("b", 20), Pair("total@100", 31),
                          Pair("records", 2)));  // the two read again
}

TEST_F(ProcessorTest, DeadLettersOnRequest) {
  TestDriver driver(app);
  driver.pipe("in", "a", std::int64_t{-1});
  const std::vector<Record> letters = driver.take("dead");
  ASSERT_EQ(letters.size(), 1U);
  EXPECT_EQ(letters[0].key, "a");
  EXPECT_EQ(letters[0].headers.at(1), (Header{"penstock.error.reason", "negative"}));
  EXPECT_THAT(driver.take("out"), IsEmpty());
}

TEST(ProcessorMisuseTest, StoreThatIsNotNamedIsRefusedByName) {
  Application app({.id = "test"});
  auto sums = app.store<std::string, std::int64_t>({.name = "sums"});
  auto in = app.stream<std::string, std::int64_t>("in");
  in.process([sums] { return std::make_unique<Sums>(sums); }, {.stores = {sums}});
  in.process([sums] { return std::make_unique<Sums>(sums); }, {.name = "careless"});
  EXPECT_THAT(
      [&] {
        TestDriver driver(app, {.commitAtOnce = false});
        driver.pipe("in", "a", std::int64_t{1});
      },
      ::testing::ThrowsMessage<ConfigurationError>(
          ::testing::HasSubstr("operator \"careless\" asks for store \"sums\"")));
}

TEST(ProcessorMisuseTest, DeadLetterWithoutATopicIsRefused) {
  Application app({.id = "test"});
  auto sums = app.store<std::string, std::int64_t>({.name = "sums"});
  app.stream<std::string, std::int64_t>("in").process(
      [sums] { return std::make_unique<Sums>(sums); }, {.stores = {sums}});
  TestDriver driver(app);
  EXPECT_THROW(driver.pipe("in", "a", std::int64_t{-1}), ConfigurationError);
}

/// Counts its keys in the application's datastore, and tells the shared state of each.
class Shares : public Processor<std::string, std::int64_t, std::string, std::int64_t> {
 public:
  void process(const std::string& key, const std::int64_t& value) override {
    const auto changed = context().datastore().update(
        key, [&](auto before) { return state::Value(value + (before ? before->asInt64() : 0)); });
    context().sharedState().set("last", key);
    context().forward(key, changed.current->asInt64());
  }
};

TEST(SharedValues, OperatorsAndThreadsHaveTheSame) {
  Application app{{.id = "test"}};
  app.stream<std::string, std::int64_t>("in")
      .process([] { return std::make_unique<Shares>(); })
      .to("out");
  app.datastore().set("a", 40);
  TestDriver driver(app);
  driver.pipe("in", "a", std::int64_t{2});
  EXPECT_EQ(app.datastore().get("a"), state::Value(42));
  EXPECT_EQ(app.sharedState().get("last")->asString(), "a");
}

TEST(SharedValues, ADatastoreInUseIsNotExchanged) {
  const testing::TemporaryDirectory directory;
  Application app{{.id = "test"}};
  app.setDatastore("file:" + directory.path());
  app.datastore().set("kept", true);
  EXPECT_EQ(state::Datastore::open("file:" + directory.path()).get("kept"), state::Value(true));
  EXPECT_THAT(
      [&] { app.setDatastore("postgresql://me:secret@host/db"); },
      ::testing::ThrowsMessage<ConfigurationError>(::testing::AllOf(
          ::testing::HasSubstr("in use already"), ::testing::Not(::testing::HasSubstr("secret")))));
}

}  // namespace
}  // namespace penstock
