// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::state {

/// Values counted by size, in powers of two.
///
/// Threads: thread-compatible: one writer or many readers.
struct Histogram {
  static constexpr std::size_t bucketCount = 32;
  /// [i]: values up to 2^i that are beyond 2^(i-1). The last one: all that are larger, too.
  std::array<std::uint64_t, bucketCount> counts{};
  std::uint64_t sum = 0;  // of the values

  [[nodiscard]] static std::size_t bucketOf(std::uint64_t value) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept;
  /// A bound that this share (0 to 1) of the values does not exceed, within a factor of two; the
  /// largest number when it lies in the last bucket, 0 when there are no values.
  [[nodiscard]] std::uint64_t quantile(double share) const noexcept;
};

/// Counters since this process opened the journal; of what this process did.
struct JournalMetrics {
  std::uint64_t frames = 0;        // commits and the journal's own
  std::uint64_t bytesWritten = 0;  // of frames
  Histogram commitEntries;         // changes and records of each commit
  Histogram syncMicros;            // time of each sync of the journal
  std::uint64_t rollovers = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t rewrites = 0;  // segments replaced by what is still wanted of them
  std::uint64_t cleanedBytes = 0;
  std::uint64_t cleanFailures = 0;  // cleanings that left something out: damage, a full disk
  std::uint64_t slowedMicros = 0;   // that writers waited because cleaning was behind
  std::uint64_t scrubbedBytes = 0;  // of snapshots, verified in the background
  std::uint64_t damagedBlocks = 0;  // found so; `penstock state verify` names them
  std::uint64_t tornTails = 0;      // cut at open or on take-over; kept aside as *.torn-<seq>
  std::uint64_t tornBytes = 0;
};

/// The same in Prometheus' text format (0.0.4), families `penstock_state_...`, each with
/// `labels`: what stands between the braces, escaped: `application="words"`.
std::string toPrometheus(const JournalMetrics& metrics, std::string_view labels);

}  // namespace penstock::state
