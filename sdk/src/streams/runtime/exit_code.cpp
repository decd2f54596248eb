// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>
#include <penstock/exit_code.h>
#include <penstock/state/errors.h>

namespace penstock {

int exitCode(const std::exception& error) noexcept {
  if (dynamic_cast<const state::JournalFailed*>(&error) != nullptr) return 5;
  const auto* ours = dynamic_cast<const Error*>(&error);
  if (ours == nullptr) return 1;
  switch (ours->code()) {
    case ErrorCode::FixConfiguration:
      return 2;
    case ErrorCode::RestoreState:
      return 3;
    case ErrorCode::Retry:
    case ErrorCode::RestartTask:
      return 4;
    case ErrorCode::FixData:
    case ErrorCode::ReportBug:
      return 1;
  }
  return 1;
}

}  // namespace penstock
