// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace penstock::testing {

/// What `counter` printed in the end, and how often it was killed at work before.
struct CounterRuns {
  std::map<std::string, std::int64_t> counts;
  int kills = 0;
  std::string errors;  // what it said on standard error; empty when all went well
};

/// Runs the sample `counter` on a topic to its end; kills it with SIGKILL up to `killsMax` times
/// when it has written some random amount more, and starts it again on the same state.
CounterRuns runCounterOverKills(const std::string& address, const std::string& topic,
                                const std::string& stateDirectory, int killsMax, unsigned seed);

}  // namespace penstock::testing
