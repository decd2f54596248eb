// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shared_state_core.h"

/// The files in which Pode keeps a state, and how what it has and a Value has not is kept in one:
/// docs/formats/shared-state.md, "Files of Pode".
namespace penstock::state {

/// A map with one member "$pode.TYPE": a scalar or a list of that type.
inline constexpr std::string_view podeMark = "$pode";

// The two members of a file of version 2; the first one tells it from the others.
inline constexpr std::string_view podeMetadataKey = "__pode_state_metadata__";
inline constexpr std::string_view podeDataKey = "__pode_state_data__";

/// Reads any version. Corruption, naming file and place, for what is none; ForeignFile for a form
/// that was never released; FormatTooNew for a later version.
std::vector<SharedContentPtr> parsePodeFile(std::string_view bytes, const std::string& file);

/// Version 1 or 2. InvalidArgument, naming the entry, for a value that JSON or Pode cannot say.
std::string formatPodeFile(const std::vector<SharedContentPtr>& contents, int version,
                           std::int64_t savedMs, bool compress);

/// Corruption of a file of Pode's.
[[noreturn]] void throwPodeDamaged(const std::string& file, std::uint64_t offset,
                                   const std::string& what);

/// The name that a member of a Pode map has in a Value, and the inverse: one that only happens to
/// be called like a mark has one more '$'.
std::string fromPodeKey(const std::string& key);
std::string toPodeKey(const std::string& name);

}  // namespace penstock::state
