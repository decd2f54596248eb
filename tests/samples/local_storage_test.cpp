// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"

namespace penstock::testing {
namespace {

TEST(LocalStorageSample, GoesOnWhereItWas) {
  const TemporaryDirectory directory;
  const std::string program = buildDirectory() + "/samples/local_storage";
  const std::string values =
      "KEY1 there: true\n123 1.23 1.23 3 bytes false\nkeys: KEY1 KEY2 KEY3 KEY4 KEY5\n"
      "KEY2 there: false\n456 4.56\nkeys: KEY1 KEY3\n";

  const Finished first = runProgram({program}, "", {"PENSTOCK_STATE_DIR=" + directory.path()});
  EXPECT_EQ(first.exitCode, 0) << first.err;
  EXPECT_EQ(first.out, "run 1\n" + values);

  const Finished second = runProgram({program}, "", {"PENSTOCK_STATE_DIR=" + directory.path()});
  EXPECT_EQ(second.exitCode, 0) << second.err;
  EXPECT_EQ(second.out, "run 2\nKEY3 from last time: 7.89\n" + values);
}

TEST(LocalStorageSample, SaysWhatIsWrongWithItsDirectory) {
  const Finished run = runProgram({buildDirectory() + "/samples/local_storage"}, "",
                                  {"PENSTOCK_STATE_DIR=/dev/null/state"});
  EXPECT_EQ(run.exitCode, 2);
  EXPECT_NE(run.err.find("/dev/null"), std::string::npos) << run.err;
}

}  // namespace
}  // namespace penstock::testing
