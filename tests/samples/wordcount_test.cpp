// SPDX-License-Identifier: Apache-2.0
//
// Goal: the program `wordcount` keeps the contract that others rely on: its options, what it
// counts, the bytes it writes, how it ends. The binary itself is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/streaming_client.h>

#include <csignal>
#include <map>
#include <string>
#include <vector>

#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"

namespace penstock::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string bigEndian(std::int64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
  return bytes;
}

class WordcountSample : public ::testing::Test {
 protected:
  using Arguments = std::vector<std::string>;

  WordcountSample() : client_(directory_ / "topics") {
    client_.createTopic("lines", {.partitions = 2});
    client_.createTopic("counts", {.partitions = 2});
  }

  static Arguments program(Arguments arguments) {
    arguments.insert(arguments.begin(), buildDirectory() + "/samples/wordcount");
    return arguments;
  }
  /// The usual options and some more.
  [[nodiscard]] Arguments usual(const Arguments& more = {}) const {
    Arguments arguments = program({"--broker", "file://" + (directory_ / "topics"), "--input",
                                   "lines", "--output", "counts"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void say(const std::string& line) { client_.producer("lines").send({.value = line}).get(); }

  /// All of the output: for each word the values it got, in order.
  std::map<std::string, std::vector<std::string>> output() {
    std::map<std::string, std::vector<std::string>> values;
    TopicConsumer consumer = client_.consumer("counts");
    consumer.forEach([&](const TopicPartition&, const RecordView& record) {
      values[std::string(record.key.value_or("(none)"))].emplace_back(
          record.value.value_or("(none)"));
    });
    return values;
  }
  std::map<std::string, std::string> lastCounts() {
    std::map<std::string, std::string> last;
    for (const auto& [word, values] : output()) last[word] = values.back();
    return last;
  }

  TemporaryDirectory directory_;
  StreamingClient client_;
};

TEST_F(WordcountSample, CountsLowerCasedRunsOfAsciiLettersAndDigits) {
  say("To be, or NOT to be:");
  say("it's 42_nd\t\xC3\x84" "B\xC3\xA4 a\nb--A");
  say("...");
  say("");
  const Finished run = runProgram(usual({"--until-end"}));
  EXPECT_EQ(run.exitCode, 0) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(lastCounts(),
            (std::map<std::string, std::string>{{"to", bigEndian(2)},
                                                {"be", bigEndian(2)},
                                                {"or", bigEndian(1)},
                                                {"not", bigEndian(1)},
                                                {"it", bigEndian(1)},
                                                {"s", bigEndian(1)},
                                                {"42", bigEndian(1)},
                                                {"nd", bigEndian(1)},
                                                {"b", bigEndian(2)},
                                                {"a", bigEndian(2)}}));
}

TEST_F(WordcountSample, EndsAtTheEndAndGoesOnFromThereUnderTheOtherGuarantee) {
  const std::vector<Arguments> runs = {
      {"--until-end"},
      {"--until-end", "--guarantee", "at-least-once", "--commit-interval", "0"},
      {"--until-end", "--guarantee", "exactly-once", "--commit-interval", "1000"},
      {"--until-end", "--state", directory_ / "unused"}};
  std::int64_t count = 0;
  for (const Arguments& more : runs) {
    for (int i = 0; i < 3; ++i) say("word");
    count += 3;
    const Finished run = runProgram(usual(more));
    EXPECT_EQ(run.exitCode, 0) << run.err;
    EXPECT_EQ(lastCounts()["word"], bigEndian(count));
  }
  const Finished idle = runProgram(usual({"--until-end"}));
  EXPECT_EQ(idle.exitCode, 0) << idle.err;
  EXPECT_EQ(lastCounts()["word"], bigEndian(count));
}

TEST_F(WordcountSample, SigtermAndSigintCommitAndEndWithZero) {
  std::int64_t count = 0;
  for (const int signal : {SIGTERM, SIGINT}) {
    say("word");
    ++count;
    Subprocess running(usual());
    EXPECT_TRUE(eventually([&] { return lastCounts()["word"] == bigEndian(count); }));
    running.signal(signal);
    const Finished ended = running.wait();
    EXPECT_EQ(ended.exitCode, 0) << ended.err;
    EXPECT_EQ(lastCounts()["word"], bigEndian(count));
  }
}

TEST_F(WordcountSample, TheBrokerMayComeFromTheEnvironment) {
  say("word");
  const Finished run =
      runProgram(program({"--input", "lines", "--output", "counts", "--until-end"}), "",
                 {"PENSTOCK_BROKER=" + (directory_ / "topics")});
  EXPECT_EQ(run.exitCode, 0) << run.err;
  EXPECT_EQ(lastCounts()["word"], bigEndian(1));
}

TEST_F(WordcountSample, BadOptionsEndWithTwoAndSayWhich) {
  const auto refused = [&](const Arguments& arguments) {
    const Finished run = runProgram(arguments, "", {"PENSTOCK_BROKER="});
    EXPECT_EQ(run.exitCode, 2) << run.err;
    EXPECT_EQ(run.out, "");
    return run.err;
  };
  const std::string broker = directory_ / "topics";
  EXPECT_THAT(refused(program({"--input", "lines", "--output", "counts"})), HasSubstr("--broker"));
  EXPECT_THAT(refused(program({"--broker", broker, "--output", "counts"})), HasSubstr("--input"));
  EXPECT_THAT(refused(program({"--broker", broker, "--input", "lines"})), HasSubstr("--output"));
  EXPECT_THAT(refused(usual({"--guarantee", "twice"})), HasSubstr("--guarantee"));
  EXPECT_THAT(refused(usual({"--commit-interval", "-1"})), HasSubstr("--commit-interval"));
  EXPECT_THAT(refused(usual({"--commit-interval", "99999999999999999999"})),
              HasSubstr("--commit-interval"));
  EXPECT_THAT(refused(usual({"--no-such-option"})), HasSubstr("--no-such-option"));
  EXPECT_THAT(
      refused(program({"--broker", "mqtt://host", "--input", "lines", "--output", "counts"})),
      AllOf(HasSubstr("mqtt://host"), HasSubstr("file:"), HasSubstr("kafka:")));
  EXPECT_THAT(refused(program({"--broker", broker, "--input", "absent", "--output", "counts"})),
              HasSubstr("absent"));
  EXPECT_THAT(refused(program({"--broker", broker, "--input", "a/b", "--output", "counts"})),
              HasSubstr("a/b"));
  EXPECT_EQ(runProgram(program({"--help"})).exitCode, 0);
}

TEST_F(WordcountSample, BadVariablesEndWithTwoAndSayWhich) {
  for (const char* variable : {"PENSTOCK_LOG_LEVEL=loud", "PENSTOCK_LOG_FORMAT=xml",
                               "PENSTOCK_WORKERS=-1", "PENSTOCK_COMMIT_INTERVAL_MS=soon"}) {
    const Finished run = runProgram(usual({"--until-end"}), "", {variable});
    EXPECT_EQ(run.exitCode, 2) << variable;
    const std::string name(variable, std::string_view(variable).find('='));
    EXPECT_THAT(run.err, HasSubstr(name));
  }
}

TEST_F(WordcountSample, ADirectoryHeldByAnotherProcessEndsWithFour) {
  const std::string held = directory_ / "held";
  const state::LocalFileStorage holder(held);
  const Finished run = runProgram(
      program({"--broker", held, "--input", "lines", "--output", "counts", "--until-end"}));
  EXPECT_EQ(run.exitCode, 4) << run.err;
  EXPECT_THAT(run.err, AllOf(HasSubstr(held), HasSubstr("is in use by pid")));
}

}  // namespace
}  // namespace penstock::testing
