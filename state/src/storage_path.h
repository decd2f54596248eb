// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// A *path* names a sub-storage relative to a storage: the names, with the bytes that are not
/// A-Z a-z 0-9 _ - . written %XX, joined by '/'; "" is the storage itself. So any name comes back,
/// and a path holds no other byte.
namespace penstock::state {

inline constexpr std::size_t subStorageNameBytesMax = 255;  // as of a file name: enough for a name

/// `path` with one more name. InvalidArgument when the name is empty or too long.
std::string pathBelow(const std::string& path, std::string_view name);
/// The names in a path; nullopt when it is none.
std::optional<std::vector<std::string>> namesInPath(std::string_view path);
/// As much of a key or name as a message should hold, unprintable bytes escaped.
std::string shownKey(std::string_view key);

}  // namespace penstock::state
