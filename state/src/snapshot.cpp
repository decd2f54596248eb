// SPDX-License-Identifier: Apache-2.0
#include "snapshot.h"

#include <fmt/format.h>

#include <penstock/state/errors.h>
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "bytes.h"
#include "io_errors.h"

namespace penstock::state {

constexpr std::size_t entryHead = 8;  // lengths of key and value

std::uint64_t blockHash(const BlockHeader& header, std::string_view body) noexcept {
  const std::uint64_t head = XXH3_64bits(&header, offsetof(BlockHeader, hash));
  return XXH3_64bits_withSeed(body.data(), body.size(), head);
}

BlockRef takeBlockRef(ByteReader& in) {
  BlockRef ref{};
  ref.offset = in.fixed<std::uint64_t>();
  ref.length = in.fixed<std::uint32_t>();
  ref.count = in.fixed<std::uint32_t>();
  ref.hash = in.fixed<std::uint64_t>();
  ref.firstKey = in.text();
  return ref;
}

bool isBlock(std::string_view bytes, const BlockRef& ref, std::uint64_t number) noexcept {
  BlockHeader header{};
  if (bytes.size() != ref.length || bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header.magic == blockMagic && header.length == ref.length && header.count == ref.count &&
         header.fileOffset == ref.offset && header.number == number && header.hash == ref.hash &&
         blockHash(header, bytes.substr(sizeof(header))) == header.hash;
}

SnapshotWriter::SnapshotWriter(File& file, std::string path, const JournalId& journal,
                               std::uint64_t number, std::uint32_t storeId, std::uint64_t covers,
                               std::int64_t nowMs, FileKind kind)
    : file_(file), path_(std::move(path)) {
  footer_.magic = footerMagic;
  footer_.number = number;
  footer_.storeId = storeId;
  footer_.covers = covers;
  const FileHeader header = makeFileHeader(kind, journal, number, storeId, nowMs, 0);
  write({reinterpret_cast<const char*>(&header), sizeof(header)});
  block_.assign(sizeof(BlockHeader), '\0');
}

void SnapshotWriter::write(std::string_view bytes) {
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(bytes)};
  throwUnlessOk(file_.write(offset_, pieces), "writing the snapshot", path_);
  offset_ += bytes.size();
  if (offset_ - writebackAt_ >= writebackStep) {
    file_.startWriteback(writebackAt_, offset_ - writebackAt_);
    writebackAt_ = offset_;
  }
}

void SnapshotWriter::add(std::string_view key, std::string_view value) {
  const std::size_t need = entryHead + key.size() + value.size();
  if (!starts_.empty() && block_.size() + need > blockBytesTarget) closeBlock();
  if (starts_.empty()) firstKey_.assign(key);
  starts_.push_back(static_cast<std::uint32_t>(block_.size()));
  putFixed(block_, static_cast<std::uint32_t>(key.size()));
  putFixed(block_, static_cast<std::uint32_t>(value.size()));
  block_.append(key);
  block_.append(value);
  ++footer_.entries;
}

void SnapshotWriter::closeBlock() {
  // The starts stand at the very end, so that they can be found from the length.
  for (const std::uint32_t start : starts_) putFixed(block_, start);
  BlockHeader header{};
  header.magic = blockMagic;
  header.length = static_cast<std::uint32_t>(block_.size());
  header.fileOffset = offset_;
  header.number = footer_.number;
  header.count = static_cast<std::uint32_t>(starts_.size());
  header.hash = blockHash(header, std::string_view(block_).substr(sizeof(header)));
  std::memcpy(block_.data(), &header, sizeof(header));
  putFixed(index_, header.fileOffset);
  putFixed(index_, header.length);
  putFixed(index_, header.count);
  putFixed(index_, header.hash);
  putText(index_, firstKey_);
  write(block_);
  ++footer_.blocks;
  block_.assign(sizeof(BlockHeader), '\0');
  starts_.clear();
}

SnapshotFooter SnapshotWriter::finish() {
  if (!starts_.empty()) closeBlock();
  footer_.indexOffset = offset_;
  footer_.indexBytes = index_.size();
  footer_.indexHash = hash64(index_);
  write(index_);
  footer_.checksum =
      hash64({reinterpret_cast<const char*>(&footer_), offsetof(SnapshotFooter, checksum)});
  write({reinterpret_cast<const char*>(&footer_), sizeof(footer_)});
  return footer_;
}

SnapshotReader::SnapshotReader(std::unique_ptr<File> file, std::string path,
                               const JournalId& journal, std::uint64_t number,
                               std::uint32_t storeId, std::uint64_t covers,
                               std::uint64_t expectedChecksum)
    : file_(std::move(file)), path_(std::move(path)) {
  const auto size = file_->size();
  throwUnlessOk(size, "reading the size of", path_);
  std::array<char, sizeof(FileHeader)> head{};
  const auto headRead = file_->read(0, std::as_writable_bytes(std::span(head)));
  throwUnlessOk(headRead, "reading", path_);
  checkFileHeader({head.data(), headRead.value}, path_, FileKind::Snapshot, journal, number,
                  storeId);
  if (size.value < sizeof(FileHeader) + sizeof(SnapshotFooter)) {
    damaged(size.value, "is too short for a snapshot");
  }
  const std::uint64_t footerAt = size.value - sizeof(SnapshotFooter);
  const auto footRead = file_->read(footerAt, std::as_writable_bytes(std::span(&footer_, 1)));
  throwUnlessOk(footRead, "reading", path_);
  const auto sum =
      hash64({reinterpret_cast<const char*>(&footer_), offsetof(SnapshotFooter, checksum)});
  if (footRead.value != sizeof(footer_) || footer_.magic != footerMagic ||
      footer_.checksum != sum || sum != expectedChecksum || footer_.number != number ||
      footer_.storeId != storeId || footer_.covers != covers) {
    damaged(footerAt, "has a damaged footer");
  }
  if (footer_.indexOffset > footerAt || footer_.indexBytes != footerAt - footer_.indexOffset) {
    damaged(footerAt, "has a footer that does not fit its size");
  }
  indexBytes_.resize(footer_.indexBytes);
  const auto indexRead =
      file_->read(footer_.indexOffset, std::as_writable_bytes(std::span(indexBytes_)));
  throwUnlessOk(indexRead, "reading", path_);
  if (indexRead.value != indexBytes_.size() || hash64(indexBytes_) != footer_.indexHash) {
    damaged(footer_.indexOffset, "has a damaged index");
  }
  ByteReader in(indexBytes_);
  index_.reserve(footer_.blocks);
  while (in.ok() && !in.atEnd()) {
    index_.push_back(takeBlockRef(in));
  }
  if (!in.ok() || index_.size() != footer_.blocks) {
    damaged(footer_.indexOffset, "has an index that cannot be read");
  }
  blocks_ = std::vector<std::atomic<const char*>>(index_.size());
  memory_.add(indexBytes_.size() + index_.size() * (sizeof(BlockRef) + sizeof(void*)));
}

SnapshotReader::~SnapshotReader() {
  for (auto& slot : blocks_) delete[] slot.load(std::memory_order_relaxed);
  delete table_.load(std::memory_order_relaxed);
}

void SnapshotReader::damaged(std::uint64_t offset, const char* what) const {
  throw Corruption(path_, offset, fmt::format("{}: {} at offset {}", path_, what, offset));
}

std::unique_ptr<char[]> SnapshotReader::readBlock(const BlockRef& ref) const {
  auto bytes = std::make_unique_for_overwrite<char[]>(ref.length);
  const auto got =
      file_->read(ref.offset, std::as_writable_bytes(std::span(bytes.get(), ref.length)));
  throwUnlessOk(got, "reading a block of", path_);
  if (!isBlock({bytes.get(), got.value}, ref, footer_.number)) {
    damaged(ref.offset, "has a damaged block");
  }
  return bytes;
}

SnapshotReader::Scrubbed SnapshotReader::scrub(std::uint64_t bytes, std::uint64_t pass) const {
  constexpr std::uint32_t lengthMax = 8U << 20U;  // arbitrary: what one turn may read at most
  if (std::exchange(scrubPass_, pass) != pass) scrubbed_ = 0;
  Scrubbed done;
  const std::size_t first = scrubbed_;
  for (; done.bytes < bytes && scrubbed_ < index_.size(); ++scrubbed_) {
    if (index_[scrubbed_].length <= lengthMax) done.bytes += index_[scrubbed_].length;
  }
  if (done.bytes == 0) return done;
  // What is cached proves nothing.
  const BlockRef& last = index_[scrubbed_ - 1];
  (void)file_->dropCache(index_[first].offset, last.offset + last.length - index_[first].offset);
  for (std::size_t i = first; i < scrubbed_; ++i) {
    if (index_[i].length > lengthMax) continue;
    try {
      static_cast<void>(readBlock(index_[i]));
    } catch (const Error&) {
      ++done.damaged;
    }
  }
  return done;
}

const char* SnapshotReader::block(std::size_t number, std::unique_ptr<char[]>& own) const {
  auto& slot = blocks_[number];
  if (const char* bytes = slot.load(std::memory_order_acquire)) return bytes;
  const BlockRef& ref = index_[number];
  auto bytes = readBlock(ref);
  if (!MemoryBudget::process().mayKeep(ref.length)) {
    own = std::move(bytes);
    return own.get();
  }
  const char* expected = nullptr;
  if (slot.compare_exchange_strong(expected, bytes.get(), std::memory_order_acq_rel)) {
    memory_.add(ref.length);
    blocksRead_.fetch_add(1, std::memory_order_relaxed);
    return bytes.release();
  }
  return expected;  // another thread was first
}

std::string_view SnapshotReader::entryKey(const char* block, const BlockRef& ref,
                                          std::uint32_t entry) {
  std::uint32_t start = 0;
  std::memcpy(&start, block + ref.length - 4 * std::size_t{ref.count - entry}, 4);
  std::uint32_t keyBytes = 0;
  std::memcpy(&keyBytes, block + start, 4);
  return {block + start + entryHead, keyBytes};
}

std::string_view SnapshotReader::entryValue(const char* block, const BlockRef& ref,
                                            std::uint32_t entry) {
  std::uint32_t start = 0;
  std::memcpy(&start, block + ref.length - 4 * std::size_t{ref.count - entry}, 4);
  std::uint32_t keyBytes = 0;
  std::uint32_t valueBytes = 0;
  std::memcpy(&keyBytes, block + start, 4);
  std::memcpy(&valueBytes, block + start + 4, 4);
  return {block + start + entryHead + keyBytes, valueBytes};
}

std::size_t SnapshotReader::blockFor(std::string_view key) const noexcept {
  const auto after = std::upper_bound(
      index_.begin(), index_.end(), key,
      [](std::string_view left, const BlockRef& right) { return left < right.firstKey; });
  return after == index_.begin() ? 0 : static_cast<std::size_t>(after - index_.begin()) - 1;
}

bool SnapshotReader::wantsTable() const noexcept {
  constexpr std::size_t part = 8;  // of the blocks; arbitrary
  return !tableTried_.load(std::memory_order_relaxed) &&
         blocksRead_.load(std::memory_order_relaxed) * part > index_.size();
}

void SnapshotReader::makeTable() const {
  constexpr std::uint64_t entryBytesMax = 512;  // a block of larger ones is searched as quickly
  constexpr std::uint64_t fileBytesMax = 1ULL << 30;  // arbitrary: all of it stays in memory
  if (tableTried_.exchange(true) || index_.size() >= (1ULL << 32) ||
      footer_.indexOffset > footer_.entries * entryBytesMax || footer_.indexOffset > fileBytesMax) {
    return;
  }
  const std::uint64_t slots = std::bit_ceil(footer_.entries * 4 / 3 + 1);
  if (!MemoryBudget::process().mayKeep(slots * sizeof(std::uint64_t) + footer_.indexOffset)) return;
  try {
    auto table = std::make_unique<Table>(slots, 0);
    if (!fill(*table)) return;
    memory_.add(table->size() * sizeof(std::uint64_t));
    table_.store(table.release(), std::memory_order_release);
  } catch (const std::bad_alloc&) {  // it is found without
  }
}

bool SnapshotReader::fill(Table& table) const {
  const std::size_t mask = table.size() - 1;
  std::vector<std::pair<std::uint64_t, std::size_t>> found;  // hashes and starts, of a block
  for (std::size_t number = 0; number < index_.size(); ++number) {
    const BlockRef& ref = index_[number];
    std::unique_ptr<char[]> own;
    const char* bytes = block(number, own);
    if (own) return false;  // the room is gone
    found.clear();
    for (std::uint32_t entry = 0; entry < ref.count; ++entry) {
      const std::string_view key = entryKey(bytes, ref, entry);
      const auto start = static_cast<std::size_t>(key.data() - entryHead - bytes);
      if (start > 0xffff) return false;  // no block that we write
      found.emplace_back(hash64(key), start);
      __builtin_prefetch(&table[found.back().first & mask]);
    }
    for (const auto& [hash, start] : found) {
      std::size_t at = hash & mask;
      while (table[at] != 0) at = (at + 1) & mask;
      table[at] = (hash & 0xffff000000000000ULL) | (std::uint64_t{number} << 16) | start;
    }
  }
  return true;
}

bool SnapshotReader::findInTable(const Table& table, std::string_view key, std::uint64_t hash,
                                 std::string_view& value) const {
  const std::size_t mask = table.size() - 1;
  for (std::size_t at = hash & mask; table[at] != 0; at = (at + 1) & mask) {
    const std::uint64_t slot = table[at];
    if (((slot ^ hash) & 0xffff000000000000ULL) != 0) continue;
    const char* entry = blocks_[(slot >> 16) & 0xffffffffU].load(std::memory_order_acquire) +
                        (slot & 0xffff);  // those of a table stay
    std::uint32_t keyBytes = 0;
    std::uint32_t valueBytes = 0;
    std::memcpy(&keyBytes, entry, 4);
    std::memcpy(&valueBytes, entry + 4, 4);
    if (std::string_view(entry + entryHead, keyBytes) != key) continue;
    value = {entry + entryHead + keyBytes, valueBytes};
    return true;
  }
  return false;
}

bool SnapshotReader::find(std::string_view key, std::uint64_t hash, std::string& scratch,
                          std::string_view& value) const {
  if (const Table* table = table_.load(std::memory_order_acquire)) {
    return findInTable(*table, key, hash, value);
  }
  if (index_.empty()) return false;
  const std::size_t number = blockFor(key);
  const BlockRef& ref = index_[number];
  std::unique_ptr<char[]> own;
  const char* bytes = block(number, own);
  std::uint32_t low = 0;
  std::uint32_t high = ref.count;
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    const int order = entryKey(bytes, ref, middle).compare(key);
    if (order == 0) {
      value = entryValue(bytes, ref, middle);
      if (own) value = scratch.assign(value);
      return true;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return false;
}

class SnapshotReader::BlockCursor final : public StoreBase::Cursor {
 public:
  BlockCursor(const SnapshotReader& reader, std::string_view from) : reader_(reader) {
    if (!valid()) return;
    block_ = reader.blockFor(from);
    while (valid() && key() < from) next();
  }
  [[nodiscard]] bool valid() override { return block_ < reader_.index_.size(); }
  [[nodiscard]] std::string_view key() override {
    return entryKey(bytes(), reader_.index_[block_], entry_);
  }
  [[nodiscard]] std::string_view value() override {
    return entryValue(bytes(), reader_.index_[block_], entry_);
  }
  [[nodiscard]] bool stay() override { return bytes() != own_.get(); }
  void next() override {
    if (++entry_ < reader_.index_[block_].count) return;
    ++block_;
    entry_ = 0;
    bytes_ = nullptr;
  }

 private:
  const char* bytes() {
    if (bytes_ == nullptr) bytes_ = reader_.block(block_, own_);
    return bytes_;
  }

  const SnapshotReader& reader_;
  std::size_t block_ = 0;
  std::uint32_t entry_ = 0;
  std::unique_ptr<char[]> own_;
  const char* bytes_ = nullptr;  // of the block, once it was looked at
};

std::unique_ptr<StoreBase::Cursor> SnapshotReader::cursor(std::string_view from) const {
  return std::make_unique<BlockCursor>(*this, from);
}

}  // namespace penstock::state
