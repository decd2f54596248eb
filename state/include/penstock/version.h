// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace penstock {

/// The version of the library that is linked, as "major.minor.patch".
///
/// Threads: safe from any thread.
[[nodiscard]] std::string_view version() noexcept;

}  // namespace penstock
