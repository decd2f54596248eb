// SPDX-License-Identifier: Apache-2.0
// What a Datastore promises to several processes, on every adapter that they can share. Children
// are forked before anything is open here, and open the store themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <exception>
#include <functional>
#include <future>
#include <iostream>
#include <string>

#include "support/datastore_place.h"
#include "support/subprocess.h"

namespace penstock::state {
namespace {

using penstock::testing::DatastorePlace;
using penstock::testing::eventually;
using penstock::testing::increment;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

/// A forked child that runs `body`, and is killed at the latest when this goes.
class Child {
 public:
  explicit Child(const std::function<void()>& body) : pid_(::fork()) {
    if (pid_ != 0) return;
    try {
      body();
    } catch (const std::exception& error) {
      std::cerr << "child: " << error.what() << std::endl;
      ::_exit(1);
    }
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ~Child() { kill9(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill9() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  /// Whether it ended by itself and well.
  bool succeeds() {
    int status = -1;
    const bool ended = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; }, 240s);
    if (!ended) return false;
    pid_ = -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  pid_t pid_;
};

class DatastoreProcesses : public ::testing::TestWithParam<std::string> {
 protected:
  DatastorePlace place_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(On, DatastoreProcesses,
                         ::testing::ValuesIn(penstock::testing::datastoreAdapters(true)),
                         penstock::testing::adapterName);

TEST_P(DatastoreProcesses, D11IncrementsOfTwoFromAnAbsentKeyAreAllCounted) {
  constexpr int times = 10'000;
  const DatastorePlace place(GetParam(), true);
  const auto count = [&] {
    Datastore store = place.open();
    while (store.list("go").empty()) (void)store.watch({{"go", {}}}, 1s);
    for (int i = 0; i < times; ++i) store.update("count", increment);
  };
  Child one(count);
  Child two(count);
  Datastore store = place.open();
  store.set("go", true);
  EXPECT_TRUE(one.succeeds());
  EXPECT_TRUE(two.succeeds());
  EXPECT_EQ(store.get("count"), Value(2 * times));
}

TEST_P(DatastoreProcesses, D16AKilledHoldersLockIsFreeWithinASecond) {
  Child holder([this] {
    Datastore store = place_.open();
    store.set("k", "before");
    store.update("k", [&](const auto&) {
      store.set("entered", true);
      for (;;) ::pause();
      return std::optional<Value>();
    });
  });
  Datastore store = place_.open();
  ASSERT_TRUE(eventually([&] { return store.get("entered").has_value(); }));
  EXPECT_THROW(place_.open({.lockTimeout = 200ms}).set("k", 1), LockTimeout);
  EXPECT_EQ(store.get("k"), Value("before"));

  auto waiting = std::async(std::launch::async, [&] {
    store.update("k", [](const std::optional<Value>& found) {
      EXPECT_EQ(found, Value("before"));
      return std::optional<Value>("after");
    });
    return steady_clock::now();
  });
  EXPECT_EQ(waiting.wait_for(100ms), std::future_status::timeout);
  const auto killed = steady_clock::now();
  holder.kill9();
  EXPECT_LT(waiting.get() - killed, 1s);
  EXPECT_EQ(store.get("k"), Value("after"));
}

TEST_P(DatastoreProcesses, D16AKilledWaiterHoldsNobodyUp) {
  Child holder([this] {
    Datastore store = place_.open();
    store.update("k", [&](const auto&) {
      store.set("entered", true);
      while (!store.get("leave")) (void)store.watch({{"leave", {}}}, 1s);
      return std::optional<Value>("held");
    });
  });
  Child waiter([this] {
    Datastore store = place_.open({.lockTimeout = 1h});
    while (!store.get("entered")) (void)store.watch({{"entered", {}}}, 1s);
    store.set("waiting", true);
    store.set("k", "waited");
  });
  Datastore store = place_.open();
  ASSERT_TRUE(eventually([&] { return store.get("waiting").has_value(); }));
  EXPECT_THROW(place_.open({.lockTimeout = 200ms}).set("k", 1), LockTimeout);
  waiter.kill9();
  store.set("leave", true);
  EXPECT_TRUE(holder.succeeds());
  store.set("k", "free");
  EXPECT_EQ(store.get("k"), Value("free"));
}

TEST_P(DatastoreProcesses, OneThatAsksAgainAndAgainDoesNotStarveAnother) {
  Child greedy([this] {
    Datastore store = place_.open();
    while (!store.get("leave")) {
      store.update("k", [&](std::optional<Value> found) {
        (void)store.watch({{"leave", {}}}, 10ms);  // it takes a while
        return increment(std::move(found));
      });
    }
  });
  Datastore store = place_.open();
  ASSERT_TRUE(eventually([&] { return store.get("k").has_value(); }));
  for (int i = 0; i < 10; ++i) {
    const std::int64_t before = store.get("k")->asInt64();
    store.update("k", [&](const std::optional<Value>& found) {
      // the one that was running, and one that was quicker to ask
      EXPECT_LE(found->asInt64() - before, 2);
      return found;
    });
  }
  store.set("leave", true);
  EXPECT_TRUE(greedy.succeeds());
}

TEST_P(DatastoreProcesses, D23ASecondProcessSeesWhatTheFirstWritesWithoutReopening) {
  constexpr int rounds = 20;
  Child other([this] {
    Datastore store = place_.open();
    Revision seen;
    for (int i = 0; i < rounds; ++i) {
      const auto asked = store.watch({{"question", seen}}, 60s);
      ASSERT_EQ(asked.size(), 1U);
      seen = asked[0].revision;
      store.set("answer", asked[0].value->asInt64() * 2);
    }
  });
  Datastore store = place_.open();
  Revision seen;
  const auto began = steady_clock::now();
  for (int i = 0; i < rounds; ++i) {
    store.set("question", i);
    const auto answered = store.watch({{"answer", seen}}, 60s);
    ASSERT_EQ(answered.size(), 1U);
    seen = answered[0].revision;
    EXPECT_EQ(answered[0].value, Value(2 * i));
    EXPECT_EQ(store.get("answer"), Value(2 * i));
  }
  EXPECT_LT(steady_clock::now() - began, rounds * 500ms) << "watches are told, and do not find out";
  EXPECT_TRUE(other.succeeds());
}

TEST_P(DatastoreProcesses, AForkedChildIsRefusedAndDisturbsNobody) {
  std::optional<Datastore> store = place_.open();
  store->set("k", 1);
  Child child([&] {
    EXPECT_THROW((void)store->get("k"), Closed);
    EXPECT_THROW(store->set("k", 2), Closed);
    EXPECT_THROW((void)store->list(), Closed);
    EXPECT_THROW((void)store->watch({}, 0ms), Closed);
    EXPECT_THROW((void)store->namespace_("n"), Closed);
    store.reset();
    Datastore own = place_.open();
    EXPECT_EQ(own.update("k", increment).current, Value(2));
  });
  EXPECT_TRUE(child.succeeds());
  EXPECT_EQ(store->get("k"), Value(2));
  EXPECT_EQ(store->update("k", increment).current, Value(3));
}

}  // namespace
}  // namespace penstock::state
