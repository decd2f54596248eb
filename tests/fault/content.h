// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/sim_fs.h"

namespace penstock::fault {

/// The records of one log, as far as a test knows or reads them.
struct LogContent {
  std::uint64_t start = 0;  // offset of records.front()
  std::vector<std::string> records;
  bool operator==(const LogContent&) const = default;
};

/// Everything a journal holds for its users, by name.
struct Content {
  std::map<std::string, std::map<std::string, std::string>> stores;
  std::map<std::string, LogContent> logs;
};

/// Reads all of it through the public interface.
Content readContent(const std::shared_ptr<state::Journal>& journal,
                    state::ReadLimit limit = state::ReadLimit::Written);

/// What is different, for people; empty when `actual` is what `expected` allows: equal, but that
/// a log may still hold records that were trimmed.
std::string difference(const Content& expected, const Content& actual);

/// A record as the workloads write it: with its length in front.
void appendRecord(std::string& buffer, std::string_view record);

/// An opened journal of a machine, with what was read from it, or why that failed.
struct Opened {
  std::shared_ptr<testsupport::SimProcess> process;
  std::shared_ptr<state::Journal> journal;
  Content content;
  std::string problem;      // text of the exception; empty: none
  bool corruption = false;  // it was a Corruption, with file and ...
  std::string file;

  /// The process dies with its objects, without the journal's orderly close.
  void kill() {
    if (process) process->kill();
    journal.reset();
  }
};

Opened openAndRead(testsupport::SimFs& machine, const std::string& directory,
                   const state::JournalOptions& options);

}  // namespace penstock::fault
