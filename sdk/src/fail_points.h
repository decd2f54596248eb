// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Places where a test ends or stops the process, and defects on purpose, one at a time, in the
/// build of the Kafka fault harness alone (tests/kafka). Elsewhere they are nothing.
namespace penstock {

/// Numbers as in the scoreboard of the fault harness; those before are the journal's.
enum class Planted : int {
  LocalCommitFirst = 17,       // the state directory has a commit before the group has it
  ProducerReused = 18,         // after an end of transaction whose outcome is not known
  FailedDeliveryIgnored = 19,  // a record that was not stored is taken for written
  RestoredToStableOnly = 20,   // the recorded end of a changelog is not waited for
};

#ifdef PENSTOCK_FAIL_POINTS
/// PENSTOCK_FAIL_POINT=NAME:N kills the process when it passes NAME for the N-th time;
/// NAME:N:stop stops it there.
void failPoint(const char* name);
/// The one that PENSTOCK_PLANTED_BUG names by number.
[[nodiscard]] bool planted(Planted bug);
#else
inline void failPoint(const char*) noexcept {}
consteval bool planted(Planted) noexcept { return false; }
#endif

}  // namespace penstock
