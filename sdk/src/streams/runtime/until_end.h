// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "streams/runtime/backend.h"

namespace penstock::streams {

/// Says when everything that was in the inputs at the start, and everything derived from it, is
/// committed, by whichever process owns the tasks.
///
/// The end of an input from outside is taken at the start. The end of a repartition topic is
/// taken when all sub-topologies that write it are through: a commit holds outputs and positions,
/// so whatever was derived from a committed position lies below the end seen after it.
///
/// Threads: owned by one thread.
/// Errors: state::OwnedElsewhere, naming task and holder, when no task's positions have moved for
/// kStalledUs and one that is not through belongs to another process: that one is stopped, or its
/// functions take longer than that.
class UntilEnd {
 public:
  static constexpr std::int64_t kStalledUs = 60'000'000;

  /// Takes the ends. `plan` is prepared; all outlive it.
  UntilEnd(const ApplicationPlan& plan, Backend& backend, state::Clock& clock);
  /// True once all is committed; looks only at what was not through before.
  bool reached();

 private:
  /// False while one that writes the topic is not through.
  bool writersThrough(const std::string& topic) const;
  bool committedTo(std::size_t subtopology, std::size_t input,
                   const std::vector<Offset>& ends) const;
  [[nodiscard]] std::vector<Offset> ends(std::size_t subtopology, const InputPlan& input) const;
  void checkProgress();
  /// All committed positions.
  [[nodiscard]] std::vector<Offset> positions() const;

  const ApplicationPlan& plan_;
  Backend& backend_;
  state::Clock& clock_;
  std::map<std::pair<std::size_t, std::size_t>, std::vector<Offset>> ends_;  // by partition
  std::set<std::size_t> through_;                                            // sub-topologies
  std::vector<Offset> seen_;     // positions when they were last looked at
  std::int64_t movedUs_ = 0;     // when they were seen to move
  std::int64_t nextLookUs_ = 0;  // at all positions
};

}  // namespace penstock::streams
