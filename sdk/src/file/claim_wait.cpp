// SPDX-License-Identifier: Apache-2.0
#include "file/claim_wait.h"

#include <penstock/log.h>

namespace penstock::file {

void ClaimWait::look(bool wanting, const std::string& holder, std::int64_t nowUs) {
  if (!wanting) {
    sinceUs_.reset();
    return;
  }
  if (!sinceUs_) {
    sinceUs_ = nowUs;
    nextUs_ = nowUs + kPatienceUs;
  }
  if (nowUs < nextUs_) return;
  nextUs_ = nowUs + kRepeatUs;
  log(LogLevel::Warning, "file", "another member does not give up what is ours; is it stopped?",
      {{"of", whose_},
       {"holder", holder},
       {"waiting_s", std::to_string((nowUs - *sinceUs_) / 1'000'000)}});
}

}  // namespace penstock::file
