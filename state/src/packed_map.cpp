// SPDX-License-Identifier: Apache-2.0
#include "packed_map.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "frame.h"

namespace penstock::state {

namespace {

constexpr std::size_t firstBlockBytes = 4096;
constexpr std::size_t blockBytesMax = 1U << 20;  // arbitrary: few allocations, little slack
constexpr std::size_t ahead = 16;  // entries lie anywhere: memory is asked for them in time

}  // namespace

PackedMap::PackedMap() : slots_(16, 0) { memory_.add(slots_.size() * sizeof(std::uint64_t)); }
PackedMap::~PackedMap() = default;

void PackedMap::prefetchSlot(std::uint64_t hash) const noexcept {
  __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]);
}

void PackedMap::prefetchEntry(std::uint64_t hash) const noexcept {
  const std::uint64_t slot = slots_[hash & (slots_.size() - 1)];
  if (slot != 0) __builtin_prefetch(pointer(slot));
}

PackedMap::Found PackedMap::find(std::string_view key, std::uint64_t hash,
                                 std::string_view& value) const noexcept {
  const std::uint64_t tag = hash & 0xffff000000000000ULL;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const std::uint64_t slot = slots_[i];
    if (slot == 0) return Found::Absent;
    if ((slot & 0xffff000000000000ULL) != tag) continue;
    const Entry* entry = pointer(slot);
    if (entry->key() == key) {
      if (entry->tombstone()) return Found::Tombstone;
      value = entry->value();
      return Found::Value;
    }
  }
}

namespace {

// Eight bytes of a key behind what all have in common decide almost every comparison, without a
// look at the key.
std::uint64_t bytesBehind(std::string_view key, std::size_t common) noexcept {
  unsigned char bytes[8] = {};
  const std::size_t count = std::min<std::size_t>(key.size() - common, 8);
  std::memcpy(bytes, key.data() + common, count);
  std::uint64_t number = 0;
  for (const unsigned char byte : bytes) number = (number << 8) | byte;
  return number;
}

}  // namespace

std::vector<const PackedMap::Entry*> PackedMap::ordered() const {
  struct Item {
    std::uint64_t first;
    const Entry* entry;
  };
  std::vector<Item> items;
  items.reserve(used_);
  std::string_view common;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (i + ahead < slots_.size()) __builtin_prefetch(pointer(slots_[i + ahead]));
    if (slots_[i] == 0) continue;
    const Entry* entry = pointer(slots_[i]);
    const std::string_view key = entry->key();
    if (items.empty()) common = key;
    const auto differ = std::mismatch(common.begin(), common.end(), key.begin(), key.end());
    common = common.substr(0, static_cast<std::size_t>(differ.first - common.begin()));
    items.push_back({0, entry});
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i + ahead < items.size()) __builtin_prefetch(items[i + ahead].entry);
    items[i].first = bytesBehind(items[i].entry->key(), common.size());
  }
  std::sort(items.begin(), items.end(), [](const Item& left, const Item& right) {
    return left.first != right.first ? left.first < right.first
                                     : left.entry->key() < right.entry->key();
  });
  std::vector<const Entry*> entries;
  entries.reserve(items.size());
  for (const Item& item : items) entries.push_back(item.entry);
  return entries;
}

PackedMap::Entry* PackedMap::allocate(std::size_t keyBytes, std::size_t valueBytes) {
  const std::size_t bytes = padded(sizeof(Entry) + keyBytes + valueBytes);
  if (bytes > freeBytes_) {
    const std::size_t doubled = std::clamp(blockBytes_, firstBlockBytes, blockBytesMax);
    const std::size_t size = std::max(bytes, doubled);
    auto block = std::make_unique_for_overwrite<char[]>(size);
    blocks_.push_back(std::move(block));
    blockBytes_ += size;
    memory_.add(size);
    if (size > doubled) {  // an entry with a block of its own
      return reinterpret_cast<Entry*>(blocks_.back().get());
    }
    free_ = blocks_.back().get();
    freeBytes_ = size;
  }
  auto* entry = reinterpret_cast<Entry*>(free_);
  free_ += bytes;
  freeBytes_ -= bytes;
  return entry;
}

PackedMap::Found PackedMap::write(std::string_view key, std::uint64_t hash, std::string_view value,
                                  bool tombstone) {
  if ((used_ + 1) * 4 > slots_.size() * 3) resize(slots_.size() * 2);
  const std::uint64_t tag = hash & 0xffff000000000000ULL;
  const std::size_t mask = slots_.size() - 1;
  const auto valueBits =
      static_cast<std::uint32_t>(value.size() << 1) | static_cast<std::uint32_t>(tombstone);
  std::size_t i = hash & mask;
  Found before = Found::Absent;
  for (; slots_[i] != 0; i = (i + 1) & mask) {
    if ((slots_[i] & 0xffff000000000000ULL) != tag) continue;
    Entry* entry = pointer(slots_[i]);
    if (entry->key() != key) continue;
    before = entry->tombstone() ? Found::Tombstone : Found::Value;
    const std::size_t room = padded(sizeof(Entry) + key.size() + entry->value().size());
    const std::size_t need = padded(sizeof(Entry) + key.size() + value.size());
    if (room == need || tombstone) {  // in place: the counter's case
      if (!tombstone) {
        std::memcpy(const_cast<char*>(entry->data()) + key.size(), value.data(), value.size());
        entry->valueBits = valueBits;
      } else {
        wasted_ += room - padded(sizeof(Entry) + key.size());
        entry->valueBits = 1;
      }
      return before;
    }
    wasted_ += room;
    break;
  }
  if (before != Found::Absent && wasted_ > blockBytes_ / 2 && wasted_ > blockBytesMax) {
    // Rebuild without the replaced entries, then write as new.
    PackedMap packed;
    packed.resize(slots_.size());
    forEach([&](std::string_view oldKey, std::string_view oldValue, bool dead) {
      if (oldKey != key) packed.write(oldKey, hash64(oldKey), oldValue, dead);
    });
    packed.write(key, hash, value, tombstone);
    std::swap(slots_, packed.slots_);
    std::swap(blocks_, packed.blocks_);
    memory_.swap(packed.memory_);
    used_ = packed.used_;
    free_ = packed.free_;
    freeBytes_ = packed.freeBytes_;
    blockBytes_ = packed.blockBytes_;
    wasted_ = 0;
    return before;
  }
  Entry* entry = allocate(key.size(), value.size());
  entry->keyBytes = static_cast<std::uint32_t>(key.size());
  entry->valueBits = valueBits;
  char* data = const_cast<char*>(entry->data());
  std::memcpy(data, key.data(), key.size());
  if (!value.empty()) std::memcpy(data + key.size(), value.data(), value.size());
  if (slots_[i] == 0) ++used_;
  slots_[i] = reinterpret_cast<std::uint64_t>(entry) | tag;
  return before;
}

void PackedMap::reserve(std::size_t entries) {
  const std::size_t slots = std::bit_ceil(entries * 4 / 3 + 1);
  if (slots > slots_.size()) resize(slots);
}

void PackedMap::resize(std::size_t slots) {
  std::vector<std::uint64_t> larger(slots, 0);
  const std::size_t mask = larger.size() - 1;
  for (std::size_t from = 0; from < slots_.size(); ++from) {
    if (from + ahead < slots_.size()) __builtin_prefetch(pointer(slots_[from + ahead]));
    if (slots_[from] == 0) continue;
    std::size_t i = hash64(pointer(slots_[from])->key()) & mask;
    while (larger[i] != 0) i = (i + 1) & mask;
    larger[i] = slots_[from];
  }
  memory_.add((larger.size() - slots_.size()) * sizeof(std::uint64_t));
  slots_ = std::move(larger);
}

}  // namespace penstock::state
