// SPDX-License-Identifier: Apache-2.0
//
// Goal: `penstock topics ...` as a person or a script meets it: what it prints, what it ends with.
// The binary itself is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/version.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/build_paths.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock {
namespace {

using testing::Finished;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::runProgram;
using ::testing::StartsWith;
using testing::Subprocess;
using testing::TemporaryDirectory;

class TopicsCommand : public ::testing::Test {
 protected:
  static std::vector<std::string> commandLine(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), testing::buildDirectory() + "/sdk/penstock");
    return arguments;
  }
  static Finished penstock(const std::vector<std::string>& arguments,
                           const std::string& input = {}) {
    return runProgram(commandLine(arguments), input);
  }
  std::vector<std::string> topicsArguments(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "topics");
    arguments.insert(arguments.end(), {"--address", directory / "j"});
    return arguments;
  }
  Finished topics(const std::vector<std::string>& arguments, const std::string& input = {}) {
    return penstock(topicsArguments(arguments), input);
  }
  /// Runs it, and expects that it succeeds.
  std::string good(const std::vector<std::string>& arguments, const std::string& input = {}) {
    const Finished finished = topics(arguments, input);
    EXPECT_EQ(finished.exitCode, 0) << arguments[0] << ": " << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
  }
  /// Runs it, and expects that exit code and one line on standard error, which it gives.
  std::string refused(const std::vector<std::string>& arguments, const std::string& input = {},
                      int exitCode = 2) {
    const Finished finished = topics(arguments, input);
    EXPECT_EQ(finished.exitCode, exitCode) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err, StartsWith("penstock: "));
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
    return finished.err;
  }

  TemporaryDirectory directory;
};

TEST_F(TopicsCommand, SaysItsVersion) {
  EXPECT_EQ(penstock({"--version"}).out, "penstock " + std::string(version()) + "\n");
}

TEST_F(TopicsCommand, HelpGoesToStandardOutput) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"--help"}, {"topics", "--help"}, {"topics", "consume", "--help"}}) {
    const Finished finished = penstock(arguments);
    EXPECT_EQ(finished.exitCode, 0);
    EXPECT_THAT(finished.out, HasSubstr("Usage"));
    EXPECT_THAT(finished.err, IsEmpty());
  }
}

TEST_F(TopicsCommand, CreatesListsDescribesAndDeletes) {
  EXPECT_EQ(good({"create", "b", "--partitions", "2", "--retention-ms", "1000"}),
            "topic b created\n");
  EXPECT_EQ(good({"create", "a"}), "topic a created\n");
  EXPECT_EQ(good({"create", "a"}), "topic a was there already\n");
  EXPECT_EQ(good({"list"}), "a\nb\n");
  good({"produce", "b", "--partition", "1"}, "x\ny\n");
  const std::string text = good({"describe", "b"});
  EXPECT_THAT(text, HasSubstr("partitions  2\n"));
  EXPECT_THAT(text, HasSubstr("1000 ms, no bound"));
  const auto json = nlohmann::json::parse(good({"describe", "b", "--json"}));
  EXPECT_EQ(json["retentionMs"], 1000);
  EXPECT_EQ(json["partitions"].size(), 2U);
  EXPECT_EQ(json["partitions"][1]["end"], 2);
  EXPECT_EQ(good({"delete", "b"}), "topic b deleted\n");
  EXPECT_EQ(good({"list"}), "a\n");
}

TEST_F(TopicsCommand, LinesGoInAndComeOut) {
  good({"create", "t"});
  good({"produce", "t"}, "one\n\ntwo words\nlast without newline");
  EXPECT_EQ(good({"consume", "t", "--from-beginning", "--until-end"}),
            "one\n\ntwo words\nlast without newline\n");
  EXPECT_EQ(good({"consume", "t", "--from-beginning", "--max", "1"}), "one\n");
  EXPECT_EQ(good({"consume", "t", "--offset", "2", "--until-end"}),
            "two words\nlast without newline\n");
  EXPECT_EQ(good({"consume", "t", "--until-end"}), "") << "from now on";
}

TEST_F(TopicsCommand, CsvRoundTripsWithQuotesNewlinesAndAbsentFields) {
  good({"create", "t"});
  const std::string csv =
      "k,v,5\n"
      "\"a,b\",\"say \"\"hi\"\"\",6\n"
      "\"two\nlines\",,7\n"
      ",\"\",-8\n";
  good({"produce", "t", "--format", "csv"}, csv);
  EXPECT_EQ(good({"consume", "t", "--format", "csv", "--from-beginning", "--until-end"}), csv);
  good({"create", "u"});
  good({"produce", "u", "--format", "csv"}, "a,b\r\nc,d\r\n\n");
  EXPECT_EQ(good({"consume", "u", "--from-beginning", "--until-end"}), "b\nd\n");
  EXPECT_EQ(good({"consume", "t", "--from-time", "7", "--max", "1", "--format", "csv"}),
            "\"two\nlines\",,7\n");
}

TEST_F(TopicsCommand, JsonLinesRoundTripWithHeadersAndBytes) {
  good({"create", "t", "--partitions", "3"});
  const std::string json =
      R"({"key":"k","value":"v","timestamp":5,)"
      R"("headers":[{"name":"h","value":"x"},{"name":"h","value":null}],"partition":2,"offset":0})"
      "\n"
      R"({"key":null,"value":{"base64":"/wA="},"timestamp":6,"partition":2,"offset":1})"
      "\n";
  good({"produce", "t", "--format", "json"}, json);
  EXPECT_EQ(good({"consume", "t", "--format", "json", "--from-beginning", "--until-end"}), json);
  good({"produce", "t", "--format", "json"}, R"({"value":"o","headers":{"a":"b"},"partition":0})");
  const auto read = nlohmann::json::parse(good(
      {"consume", "t", "--format", "json", "--partition", "0", "--from-beginning", "--until-end"}));
  EXPECT_EQ(read["headers"], nlohmann::json::parse(R"([{"name":"a","value":"b"}])"));
}

TEST_F(TopicsCommand, ABadInputLineIsNamedAndWhatStoodBeforeItIsWritten) {
  good({"create", "t"});
  EXPECT_THAT(refused({"produce", "t", "--format", "csv"}, "a,b\nlonely\n", 1),
              HasSubstr("input line 2: 1 fields"));
  EXPECT_EQ(good({"consume", "t", "--from-beginning", "--until-end"}), "b\n");
  const std::vector<std::pair<std::string, std::string>> bad{
      {"a,b,c,d", "4 fields"},
      {"a,b,soon", "'soon' is not a timestamp"},
      {"a,b,99999999999999999999", "is not a timestamp"},
      {"\"a,b", "never closed"},
      {"\"a\"b,c", "behind the closing quote"},
      {"a\"b,c", "a quote inside"}};
  for (const auto& [line, message] : bad) {
    EXPECT_THAT(refused({"produce", "t", "--format", "csv"}, line, 1), HasSubstr(message)) << line;
  }
  const std::vector<std::pair<std::string, std::string>> badJson{
      {"{", "not JSON"},
      {"[]", "not a JSON object"},
      {R"({"value":1})", "value must be"},
      {R"({"key":{"base64":"#"}})", "key must be"},
      {R"({"timestamp":1.5})", "timestamp must be"},
      {R"({"partition":-1})", "partition must be"},
      {R"({"headers":"x"})", "headers must be"},
      {R"({"headers":[1]})", "headers must be"},
      {R"({"vlaue":"x"})", "unknown field 'vlaue'"}};
  for (const auto& [line, message] : badJson) {
    EXPECT_THAT(refused({"produce", "t", "--format", "json"}, line, 1), HasSubstr(message)) << line;
  }
  EXPECT_THAT(refused({"produce", "t", "--format", "json"}, R"({"partition":1})"),
              HasSubstr("there is no partition 1"));
}

TEST_F(TopicsCommand, WrongUseIsOneLineAndExitCodeTwo) {
  EXPECT_THAT(penstock({}).err, StartsWith("penstock: "));
  EXPECT_EQ(penstock({}).exitCode, 2);
  EXPECT_EQ(penstock({"topcis"}).exitCode, 2);
  EXPECT_THAT(penstock({"topcis", "list"}).err, HasSubstr("topcis"));
  EXPECT_EQ(penstock({"topics"}).exitCode, 2);
  good({"create", "t", "--partitions", "2"});
  EXPECT_THAT(refused({"create", "t", "--partitions", "3"}), HasSubstr("exists with 2"));
  EXPECT_THAT(refused({"create", "a/b"}), HasSubstr("'a/b' is not a topic name"));
  refused({"create", "n", "--partitions", "0"});
  refused({"create", "n", "--partitions", "-1"});
  refused({"create", "n", "--partitions", "many"});
  refused({"create", "n", "--partitions", "99999999999"});
  refused({"create", "n", "--retention-ms", "-2"});
  refused({"create"});
  EXPECT_THAT(refused({"describe", "nothere"}), HasSubstr("there is no topic 'nothere'"));
  EXPECT_THAT(refused({"delete", "nothere"}), HasSubstr("there is no topic 'nothere'"));
  EXPECT_THAT(refused({"consume", "nothere"}), HasSubstr("there is no topic 'nothere'"));
  EXPECT_THAT(refused({"produce", "nothere"}, "x\n"), HasSubstr("there is no topic 'nothere'"));
  EXPECT_THAT(refused({"consume", "t", "--partition", "2"}), HasSubstr("0 to 1"));
  refused({"consume", "t", "--max", "0"});
  refused({"consume", "t", "--max", "-1"});
  refused({"consume", "t", "--offset", "-1"});
  refused({"consume", "t", "--offset", "1", "--from-beginning"});
  refused({"consume", "t", "--offset", "1", "--group", "g"});
  refused({"consume", "t", "--format", "xml"});
  refused({"list", "--set", "nonsense"});
  EXPECT_THAT(refused({"list", "--set", "file.nonsense=1"}), HasSubstr("file.nonsense"));
}

TEST_F(TopicsCommand, AnOffsetThatIsNotThereIsRefusedNotReset) {
  good({"create", "t", "--partitions", "2"});
  for (const char* offset : {"5", "1"}) {
    const Finished finished = topics({"consume", "t", "--offset", offset, "--until-end"});
    EXPECT_EQ(finished.exitCode, 2) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr("--offset " + std::string(offset) +
                                        ": topic 't' partition 0 holds 0 to 0"));
  }
  good({"produce", "t", "--partition", "1"}, "one\ntwo\n");
  EXPECT_EQ(good({"consume", "t", "--partition", "1", "--offset", "1", "--until-end"}), "two\n");
  EXPECT_EQ(good({"consume", "t", "--partition", "1", "--offset", "2", "--until-end"}), "");
  EXPECT_EQ(topics({"consume", "t", "--partition", "1", "--offset", "3"}).exitCode, 2);
}

TEST_F(TopicsCommand, OnlyCreateMakesADirectory) {
  for (const char* command : {"list", "describe", "consume", "produce", "delete"}) {
    std::vector<std::string> arguments{command};
    if (std::string(command) != "list") arguments.emplace_back("t");
    EXPECT_NE(topics(arguments).exitCode, 0) << command;
    EXPECT_FALSE(std::filesystem::exists(directory / "j")) << command;
  }
  good({"create", "t"});
  EXPECT_TRUE(std::filesystem::exists(directory / "j"));
}

TEST_F(TopicsCommand, AnUnknownSchemeAndAMissingAddressAreRefused) {
  const Finished scheme = penstock({"topics", "list", "--address", "http://a"});
  EXPECT_EQ(scheme.exitCode, 2);
  EXPECT_THAT(scheme.err, HasSubstr("the scheme 'http' is unknown"));
  const Finished missing = runProgram(commandLine({"topics", "list"}), {}, {"PENSTOCK_BROKER="});
  EXPECT_EQ(missing.exitCode, 2);
  EXPECT_THAT(missing.err, HasSubstr("PENSTOCK_BROKER"));
  good({"create", "t"});
  const Finished environment = runProgram(commandLine({"topics", "list"}), {},
                                          {"PENSTOCK_BROKER=file://" + (directory / "j")});
  EXPECT_EQ(environment.out, "t\n") << environment.err;
}

TEST_F(TopicsCommand, AGroupGoesOnWhereItStoppedPrinting) {
  good({"create", "t"});
  good({"produce", "t"}, "1\n2\n3\n4\n5\n");
  const std::vector<std::string> grouped{"consume", "t", "--group", "g", "--from-beginning"};
  auto two = grouped;
  two.insert(two.end(), {"--max", "2"});
  EXPECT_EQ(good(two), "1\n2\n");
  EXPECT_EQ(good(two), "3\n4\n");
  auto rest = grouped;
  rest.emplace_back("--until-end");
  EXPECT_EQ(good(rest), "5\n");
  EXPECT_EQ(good(rest), "");
}

TEST_F(TopicsCommand, ConsumeFollowsUntilItIsTold) {
  good({"create", "t"});
  for (const int signal : {SIGTERM, SIGINT}) {
    Subprocess consumer(commandLine(topicsArguments({"consume", "t", "--from-beginning"})));
    good({"produce", "t"}, "x\n");
    EXPECT_TRUE(consumer.waitForOutput([](const std::string& out) { return !out.empty(); }));
    consumer.signal(signal);
    EXPECT_EQ(consumer.wait().exitCode, 0);
  }
}

TEST_F(TopicsCommand, AFullStandardOutputIsAnError) {
  good({"create", "t"});
  good({"produce", "t"}, "x\n");
  const Finished finished =
      runProgram({"/bin/sh", "-c",
                  "'" + testing::buildDirectory() + "/sdk/penstock' topics consume t --max 1 " +
                      "--from-beginning --address '" + (directory / "j") + "' > /dev/full"});
  EXPECT_EQ(finished.exitCode, 4);
  EXPECT_THAT(finished.err, HasSubstr("standard output"));
}

TEST_F(TopicsCommand, ABadLineIsNamedEvenWhenWhatWasBeforeItCannotBeWritten) {
  good({"create", "t"});
  Subprocess producer(commandLine(topicsArguments({"produce", "t", "--format", "json"})));
  producer.write("{\"value\":\"1\"}\n");
  EXPECT_TRUE(testing::eventually([&] {
    return good({"describe", "t", "--json"}).find("\"end\":1") != std::string::npos;
  }));
  good({"delete", "t"});
  producer.write("{\"value\":\"2\"}\n{nonsense\n");
  producer.closeInput();
  const Finished finished = producer.wait();
  EXPECT_EQ(finished.exitCode, 1);
  EXPECT_THAT(finished.err, HasSubstr("input line 3"));
}

}  // namespace
}  // namespace penstock
