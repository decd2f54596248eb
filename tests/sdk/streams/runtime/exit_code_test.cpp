// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <penstock/error.h>
#include <penstock/exit_code.h>
#include <penstock/state/errors.h>

#include <stdexcept>

namespace penstock {
namespace {

// The table of docs/operations.md.
TEST(ExitCodeTest, SaysWhatToDo) {
  EXPECT_EQ(exitCode(std::runtime_error("yours")), 1);
  EXPECT_EQ(exitCode(Error(ErrorCode::FixData, "record")), 1);
  EXPECT_EQ(exitCode(Error(ErrorCode::ReportBug, "ours")), 1);
  EXPECT_EQ(exitCode(ConfigurationError("option")), 2);
  EXPECT_EQ(exitCode(state::Corruption("file", 1, "damage")), 3);
  EXPECT_EQ(exitCode(state::PositionOutOfRange("gone")), 3);
  EXPECT_EQ(exitCode(state::DiskFull("full")), 4);
  EXPECT_EQ(exitCode(state::Fenced("taken over")), 4);
  EXPECT_EQ(exitCode(state::JournalFailed("sync")), 5);
}

}  // namespace
}  // namespace penstock
