// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// How the stores of LocalFileStorage are called in the journal; docs/formats/values.md.
namespace penstock::state::detail {

inline constexpr std::string_view rootStore = "storage";

/// The names of the sub-storages, from the outside in, that a store's name holds; none for the
/// storage of the directory itself; nullopt when the store is no storage's.
std::optional<std::vector<std::string>> subStoragesOf(std::string_view store);

}  // namespace penstock::state::detail
