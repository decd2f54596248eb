// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application_options.h>
#include <penstock/error.h>

#include <cstdlib>
#include <map>
#include <string>

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// A variable for as long as the object lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

std::string refusal(const ApplicationOptions& options) {
  try {
    checkOptions(options);
  } catch (const ConfigurationError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ApplicationOptionsTest, WhatIsNotSetComesFromTheEnvironment) {
  const Variable id("PENSTOCK_APPLICATION_ID", "a");
  const Variable broker("PENSTOCK_BROKER", "file:///x");
  const Variable directory("PENSTOCK_STATE_DIR", "/s");
  const Variable guarantee("PENSTOCK_GUARANTEE", "at-least-once");
  const Variable durability("PENSTOCK_DURABILITY", "buffered");
  const Variable policy("PENSTOCK_ERROR_POLICY", "dead-letter");
  const Variable letters("PENSTOCK_DEAD_LETTER_TOPIC", "dead");
  const Variable untilEnd("PENSTOCK_UNTIL_END", "true");
  const Variable handleSignals("PENSTOCK_HANDLE_SIGNALS", "0");
  const Variable stop("PENSTOCK_STOP_TIMEOUT_MS", "1");
  const Variable idle("PENSTOCK_MAX_TASK_IDLE_MS", "2");
  const Variable workers("PENSTOCK_WORKERS", "3");
  const Variable interval("PENSTOCK_COMMIT_INTERVAL_MS", "4");
  const Variable records("PENSTOCK_COMMIT_RECORDS_MAX", "5");
  const Variable bytes("PENSTOCK_COMMIT_BYTES_MAX", "6");
  const Variable inputs("PENSTOCK_INPUT_ADDRESSES", "clicks=file:///a;views=/b=c;");
  const Variable kafka("PENSTOCK_KAFKA", "sasl.password=a=b,c;security.protocol=SSL");
  const ApplicationOptions options;
  EXPECT_EQ(options.id, "a");
  EXPECT_EQ(options.broker, "file:///x");
  EXPECT_EQ(options.stateDirectory, "/s");
  EXPECT_EQ(options.guarantee, Guarantee::AtLeastOnce);
  EXPECT_EQ(options.durability, state::Durability::Buffered);
  EXPECT_EQ(options.errorPolicy, ErrorPolicy::DeadLetter);
  EXPECT_EQ(options.deadLetterTopic, "dead");
  EXPECT_TRUE(options.untilEnd);
  EXPECT_FALSE(options.handleSignals);
  EXPECT_EQ(options.stopTimeout.count(), 1);
  EXPECT_EQ(options.maxTaskIdle.count(), 2);
  EXPECT_EQ(options.workers, 3);
  EXPECT_EQ(options.commitInterval.count(), 4);
  EXPECT_EQ(options.commitRecordsMax, 5);
  EXPECT_EQ(options.commitBytesMax, 6);
  using Pairs = std::map<std::string, std::string>;
  EXPECT_EQ(options.inputAddresses, (Pairs{{"clicks", "file:///a"}, {"views", "/b=c"}}));
  EXPECT_EQ(options.kafka, (Pairs{{"sasl.password", "a=b,c"}, {"security.protocol", "SSL"}}));
  EXPECT_EQ(refusal(options), "accepted");
}

TEST(ApplicationOptionsTest, WhatTheProgramSetsCounts) {
  const Variable workers("PENSTOCK_WORKERS", "not even a number");
  const ApplicationOptions options{.id = "mine", .workers = 2};
  EXPECT_EQ(options.workers, 2);
}

TEST(ApplicationOptionsTest, BadVariableIsNamedWithItsValueAndWhatItMayBe) {
  const auto message = [](const char* name, const char* value) -> std::string {
    const Variable variable(name, value);
    try {
      const ApplicationOptions options;
    } catch (const ConfigurationError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message("PENSTOCK_WORKERS", "0"),
              AllOf(HasSubstr("PENSTOCK_WORKERS"), HasSubstr("\"0\""), HasSubstr("1 to 1024")));
  EXPECT_THAT(message("PENSTOCK_WORKERS", "-3"), HasSubstr("PENSTOCK_WORKERS"));
  EXPECT_THAT(message("PENSTOCK_WORKERS", "2x"), HasSubstr("PENSTOCK_WORKERS"));
  EXPECT_THAT(message("PENSTOCK_WORKERS", ""), HasSubstr("PENSTOCK_WORKERS"));
  EXPECT_THAT(message("PENSTOCK_COMMIT_INTERVAL_MS", "-1"),
              HasSubstr("PENSTOCK_COMMIT_INTERVAL_MS"));
  EXPECT_THAT(message("PENSTOCK_COMMIT_BYTES_MAX", "99999999999999999999"),
              HasSubstr("PENSTOCK_COMMIT_BYTES_MAX"));
  EXPECT_THAT(message("PENSTOCK_GUARANTEE", "exactly_once"),
              AllOf(HasSubstr("PENSTOCK_GUARANTEE"), HasSubstr("exactly-once/at-least-once")));
  EXPECT_THAT(message("PENSTOCK_UNTIL_END", "maybe"), HasSubstr("PENSTOCK_UNTIL_END"));
  EXPECT_THAT(message("PENSTOCK_KAFKA", "a=1;secret"),
              AllOf(HasSubstr("PENSTOCK_KAFKA"), HasSubstr("what follows a has no '='"),
                    ::testing::Not(HasSubstr("secret"))));
  EXPECT_THAT(message("PENSTOCK_INPUT_ADDRESSES", "=x"), HasSubstr("first part has no name"));
}

TEST(ApplicationOptionsTest, BadVariablesOfTheLogAreRefusedAtStart) {
  const ApplicationOptions good{.id = "a", .broker = "b"};
  {
    const Variable level("PENSTOCK_LOG_LEVEL", "loud");
    EXPECT_THAT(refusal(good), AllOf(HasSubstr("PENSTOCK_LOG_LEVEL=\"loud\""),
                                     HasSubstr("debug/info/warning/error")));
  }
  {
    const Variable format("PENSTOCK_LOG_FORMAT", "xml");
    EXPECT_THAT(refusal(good),
                AllOf(HasSubstr("PENSTOCK_LOG_FORMAT=\"xml\""), HasSubstr("text/json")));
  }
  const Variable level("PENSTOCK_LOG_LEVEL", "warning");
  const Variable format("PENSTOCK_LOG_FORMAT", "json");
  EXPECT_EQ(refusal(good), "accepted");
}

TEST(ApplicationOptionsTest, NonsenseIsRefusedByName) {
  const ApplicationOptions good{.id = "a", .broker = "b"};
  EXPECT_EQ(refusal(good), "accepted");
  const auto with = [&](auto change) {
    ApplicationOptions options = good;
    change(options);
    return refusal(options);
  };
  using Options = ApplicationOptions;
  EXPECT_THAT(with([](Options& o) { o.id = ""; }), HasSubstr("::id"));
  EXPECT_THAT(with([](Options& o) { o.id = "a/b"; }), HasSubstr("::id"));
  EXPECT_THAT(with([](Options& o) { o.id = std::string(101, 'a'); }), HasSubstr("::id"));
  EXPECT_THAT(with([](Options& o) { o.id = "group"; }), HasSubstr("::id"));
  EXPECT_THAT(with([](Options& o) { o.stateDirectory = ""; }), HasSubstr("::stateDirectory"));
  EXPECT_THAT(with([](Options& o) { o.broker = ""; }), HasSubstr("::broker"));
  EXPECT_THAT(with([](Options& o) { o.workers = 0; }), HasSubstr("::workers"));
  EXPECT_THAT(with([](Options& o) { o.workers = 1025; }), HasSubstr("::workers"));
  EXPECT_THAT(with([](Options& o) { o.commitInterval = std::chrono::milliseconds(-1); }),
              HasSubstr("::commitInterval"));
  EXPECT_THAT(with([](Options& o) { o.stopTimeout = std::chrono::milliseconds(-1); }),
              HasSubstr("::stopTimeout"));
  EXPECT_THAT(with([](Options& o) { o.maxTaskIdle = std::chrono::milliseconds(-1); }),
              HasSubstr("::maxTaskIdle"));
  static constexpr std::chrono::milliseconds day = std::chrono::hours(24);
  static constexpr std::chrono::milliseconds tooLong = day + std::chrono::milliseconds(1);
  EXPECT_THAT(with([](Options& o) { o.commitInterval = tooLong; }),
              HasSubstr("::commitInterval: 86400001 is not in 0 .. 86400000"));
  EXPECT_THAT(with([](Options& o) { o.stopTimeout = tooLong; }),
              HasSubstr("::stopTimeout: 86400001 is not in 0 .. 86400000"));
  EXPECT_THAT(with([](Options& o) { o.maxTaskIdle = tooLong; }),
              HasSubstr("::maxTaskIdle: 86400001 is not in 0 .. 86400000"));
  EXPECT_EQ(with([](Options& o) { o.commitInterval = o.stopTimeout = o.maxTaskIdle = day; }),
            "accepted");
  EXPECT_THAT(with([](Options& o) { o.commitRecordsMax = -1; }), HasSubstr("::commitRecordsMax"));
  EXPECT_THAT(with([](Options& o) { o.commitBytesMax = 0; }), HasSubstr("::commitBytesMax"));
  EXPECT_THAT(with([](Options& o) { o.errorPolicy = ErrorPolicy::DeadLetter; }),
              HasSubstr("::deadLetterTopic"));
}

}  // namespace
}  // namespace penstock
