// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <penstock/state/local_file_storage.h>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

/// A storage, its sub-storages included, out of its directory and into one: as JSON lines, for
/// people and other programs, or as a snapshot file, for another machine or version of Penstock.
///
/// Both formats keep every value exactly and are independent of the directory that they came
/// from; docs/formats/export.md. The storage that is given may itself be a sub-storage: it is the
/// root of what is exported, and what is imported goes below it.
///
/// An export is one state of the storage and of all its sub-storages, that of one moment between
/// two writes, while threads and processes go on writing. They wait while the changes since the
/// stores' last snapshots are copied, not while the file is written. What is not synced yet may
/// be in it.
///
/// An export to a path is written as `<path>.<16 hex digits>.tmp`, synced, renamed, and its
/// directory synced: after a crash the path holds all of it or what was there before.
///
/// An import first reads the whole source, checks it and looks for keys that are there already;
/// nothing is changed before all of that is done. Then all keys become visible and durable as one
/// batch, as long as they, with their values, have no more than ImportOptions::batchBytes together.
/// What has more is cut, at keys, into as few batches as hold it: readers may see, and a crash or a
/// full disk may leave, the first of them without the rest. The import done again with `overwrite`
/// then completes it. Sub-storages are created before the first batch, so a crash may leave some
/// that are empty.
///
/// Threads: every function is safe from any thread.
/// Errors: as each says, and those of LocalFileStorage. What a progress callback throws ends the
/// call, like an error at that place would.
namespace penstock::state {

/// What an import or export is doing.
enum class TransferPhase : std::uint8_t {
  Checking,  // an import reads its source; nothing is changed
  Copying,
};

/// How far an import or export is; keys are those of the current phase.
struct TransferProgress {
  TransferPhase phase = TransferPhase::Copying;
  std::uint64_t keys = 0;
  std::optional<std::uint64_t> keysTotal;  // when known
};

/// Called by the thread that transfers, once in about a thousand keys and at the end of a phase.
using ProgressCallback = std::function<void(const TransferProgress&)>;

/// How a storage is exported.
struct ExportOptions {
  bool replace = false;  // a file that is there already, else it is an InvalidArgument
  ProgressCallback progress = {};
};

/// What was exported.
struct ExportReport {
  std::uint64_t keys = 0;
  std::uint64_t storages = 0;  // the storage itself included
};

/// How an export is imported.
struct ImportOptions {
  // Changes behaviour.
  bool overwrite = false;   // keys that are there already, else it is an InvalidArgument
  bool incomplete = false;  // JSON lines: without first and last line too (hand-made)
  // Changes performance, and what is atomic: see above. Held in memory.
  std::uint64_t batchBytes = 256ULL << 20;
  ProgressCallback progress = {};
};

/// What was imported.
struct ImportReport {
  std::uint64_t keys = 0;
  std::uint64_t storages = 0;  // the storage itself included
  std::uint64_t batches = 0;   // 1: all of it became visible at once
};

/// IoError or DiskFull when the file cannot be written; Corruption when the storage is damaged.
/// At `path` is then what was before; all of the export only when the last step, syncing the
/// directory, fails.
ExportReport exportJsonLines(const LocalFileStorage& storage, const std::string& path,
                             const ExportOptions& options = {},
                             const Environment& environment = Environment::real());
/// The same to a stream; IoError when it fails, some lines may be written then.
ExportReport exportJsonLines(const LocalFileStorage& storage, std::ostream& out,
                             const ExportOptions& options = {});

/// InvalidArgument, naming the line, for what is no export, is cut off, or holds a key twice;
/// FormatTooNew for a newer form; SourceChanged. Keys are held in memory while the source is
/// checked.
ImportReport importJsonLines(const std::string& path, LocalFileStorage& into,
                             const ImportOptions& options = {},
                             const Environment& environment = Environment::real());
/// The same from a stream, which can be read but once: InvalidArgument when it holds more than
/// one batch.
ImportReport importJsonLines(std::istream& in, LocalFileStorage& into,
                             const ImportOptions& options = {});

/// As exportJsonLines.
ExportReport exportSnapshot(const LocalFileStorage& storage, const std::string& path,
                            const ExportOptions& options = {},
                            const Environment& environment = Environment::real());
/// Corruption, with file and offset, for a file that is damaged, cut off or something else;
/// FormatTooNew for a newer form.
ImportReport importSnapshot(const std::string& path, LocalFileStorage& into,
                            const ImportOptions& options = {},
                            const Environment& environment = Environment::real());

}  // namespace penstock::state
