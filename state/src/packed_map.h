// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "memory_budget.h"

namespace penstock::state {

/// Hash table of bytes to bytes that keeps key and value of an entry together in one allocation
/// of an arena: 8 bytes of table (at 3/4 load: 10.7) and 8 of header per entry besides its data.
/// An erased key stays as a tombstone, because the table lies over a snapshot in which the key
/// may live.
///
/// Threads: thread-compatible: one writer or many readers.
class PackedMap {
 public:
  enum class Found : std::uint8_t { Absent, Value, Tombstone };

  struct Entry {
    std::uint32_t keyBytes;
    std::uint32_t valueBits;  // bytes << 1 | tombstone
    [[nodiscard]] const char* data() const noexcept {
      return reinterpret_cast<const char*>(this + 1);
    }
    [[nodiscard]] std::string_view key() const noexcept { return {data(), keyBytes}; }
    [[nodiscard]] std::string_view value() const noexcept {
      return {data() + keyBytes, valueBits >> 1};
    }
    [[nodiscard]] bool tombstone() const noexcept { return (valueBits & 1) != 0; }
  };

  PackedMap();
  PackedMap(const PackedMap&) = delete;
  PackedMap& operator=(const PackedMap&) = delete;
  ~PackedMap();

  /// For so many entries without growing.
  void reserve(std::size_t entries);
  /// `value` points into the table until the next write. `hash` is hash64(key).
  [[nodiscard]] Found find(std::string_view key, std::uint64_t hash,
                           std::string_view& value) const noexcept;
  /// Returns what was there before.
  Found put(std::string_view key, std::uint64_t hash, std::string_view value) {
    return write(key, hash, value, false);
  }
  Found erase(std::string_view key, std::uint64_t hash) { return write(key, hash, {}, true); }
  /// What a write of a key of that hash looks at first, and, some time later, what it looks at
  /// then: so that many writes in a row need not wait for memory each.
  void prefetchSlot(std::uint64_t hash) const noexcept;
  void prefetchEntry(std::uint64_t hash) const noexcept;

  /// Calls visit(key, value, tombstone) for every entry, in no order.
  template <typename Visit>
  void forEach(Visit&& visit) const {
    for (const std::uint64_t slot : slots_) {
      if (slot == 0) continue;
      const Entry* entry = pointer(slot);
      visit(entry->key(), entry->value(), entry->tombstone());
    }
  }

  /// Of all entries, in order of keys; valid until the next write.
  [[nodiscard]] std::vector<const Entry*> ordered() const;

  [[nodiscard]] std::size_t entries() const noexcept { return used_; }  // tombstones included
  [[nodiscard]] std::size_t memoryBytes() const noexcept { return memory_.bytes(); }

 private:
  // A slot: 48 bits of address, 16 of the hash, so that most mismatches need no look at the key.
  static Entry* pointer(std::uint64_t slot) noexcept {
    return reinterpret_cast<Entry*>(slot & 0xffffffffffffULL);
  }
  Found write(std::string_view key, std::uint64_t hash, std::string_view value, bool tombstone);
  Entry* allocate(std::size_t keyBytes, std::size_t valueBytes);
  void resize(std::size_t slots);

  std::vector<std::uint64_t> slots_;
  std::size_t used_ = 0;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* free_ = nullptr;
  std::size_t freeBytes_ = 0;
  std::size_t blockBytes_ = 0;  // of all blocks
  std::size_t wasted_ = 0;      // in entries that were replaced
  MemoryCharge memory_;         // of slots and blocks
};

}  // namespace penstock::state
