// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bytes.h"
#include "frame.h"

namespace penstock::state {

/// Do not renumber: on disk.
enum class StoreOp : std::uint8_t {
  Put = 1,          // key, value
  Erase = 2,        // key
  Clear = 3,        // nothing
  ErasePrefix = 4,  // prefix
};

/// Calls `visit(op, key, value)` for each change in a store section. False when the bytes are
/// not changes.
template <typename Visit>
bool forEachChange(std::string_view bytes, Visit&& visit) {
  ByteReader in(bytes);
  while (in.ok() && !in.atEnd()) {
    const auto op = static_cast<StoreOp>(in.fixed<std::uint8_t>());
    std::string_view key;
    std::string_view value;
    switch (op) {
      case StoreOp::Put:
        key = in.text();
        value = in.text();
        break;
      case StoreOp::Erase:
      case StoreOp::ErasePrefix:
        key = in.text();
        break;
      case StoreOp::Clear:
        break;
      default:
        return false;
    }
    if (!in.ok()) return false;
    visit(op, key, value);
  }
  return in.ok();
}

/// What a Commit holds: for each store and log its encoded bytes, cut into chunks at changes and
/// records, so that a chunk can be read and verified alone.
struct Commit::Content {
  struct Chunk {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::uint32_t count = 0;
    std::int64_t minTimeMs = std::numeric_limits<std::int64_t>::max();
    std::int64_t maxTimeMs = std::numeric_limits<std::int64_t>::min();
  };
  struct Section {
    SectionKind kind = SectionKind::Store;
    std::uint32_t id = 0;
    std::string bytes;
    std::vector<Chunk> chunks;
    /// Bytes that count: what lies behind belongs to a record or change whose encoding failed.
    [[nodiscard]] std::size_t whole() const noexcept {
      return chunks.empty() ? 0 : chunks.back().end;
    }
  };
  struct Requirement {
    std::string name;
    std::uint64_t incarnation = 0;
  };

  std::vector<Section> sections;  // the first `used` count; the others keep their buffers
  std::size_t used = 0;
  std::vector<std::uint32_t> storeAt;  // by store id: index into sections + 1, or 0
  std::vector<std::uint32_t> logAt;
  std::vector<Requirement> requirements;
  FrameKind kind = FrameKind::Commit;

  Section& section(SectionKind sectionKind, std::uint32_t id);
  /// The same without bytes that do not count.
  Section& wholeSection(SectionKind sectionKind, std::uint32_t id);
  template <typename Encode>
  void addChange(StoreId store, Encode&& encode);
  [[nodiscard]] std::size_t bytes() const noexcept;
  void reset() noexcept;

  /// A chunk is closed beyond this: small enough to stay in a processor's cache when read.
  static constexpr std::size_t chunkBytes = 256 * 1024;

  static Chunk& openChunk(Section& section) {
    if (section.chunks.empty() ||
        section.chunks.back().end - section.chunks.back().begin >= chunkBytes) {
      const std::size_t begin = section.chunks.empty() ? 0 : section.chunks.back().end;
      section.chunks.push_back({.begin = begin, .end = begin});
    }
    return section.chunks.back();
  }
};

}  // namespace penstock::state
