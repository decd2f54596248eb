// SPDX-License-Identifier: Apache-2.0

// How a run ends when its backend fails: never by std::terminate, never with a worker left, and
// with the error that came first.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "fake_backend.h"
#include "streams/runtime/application_run.h"
#include "support/log_lines.h"
#include "support/subprocess.h"

namespace penstock::streams {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using testing::eventually;
using ::testing::HasSubstr;

/// An application on a FakeBackend.
struct Scene {
  explicit Scene(bool untilEnd, std::int64_t workers = 1)
      : application({.id = "test",
                     .broker = "none",
                     .untilEnd = untilEnd,
                     .handleSignals = false,
                     .stopTimeout = std::chrono::milliseconds(10'000),
                     .workers = workers,
                     .commitInterval = std::chrono::milliseconds(1)}) {
    application.stream<std::string_view, std::string_view>("in").to("out");
  }
  /// What run() ends with.
  void start(ApplicationOptions options) {
    run = std::make_unique<ApplicationRun>(options, std::make_shared<FakeBackend>(script));
  }
  void go() {
    if (!run) start(application.options());
    run->run(application.builder());
  }

  Application application;
  std::shared_ptr<Script> script = std::make_shared<Script>();
  std::unique_ptr<ApplicationRun> run;
};

TEST(ApplicationFailureTest, EndThatCannotBeSeenForAWhileIsLookedForAgain) {
  Scene scene(true);
  scene.script->end = Offset{1};
  std::atomic<int> looks{0};
  scene.script->committed = [&]() -> std::optional<Offset> {
    if (++looks < 4) throw Error(ErrorCode::Retry, "broker out of reach");
    return Offset{1};
  };
  EXPECT_NO_THROW(scene.go());
  EXPECT_GE(looks, 4);
  EXPECT_EQ(scene.script->living, 0);
}

TEST(ApplicationFailureTest, EndThatCanNeverBeSeenEndsTheRun) {
  Scene scene(true);
  scene.script->end = Offset{1};
  scene.script->committed = []() -> std::optional<Offset> {
    throw ConfigurationError("no such group");
  };
  EXPECT_THROW(scene.go(), ConfigurationError);
  EXPECT_EQ(scene.script->living, 0);
}

TEST(ApplicationFailureTest, WorkerThatCannotBeMadeLeavesNoneBehind) {
  Scene scene(false, 3);
  scene.script->construct = [](std::size_t worker) {
    if (worker == 2) throw state::DiskFull("no room for another member");
  };
  EXPECT_THROW(scene.go(), state::DiskFull);
  EXPECT_EQ(scene.script->living, 0) << "they hold claims while the Application lives";
}

TEST(ApplicationFailureTest, FailureIsNotLostWhenAnotherWorkerIsStuck) {
  const testing::LogLines log;
  Scene scene(false, 2);
  ApplicationOptions options = scene.application.options();
  options.stopTimeout = std::chrono::milliseconds(50);
  // The stuck thread outlives this test: what it uses must too.
  struct Flags {
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
  };
  const auto flags = std::make_shared<Flags>();
  scene.script->poll = [flags](std::size_t worker) {
    if (worker == 1) {
      flags->inside = true;
      flags->inside.notify_all();
      flags->leave.wait(false);
      return;
    }
    flags->inside.wait(false);
    throw ConfigurationError("the real reason");
  };
  scene.start(options);
  try {
    scene.go();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::FixConfiguration);
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("did not stop within 50 ms"), HasSubstr("the real reason")));
    EXPECT_THROW(std::rethrow_if_nested(error), ConfigurationError);
  }
  EXPECT_THAT(log.get(), Contains(AllOf(HasSubstr("ERROR"), HasSubstr("the real reason"))));
  const auto script = scene.script;
  flags->leave = true;
  flags->leave.notify_all();
  scene.run.reset();
  EXPECT_TRUE(eventually([&] { return script->living == 0; }));
}

TEST(ApplicationFailureTest, LaterFailuresAreLogged) {
  const testing::LogLines log;
  Scene scene(false, 2);
  std::atomic<int> ready{0};
  scene.script->poll = [&](std::size_t worker) {
    ++ready;
    while (ready < 2) std::this_thread::yield();
    throw ConfigurationError("failure of " + std::to_string(worker));
  };
  EXPECT_THROW(scene.go(), ConfigurationError);
  for (const char* failure : {"failure of 0", "failure of 1"}) {
    EXPECT_THAT(log.get(), Contains(AllOf(HasSubstr("ERROR"), HasSubstr(failure))));
  }
}

// A full disk fails each commit, while the steps between them go well.
TEST(ApplicationFailureTest, BackOffGrowsUntilACommitSucceeds) {
  using Clock = std::chrono::steady_clock;
  Scene scene(false);
  ApplicationOptions options = scene.application.options();
  options.commitInterval = std::chrono::milliseconds(100);
  std::mutex mutex;
  std::vector<Clock::time_point> attempts;
  std::atomic<bool> committed{false};
  constexpr std::size_t failing = 6;
  scene.script->commit = [&] {
    {
      const std::lock_guard lock(mutex);
      attempts.push_back(Clock::now());
      if (attempts.size() <= failing) throw state::DiskFull("the disk is full");
    }
    committed = true;
  };
  scene.start(options);
  std::thread runner([&] { EXPECT_NO_THROW(scene.go()); });
  EXPECT_TRUE(eventually([&] { return committed.load(); }));
  EXPECT_EQ(scene.run->metrics().restarts, failing);
  scene.run->stop();
  runner.join();
  // 50 + 100 + 200 + 400 + 800 + 1600 ms; six times 100 ms when it always begins anew
  EXPECT_GE(attempts[failing] - attempts[0], std::chrono::milliseconds(3150));
}

// The broker is away just when the worker goes back to its last commit.
TEST(ApplicationFailureTest, GoingBackIsTriedAgainUntilItSucceeds) {
  Scene scene(false);
  std::atomic<int> restarts{0};
  std::atomic<bool> failed{false};
  std::atomic<bool> committed{false};
  scene.script->commit = [&] {
    if (!failed.exchange(true)) throw Error(ErrorCode::Retry, "broker out of reach");
    EXPECT_GE(restarts, 3);
    committed = true;
  };
  scene.script->restart = [&] {
    if (++restarts < 3) throw Error(ErrorCode::Retry, "broker still out of reach");
  };
  scene.start(scene.application.options());
  std::thread runner([&] { EXPECT_NO_THROW(scene.go()); });
  EXPECT_TRUE(eventually([&] { return committed.load(); }));
  scene.run->stop();
  runner.join();
  EXPECT_EQ(restarts, 3);
}

// A broker is waited for, and the program is told to end.
TEST(ApplicationFailureTest, StopWhilePreparingBeginsNothing) {
  for (const bool fails : {false, true}) {
    Scene scene(false);
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    scene.script->prepare = [&] {
      inside = true;
      inside.notify_all();
      leave.wait(false);
      if (fails) throw Error(ErrorCode::Retry, "broker out of reach");
    };
    scene.script->construct = [](std::size_t) { ADD_FAILURE() << "a worker was made"; };
    scene.start(scene.application.options());
    std::thread runner([&] { EXPECT_NO_THROW(scene.go()); });
    inside.wait(false);
    scene.run->stop();
    leave = true;
    leave.notify_all();
    runner.join();
  }
}

TEST(ApplicationFailureTest, StopWhilePreparingIsBounded) {
  Scene scene(false);
  ApplicationOptions options = scene.application.options();
  options.stopTimeout = std::chrono::milliseconds(50);
  struct Flags {  // outlive this test, as the stuck thread does
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
  };
  const auto flags = std::make_shared<Flags>();
  scene.script->prepare = [flags] {
    flags->inside = true;
    flags->inside.notify_all();
    flags->leave.wait(false);
  };
  scene.start(options);
  std::thread runner([&] { EXPECT_NO_THROW(scene.go()); });  // nothing was begun
  flags->inside.wait(false);
  scene.run->stop();
  runner.join();
  flags->leave = true;
  flags->leave.notify_all();
}

}  // namespace
}  // namespace penstock::streams
