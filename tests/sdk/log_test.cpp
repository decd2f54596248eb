// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <penstock/error.h>
#include <penstock/log.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

namespace penstock {
namespace {

/// What it said, and the default sink back at the end.
class Log : public ::testing::Test {
 protected:
  Log() {
    setLogSink([this](const LogEvent& event) {
      lines.push_back(formatLogEvent(event, LogFormat::Text).substr(25));  // behind the time
    });
  }
  ~Log() override {
    setLogSink(standardErrorSink(LogFormat::Text));
    setLogLevel(LogLevel::Info);
  }
  std::vector<std::string> lines;
};

TEST_F(Log, EventsBelowTheLevelAreNotMade) {
  setLogLevel(LogLevel::Warning);
  log(LogLevel::Info, "file", "quiet");
  log(LogLevel::Error, "file", "loud");
  EXPECT_EQ(lines, std::vector<std::string>{"ERROR   file: loud"});
  EXPECT_FALSE(logEnabled(LogLevel::Info));
}

TEST_F(Log, FieldsThatNeedItAreQuoted) {
  log(LogLevel::Info, "kafka", "joined", {{"group", "g"}, {"where", "a b"}, {"empty", ""}});
  EXPECT_EQ(lines,
            std::vector<std::string>{R"(INFO    kafka: joined group=g where="a b" empty="")"});
}

TEST_F(Log, AnEventIsOneLineWhateverItHolds) {
  log(LogLevel::Info, "file", "two\nlines", {{"name", "a\nb"}});
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].find('\n'), std::string::npos);
}

TEST_F(Log, ASinkThatThrowsHurtsNobody) {
  setLogSink([](const LogEvent&) { throw std::runtime_error("full"); });
  EXPECT_NO_THROW(log(LogLevel::Error, "file", "message"));
  setLogSink({});
  EXPECT_NO_THROW(log(LogLevel::Error, "file", "message"));
}

TEST_F(Log, JsonLinesParseEvenForBytesThatAreNoText) {
  const LogField fields[] = {{"key", "\xff\"\n"}};
  const LogEvent event{LogLevel::Warning, EventTime{1}, "file", "mess\"age", fields};
  const std::string line = formatLogEvent(event, LogFormat::JsonLines);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["time"], "1970-01-01T00:00:00.001Z");
  EXPECT_EQ(json["level"], "warning");
  EXPECT_EQ(json["message"], "mess\"age");
  EXPECT_EQ(json["key"], "\xef\xbf\xbd\"\n");
}

TEST_F(Log, UnknownNamesAreRefused) {
  EXPECT_THROW((void)parseLogLevel("loud"), ConfigurationError);
  EXPECT_THROW((void)parseLogFormat("xml"), ConfigurationError);
  EXPECT_EQ(parseLogLevel("debug"), LogLevel::Debug);
  EXPECT_EQ(parseLogFormat("json"), LogFormat::JsonLines);
}

// The variables are read once, so a program of its own is needed.
TEST(LogDeathTest, ABadVariableIsNamedAndItsDefaultUsed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto talk = [] {
    ::setenv("PENSTOCK_LOG_LEVEL", "loud", 1);
    ::setenv("PENSTOCK_LOG_FORMAT", "xml", 1);
    log(LogLevel::Info, "file", "heard");
    std::exit(0);
  };
  EXPECT_EXIT(talk(), ::testing::ExitedWithCode(0),
              "WARNING log: .*PENSTOCK_LOG_FORMAT: 'xml' is no log format.*taken as text.*"
              "PENSTOCK_LOG_LEVEL: 'loud' is no log level.*taken as info");
}

}  // namespace
}  // namespace penstock
