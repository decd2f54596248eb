// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

/// What the tables of SQL databases have in common: a row for each key, and one under a key that no
/// user's key can be, which says whose table it is; docs/formats/datastore.md.
namespace penstock::state::datastore {

inline constexpr std::string_view formatKey =
    "\x01"
    "format";

/// What stands under formatKey.
[[nodiscard]] std::string formatBytes();
/// `found` stands there. ConfigurationError when it is another's table, FormatTooNew when it is a
/// newer Penstock's. `place` names database and table.
void checkFormat(const std::optional<std::string>& found, const std::string& place);
[[noreturn]] void throwForeignTable(const std::string& place);

/// In double quotes.
[[nodiscard]] std::string quotedName(std::string_view table);

}  // namespace penstock::state::datastore
