// SPDX-License-Identifier: Apache-2.0

// Row 3 of the scoreboard: real processes on a real file system, killed with SIGKILL at any time.
// Nothing acknowledged may be missing, and the records of each writer are without holes.

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <ostream>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/writers.h"

namespace penstock::fault {
namespace {

/// Who writes, and how the store is kept.
struct Killed {
  const char* name;
  state::Sharing sharing;
  state::Engine engine;
};

void PrintTo(const Killed& killed, std::ostream* out) { *out << killed.name; }

/// What `check` says, of a process of its own: RocksDB starts threads, and Writers forks.
std::string inAnotherProcess(const std::function<std::string()>& check) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string said = check();
    const bool told =
        ::write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said;
  std::array<char, 4096> buffer{};
  for (ssize_t got = 0; (got = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
    said.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? said : said + "; the check itself died";
}

class KillLoop : public ::testing::TestWithParam<Killed> {
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
  const auto& [name, sharing, engine] = GetParam();
  Violations violations("row 3, " + std::string(name));
  testsupport::SimRandom random(firstSeed());
  const std::uint64_t rounds = scaled<std::uint64_t>(20, 500, 5000);
  const std::string journal = directory_ + "/state";
  // Remembered by the directory, so that the writers need not say it.
  (void)state::Journal::open(journal, writerOptions(state::Sharing::Exclusive))
      ->declareStore("numbers", engine);
  Acknowledged acked;
  for (std::uint64_t round = 0; round < rounds && !violations.enough(); ++round) {
    violations.state();
    Writers writers(journal, sharing);
    writers.letWrite(random.below(120), random, acked);
    std::string problem = writers.kill(acked);
    if (problem.empty()) {
      problem = inAnotherProcess(
          [&] { return checkWritten(journal, sharing, acked.written, round % 8 == 7); });
    }
    if (!problem.empty()) violations.add("round " + std::to_string(round), problem);
  }
  std::printf("row 3: %llu acknowledged commits\n", static_cast<unsigned long long>(acked.total));
  EXPECT_GT(acked.total, rounds);
}

const Killed killedOnes[] = {
    {"threads", state::Sharing::Exclusive, state::Engine::File},
    {"processes", state::Sharing::Shared, state::Engine::File},
#ifdef PENSTOCK_ROCKSDB
    {"database", state::Sharing::Exclusive, state::Engine::RocksDb},
#endif
};

INSTANTIATE_TEST_SUITE_P(All, KillLoop, ::testing::ValuesIn(killedOnes),
                         [](const auto& named) { return std::string(named.param.name); });

}  // namespace
}  // namespace penstock::fault
