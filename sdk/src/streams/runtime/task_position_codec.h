// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>
#include <penstock/state/journal.h>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Positions of a task as they lie in an application's group store (docs/formats/positions.md):
///
///   1  version, 1
///   8  stream time, ms
///   4  number of inputs; per input, by its number:
///        1  length of the journal's id: 0 the application's own, else 32; the id
///        4  log id
///        8  epoch (0 in the own journal: results and source share its recovery)
///        8  offset of the next record
///
/// All little-endian.
namespace penstock::streams {

/// The place of the next record of one input.
struct InputPosition {
  std::string journal;    // id of the journal it is in; empty: the application's own
  state::LogId log;       // a topic made anew has another
  state::LogPosition at;  // guards against a journal that lost what had been read from it
  bool operator==(const InputPosition& other) const noexcept {
    return journal == other.journal && log == other.log && at.epoch == other.at.epoch &&
           at.offset == other.at.offset;
  }
};

struct StoredPosition {
  EventTime streamTime{-1};
  std::vector<InputPosition> inputs;
  bool operator==(const StoredPosition&) const = default;
};

/// Appends to `out`.
void encodePosition(const StoredPosition& position, std::string& out);
/// nullopt when the bytes are no position of a known version.
std::optional<StoredPosition> decodePosition(std::string_view bytes);

}  // namespace penstock::streams
