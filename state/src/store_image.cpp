// SPDX-License-Identifier: Apache-2.0
#include "store_image.h"

#include <algorithm>
#include <utility>

namespace penstock::state {

const std::vector<const PackedMap::Entry*>& Layer::ordered() const {
  std::call_once(once_, [&] { ordered_ = map_->ordered(); });
  return ordered_;
}

StoreImage::Found StoreImage::findBelow(std::size_t layer, std::string_view key, std::uint64_t hash,
                                        std::string& scratch, std::string_view& value) const {
  while (layer > 0) {
    const Found found = layers[--layer]->map().find(key, hash, value);
    if (found != Found::Absent) return found;
  }
  return base && base->find(key, hash, scratch, value) ? Found::Value : Found::Absent;
}

StoreImage::Found StoreImage::find(std::string_view key, std::uint64_t hash, std::string& scratch,
                                   std::string_view& value) const {
  return findBelow(layers.size(), key, hash, scratch, value);
}

std::uint64_t StoreImage::count() const {
  std::uint64_t keys = base ? base->entries() : 0;
  std::string scratch;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    layers[layer]->map().forEach([&](std::string_view key, std::string_view, bool tombstone) {
      std::string_view value;
      const bool below = findBelow(layer, key, hash64(key), scratch, value) == Found::Value;
      if (tombstone && below) --keys;
      if (!tombstone && !below) ++keys;
    });
  }
  return keys;
}

std::size_t StoreImage::memoryBytes() const {
  std::size_t bytes = base ? base->memoryBytes() : 0;
  for (const auto& layer : layers) bytes += layer->memoryBytes();
  return bytes;
}

ImageCursor::ImageCursor(StoreImage image, std::string_view from) : image_(std::move(image)) {
  for (auto layer = image_.layers.rbegin(); layer != image_.layers.rend(); ++layer) {
    const auto& entries = (*layer)->ordered();
    const auto first = std::lower_bound(
        entries.begin(), entries.end(), from,
        [](const PackedMap::Entry* entry, std::string_view key) { return entry->key() < key; });
    runs_.push_back({entries.data() + (first - entries.begin()), entries.data() + entries.size()});
  }
  if (image_.base) below_ = image_.base->cursor(from);
  next();
}

/// Takes the smallest key of all that is left, from the newest that has it.
void ImageCursor::next() {
  constexpr std::ptrdiff_t ahead = 8;  // entries lie anywhere: memory is asked for them in time
  for (;;) {
    const PackedMap::Entry* newest = nullptr;
    for (const Run& run : runs_) {
      if (run.at != run.end && (newest == nullptr || (*run.at)->key() < newest->key())) {
        newest = *run.at;
      }
    }
    const bool below = below_ && below_->valid();
    if (newest == nullptr || (below && below_->key() < newest->key())) {
      valid_ = below;
      if (!below) return;
      copied_ = !below_->stay();
      if (copied_) {
        keyCopy_ = below_->key();
        valueCopy_ = below_->value();
      } else {
        key_ = below_->key();
        value_ = below_->value();
      }
      below_->next();
      return;
    }
    const std::string_view key = newest->key();
    for (Run& run : runs_) {
      if (run.at == run.end || (*run.at)->key() != key) continue;
      ++run.at;
      if (run.end - run.at > ahead) __builtin_prefetch(run.at[ahead]);
    }
    if (below && below_->key() == key) below_->next();
    if (newest->tombstone()) continue;
    valid_ = true;
    copied_ = false;
    key_ = key;
    value_ = newest->value();
    return;
  }
}

}  // namespace penstock::state
