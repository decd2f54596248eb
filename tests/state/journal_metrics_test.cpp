// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/journal.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <string>

#include "support/sim_fs.h"

namespace penstock::state {
namespace {

using ::testing::HasSubstr;
using testsupport::SimFs;

TEST(HistogramTest, ABucketHoldsWhatIsUpToItsPowerOfTwo) {
  EXPECT_EQ(Histogram::bucketOf(0), 0U);
  EXPECT_EQ(Histogram::bucketOf(1), 0U);
  EXPECT_EQ(Histogram::bucketOf(2), 1U);
  EXPECT_EQ(Histogram::bucketOf(3), 2U);
  EXPECT_EQ(Histogram::bucketOf(4), 2U);
  EXPECT_EQ(Histogram::bucketOf(5), 3U);
  EXPECT_EQ(Histogram::bucketOf(std::numeric_limits<std::uint64_t>::max()),
            Histogram::bucketCount - 1);
}

TEST(HistogramTest, AQuantileIsTheBoundOfItsBucket) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0U);
  histogram.counts[3] = 98;  // 5 to 8
  histogram.counts[10] = 2;  // to 1024
  EXPECT_EQ(histogram.count(), 100U);
  EXPECT_EQ(histogram.quantile(0), 8U);
  EXPECT_EQ(histogram.quantile(0.98), 8U);
  EXPECT_EQ(histogram.quantile(0.99), 1024U);
  EXPECT_EQ(histogram.quantile(1), 1024U);
  histogram.counts.back() = 1;
  EXPECT_EQ(histogram.quantile(1), std::numeric_limits<std::uint64_t>::max());
}

TEST(JournalMetricsTest, CommitsAreCountedByTheirEntriesAndSyncsByTheirTime) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto journal = Journal::open("/state", {}, process->environment());
  const StoreId store = journal->declareStore("s");
  const LogId log = journal->declareLog("l");
  const JournalMetrics before = journal->metrics();
  EXPECT_EQ(before.commitEntries.count(), 0U) << "what was declared is no commit";
  Commit commit;
  for (int i = 0; i < 5; ++i) commit.put(store, "k" + std::to_string(i), "v");
  commit.erase(store, "k0");
  commit.recordBuffer(log) += "record";
  commit.recordAdded(log, 0);
  (void)journal->commit(commit, Durability::Buffered);
  commit.reset();
  commit.put(store, "k", "v");
  (void)journal->commit(commit, Durability::Synced);
  const JournalMetrics after = journal->metrics();
  EXPECT_EQ(after.commitEntries.counts[3], 1U);
  EXPECT_EQ(after.commitEntries.counts[0], 1U);
  EXPECT_EQ(after.commitEntries.sum, 8U);
  EXPECT_EQ(after.frames, before.frames + 2);
  EXPECT_GT(after.bytesWritten, before.bytesWritten);
  EXPECT_EQ(after.syncMicros.count(), before.syncMicros.count() + 1);
  process->kill();
}

TEST(JournalMetricsTest, PrometheusTextIsWellFormed) {
  JournalMetrics metrics;
  metrics.tornTails = 7;
  metrics.syncMicros.counts[0] = 1;
  metrics.syncMicros.counts[20] = 2;  // up to 1.048576 s
  metrics.syncMicros.counts[Histogram::bucketCount - 1] = 1;
  metrics.syncMicros.sum = 2'500'000;
  const std::string text = toPrometheus(metrics, "directory=\"/a\"");
  EXPECT_THAT(text, HasSubstr("# TYPE penstock_state_torn_tails_total counter\n"
                              "penstock_state_torn_tails_total{directory=\"/a\"} 7\n"));
  const std::string bucket = "penstock_state_sync_seconds_bucket{directory=\"/a\",le=";
  EXPECT_THAT(text, HasSubstr(bucket + "\"1e-06\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"1.048576\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(bucket + "\"+Inf\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("penstock_state_sync_seconds_sum{directory=\"/a\"} 2.5\n"));
  EXPECT_THAT(text, HasSubstr("penstock_state_sync_seconds_count{directory=\"/a\"} 4\n"));
  EXPECT_THAT(toPrometheus(metrics, ""), HasSubstr("sync_seconds_bucket{le=\"1e-06\"} 1\n"));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(line.starts_with("# ") || line.starts_with("penstock_state_")) << line;
  }
}

}  // namespace
}  // namespace penstock::state
