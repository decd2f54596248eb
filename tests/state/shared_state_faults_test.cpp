// SPDX-License-Identifier: Apache-2.0
//
// Goal: cases S19 and S20 of shared state, and what else goes wrong with files: at any instant the
// old file or the new one is there as a whole, memory is as it was, and the next save works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/shared_state.h>
#include <penstock/state/transfer.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "support/full_disk.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"
#include "support/test_seed.h"

namespace penstock::state {
namespace {

using namespace std::chrono_literals;
using penstock::testing::eventually;
using penstock::testing::FullDisk;
using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using penstock::testing::testSeed;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testsupport::Damage;
using testsupport::kAllDamages;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimProcess;

const std::string path = "/data/state.json";

void fill(SharedState& state, int number) {
  for (int i = 0; i < 20; ++i) state.set("value " + std::to_string(i), number);
  state.set("text", std::string(5000, static_cast<char>('a' + number)));
}

/// Which number the whole state was filled with; 0: there is no file.
int numberIn(const std::string& file, const Environment& environment) {
  SharedState state({}, environment);
  if (state.restore(file) == Restored::NotFound) return 0;
  const std::int64_t number = state.get("value 0")->asInt64();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(*state.get("value " + std::to_string(i)), Value(number));
  }
  EXPECT_EQ(state.get("text")->asString(), std::string(5000, static_cast<char>('a' + number)));
  return static_cast<int>(number);
}

class SharedStateFault : public ::testing::Test {
 protected:
  SharedStateFault() {
    machine_.makeSyncedDirectory("/data");
    for (int number = 1; number <= 2; ++number) {
      fill(state_, number);
      state_.save(path);
    }
    fill(state_, 3);
  }
  [[nodiscard]] const Environment& environment() const { return process_->environment(); }
  [[nodiscard]] int saved() const { return numberIn(path, environment()); }
  [[nodiscard]] int previous() const { return numberIn(path + ".previous", environment()); }

  SimFs machine_{7};
  std::shared_ptr<SimProcess> process_ = machine_.startProcess();
  SharedState state_{{}, environment()};
};

TEST_F(SharedStateFault, S19APowerCutAtAnyOperationLeavesTheOldFileOrTheNewOne) {
  std::set<int> seen;
  bool crashed = true;
  for (std::uint64_t operation = 1; crashed; ++operation) {
    for (const Damage damage : kAllDamages) {
      const auto machine = machine_.clone(operation);
      const auto process = machine->startProcess();
      SharedState state({}, process->environment());
      fill(state, 3);
      machine->crashAfterOperation(operation);
      bool told = true;
      try {
        state.save(path);
      } catch (const IoError&) {
        told = false;
      }
      crashed = machine->crashed();
      machine->crash(operation, damage);
      const auto restarted = machine->startProcess();
      const int now = numberIn(path, restarted->environment());
      EXPECT_TRUE(told ? now == 3 : now == 2 || now == 3) << now << " at " << operation;
      const int before = numberIn(path + ".previous", restarted->environment());
      EXPECT_TRUE(before == 1 || before == 2) << before << " at " << operation;
      seen.insert(now);
    }
    ASSERT_LT(operation, 100U);
  }
  EXPECT_THAT(seen, ElementsAre(2, 3));
}

TEST_F(SharedStateFault, AnyCallThatFailsLeavesTheOldFileOrTheNewOneAndTheNextSaveWorks) {
  std::uint64_t hits = 0;
  for (const SimCall call :
       {SimCall::Open, SimCall::Read, SimCall::Write, SimCall::Size, SimCall::Sync, SimCall::Lock,
        SimCall::Rename, SimCall::Remove, SimCall::SyncDirectory, SimCall::List, SimCall::Info}) {
    for (const int error : {EIO, ENOSPC}) {
      for (std::uint64_t nth = 1;; ++nth) {
        const auto machine = machine_.clone(nth);
        const auto process = machine->startProcess();
        SharedState state({}, process->environment());
        fill(state, 3);
        machine->fail({.call = call, .nth = nth, .error = error, .always = false, .path = ""});
        bool told = true;
        try {
          state.save(path);
        } catch (const IoError&) {
          told = false;
        } catch (const DiskFull&) {
          told = false;
        }
        const bool hit = machine->faultsHit() != 0;
        machine->clearFaults();
        const int now = numberIn(path, process->environment());
        EXPECT_TRUE(told ? now == 3 : now == 2 || now == 3) << nameOf(call) << ' ' << nth;
        fill(state, 4);
        state.save(path);
        EXPECT_EQ(numberIn(path, process->environment()), 4);
        for (const std::string& file : machine->files()) EXPECT_THAT(file, Not(HasSubstr("tmp")));
        if (!hit) break;
        ++hits;
        ASSERT_LT(nth, 50U);
      }
    }
  }
  EXPECT_GT(hits, 30U);
}

TEST_F(SharedStateFault, ASyncThatFailsLeavesTheOldFile) {
  machine_.fail({.call = SimCall::Sync, .nth = 2, .error = EIO, .always = false, .path = ""});
  EXPECT_THAT(messageOf<IoError>([&] { state_.save(path); }),
              AllOf(HasSubstr("syncing"), HasSubstr(path)));
  EXPECT_EQ(saved(), 2);
  EXPECT_EQ(*state_.get("value 0"), Value(3));
  state_.save(path);
  EXPECT_EQ(saved(), 3);
}

TEST_F(SharedStateFault, S20ADiskThatIsFullAnywhereLeavesTheOldFile) {
  std::uint64_t used = 0;
  for (const std::string& file : machine_.files()) used += machine_.image(file).size();
  const std::uint64_t one = machine_.image(path).size();
  int full = 0;
  for (std::uint64_t free = 0; free < 3 * one; free += 97) {
    machine_.setCapacity(used + free);
    try {
      state_.save(path);
      EXPECT_EQ(saved(), 3);
      break;
    } catch (const DiskFull& error) {
      ++full;
      EXPECT_THAT(error.what(), HasSubstr(path));
      EXPECT_EQ(saved(), 2);
      EXPECT_EQ(machine_.files().size(), 3U) << "nothing is left behind";
      used = 0;
      for (const std::string& file : machine_.files()) used += machine_.image(file).size();
    }
  }
  EXPECT_GT(full, 10);
}

TEST_F(SharedStateFault, AFileThatCannotBeReadChangesNothing) {
  for (const SimCall call : {SimCall::Open, SimCall::Size, SimCall::Read}) {
    machine_.fail({.call = call, .nth = 1, .error = EIO, .always = false, .path = path});
    EXPECT_THAT(messageOf<IoError>([&] { (void)state_.restore(path); }), HasSubstr(path));
    machine_.fail({.call = call, .nth = 1, .error = EIO, .always = false, .path = path});
    EXPECT_THAT(messageOf<IoError>([&] { (void)state_.importPode(path); }), HasSubstr(path));
    EXPECT_EQ(*state_.get("value 0"), Value(3));
  }
}

TEST_F(SharedStateFault, AFileThatIsReplacedDuringAMergeIsNotOverwritten) {
  const auto other = machine_.startProcess();
  SharedState others({}, other->environment());
  fill(others, 9);
  others.save("/data/other.json");
  const auto replaceAtFirstWrite = [&] {
    machine_.onOperation([&, done = false](const SimFs::Operation& operation) mutable {
      if (done || operation.call != SimCall::Write) return;
      done = true;  // somebody who heeds no lock
      EXPECT_TRUE(other->rename("/data/other.json", path).ok());
    });
  };
  replaceAtFirstWrite();
  EXPECT_THAT(messageOf<SourceChanged>([&] { state_.save(path, {.merge = true}); }),
              HasSubstr(path));
  EXPECT_EQ(saved(), 9);
  machine_.onOperation({});
  others.save("/data/other.json");
  replaceAtFirstWrite();
  state_.save(path);  // without merge it is replaced, as was asked
  machine_.onOperation({});
  EXPECT_EQ(saved(), 3);
}

TEST_F(SharedStateFault, WhatAKilledSaveLeftBehindGoesWithTheNext) {
  const auto put = [&](const std::string& name) {
    const std::string text = "half";
    machine_.setImage("/data/" + name, std::as_bytes(std::span(text)));
  };
  put("state.json.0123456789abcdef.tmp");
  put("state.json.previous.0123456789abcdef.tmp");
  put("state.json.0123456789abcdeg.tmp");  // somebody else's
  put("state2.json.0123456789abcdef.tmp");
  put("state.json.tmp");
  state_.save(path);
  EXPECT_THAT(
      machine_.files(),
      ElementsAre(path, "/data/state.json.0123456789abcdeg.tmp", path + ".lock", path + ".previous",
                  "/data/state.json.tmp", "/data/state2.json.0123456789abcdef.tmp"));
}

TEST_F(SharedStateFault, WhoCannotGetTheFileInTimeIsToldSo) {
  const auto other = machine_.startProcess();
  auto lock = other->open(path + ".lock", OpenMode::ReadWrite);
  ASSERT_TRUE(lock.value->tryLock(LockKind::Exclusive).value);
  EXPECT_THAT(messageOf<LockTimeout>([&] { state_.save(path, {.atMost = 10ms}); }),
              AllOf(HasSubstr(path), HasSubstr("10 ms")));
  EXPECT_EQ(saved(), 2);
  lock.value.reset();
  state_.save(path, {.atMost = 10ms});
  EXPECT_EQ(saved(), 3);
}

TEST_F(SharedStateFault, APlaceThatCannotBeWrittenIsNamed) {
  EXPECT_THAT(messageOf<IoError>([&] { state_.save("/none/state.json"); }),
              AllOf(HasSubstr("/none/state.json"), HasSubstr("check the path")));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state_.save("/data"); }), HasSubstr("directory"));
}

TEST(SharedStateOnDisk, AFullDiskLeavesTheOldFile) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  SharedState state;
  fill(state, 1);
  state.save(file);
  fill(state, 2);
  state.set("more", std::string(100'000, 'x'));
  {
    const FullDisk full(50'000);
    EXPECT_THROW(state.save(file), DiskFull);
  }
  EXPECT_EQ(numberIn(file, Environment::real()), 1);
  state.save(file);
  EXPECT_EQ(numberIn(file, Environment::real()), 2);
}

TEST(SharedStateOnDisk, APathIsTakenFromTheWorkingDirectory) {
  const TemporaryDirectory directory;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  SharedState state;
  fill(state, 1);
  state.save("bare.json");
  state.save("./dot.json");
  EXPECT_EQ(numberIn("bare.json", Environment::real()), 1);
  EXPECT_EQ(numberIn(directory / "dot.json", Environment::real()), 1);
  std::filesystem::current_path(before);
}

// A child saves and says so, until it is killed.
TEST(SharedStateOnDisk, S19KillDuringASaveLeavesTheOldFileOrTheNewOne) {
  constexpr int kills = 15;
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  std::mt19937 random(testSeed());
  int last = 0;
  for (int kill = 0; kill < kills; ++kill) {
    int told[2];
    ASSERT_EQ(::pipe(told), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      SharedState state;
      for (int number = last + 1;; ++number) {
        // a text of its number: what is torn shows
        state.set("number", number);
        state.set("text", std::string(20'000, static_cast<char>('a' + number % 26)));
        state.save(file);
        if (::write(told[1], &number, sizeof number) != sizeof number) ::_exit(1);
      }
    }
    ::close(told[1]);
    const int saves = std::uniform_int_distribution<int>(1, 8)(random);
    for (int i = 0; i < saves; ++i) {
      pollfd ready{told[0], POLLIN, 0};
      ASSERT_EQ(::poll(&ready, 1, 30'000), 1);
      ASSERT_EQ(::read(told[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
    }
    // somewhere within the next one
    const auto wait =
        std::chrono::microseconds(std::uniform_int_distribution<int>(0, 3000)(random));
    const auto until = std::chrono::steady_clock::now() + wait;
    while (std::chrono::steady_clock::now() < until) {
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(told[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
    }
    ::close(told[0]);
    SharedState state;
    ASSERT_EQ(state.restore(file), Restored::Restored);
    const std::int64_t number = state.get("number")->asInt64();
    EXPECT_GE(number, last) << "what was told to be saved is there";
    EXPECT_LE(number, last + 1);
    EXPECT_EQ(state.get("text")->asString(),
              std::string(20'000, static_cast<char>('a' + number % 26)));
    last = static_cast<int>(number);
  }
  SharedState state;
  fill(state, 1);
  state.save(file);
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    EXPECT_THAT(entry.path().filename(), Not(HasSubstr("tmp")));
  }
}

TEST(SharedStateOnDisk, ProcessesThatMergeIntoOneFileLoseNothing) {
  constexpr int processes = 3;
  constexpr int saves = 30;
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        SharedState state;
        for (int i = 1; i <= saves; ++i) {
          state.set("of " + std::to_string(p), i);
          state.save(file, {.merge = true});
        }
      } catch (const std::exception&) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  SharedState state;
  ASSERT_EQ(state.restore(file), Restored::Restored);
  for (int p = 0; p < processes; ++p) {
    EXPECT_EQ(*state.get("of " + std::to_string(p)), Value(saves));
  }
}

TEST(SharedStateOnDisk, AForkedChildDoesNotSaveWhatIsItsParents) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  auto state = std::make_unique<SharedState>();
  state->set("a", 1);
  state->autosave({.path = file, .interval = 1h});
  const pid_t child = ::fork();
  if (child == 0) {
    state.reset();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(std::filesystem::exists(file));
  state.reset();
  EXPECT_TRUE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace penstock::state
