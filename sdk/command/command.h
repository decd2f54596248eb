// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace penstock::command {

/// What `penstock` ends with.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,        // passing or unexpected: a broker out of reach, a full disk
  kUsage = 2,         // an argument, address, name, permission or input line is wrong
  kRestoreState = 3,  // durable state is damaged, missing, or not what a position needs
};

/// `penstock topics create | list | describe | produce | consume | delete`.
void addTopicsCommand(CLI::App& app);

}  // namespace penstock::command
