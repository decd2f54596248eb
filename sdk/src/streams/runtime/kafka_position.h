// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Positions of a task on Kafka, as text (docs/formats/positions.md). What the group holds with
/// the committed offset of the task's first input says which commit it is, and up to where the
/// task's changelogs belong to it; what the state directory holds says the same of the stores
/// here. Both are compared whenever a task is taken up.
namespace penstock::streams {

/// One commit of a task:
///
///     1 WRITER NUMBER STREAMTIME END...
///
/// 1 is the version, WRITER 16 hexadecimal digits, the others decimal.
struct CommitStamp {
  std::uint64_t writer = 0;        // a worker between two starts, at random; 0: of no commit
  std::uint64_t number = 0;        // of the writer's commits
  EventTime streamTime{-1};        // of the task
  std::vector<Offset> changelogs;  // where they ended, by the names of the task's stores
  bool operator==(const CommitStamp&) const = default;
};

/// Where the stores of a task stand in the state directory:
///
///     2 WALL GENERATION
///     <stamp>
///     OFFSET TOPIC
///     ...
///
/// A restore that is not finished has writer 0, and in `changelogs` how far it has come.
struct LocalPosition {
  CommitStamp stamp;
  std::int64_t wallMs = 0;       // since then nothing was missed that a changelog forgets
  std::uint32_t generation = 0;  // of the stores: counts up when they are built anew
  struct Input {
    std::string topic;
    Offset next;
    bool operator==(const Input&) const = default;
  };
  std::vector<Input> inputs;
  bool operator==(const LocalPosition&) const = default;
};

/// A consumer group keeps at most so many bytes with an offset.
inline constexpr std::size_t stampBytesMax = 4096;

std::string encodeStamp(const CommitStamp& stamp);
std::string encodeLocal(const LocalPosition& position);
/// nullopt when the text is none of a known version.
std::optional<CommitStamp> decodeStamp(std::string_view text);
std::optional<LocalPosition> decodeLocal(std::string_view text);

}  // namespace penstock::streams
