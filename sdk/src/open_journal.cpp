// SPDX-License-Identifier: Apache-2.0
#include "open_journal.h"

#include <penstock/log.h>

namespace penstock {

std::shared_ptr<state::Journal> openJournal(const std::string& directory,
                                            const state::JournalOptions& options,
                                            const state::Environment& environment) {
  auto journal = state::Journal::open(directory, options, environment);
  for (const std::string& warning : journal->warnings()) {
    log(LogLevel::Warning, "state", warning);
  }
  return journal;
}

}  // namespace penstock
