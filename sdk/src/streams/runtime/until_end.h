// SPDX-License-Identifier: Apache-2.0
#pragma once

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
class UntilEnd {
 public:
  /// Takes the ends. `plan` is prepared; both outlive it.
  UntilEnd(const ApplicationPlan& plan, Backend& backend);
  /// True once all is committed; looks only at what was not through before.
  bool reached();

 private:
  /// False while one that writes the topic is not through.
  bool writersThrough(const std::string& topic) const;
  bool committedTo(std::size_t subtopology, std::size_t input,
                   const std::vector<Offset>& ends) const;
  [[nodiscard]] std::vector<Offset> ends(std::size_t subtopology, const InputPlan& input) const;

  const ApplicationPlan& plan_;
  Backend& backend_;
  std::map<std::pair<std::size_t, std::size_t>, std::vector<Offset>> ends_;  // by partition
  std::set<std::size_t> through_;                                            // sub-topologies
};

}  // namespace penstock::streams
