// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "frame.h"

namespace penstock::state {

/// Where one section (or piece of one, see sectionMore) lies. Also the entry of an index footer.
struct SectionRef {
  std::uint64_t sequence;  // of its frame
  std::uint64_t id;        // store or log
  std::uint64_t base;      // log: offset of its first record
  std::uint64_t blob;      // file it lies in; 0: the segment itself
  std::uint64_t offset;    // bytes from the start of that file
  std::uint64_t hash;
  std::int64_t minTimeMs;
  std::int64_t maxTimeMs;
  std::uint32_t length;
  std::uint32_t count;
  SectionKind kind;
  std::uint8_t flags;
  std::uint16_t reserved0;
  std::uint32_t reserved1;
};
static_assert(sizeof(SectionRef) == 80);

/// Behind the last frame of a sealed segment, followed by the entries. Derived: it is rebuilt
/// from the frames when it is absent or damaged.
struct IndexFooter {
  std::uint64_t magic;  // "PINDEX01"
  std::uint64_t journalLow;
  std::uint64_t segment;
  std::uint64_t fileOffset;
  std::uint64_t entries;
  std::uint64_t entriesHash;  // XXH3-64
  std::uint64_t checksum;     // XXH3-64 of the 48 bytes before
};
static_assert(sizeof(IndexFooter) == 56);

/// The store and log sections of one segment, in the order they were written.
///
/// Threads: thread-compatible: one writer or many readers.
class SegmentIndex {
 public:
  /// Adds the sections of a frame; `blobNext` is where its external sections begin.
  void add(const FrameView& frame);
  void add(const SectionRef& ref);

  [[nodiscard]] const std::vector<SectionRef>& refs() const noexcept { return refs_; }
  /// Indexes into refs() of the first pieces of a log's sections, ascending.
  [[nodiscard]] const std::vector<std::uint32_t>* log(std::uint64_t id) const;
  [[nodiscard]] const std::vector<std::uint32_t>* store(std::uint64_t id) const;
  /// Index into refs() of the section that holds the log's record at `offset`.
  [[nodiscard]] std::optional<std::uint32_t> find(std::uint64_t log, std::uint64_t offset) const;

  [[nodiscard]] const std::map<std::uint64_t, std::vector<std::uint32_t>>& logs() const noexcept {
    return logs_;
  }
  [[nodiscard]] const std::map<std::uint64_t, std::vector<std::uint32_t>>& stores() const noexcept {
    return stores_;
  }
  [[nodiscard]] const std::vector<std::uint64_t>& blobs() const noexcept { return blobs_; }

  [[nodiscard]] std::string encodeFooter(std::uint64_t journalLow, std::uint64_t segment,
                                         std::uint64_t fileOffset) const;
  static std::optional<SegmentIndex> decodeFooter(std::string_view bytes, std::uint64_t journalLow,
                                                  std::uint64_t segment, std::uint64_t fileOffset);

 private:
  std::vector<SectionRef> refs_;
  std::map<std::uint64_t, std::vector<std::uint32_t>> logs_;
  std::map<std::uint64_t, std::vector<std::uint32_t>> stores_;
  std::vector<std::uint64_t> blobs_;
};

}  // namespace penstock::state
