// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <penstock/application_metrics.h>
#include <iterator>

namespace penstock {
namespace {

/// Label values escape these three (Prometheus text format 0.0.4).
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\n') {
      result += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace

ApplicationMetrics& ApplicationMetrics::operator+=(const ApplicationMetrics& other) {
  recordsIn += other.recordsIn;
  recordsOut += other.recordsOut;
  commits += other.commits;
  commitMicros += other.commitMicros;
  for (std::size_t i = 0; i < commitsByMs.size(); ++i) commitsByMs[i] += other.commitsByMs[i];
  skipped += other.skipped;
  deadLettered += other.deadLettered;
  tasksAssigned += other.tasksAssigned;
  restarts += other.restarts;
  tasks += other.tasks;
  lag += other.lag;
  return *this;
}

std::string toPrometheus(const ApplicationMetrics& metrics, std::string_view application) {
  const std::string label = "application=\"" + escaped(application) + "\"";
  std::string text;
  auto out = std::back_inserter(text);
  const auto family = [&](std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(out, "# HELP penstock_{0} {2}\n# TYPE penstock_{0} {1}\n", name, type, help);
  };
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help,
                          auto value) {
    family(name, type, help);
    fmt::format_to(out, "penstock_{}{{{}}} {}\n", name, label, value);
  };
  single("records_in_total", "counter", "Records taken from topics.", metrics.recordsIn);
  single("records_out_total", "counter", "Records written to topics.", metrics.recordsOut);
  single("skipped_total", "counter", "Records passed over by the error policy.", metrics.skipped);
  single("dead_lettered_total", "counter", "Records written to the dead-letter topic.",
         metrics.deadLettered);
  single("tasks_assigned_total", "counter", "Tasks whose state was brought up.",
         metrics.tasksAssigned);
  single("worker_restarts_total", "counter", "Times a worker went back to its last commit.",
         metrics.restarts);
  single("tasks", "gauge", "Tasks owned now.", metrics.tasks);
  single("lag_records", "gauge", "Records between positions and ends of owned inputs.",
         metrics.lag);

  family("commit_seconds", "histogram", "Time from a commit's start until it stood.");
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < metrics.commitsByMs.size(); ++i) {
    below += metrics.commitsByMs[i];
    const bool last = i == ApplicationMetrics::commitBucketsMs.size();
    fmt::format_to(
        out, "penstock_commit_seconds_bucket{{{},le=\"{}\"}} {}\n", label,
        last
            ? "+Inf"
            : fmt::format("{}", static_cast<double>(ApplicationMetrics::commitBucketsMs[i]) / 1000),
        below);
  }
  fmt::format_to(out, "penstock_commit_seconds_sum{{{}}} {}\n", label,
                 static_cast<double>(metrics.commitMicros) / 1e6);
  fmt::format_to(out, "penstock_commit_seconds_count{{{}}} {}\n", label, metrics.commits);
  return text + state::toPrometheus(metrics.journal, label);
}

}  // namespace penstock
