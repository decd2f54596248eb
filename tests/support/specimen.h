// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <penstock/state/verify.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim_fs.h"

namespace penstock::testsupport {

/// Where writeSpecimen writes.
inline const std::string specimenDirectory = "/specimen";

/// A closed journal with every kind of file and damage worth having: sealed segments, an archive,
/// a blob, snapshots; stores `settled` (all in its snapshot), `moving` (snapshot and changes in
/// sealed segments and the active one), `young` (no snapshot) and `large` (in the blob); logs `log`
/// and `other`.
void writeSpecimen(SimFs& machine);
/// A machine that holds it, made once: clone it.
const SimFs& specimen();
/// The paths of its durable files whose names begin so. `machine` holds a specimen.
std::vector<std::string> specimenFiles(const SimFs& machine, const std::string& begin);

/// What the engine says of a directory.
struct Verdict {
  bool refused = false;  // opening it threw Corruption
  std::string why;
  std::uint64_t tornTails = 0;
  std::map<std::string, std::map<std::string, std::string>> stores;  // that can be read
  std::set<std::string> failedStores;
  std::map<std::string, std::set<std::uint64_t>> failedOffsets;  // of logs
  std::map<std::string, std::string> logs;                       // bytes of what can be read
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> ranges;  // start and end of logs
};

/// Opens the directory as a process of its own, reads everything, and kills the process. Expects of
/// each Corruption that it names a file and ends with what to do.
Verdict askEngine(SimFs& machine, const std::string& directory = specimenDirectory);

/// The same in the words of a report, for comparing: failed stores and offsets.
void expectSame(const Verdict& engine, const state::VerifyReport& report);

}  // namespace penstock::testsupport
