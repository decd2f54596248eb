// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define XXH_INLINE_ALL  // keys are hashed one by one; a call takes longer than their hash
#include <xxhash.h>

/// The bytes of a journal: file headers, frames, section directories. docs/formats.md is the
/// specification; this file is its only implementation. Nothing here does I/O.
namespace penstock::state {

inline constexpr std::uint32_t formatVersion = 1;
/// The catalog has stores of another engine than File.
inline constexpr std::uint64_t featureEngines = 1;
inline constexpr std::uint64_t knownIncompatibleFeatures = featureEngines;

/// Do not renumber: on disk.
enum class FileKind : std::uint32_t {
  Segment = 1,
  Snapshot = 2,
  Blob = 3,
  Archive = 4,
  Export = 5,    // of no journal: see export_file.h
  Database = 6,  // a directory of RocksDB's: see database.h
};

/// 16 random bytes made with the journal. Every file and frame carries it, so that bytes of
/// another journal never pass for this one's.
struct JournalId {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const JournalId&) const = default;
  [[nodiscard]] std::string text() const;
};

/// First 128 bytes of every durable file.
struct FileHeader {
  std::array<char, 8> magic;           // "PENSTOCK": anything else is not ours
  std::uint32_t version;               // of the format it was written with
  std::uint32_t minimumReader;         // oldest version that can read it
  std::uint64_t incompatibleFeatures;  // of a segment: featureEngines; an unknown bit: refuse
  std::uint64_t compatibleFeatures;    // an unknown bit: ignore
  std::uint32_t byteOrderMark;         // 0x01020304 as the writer's machine has it
  FileKind kind;
  std::uint64_t journalLow;
  std::uint64_t journalHigh;
  std::uint64_t number;         // of this file; a swapped file fails
  std::uint64_t storeId;        // of a snapshot, else 0
  std::int64_t createdMs;       // wall clock, for people only
  std::uint64_t firstSequence;  // of a segment: of its base frame
  std::uint64_t reserved[4];
  std::uint64_t checksum;  // XXH3-64 of the 120 bytes before
};
static_assert(sizeof(FileHeader) == 128);
static_assert(offsetof(FileHeader, journalLow) == 40);
static_assert(offsetof(FileHeader, checksum) == 120);

/// Do not renumber: on disk.
enum class FrameKind : std::uint16_t {
  Commit = 1,
  Base = 2,   // first of a segment: the whole catalog
  Mark = 3,   // nothing but its synced-up-to
  Close = 4,  // a mark written when the last holder closed in order
};

struct FrameHeader {
  std::uint32_t magic;  // "PFR1"
  FrameKind kind;
  std::uint16_t reserved0;
  std::uint64_t frameBytes;  // header, directory, inline sections, padding to 8
  std::uint64_t sequence;    // previous + 1: a stale or duplicated frame fails
  std::uint64_t syncedUpTo;  // highest sequence known on disk when this was written (R4)
  std::uint64_t segment;     // with fileOffset: a misdirected frame fails
  std::uint64_t fileOffset;
  std::uint64_t previousChecksum;  // of the frame before: a frame of another history fails
  std::int64_t wallMs;             // the batch's own time; orders nothing
  std::uint64_t journalLow;
  std::uint32_t sectionCount;
  std::uint32_t reserved1;
  std::uint64_t epoch;     // history it was written in
  std::uint64_t blob;      // number of the file that holds external sections, or 0
  std::uint64_t checksum;  // XXH3-64 of the directory, seeded with that of the 96 bytes before
};
static_assert(sizeof(FrameHeader) == 104);
static_assert(offsetof(FrameHeader, checksum) == 96);

/// Do not renumber: on disk.
enum class SectionKind : std::uint8_t {
  Store = 1,    // changes of one store
  Log = 2,      // records of one log
  Catalog = 3,  // changes of the catalog (frame kind Base: the whole of it)
};

inline constexpr std::uint8_t sectionMore = 1;      // goes on in the next directory entry
inline constexpr std::uint8_t sectionExternal = 2;  // bytes are in the frame's blob

struct SectionEntry {
  SectionKind kind;
  std::uint8_t flags;
  std::uint16_t reserved0;
  std::uint32_t length;      // bytes, at most sectionBytesMax
  std::uint64_t id;          // store or log; 0 for the catalog
  std::uint64_t baseOffset;  // log: offset of its first record
  std::uint32_t count;       // records or changes; 0 in all but the first piece
  std::uint32_t reserved1;
  std::int64_t minTimeMs;  // log: range of timestamps
  std::int64_t maxTimeMs;
  std::uint64_t hash;  // XXH3-64 of the section's bytes
};
static_assert(sizeof(SectionEntry) == 56);

inline constexpr std::uint32_t frameMagic = 0x31524650;  // "PFR1"
inline constexpr std::size_t sectionBytesMax = 1U << 20;
inline constexpr std::uint32_t sectionCountMax = 1U << 24;

inline std::uint64_t hash64(std::string_view bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}
inline constexpr std::uint64_t padded(std::uint64_t bytes) noexcept {
  return (bytes + 7) & ~std::uint64_t{7};
}

FileHeader makeFileHeader(FileKind kind, const JournalId& journal, std::uint64_t number,
                          std::uint64_t storeId, std::int64_t createdMs,
                          std::uint64_t firstSequence, std::uint64_t incompatibleFeatures = 0);
/// Throws FormatTooNew, or Corruption naming `path`. `bytes` may be shorter than a header.
FileHeader readFileHeader(std::string_view bytes, const std::string& path, FileKind kind);
/// The same, and the header must be that of this journal, number and (of a snapshot) store.
void checkFileHeader(std::string_view bytes, const std::string& path, FileKind kind,
                     const JournalId& journal, std::uint64_t number, std::uint64_t storeId = 0);

/// A frame's header and directory as found in memory.
struct FrameView {
  FrameHeader header;
  std::vector<SectionEntry> sections;
  std::uint64_t bodyOffset = 0;  // in its segment file: of the first inline section
};

/// Where a frame is expected.
struct FramePlace {
  JournalId journal;
  std::uint64_t segment = 0;
  std::uint64_t fileOffset = 0;
};

enum class FrameCheck : std::uint8_t { Valid, Incomplete, Invalid };

/// Checks magic, sizes, identity, place and checksum of the frame that begins at bytes[0]; not
/// the sections' hashes, nor sequence and chain, which only the caller knows. Incomplete: the
/// bytes given end before the frame's directory does.
FrameCheck parseFrame(std::string_view bytes, const FramePlace& place, FrameView& out);

/// Whether a valid frame has nothing in it that this version does not know: kinds, flags, pieces
/// that do not belong together.
[[nodiscard]] bool understood(const FrameView& frame) noexcept;

/// Fills in header and directory bytes of a frame in front of its sections.
/// `header` needs everything but magic, frameBytes, sectionCount, checksum.
void encodeFrame(FrameHeader& header, std::span<const SectionEntry> sections, std::string& out);

}  // namespace penstock::state
