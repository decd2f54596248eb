// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "shared_state_core.h"

/// How the files of a SharedState, of whatever form, are written and read.
namespace penstock::state {

/// Where the file of that name lies: what a symbolic link leads to. InvalidArgument for an empty
/// path, or when something that is no file is there.
std::string fileAt(FileSystem& files, const std::string& path);

/// The name of the generation before; "" when there is none.
std::string previousOf(FileSystem& files, const std::string& path);

/// The whole file; nullopt when there is none.
std::optional<std::string> readWholeFile(FileSystem& files, const std::string& path);

/// Makes the text to be written of what is in the file, which nullopt says is not there. It has
/// until the time given.
using MakeText = std::function<std::string(const std::optional<std::string>& before,
                                           std::chrono::steady_clock::time_point until)>;

/// Writes what `make` returns in the place of what is at `path`, as `fileAt` gives it, which is
/// kept as the generation before; its mode stays. `keepOthers`: SourceChanged if somebody replaced
/// the file in between. All the while the calling thread rests, as SharedLocks has it.
void replaceFile(SharedLocks& locks, const Environment& environment, const std::string& path,
                 std::chrono::milliseconds atMost, bool keepOthers, const MakeText& make);

}  // namespace penstock::state
