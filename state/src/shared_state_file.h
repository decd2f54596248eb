// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shared_state_core.h"

/// The file of a SharedState, docs/formats/shared-state.md.
namespace penstock::state {

inline constexpr std::int64_t sharedFileVersion = 1;

/// Whether a text begins as these files do. It may be damaged behind that.
bool looksLikeSharedFile(std::string_view text) noexcept;

/// Corruption, as below, when a file is not as it was written: checks all of its bytes.
void checkSharedFile(std::string_view text, const std::string& file);

/// InvalidArgument, naming the entry, for a value that is nested too deeply.
std::string formatSharedFile(const std::vector<SharedContentPtr>& contents,
                             const std::string& application, std::int64_t savedMs, bool compress);

/// What is wrong with a file, naming it: Corruption with the offset; ForeignFile when it is none of
/// these, or of another application (unless one of the two is ""); FormatTooNew. `previous`: the
/// file to take instead of a damaged one, "" when there is none.
std::vector<SharedContentPtr> parseSharedFile(std::string_view text, const std::string& file,
                                              const std::string& application,
                                              const std::string& previous);

/// "2026-08-13T10:00:00.000Z"; ms since 1970-01-01 UTC.
std::string isoTime(std::int64_t wallMs);

/// As Value::depthMax counts.
std::size_t depthOf(const Value& value) noexcept;

}  // namespace penstock::state
