// SPDX-License-Identifier: Apache-2.0
#include "export_file.h"

#include <fmt/format.h>

#include <penstock/state/errors.h>
#include <cstring>
#include <optional>

#include "bytes.h"
#include "io_errors.h"
#include "penstock/state/local_file_storage.h"
#include "storage_path.h"

namespace penstock::state {

namespace {

constexpr std::size_t entryBytesMin = 12;  // two lengths and a start

}  // namespace

ExportFile::ExportFile(File& file, std::string path) : file_(file), path_(std::move(path)) {
  const auto size = file_.size();
  throwUnlessOk(size, "reading the size of", path_);
  if (size.value < sizeof(FileHeader) + sizeof(SnapshotFooter)) {
    damaged(size.value, "is too short for a snapshot file; it was cut off, or is something else");
  }
  const std::string head = read(0, sizeof(FileHeader));
  FileHeader header{};
  try {
    header = readFileHeader(head, path_, FileKind::Export);
  } catch (const Corruption& error) {
    damaged(error.offset(), "is no snapshot file of a storage, or its header is damaged");
  }
  const std::uint64_t footerAt = size.value - sizeof(SnapshotFooter);
  const std::string foot = read(footerAt, sizeof(SnapshotFooter));
  std::memcpy(&footer_, foot.data(), sizeof(footer_));
  if (footer_.magic != footerMagic || footer_.number != header.number ||
      footer_.checksum !=
          hash64(std::string_view(foot).substr(0, offsetof(SnapshotFooter, checksum)))) {
    damaged(footerAt, "has no whole footer; it was cut off, or its end is damaged");
  }
  if (footer_.indexOffset < sizeof(FileHeader) || footer_.indexOffset > footerAt ||
      footer_.indexBytes != footerAt - footer_.indexOffset) {
    damaged(footerAt, "has a footer that does not fit its size");
  }
  index_ = read(footer_.indexOffset, footer_.indexBytes);
  if (hash64(index_) != footer_.indexHash) damaged(footer_.indexOffset, "has a damaged index");
  ByteReader in(index_);
  std::uint64_t end = sizeof(FileHeader);
  std::uint64_t entries = 0;
  while (in.ok() && !in.atEnd()) {
    const BlockRef ref = takeBlockRef(in);
    if (!in.ok() || ref.offset != end || ref.length > footer_.indexOffset - end || ref.count == 0 ||
        ref.length < sizeof(BlockHeader) + std::uint64_t{ref.count} * entryBytesMin) {
      break;
    }
    end += ref.length;
    entries += ref.count;
    blocks_.push_back(ref);
  }
  if (!in.ok() || !in.atEnd() || end != footer_.indexOffset || blocks_.size() != footer_.blocks ||
      entries != footer_.entries) {
    damaged(footer_.indexOffset, "has an index that does not fit it");
  }
}

void ExportFile::damaged(std::uint64_t offset, std::string_view what) const {
  throw Corruption(path_, offset, fmt::format("{}: {} (offset {})", path_, what, offset),
                   "use another copy of it, or export again");
}

std::string ExportFile::read(std::uint64_t offset, std::uint64_t length) const {
  std::string bytes(length, '\0');
  const auto got = file_.read(offset, std::as_writable_bytes(std::span(bytes)));
  throwUnlessOk(got, "reading", path_);
  if (got.value != length) damaged(offset + got.value, "became shorter while it was read");
  return bytes;
}

std::string ExportFile::readBlock(const BlockRef& ref) const {
  std::string block = read(ref.offset, ref.length);
  if (!isBlock(block, ref, footer_.number)) damaged(ref.offset, "has a damaged block");
  return block;
}

/// What the entries say: which storage is next, and how many keys it still has.
class ExportFile::Contents {
 public:
  Contents(const ExportFile& file, const Visitor& visitor) : file_(file), visitor_(visitor) {}

  void entry(std::uint64_t offset, std::string_view name, std::string_view value) {
    if (last_ && name <= *last_) file_.damaged(offset, "has an entry out of order");
    last_ = name;
    const std::size_t zero = name.find('\0');
    if (zero == std::string_view::npos) file_.damaged(offset, "has an entry of no storage");
    const std::string_view key = name.substr(zero + 1);
    if (key.empty()) {
      storage(offset, name.substr(0, zero), value);
      return;
    }
    if (!begun_ || name.substr(0, zero) != path_ || left_ == 0) {
      file_.damaged(offset, "has a key of no storage");
    }
    if (key.size() > LocalFileStorage::keyBytesMax || value.empty() ||
        value.size() - 1 > LocalFileStorage::valueBytesMax) {
      file_.damaged(offset, "has a key or value beyond the limits");
    }
    --left_;
    visitor_.entry(path_, key, value);
  }

  void end(std::uint64_t offset) const {
    if (!begun_ || left_ != 0) file_.damaged(offset, "lacks keys");
  }

 private:
  void storage(std::uint64_t offset, std::string_view path, std::string_view count) {
    if (begun_ ? left_ != 0 : !path.empty()) file_.damaged(offset, "lacks keys");
    ByteReader in(count);
    left_ = in.varint();
    if (!in.ok() || !in.atEnd() || !namesInPath(path)) {
      file_.damaged(offset, "has a storage that cannot be read");
    }
    begun_ = true;
    path_ = path;
    visitor_.storage(path_);
  }

  const ExportFile& file_;
  const Visitor& visitor_;
  bool begun_ = false;
  std::string path_;
  std::uint64_t left_ = 0;
  std::optional<std::string> last_;
};

void ExportFile::visit(const Visitor& visitor) const {
  Contents contents(*this, visitor);
  for (const BlockRef& ref : blocks_) {
    const std::string block = readBlock(ref);
    const std::size_t startsAt = block.size() - std::size_t{4} * ref.count;
    ByteReader entries(std::string_view(block).substr(0, startsAt));
    (void)entries.take(sizeof(BlockHeader));
    ByteReader starts(std::string_view(block).substr(startsAt));
    for (std::uint32_t i = 0; i < ref.count; ++i) {
      const std::size_t at = startsAt - entries.left();
      const std::uint32_t start = starts.fixed<std::uint32_t>();
      const auto keyBytes = entries.fixed<std::uint32_t>();
      const auto valueBytes = entries.fixed<std::uint32_t>();
      const std::string_view name = entries.take(keyBytes);
      const std::string_view value = entries.take(valueBytes);
      if (!entries.ok() || start != at || (i == 0 && name != ref.firstKey)) {
        damaged(ref.offset + at, "has a block that cannot be read");
      }
      contents.entry(ref.offset + at, name, value);
    }
    if (!entries.atEnd()) damaged(ref.offset, "has a block that cannot be read");
  }
  contents.end(footer_.indexOffset);
}

}  // namespace penstock::state
