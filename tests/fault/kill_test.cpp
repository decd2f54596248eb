// SPDX-License-Identifier: Apache-2.0

// Row 3 of the scoreboard: real processes on a real file system, killed with SIGKILL at any time.
// Nothing acknowledged may be missing, and the records of each writer are without holes.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/writers.h"

namespace penstock::fault {
namespace {

class KillLoop : public ::testing::TestWithParam<state::Sharing> {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_P(KillLoop, LosesNothingAndLeavesNoHoles) {
  Violations violations(GetParam() == state::Sharing::Shared ? "row 3, processes"
                                                             : "row 3, threads");
  testsupport::SimRandom random(firstSeed());
  const std::uint64_t rounds = scaled<std::uint64_t>(20, 500, 5000);
  Acknowledged acked;
  for (std::uint64_t round = 0; round < rounds && !violations.enough(); ++round) {
    violations.state();
    Writers writers(directory_ + "/state", GetParam());
    writers.letWrite(random.below(120), random, acked);
    std::string problem = writers.kill(acked);
    if (problem.empty()) {
      problem = checkWritten(directory_ + "/state", GetParam(), acked.written, round % 8 == 7);
    }
    if (!problem.empty()) violations.add("round " + std::to_string(round), problem);
  }
  std::printf("row 3: %llu acknowledged commits\n", static_cast<unsigned long long>(acked.total));
  EXPECT_GT(acked.total, rounds);
}

INSTANTIATE_TEST_SUITE_P(Sharing, KillLoop,
                         ::testing::Values(state::Sharing::Exclusive, state::Sharing::Shared),
                         [](const auto& named) {
                           return named.param == state::Sharing::Shared ? "Processes" : "Threads";
                         });

}  // namespace
}  // namespace penstock::fault
