// SPDX-License-Identifier: Apache-2.0

// Goal: nothing is allocated per record. Method: a count is warmed up with all of its keys, then
// the calls of operator new are counted while more records of them go through it.

#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/state/journal.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/support/no_store.h"
#include "fault/allocation/failing_new.h"
#include "file/record_codec.h"
#include "file/topic_catalog.h"
#include "streams/runtime/file_backend.h"
#include "streams/runtime/plan.h"
#include "streams/runtime/worker.h"
#include "streams/task_graph.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

constexpr std::size_t kRecords = 10'000;
constexpr std::size_t kKeys = 500;

std::uint64_t allocationsOf(const std::function<void()>& work) {
  FailingNew::arm(std::numeric_limits<std::uint64_t>::max(), false);
  {
    const FailingNew::Counted counted;
    work();
  }
  FailingNew::disarm();
  return FailingNew::counted();
}

/// Throws away what it is given; a record's buffer is kept, as a commit's is.
class Sinks final : public streams::TaskContext {
 public:
  class Sink final : public detail::Output {
   public:
    void send(std::optional<PartitionIndex>, const RecordView& record) override {
      bytes.clear();
      file::encodeRecord(record, bytes);
      ++records;
    }
    std::string bytes;
    std::size_t records = 0;
  };
  std::shared_ptr<streams::TaskStore> store(std::size_t, const std::string&) override {
    return std::make_shared<bench::NoStore>();
  }
  detail::Output& output(const std::string&) override { return sink; }
  [[nodiscard]] std::int64_t nowMs() const override { return 0; }

  Sink sink;
};

/// Words of lines, by way of a repartition topic; `planted` is asked of each line.
void countWords(Application& application, Emit emit,
                const std::function<bool(std::string_view)>& planted) {
  application.stream<None, std::string_view>("lines")
      .filter([planted](const None&, std::string_view line) { return planted(line); })
      .flatMap<std::string_view, None>([](const None&, std::string_view line, const auto& out) {
        const std::size_t space = line.find(' ');
        out(line.substr(0, space), None{});
        out(line.substr(space + 1), None{});
      })
      .groupByKey()
      .count({.name = "words", .emit = emit})
      .toStream()
      .to("counts");
}

bool innocent(std::string_view line) { return !line.empty(); }

class HotPath : public ::testing::TestWithParam<Emit> {
 protected:
  HotPath() {
    for (std::size_t i = 0; i < kKeys; ++i) {
      words_.push_back("a word longer than what a string holds in itself, number " +
                       std::to_string(i));
    }
    for (std::size_t i = 0; i < kKeys; ++i) {
      lines_.push_back("short" + std::to_string(i) + ' ' + "another" + std::to_string(i));
    }
  }

  /// Allocations for kRecords records through one sub-topology, when all has been seen before.
  std::uint64_t allocationsIn(const streams::Topology& topology, std::size_t part) {
    Sinks context;
    streams::TaskGraph graph(topology, part, context, {});
    const streams::SubTopology& sub = topology.subTopologies()[part];
    RecordBatch batch;
    batch.source = {sub.inputs[0].name, {}};
    for (std::size_t i = 0; i < kRecords; ++i) {
      RecordView record;
      if (sub.inputs[0].repartition) record.key = words_[i % kKeys];
      if (!sub.inputs[0].repartition) record.value = lines_[i % kKeys];
      record.timestamp.ms = static_cast<std::int64_t>(i);
      batch.records.push_back(record);
    }
    const auto commit = [&] {
      graph.prepareCommit();
      graph.committed();
    };
    graph.process(batch);
    commit();
    graph.process(batch);
    commit();
    const std::uint64_t found = allocationsOf([&] {
      graph.process(batch, 0, kRecords / 2);
      commit();
      graph.process(batch, kRecords / 2, kRecords / 2);
      commit();
    });
    EXPECT_EQ(graph.counters().recordsIn, 3 * kRecords);
    EXPECT_GT(context.sink.records, 0U);
    return found;
  }

  std::vector<std::string> words_;
  std::vector<std::string> lines_;
};

TEST_P(HotPath, AllocatesNothingPerRecord) {
  Application application({.id = "test"});
  countWords(application, GetParam(), innocent);
  const streams::Topology topology("test", application.builder());
  ASSERT_EQ(topology.subTopologies().size(), 2U);
  for (const std::size_t part : {0U, 1U}) {
    EXPECT_EQ(allocationsIn(topology, part), 0U) << topology.subTopologies()[part].name;
  }
}

TEST_P(HotPath, OneAllocationPerRecordIsSeen) {
  Application application({.id = "test"});
  countWords(application, GetParam(), [](std::string_view line) {
    static std::unique_ptr<std::string_view> kept;  // one that is not kept, a compiler leaves out
    kept = std::make_unique<std::string_view>(line);
    return kept->size() > 1;
  });
  const streams::Topology topology("test", application.builder());
  EXPECT_EQ(allocationsIn(topology, 0), kRecords);
}

INSTANTIATE_TEST_SUITE_P(Emit, HotPath, ::testing::Values(Emit::PerCommit, Emit::EveryUpdate),
                         [](const auto& named) {
                           return named.param == Emit::PerCommit ? "PerCommit" : "EveryUpdate";
                         });

/// The whole of it on files: what is fetched, processed and committed is paid for per batch.
TEST(HotPathOfAWorker, AllocatesPerBatchAndNotPerRecord) {
  constexpr std::size_t batchRecords = 1000;
  const testing::TemporaryDirectory directory;
  state::Environment environment = state::Environment::real();
  environment.threads = false;
  state::JournalOptions shared;
  shared.sharing = state::Sharing::Shared;
  const auto journal = state::Journal::open(directory.path(), shared, environment);
  file::TopicCatalog catalog(journal);
  catalog.create("in", {.partitions = 1});
  const auto feed = [&] {
    for (std::size_t i = 0; i < kRecords; i += batchRecords) {
      state::Commit commit;
      const state::LogId log = catalog.get("in").logs.at(0);
      for (std::size_t each = 0; each < batchRecords; ++each) {
        const std::string key = "key" + std::to_string(each % kKeys);
        RecordView record;
        record.key = key;
        file::encodeRecord(record, commit.recordBuffer(log));
        commit.recordAdded(log, 0);
      }
      static_cast<void>(journal->commit(commit, state::Durability::Buffered));
    }
  };
  Application application({.id = "test", .broker = directory.path()});
  application.stream<std::string_view, None>("in")
      .groupByKey()
      .count({.name = "counts"})
      .toStream()
      .to("out");
  const streams::Topology topology("test", application.builder());
  streams::FileBackendOptions options;
  options.directory = directory.path();
  options.durability = state::Durability::Buffered;
  streams::FileBackend backend(options, environment);
  streams::ApplicationPlan plan = streams::makePlan(topology, application.options());
  backend.prepare(plan);
  const streams::WorkerContext context{&topology, &plan, &application.options(), &backend,
                                       environment.clock};
  streams::Worker worker(context, 0);
  const auto processAll = [&](std::uint64_t until) {
    while (worker.metrics().recordsIn < until) worker.step(std::chrono::milliseconds(0));
  };
  feed();
  processAll(kRecords);
  feed();
  processAll(2 * kRecords);
  feed();
  const std::uint64_t found = allocationsOf([&] { processAll(3 * kRecords); });
  std::printf("a worker on files: %llu allocations for %zu records in %zu batches\n",
              static_cast<unsigned long long>(found), kRecords, kRecords / batchRecords);
  EXPECT_LT(found, kRecords / 20);
  worker.finish();
}

}  // namespace
}  // namespace penstock::fault
