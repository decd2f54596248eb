// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/engine.h>
#include <penstock/state/file_system.h>
#include <penstock/state/journal.h>
#include <penstock/state/verify.h>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock::state {

/// Files of one kind.
struct FileTotal {
  std::string kind;  // "segments", "snapshots", "blobs", "archives", "torn tails"
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// A store as it lies in the directory.
struct StoreDescription {
  std::string name;
  std::optional<std::uint64_t> keys;  // nullopt: damaged, see verifyJournal
  Engine engine = Engine::File;
  std::uint64_t snapshotBytes = 0;  // of its snapshot's file, or its database's files
  std::uint64_t changedBytes = 0;   // of changes that its snapshot does not hold
};

/// A log as it lies in the directory.
struct LogDescription {
  std::string name;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t bytes = 0;  // of the sections that are kept
  LogRetention retention;
};

/// What a directory holds.
struct JournalDescription {
  std::string directory;
  std::string journalId;
  DirectoryUse use = DirectoryUse::Nobody;
  std::string holder;
  std::vector<FileTotal> files;
  Sequence last;
  Sequence synced;           // up to which the frames say that they were on disk
  std::uint64_t epoch = 0;   // the present one
  std::uint64_t epochs = 0;  // that are known
  std::vector<StoreDescription> stores;
  std::vector<LogDescription> logs;
  std::vector<std::string> damages;  // what was met; verifyJournal finds all
};

/// Describes the journal in `directory` without opening it: nothing is written, and a directory
/// that another process has open is described as well, under the conditions of verifyJournal.
///
/// Errors: those of verifyJournal, and Corruption when the newest segment does not tell.
/// Cost: reads the active segment, and of each store the changes since its snapshot.
[[nodiscard]] JournalDescription inspectJournal(
    const std::string& directory, const Environment& environment = Environment::real());

}  // namespace penstock::state
