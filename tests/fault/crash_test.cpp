// SPDX-License-Identifier: Apache-2.0

// Rows 1 and 2 of the scoreboard: the power goes, or the process is killed, at every operation of
// a run, and again at every operation of a recovery. The run goes on undisturbed; each end is
// tried on a copy of the machine.

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/workload.h"

namespace penstock::fault {
namespace {

using testsupport::Damage;
using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimRandom;

const char* const kDirectory = "/state";

std::string placeOf(std::uint64_t seed, const SimFs::Operation& operation) {
  return "PENSTOCK_FAULT_SEED=" + std::to_string(seed) + " operation " +
         std::to_string(operation.number) + " (" + std::string(nameOf(operation.call)) + " " +
         std::string(operation.path) + " at " + std::to_string(operation.offset) + "+" +
         std::to_string(operation.length) + ")";
}

/// What recovery served must stay, whatever happens to the power next.
std::string recoveredContentIsDurable(SimFs& machine, Opened& opened, Damage damage,
                                      std::uint64_t seed, const state::JournalOptions& options) {
  if (opened.journal->synced() != opened.journal->written()) return "recovered, but not synced";
  const Content served = opened.content;
  opened.process->kill();
  machine.crash(seed, damage);
  opened.journal.reset();
  Opened again = openAndRead(machine, kDirectory, options);
  const std::string problem =
      !again.problem.empty() ? again.problem : difference(served, again.content);
  again.kill();
  return problem.empty() ? "" : "served by recovery, gone after a second power cut: " + problem;
}

/// The journal works after recovery, and keeps its word.
std::string recoveredJournalWorks(SimFs& machine, Opened& opened, std::uint64_t seed,
                                  const state::JournalOptions& options) {
  Content expected = opened.content;
  try {
    const state::StoreId store = opened.journal->declareStore("after");
    state::Commit commit;
    commit.put(store, "k", "v");
    static_cast<void>(opened.journal->commit(commit));
    expected.stores["after"]["k"] = "v";
  } catch (const std::exception& error) {
    return std::string("commit after recovery: ") + error.what();
  }
  opened.process->kill();
  machine.crash(seed, Damage::NoneKept);
  opened.journal.reset();
  Opened again = openAndRead(machine, kDirectory, options);
  const std::string problem =
      !again.problem.empty() ? again.problem : difference(expected, again.content);
  again.kill();
  return problem.empty() ? "" : "committed after recovery: " + problem;
}

TEST(CrashAtEveryOperation, LeavesAnAcknowledgedPrefix) {
  Violations violations("row 1");
  const int steps = scaled(60, 200, 200);
  const std::uint64_t states = scaled<std::uint64_t>(4000, 50'000, 5'000'000);
  // A row without these would leave much of the code untried.
  std::set<std::string, std::less<>> blobs;
  std::set<std::string, std::less<>> archives;
  for (std::uint64_t seed = firstSeed(); violations.states() < states && !violations.enough();
       ++seed) {
    SimFs machine(seed);
    SimRandom random(seed);
    WorkloadOptions options;
    options.seed = seed;
    options.steps = steps;
    options.journal = smallJournal();
    Workload workload(machine, options);
    machine.onOperation([&](const SimFs::Operation& operation) {
      if (violations.enough()) return;
      if (operation.path.find("/blob-") != std::string::npos) blobs.emplace(operation.path);
      if (operation.path.find("/archive-") != std::string::npos) archives.emplace(operation.path);
      for (const Damage damage : kAllDamages) {
        violations.state();
        const std::uint64_t crashSeed = random.next();
        const auto copy = machine.clone(crashSeed);
        copy->crash(crashSeed, damage);
        Opened opened = openAndRead(*copy, kDirectory, options.journal);
        std::string problem =
            opened.problem.empty() ? workload.judge(opened.content) : opened.problem;
        if (problem.empty() && random.oneIn(8)) {
          const auto second = kAllDamages[random.below(kAllDamages.size())];
          problem =
              random.oneIn(2)
                  ? recoveredContentIsDurable(*copy, opened, second, random.next(), options.journal)
                  : recoveredJournalWorks(*copy, opened, random.next(), options.journal);
        }
        if (!problem.empty()) {
          violations.add(placeOf(seed, operation) + ", " + std::string(nameOf(damage)), problem);
        }
        if (random.oneIn(2)) opened.kill();  // else it closes in order
      }
      violations.state();
      const auto copy = machine.clone(random.next());
      Opened opened = openAndRead(*copy, kDirectory, options.journal);
      std::string problem =
          opened.problem.empty() ? workload.judgeKill(opened.content) : opened.problem;
      if (problem.empty()) {
        problem =
            recoveredContentIsDurable(*copy, opened, kAllDamages[random.below(kAllDamages.size())],
                                      random.next(), options.journal);
      }
      if (!problem.empty()) violations.add(placeOf(seed, operation) + ", killed", problem);
      opened.kill();
    });
    workload.run();
    EXPECT_EQ(workload.errors(), 0) << "seed " << seed << ": " << workload.lastError();
    EXPECT_EQ(difference(workload.current(), readContent(workload.journal())), "");
    if (seed == firstSeed()) {
      const state::JournalMetrics metrics = workload.journal()->metrics();
      std::printf(
          "row 1: %llu operations, %llu frames, %llu rollovers, %llu snapshots, "
          "%llu bytes cleaned since the last opening\n",
          static_cast<unsigned long long>(machine.operations()),
          static_cast<unsigned long long>(metrics.frames),
          static_cast<unsigned long long>(metrics.rollovers),
          static_cast<unsigned long long>(metrics.snapshots),
          static_cast<unsigned long long>(metrics.cleanedBytes));
    }
    machine.onOperation(nullptr);
    workload.kill();
  }
  std::printf("row 1: %zu blobs, %zu archives\n", blobs.size(), archives.size());
  EXPECT_GT(blobs.size(), 0U);
  EXPECT_GT(archives.size(), 0U);
}

TEST(CrashInRecovery, IsRecoveredFromToTheSameState) {
  Violations violations("row 2");
  const std::uint64_t wanted = scaled<std::uint64_t>(12, 200, 200);
  std::uint64_t tried = 0;
  for (std::uint64_t seed = firstSeed(); tried < wanted && !violations.enough(); ++seed) {
    SimFs machine(seed);
    SimRandom random(seed);
    WorkloadOptions options;
    options.seed = seed;
    options.steps = 120;
    options.journal = smallJournal();
    Workload workload(machine, options);
    machine.onOperation([&](const SimFs::Operation& operation) {
      if (tried >= wanted || violations.enough() || !random.oneIn(60)) return;
      ++tried;
      const Damage damage = kAllDamages[random.below(kAllDamages.size())];
      const auto crashed = machine.clone(random.next());
      if (random.oneIn(4)) {
        // killed only: the cache is there when recovery begins, and may be lost within it
      } else {
        crashed->crash(random.next(), damage);
      }
      const std::string place = placeOf(seed, operation) + ", " + std::string(nameOf(damage));
      crashed->onOperation([&](const SimFs::Operation& within) {
        if (violations.enough()) return;
        violations.state();
        const Damage second = kAllDamages[random.below(kAllDamages.size())];
        const auto copy = crashed->clone(random.next());
        copy->crash(random.next(), second);
        Opened opened = openAndRead(*copy, kDirectory, options.journal);
        std::string problem =
            opened.problem.empty() ? workload.judge(opened.content) : opened.problem;
        if (problem.empty()) {
          problem = recoveredContentIsDurable(*copy, opened,
                                              kAllDamages[random.below(kAllDamages.size())],
                                              random.next(), options.journal);
        }
        if (!problem.empty()) {
          violations.add(place + ", then in recovery at " + placeOf(seed, within) + ", " +
                             std::string(nameOf(second)),
                         problem);
        }
        opened.kill();
      });
      Opened opened = openAndRead(*crashed, kDirectory, options.journal);
      crashed->onOperation(nullptr);
      if (!opened.problem.empty()) violations.add(place, opened.problem);
      opened.kill();
    });
    workload.run();
    machine.onOperation(nullptr);
    workload.kill();
  }
  EXPECT_EQ(tried, wanted);
}

}  // namespace
}  // namespace penstock::fault
