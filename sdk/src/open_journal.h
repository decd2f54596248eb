// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <memory>
#include <string>

namespace penstock {

/// Journal::open, and a warning in the log when recovery had to cut off a torn tail: the state
/// library counts it, but has no log.
std::shared_ptr<state::Journal> openJournal(
    const std::string& directory, const state::JournalOptions& options,
    const state::Environment& environment = state::Environment::real());

}  // namespace penstock
