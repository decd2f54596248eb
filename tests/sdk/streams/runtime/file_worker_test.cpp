// SPDX-License-Identifier: Apache-2.0

// Workers on files whose journal fails, and who owns what.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/state/journal.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>

#include "file/topic_catalog.h"
#include "streams/runtime/file_backend.h"
#include "streams/runtime/plan.h"
#include "streams/runtime/worker.h"
#include "support/sim_fs.h"

namespace penstock::streams {
namespace {

using ::testing::HasSubstr;
using testsupport::SimCall;
using testsupport::SimFs;

const char* const kDirectory = "/data/topics";

state::JournalOptions shared() {
  state::JournalOptions options;
  options.sharing = state::Sharing::Shared;
  return options;
}

/// A process of an application that copies topic `in` to topic `out`.
struct Member {
  Member(SimFs& machine, state::Environment where)
      : application({.id = "test", .broker = kDirectory}), environment(where) {
    application.stream<std::string_view, std::string_view>("in").to("out");
    topology = std::make_unique<Topology>("test", application.builder());
    FileBackendOptions options;
    options.directory = kDirectory;
    backend = std::make_unique<FileBackend>(options, environment);
    plan = makePlan(*topology, application.options());
    backend->prepare(plan);
    context = {topology.get(), &plan, &application.options(), backend.get(), &machine.clock()};
    worker = std::make_unique<Worker>(context, 0);
  }

  Application application;
  state::Environment environment;
  std::unique_ptr<Topology> topology;
  std::unique_ptr<FileBackend> backend;
  ApplicationPlan plan;
  WorkerContext context;
  std::unique_ptr<Worker> worker;
};

struct Scene {
  Scene() {
    machine.makeSyncedDirectory("/data");
    journal = state::Journal::open(kDirectory, shared(), other->environment());
    TopicConfig config;
    config.partitions = 1;
    file::TopicCatalog(journal).create("in", config);
  }
  SimFs machine{1};
  std::shared_ptr<testsupport::SimProcess> process = machine.startProcess();
  std::shared_ptr<testsupport::SimProcess> other = machine.startProcess();
  std::shared_ptr<state::Journal> journal;  // of the other process
};

TEST(FileWorkerTest, IdleWorkerReportsAJournalThatFailedElsewhere) {
  Scene scene;
  state::Environment environment = scene.process->environment();
  environment.threads = true;  // without them it does not wait at all
  Member member(scene.machine, environment);
  const auto stepsUntilIdle = [&] {
    for (int i = 0; i < 100; ++i) {
      scene.machine.clock().advanceMs(200);
      member.worker->step(std::chrono::milliseconds(100));
    }
  };
  stepsUntilIdle();
  scene.machine.fail({SimCall::Sync, 1, EIO, true, {}});
  state::Commit commit;
  commit.put(scene.journal->declareStore("other"), "k", "v");
  EXPECT_THROW(scene.journal->commit(commit), state::JournalFailed);
  EXPECT_THROW(stepsUntilIdle(), state::JournalFailed);
}

TEST(FileWorkerTest, HolderOfATaskIsTheOtherProcessNotThisOne) {
  Scene scene;
  Member owner(scene.machine, scene.process->environment());
  owner.worker->step(std::chrono::milliseconds(0));
  Member looker(scene.machine, scene.other->environment());
  const TaskId task{0, PartitionIndex{0}};
  EXPECT_EQ(owner.backend->holder(task), "");
  EXPECT_THAT(looker.backend->holder(task), HasSubstr("pid "));
  owner.worker->finish();
  EXPECT_EQ(looker.backend->holder(task), "");
}

TEST(FileWorkerTest, StatelessTopologyIsRememberedToo) {
  Scene scene;
  { const Member stateless(scene.machine, scene.process->environment()); }
  Application application({.id = "test", .broker = kDirectory});
  application.stream<std::string_view, std::string_view>("in")
      .groupByKey()
      .count({.name = "counts"})
      .toStream()
      .to("out");
  const Topology topology("test", application.builder());
  FileBackendOptions options;
  options.directory = kDirectory;
  FileBackend backend(options, scene.process->environment());
  ApplicationPlan plan = makePlan(topology, application.options());
  EXPECT_THROW(backend.prepare(plan), ConfigurationError);
}

}  // namespace
}  // namespace penstock::streams
