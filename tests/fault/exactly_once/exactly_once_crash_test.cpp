// SPDX-License-Identifier: Apache-2.0

// Row 22 on the simulated machine: two processes, the runtime's own code, share the tasks of an
// application and commit by turns. The power goes, or both are killed, at every operation of the
// run; each end is tried on a copy of the machine, where one process then finishes the work.

#include <gtest/gtest.h>
#include <penstock/log.h>

#include <memory>
#include <string>
#include <vector>

#include "counting_topology.h"
#include "fault/scale.h"
#include "fault/violations.h"
#include "results.h"
#include "streams/runtime/file_backend.h"
#include "streams/runtime/plan.h"
#include "streams/runtime/until_end.h"
#include "streams/runtime/worker.h"
#include "support/sim_fs.h"

namespace penstock::fault {
namespace {

using testsupport::Damage;
using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimProcess;

const char* const kDirectory = "/data/topics";
const char* const kOtherDirectory = "/data/input";
constexpr std::int32_t kPartitions = 2;
constexpr std::chrono::milliseconds kNow{0};

state::JournalOptions smallJournal() {
  state::JournalOptions options;
  options.sharing = state::Sharing::Shared;
  options.segmentBytes = 16 << 10;
  options.snapshotAfterBytes = 4 << 10;
  return options;
}

/// What is the same for all members of a run.
struct Setting {
  state::Durability durability = state::Durability::Synced;  // of commits
  std::string input = kDirectory;                            // where topic `in` is
};

ApplicationOptions applicationOptions(const Setting& setting) {
  ApplicationOptions options;
  options.id = "counting";
  options.broker = kDirectory;
  options.commitInterval = kNow;
  if (setting.input != kDirectory) options.inputAddresses = {{"in", setting.input}};
  return options;
}

/// One process of the application, driven step by step.
class Member {
 public:
  Member(SimFs& machine, const Setting& setting)
      : machine_(machine),
        process_(machine.startProcess()),
        application_(applicationOptions(setting)) {
    setLogLevel(LogLevel::Warning);  // thousands of members come and go
    buildCounting(application_);
    topology_ = std::make_unique<streams::Topology>("counting", application_.builder());
    streams::FileBackendOptions options;
    options.directory = kDirectory;
    options.durability = setting.durability;
    options.journal = smallJournal();
    journal_ = state::Journal::open(kDirectory, options.journal, process_->environment());
    input_ = state::Journal::open(setting.input, options.journal, process_->environment());
    backend_ = std::make_unique<streams::FileBackend>(options, process_->environment());
    plan_ = streams::makePlan(*topology_, application_.options());
    backend_->prepare(plan_);
    context_ = {topology_.get(), &plan_, &application_.options(), backend_.get(), &machine.clock()};
    worker_ = std::make_unique<streams::Worker>(context_, 0);
    untilEnd_ = std::make_unique<streams::UntilEnd>(plan_, *backend_, machine.clock());
  }

  void step() {
    worker_->step(kNow);
    journal_->testingTick();
    machine_.clock().advanceMs(30);
  }
  /// Steps until all that was there at its start is committed. False: not within reason.
  bool finish() {
    for (int i = 0; i < 200; ++i) {
      if (untilEnd_->reached()) return true;
      step();
    }
    return false;
  }
  void kill() { process_->kill(); }
  [[nodiscard]] std::string problems() const { return problemsOf(input_, journal_); }

 private:
  SimFs& machine_;
  std::shared_ptr<SimProcess> process_;
  Application application_;
  std::unique_ptr<streams::Topology> topology_;
  std::shared_ptr<state::Journal> journal_;
  std::shared_ptr<state::Journal> input_;
  std::unique_ptr<streams::FileBackend> backend_;
  streams::ApplicationPlan plan_;
  streams::WorkerContext context_;
  std::unique_ptr<streams::Worker> worker_;
  std::unique_ptr<streams::UntilEnd> untilEnd_;
};

/// What is wrong when a new process finishes the work on this machine; empty: nothing.
std::string problemsAfterwards(SimFs& machine, const Setting& setting) {
  std::unique_ptr<Member> member;
  std::string problems;
  try {
    member = std::make_unique<Member>(machine, setting);
    problems = member->finish() ? member->problems() : "does not come to the end";
  } catch (const Error& error) {
    problems = error.what();
  }
  if (member) member->kill();
  return problems;
}

/// A machine with 40 records to count.
struct Scene {
  Scene(std::uint64_t seed, const Setting& setting)
      : machine(seed), process(machine.startProcess()) {
    machine.makeSyncedDirectory("/data");
    const auto journal =
        state::Journal::open(setting.input, smallJournal(), process->environment());
    feeder = std::make_unique<Feeder>(journal, kPartitions, 5, seed);
    feeder->feed(40, state::Durability::Synced);
  }
  ~Scene() { process->kill(); }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  SimFs machine;
  std::shared_ptr<SimProcess> process;
  std::unique_ptr<Feeder> feeder;
};

/// Both members by turns, while more is written, for `rounds`.
void runBoth(Scene& scene, Member& one, Member& other, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    one.step();
    const bool synced = scene.feeder->fed() % 2 == 0;  // by turns: three at a time
    scene.feeder->feed(3, synced ? state::Durability::Synced : state::Durability::Buffered);
    other.step();
  }
}

/// The machine as it was before an operation.
struct End {
  std::unique_ptr<SimFs> machine;
  std::uint64_t number = 0;
  std::string place;
};

/// With Buffered commits a power cut takes back the newest, whole.
void crashAtEveryOperation(const Setting& setting) {
  Violations violations("row 22, crashes");
  const std::uint64_t runs = scaled<std::uint64_t>(1, 4, 40);
  const std::uint64_t every = scaled<std::uint64_t>(3, 1, 1);  // damages tried at an operation
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + runs; ++seed) {
    Scene scene(seed, setting);
    std::uint64_t operations = 0;
    const auto tryEnd = [&](const End& end, const Damage* damage) {
      const auto copy = end.machine->clone(seed * 1'000'003 + end.number);
      if (damage != nullptr) copy->crash(seed * 1'000'033 + end.number, *damage);
      violations.state();
      const std::string problems = problemsAfterwards(*copy, setting);
      if (problems.empty()) return;
      violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed) + " " + end.place +
                         (damage != nullptr ? ", power cut, " + std::string(nameOf(*damage))
                                            : std::string(", kill")),
                     problems);
    };
    // Copies are tried after the step they are of: some operations run under a lock of the
    // process, which opening the copy's journal takes too.
    std::vector<End> ends;
    const auto tryEnds = [&] {
      for (const End& end : ends) {
        if (violations.enough()) break;
        tryEnd(end, nullptr);
        for (std::size_t i = 0; i < kAllDamages.size(); ++i) {
          if ((end.number + i) % every == 0) tryEnd(end, &kAllDamages[i]);
        }
      }
      operations += ends.size();
      ends.clear();
    };
    scene.machine.onOperation([&](const SimFs::Operation& operation) {
      ends.push_back({scene.machine.clone(operation.number), operation.number,
                      "operation " + std::to_string(operation.number) + " " +
                          std::string(nameOf(operation.call)) + " " + std::string(operation.path)});
    });
    {
      Member one(scene.machine, setting);
      tryEnds();
      Member other(scene.machine, setting);
      tryEnds();
      for (int round = 0; round < 6; ++round) {
        runBoth(scene, one, other, 1);
        tryEnds();
      }
      scene.machine.onOperation(nullptr);
      one.kill();
      other.kill();
    }
    EXPECT_GT(operations, 50U) << "the run did next to nothing";
  }
  EXPECT_GT(violations.states(), 200U);
}

TEST(ExactlyOnceOnFiles, SurvivesPowerCutsAndKillsAtEveryOperation) { crashAtEveryOperation({}); }

TEST(ExactlyOnceOnFiles, SurvivesPowerCutsAndKillsWithBufferedCommits) {
  crashAtEveryOperation({.durability = state::Durability::Buffered});
}

// Some of what is fed is not on disk there, and the power takes it back: none of it may have been
// counted.
TEST(ExactlyOnceOnFiles, SurvivesPowerCutsAndKillsWithInputOfAnotherDirectory) {
  crashAtEveryOperation({.input = kOtherDirectory});
}

void killOneOfTwo(const std::string& input) {
  Violations violations("row 22, one of two killed");
  const int rounds = scaled(8, 16, 16);
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + scaled<std::uint64_t>(4, 40, 400);
       ++seed) {
    const Setting setting{
        .durability = seed % 2 == 0 ? state::Durability::Buffered : state::Durability::Synced,
        .input = input};
    for (int killed = 0; killed <= rounds; ++killed) {
      Scene scene(seed, setting);
      Member one(scene.machine, setting);
      Member other(scene.machine, setting);
      runBoth(scene, one, other, killed);
      one.kill();
      violations.state();
      std::string problems;
      try {
        scene.feeder->feed(1, state::Durability::Synced);
        for (int i = 0; i < 60; ++i) other.step();
        problems = other.problems();
      } catch (const Error& error) {
        problems = error.what();
      }
      if (!problems.empty()) {
        violations.add(
            "PENSTOCK_FAULT_SEED=" + std::to_string(seed) + " round " + std::to_string(killed),
            problems);
      }
      other.kill();
    }
  }
}

TEST(ExactlyOnceOnFiles, SurvivorTakesOverFromAKilledMemberAtEveryStep) {
  killOneOfTwo(kDirectory);
}

TEST(ExactlyOnceOnFiles, SurvivorTakesOverInputOfAnotherDirectory) {
  killOneOfTwo(kOtherDirectory);
}

}  // namespace
}  // namespace penstock::fault
