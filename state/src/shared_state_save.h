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

/// The whole file; nullopt when there is none.
std::optional<std::string> readWholeFile(FileSystem& files, const std::string& path);

/// Makes the text to be written of what is in the file, which nullopt says is not there. It has
/// until the time given.
using MakeText = std::function<std::string(const std::optional<std::string>& before,
                                           std::chrono::steady_clock::time_point until)>;

/// Writes what `make` returns in the place of what is at `path`, which is kept as the generation
/// before. `keepOthers`: SourceChanged if somebody replaced the file in between. All the while the
/// calling thread rests, as SharedLocks has it.
void replaceFile(SharedLocks& locks, const Environment& environment, const std::string& path,
                 std::chrono::milliseconds atMost, bool keepOthers, const MakeText& make);

}  // namespace penstock::state
