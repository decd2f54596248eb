// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "sim_fs.h"

namespace penstock::testsupport {

/// Where writeTwoSegments writes.
inline const std::string twoSegments = "/two";
inline const std::string sealedSegment = twoSegments + "/segment-0000000001.log";
inline const std::string activeSegment = twoSegments + "/segment-0000000002.log";

/// A closed journal of one sealed segment and the active one. Both have what spans frames and
/// files: sections of several pieces, sections in a blob, and stores and logs that are declared.
///
///   store `plain`    a key a frame, "plain 0", "plain 1", ..., in both
///   store `cleared`  keys, then cleared in the sealed segment, then "after"
///   store `pieces`   values of 1.2 MiB, in both
///   store `blobs`    values in a blob, in both
///   store `gone`     written to, then removed, in the sealed one
///   logs `log` and `other`  records "log 0", "other 0", ... of one frame each, in both
///   log `pieces`     records of 1.2 MiB, in both
///   log `gone`       written to, then removed, in the sealed one
void writeTwoSegments(SimFs& machine);
/// A machine that holds it, made once: clone it.
const SimFs& machineOfTwoSegments();

}  // namespace penstock::testsupport
