// SPDX-License-Identifier: Apache-2.0

// Any bytes as a snapshot file, as they are and with the checksums, sizes and places that they
// should have: the reader neither crashes nor reads beyond them, and what it visits is a storage
// with the keys it said, in order.
// Built and run by scripts/fuzz.

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "bytes.h"
#include "export_file.h"
#include "penstock/state/errors.h"

namespace {

using namespace penstock::state;

void require(bool holds) {
  if (!holds) std::abort();
}

/// Bytes as a file that is only read.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::string_view bytes) : bytes_(bytes) {}
  IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    const std::string_view rest = bytes_.substr(std::min<std::size_t>(offset, bytes_.size()));
    const std::size_t count = std::min(rest.size(), into.size());
    if (count != 0) std::memcpy(into.data(), rest.data(), count);
    return {count, 0};
  }
  IoResult<std::uint64_t> size() override { return {bytes_.size(), 0}; }
  IoStatus write(std::uint64_t, std::span<const std::span<const std::byte>>) override {
    return {EROFS};
  }
  IoStatus truncate(std::uint64_t) override { return {EROFS}; }
  IoStatus allocate(std::uint64_t) override { return {EROFS}; }
  IoStatus sync() override { return {EROFS}; }
  void startWriteback(std::uint64_t, std::uint64_t) override {}
  IoStatus dropCache(std::uint64_t, std::uint64_t) override { return {}; }
  IoResult<bool> tryLock(LockKind) override { return {false, EROFS}; }
  IoStatus lock(LockKind) override { return {EROFS}; }
  IoStatus unlock() override { return {EROFS}; }

 private:
  std::string_view bytes_;
};

void check(std::string_view bytes) {
  MemoryFile memory(bytes);
  try {
    const ExportFile file(memory, "fuzz");
    std::optional<std::string> storage;
    std::string key;
    file.visit({.storage =
                    [&](const std::string& path) {
                      require(!storage || path > *storage);
                      storage = path;
                      key.clear();
                    },
                .entry =
                    [&](const std::string& path, std::string_view next, std::string_view value) {
                      require(path == storage && next > key && !value.empty());
                      key = next;
                    }});
    require(storage.has_value());
  } catch (const Corruption&) {
  } catch (const FormatTooNew&) {
  }
}

template <typename T>
T at(const std::string& bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
template <typename T>
void put(std::string& bytes, std::size_t offset, const T& value) {
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

/// Makes every checksum right that covers bytes which are there.
void mend(std::string& bytes) {
  if (bytes.size() < sizeof(FileHeader) + sizeof(SnapshotFooter)) return;
  const auto number = at<std::uint64_t>(bytes, offsetof(FileHeader, number));
  put(bytes, 0, makeFileHeader(FileKind::Export, JournalId{}, number, 0, 0, 0));
  const std::size_t footerAt = bytes.size() - sizeof(SnapshotFooter);
  auto footer = at<SnapshotFooter>(bytes, footerAt);
  footer.magic = footerMagic;
  footer.number = number;
  if (footer.indexOffset < sizeof(FileHeader) || footer.indexOffset > footerAt) return;
  footer.indexBytes = footerAt - footer.indexOffset;
  footer.entries = 0;
  footer.blocks = 0;
  std::size_t offset = sizeof(FileHeader);
  for (std::size_t ref = footer.indexOffset; ref + 25 <= footerAt;) {
    const auto length = at<std::uint32_t>(bytes, ref + 8);
    const auto count = at<std::uint32_t>(bytes, ref + 12);
    if (length < sizeof(BlockHeader) || length > footer.indexOffset - offset) break;
    put(bytes, ref, static_cast<std::uint64_t>(offset));
    BlockHeader header{};
    header.magic = blockMagic;
    header.length = length;
    header.fileOffset = offset;
    header.number = number;
    header.count = count;
    header.hash = blockHash(
        header, std::string_view(bytes).substr(offset + sizeof(header), length - sizeof(header)));
    put(bytes, offset, header);
    put(bytes, ref + 16, header.hash);
    ByteReader in(std::string_view(bytes).substr(ref + 24, footerAt - ref - 24));
    (void)in.text();
    if (!in.ok()) break;
    ref = footerAt - in.left();
    offset += length;
    footer.entries += count;
    ++footer.blocks;
  }
  footer.indexHash = hash64(std::string_view(bytes).substr(footer.indexOffset, footer.indexBytes));
  footer.checksum =
      hash64({reinterpret_cast<const char*>(&footer), offsetof(SnapshotFooter, checksum)});
  put(bytes, footerAt, footer);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  mend(bytes);
  check(bytes);
  return 0;
}
