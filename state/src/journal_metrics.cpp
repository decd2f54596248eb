// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <penstock/state/journal_metrics.h>
#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <numeric>

namespace penstock::state {

std::size_t Histogram::bucketOf(std::uint64_t value) noexcept {
  const auto bits = static_cast<std::size_t>(value == 0 ? 0 : std::bit_width(value - 1));
  return std::min(bits, bucketCount - 1);
}

std::uint64_t Histogram::count() const noexcept {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

std::uint64_t Histogram::quantile(double share) const noexcept {
  const double wanted = share * static_cast<double>(count());
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < bucketCount; ++i) {
    seen += counts[i];
    if (seen == 0 || static_cast<double>(seen) < wanted) continue;
    const bool last = i + 1 == bucketCount;
    return last ? std::numeric_limits<std::uint64_t>::max() : std::uint64_t{1} << i;
  }
  return 0;
}

std::string toPrometheus(const JournalMetrics& metrics, std::string_view labels) {
  std::string text;
  auto out = std::back_inserter(text);
  const auto family = [&](std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(out, "# HELP penstock_state_{0} {2}\n# TYPE penstock_state_{0} {1}\n", name,
                   type, help);
  };
  const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    family(name, "counter", help);
    fmt::format_to(out, "penstock_state_{}{{{}}} {}\n", name, labels, value);
  };
  const auto histogram = [&](std::string_view name, std::string_view help, const Histogram& values,
                             double unit) {
    family(name, "histogram", help);
    std::uint64_t upTo = 0;
    for (std::size_t i = 0; i < Histogram::bucketCount; ++i) {
      upTo += values.counts[i];
      const bool last = i + 1 == Histogram::bucketCount;
      fmt::format_to(
          out, "penstock_state_{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels,
          labels.empty() ? "" : ",",
          last ? "+Inf" : fmt::format("{}", static_cast<double>(std::uint64_t{1} << i) * unit),
          upTo);
    }
    fmt::format_to(out, "penstock_state_{0}_sum{{{1}}} {2}\npenstock_state_{0}_count{{{1}}} {3}\n",
                   name, labels, static_cast<double>(values.sum) * unit, upTo);
  };
  counter("frames_total", "Frames written: commits and the journal's own.", metrics.frames);
  counter("written_bytes_total", "Bytes of frames written.", metrics.bytesWritten);
  histogram("commit_entries", "Changes and records of a commit.", metrics.commitEntries, 1);
  histogram("sync_seconds", "Time of a sync of the journal.", metrics.syncMicros, 1e-6);
  counter("rollovers_total", "Segments begun because one was full.", metrics.rollovers);
  counter("snapshots_total", "Snapshots of stores.", metrics.snapshots);
  counter("rewrites_total", "Segments replaced by what is still wanted of them.", metrics.rewrites);
  counter("cleaned_bytes_total", "Bytes of files that cleaning removed.", metrics.cleanedBytes);
  counter("clean_failures_total", "Cleanings that left something out.", metrics.cleanFailures);
  counter("slowed_microseconds_total", "Time that writers waited because cleaning was behind.",
          metrics.slowedMicros);
  counter("scrubbed_bytes_total", "Bytes of snapshots verified in the background.",
          metrics.scrubbedBytes);
  counter("damaged_blocks_total", "Damaged blocks of snapshots found so.", metrics.damagedBlocks);
  counter("torn_tails_total", "Torn tails cut off and kept aside.", metrics.tornTails);
  counter("torn_bytes_total", "Bytes of torn tails.", metrics.tornBytes);
  return text;
}

}  // namespace penstock::state
