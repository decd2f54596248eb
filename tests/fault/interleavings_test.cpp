// SPDX-License-Identifier: Apache-2.0

// Row 17 of the scoreboard: what comes in between. A commit is made at each operation with which a
// snapshot or a cleaning writes a file, so in every order of the two that a file can see; then
// threads do all of it at once, in whatever order they come (ThreadSanitizer looks on in its
// build).

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>

#include "fault/figures.h"
#include "fault/violations.h"
#include "fault/workload.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

using state::Commit;
using state::Durability;
using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimRandom;

/// Files that are written without the right to append: others may commit meanwhile.
bool writtenBesides(std::string_view path) {
  return path.find("/snapshot-") != std::string_view::npos ||
         path.find("/archive-") != std::string_view::npos;
}

TEST(Interleavings, OfACommitWithEveryOperationOfASnapshotAndOfCleaning) {
  Figures figures("17");
  Violations violations("row 17, interleavings");
  const std::uint64_t seeds = scaled<std::uint64_t>(10, 500, 5000);
  std::set<std::string> points;
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + seeds && !violations.enough();
       ++seed) {
    SimFs machine(seed);
    SimRandom random(seed);
    state::JournalOptions options = smallJournal();
    options.segmentBytes = 4 << 10;
    const auto process = machine.startProcess();
    auto journal = state::Journal::open("/state", options, process->environment());
    const state::StoreId store = journal->declareStore("s");
    const state::LogId log = journal->declareLog("l");
    const auto view = journal->store(store);
    Content expected;
    std::uint64_t number = 0;
    const auto commit = [&] {
      const std::string value = std::to_string(++number);
      const std::string key = "key-" + std::to_string(random.below(30));
      const std::string gone = "key-" + std::to_string(random.below(30));
      const bool sync = random.oneIn(3);
      Commit change;
      change.erase(store, gone);
      change.put(store, key, value + std::string(200, 'v'));
      if (random.oneIn(4)) {
        appendRecord(change.recordBuffer(log), value);
        change.recordAdded(log, static_cast<std::int64_t>(number));
        expected.logs["l"].records.push_back(value);
      }
      expected.stores["s"].erase(gone);
      expected.stores["s"][key] = value + std::string(200, 'v');
      static_cast<void>(
          journal->commit(change, sync ? Durability::Synced : Durability::Buffered));
    };
    const std::string where = "PENSTOCK_FAULT_SEED=" + std::to_string(seed);
    const auto check = [&](const std::string& when) {
      const std::string different = difference(expected, readContent(journal));
      if (!different.empty()) violations.add(where + " " + when, different);
    };
    expected.stores["s"];
    expected.logs["l"];
    const std::uint64_t every = 1 + random.below(3);
    std::uint64_t seen = 0;
    try {
      for (int round = 0; round < 6 && !violations.enough(); ++round) {
        int between = 0;  // enough of them: each makes more to clean
        for (int i = 0; i < 25; ++i) commit();
        machine.onOperation([&](const SimFs::Operation& operation) {
          if (!writtenBesides(operation.path) || ++seen % every != 0 || between == 20) return;
          ++between;
          violations.state();
          points.insert(std::string(nameOf(operation.call)) +
                        (operation.path.find("/snap") == std::string_view::npos ? " archive"
                                                                                : " snapshot"));
          commit();
        });
        if (round % 2 == 0) {
          journal->snapshotStore(store);
        } else {
          static_cast<void>(journal->clean());
        }
        machine.onOperation(nullptr);
        check("after the " + std::string(round % 2 == 0 ? "snapshot" : "cleaning"));
      }
      journal->flush();
      process->kill();
      journal.reset();
      machine.crash(random.next(), kAllDamages[random.below(kAllDamages.size())]);
      Opened opened = openAndRead(machine, "/state", options);
      const std::string lost =
          opened.problem.empty() ? difference(expected, opened.content) : opened.problem;
      if (!lost.empty()) violations.add(where + " after a power cut", lost);
      opened.kill();
    } catch (const std::exception& error) {
      violations.add(where, error.what());
    }
    machine.onOperation(nullptr);
    process->kill();
  }
  EXPECT_GE(points.size(), 6U);  // create, write, sync, rename of both kinds, and more
  figures.print(std::to_string(points.size()) + " points, " + std::to_string(violations.states()) +
                " commits between, " + std::to_string(violations.count()) + " wrong");
}

TEST(Interleavings, OfEightThreadsLoseAndInventNothing) {
  Figures figures("17, threads");
  constexpr int threads = 8;
  const int calls = scaled(100, 4000, 40'000);
  const testing::TemporaryDirectory place;
  const std::string directory = place / "state";
  state::JournalOptions options;
  options.segmentBytes = 64 << 10;
  options.snapshotAfterBytes = 16 << 10;
  options.blobBytes = 8 << 10;
  options.syncInterval = std::chrono::milliseconds(2);
  std::array<std::uint64_t, threads> written{};
  std::atomic<int> wrong{0};
  std::vector<std::thread> running;
  running.reserve(threads);
  for (int self = 0; self < threads; ++self) {
    running.emplace_back([&, self] {
      SimRandom random(firstSeed() * 100 + static_cast<std::uint64_t>(self));
      const std::string key = "thread-" + std::to_string(self);
      std::shared_ptr<state::Journal> journal;
      std::uint64_t& mine = written[static_cast<std::size_t>(self)];
      for (int i = 0; i < calls; ++i) {
        if (!journal) journal = state::Journal::open(directory, options);
        const state::StoreId store = journal->declareStore("s");
        const std::uint64_t kind = random.below(100);
        if (kind < 70) {
          Commit commit;
          const std::size_t bytes = random.oneIn(20) ? 9000 : 100;
          commit.put(store, key, std::to_string(++mine) + ":" + std::string(bytes, 'v'));
          const auto durability = random.oneIn(8) ? Durability::Synced : Durability::Buffered;
          if (random.oneIn(3)) {
            static_cast<void>(journal->commitAsync(std::move(commit), durability).get());
          } else {
            static_cast<void>(journal->commit(commit, durability));
          }
        } else if (kind < 90) {
          std::string value;
          const bool there = journal->store(store)->get(key, value);
          if (there != (mine > 0) || (there && std::stoull(value) != mine)) ++wrong;
        } else if (kind < 94) {
          journal->snapshotStore(store);
        } else if (kind < 97) {
          static_cast<void>(journal->clean());
        } else {
          journal.reset();  // the last handle closes it, while others may open it
        }
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  const auto journal = state::Journal::open(directory, options);
  const auto view = journal->store(journal->declareStore("s"));
  for (std::size_t self = 0; self < written.size(); ++self) {
    std::string value;
    const bool there = view->get("thread-" + std::to_string(self), value);
    EXPECT_EQ(there ? std::stoull(value) : 0, written[self]) << "thread " << self;
  }
  figures.print(std::to_string(threads) + " threads x " + std::to_string(calls) + " calls, " +
                std::to_string(wrong.load()) + " wrong");
}

}  // namespace
}  // namespace penstock::fault
