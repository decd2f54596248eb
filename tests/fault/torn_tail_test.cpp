// SPDX-License-Identifier: Apache-2.0

// Row 6 of the scoreboard: a tail that was never synced, cut at every byte and followed by
// nothing, zeros or garbage. Always opened, always the longest prefix, and what was cut is kept.

#include <gtest/gtest.h>

#include <algorithm>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/workload.h"

namespace penstock::fault {
namespace {

using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimRandom;

enum class Tail : std::uint8_t { Nothing, Zeros, Garbage };

TEST(TornTail, IsCutToTheLongestPrefixAtEveryByte) {
  Violations violations("row 6");
  const std::uint64_t seed = firstSeed();
  SimFs machine(seed);
  WorkloadOptions options;
  options.seed = seed;
  options.onlyBuffered = true;
  options.journal = smallJournal();
  options.journal.segmentBytes = 1 << 20;
  options.journal.snapshotAfterBytes = 1 << 30;
  Workload workload(machine, options);

  std::string path;       // of the segment that is written
  std::uint64_t end = 0;  // of the last write to it
  machine.onOperation([&](const SimFs::Operation& operation) {
    if (operation.call != SimCall::Write) return;
    path = operation.path;
    if (path.ends_with(".tmp")) path.resize(path.size() - 4);  // renamed since it was opened
    end = operation.offset + operation.length;
  });
  workload.open();
  for (int i = 0; i < 20; ++i) workload.step();
  workload.journal()->flush();
  const std::uint64_t begin = end;  // from here on nothing is synced
  const std::size_t firstVersion = workload.versions() - 1;
  std::vector<std::pair<std::uint64_t, std::size_t>> ends{{end, firstVersion}};
  const std::string segment = path;
  while (end < begin + 65'536) {
    workload.step();
    ASSERT_EQ(workload.errors(), 0) << workload.lastError();
    ASSERT_EQ(path, segment) << "the tail has to be in one segment";
    // Several versions may share an end (a declaration of what is there changes nothing).
    ends.emplace_back(end, workload.versions() - 1);
  }
  machine.onOperation(nullptr);
  workload.kill();
  const std::vector<std::byte> whole = machine.image(segment);
  const auto nonZeroFrom = [](const std::vector<std::byte>& bytes, std::uint64_t from) {
    return std::any_of(bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end(),
                       [](std::byte byte) { return byte != std::byte{0}; });
  };

  SimRandom random(seed);
  const std::uint64_t stride = scaled<std::uint64_t>(509, 1, 1);
  for (std::uint64_t cut = begin; cut <= begin + 65'536 && !violations.enough(); cut += stride) {
    for (const Tail tail : {Tail::Nothing, Tail::Zeros, Tail::Garbage}) {
      violations.state();
      std::vector<std::byte> bytes = whole;
      if (tail == Tail::Nothing) {
        bytes.resize(static_cast<std::size_t>(cut));
      } else {
        for (std::size_t i = static_cast<std::size_t>(cut); i < bytes.size(); ++i) {
          bytes[i] = tail == Tail::Zeros ? std::byte{0} : static_cast<std::byte>(random.next());
        }
      }
      // A frame is whole when all its bytes are as written, whatever wrote them (zeros often do).
      const auto [is, was] = std::mismatch(bytes.begin(), bytes.end(), whole.begin());
      const auto same = static_cast<std::uint64_t>(is - bytes.begin());
      std::pair<std::uint64_t, std::size_t> last = ends.front();
      for (const auto& entry : ends) {
        if (entry.first <= same) last = entry;
      }
      const auto copy = machine.clone(random.next());
      copy->setImage(segment, bytes);
      Opened opened = openAndRead(*copy, options.directory, options.journal);
      std::string problem = !opened.problem.empty()
                                ? opened.problem
                                : difference(workload.version(last.second), opened.content);
      // The last bytes of a frame may be padding, which no checksum covers.
      for (const auto& entry : ends) {
        if (problem.empty() || entry.first <= same || entry.first > same + 7) continue;
        if (difference(workload.version(entry.second), opened.content).empty()) {
          problem.clear();
          last = entry;
        }
      }
      if (problem.empty() && nonZeroFrom(bytes, last.first)) {
        bool kept = false;
        for (const std::string& file : copy->files()) {
          if (file.find(".torn-") != std::string::npos) kept = true;
        }
        if (!kept) problem = "what was cut is not kept in a .torn file";
      }
      if (!problem.empty()) {
        violations.add("seed " + std::to_string(seed) + ", cut at " + std::to_string(cut) + " of " +
                           segment + ", whole up to " + std::to_string(last.first) + ", then " +
                           (tail == Tail::Nothing ? "nothing"
                            : tail == Tail::Zeros ? "zeros"
                                                  : "garbage"),
                       problem);
      }
      opened.kill();
    }
  }
}

}  // namespace
}  // namespace penstock::fault
