// SPDX-License-Identifier: Apache-2.0
//
// Goal: cases S1 to S5 and S21 to S23 of shared state: what each call does, alone and with others
// at the same time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/shared_state.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "support/message_of.h"
#include "support/subprocess.h"

namespace penstock::state {
namespace {

using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::messageOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto soon = 50ms;
constexpr auto long_ = 30s;

using Found = std::optional<Value>;

Value increment(const Found& found) { return found ? found->asInt64() + 1 : 1; }

TEST(SharedState, S1AfterCloseEveryCallFailsAndSaysSo) {
  SharedState state;
  state.set("a", 1);
  const SharedValue kept = state.get("a");
  state.createLock("lock");
  state.close();
  state.close();
  const std::vector<std::function<void()>> calls{
      [&] { state.set("a", 1); },
      [&] { (void)state.get("a"); },
      [&] { (void)state.getOr("a", 1); },
      [&] { (void)state.entry("a"); },
      [&] { (void)state.contains("a"); },
      [&] { state.remove("a"); },
      [&] { state.update("a", increment); },
      [&] { state["a"] = 1; },
      [&] { (void)static_cast<Value>(state["a"]); },
      [&] { (void)state.names(); },
      [&] { (void)state.snapshot(); },
      [&] { state.createLock("b"); },
      [&] { state.findOrCreateLock("b"); },
      [&] { (void)state.lock("lock", soon); },
  };
  for (const auto& call : calls) EXPECT_THAT(messageOf<Closed>(call), HasSubstr("closed"));
  EXPECT_EQ(*kept, Value(1));
}

TEST(SharedState, CloseWakesWhoWaitsForALock) {
  SharedState state;
  state.createLock("lock");
  const SharedGuard held = state.lock("lock", soon);
  auto waiting = std::async(std::launch::async, [&] {
    return messageOf<Closed>([&] { (void)state.lock("lock", SharedState::forever); });
  });
  auto snapshot = std::async(std::launch::async, [&] {
    return messageOf<Closed>([&] { (void)state.snapshot({}, SharedState::forever); });
  });
  state.close();
  EXPECT_THAT(waiting.get(), HasSubstr("closed"));
  EXPECT_THAT(snapshot.get(), HasSubstr("closed"));
}

// An update that runs while the state is closed is either there before or fails: nothing is told
// to be written that the last save cannot have seen.
TEST(SharedState, AnUpdateThatIsOvertakenByCloseFails) {
  SharedState state;
  EXPECT_THAT(messageOf<Closed>([&] {
                state.update("a", [&](const Found& found) {
                  std::async(std::launch::async, [&] { state.close(); }).get();
                  return increment(found);
                });
              }),
              HasSubstr("closed"));
}

TEST(SharedState, S2SetReplacesValueAndScopes) {
  SharedState state;
  state.set("counter", 7, {"General", "Users"});
  EXPECT_EQ(*state.get("counter"), Value(7));
  EXPECT_THAT(state.entry("counter")->scopes, ElementsAre("General", "Users"));
  state.set("counter", "eight");
  EXPECT_EQ(*state.get("counter"), Value("eight"));
  EXPECT_THAT(state.entry("counter")->scopes, IsEmpty());
}

TEST(SharedState, AnItemReadsAndWritesLikeAVariableAndKeepsScopes) {
  SharedState state;
  state.set("a", 1, {"General"});
  state["a"] = 2;
  state["b"] = state["a"];
  const Value missing = state["missing"];
  EXPECT_EQ(static_cast<Value>(state["b"]), Value(2));
  EXPECT_THAT(state.entry("a")->scopes, ElementsAre("General"));
  EXPECT_THAT(state.entry("b")->scopes, IsEmpty());
  EXPECT_TRUE(missing.isNull());
  EXPECT_FALSE(state.contains("missing"));
}

TEST(SharedState, S3MissingIsNotNull) {
  SharedState state;
  state.set("null", nullptr);
  EXPECT_TRUE(state.get("null")->isNull());
  EXPECT_TRUE(state.contains("null"));
  EXPECT_EQ(state.getOr("null", 5), Value());
  EXPECT_EQ(state.get("missing"), nullptr);
  EXPECT_FALSE(state.contains("missing"));
  EXPECT_FALSE(state.entry("missing"));
  EXPECT_EQ(state.getOr("missing", 5), Value(5));
  bool told = false;
  state.update("null", [&](const Found& found) {
    told = found.has_value();
    return Value();
  });
  EXPECT_TRUE(told);
}

TEST(SharedState, S4RemoveReturnsTheOldValueOrNothing) {
  SharedState state;
  state.set("a", 8);
  EXPECT_EQ(*state.remove("a"), Value(8));
  EXPECT_EQ(state.remove("a"), nullptr);
  EXPECT_FALSE(state.contains("a"));
}

TEST(SharedState, S5NamesPassAllFilters) {
  SharedState state;
  state.set("zeta", 1, {"General"});
  state.set("alpha", 1, {"Users", "General"});
  state.set("beta", 1);
  state.set("Beta", 1, {"Users"});
  EXPECT_THAT(state.names(), ElementsAre("zeta", "alpha", "beta", "Beta"));
  EXPECT_THAT(state.names({.scopes = {"General"}}), ElementsAre("zeta", "alpha"));
  EXPECT_THAT(state.names({.scopes = {"General", "Users"}}), ElementsAre("zeta", "alpha", "Beta"));
  EXPECT_THAT(state.names({.scopes = {"general"}}), IsEmpty());
  EXPECT_THAT(state.names({.include = {"beta", "alpha", "unknown"}}), ElementsAre("alpha", "beta"));
  EXPECT_THAT(state.names({.exclude = {"zeta", "unknown"}}), ElementsAre("alpha", "beta", "Beta"));
  EXPECT_THAT(state.names({.pattern = "^[ab].*a$"}), ElementsAre("alpha", "beta"));
  EXPECT_THAT(state.names({.include = {"alpha", "beta"}, .exclude = {"alpha"}}),
              ElementsAre("beta"));
  EXPECT_THAT(state.names({.include = {"beta"}, .scopes = {"General"}}), IsEmpty())
      << "included, but without the scope";
  EXPECT_THAT(state.names({.exclude = {"zeta"}, .scopes = {"General"}, .pattern = "a"}),
              ElementsAre("alpha"));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { (void)state.names({.pattern = "("}); }),
              HasSubstr("\"(\""));
}

TEST(SharedState, APatternNeitherBacktracksForEverNorOverflowsTheStack) {
  SharedState state;
  state.set(std::string(SharedState::nameBytesMax, 'a'), 1);
  EXPECT_THAT(state.names({.pattern = "^(a+)+$"}), ::testing::SizeIs(1));
  EXPECT_THAT(state.names({.pattern = "(a*)*b"}), IsEmpty());  // 2^512 ways to fail
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '(') + std::string(depth, ')');
  };
  EXPECT_THAT(state.names({.pattern = nested(SharedFilter::patternBytesMax / 2)}),
              ::testing::SizeIs(1));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { (void)state.names({.pattern = nested(20000)}); }),
              HasSubstr("up to 256 bytes, this one 40000"));
  for (const char* refused : {"(a)\\1", "(a{9999}){9999}"}) {
    EXPECT_THAT(messageOf<InvalidArgument>([&] { (void)state.snapshot({.pattern = refused}); }),
                HasSubstr("is no regular expression"));
  }
}

TEST(SharedState, ANameKeepsItsPlaceUntilItIsRemoved) {
  SharedState state;
  for (const char* name : {"c", "a", "b"}) state.set(name, 1);
  state.set("c", 2);
  state.update("a", increment);
  EXPECT_THAT(state.names(), ElementsAre("c", "a", "b"));
  state.remove("c");
  state.set("c", 3);
  EXPECT_THAT(state.names(), ElementsAre("a", "b", "c"));
}

TEST(SharedState, NamesAreBytesOfLimitedNumber) {
  SharedState state;
  const std::string longest(SharedState::nameBytesMax, 'n');
  const std::string bytes("a\0/../\xff", 7);
  state.set(longest, 1);
  state.set(bytes, 2);
  EXPECT_THAT(state.names(), ElementsAre(longest, bytes));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state.set("", 1); }), HasSubstr("1 to 512 bytes"));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state.update(longest + 'n', increment); }),
              HasSubstr("this one 513"));
}

TEST(SharedState, WhatWasReadIsChangedByNobody) {
  SharedState state;
  state.set("list", Value::List{1});
  const SharedValue before = state.get("list");
  const SharedUpdate update = state.update("list", [](Found list) {
    list->asList().push_back(2);
    return *list;
  });
  state.remove("list");
  EXPECT_EQ(*before, Value(Value::List{1}));
  EXPECT_EQ(update.previous, before);
  EXPECT_EQ(*update.current, Value(Value::List{1, 2}));
}

TEST(SharedState, AnUpdateThatThrowsChangesNothing) {
  SharedState state;
  state.set("a", 1, {"General"});
  const auto fail = [](const Found&) -> Value { throw std::runtime_error("no"); };
  EXPECT_THROW(state.update("a", fail), std::runtime_error);
  EXPECT_THROW(state.update("absent", fail), std::runtime_error);
  EXPECT_THAT(state.names(), ElementsAre("a"));
  state.update("a", increment);
  EXPECT_EQ(*state.get("a"), Value(2));
  EXPECT_THAT(state.entry("a")->scopes, ElementsAre("General"));
}

TEST(SharedState, TheFunctionOfAnUpdateMayReadButNotWrite) {
  SharedState state;
  SharedState other;
  state.createLock("lock");
  state.set("a", 1);
  const std::vector<std::function<void()>> refused{
      [&] { state.set("a", 1); },
      [&] { state.set("b", 1); },
      [&] { state.remove("b"); },
      [&] { state.update("b", increment); },
      [&] { state["b"] = 1; },
      [&] { (void)state.snapshot(); },
      [&] { state.createLock("c"); },
      [&] { state.close(); },
      [&] { (void)state.lock("lock", soon); },
  };
  state.update("a", [&](const Found& found) {
    for (const auto& call : refused) {
      EXPECT_THAT(messageOf<InvalidArgument>(call), HasSubstr("may only read"));
    }
    EXPECT_EQ(*state.get("a"), Value(1));
    EXPECT_THAT(state.names(), ElementsAre("a"));
    other.update("x", [&](const Found& none) {
      EXPECT_THAT(messageOf<InvalidArgument>(refused[0]), HasSubstr("may only read"));
      return increment(none);
    });
    return increment(found);
  });
  EXPECT_EQ(*state.get("a"), Value(2));
  EXPECT_EQ(*other.get("x"), Value(1));
  state.set("a", 5);  // and afterwards it may
}

TEST(SharedState, S21ACounterThatManyThreadsUpdateIsExact) {
  constexpr int threads = 8;
  constexpr int times = 2000;
  SharedState state;
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (int i = 0; i < times; ++i) {
        state.update("all", increment);
        state.update("own " + std::to_string(t), increment);
        EXPECT_GE(state.get("all")->asInt64(), 1);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(*state.get("all"), Value(threads * times));
  EXPECT_THAT(state.names(), SizeIs(threads + 1));
}

TEST(SharedState, ReadsDoNotWaitForAnUpdate) {
  SharedState state;
  state.set("a", 1);
  state.update("a", [&](const Found& found) {
    std::async(std::launch::async, [&] {
      EXPECT_EQ(*state.get("a"), Value(1));
      EXPECT_THAT(state.names(), ElementsAre("a"));
      EXPECT_THAT(state.snapshot(), SizeIs(1));
    }).get();
    return increment(found);
  });
}

TEST(SharedLock, S22TimesOutInTimeAndNothingIsRun) {
  SharedState state;
  state.createLock("lock");
  const SharedGuard held = state.lock("lock", soon);
  bool run = false;
  const auto before = std::chrono::steady_clock::now();
  const std::string message = std::async(std::launch::async, [&] {
                                return messageOf<LockTimeout>([&] {
                                  const SharedGuard never = state.lock("lock", soon);
                                  run = true;
                                });
                              }).get();
  const auto took = std::chrono::steady_clock::now() - before;
  EXPECT_THAT(message, HasSubstr("\"lock\" was not free within 50 ms"));
  EXPECT_FALSE(run);
  EXPECT_GE(took, soon);
  EXPECT_LT(took, 10s);
}

TEST(SharedLock, S22IsFreeOnlyWhenAThreadHasLeftItAsOftenAsItTookIt) {
  SharedState state;
  state.findOrCreateLock("lock");
  const auto others = [&] {
    return std::async(std::launch::async,
                      [&] {
                        try {
                          const SharedGuard guard = state.lock("lock", 0ms);
                          return true;
                        } catch (const LockTimeout&) {
                          return false;
                        }
                      })
        .get();
  };
  {
    const SharedGuard outer = state.lock("lock", soon);
    {
      const SharedGuard inner = state.lock("lock", soon);
      EXPECT_FALSE(others());
    }
    EXPECT_FALSE(others());
  }
  EXPECT_TRUE(others());
}

TEST(SharedLock, S22AnUnknownNameIsAnError) {
  SharedState state;
  state.set("value", 1);
  EXPECT_THAT(messageOf<InvalidArgument>([&] { (void)state.lock("value", long_); }),
              HasSubstr("no lock \"value\""));
}

TEST(SharedLock, IsCreatedOnceAndFoundAgain) {
  SharedState state;
  state.createLock("lock");
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state.createLock("lock"); }),
              HasSubstr("\"lock\" is there already"));
  state.findOrCreateLock("lock");
  state.findOrCreateLock("other");
  const SharedGuard both[] = {state.lock("lock", soon), state.lock("other", soon)};
}

TEST(SharedLock, MakesWhatIsUnderItOneAfterTheOther) {
  constexpr int threads = 8;
  constexpr int times = 200;
  SharedState state;
  state.createLock("lock");
  std::int64_t counter = 0;  // no atomic: a data race is what the lock prevents
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      for (int i = 0; i < times; ++i) {
        const SharedGuard guard = state.lock("lock", SharedState::forever);
        ++counter;
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(counter, threads * times);
}

TEST(SharedLock, OutlivesTheState) {
  auto state = std::make_unique<SharedState>();
  state->createLock("lock");
  const SharedGuard guard = state->lock("lock", soon);
  state.reset();
}

#ifndef NDEBUG
TEST(SharedLock, AnOrderThatCouldEndInADeadlockIsRefusedByBothNames) {
  SharedState state;
  for (const char* name : {"a", "b", "c"}) state.createLock(name);
  {
    const SharedGuard first = state.lock("a", soon);
    const SharedGuard second = state.lock("b", soon);
  }
  {
    const SharedGuard first = state.lock("b", soon);
    const SharedGuard second = state.lock("c", soon);
    const SharedGuard again = state.lock("b", soon);
  }
  {
    const SharedGuard first = state.lock("c", soon);
    EXPECT_THAT(messageOf<LockOrder>([&] { (void)state.lock("a", soon); }),
                AllOf(HasSubstr("\"a\""), HasSubstr("\"c\"")));
  }
  const SharedGuard first = state.lock("a", soon);
  const SharedGuard second = state.lock("c", soon);
}
#endif

TEST(SharedSnapshot, S23WaitsForThoseWhoHoldLocksAndHoldsBackNewOnes) {
  SharedState state;
  state.createLock("one");
  state.createLock("two");
  state.set("left", 0);
  state.set("right", 0);
  std::optional<SharedGuard> held(state.lock("one", soon));
  state.set("left", 1);
  std::atomic<int> done{0};
  auto snapshot = std::async(std::launch::async, [&] {
    auto entries = state.snapshot({}, long_);
    ++done;
    return entries;
  });
  // A newcomer is held back once the snapshot waits.
  ASSERT_TRUE(eventually([&] {
    return std::async(std::launch::async,
                      [&] {
                        try {
                          const SharedGuard newcomer = state.lock("two", 0ms);
                          return false;
                        } catch (const LockTimeout&) {
                          return true;
                        }
                      })
        .get();
  }));
  { const SharedGuard more = state.lock("two", soon); }  // but not who holds one
  EXPECT_EQ(done, 0);
  state.set("right", 1);
  held.reset();
  const auto entries = snapshot.get();
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(*entries[0].value, Value(1));
  EXPECT_EQ(*entries[1].value, Value(1));
  const SharedGuard free = state.lock("two", soon);
}

TEST(SharedSnapshot, TimesOutByTheNamesOfTheLocksThatAreHeld) {
  SharedState state;
  state.createLock("slow");
  const SharedGuard held = state.lock("slow", soon);
  const std::string message =
      std::async(std::launch::async, [&] {
        return messageOf<LockTimeout>([&] { (void)state.snapshot({}, soon); });
      }).get();
  EXPECT_THAT(message, AllOf(HasSubstr("50 ms"), HasSubstr("slow")));
  std::async(std::launch::async, [&] {
    state.createLock("other");
    const SharedGuard free = state.lock("other", soon);  // nothing is left of the failed snapshot
  }).get();
}

TEST(SharedSnapshot, TwoThatHoldLocksDoNotWaitForEachOther) {
  SharedState state;
  state.createLock("one");
  state.createLock("two");
  std::atomic<int> holding{0};
  const auto hold = [&](const char* name) {
    return std::async(std::launch::async, [&state, &holding, name] {
      const SharedGuard guard = state.lock(name, long_);
      ++holding;
      EXPECT_TRUE(eventually([&] { return holding == 2; }));
      (void)state.snapshot({}, long_);
    });
  };
  auto first = hold("one");
  auto second = hold("two");
  first.get();
  second.get();
}

TEST(SharedState, IsRefusedInAForkedChild) {
  auto state = std::make_unique<SharedState>();
  state->set("a", 1);
  const pid_t child = ::fork();
  if (child == 0) {
    int refused = 0;
    const std::vector<std::function<void()>> calls{
        [&] { (void)state->get("a"); }, [&] { state->set("a", 1); }, [&] { state->close(); }};
    for (const auto& call : calls) {
      try {
        call();
      } catch (const Closed& error) {
        refused += std::string(error.what()).find("forked") != std::string::npos ? 1 : 0;
      }
    }
    state.reset();
    ::_exit(refused);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

}  // namespace
}  // namespace penstock::state
