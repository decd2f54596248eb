// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"

namespace penstock::testing {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> counter(const std::string& store, const std::string& times) {
  return {buildDirectory() + "/samples/datastore_counter",
          "--store",
          store,
          "--key",
          "visits",
          "--times",
          times};
}

TEST(DatastoreCounterSample, PrintsWhatTheLastUpdateFoundAndLeft) {
  const TemporaryDirectory directory;
  const std::string store = "file:" + (directory / "store");
  EXPECT_EQ(runProgram(counter(store, "1")).out, "[null, 1]\n");
  EXPECT_EQ(runProgram(counter(store, "10")).out, "[10, 11]\n");
  EXPECT_EQ(runProgram(counter("memory:", "2")).out, "[1, 2]\n");
  EXPECT_EQ(state::Datastore::open(store).get("visits"), state::Value(11));
}

TEST(DatastoreCounterSample, KilledOnesLoseNothingThatWasCounted) {
  const TemporaryDirectory directory;
  const std::string store = "file:" + (directory / "store");
  state::Datastore here = state::Datastore::open(store);
  const auto counted = [&] {
    const auto value = here.get("visits");
    return value ? value->asInt64() : 0;
  };
  for (int kills = 0; kills < 5; ++kills) {
    const std::int64_t before = counted();
    Subprocess one(counter(store, "1000000"));
    Subprocess other(counter(store, "1000000"));
    ASSERT_TRUE(eventually([&] { return counted() >= before + 50; }));
    one.kill9();
    const std::int64_t atKill = counted();
    ASSERT_TRUE(eventually([&] { return counted() >= atKill + 50; })) << "the other goes on";
    other.kill9();
  }
  const std::int64_t before = counted();
  Subprocess one(counter(store, "500"));
  EXPECT_EQ(runProgram(counter(store, "500")).exitCode, 0);
  EXPECT_EQ(one.wait().exitCode, 0);
  EXPECT_EQ(counted(), before + 1000);
}

TEST(DatastoreCounterSample, SaysWhatIsWrong) {
  const Finished address = runProgram(counter("nowhere", "1"));
  EXPECT_EQ(address.exitCode, 2);
  EXPECT_THAT(address.err, HasSubstr("'nowhere' is no address of a datastore"));
  for (const char* times : {"0", "-1", "1.5", "many", ""}) {
    const Finished none = runProgram(counter("memory:", times));
    EXPECT_EQ(none.exitCode, 2);
    EXPECT_THAT(none.err, HasSubstr("1 or more")) << times;
  }
  EXPECT_THAT(runProgram(counter("memory:", "99999999999999999999")).err, HasSubstr("too large"));

  const TemporaryDirectory directory;
  const std::string store = "file:" + (directory / "store");
  state::Datastore::open(store).set("visits", "many");
  const Finished type = runProgram(counter(store, "1"));
  EXPECT_EQ(type.exitCode, 2);
  EXPECT_THAT(type.err, AllOf(HasSubstr("--store"), HasSubstr("\"visits\""), HasSubstr("string")));
}

}  // namespace
}  // namespace penstock::testing
