// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "packed_map.h"
#include "store_image.h"

namespace penstock::state {

/// The content of a store in memory: changes since the last snapshot lie over it.
///
///   overlay  <- every change goes here
///   below       an image: layers, each an overlay of before, and the base on disk
///
/// An image of the moment makes a layer of the overlay, and so costs no copy; it is what views
/// and scans read and what snapshots are written from, while changes go on in a new overlay.
/// Small layers are joined, so that a look-up meets few.
///
/// Threads: safe from any thread.
class StoreState {
 public:
  StoreState(StoreId id, std::string name, std::shared_ptr<const StoreBase> base);

  [[nodiscard]] StoreId id() const noexcept { return id_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  bool get(std::string_view key, std::string& value,
           std::size_t bytesMax = std::string::npos) const;
  [[nodiscard]] bool contains(std::string_view key) const;
  [[nodiscard]] std::uint64_t size() const;
  /// The content now; it does not change any more.
  [[nodiscard]] StoreImage image() const;

  /// Locks the stores, each once, while it lives: readers wait, so that all that a frame changes
  /// is seen together. Always in order of their ids. `stores` is sorted for it.
  class Together {
   public:
    explicit Together(std::vector<const StoreState*>& stores);
    Together(const Together&) = delete;
    Together& operator=(const Together&) = delete;
    ~Together();

   private:
    std::vector<const StoreState*>& stores_;
    std::size_t held_ = 0;
  };
  /// Applies a store section. False when its bytes are not changes.
  /// REQUIRES: it is locked, see Together.
  [[nodiscard]] bool apply(std::string_view changes);
  /// So many changes will be applied.
  void expect(std::size_t changes) { overlay_->reserve(overlay_->entries() + changes); }

  /// Takes the content of `fresh`, as read in anew; a snapshot in the making comes to nothing.
  void replaceWith(StoreState&& fresh);
  /// From now on every read throws `damage`.
  void fail(std::exception_ptr damage);

  using IsGone = std::function<bool(std::string_view value)>;
  /// See Journal::leaveOut.
  void leaveOut(IsGone isGone);
  [[nodiscard]] IsGone leftOut() const;
  /// What a snapshot is to be written from; nullopt when one is in the making already. Ends with
  /// installSnapshot or giveUpSnapshot.
  [[nodiscard]] std::optional<StoreImage> beginSnapshot();
  /// The new snapshot takes the place of what it was written from.
  void installSnapshot(std::shared_ptr<const StoreBase> base);
  void giveUpSnapshot();

  /// Sequence up to which the snapshot that this began from, or has made since, holds changes.
  [[nodiscard]] std::uint64_t covers() const;
  [[nodiscard]] std::uint64_t changedBytes() const;  // of changes since the last snapshot
  [[nodiscard]] std::size_t layers() const;
  [[nodiscard]] std::shared_ptr<const StoreBase> base() const;  // null: none
  /// StoreBase::quicken of the base, if there is one: not to be called by who is in a hurry.
  void quicken() const;
  /// StoreBase::scrub of the base, if there is one.
  StoreBase::Scrubbed scrub(std::uint64_t bytes, std::uint64_t pass) const;
  [[nodiscard]] std::size_t memoryBytes() const;
  [[nodiscard]] std::size_t changesMemoryBytes() const;  // what the next snapshot lets go

 private:
  using Found = PackedMap::Found;
  void checkReadable() const {
    if (damage_) std::rethrow_exception(damage_);
  }
  [[nodiscard]] Found find(std::string_view key, std::uint64_t hash, std::string& scratch,
                           std::string_view& value) const;
  void pushOverlay() const;
  void put(std::string_view key, std::uint64_t hash, std::string_view value);
  void erase(std::string_view key, std::uint64_t hash);

  const StoreId id_;
  const std::string name_;

  mutable std::shared_mutex mutex_;
  // Guarded by mutex_. Mutable: an image moves changes from one into the other.
  mutable std::unique_ptr<PackedMap> overlay_;
  mutable StoreImage below_;
  bool snapshotting_ = false;
  std::size_t snapshotLayers_ = 0;  // of below_'s, the oldest, that go into the one in the making
  bool replaced_ = false;           // cleared or read in anew since it was begun
  // Number of keys, if counting_. Whether a key that is new to the overlay lies below costs a
  // look-up there, so nobody pays for it before the first size().
  mutable std::uint64_t size_ = 0;
  mutable bool counting_ = true;
  std::uint64_t changedBytes_ = 0;
  std::uint64_t snapshotBytes_ = 0;  // of changes that go into the one in the making
  std::uint64_t covers_ = 0;         // not forgotten when the store is cleared
  IsGone isGone_;
  std::exception_ptr damage_;
};

}  // namespace penstock::state
