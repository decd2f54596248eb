// SPDX-License-Identifier: Apache-2.0
//
// Goal: an errno becomes the exception that says what to do about it.
#include "io_errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <cerrno>
#include <utility>

#include "support/message_of.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(IoErrorsTest, EachSaysWhatWasDoneToWhichFileAndWhatToDo) {
  const std::pair<int, const char*> cases[] = {
      {EACCES, "check the owner and permissions"},
      {EPERM, "check the owner and permissions"},
      {EROFS, "the file system is read-only"},
      {ENOTDIR, "in each other's place"},
      {EISDIR, "in each other's place"},
      {ENOENT, "check the path"},
      {EIO, "the disk may be failing"},
      {EMFILE, "raise the limit (ulimit -n)"},
      {ENFILE, "raise the limit (ulimit -n)"},
  };
  for (const auto& [error, advice] : cases) {
    EXPECT_THAT(messageOf<IoError>([&, error = error] { throwIoError(error, "doing", "/a/b"); }),
                AllOf(HasSubstr("doing /a/b: "), HasSubstr(advice)));
  }
  EXPECT_THAT(messageOf<IoError>([] { throwIoError(EXDEV, "doing", "/a/b"); }),
              AllOf(HasSubstr("doing /a/b: "), Not(HasSubstr(";"))));
}

TEST(IoErrorsTest, AFullDiskIsOneAlsoByQuotaAndLimit) {
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    EXPECT_TRUE(isDiskFull(error));
    EXPECT_THAT(messageOf<DiskFull>([&] { throwIoError(error, "doing", "/a/b"); }),
                HasSubstr("works again once there is space"));
  }
  EXPECT_FALSE(isDiskFull(EIO));
}

}  // namespace
}  // namespace penstock::state
