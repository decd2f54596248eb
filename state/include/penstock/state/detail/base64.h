// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace penstock::state::detail {

/// RFC 4648, with padding.
[[nodiscard]] std::string base64Encoded(std::string_view bytes);
/// nullopt when the text is not canonical base64 with padding.
[[nodiscard]] std::optional<std::string> base64Decoded(std::string_view text);

}  // namespace penstock::state::detail
