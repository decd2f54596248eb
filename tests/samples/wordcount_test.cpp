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
#include <memory>
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

int countOf(const std::string& text, const std::string& words) {
  int count = 0;
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) {
    ++count;
  }
  return count;
}

class WordcountSample : public ::testing::Test {
 protected:
  using Arguments = std::vector<std::string>;
  using Values = std::map<std::string, std::vector<std::string>>;

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
  Values output(const std::string& topic = "counts") {
    Values values;
    TopicConsumer consumer = client_.consumer(topic);
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

  [[nodiscard]] std::int64_t recordsIn(const std::string& topic) const {
    std::int64_t records = 0;
    const auto found = client_.describeTopic(topic);
    if (!found) return records;
    for (const PartitionDescription& each : found->partitions) records += each.end.value;
    return records;
  }

  TemporaryDirectory directory_;
  StreamingClient client_;
};

TEST_F(WordcountSample, CountsLowerCasedRunsOfAsciiLettersAndDigits) {
  say("To be, or NOT to be:");
  say("it's 42_nd\t\xC3\x84"
      "B\xC3\xA4 a\nb--A");
  say("...");
  say("");
  const Finished run = runProgram(usual({"--until-end"}));
  EXPECT_EQ(run.exitCode, 0) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(lastCounts(), (std::map<std::string, std::string>{{"to", bigEndian(2)},
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

// Only the end commits, so nothing shows how far a program is when it is stopped: that is right
// once it has its tasks, but a stop which drops what was processed gets nowhere, however often.
TEST_F(WordcountSample, SigtermAndSigintCommitAndEndWithZero) {
  say("word");
  for (const int signal : {SIGTERM, SIGINT}) {
    const std::string name = "stopped-by-" + std::to_string(signal);
    client_.createTopic(name, {.partitions = 2});
    const std::vector<std::string> environment{"PENSTOCK_APPLICATION_ID=" + name,
                                               "PENSTOCK_LOG_LEVEL=info"};
    const auto run = [&](const Arguments& more) {
      Arguments arguments = program({"--broker", directory_ / "topics", "--input", "lines",
                                     "--output", name, "--commit-interval", "3600000"});
      arguments.insert(arguments.end(), more.begin(), more.end());
      return std::make_unique<Subprocess>(arguments, environment);
    };
    const auto stopUntilThereIsOneIn = [&](const std::string& topic) {
      for (int i = 0; i < 10 && recordsIn(topic) == 0; ++i) {
        const auto running = run({});
        EXPECT_TRUE(eventually([&] { return countOf(running->err(), "task assigned") == 4; }));
        running->signal(signal);
        const Finished ended = running->wait();
        EXPECT_EQ(ended.exitCode, 0) << ended.err;
      }
      EXPECT_EQ(recordsIn(topic), 1) << topic;
    };
    stopUntilThereIsOneIn(name + "-words-repartition");
    stopUntilThereIsOneIn(name);
    const Finished rest = run({"--until-end"})->wait();
    EXPECT_EQ(rest.exitCode, 0) << rest.err;
    EXPECT_EQ(recordsIn(name + "-words-repartition"), 1) << "it was read twice";
    EXPECT_EQ(output(name), (Values{{"word", {bigEndian(1)}}}));
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
