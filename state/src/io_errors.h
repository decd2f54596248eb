// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <string>
#include <string_view>

namespace penstock::state {

/// Turns an errno into the exception a caller can act on: DiskFull for ENOSPC and EDQUOT, else
/// IoError; the message says what was being done with which path.
[[noreturn]] void throwIoError(int error, std::string_view doing, const std::string& path);

inline void throwUnlessOk(const IoStatus& status, std::string_view doing, const std::string& path) {
  if (!status.ok()) throwIoError(status.error, doing, path);
}
template <typename T>
void throwUnlessOk(const IoResult<T>& result, std::string_view doing, const std::string& path) {
  if (!result.ok()) throwIoError(result.error, doing, path);
}

[[nodiscard]] bool isDiskFull(int error) noexcept;

}  // namespace penstock::state
