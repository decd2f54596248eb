// SPDX-License-Identifier: Apache-2.0
#include "segment_build.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

namespace penstock::state {

SealedFile describeSegment(const SegmentIndex& index, const SegmentEnd& end) {
  SealedFile file;
  file.number = end.number;
  file.firstSequence = end.firstSequence;
  file.lastSequence = end.lastSequence;
  file.endOffset = end.endOffset;
  file.lastChecksum = end.lastChecksum;
  for (const auto& [id, sections] : index.logs()) {
    LogRange range;
    range.log = static_cast<std::uint32_t>(id);
    range.maxTimeMs = std::numeric_limits<std::int64_t>::min();
    const auto& refs = index.refs();
    range.start = refs[sections.front()].base;
    for (const std::uint32_t at : sections) {
      range.end = refs[at].base + refs[at].count;
      range.maxTimeMs = std::max(range.maxTimeMs, refs[at].maxTimeMs);
      for (std::size_t piece = at;; ++piece) {
        range.bytes += refs[piece].length;
        if ((refs[piece].flags & sectionMore) == 0) break;
      }
    }
    file.logs.push_back(range);
  }
  for (const auto& [id, sections] : index.stores()) {
    file.stores.push_back(static_cast<std::uint32_t>(id));
  }
  file.blobs = index.blobs();
  return file;
}

SegmentStart encodeSegmentStart(const JournalId& journal, std::uint64_t number,
                                std::uint64_t sequence, std::uint64_t previousChecksum,
                                const Catalog& catalog, std::uint64_t syncedUpTo,
                                std::int64_t nowMs) {
  const FileHeader fileHeader = makeFileHeader(FileKind::Segment, journal, number, 0, nowMs,
                                               sequence, catalog.hasEngines() ? featureEngines : 0);
  std::string body;
  catalog.encode(body);
  std::vector<SectionEntry> entries;
  for (std::size_t begin = 0; begin < body.size(); begin += sectionBytesMax) {
    const std::string_view piece = std::string_view(body).substr(begin, sectionBytesMax);
    SectionEntry entry{};
    entry.kind = SectionKind::Catalog;
    entry.flags = begin + piece.size() < body.size() ? sectionMore : 0;
    entry.length = static_cast<std::uint32_t>(piece.size());
    entry.count = begin == 0 ? 1 : 0;
    entry.hash = hash64(piece);
    entries.push_back(entry);
  }
  FrameHeader header{};
  header.kind = FrameKind::Base;
  header.sequence = sequence;
  header.syncedUpTo = syncedUpTo;
  header.segment = number;
  header.fileOffset = sizeof(FileHeader);
  header.previousChecksum = previousChecksum;
  header.wallMs = nowMs;
  header.journalLow = journal.low;
  header.epoch = catalog.epoch();
  SegmentStart start;
  start.bytes.assign(reinterpret_cast<const char*>(&fileHeader), sizeof(fileHeader));
  encodeFrame(header, entries, start.bytes);
  start.bytes += body;
  start.bytes.resize(sizeof(FileHeader) + header.frameBytes, '\0');
  start.checksum = header.checksum;
  return start;
}

std::string encodeClose(const JournalId& journal, std::uint64_t epoch, SegmentEnd& end,
                        std::int64_t nowMs) {
  FrameHeader header{};
  header.kind = FrameKind::Close;
  header.sequence = end.lastSequence + 1;
  header.syncedUpTo = end.lastSequence;
  header.segment = end.number;
  header.fileOffset = end.endOffset;
  header.previousChecksum = end.lastChecksum;
  header.wallMs = nowMs;
  header.journalLow = journal.low;
  header.epoch = epoch;
  std::string bytes;
  encodeFrame(header, {}, bytes);
  end.lastSequence = header.sequence;
  end.endOffset += bytes.size();
  end.lastChecksum = header.checksum;
  return bytes;
}

}  // namespace penstock::state
