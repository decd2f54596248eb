// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "sim_fs.h"

namespace penstock::testsupport {

/// Where the journals of simulated machines lie.
inline const char* const kDirectory = "/state";
inline const std::string firstSegment = "/state/segment-0000000001.log";

inline state::JournalOptions smallSegments(state::Sharing sharing = state::Sharing::Exclusive) {
  state::JournalOptions options;
  options.sharing = sharing;
  options.segmentBytes = 64 << 10;
  options.snapshotAfterBytes = 1ULL << 40;  // only when a test asks
  return options;
}

inline void put(state::Journal& journal, state::StoreId store, const std::string& key,
                const std::string& value,
                state::Durability durability = state::Durability::Synced) {
  state::Commit commit;
  commit.put(store, key, value);
  (void)journal.commit(commit, durability);
}

inline std::string get(const state::Store& store, const std::string& key) {
  std::string value = "<absent>";
  (void)store.get(key, value);
  return value;
}

inline void addRecords(state::Journal& journal, state::LogId log, int records) {
  for (int i = 0; i < records; ++i) {
    state::Commit commit;
    commit.recordBuffer(log) += std::string(1000, 'r');
    commit.recordAdded(log, i);
    (void)journal.commit(commit, state::Durability::Buffered);
  }
}

inline std::uint64_t recordsIn(const std::shared_ptr<state::Journal>& journal, state::LogId log,
                               state::ReadLimit limit = state::ReadLimit::Written) {
  state::LogReader reader(journal, log, journal->log(log).start);
  state::LogChunk chunk;
  std::uint64_t records = 0;
  while (reader.next(chunk, limit)) records += chunk.count;
  return records;
}

inline std::size_t filesWith(SimFs& machine, const std::string& part) {
  const auto files = machine.files();
  return static_cast<std::size_t>(
      std::count_if(files.begin(), files.end(),
                    [&](const std::string& file) { return file.find(part) != std::string::npos; }));
}

/// A process of the machine; killed at the end, so that nothing is closed in order.
struct Process {
  std::shared_ptr<SimProcess> process;
  explicit Process(SimFs& machine) : process(machine.startProcess()) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { process->kill(); }
  [[nodiscard]] std::shared_ptr<state::Journal> open(const state::JournalOptions& options) const {
    return state::Journal::open(kDirectory, options, process->environment());
  }
};

}  // namespace penstock::testsupport
