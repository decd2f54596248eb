// SPDX-License-Identifier: Apache-2.0

// Row 9 of the scoreboard: each call of the file seam fails at its n-th use with each error, once
// or for ever, in the middle of a run. Nothing acknowledged may be lost, nothing is acknowledged
// after a failed sync, no sync is tried again, and a disk that has space again is written again.

#include <gtest/gtest.h>

#include <cerrno>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/workload.h"

namespace penstock::fault {
namespace {

using testsupport::Damage;
using testsupport::kAllDamages;
using testsupport::SimCall;
using testsupport::SimFault;
using testsupport::SimFs;
using testsupport::SimRandom;

constexpr SimCall kCalls[] = {SimCall::Open,     SimCall::Read,          SimCall::Write,
                              SimCall::Sync,     SimCall::SyncDirectory, SimCall::Rename,
                              SimCall::Truncate, SimCall::Remove,        SimCall::Allocate};
constexpr int kErrors[] = {EIO, ENOSPC, EDQUOT, EINTR, EROFS};

struct Case {
  std::uint64_t seed = 1;
  SimFault fault;
};

std::string textOf(const Case& tried) {
  return "PENSTOCK_FAULT_SEED=" + std::to_string(tried.seed) + " " +
         std::string(nameOf(tried.fault.call)) + " number " + std::to_string(tried.fault.nth) +
         (tried.fault.always ? " and later" : "") + " fails with " +
         std::to_string(tried.fault.error);
}

/// False when the run ended before the fault could hit: larger n would do nothing either.
bool tryCase(const Case& tried, Violations& violations) {
  violations.state();
  SimFs machine(tried.seed);
  SimRandom random(tried.seed + tried.fault.nth);
  WorkloadOptions options;
  options.seed = tried.seed;
  options.journal = smallJournal();
  options.journal.segmentBytes = 4 << 10;  // many of the rarer calls
  Workload workload(machine, options);
  // Behind a failed sync, recovery finds the disk's truth: buffered commits are gone, also after a
  // mere kill.
  const bool syncFault =
      tried.fault.call == SimCall::Sync || tried.fault.call == SimCall::SyncDirectory;
  const auto problem = [&](const std::string& what) { violations.add(textOf(tried), what); };
  try {
    workload.open();
    for (int i = 0; i < 10; ++i) workload.step();
    machine.fail(tried.fault);
    std::uint64_t ackedAtFault = 0;
    std::uint64_t syncsAtFailure = 0;
    bool failed = false;
    std::weak_ptr<const state::Journal> failing;  // another may come to stand at its address
    int after = 0;
    const bool stopAtOnce = random.oneIn(2);  // what the failed call left is not overwritten
    for (int i = 0; i < 160 && after < (stopAtOnce ? 1 : 25); ++i) {
      const std::uint64_t hits = machine.faultsHit();
      workload.step();
      if (machine.faultsHit() > 0) ++after;
      if (hits == 0 && machine.faultsHit() > 0) ackedAtFault = workload.acknowledgedSteps();
      if (workload.failedForGood() && !failed) {
        failed = true;
        failing = workload.journal();
        syncsAtFailure = machine.calls(SimCall::Sync);
        ackedAtFault = workload.acknowledgedSteps();
      } else if (failed && (failing.expired() || workload.journal() != failing.lock())) {
        break;  // closed and opened again: recovery may sync
      } else if (failed) {
        if (workload.acknowledgedSteps() != ackedAtFault) {
          problem("acknowledged a commit after JournalFailed");
          break;
        }
        if (machine.calls(SimCall::Sync) != syncsAtFailure) {
          problem("synced again after a failed sync");
          break;
        }
      }
    }
    if (machine.faultsHit() == 0) {
      workload.kill();
      return false;
    }
    // Nobody fails any more: a full disk is written again, a failed journal is opened again.
    machine.clearFaults();
    const bool full = tried.fault.error == ENOSPC || tried.fault.error == EDQUOT;
    if (full && !stopAtOnce &&
        (tried.fault.call == SimCall::Write || tried.fault.call == SimCall::Allocate) &&
        workload.journal() && !workload.failedForGood()) {
      const int before = workload.errors();
      for (int i = 0; i < 10; ++i) workload.step();
      if (workload.errors() != before) {
        problem("does not go on after the disk has space: " + workload.lastError());
      }
    }
  } catch (const Error& error) {
    // Opening failed: nothing was promised.
  } catch (const std::exception& error) {
    problem(error.what());
  }
  // What anybody still reads from memory must be a version; then the power goes.
  if (workload.journal()) {
    try {
      machine.clearFaults();
      static_cast<void>(readContent(workload.journal()));
    } catch (const Error&) {  // may refuse
    } catch (const std::exception& error) {
      problem(std::string("reading on: ") + error.what());
    }
  }
  workload.kill();
  for (int i = 0; i < 3; ++i) {
    const Damage damage = kAllDamages[random.below(kAllDamages.size())];
    const auto copy = machine.clone(random.next());
    if (i != 0) copy->crash(random.next(), damage);
    Opened opened = openAndRead(*copy, options.directory, options.journal);
    const std::string wrong = !opened.problem.empty() ? opened.problem
                              : i == 0 && !syncFault  ? workload.judgeKill(opened.content)
                                                      : workload.judge(opened.content);
    if (!wrong.empty()) {
      problem((i == 0 ? "after a kill: " : "after " + std::string(nameOf(damage)) + ": ") + wrong);
    }
    if (wrong.empty() && i == 0) {
      // Served means durable: also what only the cache of a failed sync still showed.
      const Content served = opened.content;
      opened.process->kill();
      copy->crash(random.next(), Damage::NoneKept);
      opened.journal.reset();
      opened = openAndRead(*copy, options.directory, options.journal);
      const std::string gone =
          opened.problem.empty() ? difference(served, opened.content) : opened.problem;
      if (!gone.empty()) problem("served after a kill, gone after a power cut: " + gone);
    }
    opened.kill();
  }
  return true;
}

class ErrorAtNthCall : public ::testing::TestWithParam<SimCall> {};

TEST_P(ErrorAtNthCall, LosesNothingAcknowledged) {
  Violations violations("row 9, " + std::string(nameOf(GetParam())));
  const std::uint64_t most = scaled<std::uint64_t>(12, 200, 200);
  for (const int error : kErrors) {
    for (const bool always : {false, true}) {
      for (std::uint64_t n = 1; n <= most && !violations.enough(); ++n) {
        const Case tried{firstSeed() + n % 5, {GetParam(), n, error, always, ""}};
        if (!tryCase(tried, violations) && n % 5 == 0) break;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, ErrorAtNthCall, ::testing::ValuesIn(kCalls),
                         [](const auto& named) { return std::string(nameOf(named.param)); });

TEST(FailedSync, IsToldToEveryWaiterOfItsGroup) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto journal = state::Journal::open("/state", smallJournal(), process->environment());
  const state::StoreId store = journal->declareStore("s");
  journal->flush();
  machine.fail({SimCall::Sync, 1, EIO, false, ""});
  state::Commit commit;
  commit.put(store, "k", "v");
  auto future = journal->commitAsync(std::move(commit), state::Durability::Synced);
  EXPECT_THROW(static_cast<void>(future.get()), state::JournalFailed);
  EXPECT_EQ(machine.faultsHit(), 1U);
  process->kill();
}

TEST(FullDisk, RejectsClearlyAndGoesOnByItself) {
  Violations violations("row 9, full disk");
  const std::uint64_t levels = scaled<std::uint64_t>(20, 300, 3000);
  for (std::uint64_t level = 0; level < levels && !violations.enough(); ++level) {
    violations.state();
    const std::uint64_t seed = firstSeed() + level;
    SimFs machine(seed);
    SimRandom random(seed);
    WorkloadOptions options;
    options.seed = seed;
    options.journal = smallJournal();
    options.journal.segmentBytes = 4 << 10;
    Workload workload(machine, options);
    const auto problem = [&](const std::string& what) {
      violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed), what);
    };
    try {
      workload.open();
      for (int i = 0; i < 30; ++i) workload.step();
      std::uint64_t used = 0;
      for (const std::string& file : machine.files()) used += machine.image(file).size();
      machine.setCapacity(used + random.below(std::uint64_t{2} << 20));
      for (int i = 0; i < 300; ++i) {
        workload.step();
        if (workload.failedForGood() || !workload.journal()) {
          problem("a full disk is no failure: " + workload.lastError());
          break;
        }
      }
      const int rejected = workload.errors();
      if (!difference(workload.current(), readContent(workload.journal())).empty()) {
        problem("reads differ on a full disk");
      }
      machine.setCapacity(~std::uint64_t{0});
      for (int i = 0; i < 40; ++i) workload.step();
      if (workload.errors() != rejected) {
        problem("does not go on when there is space: " + workload.lastError());
      }
      machine.setCapacity(used);  // nothing fits any more while the machine goes down and up
      workload.kill();
      const auto copy = machine.clone(random.next());
      copy->setCapacity(~std::uint64_t{0});
      copy->crash(random.next(), kAllDamages[random.below(kAllDamages.size())]);
      Opened opened = openAndRead(*copy, options.directory, options.journal);
      const std::string wrong =
          opened.problem.empty() ? workload.judge(opened.content) : opened.problem;
      if (!wrong.empty()) problem(wrong);
      opened.kill();
    } catch (const std::exception& error) {
      problem(error.what());
    }
  }
}

TEST(FailedSync, AcknowledgesNothingEverAfterAndIsNotRetried) {
  // The heart of row 9, without chance: a commit whose sync failed, then everything else.
  for (const SimCall call : {SimCall::Sync, SimCall::SyncDirectory}) {
    SimFs machine(1);
    WorkloadOptions options;
    options.journal = smallJournal();
    options.journal.segmentBytes = 4 << 10;
    Workload workload(machine, options);
    workload.open();
    for (int i = 0; i < 20; ++i) workload.step();
    ASSERT_EQ(workload.errors(), 0) << workload.lastError();
    machine.fail({call, 1, EIO, false, ""});
    for (int i = 0; i < 200 && machine.faultsHit() == 0; ++i) workload.step();
    ASSERT_EQ(machine.faultsHit(), 1U);
    const auto journal = workload.journal();
    ASSERT_NE(journal, nullptr);
    const std::uint64_t syncs = machine.calls(SimCall::Sync);
    const state::Sequence synced = journal->synced();
    state::Commit commit;
    commit.put(*journal->findStore("positions"), "k", "v");
    EXPECT_THROW(static_cast<void>(journal->commit(commit)), state::JournalFailed);
    // With nothing unsynced there is nothing to be told about.
    if (journal->written() != journal->synced()) {
      EXPECT_THROW(journal->flush(), state::JournalFailed);
    }
    state::Commit buffered;
    buffered.put(*journal->findStore("positions"), "k", "v");
    EXPECT_THROW(static_cast<void>(journal->commit(buffered, state::Durability::Buffered)),
                 state::JournalFailed);
    journal->testingTick();
    EXPECT_EQ(machine.calls(SimCall::Sync), syncs) << nameOf(call);
    EXPECT_EQ(journal->synced(), synced);
    EXPECT_NO_THROW(static_cast<void>(readContent(journal)));  // from memory
    workload.kill();
  }
}

}  // namespace
}  // namespace penstock::fault
