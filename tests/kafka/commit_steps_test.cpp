// SPDX-License-Identifier: Apache-2.0
//
// Goal (row 24): whatever step of a commit, of taking tasks up or of a restore the process is
// killed at, outputs and state are exact afterwards.
#include <filesystem>

#include "tests/fault/scale.h"
#include "tests/kafka/wordcount.h"

namespace penstock::kafka {
namespace {

class CommitSteps : public WordcountTest {
 protected:
  /// wordcount that dies when it has passed the point for the n-th time.
  void killedAt(const std::string& point, int passes) {
    const auto arguments = failing(command());
    auto place = environment();
    place.push_back("PENSTOCK_FAIL_POINT=" + point + ":" + std::to_string(passes));
    testing::Subprocess program(arguments, place);
    EXPECT_TRUE(eventually([&] {
      produceLines(10);  // so that there is always something to commit
      return program.ended();
    })) << point
        << " was never passed";
    EXPECT_EQ(program.kill9().signal, SIGKILL) << program.err();
    ++kills;
  }
  void loseState() const {
    std::filesystem::remove_all(state.path());
    std::filesystem::create_directory(state.path());
  }
  int kills = 0;
};

TEST_F(CommitSteps, AKillAtAnyStepOfACommitIsNotSeen) {
  produceLines(100);
  std::uint64_t seed = fault::firstSeed();
  for (int round = 0; round < fault::scaled(1, 2, 20); ++round) {
    for (const char* const point : {"transaction-begun", "record-sent", "commit-begins",
                                    "records-delivered", "positions-sent", "transaction-committed",
                                    "state-committed", "state-committed", "state-committed"}) {
      seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
      killedAt(point, 1 + static_cast<int>((seed >> 33U) % 30));
      if (HasFailure()) return;
    }
    for (const char* const point : {"producer-ready", "positions-read", "torn-found", "restored"}) {
      killedAt(point, 1);
      if (HasFailure()) return;
    }
    if (round % 4 == 3) expectExact();
  }
  expectExact();
  std::printf("row 24, commits: %d kills, %d lines\n", kills, produced);
}

TEST_F(CommitSteps, AKillAtTheFirstStartIsNotSeen) {
  killedAt("producer-ready", 1);
  killedAt("positions-read", 1);
  killedAt("torn-found", 1);
  killedAt("transaction-begun", 1);
  loseState();
  killedAt("transaction-committed", 1);
  loseState();
  killedAt("starts-committed", 1);
  expectExact();
}

TEST_F(CommitSteps, AKillInARestoreIsGoneOnFrom) {
  produceLines(200);
  expectExact();
  for (int round = 0; round < fault::scaled(1, 2, 20); ++round) {
    loseState();
    killedAt("torn-found", 1);
    killedAt("restore-progress", 1);
    killedAt("restored", 1);
    killedAt("record-sent", 5);
    expectExact();
    if (HasFailure()) return;
  }
  std::printf("row 24, restores: %d kills, %d lines\n", kills, produced);
}

}  // namespace
}  // namespace penstock::kafka
