// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace penstock::streams {

/// Catches SIGTERM and SIGINT while it lives. A second signal finds the handlers that were there
/// before, so that it ends a program that does not stop.
///
/// Threads: safe from any thread; several at once see the same signals.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// The signal that came since this object was made; 0: none.
  [[nodiscard]] int received() const noexcept;

 private:
  int seen_ = 0;  // signals before
};

}  // namespace penstock::streams
