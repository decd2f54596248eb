// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace penstock::command {

/// RFC 4648, with padding.
std::string base64Encoded(std::string_view bytes);
/// Nullopt when the text is not canonical base64 with padding.
std::optional<std::string> base64Decoded(std::string_view text);

}  // namespace penstock::command
