// SPDX-License-Identifier: Apache-2.0
// What a Datastore promises, on every adapter alike. D1 to D23 are the cases of the document that
// it began from; those of changes that meet are in datastore_locks_test.cpp, those of several
// processes in datastore_processes_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>
#include <penstock/state/detail/stored.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <future>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "support/datastore_place.h"
#include "support/message_of.h"

namespace penstock::state {
namespace {

using penstock::testing::DatastorePlace;
using penstock::testing::increment;
using penstock::testing::messageOf;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto longTime = 30s;  // for what comes at once on an idle machine

std::string bytesOf(const std::optional<Value>& value) {
  std::string bytes = "absent";
  if (value) detail::encodeValue(*value, bytes);
  return bytes;
}

class DatastoreTest : public ::testing::TestWithParam<std::string> {
 protected:
  DatastorePlace place_{GetParam()};
  Datastore store_ = place_.open();
};

INSTANTIATE_TEST_SUITE_P(On, DatastoreTest,
                         ::testing::ValuesIn(penstock::testing::datastoreAdapters()),
                         penstock::testing::adapterName);

TEST_P(DatastoreTest, D1AMissingKeyIsAbsent) {
  EXPECT_EQ(store_.get("nothing"), std::nullopt);
  const DatastoreEntry entry = store_.getWithRevision("nothing");
  EXPECT_EQ(entry.value, std::nullopt);
  EXPECT_EQ(entry.revision, Revision{});
}

TEST_P(DatastoreTest, D2SetGivesTheValueBack) {
  const Value value = ValueMap{{"id", 17}, {"lines", Value::List{"nut", "bolt"}}};
  EXPECT_EQ(store_.set("order", value), value);
  EXPECT_EQ(store_.get("order"), value);
  EXPECT_EQ(store_.set("order", 2), Value(2));
  EXPECT_EQ(store_.get("order"), Value(2));
}

TEST_P(DatastoreTest, D3KeysAndValuesBeyondTheLimitsAreRefusedEverywhere) {
  Value deep = 1;
  for (std::size_t i = 0; i < Value::depthMax; ++i) deep = Value::List{deep};
  EXPECT_THAT(messageOf<InvalidArgument>([&] { store_.set("deep", deep); }),
              HasSubstr("nested more than 128 deep"));
  EXPECT_THROW(store_.update("deep", [&](const auto&) { return std::optional(deep); }),
               InvalidArgument);
  EXPECT_THAT(messageOf<InvalidArgument>(
                  [&] { store_.set("large", std::string(Datastore::valueBytesMax, 'x')); }),
              HasSubstr("67108865 bytes"));

  const std::string longest(Datastore::keyBytesMax, 'k');
  const std::map<std::string, std::string> wrong{
      {"", "0 bytes"},
      {longest + 'k', "513 bytes"},
      {std::string("a\0b", 3), "without NUL"},
      {"\xff", "UTF-8"},
      {"\xc0\xaf", "UTF-8"},          // a longer form than needed
      {"\xed\xa0\x80", "UTF-8"},      // a surrogate
      {"\xf4\x90\x80\x80", "UTF-8"},  // beyond U+10FFFF
      {"\x01x", "reserved"}};
  for (const auto& [key, why] : wrong) {
    const std::vector<std::function<void()>> calls{[&] { (void)store_.get(key); },
                                                   [&] { (void)store_.getWithRevision(key); },
                                                   [&] { store_.set(key, 1); },
                                                   [&] { store_.update(key, increment); },
                                                   [&] { store_.updateOptimistic(key, increment); },
                                                   [&] { store_.compareAndSet(key, {}, 1); },
                                                   [&] { store_.createOnly(key, 1); },
                                                   [&] { store_.remove(key); },
                                                   [&] {
                                                     (void)store_.watch({{key, {}}}, 0ms);
                                                   }};
    for (std::size_t i = 0; i < calls.size(); ++i) {
      EXPECT_THAT(messageOf<InvalidArgument>(calls[i]), HasSubstr(why)) << "call " << i;
    }
  }
  EXPECT_THAT(store_.list(), IsEmpty());

  const std::vector<std::string> allowed{longest, "../a b%'\"\\$1", "\x02\x7f", "\xf4\x8f\xbf\xbf",
                                         "1:a"};
  for (const std::string& key : allowed) {
    store_.set(key, key);
    EXPECT_EQ(store_.get(key), Value(key));
    EXPECT_THAT(store_.list(key), ElementsAre(key));
    EXPECT_TRUE(store_.remove(key));
  }
}

TEST_P(DatastoreTest, D4AnEmptyListIsAList) {
  EXPECT_THAT(store_.list(), IsEmpty());
  EXPECT_THAT(store_.list("a"), IsEmpty());
  store_.set("b", 1);
  EXPECT_THAT(store_.list("a"), IsEmpty());
}

TEST_P(DatastoreTest, ListsByPrefixInOrderOfBytes) {
  for (const char* key : {"b", "ab", "a", "B", "a_", "aZ", "ä", "\xf4\x8f\xbf\xbf", "a%"}) {
    store_.set(key, 1);
  }
  EXPECT_THAT(store_.list(),
              ElementsAre("B", "a", "a%", "aZ", "a_", "ab", "b", "ä", "\xf4\x8f\xbf\xbf"));
  EXPECT_THAT(store_.list("a"), ElementsAre("a", "a%", "aZ", "a_", "ab"));
  EXPECT_THAT(store_.list("a_"), ElementsAre("a_"));
  EXPECT_THAT(store_.list("\xf4\x8f\xbf\xbf"), ElementsAre("\xf4\x8f\xbf\xbf"));
}

TEST_P(DatastoreTest, D5RemovingAMissingKeyIsFine) {
  EXPECT_FALSE(store_.remove("k"));
  store_.set("k", nullptr);
  EXPECT_TRUE(store_.remove("k"));
  EXPECT_FALSE(store_.remove("k"));
  EXPECT_EQ(store_.get("k"), std::nullopt);
}

TEST_P(DatastoreTest, D6UpdateOfAMissingKeyIsGivenNothing) {
  const DatastoreUpdate first = store_.update("count", [](const std::optional<Value>& found) {
    EXPECT_EQ(found, std::nullopt);
    return std::optional<Value>(1);
  });
  EXPECT_EQ(first.previous, std::nullopt);
  EXPECT_EQ(first.current, Value(1));
  EXPECT_TRUE(first.changed);
  const auto [previous, current, changed] = store_.update("count", increment);
  EXPECT_EQ(previous, Value(1));
  EXPECT_EQ(current, Value(2));
  EXPECT_TRUE(changed);
  EXPECT_EQ(store_.get("count"), Value(2));
}

TEST_P(DatastoreTest, D7NoChangeWritesNothing) {
  const auto leave = [](const auto&) { return std::optional<Value>(); };
  const auto same = [](std::optional<Value> found) { return found; };
  for (const bool optimistic : {false, true}) {
    const std::string key = optimistic ? "b" : "a";
    const auto update = [&](const Datastore::Updater& change) {
      return optimistic ? store_.updateOptimistic(key, change) : store_.update(key, change);
    };
    DatastoreUpdate done = update(leave);
    EXPECT_EQ(done.current, std::nullopt);
    EXPECT_FALSE(done.changed);
    EXPECT_EQ(store_.get(key), std::nullopt);

    store_.set(key, std::numeric_limits<double>::quiet_NaN());  // which == says is another one
    const Revision before = store_.getWithRevision(key).revision;
    for (const Datastore::Updater& change : {Datastore::Updater(leave), Datastore::Updater(same)}) {
      done = update(change);
      EXPECT_TRUE(std::isnan(done.current->asDouble()));
      EXPECT_FALSE(done.changed);
      EXPECT_EQ(store_.getWithRevision(key).revision, before);
    }
  }
}

TEST_P(DatastoreTest, D9ChangingTheArgumentDoesNotLeak) {
  const Value value = ValueMap{{"list", Value::List{1, 2}}, {"map", ValueMap{{"a", 1}}}};
  store_.set("k", value);
  const auto spoil = [](std::optional<Value> found) -> std::optional<Value> {
    found->asMap()["list"].asList().push_back(3);
    found->asMap()["map"].asMap()["a"] = 2;
    found->asMap().erase("list");
    throw std::domain_error("half way");
  };
  EXPECT_THROW(store_.update("k", spoil), std::domain_error);
  EXPECT_EQ(store_.get("k"), value);
  const DatastoreUpdate done = store_.update("k", [](std::optional<Value> found) {
    found->asMap()["list"].asList()[0] = 7;
    return found;
  });
  EXPECT_EQ(done.previous, value);
  EXPECT_EQ(done.current->asMap().at("list").asList()[0], Value(7));
  EXPECT_EQ(store_.get("k"), done.current);
}

TEST_P(DatastoreTest, D10ListsAndNullArriveAsSuch) {
  store_.set("null", nullptr);
  store_.set("list", Value::List{nullptr, Value::List{}, ValueMap{}});
  const auto same = [](const char* key, const Value& expected) {
    return [=](const std::optional<Value>& found) -> std::optional<Value> {
      EXPECT_EQ(found, expected) << key;
      return std::nullopt;
    };
  };
  store_.update("null", same("null", nullptr));
  store_.update("list", same("list", Value::List{nullptr, Value::List{}, ValueMap{}}));
}

TEST_P(DatastoreTest, D18AValueOfOneMebibyteRoundTrips) {
  std::string text(1 << 20, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31);
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  const Value value = Value::List{text, Binary(first, first + text.size())};
  store_.set("large", value);
  EXPECT_TRUE(store_.get("large") == value) << "too much to print";
}

TEST_P(DatastoreTest, D19EachChangeIsAnotherRevisionAlsoAfterARemoval) {
  EXPECT_TRUE(store_.createOnly("k", 1));
  EXPECT_FALSE(store_.createOnly("k", 2));
  EXPECT_EQ(store_.get("k"), Value(1));
  const Revision created = store_.getWithRevision("k").revision;
  EXPECT_FALSE(created == Revision{});

  const CompareAndSet changed = store_.compareAndSet("k", created, 2);
  EXPECT_TRUE(changed.applied);
  EXPECT_EQ(changed.revision, store_.getWithRevision("k").revision);
  const CompareAndSet stale = store_.compareAndSet("k", created, 3);
  EXPECT_FALSE(stale.applied);
  EXPECT_EQ(stale.revision, changed.revision);
  EXPECT_EQ(store_.get("k"), Value(2));

  store_.remove("k");
  EXPECT_FALSE(store_.compareAndSet("k", changed.revision, 3).applied);
  EXPECT_EQ(store_.compareAndSet("k", changed.revision, 3).revision, Revision{});
  EXPECT_TRUE(store_.createOnly("k", 1));
  EXPECT_FALSE(store_.getWithRevision("k").revision == created);
  EXPECT_FALSE(store_.compareAndSet("k", created, 3).applied);
  EXPECT_EQ(store_.get("k"), Value(1));

  Revision last = store_.getWithRevision("k").revision;
  for (int i = 0; i < 3; ++i) {  // the same value is a change too
    store_.set("k", 1);
    EXPECT_FALSE(store_.getWithRevision("k").revision == last);
    last = store_.getWithRevision("k").revision;
  }
  EXPECT_TRUE(store_.compareAndSet("k", last, 4).applied);
}

TEST_P(DatastoreTest, D20AWatchWakesOnCreateUpdateAndRemoveElseTimesOutEmpty) {
  EXPECT_THAT(store_.watch({}, 0ms), IsEmpty());
  EXPECT_THAT(store_.watch({{"k", {}}}, 10ms), IsEmpty());
  std::map<std::string, Revision> known{{"k", {}}, {"other", {}}};
  const auto expectWoken = [&](const std::function<void()>& change,
                               const std::optional<Value>& value) {
    auto watching = std::async(std::launch::async, [&] { return store_.watch(known, longTime); });
    EXPECT_EQ(watching.wait_for(50ms), std::future_status::timeout);
    const auto began = steady_clock::now();
    change();
    const std::vector<DatastoreEntry> newer = watching.get();
    EXPECT_LT(steady_clock::now() - began, longTime / 2);
    ASSERT_EQ(newer.size(), 1U);
    EXPECT_EQ(newer[0].key, "k");
    EXPECT_EQ(newer[0].value, value);
    EXPECT_FALSE(newer[0].revision == known["k"]);
    known["k"] = newer[0].revision;
  };
  expectWoken([&] { store_.set("k", 1); }, Value(1));
  expectWoken([&] { store_.update("k", increment); }, Value(2));
  expectWoken([&] { store_.remove("k"); }, std::nullopt);
  expectWoken([&] { store_.createOnly("k", 2); }, Value(2));

  store_.set("third", 1);  // nobody's watched
  EXPECT_THAT(store_.watch(known, 10ms), IsEmpty());
  store_.set("other", 5);
  store_.set("k", 6);
  EXPECT_EQ(store_.watch(known, 0ms).size(), 2U) << "what was changed before is seen at once";
}

TEST_P(DatastoreTest, AWatchCanBeEndedFromWithin) {
  int calls = 0;
  const auto began = steady_clock::now();
  EXPECT_THROW((void)store_.watch({{"k", {}}}, longTime,
                                  [&] {
                                    if (++calls == 2) throw std::domain_error("enough");
                                  }),
               std::domain_error);
  EXPECT_LT(steady_clock::now() - began, longTime / 2);
  const auto set = [&] { store_.set("k", ++calls); };  // by the one who waits: no lock is held
  EXPECT_EQ(store_.watch({{"k", {}}}, longTime, set).at(0).value, Value(3));
}

TEST_P(DatastoreTest, ManyWatchesAllWake) {
  constexpr int watchers = 8;
  std::vector<std::future<std::size_t>> waking;
  for (int i = 0; i < watchers; ++i) {
    waking.push_back(std::async(std::launch::async, [this, i] {
      return store_.watch({{"key" + std::to_string(i % 2), {}}}, longTime).size();
    }));
  }
  store_.set("key0", 1);
  store_.set("key1", 1);
  for (auto& woken : waking) EXPECT_EQ(woken.get(), 1U);
}

TEST_P(DatastoreTest, D21NamespacesNestAndListRelativeKeys) {
  Datastore a = store_.namespace_("a");
  Datastore ab = store_.namespace_("ab");
  Datastore inner = a.namespace_("b");
  store_.set("k", "root");
  a.set("k", "a");
  ab.set("k", "ab");
  inner.set("k", "a/b");
  inner.set("l", "a/b");
  EXPECT_EQ(store_.get("k"), Value("root"));
  EXPECT_EQ(a.get("k"), Value("a"));
  EXPECT_EQ(ab.get("k"), Value("ab"));
  EXPECT_EQ(inner.get("k"), Value("a/b"));
  EXPECT_THAT(store_.list(), ElementsAre("k"));
  EXPECT_THAT(a.list(), ElementsAre("k"));
  EXPECT_THAT(ab.list(), ElementsAre("k"));
  EXPECT_THAT(inner.list(), ElementsAre("k", "l"));
  EXPECT_THAT(store_.namespace_("a").namespace_("b").list("l"), ElementsAre("l"));
  for (const std::string& key : inner.list()) inner.remove(key);
  EXPECT_THAT(inner.list(), IsEmpty());
  EXPECT_EQ(a.get("k"), Value("a"));
  EXPECT_EQ(a.watch({{"k", {}}}, 0ms).at(0).key, "k");

  // a key that looks like the inside of another namespace
  store_.set("1:ak", "mine");
  store_.namespace_("1").set(":ak", "theirs");
  EXPECT_EQ(a.get("k"), Value("a"));

  EXPECT_THROW((void)store_.namespace_(""), InvalidArgument);
  EXPECT_THROW((void)store_.namespace_(std::string(256, 'n')), InvalidArgument);
  EXPECT_THROW((void)store_.namespace_("\xff"), InvalidArgument);
  Datastore deep = store_;
  EXPECT_THAT(messageOf<InvalidArgument>([&] {
                for (;;) deep = deep.namespace_(std::string(100, 'n'));
              }),
              HasSubstr("too deep"));
  const std::string longest(Datastore::keyBytesMax, 'k');
  deep.set(longest, 1);
  EXPECT_THAT(deep.list(), ElementsAre(longest));
}

TEST_P(DatastoreTest, ANamespaceIsRenamedWithAllThatIsInIt) {
  Datastore old = store_.namespace_("old");
  for (int i = 0; i < 40; ++i) old.set("k" + std::to_string(i), i);
  old.namespace_("inner").set("deep", "d");
  store_.namespace_("older").set("k1", "not this");
  store_.set("k1", "nor this");
  Datastore fresh = store_.namespace_("new");
  fresh.set("k7", 7);  // as a renaming that was killed leaves it
  fresh.set("more", 1);
  EXPECT_EQ(store_.renameNamespace("old", "new"), 41U);
  EXPECT_EQ(fresh.list().size(), 41U);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(fresh.get("k" + std::to_string(i)), Value(i));
  EXPECT_EQ(fresh.namespace_("inner").get("deep"), Value("d"));
  EXPECT_THAT(old.list(), IsEmpty());
  EXPECT_THAT(old.namespace_("inner").list(), IsEmpty());
  EXPECT_EQ(store_.namespace_("older").get("k1"), Value("not this"));
  EXPECT_EQ(store_.get("k1"), Value("nor this"));
  EXPECT_EQ(store_.renameNamespace("old", "new"), 0U);
  EXPECT_EQ(store_.renameNamespace("new", "new"), 0U);
  EXPECT_EQ(fresh.list().size(), 41U);
}

TEST_P(DatastoreTest, AKeyThatTheNewNamespaceHasOtherwiseIsNotOverwritten) {
  Datastore old = store_.namespace_("old");
  Datastore fresh = store_.namespace_("new");
  old.set("k", 1);
  fresh.set("k", 2);
  EXPECT_THAT(messageOf<Conflict>([&] { (void)store_.renameNamespace("old", "new"); }),
              AllOf(HasSubstr("\"k\""), HasSubstr("\"new\"")));
  EXPECT_EQ(old.get("k"), Value(1));
  EXPECT_EQ(fresh.get("k"), Value(2));
  EXPECT_TRUE(fresh.remove("k"));
  EXPECT_EQ(store_.renameNamespace("old", "new"), 1U);
  EXPECT_EQ(fresh.get("k"), Value(1));
  EXPECT_THROW((void)store_.renameNamespace("new", ""), InvalidArgument);

  Datastore deep = fresh;
  for (int i = 0; i < 9; ++i) deep = deep.namespace_(std::string(100, 'n'));
  deep.set("k", 3);
  EXPECT_THAT(messageOf<InvalidArgument>(
                  [&] { (void)store_.renameNamespace("new", std::string(200, 'w')); }),
              HasSubstr("up to 1024"));
  EXPECT_EQ(fresh.get("k"), Value(1)) << "nothing was moved";
}

TEST_P(DatastoreTest, D22WhatIsGivenBackIsTheSameToTheBit) {
  const auto bits = [](std::uint64_t number) { return std::bit_cast<double>(number); };
  const std::vector<Value> values{
      nullptr,
      true,
      false,
      std::numeric_limits<std::int64_t>::min(),
      std::numeric_limits<std::int64_t>::max(),
      (std::int64_t{1} << 53) + 1,
      1.0,
      -0.0,
      0.1,
      std::numeric_limits<double>::denorm_min(),
      std::numeric_limits<double>::infinity(),
      -std::numeric_limits<double>::infinity(),
      bits(0x7FF8'0000'0000'0000),
      bits(0xFFF8'0000'1234'5678),
      "",
      "2023-06-01T12:00:00.000Z",
      std::string("\0a\xff\xfe\n\"\\", 7),
      "\xf0\x9f\x8e\xb2",
      Binary{},
      Binary{std::byte{0}, std::byte{255}},
      Value::List{},
      ValueMap{},
      ValueMap{{"z", 1}, {"a", Value::List{1.5, "x", nullptr}}, {"", 2}, {"$binary", "AA=="}}};
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string key = "value" + std::to_string(i);
    store_.set(key, values[i]);
    EXPECT_EQ(bytesOf(store_.get(key)), bytesOf(values[i])) << i;
    store_.update("copy", [&](const auto&) { return store_.get(key); });
    EXPECT_EQ(bytesOf(store_.get("copy")), bytesOf(values[i])) << i;
  }
  Value deep = 1;
  for (std::size_t i = 1; i < Value::depthMax; ++i) deep = Value::List{deep};
  store_.set("deep", deep);
  EXPECT_EQ(bytesOf(store_.get("deep")), bytesOf(deep));
}

TEST_P(DatastoreTest, WhatWasSetIsThereAtTheNextOpening) {
  if (GetParam() == "Memory") {
    EXPECT_EQ(place_.open().get("k"), std::nullopt) << "each opening is a store of its own";
    return;
  }
  store_.set("k", "kept");
  const Revision revision = store_.getWithRevision("k").revision;
  store_ = place_.open();
  EXPECT_EQ(store_.get("k"), Value("kept"));
  EXPECT_EQ(store_.getWithRevision("k").revision, revision);
}

TEST(DatastoreAddress, OnesThatNameNothingAreRefused) {
  const std::map<std::string, std::string> wrong{{"", "no address of a datastore"},
                                                 {"state", "no address of a datastore"},
                                                 {"memory:x", "no address of a datastore"},
                                                 {"redis://host", "no address of a datastore"},
                                                 {"file:", "names no directory"},
                                                 {"file://host/dir", "file:///PATH"},
                                                 {"sqlite:", "names no file"},
                                                 {"sqlite://a.db", "sqlite:///PATH"}};
  for (const auto& [address, why] : wrong) {
    EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)Datastore::open(address); }),
                HasSubstr(why))
        << address;
  }
  const penstock::testing::TemporaryDirectory directory;
  Datastore one = Datastore::open("file://" + (directory / "d"));
  one.set("k", 1);
  EXPECT_EQ(Datastore::open("file:" + (directory / "d")).get("k"), Value(1));
}

TEST(DatastoreAddress, OptionsOutOfRangeAreRefused) {
  EXPECT_THROW((void)Datastore::open("memory:", {.lockTimeout = 0ms}), ConfigurationError);
  EXPECT_THROW((void)Datastore::open("memory:", {.lockTimeout = 25h}), ConfigurationError);
  EXPECT_THROW((void)Datastore::open("memory:", {.table = ""}), ConfigurationError);
  EXPECT_THROW((void)Datastore::open("memory:", {.table = std::string(64, 't')}),
               ConfigurationError);
  EXPECT_THAT(messageOf<ConfigurationError>(
                  [] { (void)Datastore::open("memory:", {.reshuffleTable = true}); }),
              HasSubstr("postgresql://"));
}

#ifndef PENSTOCK_SQLITE
TEST(DatastoreAddress, SqliteIsRefusedByTheNameOfItsPackageAndOption) {
  const std::string said =
      messageOf<ConfigurationError>([] { (void)Datastore::open("sqlite:x.db"); });
  EXPECT_THAT(said, HasSubstr("libsqlitecpp-dev"));
  EXPECT_THAT(said, HasSubstr("PENSTOCK_SQLITE=ON"));
}
#endif

#ifndef PENSTOCK_POSTGRESQL
TEST(DatastoreAddress, PostgresqlIsRefusedByTheNameOfItsPackageAndOption) {
  const std::string said =
      messageOf<ConfigurationError>([] { (void)Datastore::open("postgresql:///x"); });
  EXPECT_THAT(said, HasSubstr("libpqxx-dev"));
  EXPECT_THAT(said, HasSubstr("PENSTOCK_POSTGRESQL=ON"));
}
#endif

}  // namespace
}  // namespace penstock::state
