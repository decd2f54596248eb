// SPDX-License-Identifier: Apache-2.0
//
// Goal: `penstock state ...` as a person or a script meets it: what it prints, what it ends with.
// The binary itself is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/local_file_storage.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/build_paths.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock {
namespace {

using state::Journal;
using state::JournalOptions;
using state::LocalFileStorage;
using testing::Finished;
using testing::runProgram;
using testing::Subprocess;
using testing::TemporaryDirectory;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class StateCommand : public ::testing::Test {
 protected:
  static std::vector<std::string> commandLine(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {testing::buildDirectory() + "/sdk/penstock", "state"});
    return arguments;
  }
  static Finished run(const std::vector<std::string>& arguments, const std::string& input = {}) {
    return runProgram(commandLine(arguments), input);
  }
  /// Runs it, and expects that it succeeds.
  static std::string good(const std::vector<std::string>& arguments,
                          const std::string& input = {}) {
    const Finished finished = run(arguments, input);
    EXPECT_EQ(finished.exitCode, 0) << arguments[0] << ": " << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
  }
  /// Runs it, and expects that exit code and one line on standard error, which it gives.
  static std::string refused(const std::vector<std::string>& arguments, int exitCode = 2) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.exitCode, exitCode) << finished.err;
    EXPECT_THAT(finished.err, StartsWith("penstock: "));
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
    return finished.err;
  }
  /// A closed storage with sealed segments.
  void fill() const {
    JournalOptions options;
    options.segmentBytes = 4096;
    const auto journal = Journal::open(state, options);
    const auto store = journal->declareStore("storage");
    const auto log = journal->declareLog("log");
    state::Commit commit;
    for (int i = 0; i < 40; ++i) {
      commit.put(store, "key" + std::to_string(i), '\x05' + std::string(300, 'v'));
      commit.recordBuffer(log) += "record";
      commit.recordAdded(log, i);
      (void)journal->commit(commit, state::Durability::Buffered);
    }
  }
  /// Flips a bit of the value of the first key.
  void damage() const {
    const std::string path = state + "/segment-0000000001.log";
    std::string bytes;
    {
      std::ifstream file(path, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(file), {});
    }
    bytes[bytes.find("vvvvvvvvvv") + 5] ^= 1;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  TemporaryDirectory directory;
  std::string state = directory / "state";
};

TEST_F(StateCommand, VerifySaysThatASoundDirectoryIsSound) {
  fill();
  EXPECT_THAT(good({"verify", state}), HasSubstr("\nsound\n"));
  const auto json = nlohmann::json::parse(good({"verify", state, "--json"}));
  EXPECT_EQ(json["sound"], true);
  EXPECT_EQ(json["damages"].size(), 0U);
  EXPECT_EQ(json["use"], "nobody");
  EXPECT_GT(json["read"]["frames"], 40);
}

TEST_F(StateCommand, VerifyNamesDamageAndEndsWithThree) {
  fill();
  damage();
  const Finished finished = run({"verify", state});
  EXPECT_EQ(finished.exitCode, 3);
  EXPECT_THAT(finished.out, HasSubstr("segment-0000000001.log: the section at offset "));
  EXPECT_THAT(finished.out, HasSubstr("store \"storage\" cannot be read"));
  EXPECT_THAT(finished.out, Not(HasSubstr("\nsound\n")));
  EXPECT_THAT(finished.err, HasSubstr("damaged in 1 place;"));
  const auto json = nlohmann::json::parse(run({"verify", state, "--json"}).out);
  EXPECT_EQ(json["damages"][0]["stores"][0], "storage");
  EXPECT_EQ(json["damages"][0]["kind"], "section");
}

TEST_F(StateCommand, VerifyNamesWhoHasTheDirectory) {
  const LocalFileStorage storage(state);
  EXPECT_THAT(good({"verify", state}), HasSubstr("in use by pid " + std::to_string(::getpid())));
}

TEST_F(StateCommand, WrongUseIsOneLineAndExitCodeTwo) {
  refused({});
  EXPECT_THAT(refused({"verfiy", state}), HasSubstr("verfiy"));
  EXPECT_THAT(refused({"verify"}), HasSubstr("directory"));
  EXPECT_THAT(refused({"verify", directory / "none"}), HasSubstr("is not there"));
  EXPECT_THAT(refused({"verify", directory.path()}), HasSubstr("holds no journal"));
  EXPECT_FALSE(std::filesystem::exists(directory / "none"));
}

}  // namespace
}  // namespace penstock
