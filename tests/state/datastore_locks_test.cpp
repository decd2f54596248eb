// SPDX-License-Identifier: Apache-2.0
// Changes of a Datastore that meet: who waits for whom, and who does not, on every adapter alike.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>

#include <chrono>
#include <functional>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/datastore_place.h"
#include "support/message_of.h"

namespace penstock::state {
namespace {

using penstock::testing::DatastorePlace;
using penstock::testing::increment;
using penstock::testing::messageOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto longTime = 30s;  // for what comes at once on an idle machine

/// Runs an update in a thread of its own and keeps it inside the updater until it is let go.
class HeldUpdate {
 public:
  HeldUpdate(Datastore store, std::string key, Value becomes)
      : thread_([this, store, key, becomes]() mutable {
          store.update(key, [&](const std::optional<Value>&) {
            entered_.set_value();
            release_.get_future().wait();
            return std::optional(becomes);
          });
        }) {
    entered_.get_future().wait();
  }
  ~HeldUpdate() {
    if (thread_.joinable()) finish();
  }
  HeldUpdate(const HeldUpdate&) = delete;
  HeldUpdate& operator=(const HeldUpdate&) = delete;
  void finish() {
    release_.set_value();
    thread_.join();
  }

 private:
  std::promise<void> entered_;
  std::promise<void> release_;
  std::thread thread_;
};

class DatastoreLocks : public ::testing::TestWithParam<std::string> {
 protected:
  DatastorePlace place_{GetParam()};
  Datastore store_ = place_.open();
};

INSTANTIATE_TEST_SUITE_P(On, DatastoreLocks,
                         ::testing::ValuesIn(penstock::testing::datastoreAdapters()),
                         penstock::testing::adapterName);

TEST_P(DatastoreLocks, D8AThrowingUpdaterChangesNothingAndFreesTheLock) {
  store_.set("k", "before");
  for (const char* key : {"k", "absent"}) {
    EXPECT_THROW(
        store_.update(key,
                      [](const auto&) -> std::optional<Value> { throw std::domain_error("no"); }),
        std::domain_error);
  }
  EXPECT_EQ(store_.get("k"), Value("before"));
  EXPECT_EQ(store_.get("absent"), std::nullopt);
  auto other = std::async(std::launch::async, [&] {
    store_.set("k", "after");
    store_.set("absent", "there");
  });
  ASSERT_EQ(other.wait_for(longTime), std::future_status::ready);
  other.get();
  EXPECT_EQ(store_.get("k"), Value("after"));
}

TEST_P(DatastoreLocks, D12ASetDuringASlowUpdateComesBehindIt) {
  for (const bool removing : {false, true}) {
    store_.set("k", "before");
    HeldUpdate slow(store_, "k", "updated");
    auto other = std::async(std::launch::async, [&] {
      if (removing) {
        EXPECT_TRUE(store_.remove("k"));
      } else {
        store_.set("k", "set");
      }
    });
    EXPECT_EQ(other.wait_for(50ms), std::future_status::timeout);
    slow.finish();
    other.get();
    EXPECT_EQ(store_.get("k"), removing ? std::nullopt : std::optional<Value>("set"));
  }
}

TEST_P(DatastoreLocks, D13ReadsDuringASlowUpdateGiveTheOldValueAtOnce) {
  store_.set("k", "before");
  HeldUpdate slow(store_, "k", "updated");
  auto reads = std::async(std::launch::async, [&] {
    EXPECT_EQ(store_.get("k"), Value("before"));
    EXPECT_EQ(store_.getWithRevision("k").value, Value("before"));
    EXPECT_THAT(store_.list(), ElementsAre("k"));
    EXPECT_EQ(store_.watch({{"k", {}}}, 1h).at(0).value, Value("before"));
  });
  ASSERT_EQ(reads.wait_for(longTime), std::future_status::ready);
  slow.finish();
  EXPECT_EQ(store_.get("k"), Value("updated"));
}

TEST_P(DatastoreLocks, D14OtherKeysAreNotHeldUp) {
  HeldUpdate slow(store_, "k", "updated");
  auto others = std::async(std::launch::async, [&] {
    for (int i = 0; i < 5; ++i) {
      store_.update("other", increment);
      store_.set("third" + std::to_string(i), i);
    }
    store_.remove("third0");
    store_.update("outer", [&](const auto&) {  // an updater may change other keys
      return store_.update("inner", increment).current;
    });
  });
  ASSERT_EQ(others.wait_for(longTime), std::future_status::ready);
  others.get();
  EXPECT_EQ(store_.get("other"), Value(5));
  EXPECT_EQ(store_.get("outer"), Value(1));
}

TEST_P(DatastoreLocks, D15ANestedUpdateIsRefusedAtOnce) {
  store_.set("k", 1);
  Datastore copy = store_;
  const DatastoreUpdate done = store_.update("k", [&](const std::optional<Value>& found) {
    const auto began = steady_clock::now();
    EXPECT_THAT(messageOf<NestedUpdate>([&] { copy.update("k", increment); }), HasSubstr("k"));
    EXPECT_THROW(copy.set("k", 5), NestedUpdate);
    EXPECT_THROW(copy.remove("k"), NestedUpdate);
    EXPECT_THROW(copy.updateOptimistic("k", increment), NestedUpdate);
    EXPECT_LT(steady_clock::now() - began, 5s) << "half of the lock timeout";
    EXPECT_EQ(copy.get("k"), found) << "reading is allowed";
    return std::optional<Value>(2);
  });
  EXPECT_EQ(done.current, Value(2));
  EXPECT_EQ(store_.update("k", increment).current, Value(3)) << "the lock is free again";
}

TEST_P(DatastoreLocks, D17TheLockTimeoutIsKept) {
  if (GetParam() == "Memory") {
    store_ = place_.open({.lockTimeout = 200ms});
  }
  Datastore impatient = GetParam() == "Memory" ? store_ : place_.open({.lockTimeout = 200ms});
  HeldUpdate slow(store_, "k", "updated");
  const std::vector<std::function<void()>> calls{
      [&] { impatient.set("k", 1); }, [&] { impatient.update("k", increment); },
      [&] { impatient.remove("k"); }, [&] { impatient.compareAndSet("k", {}, 1); },
      [&] { impatient.updateOptimistic("k", increment); }};
  for (const auto& call : calls) {
    const auto began = steady_clock::now();
    EXPECT_THAT(messageOf<LockTimeout>(call), HasSubstr("k"));
    EXPECT_GE(steady_clock::now() - began, 200ms);
    EXPECT_LT(steady_clock::now() - began, 5s);
  }
  slow.finish();
  EXPECT_EQ(store_.get("k"), Value("updated"));
  impatient.set("k", 1);
  EXPECT_EQ(store_.get("k"), Value(1));
}

TEST_P(DatastoreLocks, AnOptimisticUpdateRunsAgainWhenOthersChangedTheKey) {
  store_.set("k", 1);
  int runs = 0;
  const DatastoreUpdate done = store_.updateOptimistic("k", [&](std::optional<Value> found) {
    if (++runs < 3) store_.update("k", increment);
    return increment(std::move(found));
  });
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(done.previous, Value(3));
  EXPECT_EQ(store_.get("k"), Value(4));

  runs = 0;
  EXPECT_THAT(messageOf<Conflict>([&] {
                store_.updateOptimistic("k", [&](const auto&) {
                  ++runs;
                  store_.update("k", increment);
                  return std::optional<Value>(0);
                });
              }),
              HasSubstr("100 attempts"));
  EXPECT_EQ(runs, Datastore::optimisticAttempts);
  EXPECT_EQ(store_.get("k"), Value(4 + runs));
}

TEST_P(DatastoreLocks, UpdatesOfManyThreadsAreAllCounted) {
  constexpr int threads = 8;
  constexpr int times = 100;
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([this, i] {
      Datastore store = store_;
      for (int n = 0; n < times; ++n) {
        store.update("shared", increment);
        if (n % 10 == 0) store.updateOptimistic("optimistic", increment);
        store.namespace_("own").update(std::to_string(i), increment);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(store_.get("shared"), Value(threads * times));
  EXPECT_EQ(store_.get("optimistic"), Value(threads * times / 10));
  for (int i = 0; i < threads; ++i) {
    EXPECT_EQ(store_.namespace_("own").get(std::to_string(i)), Value(times));
  }
}

}  // namespace
}  // namespace penstock::state
