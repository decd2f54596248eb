// SPDX-License-Identifier: Apache-2.0

// Row 14 of the scoreboard: the wall clock jumps, ten years in either direction or a second to a
// day back. What is stored does not depend on it, nor does when it is synced; what is cleaned by
// age goes by the rule: nothing younger than its age, by the clock as it is then.

#include <gtest/gtest.h>

#include <optional>

#include "fault/figures.h"
#include "fault/violations.h"
#include "fault/workload.h"

namespace penstock::fault {
namespace {

using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimRandom;

constexpr std::int64_t kSecondMs = 1000;
constexpr std::int64_t kHourMs = 3600 * kSecondMs;
constexpr std::int64_t kDayMs = 24 * kHourMs;
constexpr std::int64_t kTenYearsMs = 3652 * kDayMs;

/// Ten years either way, or back by a second to a day.
std::int64_t jump(SimRandom& random) {
  switch (random.below(3)) {
    case 0:
      return kTenYearsMs;
    case 1:
      return -kTenYearsMs;
    default:
      return -kSecondMs - static_cast<std::int64_t>(random.below(kDayMs - kSecondMs));
  }
}

TEST(ClockJumps, ChangeNothingThatIsStored) {
  Figures figures("14");
  Violations violations("row 14, storage");
  const std::uint64_t seeds = scaled<std::uint64_t>(10, 300, 3000);
  std::uint64_t jumps = 0;
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + seeds && !violations.enough();
       ++seed) {
    violations.state();
    const auto wrong = [&](const std::string& what) {
      violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed), what);
    };
    WorkloadOptions options;
    options.seed = seed;
    options.journal = smallJournal();
    SimFs steady(seed);
    SimFs jumping(seed);
    SimRandom random(seed);
    Workload expected(steady, options);
    Workload found(jumping, options);
    expected.open();
    found.open();
    std::optional<state::LogPosition> position;
    state::LogId log;
    for (int i = 0; i < 200; ++i) {
      if (random.oneIn(4)) {
        jumping.clock().jumpWallMs(jump(random));
        ++jumps;
      }
      expected.step();
      found.step();
      if (!found.lastError().empty()) wrong("step " + std::to_string(i) + ": " + found.lastError());
      if (expected.journal()->written() != found.journal()->written() ||
          expected.journal()->synced() != found.journal()->synced()) {
        wrong("step " + std::to_string(i) + ": other frames are written or synced");
        break;
      }
      const auto first = found.journal()->findLog("log-0");
      if (!position && first) {
        log = *first;
        position = found.journal()->position(log, found.journal()->log(log).end);
      }
    }
    const std::string different = difference(expected.current(), readContent(found.journal()));
    if (!different.empty()) wrong(different);
    if (position && found.journal()->log(log).start <= position->offset) {
      try {
        found.journal()->checkPosition(log, *position);  // epochs are no times
      } catch (const Error& error) {
        wrong(error.what());
      }
    }
    // A buffered commit is synced after the interval, wherever the wall clock went meanwhile.
    state::Commit commit;
    commit.put(*found.journal()->findStore("positions"), "late", "1");
    static_cast<void>(found.journal()->commit(commit, state::Durability::Buffered));
    jumping.clock().jumpWallMs(jump(random));
    jumping.clock().advanceMs(options.journal.syncInterval.count());
    found.journal()->testingTick();
    if (found.journal()->synced() != found.journal()->written()) wrong("no sync in time");
    const Content last = readContent(found.journal());
    found.kill();
    jumping.crash(random.next(), kAllDamages[random.below(kAllDamages.size())]);
    jumping.clock().jumpWallMs(jump(random));
    Opened opened = openAndRead(jumping, options.directory, options.journal);
    const std::string lost =
        opened.problem.empty() ? difference(last, opened.content) : opened.problem;
    if (!lost.empty()) wrong("after a power cut: " + lost);
    opened.kill();
    expected.kill();
  }
  figures.print(std::to_string(seeds) + " runs, " + std::to_string(jumps) + " jumps, " +
                std::to_string(violations.count()) + " differences");
}

TEST(ClockJumps, LetCleaningDropWhatIsOldByTheRuleAndNoMore) {
  Figures figures("14, cleaning");
  Violations violations("row 14, cleaning");
  const std::uint64_t seeds = scaled<std::uint64_t>(10, 300, 3000);
  std::uint64_t dropped = 0;
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + seeds && !violations.enough();
       ++seed) {
    SimFs machine(seed);
    SimRandom random(seed);
    const auto process = machine.startProcess();
    state::JournalOptions options = smallJournal();
    options.segmentBytes = 4 << 10;
    auto journal = state::Journal::open("/state", options, process->environment());
    const state::LogId log = journal->declareLog("log", {.maxAgeMs = kHourMs, .maxBytes = -1});
    std::vector<std::int64_t> times;  // of all records, by offset
    const auto append = [&](int records) {
      for (int i = 0; i < records; ++i) {
        machine.clock().advanceMs(static_cast<std::int64_t>(random.below(kHourMs / 20)));
        times.push_back(machine.clock().wallMs());
        state::Commit commit;
        appendRecord(commit.recordBuffer(log), std::string(300, 'r'));
        commit.recordAdded(log, times.back());
        static_cast<void>(journal->commit(commit, state::Durability::Buffered));
      }
    };
    const auto cleaned = [&](const std::string& when) {
      violations.state();
      const std::uint64_t before = journal->log(log).start;
      static_cast<void>(journal->clean());
      const std::uint64_t start = journal->log(log).start;
      const std::int64_t oldest = machine.clock().wallMs() - kHourMs;
      for (std::uint64_t i = before; i < start; ++i) {
        if (times[static_cast<std::size_t>(i)] < oldest) continue;
        violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed),
                       when + ": record " + std::to_string(i) + " was dropped " +
                           std::to_string(times[static_cast<std::size_t>(i)] - oldest) +
                           " ms too early");
        break;
      }
      dropped += start - before;
      return start - before;
    };
    for (int round = 0; round < 8 && !violations.enough(); ++round) {
      append(40);
      static_cast<void>(cleaned("in order"));
      machine.clock().jumpWallMs(jump(random));
      static_cast<void>(cleaned("after a jump"));
      if (random.oneIn(3)) {
        journal.reset();
        journal = state::Journal::open("/state", options, process->environment());
      }
    }
    // Whatever the clock said before: all of it is old some day.
    machine.clock().jumpWallMs(20 * kTenYearsMs);
    machine.clock().advanceMs(kHourMs);
    static_cast<void>(cleaned("at last"));
    if (journal->log(log).start != times.size()) {
      violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed), "old records stay for ever");
    }
    journal.reset();
    process->kill();
  }
  figures.print(std::to_string(violations.states()) + " cleanings, " + std::to_string(dropped) +
                " records dropped, " + std::to_string(violations.count()) + " too early");
}

}  // namespace
}  // namespace penstock::fault
