// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <penstock/state/journal.h>
#include <cstdint>
#include <functional>
#include <string>

namespace penstock::state {

/// How far a backup is.
struct BackupProgress {
  std::uint64_t bytesDone = 0;
  std::uint64_t bytesTotal = 0;  // of what is copied and then verified
};

/// How a directory is backed up.
struct BackupOptions {
  std::function<void(const BackupProgress& progress)> progress;  // called about once a MiB
};

/// What a backup holds.
struct BackupReport {
  std::string directory;  // of the copy
  Sequence sequence;      // all frames up to it, and nothing behind it
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Copies a journal while it is written to: the copy is what the directory was at one sequence, all
/// of which is on the source's disk. It opens as a journal of the same id, verified, and begins an
/// epoch of its own with its first commit: a position that the original reached later is refused
/// there, and so are the copy's in the original.
///
/// `target` is an empty directory, or is not there. Killed half-way, what is there is refused by
/// everybody as incomplete.
///
/// Meanwhile commits go on; snapshots and cleaning by this process wait, and those of others do not
/// harm: what they remove was copied, or is copied as what took its place.
///
/// Threads: safe from any thread.
/// Errors: ConfigurationError when the target is not empty; Corruption when what was copied is
/// damaged, naming it (repair makes a copy without it); DiskFull, IoError, JournalFailed. After an
/// error the target is empty again.
/// Durability: when it returns, all of the copy and its names are on disk.
/// Cost: reads the directory once and its copy once; blocks until then.
BackupReport backup(Journal& journal, const std::string& target, const BackupOptions& options = {});

/// The same for a directory that other processes have open Shared, or that nobody has open: it is
/// opened Shared for the time. OwnedElsewhere names a process that has it exclusively; that one has
/// to call the function above.
BackupReport backup(const std::string& directory, const std::string& target,
                    const BackupOptions& options = {},
                    const Environment& environment = Environment::real());

}  // namespace penstock::state
