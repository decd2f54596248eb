// SPDX-License-Identifier: Apache-2.0

// Row 22 with real processes: two of them count what is being written, and one or the other is
// killed at some frame or other, again and again. Each kill has committed counts before and after
// it.

#include <gtest/gtest.h>
#include <penstock/state/journal.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fault/scale.h"
#include "results.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

using testing::Subprocess;

/// Waits in real time, but for something to happen, not for time to pass.
bool waitUntil(state::Journal& journal, const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    journal.waitForWritten(journal.written(), std::chrono::milliseconds(5));
  }
  return true;
}

/// `other`: topic `in` is in another directory than the application, which sees there what is
/// synced.
void killTwoProcesses(bool other) {
  const std::uint64_t seed = firstSeed();
  const int kills = scaled(20, 200, 5000);
  SCOPED_TRACE("PENSTOCK_FAULT_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const testing::TemporaryDirectory directory;
  const testing::TemporaryDirectory otherDirectory;
  state::JournalOptions shared;
  shared.sharing = state::Sharing::Shared;
  const auto journal = state::Journal::open(directory.path(), shared);
  const auto input = other ? state::Journal::open(otherDirectory.path(), shared) : journal;
  const auto fed = other ? state::Durability::Synced : state::Durability::Buffered;
  Feeder feeder(input, 4, 20'000, seed);

  const auto start = [&](const char* untilEnd) {
    return std::make_unique<Subprocess>(
        std::vector<std::string>{PENSTOCK_COUNTING_PROCESS, directory.path()},
        std::vector<std::string>{
            "PENSTOCK_COMMIT_INTERVAL_MS=10", untilEnd, "PENSTOCK_LOG_LEVEL=info",
            "PENSTOCK_INPUT_ADDRESSES=" + (other ? "in=" + otherDirectory.path() : "")});
  };
  constexpr const char* kRunOn = "PENSTOCK_UNTIL_END=false";
  constexpr const char* kUntilEnd = "PENSTOCK_UNTIL_END=true";
  std::array<std::unique_ptr<Subprocess>, 2> processes{start(kRunOn), start(kRunOn)};

  for (int kill = 0; kill < kills; ++kill) {
    const std::uint64_t before = recordsIn(journal, "counts");
    const std::uint64_t frames = random() % 40;
    const state::Sequence from = journal->written();
    feeder.feed(200 + random() % 4000, fed);
    const auto progress = [&] {
      if (recordsIn(journal, "counts") > before &&
          journal->written().value >= from.value + frames) {
        return true;
      }
      feeder.feed(10, fed);  // they never run out of work
      return false;
    };
    ASSERT_TRUE(waitUntil(*journal, progress)) << "no progress before kill " << kill << "\n"
                                               << processes[0]->err() << processes[1]->err();
    auto& victim = processes[random() % 2];
    const testing::Finished finished = victim->kill9();
    ASSERT_EQ(finished.signal, SIGKILL) << "ended by itself: " << finished.err;
    victim = start(kRunOn);
  }
  for (auto& process : processes) {
    // A signal before run() has its handlers would end the program as any other.
    EXPECT_TRUE(testing::eventually(
        [&] { return process->err().find("task assigned") != std::string::npos; }));
    const std::uint64_t before = recordsIn(journal, "counts");
    feeder.feed(1000, fed);
    EXPECT_TRUE(waitUntil(*journal, [&] { return recordsIn(journal, "counts") > before; }));
    process->signal(SIGTERM);
    const testing::Finished finished = process->wait(std::chrono::seconds(15));
    EXPECT_EQ(finished.exitCode, 0) << finished.err;
  }
  for (auto& process : processes) process = start(kUntilEnd);
  for (auto& process : processes) {
    const testing::Finished finished = process->wait();
    EXPECT_EQ(finished.exitCode, 0) << finished.err;
  }

  EXPECT_EQ(problemsOf(input, journal), "");
  std::printf("row 22: %d kills, %llu records, %zu words\n", kills,
              static_cast<unsigned long long>(feeder.fed()), feeder.counts().size());
}

TEST(ExactlyOnceOnFiles, SurvivesKillsOfTwoProcesses) { killTwoProcesses(false); }

TEST(ExactlyOnceOnFiles, SurvivesKillsWithInputOfAnotherDirectory) { killTwoProcesses(true); }

}  // namespace
}  // namespace penstock::fault
