// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/hash.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace penstock::detail {

/// A hash table of entries that never move: an index of 8 bytes per slot (32 bits of hash, 32 of
/// entry number), probed linearly, over entries in blocks.
///
/// Chosen over boost::unordered_flat_map because a dirty list and users' pointers need entries that
/// stay where they are, and because growing moves 8 bytes per entry and hashes no key again. The
/// price is measured in bench/hot_state_bench.cpp: docs/decisions/0003-hot-state-and-the-dsl.md.
///
/// Invariants:
/// 1. A slot is 0 (free) or hash << 32 | number + 1.
/// 2. A slot's home is the top bits of its hash; between home and slot no slot is free.
/// 3. Numbers below `used_` are constructed entries: in the index, or in `free_`.
///
/// Entry: default constructible, with a member `key`.
/// Threads: owned by the task thread.
template <typename Entry>
class HotTable {
 public:
  using Number = std::uint32_t;
  static constexpr Number none = 0xffffffff;

  HotTable() { slots_.resize(std::size_t{1} << bits_); }
  HotTable(const HotTable&) = delete;
  HotTable& operator=(const HotTable&) = delete;
  ~HotTable() { destroyEntries(); }

  [[nodiscard]] Entry& operator[](Number number) noexcept {
    return blocks_[number / blockEntries][number % blockEntries];
  }
  [[nodiscard]] const Entry& operator[](Number number) const noexcept {
    return blocks_[number / blockEntries][number % blockEntries];
  }

  /// `none` when absent.
  template <typename Lookup>
  [[nodiscard]] Number find(const Lookup& key, std::uint64_t hash) const noexcept {
    const std::uint64_t tag = hash >> 32;
    for (std::size_t at = home(tag);; at = next(at)) {
      const std::uint64_t slot = slots_[at];
      if (slot == 0) return none;
      if (slot >> 32 == tag) {
        const Number number = numberOf(slot);
        if ((*this)[number].key == key) return number;
      }
    }
  }

  /// REQUIRES: the key is absent. The entry is in default state but for its key.
  template <typename Lookup>
  Number insert(const Lookup& key, std::uint64_t hash) {
    if ((size_ + 1) * 4 > slots_.size() * 3) grow();
    const Number number = takeEntry();
    try {
      (*this)[number].key = key;
    } catch (...) {
      free_.push_back(number);  // takeEntry reserved room for it
      throw;
    }
    place(hash >> 32 << 32 | (number + 1));
    ++size_;
    return number;
  }

  /// Invalidates the number; other entries stay where they are.
  void erase(Number number, std::uint64_t hash) {
    free_.reserve(free_.size() + 1);
    std::size_t hole = home(hash >> 32);
    while (slots_[hole] == 0 || numberOf(slots_[hole]) != number) hole = next(hole);
    // Slots behind the hole move up unless that would put them before their home (invariant 2).
    for (std::size_t at = next(hole); slots_[at] != 0; at = next(at)) {
      const std::size_t itsHome = home(slots_[at] >> 32);
      const bool reaches =
          hole <= at ? itsHome <= hole || itsHome > at : itsHome <= hole && itsHome > at;
      if (reaches) {
        slots_[hole] = slots_[at];
        hole = at;
      }
    }
    slots_[hole] = 0;
    (*this)[number] = Entry{};
    free_.push_back(number);
    --size_;
  }

  /// Calls visit(number) for each entry, in order of slots. `visit` may not insert or erase.
  template <typename Visit>
  void forEach(Visit&& visit) const {
    for (const std::uint64_t slot : slots_) {
      if (slot != 0) visit(numberOf(slot));
    }
  }

  void clear() {
    destroyEntries();
    blocks_.clear();
    free_.clear();
    used_ = 0;
    size_ = 0;
    bits_ = firstBits;
    slots_.assign(std::size_t{1} << bits_, 0);
    slots_.shrink_to_fit();
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t memoryBytes() const noexcept {
    return slots_.capacity() * sizeof(std::uint64_t) + used_ * sizeof(Entry) +
           free_.capacity() * sizeof(Number);
  }

 private:
  static constexpr std::size_t blockEntries = 1024;  // a page table of 8 KiB per million entries
  static constexpr unsigned firstBits = 4;

  [[nodiscard]] std::size_t home(std::uint64_t tag) const noexcept { return tag >> (32 - bits_); }
  [[nodiscard]] std::size_t next(std::size_t at) const noexcept {
    return (at + 1) & (slots_.size() - 1);
  }
  [[nodiscard]] static Number numberOf(std::uint64_t slot) noexcept {
    return static_cast<Number>(slot) - 1;
  }

  void place(std::uint64_t slot) noexcept {
    std::size_t at = home(slot >> 32);
    while (slots_[at] != 0) at = next(at);
    slots_[at] = slot;
  }

  void grow() {
    if (bits_ == 31) throw std::length_error("hot state: more than 1.6e9 entries in one task");
    std::vector<std::uint64_t> old(std::size_t{2} << bits_);
    old.swap(slots_);
    ++bits_;
    for (const std::uint64_t slot : old) {
      if (slot != 0) place(slot);
    }
  }

  Number takeEntry() {
    if (!free_.empty()) {
      const Number number = free_.back();
      free_.pop_back();
      return number;
    }
    free_.reserve(1);
    if (used_ == blocks_.size() * blockEntries) {
      blocks_.emplace_back(std::allocator<Entry>{}.allocate(blockEntries));
    }
    std::construct_at(&(*this)[static_cast<Number>(used_)]);
    return static_cast<Number>(used_++);
  }

  void destroyEntries() noexcept {
    for (std::size_t number = 0; number < used_; ++number) {
      std::destroy_at(&(*this)[static_cast<Number>(number)]);
    }
  }

  struct Deallocate {
    void operator()(Entry* block) const noexcept {
      std::allocator<Entry>{}.deallocate(block, blockEntries);
    }
  };
  struct Block : std::unique_ptr<Entry, Deallocate> {
    explicit Block(Entry* entries) noexcept : std::unique_ptr<Entry, Deallocate>(entries) {}
    Entry& operator[](std::size_t at) const noexcept { return this->get()[at]; }
  };

  std::vector<std::uint64_t> slots_;
  std::vector<Block> blocks_;
  std::vector<Number> free_;
  std::size_t used_ = 0;
  std::size_t size_ = 0;
  unsigned bits_ = firstBits;
};

}  // namespace penstock::detail
