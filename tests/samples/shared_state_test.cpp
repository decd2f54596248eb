// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/shared_state.h>

#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_seed.h"

namespace penstock::testing {
namespace {

using state::Restored;
using state::SharedState;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> program(const std::string& file, const std::vector<std::string>& more) {
  std::vector<std::string> arguments{buildDirectory() + "/samples/shared_state", "--file", file,
                                     "--interval", "1"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

/// The numbers in the file.
std::vector<int> numbersIn(const std::string& file) {
  SharedState state;
  if (state.restore(file) == Restored::NotFound) return {};
  const auto hash = state.get("hash");
  std::vector<int> numbers;
  for (const auto& number : hash->asMap().at("values").asList()) {
    numbers.push_back(static_cast<int>(number.asInt64()));
  }
  return numbers;
}

/// The numbers that lines "saved COUNT, the last is NUMBER" tell of.
std::vector<int> numbersTold(const std::string& out) {
  std::vector<int> numbers;
  std::istringstream lines(out.substr(0, out.rfind('\n') + 1));
  for (std::string line; std::getline(lines, line);) {
    int number = 0;
    std::size_t count = 0;
    if (std::sscanf(line.c_str(), "saved %zu, the last is %d", &count, &number) == 2) {
      numbers.push_back(number);
    }
  }
  return numbers;
}

TEST(SharedStateSample, GoesOnWhereItWas) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  const Finished first = runProgram(program(file, {"--times", "3"}));
  EXPECT_EQ(first.exitCode, 0) << first.err;
  EXPECT_THAT(first.out, StartsWith("saved 1, the last is "));
  EXPECT_THAT(numbersIn(file), ::testing::SizeIs(3));
  const Finished second = runProgram(program(file, {"--times", "2"}));
  EXPECT_EQ(second.exitCode, 0) << second.err;
  EXPECT_THAT(second.out, AllOf(StartsWith("restored 3\nsaved 4"), HasSubstr("\nsaved 5")));
}

TEST(SharedStateSample, KillLosesNothingThatWasSaved) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  std::mt19937 random(testSeed());
  std::vector<int> expected;
  for (int kill = 0; kill < 6; ++kill) {
    Subprocess run(program(file, {}));
    const auto more = std::uniform_int_distribution<std::size_t>(1, 12)(random);
    ASSERT_TRUE(run.waitForOutput([&](const std::string& out) {
      return numbersTold(out).size() >= more;
    })) << run.err();
    const Finished killed = run.kill9();
    const std::vector<int> told = numbersTold(killed.out);
    expected.insert(expected.end(), told.begin(), told.end());
    const std::vector<int> kept = numbersIn(file);
    // All that it said was saved, in order; perhaps one more that it had no time to tell of.
    ASSERT_GE(kept.size(), expected.size());
    ASSERT_LE(kept.size(), expected.size() + 1);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), kept.begin()));
    expected = kept;
  }
}

TEST(SharedStateSample, TwoTimersLoseNoNumberOfEachOther) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  const Finished run = runProgram(program(file, {"--timers", "2", "--times", "30"}));
  EXPECT_EQ(run.exitCode, 0) << run.err;
  std::vector<int> told = numbersTold(run.out);
  std::vector<int> kept = numbersIn(file);
  std::sort(told.begin(), told.end());
  std::sort(kept.begin(), kept.end());
  EXPECT_EQ(kept.size(), 60U);
  EXPECT_EQ(kept, told);
}

TEST(SharedStateSample, TheReaderRemovesWhatHasBecomeLong) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  Subprocess run(program(file, {"--remove-at", "5"}));
  EXPECT_TRUE(run.waitForOutput([](const std::string& out) {
    const std::size_t removed = out.find("removed ");
    return removed != std::string::npos && out.find("saved 1,", removed) != std::string::npos;
  })) << run.err();
  run.signal(SIGTERM);
  const Finished ended = run.wait();
  EXPECT_EQ(ended.exitCode, 0) << ended.err;
}

TEST(SharedStateSample, SaysWhatIsWrongWithItsFile) {
  const Finished run = runProgram(program("/dev/null/state.json", {"--times", "1"}));
  EXPECT_EQ(run.exitCode, 2);
  EXPECT_THAT(run.err, HasSubstr("/dev/null/state.json"));
}

}  // namespace
}  // namespace penstock::testing
