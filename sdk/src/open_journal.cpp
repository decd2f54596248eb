// SPDX-License-Identifier: Apache-2.0
#include "open_journal.h"

#include <penstock/log.h>

namespace penstock {

std::shared_ptr<state::Journal> openJournal(const std::string& directory,
                                            const state::JournalOptions& options,
                                            const state::Environment& environment) {
  auto journal = state::Journal::open(directory, options, environment);
  const state::JournalMetrics metrics = journal->metrics();
  if (metrics.tornTails > 0) {
    log(LogLevel::Warning, "state",
        "a torn tail was cut off: writes that were under way at a crash, none of them acknowledged "
        "as synced; its bytes are kept as *.torn-<sequence>",
        {{"directory", journal->directory()}, {"bytes", std::to_string(metrics.tornBytes)}});
  }
  return journal;
}

}  // namespace penstock
