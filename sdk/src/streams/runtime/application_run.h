// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_metrics.h>
#include <penstock/application_options.h>
#include <penstock/detail/topology_builder.h>
#include <memory>
#include <thread>
#include <vector>

#include "streams/runtime/backend.h"

namespace penstock::streams {

class StopSignals;

/// Runs an application: prepares the backend, starts the workers, ends them.
///
/// Threads: `run` once, from one thread; `stop` and `metrics` are safe from any thread.
/// A stop that comes while the backend is prepared, which may wait for a broker, is obeyed then.
/// Errors: what preparing, a worker, or watching for the end, failed with: the first is thrown
/// when all workers have ended, all are logged. When workers do not stop within stopTimeout:
/// Error(Retry), or that first failure with its code, nested in one that says so.
class ApplicationRun {
 public:
  /// `backend`: null for that of the options' broker.
  explicit ApplicationRun(const ApplicationOptions& options,
                          std::shared_ptr<Backend> backend = nullptr);
  ~ApplicationRun();
  ApplicationRun(const ApplicationRun&) = delete;
  ApplicationRun& operator=(const ApplicationRun&) = delete;

  void run(const detail::TopologyBuilder& builder);
  void stop();
  [[nodiscard]] ApplicationMetrics metrics() const;

 private:
  struct State;  // outlives this when a worker does not stop in time
  static void work(const std::shared_ptr<State>& state, std::size_t number);
  bool prepare(const StopSignals* signals);
  void startWorkers(std::vector<std::thread>& threads);
  void waitForEnd(const StopSignals* signals);
  [[noreturn]] void throwStuck() const;

  std::shared_ptr<State> state_;
};

/// The backend of the options' broker. Implemented for Kafka in sdk/src/kafka.
std::shared_ptr<Backend> openBackend(const ApplicationOptions& options);

}  // namespace penstock::streams
