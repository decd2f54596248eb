// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "frame.h"
#include "packed_map.h"
#include "store_base.h"

namespace penstock::state {

/// Changes of a store that no longer change.
///
/// Threads: immutable once it has its map.
class Layer {
 public:
  /// Has no map yet, so that taking one needs no memory.
  Layer() = default;
  void take(std::unique_ptr<const PackedMap> map) noexcept { map_ = std::move(map); }
  [[nodiscard]] const PackedMap& map() const noexcept { return *map_; }
  /// In order of keys; sorted when first asked for.
  [[nodiscard]] const std::vector<const PackedMap::Entry*>& ordered() const;
  [[nodiscard]] std::size_t memoryBytes() const noexcept { return map_->memoryBytes(); }

 private:
  std::unique_ptr<const PackedMap> map_;
  mutable std::once_flag once_;
  mutable std::vector<const PackedMap::Entry*> ordered_;
};

/// The content of a store at one moment: layers of changes over a base. The newest layer that
/// knows a key, as value or as tombstone, decides.
///
/// Threads: thread-compatible: one writer or many readers.
/// Errors: Corruption from blocks of the base that are damaged.
struct StoreImage {
  using Found = PackedMap::Found;

  std::vector<std::shared_ptr<const Layer>> layers;  // the newest last
  std::shared_ptr<const StoreBase> base;             // may be null

  /// `value` points into a layer, the base or `scratch`.
  [[nodiscard]] Found find(std::string_view key, std::uint64_t hash, std::string& scratch,
                           std::string_view& value) const;
  /// Number of keys. Looks at every entry of the layers.
  [[nodiscard]] std::uint64_t count() const;
  [[nodiscard]] std::size_t memoryBytes() const;

 private:
  [[nodiscard]] Found findBelow(std::size_t layer, std::string_view key, std::uint64_t hash,
                                std::string& scratch, std::string_view& value) const;
};

/// Walks the keys of an image in order.
///
/// Threads: owned by one thread.
class ImageCursor {
 public:
  /// At the first key that is not before `from`.
  ImageCursor(StoreImage image, std::string_view from);
  [[nodiscard]] bool valid() const noexcept { return valid_; }
  [[nodiscard]] std::string_view key() const noexcept { return copied_ ? keyCopy_ : key_; }
  [[nodiscard]] std::string_view value() const noexcept { return copied_ ? valueCopy_ : value_; }
  void next();

 private:
  struct Run {  // what is left of a layer
    const PackedMap::Entry* const* at;
    const PackedMap::Entry* const* end;
  };

  StoreImage image_;
  std::vector<Run> runs_;  // the newest first
  std::unique_ptr<StoreBase::Cursor> below_;
  bool copied_ = false;  // the base does not keep it for us
  std::string keyCopy_;
  std::string valueCopy_;
  bool valid_ = false;
  std::string_view key_;
  std::string_view value_;
};

}  // namespace penstock::state
