// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application_metrics.h>

#include <sstream>

namespace penstock {
namespace {

using ::testing::HasSubstr;

TEST(ApplicationMetricsTest, PrometheusTextHasEveryFigure) {
  ApplicationMetrics metrics;
  metrics.recordsIn = 11;
  metrics.recordsOut = 12;
  metrics.commits = 3;
  metrics.commitMicros = 1'500'000;
  metrics.commitsByMs[0] = 2;
  metrics.commitsByMs.back() = 1;
  metrics.skipped = 13;
  metrics.deadLettered = 14;
  metrics.tasksAssigned = 15;
  metrics.restarts = 16;
  metrics.tasks = 17;
  metrics.lag = 18;
  metrics.journal.frames = 19;
  const std::string text = toPrometheus(metrics, "a\"b\\c\nd");
  const std::string label = R"({application="a\"b\\c\nd"} )";
  EXPECT_THAT(text, HasSubstr("penstock_records_in_total" + label + "11\n"));
  EXPECT_THAT(text, HasSubstr("penstock_records_out_total" + label + "12\n"));
  EXPECT_THAT(text, HasSubstr("penstock_skipped_total" + label + "13\n"));
  EXPECT_THAT(text, HasSubstr("penstock_dead_lettered_total" + label + "14\n"));
  EXPECT_THAT(text, HasSubstr("penstock_tasks_assigned_total" + label + "15\n"));
  EXPECT_THAT(text, HasSubstr("penstock_worker_restarts_total" + label + "16\n"));
  EXPECT_THAT(text, HasSubstr("penstock_tasks" + label + "17\n"));
  EXPECT_THAT(text, HasSubstr("penstock_lag_records" + label + "18\n"));
  EXPECT_THAT(text, HasSubstr("penstock_state_frames_total" + label + "19\n"));
  EXPECT_THAT(text, HasSubstr("le=\"0.001\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("le=\"5\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("penstock_commit_seconds_sum" + label + "1.5\n"));
  EXPECT_THAT(text, HasSubstr("penstock_commit_seconds_count" + label + "3\n"));
}

TEST(ApplicationMetricsTest, EveryLineIsACommentOrASample) {
  std::istringstream lines(toPrometheus({}, "a"));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(line.starts_with("# ") || line.starts_with("penstock_")) << line;
  }
}

TEST(ApplicationMetricsTest, FiguresOfWorkersAddUp) {
  ApplicationMetrics sum;
  ApplicationMetrics one;
  one.recordsIn = 1;
  one.commitsByMs[3] = 2;
  one.lag = 4;
  sum += one;
  sum += one;
  EXPECT_EQ(sum.recordsIn, 2U);
  EXPECT_EQ(sum.commitsByMs[3], 4U);
  EXPECT_EQ(sum.lag, 8);
}

}  // namespace
}  // namespace penstock
