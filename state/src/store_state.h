// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "packed_map.h"
#include "snapshot.h"

namespace penstock::state {

/// The content of a store in memory: changes since the last snapshot lie over it.
///
///   overlay  <- every change goes here
///   frozen   what a snapshot in the making is written from, else null
///   snapshot immutable file, or null
///
/// A key is looked for from top to bottom; the first layer that knows it, tombstone or value,
/// decides.
///
/// Threads: safe from any thread.
class StoreState {
 public:
  StoreState(StoreId id, std::string name, std::shared_ptr<SnapshotReader> snapshot);

  [[nodiscard]] StoreId id() const noexcept { return id_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  bool get(std::string_view key, std::string& value) const;
  [[nodiscard]] bool contains(std::string_view key) const;
  [[nodiscard]] std::uint64_t size() const;
  void scan(std::string_view from, std::string_view to,
            const std::function<bool(std::string_view, std::string_view)>& visit) const;

  /// Readers wait while it is held, so that all that a frame changes is seen together.
  [[nodiscard]] std::shared_mutex& mutex() const noexcept { return mutex_; }
  /// Applies a store section. False when its bytes are not changes.
  /// REQUIRES: mutex() is held.
  [[nodiscard]] bool apply(std::string_view changes);

  /// Takes the content of `fresh`, as read in anew; a snapshot in the making comes to nothing.
  void replaceWith(StoreState&& fresh);
  /// From now on every read throws `damage`.
  void fail(std::exception_ptr damage);

  /// Moves the overlay to `frozen`. False when a snapshot is in the making already.
  bool freeze();
  /// Calls visit(key, value) for every entry of frozen over snapshot, in order of keys. False
  /// when the store was cleared meanwhile: what was visited is then not the whole.
  bool visitFrozen(
      const std::function<void(std::string_view key, std::string_view value)>& visit) const;
  /// The new snapshot takes the place of frozen and of the old one.
  void installSnapshot(std::shared_ptr<SnapshotReader> snapshot);
  /// The snapshot could not be made: frozen goes back under the overlay.
  void thaw();

  /// Sequence up to which the snapshot that this began from, or has made since, holds changes.
  [[nodiscard]] std::uint64_t covers() const;
  [[nodiscard]] std::uint64_t changedBytes() const;  // of changes since the last snapshot
  [[nodiscard]] std::size_t memoryBytes() const;

 private:
  using Found = PackedMap::Found;
  void checkReadable() const {
    if (damage_) std::rethrow_exception(damage_);
  }
  Found findLower(std::string_view key, std::string_view& value) const;
  [[nodiscard]] Found find(std::string_view key, std::string_view& value) const;
  void put(std::string_view key, std::string_view value);
  void erase(std::string_view key);

  const StoreId id_;
  const std::string name_;

  mutable std::shared_mutex mutex_;
  // Guarded by mutex_.
  std::unique_ptr<PackedMap> overlay_;
  std::shared_ptr<const PackedMap> frozen_;
  std::shared_ptr<SnapshotReader> snapshot_;
  bool clearedSinceFreeze_ = false;
  bool freezing_ = false;
  // Number of keys, if counting_. Whether a key that is new to the overlay lies below costs a
  // look-up there, so nobody pays for it before the first size().
  mutable std::uint64_t size_ = 0;
  mutable bool counting_ = true;
  std::uint64_t changedBytes_ = 0;
  std::uint64_t frozenBytes_ = 0;
  std::uint64_t covers_ = 0;  // not forgotten when the store is cleared
  std::exception_ptr damage_;
};

}  // namespace penstock::state
