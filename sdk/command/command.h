// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace penstock::command {

/// `penstock topics create | list | describe | produce | consume | delete`.
void addTopicsCommand(CLI::App& app);

/// `penstock state ls | get | set | stat | verify | compact | backup | repair`.
void addStateCommand(CLI::App& app);

}  // namespace penstock::command
