// SPDX-License-Identifier: Apache-2.0
#include "two_segments.h"

#include <gtest/gtest.h>
#include <penstock/state/journal.h>

namespace penstock::testsupport {

using state::Commit;
using state::Journal;
using state::JournalOptions;
using state::LogId;
using state::StoreId;

void writeTwoSegments(SimFs& machine) {
  constexpr std::size_t piecesBytes = 1'200'000;
  constexpr std::size_t blobBytes = 3U << 20;
  const auto process = machine.startProcess();
  JournalOptions options;
  options.segmentBytes = 4U << 20;
  options.blobBytes = blobBytes;
  options.snapshotAfterBytes = 1ULL << 40;
  const auto journal = Journal::open(twoSegments, options, process->environment());
  const LogId log = journal->declareLog("log");
  const LogId other = journal->declareLog("other");
  const LogId pieces = journal->declareLog("pieces");
  const LogId goneLog = journal->declareLog("gone");
  const StoreId plain = journal->declareStore("plain");
  const StoreId cleared = journal->declareStore("cleared");
  const StoreId large = journal->declareStore("pieces");
  const StoreId blobs = journal->declareStore("blobs");
  const StoreId gone = journal->declareStore("gone");
  Commit commit;
  const auto record = [&](LogId id, const std::string& text, int at) {
    commit.recordBuffer(id) += text;
    commit.recordAdded(id, at);
  };
  int at = 0;
  const auto write = [&](int frames) {
    for (const int end = at + frames; at < end; ++at) {
      const std::string number = std::to_string(at);
      commit.put(plain, "plain " + number, "value of " + number);
      record(log, "log " + number, at);
      record(other, "other " + number, at);
      (void)journal->commit(commit);
    }
  };
  const auto writeLarge = [&](const std::string& key) {
    commit.put(blobs, key, std::string(blobBytes, 'B'));
    (void)journal->commit(commit);
    commit.put(large, key, std::string(piecesBytes, 'S'));
    record(pieces, std::string(piecesBytes, 'L'), at);
    (void)journal->commit(commit);
  };

  for (const char* key : {"before 1", "before 2"}) {
    commit.put(cleared, key, "to be cleared");
    (void)journal->commit(commit);
  }
  commit.put(gone, "k", "of a store that is gone");
  record(goneLog, "of a log that is gone", at);
  (void)journal->commit(commit);
  write(10);
  commit.clear(cleared);
  commit.put(cleared, "after", "kept");
  (void)journal->commit(commit);
  journal->removeStore(gone);
  journal->removeLog(goneLog);
  writeLarge("sealed");
  write(10);
  commit.put(large, "sealed too", std::string(piecesBytes, 'T'));
  record(pieces, std::string(piecesBytes, 'M'), at);
  (void)journal->commit(commit);  // and rolls
  (void)journal->declareStore("late");
  write(5);
  writeLarge("active");
  write(5);
  EXPECT_TRUE(process->info(activeSegment).value.exists);
  EXPECT_FALSE(process->info(twoSegments + "/segment-0000000003.log").value.exists);
}

const SimFs& machineOfTwoSegments() {
  static SimFs* machine = [] {
    auto* made = new SimFs(1);
    writeTwoSegments(*made);
    return made;
  }();
  return *machine;
}

}  // namespace penstock::testsupport
