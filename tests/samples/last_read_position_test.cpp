// SPDX-License-Identifier: Apache-2.0
//
// Goal: both programs that keep a position by Datastore::update write everything once, whatever
// they are killed at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"

namespace penstock::testing {
namespace {

using ::testing::HasSubstr;

class PositionSamples : public ::testing::Test {
 protected:
  TemporaryDirectory directory;
  const std::string store = "file:" + (directory / "store");
  const std::string output = directory / "output";

  static std::string content(const std::string& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::vector<std::string> reader(const std::string& source) const {
    return {buildDirectory() + "/samples/last_read_position",
            "--store",
            store,
            "--source",
            source,
            "--output",
            output,
            "--page",
            "7"};
  }
  std::vector<std::string> watcher(const std::string& looks) const {
    return {buildDirectory() + "/samples/directory_watch",
            "--store",
            store,
            "--directory",
            directory / "watched",
            "--output",
            output,
            "--looks",
            looks,
            "--every",
            "0"};
  }
  bool seen(int number) {
    const auto found = here_.get("files of " + (directory / "watched"));
    if (!found) return false;
    const auto& names = found->asMap().at("files").asList();
    return std::find(names.begin(), names.end(), state::Value(std::to_string(number))) !=
           names.end();
  }
  void touch(int number) const {
    std::ofstream(directory / "watched/" + std::to_string(number)) << number;
  }

 private:
  state::Datastore here_ = state::Datastore::open(store);
};

TEST_F(PositionSamples, EachRecordIsWrittenOnceOverKills) {
  const std::string source = directory / "source";
  std::string all;
  for (int i = 0; i < 5000; ++i) all += "record " + std::to_string(i) + "\n";
  std::ofstream(source) << all;
  for (int kills = 0; kills < 5; ++kills) {
    const auto before = content(output).size();
    Subprocess program(reader(source));
    ASSERT_TRUE(eventually([&] { return content(output).size() > before + 1000; }));
    program.kill9();
  }
  const Finished last = runProgram(reader(source));
  ASSERT_EQ(last.exitCode, 0) << last.err;
  EXPECT_EQ(content(output), all);
  std::ofstream(source, std::ios::app) << "one more\n";
  ASSERT_EQ(runProgram(reader(source)).exitCode, 0);
  EXPECT_EQ(content(output), all + "one more\n");
}

TEST_F(PositionSamples, EachFileThatCameOrWentIsReportedOnceOverKills) {
  std::filesystem::create_directory(directory / "watched");
  std::map<std::string, int> expected;
  int number = 0;
  for (int kills = 0; kills < 5; ++kills) {
    Subprocess program(watcher("1000000"));
    for (int i = 0; i < 40; ++i, ++number) {
      touch(number);
      ++expected["added " + std::to_string(number)];
      if (number % 3 != 0) continue;
      // It has to be in the store before it goes: a line alone may be taken back.
      ASSERT_TRUE(eventually([&] { return seen(number); }));
      std::filesystem::remove(directory / "watched/" + std::to_string(number));
      ++expected["removed " + std::to_string(number)];
    }
    program.kill9();
  }
  ASSERT_EQ(runProgram(watcher("1")).exitCode, 0);
  std::map<std::string, int> reported;
  std::istringstream lines(content(output));
  for (std::string line; std::getline(lines, line);) ++reported[line];
  EXPECT_EQ(reported, expected);
}

TEST_F(PositionSamples, ALineThatIsNotEndedIsNoRecordYet) {
  const std::string source = directory / "source";
  std::ofstream(source) << "a\nb";
  ASSERT_EQ(runProgram(reader(source)).exitCode, 0);
  EXPECT_EQ(content(output), "a\n");
  std::ofstream(source, std::ios::app) << "c\nd\n";
  ASSERT_EQ(runProgram(reader(source)).exitCode, 0);
  EXPECT_EQ(content(output), "a\nbc\nd\n");
}

TEST_F(PositionSamples, AnOutputThatTheStoreDoesNotKnowStaysAsItIs) {
  std::filesystem::create_directory(directory / "watched");
  touch(1);
  const std::string source = directory / "source";
  std::ofstream(source) << "a\n";
  std::ofstream(output) << "of somebody else\n";
  for (const auto& program : {reader(source), watcher("1")}) {
    const Finished refused = runProgram(program);
    EXPECT_EQ(refused.exitCode, 2);
    EXPECT_THAT(refused.err, HasSubstr(output + " is there already"));
    EXPECT_EQ(content(output), "of somebody else\n");
  }
  std::ofstream(output, std::ios::trunc).close();  // nothing stands in it
  EXPECT_EQ(runProgram(reader(source)).exitCode, 0);
  EXPECT_EQ(content(output), "a\n");
}

TEST_F(PositionSamples, SayWhatIsWrong) {
  for (const std::string& none : {directory / "nowhere", directory.path()}) {
    const Finished unread = runProgram(reader(none));
    EXPECT_EQ(unread.exitCode, 1);
    EXPECT_THAT(unread.err, HasSubstr("cannot read " + none));
  }
  EXPECT_THAT(runProgram(watcher("0")).err, HasSubstr("--looks: 0 is not possible: give 1"));
  EXPECT_THAT(runProgram(watcher("1")).err, HasSubstr("watched"));
  const std::string source = directory / "source";
  std::ofstream(source) << "a\n";
  ASSERT_EQ(runProgram(reader(source)).exitCode, 0);
  std::ofstream(source, std::ios::app) << "b\n";
  std::filesystem::remove(output);
  EXPECT_THAT(runProgram(reader(source)).err, HasSubstr("is it another file?"));
}

}  // namespace
}  // namespace penstock::testing
