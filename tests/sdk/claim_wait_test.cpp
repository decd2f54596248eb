// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "file/claim_wait.h"
#include "support/log_lines.h"

namespace penstock::file {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ClaimWaitTest, NamesTheHolderOnceAfterAWhile) {
  const testing::LogLines log;
  ClaimWait wait("group g");
  constexpr std::int64_t second = 1'000'000;
  for (int s = 0; s < 10; ++s) wait.look(true, "pid 7", s * second);
  EXPECT_TRUE(log.get().empty());
  for (int s = 10; s < 60; ++s) wait.look(true, "pid 7", s * second);
  ASSERT_EQ(log.get().size(), 1U);
  EXPECT_THAT(log.get().at(0), AllOf(HasSubstr("group g"), HasSubstr("pid 7")));
  wait.look(false, "", 60 * second);
  for (int s = 61; s < 71; ++s) wait.look(true, "pid 8", s * second);
  EXPECT_EQ(log.get().size(), 1U) << "that is another wait";
  wait.look(true, "pid 8", 71 * second);
  EXPECT_EQ(log.get().size(), 2U);
}

}  // namespace
}  // namespace penstock::file
