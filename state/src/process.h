// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock::state {

/// Grows by one in a forked child, before fork() returns there. Costs one load: no system call.
///
/// Needs registerForkHandlers() to have run in the parent, which opening any real file and
/// constructing a ProcessMark do. A process made by a raw clone system call is not noticed.
[[nodiscard]] std::uint32_t processGeneration() noexcept;

/// Idempotent; throws std::bad_alloc when pthread_atfork has no memory.
void registerForkHandlers();

/// Remembers the process that opened something. The child of a fork shares the descriptors, and
/// with them the locks, of its parent: two writers that each believe to be the only one. So every
/// handle holds a mark and refuses its calls where forkedChild() is true. A handle opened freshly
/// in the child is fine; tables of open engines must therefore compare marks too.
///
/// Threads: immutable after construction.
class ProcessMark {
 public:
  ProcessMark() {
    registerForkHandlers();
    generation_ = processGeneration();
  }
  /// True in a process that was forked from the one that constructed this.
  [[nodiscard]] bool forkedChild() const noexcept { return generation_ != processGeneration(); }

 private:
  std::uint32_t generation_ = 0;
};

}  // namespace penstock::state
