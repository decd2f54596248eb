// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace penstock::streams {

/// Bytes for a message: in quotes, \xNN for what is not printable ASCII, cut at 64 bytes.
std::string printable(std::string_view bytes);

}  // namespace penstock::streams
