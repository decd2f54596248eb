// SPDX-License-Identifier: Apache-2.0
// A copy of a journal that is in use.
//
// What has to be copied is decided under the append lock: nobody can then take a file off the
// catalog, and what is on it is there. Everything but the active segment is immutable. Another
// process's cleaner may remove a file before it was copied; then all is decided anew, and only what
// is new is copied.
#include <fmt/format.h>
#include <penstock/state/backup.h>
#include <penstock/state/verify.h>

#include <algorithm>
#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <map>
#include <set>

#include "append_lock.h"
#include "copy_target.h"
#include "database.h"
#include "file_names.h"
#include "io_errors.h"
#include "journal_core.h"
#include "segment_build.h"

namespace penstock::state {

BackupReport JournalCore::backupTo(const std::string& target, const BackupOptions& options) {
  checkUsable();
  refuseWithinTransaction();
  if (environment_.files == Environment::memory().files) {
    throw ConfigurationError(directory_ +
                             ": is in memory, and a backup of it would be too; export it instead");
  }
  const std::lock_guard cleanGuard(cleanMutex_);
  CopyTarget copy(target, environment_, id_);
  BackupProgress progress;
  const auto moved = [&](std::uint64_t bytes) {
    progress.bytesDone += bytes;
    progress.bytesTotal = std::max(progress.bytesTotal, progress.bytesDone);
    if (options.progress) options.progress(progress);
  };

  struct View {
    Catalog catalog;
    SegmentEnd end;
    std::shared_ptr<File> active;
    std::map<std::string, std::uint64_t> wanted;  // names, with their bytes as far as listed
    // Open, so that they stay when their stores go. Who changes one has cleanMutex_.
    std::vector<std::shared_ptr<const StoreBase>> databases;
  };
  const auto look = [&] {
    View view;
    {
      const AppendLock lock(*this);
      view.catalog = catalog_;
      view.end = {tail_.segment, activeFirst_, tail_.sequence, tail_.end, tail_.lastChecksum};
      view.active = tail_.file;
      for (const std::uint64_t blob : active_.blobs()) {
        view.wanted[fileName(blob, FileKind::Blob)] = 0;
      }
      for (const auto& [id, store] : catalog_.stores) {
        if (store.snapshot.kind != FileKind::Database) continue;
        view.databases.push_back(openBase(id, store.snapshot));
      }
    }
    for (const SealedFile& file : view.catalog.sealed) {
      const FileKind kind = file.archive ? FileKind::Archive : FileKind::Segment;
      view.wanted[fileName(file.number, kind)] = file.endOffset;
      for (const std::uint64_t blob : file.blobs) view.wanted[fileName(blob, FileKind::Blob)] = 0;
    }
    for (const auto& [id, store] : view.catalog.stores) {
      if (store.snapshot.file == 0 || store.snapshot.kind == FileKind::Database) continue;
      view.wanted[fileName(store.snapshot.file, FileKind::Snapshot)] = store.snapshot.bytes;
    }
    return view;
  };

  View view;
  constexpr int roundsMax = 100;  // each meets a cleaner that was faster once more
  try {
    for (int round = 1;; ++round) {
      view = look();
      progress.bytesTotal = progress.bytesDone + view.end.endOffset;
      for (const auto& [name, bytes] : view.wanted) {
        if (!copy.holds(name)) progress.bytesTotal += bytes;
      }
      bool cleaned = false;
      for (const auto& [name, bytes] : view.wanted) {
        if (copy.holds(name)) continue;
        auto file = files().open(path(name), OpenMode::Read);
        if (file.error == ENOENT && round < roundsMax) {
          cleaned = true;
          continue;
        }
        throwUnlessOk(file, "opening", path(name));
        const auto size = file.value->size();
        throwUnlessOk(size, "reading the size of", path(name));
        copy.copy(name, *file.value, path(name), size.value, {}, moved);
      }
      if (!cleaned) break;
    }
    std::set<std::string> unwanted;
    for (const auto& [name, bytes] : copy.files()) {
      if (!view.wanted.contains(name)) unwanted.insert(name);
    }
    for (const std::string& name : unwanted) copy.drop(name);
    for (const auto& base : view.databases) {
      const std::string name = fileName(database::numberOf(base.get()), FileKind::Database);
      copy.addDirectory(name);
      database::copy(*base, copy.path(name));
      moved(database::bytesOf(*base));
    }

    syncTo(view.end.lastSequence);
    const std::uint64_t bytes = view.end.endOffset;
    const std::uint64_t sequence = view.end.lastSequence;
    const std::string newest = fileName(view.end.number, FileKind::Segment);
    // Closed in order: so it is opened without a recovery, and the first commit begins an epoch.
    const std::string close =
        encodeClose(id_, view.catalog.epoch(), view.end, environment_.clock->wallMs());
    copy.copy(newest, *view.active, path(newest), bytes, close, moved);
    copy.publish(newest);

    VerifyOptions verifying;
    const std::uint64_t copied = progress.bytesDone;
    verifying.progress = [&](const VerifyProgress& verified) {
      progress.bytesDone = copied + verified.bytesDone;
      progress.bytesTotal = copied + verified.bytesTotal;
      if (options.progress) options.progress(progress);
    };
    const VerifyReport report = verifyJournal(target, verifying, environment_);
    if (!report.sound() || report.torn) {
      const std::string text =
          report.damages.empty() ? target + ": ends in a torn frame" : report.damages.front().text;
      throw Corruption(directory_, 0,
                       fmt::format("{}: what was copied is damaged, as its source is: {}. The copy "
                                   "was removed",
                                   directory_, text));
    }
    BackupReport done{target, Sequence{sequence}, copy.files().size(), 0};
    for (const auto& [name, size] : copy.files()) done.bytes += size;
    return done;
  } catch (...) {  // also what a progress callback throws
    copy.abandon();
    throw;
  }
}

BackupReport backup(Journal& journal, const std::string& target, const BackupOptions& options) {
  if (target.empty()) throw ConfigurationError("the name of the backup's directory is empty");
  return JournalCore::of(journal).backupTo(
      boost::filesystem::absolute(target).lexically_normal().string(), options);
}

BackupReport backup(const std::string& directory, const std::string& target,
                    const BackupOptions& options, const Environment& environment) {
  JournalOptions opening;
  opening.sharing = Sharing::Shared;
  opening.createDirectory = false;
  const auto journal = Journal::open(directory, opening, environment);
  return backup(*journal, target, options);
}

}  // namespace penstock::state
