// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <cstdint>
#include <optional>
#include <string>

#include "frame.h"

namespace penstock::state {

/// What is being written stands under its name with this behind it; ignored and removed.
inline constexpr std::string_view temporarySuffix = ".tmp";

/// The name, without a directory, of a durable file.
std::string fileName(std::uint64_t number, FileKind kind);
/// The number of a file of that kind, if `name` is exactly the name of one.
std::optional<std::uint64_t> fileNumber(const std::string& name, FileKind kind);
/// Whether it is exactly the name of a durable file of any kind.
bool isDurableFile(const std::string& name);
/// The text of JOURNAL or PRESENCE, without what pads it, a '?' for each byte that a message should
/// not hold; "" when it cannot be read.
std::string readSmall(File& file);

}  // namespace penstock::state
