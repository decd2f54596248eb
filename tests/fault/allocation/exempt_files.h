// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fault/allocation/failing_new.h"
#include "fault/guarded_files.h"

namespace penstock::fault {

struct ExemptCall {
  explicit ExemptCall(testsupport::SimCall /*call*/) {}
  FailingNew::Exempt exempt;
};

/// A file system whose own allocations do not fail: SimFs is the test's, and calls of the seam do
/// not throw.
using ExemptFiles = GuardedFiles<ExemptCall>;

}  // namespace penstock::fault
