// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <penstock/state/journal.h>
#include <penstock/state/verify.h>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace penstock::state {

/// What becomes of a store in a repaired copy.
enum class StoreFate : std::uint8_t {
  Kept,     // as it is
  Rebuilt,  // whole, from what is not damaged
  Ended,    // as it was at RepairedStore::endsAt: what came later rests on what is damaged
  Lost,     // nothing of it can be proven; it is not in the copy
};

/// A store in a repaired copy.
struct RepairedStore {
  std::string name;
  StoreFate fate = StoreFate::Kept;
  std::uint64_t keys = 0;  // in the copy
  Sequence endsAt;         // frame up to which its changes are in the copy
  bool operator==(const RepairedStore&) const = default;
};

/// A log in a repaired copy, which holds [start, end).
struct RepairedLog {
  std::string name;
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::vector<LogSpan> damaged;  // records that cannot be read
  std::vector<LogSpan> dropped;  // whole records in front of them: a log has no gaps
  bool operator==(const RepairedLog&) const = default;
};

/// What a repaired copy would hold, and what it would not.
struct RepairPlan {
  std::string directory;
  bool needed = false;        // else the directory is sound, or only has a torn tail
  std::string refusal;        // why no copy can be made; empty: it can
  Sequence last;              // frames up to it are kept
  std::uint64_t lostFrames = 0;  // acknowledged whole ones behind it
  std::uint64_t lostBytes = 0;   // acknowledged ones behind it
  std::uint64_t tornBytes = 0;   // never acknowledged; what opening would cut off
  std::vector<RepairedStore> stores;
  std::vector<RepairedLog> logs;
  std::vector<Damage> damages;  // what is wrong
  /// A sentence for each thing that the copy will not have.
  [[nodiscard]] std::vector<std::string> losses() const;
};

/// Says what `repairInto` would make of the journal in `directory`. Changes nothing.
///
/// The rules. The active segment is cut before its first bad frame. A log begins behind its last
/// damaged record, because it has no gaps: older positions are then refused, never skipped. A store
/// is what can be proven of it: its snapshot when that is whole, else what all its changes since it
/// was declared or cleared make; it ends before the first change that is damaged or not known, and
/// is lost when nothing is left. A damaged newest base frame is derived from the segment before.
///
/// A store that ended or is lost no longer belongs to the same moment as the others. Positions
/// and counts that were committed together may disagree: whoever counts exactly restores a backup,
/// or begins anew; what looks up values may go on.
///
/// Errors: OwnedElsewhere naming who has the directory open; those of verifyJournal.
/// Cost: verifies the directory, and holds one store at a time in memory.
[[nodiscard]] RepairPlan planRepair(const std::string& directory,
                                    const Environment& environment = Environment::real());

/// Writes a copy that holds what `plan` says and opens. The source is never touched. The copy
/// begins an epoch, so that positions of other directories that are no longer true are refused.
///
/// `target` is an empty directory, or is not there; see backup() for what a kill leaves.
/// Errors: those of planRepair; ConfigurationError when the target is not empty, or the plan is
/// refused; Error (Retry) when the directory is not any more what was planned; DiskFull, IoError.
/// Durability: when it returns, all of the copy is on disk and was verified.
///
///     const RepairPlan plan = planRepair("state");
///     for (const std::string& loss : plan.losses()) std::cout << loss << '\n';
///     repairInto(plan, "state-repaired");
void repairInto(const RepairPlan& plan, const std::string& target,
                const Environment& environment = Environment::real());

}  // namespace penstock::state
