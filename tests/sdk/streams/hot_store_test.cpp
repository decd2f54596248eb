// SPDX-License-Identifier: Apache-2.0
#include "penstock/detail/hot_store.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "penstock/key_value_store.h"
#include "streams/task_store.h"
#include "support/test_seed.h"

namespace penstock {
namespace {

using detail::HotTable;

struct Entry {
  std::uint64_t key = 0;
  int value = 0;
};

// Goal: the table is a map. Method: random operations against std::map, with hashes squeezed
// into few homes so that long probe chains, wrap-around and back-shifts are common.
class HotTableTest : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(HotTableTest, AgreesWithStdMap) {
  std::mt19937 random(testing::testSeed());
  const auto hashOf = [](std::uint64_t key) {
    return detail::hashKey(key) | ~GetParam();  // mask: fewer distinct homes, all near the end
  };
  HotTable<Entry> table;
  std::map<std::uint64_t, int> expected;
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t key = random() % 600;
    const std::uint64_t hash = hashOf(key);
    const auto number = table.find(key, hash);
    ASSERT_EQ(number != table.none, expected.contains(key)) << step;
    if (number == table.none) {
      table[table.insert(key, hash)].value = step;
      expected[key] = step;
    } else if (random() % 2 == 0) {
      ASSERT_EQ(table[number].value, expected[key]);
      table.erase(number, hash);
      expected.erase(key);
    }
    ASSERT_EQ(table.size(), expected.size());
  }
  std::map<std::uint64_t, int> found;
  table.forEach([&](auto number) { found[table[number].key] = table[number].value; });
  EXPECT_EQ(found, expected);
}

INSTANTIATE_TEST_SUITE_P(Hashes, HotTableTest,
                         ::testing::Values(~0ULL,                  // as they are
                                           0x0fffffffffffffffULL,  // homes in the last 16th
                                           0x00000003ffffffffULL   // four hashes for all keys
                                           ));

TEST(HotTableTest, EntriesStayWhereTheyAre) {
  HotTable<Entry> table;
  const auto first = table.insert(std::uint64_t{7}, detail::hashKey(std::uint64_t{7}));
  const Entry* place = &table[first];
  for (std::uint64_t key = 100; key < 5000; ++key) table.insert(key, detail::hashKey(key));
  EXPECT_EQ(&table[table.find(std::uint64_t{7}, detail::hashKey(std::uint64_t{7}))], place);
}

/// What is committed, counting how often it is asked.
class CountingStore final : public streams::TaskStore {
 public:
  bool get(std::string_view key, std::string& value) const override {
    ++gets;
    const auto found = content.find(std::string(key));
    if (found == content.end()) return false;
    value = found->second;
    return true;
  }
  void scan(std::string_view, std::string_view,
            const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    for (const auto& [key, value] : content) {
      if (!visit(key, value)) return;
    }
  }
  [[nodiscard]] std::uint64_t size() const override { return content.size(); }
  void put(std::string_view key, std::string_view value, EventTime) override {
    puts.emplace_back(key);
    next[std::string(key)] = value;
  }
  void erase(std::string_view key, EventTime) override {
    puts.emplace_back(key);
    next.erase(std::string(key));
  }
  void commit() { content = next; }
  void abort() { next = content; }

  std::map<std::string, std::string> content;
  std::map<std::string, std::string> next;
  std::vector<std::string> puts;
  mutable int gets = 0;
};

using Store =
    detail::SerdeHotStore<std::string, std::int64_t, Serde<std::string>, Serde<std::int64_t>>;

class HotStoreTest : public ::testing::Test {
 protected:
  HotStoreTest() { reopen(); }

  void reopen() {
    hot = std::make_unique<Store>(Serde<std::string>{}, Serde<std::int64_t>{});
    hot->attach("words", durable);
    durable->gets = 0;
    durable->puts.clear();
  }
  KeyValueStore<std::string, std::int64_t> store() {
    return KeyValueStore<std::string, std::int64_t>(*hot);
  }
  void commit() {
    hot->flush();
    durable->commit();
    hot->committed();
  }

  std::shared_ptr<CountingStore> durable = std::make_shared<CountingStore>();
  std::unique_ptr<Store> hot;
};

TEST_F(HotStoreTest, ChangesAreEncodedOncePerKeyAndCommit) {
  for (int i = 0; i < 100; ++i) {
    store().update("a", [](std::int64_t& value) { ++value; });
    store().update("b", [](std::int64_t& value) { value += 2; });
  }
  EXPECT_TRUE(durable->puts.empty());
  commit();
  EXPECT_EQ(durable->puts, (std::vector<std::string>{"a", "b"}));
  commit();
  EXPECT_EQ(durable->puts.size(), 2U);
  reopen();
  EXPECT_EQ(*store().find("a"), 100);
  EXPECT_EQ(*store().find("b"), 200);
}

TEST_F(HotStoreTest, EmptyStoreIsNeverRead) {
  EXPECT_EQ(store().find("a"), nullptr);
  store().put("a", 1);
  EXPECT_EQ(durable->gets, 0);
}

TEST_F(HotStoreTest, EachDurableKeyIsReadOnceAndMissesEndWhenAllWereRead) {
  store().put("a", 1);
  store().put("b", 2);
  commit();
  reopen();
  EXPECT_EQ(store().find("unknown"), nullptr);  // may be durable: has to be asked for
  EXPECT_EQ(durable->gets, 1);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(*store().find("a"), 1);
    EXPECT_EQ(*store().find("b"), 2);
  }
  EXPECT_EQ(durable->gets, 3);
  EXPECT_EQ(store().find("unknown"), nullptr);  // all keys are in memory
  EXPECT_EQ(durable->gets, 3);
}

TEST_F(HotStoreTest, ErasedKeyStaysAbsentWhileItsCommitIsOnItsWay) {
  store().put("a", 1);
  store().put("b", 1);
  commit();
  reopen();
  EXPECT_TRUE(store().erase("a"));
  EXPECT_FALSE(store().erase("a"));
  EXPECT_EQ(store().find("a"), nullptr);
  hot->flush();  // durable still has it
  EXPECT_EQ(store().find("a"), nullptr);
  durable->commit();
  hot->committed();
  EXPECT_EQ(hot->entries(), 0U);  // "b" was never asked for, "a" is gone on both sides
  EXPECT_EQ(store().find("a"), nullptr);
  EXPECT_EQ(durable->content.size(), 1U);
}

TEST_F(HotStoreTest, KeyErasedAgainBetweenFlushAndCommitIsForgottenInTheEnd) {
  store().put("a", 1);
  commit();
  store().erase("a");
  hot->flush();
  store().put("a", 2);
  store().erase("a");
  durable->commit();
  hot->committed();
  EXPECT_EQ(store().find("a"), nullptr);
  commit();
  EXPECT_EQ(hot->entries(), 0U);
  EXPECT_TRUE(durable->content.empty());
}

TEST_F(HotStoreTest, RollbackReadsTheCommittedValueAgain) {
  store().put("a", 1);
  commit();
  store().put("a", 2);
  store().put("new", 3);
  hot->flush();
  durable->abort();
  hot->rollback();
  EXPECT_EQ(*store().find("a"), 1);
  EXPECT_EQ(store().find("new"), nullptr);
  commit();
  EXPECT_EQ(durable->content.size(), 1U);
}

TEST_F(HotStoreTest, EmptyAndZeroKeysRoundTrip) {
  const std::vector<std::string> keys{"", std::string(1, '\0'), std::string("\0a", 2), "a"};
  for (std::size_t i = 0; i < keys.size(); ++i) store().put(keys[i], static_cast<int>(i));
  commit();
  for (const std::string& put : durable->puts) EXPECT_FALSE(put.empty());
  reopen();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    ASSERT_NE(store().find(keys[i]), nullptr) << i;
    EXPECT_EQ(*store().find(keys[i]), static_cast<int>(i));
  }
  reopen();
  std::map<std::string, std::int64_t> all;
  store().forEach([&](const std::string& key, std::int64_t value) { all[key] = value; });
  EXPECT_EQ(all.size(), keys.size());
}

TEST_F(HotStoreTest, UpdateThatThrowsLeavesNoNewKey) {
  EXPECT_THROW(store().update("a",
                              [](std::int64_t& value) {
                                value = 5;
                                throw std::runtime_error("no");
                              }),
               std::runtime_error);
  EXPECT_EQ(store().find("a"), nullptr);
  store().update("a", [](std::int64_t& value) { ++value; });
  EXPECT_EQ(*store().find("a"), 1);
  commit();
  EXPECT_EQ(durable->content.size(), 1U);
}

TEST_F(HotStoreTest, KeyBeyondTheEnginesLimitIsTheRecordsFault) {
  EXPECT_THROW(store().put(std::string(64 * 1024, 'k'), 1), SerdeError);
  store().put(std::string(64 * 1024 - 1, 'k'), 1);
  commit();
  EXPECT_EQ(durable->puts.at(0).size(), 64U * 1024 - 1);
}

TEST_F(HotStoreTest, StoredBytesOfAnotherTypeAreAnErrorOfTheState) {
  durable->content["a"] = "abc";
  try {
    static_cast<void>(store().find("a"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::RestoreState);
    EXPECT_STREQ(error.what(),
                 "store words, key \"a\": what is stored is not of the type that the program "
                 "reads: int64: expected 8 bytes, found 3");
  }
}

// Goal: hot state with commits and aborts is a map. Method: random operations, seeded.
TEST_F(HotStoreTest, AgreesWithStdMapOverCommitsAbortsAndRestarts) {
  std::mt19937 random(testing::testSeed());
  std::map<std::string, std::int64_t> now;
  std::map<std::string, std::int64_t> committed;
  for (int step = 0; step < 20000; ++step) {
    const std::string key = std::to_string(random() % 100);
    switch (random() % 40) {
      case 0:
        commit();
        committed = now;
        break;
      case 1:
        durable->abort();
        hot->rollback();
        now = committed;
        break;
      case 2:
        durable->abort();
        reopen();
        now = committed;
        break;
      case 3: {  // changes while a commit is on its way
        hot->flush();
        committed = now;
        const std::string other = std::to_string(random() % 100);
        store().erase(other);
        now.erase(other);
        durable->commit();
        hot->committed();
        break;
      }
      case 4: {
        std::map<std::string, std::int64_t> all;
        store().forEach([&](const std::string& each, std::int64_t value) { all[each] = value; });
        ASSERT_EQ(all, now) << step;
        break;
      }
      default:
        if (random() % 3 == 0) {
          ASSERT_EQ(store().erase(key), now.erase(key) == 1) << step;
        } else if (random() % 2 == 0) {
          store().update(key, [](std::int64_t& value) { ++value; });
          ++now[key];
        } else {
          const std::int64_t* found = store().find(key);
          ASSERT_EQ(found != nullptr, now.contains(key)) << step;
          if (found != nullptr) {
            ASSERT_EQ(*found, now[key]) << step;
          }
        }
    }
  }
}

}  // namespace
}  // namespace penstock
