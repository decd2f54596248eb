// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "frame.h"
#include "store_base.h"
#include "store_image.h"

/// Bases of stores that are RocksDB databases, each a directory of its own. A database holds what
/// snapshots would: changes of synced frames only, so that it is never ahead of the journal.
///
/// A database that a crash caught half way through an update holds some changes beyond what it
/// says it has whole. That does no harm: the journal still has their frames, and replays them over
/// it. Where it has not any more, because they are damaged, the Extent says what is known.
///
/// A child that is forked from a process that has used RocksDB cannot use it: Closed.
///
/// Where the library is built without RocksDB, each of these throws ConfigurationError.
namespace penstock::state::database {

/// Kept in the database, so that another one never passes for it.
struct Identity {
  JournalId journal;
  std::uint64_t number = 0;
  std::uint32_t storeId = 0;
};

/// All changes of the frames up to `whole` are in it, and some of those up to `begun`.
struct Extent {
  std::uint64_t whole = 0;
  std::uint64_t begun = 0;
};

/// Throws where there is no RocksDB.
void checkAvailable();

using IsGone = std::function<bool(std::string_view value)>;

/// One that covers at least `covers`, and not more than `end`; one that is open in this process is
/// opened once. `readOnly`: another process may have it open. Throws Corruption, OwnedElsewhere,
/// IoError.
std::shared_ptr<const StoreBase> open(const std::string& directory, const Identity& identity,
                                      std::uint64_t covers, std::uint64_t end, bool readOnly);

/// Writes `image`, of which `covers` is the last change, and returns what it can be read from. The
/// database of the image's own base is brought up to date; an image without one gets a new database
/// in `directory`. Values that are gone are left out, now and whenever RocksDB rewrites them.
/// Throws DiskFull, IoError; then what was written may be written again.
std::shared_ptr<const StoreBase> write(const StoreImage& image, const std::string& directory,
                                       const Identity& identity, std::uint64_t covers,
                                       const IsGone& isGone);

/// Number of the database that it reads from; 0 when it is none.
std::uint64_t numberOf(const StoreBase* base) noexcept;
/// Of a base that is one.
Extent extentOf(const StoreBase& base);
/// What leaves values out, and what it uses, is not called any more once this returns.
void leaveNothingOut(const StoreBase* base) noexcept;
/// Removes its files, once the last base that reads from it here goes.
void remove(const std::string& directory) noexcept;
/// Writes a copy of it, synced, to a directory that is not there yet.
void copy(const StoreBase& base, const std::string& directory);
/// Reads and verifies every file. Throws Corruption.
void verify(const StoreBase& base);
/// Bytes of its files.
std::uint64_t bytesOf(const StoreBase& base) noexcept;

}  // namespace penstock::state::database
