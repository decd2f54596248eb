// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/state/transfer.h>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace penstock::state {

/// A file (or directory) of a legacy directory that could not be read. Names are relative to the
/// directory: "topic/stream/state/key".
struct QuixUnread {
  std::string file;
  std::string why;
};

/// Files of the legacy directory could not be read, and nothing was imported. Holds all of them;
/// the message names the first few.
class QuixUnreadable : public Error {
 public:
  QuixUnreadable(const std::string& message, std::vector<QuixUnread> files)
      : Error(ErrorCode::FixData, message), files_(std::move(files)) {}
  [[nodiscard]] const std::vector<QuixUnread>& files() const noexcept { return files_; }

 private:
  std::vector<QuixUnread> files_;
};

/// How a legacy directory is imported.
struct QuixImportOptions {
  // Changes behaviour.
  bool overwrite = false;    // keys that are there already, else it is an InvalidArgument
  bool skipDamaged = false;  // leave out what cannot be read; the report lists it
  /// Files that are no valid record were written by SaveRaw: binary values of all their bytes,
  /// listed in the report. A damaged record cannot be told from one of these.
  bool rawFiles = false;
  bool pickledNoneAsNull = false;  // the pickle of Python's None becomes null
  // Changes performance, and what is atomic: see transfer.h. Held in memory.
  std::uint64_t batchBytes = 256ULL << 20;
  ProgressCallback progress = {};
};

/// What was imported. Files are named relative to the legacy directory.
struct QuixImportReport {
  std::uint64_t keys = 0;
  std::uint64_t batches = 0;             // 1: all of it became visible at once
  std::vector<std::string> subStorages;  // at any depth: "topic/stream/state"
  std::vector<QuixUnread> unread;        // left out, with skipDamaged
  std::vector<std::string> pickled;      // objects: binary values that hold a Python pickle, or
                                         // what else was stored as an object
  std::vector<std::string> raw;          // taken as they are, with rawFiles
};

/// Imports the directory of a legacy Quix `LocalFileStorage` (0.5.x) into a storage: a file
/// becomes a key, a sub-directory a sub-storage of its name.
///
/// - The key is the file's name as it is, so its case is that of the file, which the legacy
///   library wrote in lower case; a program that asks in its own spelling opens the storage with
///   LocalFileStorageOptions::lowerCaseKeys. Two files whose names differ in the case of A-Z
///   alone are refused (InvalidArgument, both named).
/// - Left-overs of unfinished writes (`*.tmpf`) are ignored; a `*.bckf` counts only where the file
///   that it backs up is missing.
/// - Bool, Long, Double, String and Binary become bool, int64, double, string and binary; a null
///   Binary or Object becomes null. An Object becomes binary: a Python pickle, never decoded here,
///   begins with byte 0x80 and ends with '.'. A null string was stored as "", and a boolean of
///   Python 0.5.x as 0 or 1: they come as these.
///
/// The directory is read only, twice: its files must not change in between (SourceChanged). A file
/// that cannot be read – damaged, of an unknown kind, not readable – stops the import
/// (QuixUnreadable), unless `skipDamaged` says to leave it out.
///
/// The first reading changes nothing; what becomes visible when is in <penstock/state/transfer.h>.
/// With one batch, an error leaves every key as it was.
///
/// Threads: safe from any thread.
/// Errors: QuixUnreadable, SourceChanged, InvalidArgument (names that clash; keys that are there
/// already; the storage's own directory lies in the legacy one), IoError when the directory is
/// not there, and those of LocalFileStorage.
///
///     LocalFileStorage storage("state");
///     QuixImportReport report = importQuix("old-state", storage);
QuixImportReport importQuix(const std::string& sourceDirectory, LocalFileStorage& into,
                            const QuixImportOptions& options = {},
                            const Environment& environment = Environment::real());

}  // namespace penstock::state
