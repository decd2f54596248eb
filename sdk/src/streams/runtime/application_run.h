// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_metrics.h>
#include <penstock/application_options.h>
#include <penstock/detail/topology_builder.h>
#include <memory>

#include "streams/runtime/backend.h"

namespace penstock::streams {

/// Runs an application: prepares the backend, starts the workers, ends them.
///
/// Threads: `run` once, from one thread; `stop` and `metrics` are safe from any thread.
/// Errors: what a worker ended with, the first of them; Error(Retry) when workers do not stop
/// within stopTimeout.
class ApplicationRun {
 public:
  explicit ApplicationRun(const ApplicationOptions& options);
  ~ApplicationRun();
  ApplicationRun(const ApplicationRun&) = delete;
  ApplicationRun& operator=(const ApplicationRun&) = delete;

  void run(const detail::TopologyBuilder& builder);
  void stop();
  [[nodiscard]] ApplicationMetrics metrics() const;

 private:
  struct State;  // outlives this when a worker does not stop in time
  static void work(const std::shared_ptr<State>& state, std::size_t number);

  std::shared_ptr<State> state_;
};

/// The backend of the options' broker. Implemented for Kafka in sdk/src/kafka.
std::shared_ptr<Backend> openBackend(const ApplicationOptions& options);

}  // namespace penstock::streams
