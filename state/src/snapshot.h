// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bytes.h"
#include "frame.h"
#include "memory_budget.h"
#include "store_base.h"

namespace penstock::state {

/// In front of each block of a snapshot.
struct BlockHeader {
  std::uint32_t magic;       // "PBK1"
  std::uint32_t length;      // bytes of the block, this header included
  std::uint64_t fileOffset;  // a misdirected block fails
  std::uint64_t number;      // of the snapshot file: a block of another file fails
  std::uint32_t count;       // entries
  std::uint32_t reserved;
  std::uint64_t hash;  // XXH3-64 of the rest of the block, seeded with that of the 32 B above
};
static_assert(sizeof(BlockHeader) == 40);

/// Last bytes of a snapshot. Its checksum is in the journal's catalog.
struct SnapshotFooter {
  std::uint64_t magic;  // "PSNAPFTR"
  std::uint64_t number;
  std::uint64_t storeId;
  std::uint64_t covers;  // sequence up to which it holds every change
  std::uint64_t entries;
  std::uint64_t blocks;
  std::uint64_t indexOffset;
  std::uint64_t indexBytes;
  std::uint64_t indexHash;  // the index holds the hash of each block
  std::uint64_t checksum;   // XXH3-64 of the 72 bytes before
};
static_assert(sizeof(SnapshotFooter) == 80);

/// What BlockHeader::hash must be; `body` is the rest of the block.
std::uint64_t blockHash(const BlockHeader& header, std::string_view body) noexcept;

/// What the index says of a block.
struct BlockRef {
  std::uint64_t offset;
  std::uint32_t length;
  std::uint32_t count;  // entries
  std::uint64_t hash;
  std::string_view firstKey;  // into the index
};
/// The next one of an index; `in` is not ok() behind when there is none.
BlockRef takeBlockRef(ByteReader& in);
/// Whether these are all bytes of that block of that file.
bool isBlock(std::string_view bytes, const BlockRef& ref, std::uint64_t number) noexcept;

inline constexpr std::uint32_t blockMagic = 0x314b4250;           // "PBK1"
inline constexpr std::uint64_t footerMagic = 0x52544650414e5350;  // "PSNAPFTR"
inline constexpr std::size_t blockBytesTarget = 16 * 1024;        // small enough to verify in 2 us

/// Writes the sorted entries of a store to a new file. Throws IoError or DiskFull.
///
/// Threads: owned by one thread.
class SnapshotWriter {
 public:
  SnapshotWriter(File& file, std::string path, const JournalId& journal, std::uint64_t number,
                 std::uint32_t storeId, std::uint64_t covers, std::int64_t nowMs,
                 FileKind kind = FileKind::Snapshot);
  void add(std::string_view key, std::string_view value);  // in ascending order of keys
  /// Writes index and footer; the caller syncs. Returns the footer.
  SnapshotFooter finish();
  [[nodiscard]] std::uint64_t bytes() const noexcept { return offset_; }

 private:
  void closeBlock();
  void write(std::string_view bytes);

  File& file_;
  std::string path_;
  SnapshotFooter footer_{};
  std::uint64_t offset_ = 0;
  std::uint64_t writebackAt_ = 0;
  std::string block_;                  // header and entries of the open block
  std::vector<std::uint32_t> starts_;  // of its entries
  std::string firstKey_;
  std::string index_;
};

/// A snapshot file. Opening reads footer and index; blocks are read and verified when first
/// touched, then kept while the memory budget has room for them.
///
/// Threads: safe from any thread.
/// Errors: Corruption naming file and offset.
class SnapshotReader final : public StoreBase {
 public:
  SnapshotReader(std::unique_ptr<File> file, std::string path, const JournalId& journal,
                 std::uint64_t number, std::uint32_t storeId, std::uint64_t covers,
                 std::uint64_t expectedChecksum);
  ~SnapshotReader() override;

  bool find(std::string_view key, std::uint64_t hash, std::string& scratch,
            std::string_view& value) const override;
  [[nodiscard]] std::unique_ptr<StoreBase::Cursor> cursor(std::string_view from) const override;
  [[nodiscard]] std::uint64_t entries() const override { return footer_.entries; }
  [[nodiscard]] std::uint64_t covers() const noexcept override { return footer_.covers; }
  [[nodiscard]] std::size_t memoryBytes() const noexcept override { return memory_.bytes(); }

  /// Reads and verifies every block, and makes a hash table of the keys: with it `find` looks at
  /// two places instead of some twenty. 12 B per key, and the blocks stay in memory. Not where
  /// values or the snapshot are large, nor where there is no memory for it.
  void makeTable() const;
  /// Whether it would be of use: much was read, and it was not tried yet.
  [[nodiscard]] bool wantsTable() const noexcept;
  void quicken() const override {
    if (wantsTable()) makeTable();
  }
  /// Blocks of one large value are left to who reads them.
  Scrubbed scrub(std::uint64_t bytes, std::uint64_t pass) const override;

 private:
  // A slot: 16 bits of the hash, 32 of the block's number, 16 of the entry's start in it; 0 is
  // empty, as no entry starts at 0.
  using Table = std::vector<std::uint64_t>;
  class BlockCursor;
  /// `own` gets the block where it is not kept.
  const char* block(std::size_t number, std::unique_ptr<char[]>& own) const;
  std::unique_ptr<char[]> readBlock(const BlockRef& ref) const;
  /// False when an entry has no place in a slot.
  bool fill(Table& table) const;
  bool findInTable(const Table& table, std::string_view key, std::uint64_t hash,
                   std::string_view& value) const;
  [[nodiscard]] std::size_t blockFor(std::string_view key) const noexcept;
  [[noreturn]] void damaged(std::uint64_t offset, const char* what) const;
  static std::string_view entryKey(const char* block, const BlockRef& ref, std::uint32_t entry);
  static std::string_view entryValue(const char* block, const BlockRef& ref, std::uint32_t entry);

  std::unique_ptr<File> file_;
  std::string path_;
  SnapshotFooter footer_{};
  std::string indexBytes_;
  std::vector<BlockRef> index_;
  mutable std::vector<std::atomic<const char*>> blocks_;
  mutable std::atomic<std::size_t> blocksRead_{0};
  mutable MemoryCharge memory_;
  mutable std::atomic<const Table*> table_{nullptr};  // set once
  mutable std::atomic<bool> tableTried_{false};
  mutable std::size_t scrubbed_ = 0;     // the scrubbing thread's: blocks that had their turn
  mutable std::uint64_t scrubPass_ = 0;  // the scrubbing thread's
};

}  // namespace penstock::state
