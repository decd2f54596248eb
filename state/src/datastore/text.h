// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace penstock::state::datastore {

/// As databases mean it: shortest forms only, no surrogates, up to U+10FFFF.
[[nodiscard]] bool isUtf8(std::string_view text) noexcept;

/// An address as messages may show it: what stands for a password is "***".
[[nodiscard]] std::string withoutPassword(const std::string& address);
/// Where the parameters of a URI begin, with their '?', as libpq sees it; npos: there are none.
[[nodiscard]] std::size_t queryOf(const std::string& address);

}  // namespace penstock::state::datastore
