// SPDX-License-Identifier: Apache-2.0
#include "specimen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock::testsupport {

using state::Commit;
using state::Durability;
using state::Journal;
using state::JournalOptions;
using state::LogId;
using state::StoreId;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

void addRecord(Commit& commit, LogId log, std::string_view text, std::int64_t timeMs) {
  commit.recordBuffer(log) += text;
  commit.recordAdded(log, timeMs);
}

void expectAdvice(const state::Corruption& damage) {
  EXPECT_FALSE(damage.file().empty());
  EXPECT_EQ(damage.what(), damage.damage() + "; " + state::Corruption::journalAdvice);
  EXPECT_THAT(damage.damage(), Not(HasSubstr("penstock state"))) << "advice stands there twice";
}

}  // namespace

void writeSpecimen(SimFs& machine) {
  const auto process = machine.startProcess();
  JournalOptions options;
  options.segmentBytes = 1U << 20;
  options.snapshotAfterBytes = 1ULL << 40;
  Commit commit;
  {
    const auto journal = Journal::open(specimenDirectory, options, process->environment());
    const LogId log = journal->declareLog("log");
    const LogId bulk = journal->declareLog("bulk");
    for (int i = 0; i < 4; ++i) {
      addRecord(commit, log, "early " + std::to_string(i), i);
      addRecord(commit, bulk, std::string(300'000, 'b'), i);
      (void)journal->commit(commit);
    }
    addRecord(commit, log, "next segment", 4);
    (void)journal->commit(commit);
    journal->removeLog(bulk);
    EXPECT_GT(journal->clean(), 1U << 20);  // what is left of the first becomes an archive
  }
  options.segmentBytes = 4096;
  options.blobBytes = 3000;
  const auto journal = Journal::open(specimenDirectory, options, process->environment());
  const StoreId settled = journal->declareStore("settled");
  const StoreId moving = journal->declareStore("moving");
  const StoreId young = journal->declareStore("young");
  const StoreId large = journal->declareStore("large");
  const LogId log = journal->findLog("log").value();
  const LogId other = journal->declareLog("other");
  for (int i = 0; i < 60; ++i) {
    const std::string key = "key-" + std::to_string(i % 25);
    const std::string value = std::to_string(i) + std::string(90, static_cast<char>('a' + i % 26));
    if (i < 30) commit.put(settled, key, value);
    if (i % 3 != 0) commit.put(moving, key, value);
    if (i % 4 == 0) commit.put(young, key, value);
    addRecord(commit, log, "record " + std::to_string(i), 100 + i);
    if (i % 2 == 0) addRecord(commit, other, "other " + std::to_string(i), 100 + i);
    (void)journal->commit(commit, i % 8 == 0 ? Durability::Synced : Durability::Buffered);
    machine.clock().advanceMs(7);
    if (i == 30) {
      journal->snapshotStore(settled);
      journal->snapshotStore(moving);
    }
    if (i == 40) {
      commit.put(large, "large", std::string(4000, 'L'));
      addRecord(commit, other, "beside the large", 5000);
      (void)journal->commit(commit);
    }
  }
  machine.clock().advanceMs(1000);
  journal->testingTick();  // a mark: what is before it is proven to have been synced
  commit.put(moving, "last", "behind the mark");
  (void)journal->commit(commit);
}

const SimFs& specimen() {
  static SimFs* machine = [] {
    auto* made = new SimFs(1);
    writeSpecimen(*made);
    return made;
  }();
  return *machine;
}

std::vector<std::string> specimenFiles(const SimFs& machine, const std::string& begin) {
  std::vector<std::string> found;
  for (const std::string& path : machine.files()) {
    if (path.starts_with(specimenDirectory + "/" + begin)) found.push_back(path);
  }
  EXPECT_FALSE(found.empty()) << begin;
  return found;
}

Verdict askEngine(SimFs& machine, const std::string& directory) {
  Verdict verdict;
  const auto process = machine.startProcess();
  try {
    const auto journal = Journal::open(directory, {}, process->environment());
    verdict.tornTails = journal->metrics().tornTails;
    for (const state::StoreInfo& info : journal->stores()) {
      try {
        auto& content = verdict.stores[info.name];
        journal->store(info.id)->scan({}, {}, [&](std::string_view key, std::string_view value) {
          content.emplace(key, value);
          return true;
        });
      } catch (const state::Corruption& damage) {
        verdict.stores.erase(info.name);
        verdict.failedStores.insert(info.name);
        expectAdvice(damage);
      }
    }
    for (const state::LogInfo& info : journal->logs()) {
      verdict.ranges[info.name] = {info.start, info.end};
      state::LogReader reader(journal, info.id, info.start);
      state::LogChunk chunk;
      while (reader.offset() < info.end) {
        const std::uint64_t before = reader.offset();
        try {
          if (!reader.next(chunk, state::ReadLimit::Written)) break;
          verdict.logs[info.name] +=
              std::string(reinterpret_cast<const char*>(chunk.bytes.data()), chunk.bytes.size());
        } catch (const state::Corruption& damage) {
          expectAdvice(damage);
          verdict.failedOffsets[info.name].insert(before);
          reader.seek(before + 1);
        }
      }
    }
  } catch (const state::Corruption& damage) {
    verdict = {};
    verdict.refused = true;
    verdict.why = damage.what();
    expectAdvice(damage);
  }
  process->kill();
  return verdict;
}

void expectSame(const Verdict& engine, const state::VerifyReport& report) {
  std::string all;
  for (const state::Damage& damage : report.damages) all += damage.text + "\n";
  EXPECT_THAT(all, Not(HasSubstr("penstock state"))) << "advice in every line";
  EXPECT_EQ(report.refused(), engine.refused) << engine.why << "\n" << all;
  if (engine.refused || report.refused()) return;
  EXPECT_EQ(report.torn.has_value(), engine.tornTails > 0) << all;
  std::set<std::string> stores;
  std::map<std::string, std::set<std::uint64_t>> offsets;
  for (const state::Damage& damage : report.damages) {
    stores.insert(damage.stores.begin(), damage.stores.end());
    for (const state::LogSpan& span : damage.logs) {
      for (std::uint64_t at = span.start; at < span.end; ++at) offsets[span.log].insert(at);
    }
  }
  EXPECT_EQ(stores, engine.failedStores) << all;
  EXPECT_EQ(offsets, engine.failedOffsets) << all;
}

}  // namespace penstock::testsupport
