// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <penstock/state/journal.h>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace penstock::state {

/// Who has a directory open.
enum class DirectoryUse : std::uint8_t { Nobody, Shared, Exclusive };

/// What is not as it was written.
enum class DamageKind : std::uint8_t {
  File,         // its header, identity or size
  MissingFile,  // the journal lists it
  Frame,        // header or directory of a frame
  Section,      // bytes of a store, a log or the catalog
  Block,        // of a snapshot
  Index,        // of a snapshot or an archive; of a sealed segment: derived, rebuilt when needed
};

/// "frame", "missing file", ...
[[nodiscard]] std::string_view nameOf(DamageKind kind) noexcept;

/// Records of a log, [start, end).
struct LogSpan {
  std::string log;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  auto operator<=>(const LogSpan&) const = default;
};

/// One place that is damaged, and what depends on it. Without stores, logs and refusal nothing
/// does: what it held is covered by a snapshot or no longer wanted.
struct Damage {
  DamageKind kind = DamageKind::File;
  std::string file;                 // path
  std::uint64_t offset = 0;         // bytes from the start of the file
  std::uint64_t bytes = 0;          // 0: not known
  Sequence sequence;                // of its frame; 0: of none, or not known
  bool refusesDirectory = false;    // opening it is refused, with all that it holds
  std::vector<std::string> stores;  // that cannot be opened, or not be read everywhere
  std::vector<LogSpan> logs;        // that cannot be read
  std::string text;                 // what it is, in a sentence
};

/// Bytes behind the last whole frame, never acknowledged as synced.
struct TornTail {
  std::string file;
  std::uint64_t offset = 0;  // what opening would cut begins here
  std::uint64_t bytes = 0;
  Sequence sequence;      // that is expected here
  bool underWay = false;  // the directory is in use: most likely an append that was being written
};

/// How far a verification is.
struct VerifyProgress {
  std::uint64_t bytesDone = 0;
  std::uint64_t bytesTotal = 0;  // of the directory's durable files when it began
  std::string_view file;         // path; valid during the call
};

/// How a directory is verified.
struct VerifyOptions {
  std::function<void(const VerifyProgress& progress)> progress;  // called about once a MiB
};

/// What a directory was found to be.
struct VerifyReport {
  std::string directory;
  std::string journalId;  // empty when no segment says it
  DirectoryUse use = DirectoryUse::Nobody;
  std::string holder;  // as it names itself; empty when nobody has the directory open
  Sequence last;       // of the last whole frame
  Sequence synced;     // up to which the frames say that they were on disk
  std::vector<Damage> damages;
  std::optional<TornTail> torn;
  std::vector<std::string> leftovers;  // paths; the next opening removes them
  std::vector<std::string> keptAside;  // paths of torn tails of before; nothing reads them
  std::vector<std::string> notices;    // sentences
  // What was read.
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::uint64_t frames = 0;
  std::uint64_t sections = 0;
  std::uint64_t blocks = 0;

  /// No damage, but for indexes that are rebuilt from what is there.
  [[nodiscard]] bool sound() const noexcept;
  /// Opening it is refused.
  [[nodiscard]] bool refused() const noexcept;
};

/// Reads everything of the journal in `directory` - each frame and section of the active and the
/// sealed segments, index footers, archives, blobs, each block of the snapshots - and says what is
/// damaged and what depends on it. It does not stop at the first damage.
///
/// Changes nothing and writes nothing, so it works on a read-only mount. What it reads comes from
/// the disk, as far as the kernel lets go of its pages (posix_fadvise).
///
/// In use: no lock is held while it reads, and a directory that another process has open, Shared
/// or Exclusive, is verified as well. That is safe because files are immutable but for the end of
/// the active segment. What a reader may meet there is told apart: a bad frame counts only when a
/// later one proves that it was synced, and when it is still bad after a second look; what lies
/// behind the last whole frame is `underWay`; a file that is gone counts only when the journal,
/// read again, still lists it. Leftovers are not looked for then. To see who has the directory, the
/// lock of PRESENCE is tried for a moment at the start: a process that opens the directory
/// exclusively in that very moment is refused, and one that closes it leaves a recovery to do.
///
/// Cannot tell: rot behind the last mark of the active segment looks like a torn tail (R4 in
/// docs/formats.md), and rot in zeros behind it likewise.
/// Errors: ConfigurationError when there is no journal, Corruption when all segments are missing;
/// FormatTooNew; IoError. A file or sector that cannot be read is damage, its error in the text.
/// Cost: reads all bytes once, blobs' too. Memory: the indexes of one sealed segment at a time.
///
///     const VerifyReport report = verifyJournal("state");
///     for (const Damage& damage : report.damages) std::cout << damage.text << '\n';
[[nodiscard]] VerifyReport verifyJournal(const std::string& directory,
                                         const VerifyOptions& options = {},
                                         const Environment& environment = Environment::real());

}  // namespace penstock::state
