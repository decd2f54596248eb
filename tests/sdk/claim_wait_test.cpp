// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/log.h>

#include <memory>
#include <string>
#include <vector>

#include "file/claim_wait.h"

namespace penstock::file {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ClaimWaitTest, NamesTheHolderOnceAfterAWhile) {
  const auto lines = std::make_shared<std::vector<std::string>>();
  setLogSink([lines](const LogEvent& event) {
    lines->push_back(formatLogEvent(event, LogFormat::Text));
  });
  ClaimWait wait("group g");
  constexpr std::int64_t second = 1'000'000;
  for (int s = 0; s < 10; ++s) wait.look(true, "pid 7", s * second);
  EXPECT_TRUE(lines->empty());
  for (int s = 10; s < 60; ++s) wait.look(true, "pid 7", s * second);
  ASSERT_EQ(lines->size(), 1U);
  EXPECT_THAT(lines->at(0), AllOf(HasSubstr("group g"), HasSubstr("pid 7")));
  wait.look(false, "", 60 * second);
  for (int s = 61; s < 71; ++s) wait.look(true, "pid 8", s * second);
  EXPECT_EQ(lines->size(), 1U) << "that is another wait";
  wait.look(true, "pid 8", 71 * second);
  EXPECT_EQ(lines->size(), 2U);
  setLogSink(standardErrorSink(LogFormat::Text));
}

}  // namespace
}  // namespace penstock::file
