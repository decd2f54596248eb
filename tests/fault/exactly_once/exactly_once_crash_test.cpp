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
constexpr std::int32_t kPartitions = 2;
constexpr std::chrono::milliseconds kNow{0};

state::JournalOptions smallJournal() {
  state::JournalOptions options;
  options.sharing = state::Sharing::Shared;
  options.segmentBytes = 16 << 10;
  options.snapshotAfterBytes = 4 << 10;
  return options;
}

/// One process of the application, driven step by step.
class Member {
 public:
  Member(SimFs& machine, state::Durability durability)
      : machine_(machine),
        process_(machine.startProcess()),
        application_({.id = "counting", .broker = kDirectory, .commitInterval = kNow}) {
    setLogLevel(LogLevel::Warning);  // thousands of members come and go
    buildCounting(application_);
    topology_ = std::make_unique<streams::Topology>("counting", application_.builder());
    streams::FileBackendOptions options;
    options.directory = kDirectory;
    options.durability = durability;
    options.journal = smallJournal();
    journal_ = state::Journal::open(kDirectory, options.journal, process_->environment());
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
  [[nodiscard]] const std::shared_ptr<state::Journal>& journal() const { return journal_; }

 private:
  SimFs& machine_;
  std::shared_ptr<SimProcess> process_;
  Application application_;
  std::unique_ptr<streams::Topology> topology_;
  std::shared_ptr<state::Journal> journal_;
  std::unique_ptr<streams::FileBackend> backend_;
  streams::ApplicationPlan plan_;
  streams::WorkerContext context_;
  std::unique_ptr<streams::Worker> worker_;
  std::unique_ptr<streams::UntilEnd> untilEnd_;
};

/// What is wrong when a new process finishes the work on this machine; empty: nothing.
std::string problemsAfterwards(SimFs& machine, state::Durability durability) {
  std::unique_ptr<Member> member;
  std::string problems;
  try {
    member = std::make_unique<Member>(machine, durability);
    problems = member->finish() ? problemsOf(member->journal()) : "does not come to the end";
  } catch (const Error& error) {
    problems = error.what();
  }
  if (member) member->kill();
  return problems;
}

/// A machine with 40 records to count.
struct Scene {
  explicit Scene(std::uint64_t seed) : machine(seed), process(machine.startProcess()) {
    machine.makeSyncedDirectory("/data");
    journal = state::Journal::open(kDirectory, smallJournal(), process->environment());
    feeder = std::make_unique<Feeder>(journal, kPartitions, 5, seed);
    feeder->feed(40, state::Durability::Synced);
  }
  ~Scene() { process->kill(); }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  SimFs machine;
  std::shared_ptr<SimProcess> process;
  std::shared_ptr<state::Journal> journal;
  std::unique_ptr<Feeder> feeder;
};

/// Both members by turns, while more is written, for `rounds`.
void runBoth(Scene& scene, Member& one, Member& other, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    one.step();
    scene.feeder->feed(3, round % 2 == 0 ? state::Durability::Synced : state::Durability::Buffered);
    other.step();
  }
}

/// The machine as it was before an operation.
struct End {
  std::unique_ptr<SimFs> machine;
  std::uint64_t number = 0;
  std::string place;
};

/// Of commits: with Buffered a power cut takes back the newest, whole.
void crashAtEveryOperation(state::Durability durability) {
  Violations violations("row 22, crashes");
  const std::uint64_t runs = scaled<std::uint64_t>(1, 4, 40);
  const std::uint64_t every = scaled<std::uint64_t>(3, 1, 1);  // damages tried at an operation
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + runs; ++seed) {
    Scene scene(seed);
    std::uint64_t operations = 0;
    const auto tryEnd = [&](const End& end, const Damage* damage) {
      const auto copy = end.machine->clone(seed * 1'000'003 + end.number);
      if (damage != nullptr) copy->crash(seed * 1'000'033 + end.number, *damage);
      violations.state();
      const std::string problems = problemsAfterwards(*copy, durability);
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
      Member one(scene.machine, durability);
      tryEnds();
      Member other(scene.machine, durability);
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

TEST(ExactlyOnceOnFiles, SurvivesPowerCutsAndKillsAtEveryOperation) {
  crashAtEveryOperation(state::Durability::Synced);
}

TEST(ExactlyOnceOnFiles, SurvivesPowerCutsAndKillsWithBufferedCommits) {
  crashAtEveryOperation(state::Durability::Buffered);
}

TEST(ExactlyOnceOnFiles, SurvivorTakesOverFromAKilledMemberAtEveryStep) {
  Violations violations("row 22, one of two killed");
  const int rounds = scaled(8, 16, 16);
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + scaled<std::uint64_t>(4, 40, 400);
       ++seed) {
    for (int killed = 0; killed <= rounds; ++killed) {
      Scene scene(seed);
      const auto durability =
          seed % 2 == 0 ? state::Durability::Buffered : state::Durability::Synced;
      Member one(scene.machine, durability);
      Member other(scene.machine, durability);
      runBoth(scene, one, other, killed);
      one.kill();
      violations.state();
      std::string problems;
      try {
        for (int i = 0; i < 60; ++i) other.step();
        problems = problemsOf(other.journal());
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

}  // namespace
}  // namespace penstock::fault
