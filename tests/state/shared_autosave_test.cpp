// SPDX-License-Identifier: Apache-2.0
//
// Goal: a state saves itself when its options say so and something changed, and what fails is told
// and tried again. Method: a clock that moves only when told; threads where the thread is the
// point.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/shared_state.h>

#include <future>
#include <optional>

#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testsupport::SimCall;
using testsupport::SimFs;

const std::string path = "/data/state.json";

class SharedAutosave : public ::testing::Test {
 protected:
  SharedAutosave() { machine_.makeSyncedDirectory("/data"); }

  /// Lets time pass and the state look at the clock.
  void pass(std::chrono::milliseconds time) {
    machine_.clock().advanceMs(time.count());
    state_->testingTick();
  }
  /// What is in the file; nullopt when there is none.
  std::optional<Value> saved() {
    SharedState other({}, process_->environment());
    if (other.restore(path) == Restored::NotFound) return std::nullopt;
    return *other.get("a");
  }
  [[nodiscard]] std::uint64_t saves() const { return state_->autosaveStatus().saves; }

  SimFs machine_{1};
  std::shared_ptr<testsupport::SimProcess> process_ = machine_.startProcess();
  std::unique_ptr<SharedState> state_ =
      std::make_unique<SharedState>(SharedStateOptions{}, process_->environment());
};

TEST_F(SharedAutosave, SavesAtEachIntervalIfSomethingChanged) {
  state_->set("a", 1);
  state_->autosave({.path = path, .interval = 10s, .atShutdown = false});
  pass(9s);
  EXPECT_EQ(saved(), std::nullopt);
  pass(1s);
  EXPECT_EQ(saved(), Value(1));
  pass(10s);
  EXPECT_EQ(saves(), 1U) << "nothing changed";
  state_->set("a", 2);
  pass(9s);
  EXPECT_EQ(saved(), Value(1));
  pass(1s);
  EXPECT_EQ(saved(), Value(2));
  state_->set("a", 3);
  state_.reset();
  EXPECT_EQ(saved(), Value(2)) << "not at shutdown";
}

TEST_F(SharedAutosave, SavesOnASchedule) {
  state_->set("a", 1);
  machine_.clock().advanceMs(90'000);  // 00:01:30
  state_->autosave({.path = path, .cron = "@hourly", .atShutdown = false});
  pass(58min);
  EXPECT_EQ(saved(), std::nullopt);
  pass(30s);
  EXPECT_EQ(saved(), Value(1));
  state_->set("a", 2);
  machine_.clock().jumpWallMs(-30 * 60'000);  // back to half past eleven
  pass(29min);
  EXPECT_EQ(saved(), Value(1));
  pass(1min);
  EXPECT_EQ(saved(), Value(2)) << "the next hour by the clock as it is now";
  state_->set("a", 3);
  machine_.clock().jumpWallMs(5 * 3600'000);
  pass(0s);
  EXPECT_EQ(saved(), Value(3)) << "hours that were jumped over";
}

TEST_F(SharedAutosave, SavesAWhileAfterAChange) {
  state_->autosave({.path = path, .afterChange = 500ms, .atShutdown = false});
  pass(1h);
  EXPECT_EQ(saved(), std::nullopt);
  state_->set("a", 1);
  pass(0ms);
  pass(400ms);
  state_->set("a", 2);
  EXPECT_EQ(saved(), std::nullopt);
  pass(100ms);
  EXPECT_EQ(saved(), Value(2)) << "those that came in the meantime are saved with it";
  pass(1h);
  EXPECT_EQ(saves(), 1U);
  state_->remove("none");
  pass(0ms);
  pass(1s);
  EXPECT_EQ(saves(), 1U) << "nothing was removed";
}

TEST_F(SharedAutosave, SavesAtShutdown) {
  state_->set("a", 1);
  state_->autosave({.path = path});
  pass(1h);
  EXPECT_EQ(saved(), std::nullopt);
  state_->close();
  EXPECT_EQ(saved(), Value(1));
  EXPECT_EQ(saves(), 1U);
  EXPECT_THROW(state_->autosave({.path = path}), Closed);
}

TEST_F(SharedAutosave, SavesWhenItIsDestroyed) {
  state_->set("a", 1);
  state_->autosave({.path = path});
  state_.reset();
  EXPECT_EQ(saved(), Value(1));
}

TEST_F(SharedAutosave, SavesOnlyWhatItsOptionsSelect) {
  state_->set("a", 1, {"keep"});
  state_->set("b", 1);
  state_->autosave({.path = path, .save = {.scopes = {"keep"}, .compress = true}});
  state_->close();
  SharedState other({}, process_->environment());
  (void)other.restore(path);
  EXPECT_THAT(other.names(), ElementsAre("a"));
}

TEST_F(SharedAutosave, AFailureIsToldAndTheSaveTriedAgain) {
  std::vector<std::string> told;
  state_->set("a", 1);
  state_->autosave({.path = path,
                    .interval = 1s,
                    .atShutdown = false,
                    .onFailure = [&](const std::exception& error) {
                      told.emplace_back(error.what());
                      throw std::runtime_error("from the callback");
                    }});
  pass(1s);
  state_->set("a", 2);
  machine_.fail({.call = SimCall::Sync, .error = EIO, .path = path});
  pass(1s);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_THAT(told[0], HasSubstr("syncing"));
  EXPECT_EQ(state_->autosaveStatus().failures, 1U);
  EXPECT_EQ(state_->autosaveStatus().lastFailure, told[0]);
  EXPECT_EQ(saved(), Value(1));
  pass(1s);
  EXPECT_EQ(saved(), Value(2)) << "without another change";
  EXPECT_THAT(state_->autosaveStatus().lastFailure, IsEmpty());
  EXPECT_EQ(told.size(), 1U);
}

TEST_F(SharedAutosave, ACloseThatCannotSaveLeavesTheStateOpen) {
  state_->set("a", 1);
  state_->autosave({.path = path});
  machine_.setCapacity(0);
  EXPECT_THAT(messageOf<DiskFull>([&] { state_->close(); }), HasSubstr(path));
  state_->set("a", 2);
  machine_.setCapacity(~std::uint64_t{0});
  state_->close();
  EXPECT_EQ(saved(), Value(2));
  EXPECT_THROW((void)state_->get("a"), Closed);
}

TEST_F(SharedAutosave, ACloseThatSavesWaitsForThoseWhoHoldLocks) {
  state_->createLock("pair");
  state_->set("a", 1);
  state_->autosave({.path = path, .save = {.atMost = 50ms}});
  {
    const SharedGuard guard = state_->lock("pair", 1s);
    std::async(std::launch::async, [&] {
      EXPECT_THAT(messageOf<LockTimeout>([&] { state_->close(); }), HasSubstr("pair"));
    }).get();
    state_->set("a", 2);
  }
  state_->close();
  EXPECT_EQ(saved(), Value(2));
}

TEST_F(SharedAutosave, ALaterOneTakesThePlaceOfTheFirst) {
  state_->set("a", 1);
  state_->autosave({.path = "/data/other.json", .interval = 1s});
  state_->autosave({.path = path, .interval = 1s});
  pass(1s);
  state_->close();
  EXPECT_EQ(saved(), Value(1));
  EXPECT_THAT(machine_.files(), ElementsAre(path, path + ".lock"));
}

TEST_F(SharedAutosave, OptionsThatMakeNoSenseAreRefused) {
  const std::vector<std::pair<AutosaveOptions, std::string>> wrong{
      {{}, "path is empty"},
      {{.path = path, .interval = -1ms}, "interval"},
      {{.path = path, .interval = std::chrono::milliseconds::max()}, "interval"},
      {{.path = path, .afterChange = -1ms}, "afterChange"},
      {{.path = path, .cron = "often"}, "cron"},
      {{.path = path, .atShutdown = false}, "no occasion"},
  };
  for (const auto& [options, says] : wrong) {
    EXPECT_THAT(messageOf<InvalidArgument>([&] { state_->autosave(options); }), HasSubstr(says));
  }
}

TEST(SharedAutosaveThread, SavesByItselfAndEndsWithTheState) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  const auto saved = [&] {
    SharedState other;
    return other.restore(file) == Restored::NotFound ? Value() : *other.get("a");
  };
  for (const AutosaveOptions& options :
       {AutosaveOptions{.path = file, .interval = 20ms},
        AutosaveOptions{.path = file, .afterChange = 20ms},
        AutosaveOptions{.path = file, .interval = 30ms, .afterChange = 0ms}}) {
    SharedState state;
    state.autosave(options);
    for (int i = 1; i <= 3; ++i) {
      state.set("a", i);
      EXPECT_TRUE(eventually([&] { return saved() == Value(i); }));
    }
    state.set("a", 4);
    state.close();
    EXPECT_EQ(saved(), Value(4));
  }
}

// Each write is either in the last file or fails.
TEST(SharedAutosaveThread, NothingThatWasWrittenIsLostByAClose) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  for (int round = 0; round < 10; ++round) {
    SharedState state;
    state.autosave({.path = file, .afterChange = 0ms});
    std::vector<std::future<std::int64_t>> writers;
    std::atomic<int> begun{0};
    for (const char* name : {"a", "b", "c", "d"}) {
      writers.push_back(std::async(std::launch::async, [&, name] {
        std::int64_t written = 0;
        try {
          for (;;) {
            state.set(name, written + 1);
            ++written;
            if (written == 10) ++begun;
          }
        } catch (const Closed&) {
        }
        return written;
      }));
    }
    EXPECT_TRUE(eventually([&] { return begun == 4; }));
    state.close();
    SharedState read;
    ASSERT_EQ(read.restore(file), Restored::Restored);
    for (const char* name : {"a", "b", "c", "d"}) {
      EXPECT_EQ(*read.get(name), Value(writers[static_cast<std::size_t>(*name - 'a')].get()));
    }
  }
}

}  // namespace
}  // namespace penstock::state
