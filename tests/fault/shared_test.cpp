// SPDX-License-Identifier: Apache-2.0

// Several processes on one journal: any of them is killed at any operation, also in the middle of
// a write, and the others go on; then the power goes. Nobody may lose what somebody was promised,
// see a half frame, or write from a stale reading.

#include <gtest/gtest.h>

#include <array>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/workload.h"

namespace penstock::fault {
namespace {

using testsupport::Damage;
using testsupport::kAllDamages;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimRandom;

const char* const kDirectory = "/state";

/// What must be there after commit number `n`: a function of n alone.
Content contentAfter(std::uint64_t n) {
  Content content;
  auto& store = content.stores["counts"];
  auto& log = content.logs["events"];
  for (std::uint64_t i = 1; i <= n; ++i) {
    store["key-" + std::to_string(i % 17)] = std::to_string(i) + std::string(i % 300, 'x');
    log.records.push_back("record " + std::to_string(i));
  }
  if (n > 0) store["position"] = std::to_string(n);
  return content;
}

std::uint64_t positionIn(const state::Store& store) {
  std::string text;
  return store.get("position", text) ? std::stoull(text) : 0;
}

struct Member {
  std::shared_ptr<testsupport::SimProcess> process;
  std::shared_ptr<state::Journal> journal;
  std::shared_ptr<state::Store> store;
  state::LogId log;
};

class SharedRun {
 public:
  SharedRun(std::uint64_t seed, Violations& violations)
      : seed_(seed), machine_(seed), random_(seed), violations_(violations) {
    options_ = smallJournal();
    options_.sharing = state::Sharing::Shared;
    machine_.onOperation([this](const SimFs::Operation& operation) { atOperation(operation); });
  }

  void run(int steps) {
    for (step_ = 0; step_ < steps && !violations_.enough(); ++step_) {
      Member& member = members_[random_.below(members_.size())];
      try {
        step(member);
      } catch (const Error& error) {
        if (member.process->alive()) {
          violations_.add(place(), std::string("a live process failed: ") + error.what());
        }
      }
      running_ = nullptr;
      attempted_ = std::max(attempted_, counted_);
      if (!member.process->alive()) {
        member = {};
        ++kills_;
      }
    }
    machine_.onOperation(nullptr);
    for (Member& member : members_) {
      if (member.process) member.process->kill();
    }
  }
  [[nodiscard]] int kills() const { return kills_; }
  [[nodiscard]] std::uint64_t commits() const { return counted_; }

 private:
  std::string place() const {
    return "PENSTOCK_FAULT_SEED=" + std::to_string(seed_) + " step " + std::to_string(step_);
  }

  void step(Member& member) {
    if (!member.process) member.process = machine_.startProcess();
    running_ = member.process.get();
    if (!member.journal) {
      member.journal = state::Journal::open(kDirectory, options_, member.process->environment());
      member.store = member.journal->store(member.journal->declareStore("counts"));
      member.log = member.journal->declareLog("events");
      declared_ = true;
    }
    const std::uint64_t act = random_.below(100);
    if (act < 70) {
      const auto durability =
          random_.oneIn(2) ? state::Durability::Synced : state::Durability::Buffered;
      std::uint64_t number = 0;
      const auto result = member.journal->transact(
          [&](state::Commit& commit) {
            number = positionIn(*member.store) + 1;
            if (number != counted_ + 1 && number != attempted_ + 1) {
              violations_.add(place(), "a transaction read position " + std::to_string(number - 1) +
                                           ", " + std::to_string(counted_) + " was committed");
            }
            attempted_ = number;
            counted_ = number - 1;  // what a killed one left behind is known now
            const state::StoreId store = member.store->id();
            commit.put(store, "position", std::to_string(number));
            commit.put(store, "key-" + std::to_string(number % 17),
                       std::to_string(number) + std::string(number % 300, 'x'));
            appendRecord(commit.recordBuffer(member.log), "record " + std::to_string(number));
            commit.recordAdded(member.log, static_cast<std::int64_t>(number));
          },
          durability);
      counted_ = number;
      if (result.baseOffsets.size() != 1 || result.baseOffsets[0].second != number - 1) {
        violations_.add(place(), "the record got a wrong offset");
      }
      if (durability == state::Durability::Synced) synced_ = counted_;
    } else if (act < 78) {
      member.journal->flush();
      synced_ = std::max(synced_, counted_);
    } else if (act < 84) {
      machine_.clock().advanceMs(static_cast<std::int64_t>(random_.below(300)));
      member.journal->testingTick();
    } else if (act < 87) {
      member.journal->snapshotStore(member.store->id());
    } else if (act < 90) {
      static_cast<void>(member.journal->clean());
    } else if (act < 94) {
      member.store.reset();
      member.journal.reset();  // closes in order
    } else {
      violations_.state();
      const Content found = readContent(member.journal);
      const std::string lost = oneOf(found, counted_, attempted_);
      if (!lost.empty()) violations_.add(place(), "a live process reads: " + lost);
      const Content synced = readContent(member.journal, state::ReadLimit::Synced);
      if (synced.logs.count("events") != 0 &&
          synced.logs.at("events").records.size() > found.logs.at("events").records.size()) {
        violations_.add(place(), "synced reads are ahead of written ones");
      }
    }
  }

  /// Empty when `found` is the content after a number in [from, to].
  std::string oneOf(const Content& found, std::uint64_t from, std::uint64_t to) const {
    if (from == 0 && found.stores.empty() && found.logs.empty()) return "";
    if (from == 0 && found.logs.empty() && found.stores.size() == 1) return "";
    std::string reason;
    for (std::uint64_t n = std::max(from, to) + 1; n-- > from;) {
      reason = difference(contentAfter(n), found);
      if (reason.empty()) return "";
    }
    return "not what commit " + std::to_string(from) + " left: " + reason;
  }

  void atOperation(const SimFs::Operation& operation) {
    if (violations_.enough()) return;
    const std::string where = place() + " operation " + std::to_string(operation.number) + " (" +
                              std::string(nameOf(operation.call)) + " " +
                              std::string(operation.path) + ")";
    if (random_.oneIn(4)) {  // power cut
      violations_.state();
      const Damage damage = kAllDamages[random_.below(kAllDamages.size())];
      const auto copy = machine_.clone(random_.next());
      copy->crash(random_.next(), damage);
      Opened opened = openAndRead(*copy, kDirectory, options_);
      const std::string problem =
          opened.problem.empty() ? oneOf(opened.content, synced_, std::max(counted_, attempted_))
                                 : opened.problem;
      if (!problem.empty()) {
        violations_.add(where + ", " + std::string(nameOf(damage)), problem);
      }
      opened.kill();
    }
    if (random_.oneIn(8)) {  // all killed at once
      violations_.state();
      const auto copy = machine_.clone(random_.next());
      Opened opened = openAndRead(*copy, kDirectory, options_);
      const std::string problem =
          opened.problem.empty() ? oneOf(opened.content, counted_, std::max(counted_, attempted_))
                                 : opened.problem;
      if (!problem.empty()) violations_.add(where + ", all killed", problem);
      opened.kill();
    }
    if (running_ != nullptr && random_.oneIn(50)) running_->kill();
  }

  const std::uint64_t seed_;
  SimFs machine_;
  SimRandom random_;
  Violations& violations_;
  state::JournalOptions options_;
  std::array<Member, 3> members_;
  testsupport::SimProcess* running_ = nullptr;
  bool declared_ = false;
  int step_ = 0;
  int kills_ = 0;
  std::uint64_t counted_ = 0;    // commits that returned, or were seen
  std::uint64_t attempted_ = 0;  // the newest that may be there
  std::uint64_t synced_ = 0;     // acknowledged as synced
};

TEST(SharedJournal, SurvivesKillsOfAnyMemberAtAnyOperation) {
  Violations violations("row shared");
  const std::uint64_t runs = scaled<std::uint64_t>(6, 100, 5000);
  int kills = 0;
  std::uint64_t commits = 0;
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + runs && !violations.enough();
       ++seed) {
    SharedRun run(seed, violations);
    run.run(200);
    kills += run.kills();
    commits += run.commits();
  }
  std::printf("row shared: %d kills, %llu commits\n", kills,
              static_cast<unsigned long long>(commits));
  EXPECT_GT(kills, static_cast<int>(runs));
}

TEST(SharedFailedSync, OfOneThatDiedOfItIsNotVouchedForByALateJoiner) {
  state::JournalOptions options = smallJournal();
  options.sharing = state::Sharing::Shared;
  for (const Damage damage : kAllDamages) {
    SimFs machine(firstSeed());
    const auto open = [&](Member& member) {
      member.process = machine.startProcess();
      member.journal = state::Journal::open(kDirectory, options, member.process->environment());
    };
    const auto put = [](Member& member, const std::string& key, state::Durability durability) {
      state::Commit commit;
      commit.put(member.journal->declareStore("counts"), key, "1");
      static_cast<void>(member.journal->commit(commit, durability));
    };
    Member first;
    open(first);
    put(first, "before", state::Durability::Synced);
    Member idle;  // so that nobody who comes later recovers
    open(idle);
    put(first, "unsynced", state::Durability::Buffered);
    machine.fail({SimCall::Sync, 1, EIO, false, ""});
    machine.onOperation([&](const SimFs::Operation& operation) {
      if (operation.call == SimCall::Sync) first.process->kill();
    });
    EXPECT_THROW(first.journal->flush(), Error);
    machine.onOperation(nullptr);
    ASSERT_EQ(machine.faultsHit(), 1U);
    bool acknowledged = false;
    Member late;
    try {
      open(late);
      put(late, "late", state::Durability::Synced);
      acknowledged = true;
    } catch (const Error&) {  // refused: what may be lost was not built upon
    }
    machine.crash(firstSeed(), damage);
    Opened opened = openAndRead(machine, kDirectory, options);
    EXPECT_EQ(opened.problem, "") << nameOf(damage);
    EXPECT_EQ(opened.content.stores["counts"].count("before"), 1U) << nameOf(damage);
    if (acknowledged) {
      EXPECT_EQ(opened.content.stores["counts"].count("late"), 1U) << nameOf(damage);
    }
    opened.kill();
  }
}

}  // namespace
}  // namespace penstock::fault
