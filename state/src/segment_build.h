// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "catalog.h"
#include "frame.h"
#include "segment_index.h"

/// Bytes of segments, and what the catalog says of them. Nothing here does I/O.
namespace penstock::state {

/// Where a segment ends; of a sealed one, what the catalog keeps.
struct SegmentEnd {
  std::uint64_t number = 0;
  std::uint64_t firstSequence = 0;
  std::uint64_t lastSequence = 0;
  std::uint64_t endOffset = 0;
  std::uint64_t lastChecksum = 0;
};

/// The catalog's entry of a segment that is sealed.
SealedFile describeSegment(const SegmentIndex& index, const SegmentEnd& end);

/// File header and base frame.
struct SegmentStart {
  std::string bytes;
  std::uint64_t checksum = 0;  // of the base frame
};

SegmentStart encodeSegmentStart(const JournalId& journal, std::uint64_t number,
                                std::uint64_t sequence, std::uint64_t previousChecksum,
                                const Catalog& catalog, std::uint64_t syncedUpTo,
                                std::int64_t nowMs);

/// The frame that an orderly close writes, behind everything that is synced. Its checksum goes to
/// `end`, which is moved behind it.
std::string encodeClose(const JournalId& journal, std::uint64_t epoch, SegmentEnd& end,
                        std::int64_t nowMs);

}  // namespace penstock::state
