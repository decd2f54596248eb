// SPDX-License-Identifier: Apache-2.0

// Row 17 of the scoreboard, without chance: commits, snapshots, cleanings, closings and openings
// in pairs, of which one is stopped at any of its points, then the other one at any of its own, and
// the first goes on before the second. In one process that has a handle for each, in two that
// share the journal, and with the journal's own threads. All do their work, nothing that was
// acknowledged is lost, and nobody waits for ever.
//
// Use of a closed handle cannot be written in C++; tests/python has it.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>

#include "fault/figures.h"
#include "fault/violations.h"
#include "fault/workload.h"
#include "fault/yield_points.h"

namespace penstock::fault {
namespace {

using state::Commit;
using state::Durability;
using state::Journal;
using testsupport::kAllDamages;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimRandom;
using Actor = YieldPoints::Actor;

const char* const kDirectory = "/state";
constexpr int kPoints = 20;  // of each, at most

enum class Act : std::uint8_t { Commit, Snapshot, Clean, Close, Open };
constexpr std::array kActs{Act::Commit, Act::Snapshot, Act::Clean, Act::Close, Act::Open};
const char* nameOf(Act act) {
  constexpr const char* names[] = {"commit", "snapshot", "clean", "close", "open"};
  return names[static_cast<std::size_t>(act)];
}

state::JournalOptions optionsOf(state::Sharing sharing) {
  state::JournalOptions options = smallJournal();
  options.segmentBytes = 4 << 10;
  options.snapshotAfterBytes = 4 << 10;
  options.sharing = sharing;
  return options;
}

/// Large enough for a new segment now and then.
const std::string kValue(1500, 'v');

void put(Journal& journal, const std::string& key) {
  Commit commit;
  commit.put(*journal.findStore("s"), key, kValue);
  const state::LogId log = *journal.findLog("l");
  appendRecord(commit.recordBuffer(log), key);
  commit.recordAdded(log, 1);
  static_cast<void>(journal.commit(commit));
}
/// What `put` does.
void add(Content& content, const std::string& key) {
  content.stores["s"][key] = kValue;
  content.logs["l"].records.push_back(key);
}

/// A machine with a journal in which there is much to clean and to put into a snapshot.
std::unique_ptr<SimFs> preparedMachine(state::Sharing sharing, Content& content) {
  auto machine = std::make_unique<SimFs>(firstSeed());
  const auto process = machine->startProcess();
  const auto journal = Journal::open(kDirectory, optionsOf(sharing), process->environment());
  static_cast<void>(journal->declareStore("s"));
  static_cast<void>(journal->declareLog("l"));
  for (int i = 0; i < 16; ++i) {
    const std::string key = "key-" + std::to_string(i % 5);
    put(*journal, key);
    add(content, key);
    if (i == 11) journal->snapshotStore(*journal->findStore("s"));
  }
  return machine;
}

std::string keyOf(Actor actor) { return actor == Actor::First ? "first" : "second"; }

[[noreturn]] void hangs(const std::string& where) {
  std::printf("row 17: %s: waits for ever\n", where.c_str());
  std::fflush(stdout);
  std::_Exit(1);  // its threads cannot be ended
}

/// What is there after a kill, and after a power cut, must be `expected`; of records of two that
/// came at once either may be first.
void checkEnd(SimFs& machine, const Content& expected, state::Sharing sharing, SimRandom& random,
              const std::string& where, Violations& violations) {
  const auto sorted = [](Content content) {
    std::sort(content.logs["l"].records.begin(), content.logs["l"].records.end());
    return content;
  };
  for (const bool powerCut : {false, true}) {
    const auto copy = machine.clone(random.next());
    if (powerCut) copy->crash(random.next(), kAllDamages[random.below(kAllDamages.size())]);
    Opened opened = openAndRead(*copy, kDirectory, optionsOf(sharing));
    const std::string lost = opened.problem.empty()
                                 ? difference(sorted(expected), sorted(opened.content))
                                 : opened.problem;
    if (!lost.empty()) violations.add(where + (powerCut ? ", power cut" : ", killed"), lost);
    opened.kill();
  }
}

/// One pair, each with a handle of its own.
class Pair {
 public:
  Pair(const SimFs& prepared, const Content& content, state::Sharing sharing,
       std::array<Act, 2> acts)
      : sharing_(sharing), acts_(acts), machine_(prepared.clone(firstSeed())), content_(content) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (i == 0 || sharing == state::Sharing::Shared) {
        processes_[i] = machine_->startProcess();
        files_[i] = std::make_unique<GuardedFiles<YieldPoints::Call>>(*processes_[i]);
      }
      const std::size_t mine = processes_[i] ? i : 0;
      environments_[i] = processes_[mine]->environment();
      environments_[i].files = files_[mine].get();
      if (acts[i] != Act::Open) open(i);
    }
  }

  struct Reached {
    bool first = false;   // its point
    bool second = false;  // its point, sooner or later
    bool forced = false;  // and was there while the first one was at its own
  };
  Reached run(int firstPoint, int secondPoint, const std::string& where, Violations& violations) {
    points_.stopAt(Actor::First, firstPoint);
    points_.stopAt(Actor::Second, secondPoint);
    std::thread first([&] { act(Actor::First); });
    if (!points_.settle(Actor::First, YieldPoints::kHangs)) hangs(where);
    Reached reached{points_.stopped(Actor::First), false, false};
    std::thread second([&] { act(Actor::Second); });
    static_cast<void>(points_.settle(Actor::Second, std::chrono::milliseconds(3)));
    reached.forced = reached.first && points_.stopped(Actor::Second);
    points_.letGo(Actor::First);
    if (!points_.settle(Actor::First, std::chrono::milliseconds(20))) {  // waits for the second
      if (!points_.settle(Actor::Second, YieldPoints::kHangs)) hangs(where);
      points_.letGo(Actor::Second);
    }
    if (!points_.settle(Actor::Second, YieldPoints::kHangs)) hangs(where);
    reached.second = points_.stopped(Actor::Second);
    points_.letGo(Actor::Second);
    for (const Actor actor : {Actor::First, Actor::Second}) {
      while (!points_.ended(actor)) {
        if (!points_.settle(actor, YieldPoints::kHangs)) hangs(where);
        points_.letGo(actor);
      }
    }
    first.join();
    second.join();
    for (std::size_t i = 0; i < 2; ++i) {
      if (!failures_[i].empty()) violations.add(where, failures_[i]);
    }
    for (const auto& process : processes_) {
      if (process) process->kill();
    }
    Content expected = content_;
    for (const Actor actor : {Actor::First, Actor::Second}) {
      if (done_[actor]) add(expected, keyOf(actor));
    }
    SimRandom random(firstSeed() + static_cast<std::uint64_t>(firstPoint * 100 + secondPoint));
    checkEnd(*machine_, expected, sharing_, random, where, violations);
    return reached;
  }

 private:
  void open(std::size_t i) {
    journals_[i] = Journal::open(kDirectory, optionsOf(sharing_), environments_[i]);
  }
  void act(Actor actor) {
    YieldPoints::become(actor);
    try {
      if (acts_[actor] == Act::Open) open(actor);
      Journal& journal = *journals_[actor];
      if (acts_[actor] == Act::Snapshot) journal.snapshotStore(*journal.findStore("s"));
      if (acts_[actor] == Act::Clean) static_cast<void>(journal.clean());
      if (acts_[actor] == Act::Commit || acts_[actor] == Act::Open) {
        put(journal, keyOf(actor));
        done_[actor] = true;
      }
      for (const Actor other : {Actor::First, Actor::Second}) {
        const bool there = done_[other];
        if (there && !journal.store(*journal.findStore("s"))->contains(keyOf(other))) {
          failures_[actor] = "does not read the commit of the " + keyOf(other);
        }
      }
      journals_[actor].reset();
    } catch (const std::exception& error) {
      failures_[actor] = std::string(nameOf(acts_[actor])) + ": " + error.what();
    }
    points_.end(actor);
  }

  const state::Sharing sharing_;
  const std::array<Act, 2> acts_;
  const std::unique_ptr<SimFs> machine_;
  const Content& content_;
  YieldPoints points_;
  std::array<std::shared_ptr<testsupport::SimProcess>, 2> processes_;
  std::array<std::unique_ptr<state::FileSystem>, 2> files_;
  std::array<state::Environment, 2> environments_;
  std::array<std::shared_ptr<Journal>, 2> journals_;
  std::array<std::atomic<bool>, 2> done_{};  // its commit
  std::array<std::string, 2> failures_;
};

class ForcedOrders : public ::testing::TestWithParam<state::Sharing> {};

TEST_P(ForcedOrders, OfTwoAtAnyOfTheirPointsLoseNothingAndEnd) {
  const bool shared = GetParam() == state::Sharing::Shared;
  Figures figures(shared ? "17, orders of two processes" : "17, orders of two threads");
  Violations violations("row 17, orders");
  Content content;
  const auto prepared = preparedMachine(GetParam(), content);
  const int step = scaled(5, 1, 1);
  std::uint64_t forced = 0;
  for (const Act first : kActs) {
    for (const Act second : kActs) {
      Pair::Reached reached{true, true, false};
      for (int i = 1; i <= kPoints && reached.first && !violations.enough(); i += step) {
        reached.second = true;
        for (int j = 1; j <= kPoints && reached.second && !violations.enough(); j += step) {
          violations.state();
          Pair pair(*prepared, content, GetParam(), {first, second});
          reached = pair.run(i, j,
                             std::string(nameOf(first)) + " at point " + std::to_string(i) + ", " +
                                 nameOf(second) + " at " + std::to_string(j),
                             violations);
          forced += reached.forced ? 1 : 0;
        }
      }
    }
  }
  EXPECT_GE(forced, shared ? scaled(20U, 400U, 400U) : scaled(10U, 100U, 100U));  // locks
  figures.print(std::to_string(forced) + " orders, " + std::to_string(violations.count()) +
                " wrong");
}

INSTANTIATE_TEST_SUITE_P(Interleavings, ForcedOrders,
                         ::testing::Values(state::Sharing::Exclusive, state::Sharing::Shared),
                         [](const auto& named) {
                           return named.param == state::Sharing::Shared ? "processes" : "threads";
                         });

/// Both orders: the journal's threads are at a point of a group of commits, a snapshot or a
/// cleaning when the last handle goes; and they get there only while it goes.
TEST(Interleavings, OfClosingWithTheJournalsOwnThreadsLoseNothingAndEnd) {
  Figures figures("17, closing");
  Violations violations("row 17, closing");
  Content content;
  const auto prepared = preparedMachine(state::Sharing::Exclusive, content);
  std::uint64_t forced = 0;
  const int most = scaled(60, 300, 300);
  for (int point = 1; point <= most && !violations.enough(); point += scaled(7, 1, 1)) {
    violations.state();
    const std::string where = "at point " + std::to_string(point);
    const auto machine = prepared->clone(firstSeed());
    const auto process = machine->startProcess();
    GuardedFiles<YieldPoints::Call> files(*process);
    state::Environment environment = process->environment();
    environment.files = &files;
    environment.threads = true;
    YieldPoints points;
    YieldPoints::become(Actor::Second);
    points.everybodyIsFirst();
    auto journal = Journal::open(kDirectory, optionsOf(state::Sharing::Exclusive), environment);
    points.stopAt(Actor::First, point);
    Content expected = content;
    std::vector<std::future<state::CommitResult>> futures;
    for (int i = 0; i < 12; ++i) {
      const std::string key = "later-" + std::to_string(i);
      Commit commit;
      commit.put(*journal->findStore("s"), key, kValue);
      expected.stores["s"][key] = kValue;
      futures.push_back(journal->commitAsync(
          std::move(commit), i % 3 == 0 ? Durability::Buffered : Durability::Synced));
    }
    const bool onTheWay = point % 2 == 0;  // it goes on until the point
    if (!onTheWay) static_cast<void>(points.settle(Actor::First, std::chrono::milliseconds(100)));
    std::thread closing([&] {
      YieldPoints::become(Actor::Second);
      journal.reset();
      points.end(Actor::Second);
    });
    if (points.settle(Actor::First, std::chrono::milliseconds(onTheWay ? 100 : 3))) ++forced;
    if (points.settle(Actor::Second, std::chrono::milliseconds(3)) &&
        points.stopped(Actor::First)) {
      violations.add(where, "closed with a thread at work");
    }
    points.letGo(Actor::First);
    if (!points.settle(Actor::Second, YieldPoints::kHangs)) hangs(where);
    closing.join();
    for (auto& future : futures) {
      try {
        if (future.wait_for(YieldPoints::kHangs) != std::future_status::ready) hangs(where);
        static_cast<void>(future.get());
      } catch (const std::exception& error) {
        violations.add(where, error.what());
      }
    }
    process->kill();
    SimRandom random(firstSeed() + static_cast<std::uint64_t>(point));
    checkEnd(*machine, expected, state::Sharing::Exclusive, random, where, violations);
  }
  EXPECT_GE(forced, scaled(2U, 30U, 30U));
  figures.print(std::to_string(forced) + " orders, " + std::to_string(violations.count()) +
                " wrong");
}

/// The callback of a commit has the last handle: the thread that calls it cannot wait for itself.
TEST(Interleavings, OfClosingFromTheCallbackOfACommitEndsInOrder) {
  SimFs machine(firstSeed());
  const auto process = machine.startProcess();
  state::Environment environment = process->environment();
  environment.threads = true;
  for (int i = 0; i < 50; ++i) {
    auto journal = Journal::open(kDirectory, {}, environment);
    Commit commit;
    commit.put(journal->declareStore("s"), std::to_string(i), "v");
    const std::weak_ptr<Journal> gone = journal;
    Journal& used = *journal;
    used.commitAsync(std::move(commit), Durability::Synced,
                     [kept = std::move(journal)](const auto&, const std::exception_ptr&) {});
    while (!gone.expired()) std::this_thread::yield();
  }
  const auto journal = Journal::open(kDirectory, {}, environment);
  EXPECT_EQ(journal->store(*journal->findStore("s"))->size(), 50U);
}

/// The kernel tells of a failed write once: the next sync of that file says that all is well. Here
/// it comes from a cleaning that begins a new segment, while a commit waits for the failed one.
TEST(Interleavings, OfASyncThatFailedWithTheNextOfThatFileAcknowledgeNothingThatIsLost) {
  Violations violations("row 17, failed sync");
  bool over = false;
  for (int point = 1; point <= kPoints && !over; ++point) {
    violations.state();
    const std::string where = "at point " + std::to_string(point);
    SimFs machine(firstSeed());
    const auto process = machine.startProcess();
    GuardedFiles<YieldPoints::Call> files(*process);
    state::Environment environment = process->environment();
    environment.files = &files;
    const auto options = optionsOf(state::Sharing::Exclusive);
    const auto journal = Journal::open(kDirectory, options, environment);
    static_cast<void>(journal->declareStore("s"));
    static_cast<void>(journal->declareLog("l", {.maxAgeMs = 1000}));
    YieldPoints points;
    points.stopAt(Actor::First, point);
    machine.fail({SimCall::Sync, 1, EIO, false, "/segment-"});
    std::array<bool, 2> acknowledged{};
    const auto committing = [&](Actor actor) {
      return std::thread([&, actor] {
        YieldPoints::become(actor);
        try {
          put(*journal, keyOf(actor));
          acknowledged[actor] = true;
        } catch (const Error&) {
        }
        points.end(actor);
      });
    };
    std::thread first = committing(Actor::First);
    if (!points.settle(Actor::First, YieldPoints::kHangs)) hangs(where);
    std::thread second = committing(Actor::Second);
    static_cast<void>(points.settle(Actor::Second, std::chrono::milliseconds(20)));
    machine.clock().advanceMs(2000);  // all records are old
    auto cleaning = std::async(std::launch::async, [&] {
      try {
        static_cast<void>(journal->clean());
      } catch (const Error&) {
      }
    });
    static_cast<void>(cleaning.wait_for(std::chrono::milliseconds(20)));
    over = points.ended(Actor::First);
    points.letGo(Actor::First);
    if (cleaning.wait_for(YieldPoints::kHangs) != std::future_status::ready) hangs(where);
    if (!points.settle(Actor::Second, YieldPoints::kHangs)) hangs(where);
    first.join();
    second.join();
    process->kill();
    machine.crash(firstSeed(), testsupport::Damage::NoneKept);
    Opened opened = openAndRead(machine, kDirectory, options);
    for (const Actor actor : {Actor::First, Actor::Second}) {
      if (acknowledged[actor] && opened.content.stores["s"].count(keyOf(actor)) == 0) {
        violations.add(where, "acknowledged and lost: " + keyOf(actor));
      }
    }
    opened.kill();
  }
  EXPECT_GE(violations.states(), 4U);  // before and behind the write and the sync
}

}  // namespace
}  // namespace penstock::fault
