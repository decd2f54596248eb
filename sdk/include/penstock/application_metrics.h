// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal_metrics.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

/// Figures of one Application since run() began, as of the last batch or commit of each worker.
///
/// Threads: thread-compatible: one writer or many readers.
struct ApplicationMetrics {
  /// Upper bounds of the buckets of commitsByMs, in ms; the last bucket is what is beyond.
  static constexpr std::array<std::int64_t, 12> commitBucketsMs{1,   2,   5,   10,   20,   50,
                                                                100, 200, 500, 1000, 2000, 5000};

  std::uint64_t recordsIn = 0;     // taken from topics, repartition topics included
  std::uint64_t recordsOut = 0;    // written to topics, repartition topics included
  std::uint64_t commits = 0;       // that stand at the asked durability
  std::uint64_t commitMicros = 0;  // sum over commits, from its start until it stood
  std::array<std::uint64_t, commitBucketsMs.size() + 1> commitsByMs{};
  std::uint64_t skipped = 0;        // records passed over by ErrorPolicy::Skip
  std::uint64_t deadLettered = 0;   // by ErrorPolicy::DeadLetter
  std::uint64_t tasksAssigned = 0;  // since the start: each brought its state up
  std::uint64_t restarts = 0;       // times a worker dropped its memory and went back to a commit
  std::int64_t tasks = 0;           // owned now
  std::int64_t lag = 0;             // records between the positions and the ends of owned inputs
  /// Of the journal with the application's state, by everybody in this process.
  state::JournalMetrics journal;

  /// Adds all but `journal`, which workers share.
  ApplicationMetrics& operator+=(const ApplicationMetrics& other);
};

/// The same in Prometheus' text format, each with the label application="ID".
std::string toPrometheus(const ApplicationMetrics& metrics, std::string_view application);

}  // namespace penstock
