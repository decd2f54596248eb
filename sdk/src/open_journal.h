// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <memory>
#include <string>

namespace penstock {

/// Journal::open, and its warnings in the log.
std::shared_ptr<state::Journal> openJournal(
    const std::string& directory, const state::JournalOptions& options,
    const state::Environment& environment = state::Environment::real());

}  // namespace penstock
