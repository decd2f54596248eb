// SPDX-License-Identifier: Apache-2.0
#include "support/counter_kills.h"

#include <csignal>
#include <fstream>
#include <random>
#include <sstream>

#include "support/build_paths.h"
#include "support/subprocess.h"

namespace penstock::testing {

namespace {

/// Bytes that a process has written so far; -1 when it is gone.
std::int64_t bytesWrittenBy(pid_t pid) {
  std::ifstream io("/proc/" + std::to_string(pid) + "/io");
  for (std::string name; io >> name;) {
    std::int64_t value = 0;
    io >> value;
    if (name == "wchar:") return value;
  }
  return -1;
}

}  // namespace

CounterRuns runCounterOverKills(const std::string& address, const std::string& topic,
                                const std::string& stateDirectory, int killsMax, unsigned seed) {
  std::mt19937 random(seed);
  CounterRuns runs;
  while (true) {
    Subprocess counter({buildDirectory() + "/samples/counter", "--broker", address, "--input",
                        topic, "--state", stateDirectory, "--until-end"});
    if (runs.kills < killsMax) {
      // opening writes some KiB: small amounts kill in the midst of it, larger ones at work
      const auto amount = static_cast<std::int64_t>(random() % (random() % 4 == 0 ? 8192 : 200000));
      const bool reached = eventually([&] {
        const std::int64_t written = bytesWrittenBy(counter.pid());
        return written < 0 || written > amount || !counter.out().empty();
      });
      const Finished killed = counter.kill9();
      if (reached && killed.signal == SIGKILL) {
        ++runs.kills;
        continue;
      }
    }
    const Finished finished = counter.wait();
    if (finished.exitCode != 0) runs.errors += finished.err + '\n';
    std::istringstream lines(finished.out);
    std::string key;
    for (std::int64_t count = 0; lines >> key >> count;) runs.counts[key] = count;
    return runs;
  }
}

}  // namespace penstock::testing
