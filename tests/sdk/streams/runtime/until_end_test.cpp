// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/state/errors.h>

#include <memory>
#include <string>

#include "fake_backend.h"
#include "streams/runtime/plan.h"
#include "streams/runtime/until_end.h"
#include "support/sim_environment.h"

namespace penstock::streams {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// One task whose input ends at 5.
class UntilEndTest : public ::testing::Test {
 protected:
  UntilEndTest() : backend(script) {
    application.stream<std::string_view, std::string_view>("in").to("out");
    topology = std::make_unique<Topology>("test", application.builder());
    plan = makePlan(*topology, application.options());
    backend.prepare(plan);
    script->end = Offset{5};
    script->committed = [this] { return std::optional(stands); };
    script->holder = [this] { return holder; };
    untilEnd = std::make_unique<UntilEnd>(plan, backend, clock);
  }
  void pass(std::int64_t seconds) {
    for (; seconds > 0; --seconds) {
      ASSERT_FALSE(untilEnd->reached());
      clock.advanceMs(1000);
    }
  }

  Application application{{.id = "test", .broker = "none"}};
  std::unique_ptr<Topology> topology;
  ApplicationPlan plan;
  std::shared_ptr<Script> script = std::make_shared<Script>();
  FakeBackend backend;
  testsupport::SimClock clock;
  Offset stands{0};
  std::string holder = "pid 7 on host";
  std::unique_ptr<UntilEnd> untilEnd;
};

TEST_F(UntilEndTest, IsReachedWhenAllIsCommitted) {
  EXPECT_FALSE(untilEnd->reached());
  stands = Offset{5};
  EXPECT_TRUE(untilEnd->reached());
}

TEST_F(UntilEndTest, StoppedOwnerIsNamedAfterAMinuteWithoutProgress) {
  pass(59);
  stands = Offset{3};  // it was only slow
  pass(59);
  try {
    pass(5);
    FAIL() << "waits for ever";
  } catch (const state::OwnedElsewhere& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("task 0_0"), HasSubstr("3 of 5"), HasSubstr("in"),
                                    HasSubstr("pid 7 on host")));
  }
}

TEST_F(UntilEndTest, OwnFunctionsMayTakeAsLongAsTheyLike) {
  holder = "";
  pass(600);
}

}  // namespace
}  // namespace penstock::streams
