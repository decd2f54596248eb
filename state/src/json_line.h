// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The lines of an export as JSON, docs/formats/export.md.
namespace penstock::state {

/// A line between the first and the last one: a key, or, without one, a storage.
struct JsonLine {
  std::string path;  // of the storage, see storage_path.h
  std::optional<std::string> key;
  std::string stored;  // the value as it is stored

  bool operator==(const JsonLine&) const = default;
};

inline constexpr std::int64_t jsonLinesVersion = 1;
/// Lines to be read are no longer; a value of 1 GiB fits in base64.
inline constexpr std::size_t jsonLineBytesMax = std::size_t{2} << 30;

/// The first line, with the version and the oldest reader's.
std::string firstJsonLine();
/// The last line.
std::string lastJsonLine(std::uint64_t keys);
/// REQUIRES: `line.path` is a path.
/// What parseJsonLine makes of the result is `line` again, to the byte, but for compression: a
/// value that is stored compressed comes back as it was.
std::string formatJsonLine(JsonLine line);

enum class JsonLineKind : std::uint8_t { First, Record, Last };

/// Fills what belongs to the kind: `record`, or the `keys` of the last line. InvalidArgument, with
/// what is wrong, for anything else; FormatTooNew for a first line of a newer form.
JsonLineKind parseJsonLine(std::string_view text, JsonLine& record, std::uint64_t& keys);

}  // namespace penstock::state
