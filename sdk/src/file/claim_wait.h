// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace penstock::file {

/// Says in the log who holds what a member of a group has long been waiting for: a process that
/// is stopped (SIGSTOP, a debugger) keeps its share, and nothing else would tell.
///
/// Threads: owned by one thread.
class ClaimWait {
 public:
  /// Members give up what is too much for them within a commit: long after that.
  static constexpr std::int64_t kPatienceUs = 10'000'000;
  static constexpr std::int64_t kRepeatUs = 600'000'000;

  /// `whose`: "application a", "group g".
  explicit ClaimWait(std::string whose) : whose_(std::move(whose)) {}

  /// At each look after ownership. `wanting`: something is within the share, and not to be had;
  /// `holder` has it.
  void look(bool wanting, const std::string& holder, std::int64_t nowUs);

 private:
  std::string whose_;
  std::optional<std::int64_t> sinceUs_;
  std::int64_t nextUs_ = 0;
};

}  // namespace penstock::file
