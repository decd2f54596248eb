// SPDX-License-Identifier: Apache-2.0

// Row 11 of the scoreboard, on the simulated file system: a disk that is full when each thing
// that asks for space asks for it, at many levels of what is left. The same on real file systems
// is tests/fault/full_disk, run by scripts/fault.

#include <gtest/gtest.h>

#include <map>

#include "fault/disk_paths.h"
#include "fault/figures.h"
#include "fault/violations.h"
#include "support/sim_fs.h"

namespace penstock::fault {
namespace {

using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimRandom;

constexpr std::uint64_t kNoBound = ~std::uint64_t{0};

/// From nothing to more than the largest call asks for; small levels as often as large ones.
std::uint64_t levelOf(SimRandom& random) {
  constexpr std::uint64_t most[] = {8 << 10, 64 << 10, 5 << 19};
  return random.below(most[random.below(3)]);
}

TEST(DiskPaths, AFullDiskRejectsClearlyAndEverythingGoesOnByItself) {
  Figures figures("11, SimFs");
  Violations violations("row 11, SimFs");
  const std::uint64_t levels = scaled<std::uint64_t>(20, 100, 1000);
  std::map<DiskPath, int> rejected;
  std::map<DiskPath, int> done;
  for (const DiskPath path : kDiskPaths) {
    for (std::uint64_t level = 0; level < levels && !violations.enough(); ++level) {
      violations.state();
      const std::uint64_t seed = firstSeed() + level;
      SimFs machine(seed);
      SimRandom random(seed);
      const auto process = machine.startProcess();
      DiskPathTrial trial("/state", path, seed, process->environment());
      const std::string where =
          std::string(nameOf(path)) + ", PENSTOCK_FAULT_SEED=" + std::to_string(seed);
      const auto check = [&](const std::string& when) {
        if (const std::string wrong = trial.wrong(); !wrong.empty()) {
          violations.add(where, when + ": " + wrong);
        }
      };
      try {
        machine.makeSyncedDirectory("/state");
        trial.prepare();
        std::uint64_t used = 0;
        for (const std::string& file : machine.files()) used += machine.image(file).size();
        machine.setCapacity(used + levelOf(random));
        trial.take();
        check("on a full disk");
        if (random.oneIn(4)) trial.reopen();
        check("opened again on a full disk");
        machine.setCapacity(kNoBound);
        if (path == DiskPath::Page || trial.rejected() == 0 || random.oneIn(2)) {
          trial.resume();
        } else {
          trial.reopen();
          trial.resume();
        }
        check("with space again");
        const auto copy = machine.clone(random.next());
        copy->crash(random.next(), kAllDamages[random.below(kAllDamages.size())]);
        Opened opened = openAndRead(*copy, "/state", trial.options());
        if (!opened.problem.empty()) violations.add(where, "after a crash: " + opened.problem);
        opened.kill();
        trial.reopen();
        check("opened again");
        rejected[path] += trial.rejected();
        done[path] += trial.done();
      } catch (const std::exception& error) {
        violations.add(where, error.what());
      }
      trial.close();
      process->kill();
    }
    // A path that never met the full disk, or never got through, was not tried.
    EXPECT_GT(rejected[path], 0) << nameOf(path);
    EXPECT_GT(done[path], 0) << nameOf(path);
  }
  int all = 0;
  for (const auto& [path, count] : rejected) all += count;
  figures.print(std::to_string(kDiskPaths.size()) + " paths x " + std::to_string(levels) +
                " levels, " + std::to_string(all) + " calls rejected, " +
                std::to_string(violations.count()) + " corrupt");
}

}  // namespace
}  // namespace penstock::fault
