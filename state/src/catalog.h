// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/engine.h>
#include <penstock/state/journal.h>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frame.h"

namespace penstock::state {

/// What a journal knows of itself: its stores, logs, claims, epochs and live files. Each segment
/// begins with the whole of it; changes are sections of frames.
///
/// Invariants:
/// 1. Applying the same frames in the same order gives the same catalog, in every process.
/// 2. A file is deleted only after the frame that takes it off the list is on disk.
/// 3. Ids and claims' incarnations only grow.

/// The base of a store: a snapshot file or a database.
struct SnapshotEntry {
  std::uint64_t file = 0;    // number; 0: none
  std::uint64_t covers = 0;  // sequence up to which it holds every change
  std::uint64_t bytes = 0;   // size of the file; 0 of a database
  std::uint64_t hash = 0;    // of its footer, which covers index and blocks; 0 of a database
  FileKind kind = FileKind::Snapshot;
};

struct StoreEntry {
  std::string name;
  SnapshotEntry snapshot;
  Engine engine = Engine::File;  // how its next snapshot is kept
};

/// In epoch `epoch` (index into Catalog::epochs) the log began at `start`.
struct EpochStart {
  std::uint64_t epoch = 0;
  std::uint64_t start = 0;
};

struct LogEntry {
  std::string name;
  LogRetention retention;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::vector<EpochStart> history;  // ascending; only epochs in which `end` had moved
};

/// What a sealed segment holds of one log.
struct LogRange {
  std::uint32_t log = 0;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint64_t bytes = 0;
  std::int64_t maxTimeMs = 0;
};

/// A segment that is no longer written, or the archive that took the place of several.
struct SealedFile {
  std::uint64_t number = 0;
  bool archive = false;
  std::uint64_t firstSequence = 0;
  std::uint64_t lastSequence = 0;
  std::uint64_t endOffset = 0;     // bytes; behind the last frame
  std::uint64_t lastChecksum = 0;  // of the last frame
  std::vector<LogRange> logs;
  std::vector<std::uint32_t> stores;  // changed in it
  std::vector<std::uint64_t> blobs;   // files that its frames link
};

struct EpochEntry {
  std::uint64_t id = 0;
  std::uint64_t sequence = 0;  // of the frame that began it
};

/// Do not renumber: on disk.
enum class CatalogOp : std::uint8_t {
  DeclareStore = 1,
  RemoveStore = 2,
  DeclareLog = 3,
  RemoveLog = 4,
  SetRetention = 5,
  TrimLog = 6,
  Claim = 7,
  Epoch = 8,
  InstallSnapshot = 9,
  RemoveFiles = 10,     // sealed files that nobody needs any more
  InstallArchive = 11,  // in the place of sealed files
  SetEngine = 12,
  InstallDatabase = 13,  // in the place of a snapshot
};

class Catalog {
 public:
  std::uint32_t nextStore = 1;
  std::uint32_t nextLog = 1;
  std::map<std::uint32_t, StoreEntry> stores;
  std::map<std::uint32_t, LogEntry> logs;
  std::map<std::string, std::uint64_t, std::less<>> claims;
  std::vector<EpochEntry> epochs;
  std::uint64_t firstEpochIndex = 0;  // index of epochs.front(); older ones are forgotten
  std::vector<SealedFile> sealed;     // ascending by sequence

  /// Whether a reader has to know of engines.
  [[nodiscard]] bool hasEngines() const;
  [[nodiscard]] std::optional<std::uint32_t> storeByName(std::string_view name) const;
  [[nodiscard]] std::optional<std::uint32_t> logByName(std::string_view name) const;
  [[nodiscard]] std::uint64_t epoch() const { return epochs.empty() ? 0 : epochs.back().id; }

  /// The whole, for a base frame.
  void encode(std::string& out) const;
  /// False when the bytes are not an encoded catalog.
  [[nodiscard]] bool decode(std::string_view bytes);
  /// Applies changes made by the functions below. False when they are not understood.
  [[nodiscard]] bool apply(std::string_view changes, std::uint64_t sequence);

  static void declareStore(std::string& out, std::uint32_t id, std::string_view name);
  static void setEngine(std::string& out, std::uint32_t id, Engine engine);
  static void removeStore(std::string& out, std::uint32_t id);
  static void declareLog(std::string& out, std::uint32_t id, std::string_view name,
                         const LogRetention& retention);
  static void removeLog(std::string& out, std::uint32_t id);
  static void setRetention(std::string& out, std::uint32_t id, const LogRetention& retention);
  static void trimLog(std::string& out, std::uint32_t id, std::uint64_t offset);
  static void claim(std::string& out, std::string_view name, std::uint64_t incarnation);
  static void newEpoch(std::string& out, std::uint64_t id);
  static void installSnapshot(std::string& out, std::uint32_t store, const SnapshotEntry& entry);
  static void removeFiles(std::string& out, const std::vector<std::uint64_t>& numbers);
  static void installArchive(std::string& out, const SealedFile& archive,
                             const std::vector<std::uint64_t>& replaced);

  /// A log received `count` records at `base`. False when `base` is not its end.
  [[nodiscard]] bool logAppended(std::uint32_t log, std::uint64_t base, std::uint32_t count);
};

inline constexpr std::size_t epochsKept = 1000;  // arbitrary; older positions are refused

}  // namespace penstock::state
