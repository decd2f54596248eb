// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Defects on purpose, one at a time, in the build of the fault harness alone: a harness that
/// finds nothing in a sound journal has proved little until it has found these. Elsewhere every
/// `planted(...)` is the constant false. Who includes this is listed in tests/fault/CMakeLists.txt.
namespace penstock::state {

/// Numbers as in the scoreboard of the fault harness (tests/fault).
enum class Planted : int {
  None = 0,
  NoDataSync = 1,                  // sync() says OK and does nothing
  AcknowledgedBeforeSync = 2,      // a synced commit returns at once
  FailedSyncRetried = 3,           // tried again, and believed
  NoDirectorySyncAfterCreate = 4,  // a new segment may vanish
  NoDirectorySyncAfterRename = 5,  // so may a snapshot that a frame lists
  UnlinkedBeforeSync = 6,          // the old file goes before the frame that lists the new one
  ChecksumNotChecked = 7,
  OrderNotChecked = 8,         // a frame is taken whatever came before it
  IdentityNotChecked = 9,      // files and frames of another journal pass
  BadFrameSkipped = 10,        // recovery goes on behind it
  TornTailNotCut = 11,         // after a failed write, the next frame goes behind what it left
  WaiterToldSuccess = 12,      // of a group whose sync failed
  SnapshotDropsWrites = 13,    // that came while it was made
  PositionsOutsideBatch = 14,  // the first section of a commit is a frame of its own
  NotMadeDurable = 15,         // recovery serves what it found without syncing it
  DropsWithinRetention = 16,   // cleaning takes records of half the age for old
  JoinerVouchesUnread = 21,    // for what only the cache has, after a sync of others failed
};

#ifdef PENSTOCK_PLANTED_BUGS
/// The one that PENSTOCK_PLANTED_BUG names by number.
[[nodiscard]] bool planted(Planted bug) noexcept;
#else
consteval bool planted(Planted) noexcept { return false; }
#endif

}  // namespace penstock::state
