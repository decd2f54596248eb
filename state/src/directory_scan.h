// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/verify.h>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "catalog.h"
#include "frame.h"
#include "segment_build.h"
#include "segment_index.h"
#include "store_state.h"

namespace penstock::state {

/// A file that is read from outside the engine. What cannot be read is empty, and `error` says
/// why: to a scan that is damage like any other.
///
/// Threads: owned by one thread.
class ScannedFile {
 public:
  /// `read` is told of the bytes that came from the disk for the first time.
  ScannedFile(std::unique_ptr<File> file, std::string path,
              std::function<void(const std::string& path, std::uint64_t bytes)> read);
  /// Up to `length` bytes; fewer at the end of the file. Valid until the next call.
  std::string_view at(std::uint64_t offset, std::uint64_t length);
  /// The next look goes to the file again.
  void forget() { buffer_.clear(); }
  /// Behind the last byte from `from` on that is not zero; `from` when all are.
  std::uint64_t usedEnd(std::uint64_t from);
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] int error() const noexcept { return error_; }
  /// Whether the last read of the file, not of what was kept of it, was one that failed.
  [[nodiscard]] bool failed() const noexcept { return failed_; }
  /// ": Input/output error", or nothing.
  [[nodiscard]] std::string errorText() const;

 private:
  bool fill(std::uint64_t offset, std::uint64_t length);

  std::unique_ptr<File> file_;
  std::string path_;
  std::function<void(const std::string&, std::uint64_t)> read_;
  std::uint64_t size_ = 0;
  std::uint64_t told_ = 0;  // bytes up to here were told of
  std::string buffer_;
  std::uint64_t start_ = 0;
  int error_ = 0;
  bool failed_ = false;
};

/// A file of the catalog's sealed ones, as it was found.
struct SealedScan {
  SealedFile listed;
  bool whole = true;      // all of it is as written; a segment's footer apart
  bool footer = false;    // a segment's is there and right
  bool indexed = true;    // the engine can find its sections
  SegmentIndex index;     // the sections that are known
  std::vector<bool> bad;  // of its refs(): those whose bytes are damaged
  struct Gap {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
  };
  std::vector<Gap> gaps;  // sequences of frames of which nothing is known
};

/// The newest segment, as it was found.
struct ActiveScan {
  SegmentEnd end;  // behind the last frame of the prefix that counts
  FrameKind lastKind = FrameKind::Base;
  SegmentIndex index;
  std::vector<bool> bad;         // of its refs(): damaged in their blob
  bool derived = false;          // its base frame is that which the segment before leads to
  bool cut = false;              // acknowledged frames are damaged; behind `end`
  std::uint64_t lostFrames = 0;  // whole ones behind the damage
  std::uint64_t lostBytes = 0;   // behind `end`, of acknowledged frames
};

/// What is left of one store.
struct AssembledStore {
  std::shared_ptr<StoreState> state;  // null: nothing can be proven
  bool whole = true;                  // it is the state at the end of the journal
  std::uint64_t endsAt = 0;           // else: the last sequence up to which it is proven
};

/// Reads the directory of a journal from outside: no lock, no change. Behind verify, inspect and
/// repair.
///
/// Threads: owned by one thread.
/// Errors: those of verifyJournal; damage is reported, never thrown.
class DirectoryScan {
 public:
  struct Options {
    bool contents = true;  // false: the active segment and what names the others
    bool prefix = false;   // what lies behind damage in the active segment does not count
    bool locked = false;   // the caller holds PRESENCE: nobody has the directory
    std::function<void(const VerifyProgress& progress)> progress;
  };

  DirectoryScan(std::string directory, const Environment& environment, Options options);
  /// Reads. Once.
  void run();
  /// Reads `id` from its snapshot and what changed since.
  /// REQUIRES: run() is over, and readable().
  AssembledStore assemble(std::uint32_t id);
  /// The known pieces of the section that begins at refs()[at], joined; nullopt when damaged.
  std::optional<std::string> sectionBytes(const SegmentIndex& index, std::uint32_t at,
                                          std::uint64_t number, FileKind kind);

  /// Stores, logs and files are known; else `report` says why not.
  [[nodiscard]] bool readable() const noexcept { return readable_; }
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  [[nodiscard]] std::string path(std::uint64_t number, FileKind kind) const;
  [[nodiscard]] static FileKind kindOf(const SealedFile& file) noexcept {
    return file.archive ? FileKind::Archive : FileKind::Segment;
  }

  VerifyReport report;
  JournalId id;
  Catalog catalog;
  ActiveScan active;
  std::vector<SealedScan> sealed;        // in order of sequences, as the catalog has them
  std::set<std::uint32_t> badSnapshots;  // stores whose snapshot is damaged
  std::map<std::uint32_t, std::uint64_t> declared;  // stores by the frame that declared them

 private:
  struct Found {
    bool valid = false;  // header and directory
    FrameView frame;
    std::vector<std::size_t> badSections;  // inline ones
  };
  struct Previous {  // what the segment before the newest leads to
    JournalId id;
    Catalog catalog;
    SegmentEnd end;
  };

  void readNewest();
  void lookAtUse();
  void listFiles();
  void readActive(std::uint64_t number);
  bool beginActive(ScannedFile& file, std::uint64_t number, std::uint64_t& at,
                   std::optional<std::uint64_t>& chain);
  std::optional<Previous> readPrevious(std::uint64_t number);
  void takeActive(ScannedFile& file, const Found& found, Catalog& to, SegmentIndex& index);
  void judgeTail(ScannedFile& file, std::uint64_t at, std::uint64_t sequence, std::uint64_t end);
  void readListed();
  void readSealed(SealedScan& scan);
  void walkSegment(SealedScan& scan, ScannedFile& file, SegmentIndex& walked,
                   std::vector<std::size_t>& badRefs);
  void readFooter(SealedScan& scan, ScannedFile& file, const SegmentIndex& walked,
                  const std::vector<std::size_t>& badRefs);
  void checkRefs(const SegmentIndex& index, std::vector<bool>& bad, std::uint64_t number,
                 FileKind kind, const std::function<bool(const SectionRef&)>& wanted);
  void readSnapshot(std::uint32_t store, const StoreEntry& entry);
  void readDatabase(std::uint32_t store, const StoreEntry& entry);
  [[nodiscard]] std::shared_ptr<const StoreBase> openBase(std::uint32_t store,
                                                          const SnapshotEntry& entry) const;
  void readBlocks(const StoreEntry& entry, ScannedFile& file);
  void readIdentity();
  void lookForLeftovers();

  std::unique_ptr<ScannedFile> open(std::uint64_t number, FileKind kind, int* error = nullptr);
  struct Size {
    std::uint64_t bytes = 0;
    bool exact = false;       // else: at least
    std::uint64_t store = 0;  // of a snapshot
  };
  /// Null, and it is reported, when the file is not there or is none of this journal.
  std::unique_ptr<ScannedFile> openListed(std::uint64_t number, FileKind kind, Size size,
                                          const std::function<void(Damage&)>& dependents);
  /// Whether the journal, read again, still lists the file. A cleaner may have been here.
  bool stillListed(std::uint64_t number);
  Found frameAt(ScannedFile& file, std::uint64_t segment, std::uint64_t at, std::uint64_t limit);
  /// The next place where a frame behind `sequence` begins; `limit` when there is none.
  std::uint64_t nextFrame(ScannedFile& file, std::uint64_t segment, std::uint64_t from,
                          std::uint64_t limit, std::uint64_t sequence,
                          const std::function<bool(const FrameHeader&)>& wanted);
  Damage& damaged(DamageKind kind, const std::string& file, std::uint64_t offset,
                  std::uint64_t bytes, std::uint64_t sequence, std::string text);
  void addDependents(const SegmentIndex& index, std::size_t ref, Damage& damage) const;
  void addDependents(const SealedFile& file, Damage& damage) const;
  void addStore(std::uint32_t store, std::uint64_t sequence, Damage& damage) const;
  void addLog(std::uint32_t log, std::uint64_t start, std::uint64_t end, Damage& damage) const;
  void addDeclared(std::string_view changes, std::uint64_t sequence);

  const std::string directory_;
  const Environment environment_;
  const Options options_;
  bool readable_ = false;
  std::vector<std::string> names_;
  std::vector<std::uint64_t> segments_;  // ascending
  std::set<std::uint64_t> seen_;         // numbers of files that were looked at
  bool changed_ = false;                 // a cleaner was here: there are other files now
  bool sealedMeanwhile_ = false;         // the newest segment is not the newest any more
  std::function<void(const std::string&, std::uint64_t)> read_;
  std::uint64_t bytesTotal_ = 0;
};

}  // namespace penstock::state
