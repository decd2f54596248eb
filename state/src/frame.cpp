// SPDX-License-Identifier: Apache-2.0
#include "frame.h"

#include <fmt/format.h>

#include <penstock/state/errors.h>
#include <cstring>

#include "planted.h"

namespace penstock::state {

namespace {

constexpr std::array<char, 8> fileMagic = {'P', 'E', 'N', 'S', 'T', 'O', 'C', 'K'};
constexpr std::uint32_t byteOrder = 0x01020304;

std::uint64_t frameChecksum(const FrameHeader& header, std::string_view directory) noexcept {
  // Chained, so that one pass over each is enough and no streaming state is needed.
  const std::uint64_t head = XXH3_64bits(&header, offsetof(FrameHeader, checksum));
  return XXH3_64bits_withSeed(directory.data(), directory.size(), head);
}

}  // namespace

std::string JournalId::text() const { return fmt::format("{:016x}{:016x}", high, low); }

FileHeader makeFileHeader(FileKind kind, const JournalId& journal, std::uint64_t number,
                          std::uint64_t storeId, std::int64_t createdMs,
                          std::uint64_t firstSequence, std::uint64_t incompatibleFeatures) {
  FileHeader header{};
  header.magic = fileMagic;
  header.version = formatVersion;
  header.minimumReader = 1;
  header.incompatibleFeatures = incompatibleFeatures;
  header.byteOrderMark = byteOrder;
  header.kind = kind;
  header.journalLow = journal.low;
  header.journalHigh = journal.high;
  header.number = number;
  header.storeId = storeId;
  header.createdMs = createdMs;
  header.firstSequence = firstSequence;
  header.checksum =
      hash64({reinterpret_cast<const char*>(&header), offsetof(FileHeader, checksum)});
  return header;
}

FileHeader readFileHeader(std::string_view bytes, const std::string& path, FileKind kind) {
  FileHeader header{};
  if (bytes.size() < sizeof(header)) {
    throw Corruption(
        path, bytes.size(),
        fmt::format("{}: ends after {} bytes, inside its file header", path, bytes.size()));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != fileMagic) {
    throw Corruption(path, 0,
                     fmt::format("{}: not a Penstock file (it does not begin with PENSTOCK); if "
                                 "it belongs elsewhere, move it out of the directory",
                                 path));
  }
  const auto sum = hash64({bytes.data(), offsetof(FileHeader, checksum)});
  if (sum != header.checksum) {
    throw Corruption(path, 0,
                     fmt::format("{}: file header at offset 0 is damaged (checksum {:016x}, "
                                 "expected {:016x})",
                                 path, sum, header.checksum));
  }
  if (header.byteOrderMark != byteOrder) {
    throw FormatTooNew(path +
                       ": written on a machine of another byte order; `penstock state export` "
                       "there and `penstock state import` here move a storage");
  }
  if (header.minimumReader > formatVersion ||
      (header.incompatibleFeatures & ~knownIncompatibleFeatures) != 0) {
    throw FormatTooNew(fmt::format(
        "{}: needs a Penstock that reads format version {} with features {:#x}; this one reads "
        "version {}. Use a newer Penstock",
        path, header.minimumReader, header.incompatibleFeatures, formatVersion));
  }
  if (header.kind != kind) {
    throw Corruption(path, 36,
                     fmt::format("{}: is a file of kind {}, expected kind {}", path,
                                 static_cast<unsigned>(header.kind), static_cast<unsigned>(kind)));
  }
  return header;
}

void checkFileHeader(std::string_view bytes, const std::string& path, FileKind kind,
                     const JournalId& journal, std::uint64_t number, std::uint64_t storeId) {
  const FileHeader header = readFileHeader(bytes, path, kind);
  const bool ours = (header.journalLow == journal.low && header.journalHigh == journal.high) ||
                    planted(Planted::IdentityNotChecked);
  if (!ours || header.number != number) {
    throw Corruption(path, 40,
                     path +
                         ": belongs to another journal or place; it was copied or "
                         "renamed from elsewhere");
  }
  if (kind == FileKind::Snapshot && header.storeId != storeId) {
    throw Corruption(path, 64,
                     fmt::format("{}: is a snapshot of store {}, expected store {}", path,
                                 header.storeId, storeId));
  }
}

FrameCheck parseFrame(std::string_view bytes, const FramePlace& place, FrameView& out) {
  FrameHeader& header = out.header;
  if (bytes.size() < sizeof(header)) return FrameCheck::Incomplete;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const bool ours = header.journalLow == place.journal.low || planted(Planted::IdentityNotChecked);
  if (header.magic != frameMagic || header.segment != place.segment ||
      header.fileOffset != place.fileOffset || !ours || header.sectionCount > sectionCountMax) {
    return FrameCheck::Invalid;
  }
  const std::uint64_t directoryBytes = std::uint64_t{header.sectionCount} * sizeof(SectionEntry);
  if (header.frameBytes < sizeof(header) + directoryBytes || header.frameBytes % 8 != 0) {
    return FrameCheck::Invalid;
  }
  if (bytes.size() < sizeof(header) + directoryBytes) return FrameCheck::Incomplete;
  const auto directory = bytes.substr(sizeof(header), directoryBytes);
  if (frameChecksum(header, directory) != header.checksum) return FrameCheck::Invalid;
  out.sections.resize(header.sectionCount);
  if (directoryBytes != 0) std::memcpy(out.sections.data(), directory.data(), directoryBytes);
  std::uint64_t body = 0;
  for (const SectionEntry& section : out.sections) {
    if (section.length > sectionBytesMax) return FrameCheck::Invalid;
    if ((section.flags & sectionExternal) == 0) body += section.length;
  }
  if (header.frameBytes != padded(sizeof(header) + directoryBytes + body)) {
    return FrameCheck::Invalid;
  }
  out.bodyOffset = place.fileOffset + sizeof(header) + directoryBytes;
  return FrameCheck::Valid;
}

bool understood(const FrameView& frame) noexcept {
  const FrameKind kind = frame.header.kind;
  if (kind < FrameKind::Commit || kind > FrameKind::Close) return false;
  const bool mark = kind == FrameKind::Mark || kind == FrameKind::Close;
  if (mark && !frame.sections.empty()) return false;
  const SectionEntry* before = nullptr;  // says that the next entry goes on with its section
  for (const SectionEntry& entry : frame.sections) {
    if (entry.kind < SectionKind::Store || entry.kind > SectionKind::Catalog) return false;
    if ((entry.flags & ~(sectionMore | sectionExternal)) != 0) return false;
    const bool external = (entry.flags & sectionExternal) != 0;
    // Recovery does not read blobs.
    if (external && (entry.kind == SectionKind::Catalog || frame.header.blob == 0)) return false;
    if (before != nullptr && (before->kind != entry.kind || before->id != entry.id ||
                              ((before->flags ^ entry.flags) & sectionExternal) != 0)) {
      return false;
    }
    before = (entry.flags & sectionMore) != 0 ? &entry : nullptr;
  }
  return before == nullptr;
}

void encodeFrame(FrameHeader& header, std::span<const SectionEntry> sections, std::string& out) {
  const std::string_view directory(reinterpret_cast<const char*>(sections.data()),
                                   sections.size_bytes());
  std::uint64_t body = 0;
  for (const SectionEntry& section : sections) {
    if ((section.flags & sectionExternal) == 0) body += section.length;
  }
  header.magic = frameMagic;
  header.sectionCount = static_cast<std::uint32_t>(sections.size());
  header.frameBytes = padded(sizeof(header) + directory.size() + body);
  header.checksum = frameChecksum(header, directory);
  out.append(reinterpret_cast<const char*>(&header), sizeof(header));
  out.append(directory);
}

}  // namespace penstock::state
