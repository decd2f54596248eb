// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>

#include "journal_core.h"

namespace penstock::state {

/// The right to append: of this thread in the process, and in a shared journal of this process
/// among all. Taking it takes in what others appended.
class JournalCore::AppendLock {
 public:
  explicit AppendLock(JournalCore& core);
  ~AppendLock() { release(); }
  AppendLock(const AppendLock&) = delete;
  AppendLock& operator=(const AppendLock&) = delete;

 private:
  void release() noexcept;
  JournalCore& core_;
  std::unique_lock<std::mutex> guard_;
};

}  // namespace penstock::state
