// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace penstock {

/// What the caller can do about an error. The type of the exception says what happened.
enum class ErrorCode : std::uint8_t {
  Retry = 1,             // passing: try again later (disk full, broker unreachable, lock held)
  RestartTask = 2,       // the task or handle is finished; open it again
  FixConfiguration = 3,  // an option, address, name or permission is wrong
  FixData = 4,           // a record, key or value cannot be handled as given
  RestoreState = 5,      // durable state is damaged or missing; restore its directory
  ReportBug = 6,         // a promise of Penstock's own was broken
};

/// Base of every exception that Penstock throws on purpose.
///
/// Threads: immutable after construction.
/// `what()` says what was being done, with which name, what was expected, and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// An option, address or name that cannot be used as given.
class ConfigurationError : public Error {
 public:
  explicit ConfigurationError(const std::string& message)
      : Error(ErrorCode::FixConfiguration, message) {}
};

}  // namespace penstock
