// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/application_run.h"

#include <penstock/log.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "streams/runtime/plan.h"
#include "streams/runtime/stop_signals.h"
#include "streams/runtime/until_end.h"
#include "streams/runtime/worker.h"

namespace penstock::streams {
namespace {

using std::chrono::milliseconds;

// Within this a signal, or the end with untilEnd, is noticed.
constexpr milliseconds kWatch{20};
// A worker without work looks after ownership and metrics this often.
constexpr milliseconds kIdle{100};
// Going back to the last commit again and again: first after, and at most every.
constexpr milliseconds kBackOffMin{50};
constexpr milliseconds kBackOffMax{2000};

/// Whether going back to the last commit may help.
bool passing(const Error& error) {
  if (dynamic_cast<const state::JournalFailed*>(&error) != nullptr) return false;
  return error.code() == ErrorCode::Retry || error.code() == ErrorCode::RestartTask;
}

}  // namespace

struct ApplicationRun::State {
  std::optional<Topology> topology;
  ApplicationOptions options;
  std::shared_ptr<Backend> backend;
  ApplicationPlan plan;
  WorkerContext context;
  std::vector<std::shared_ptr<Worker>> workers;  // made by run before the threads start

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool began = false;          // guarded by mutex
  bool stopping = false;       // guarded by mutex; the threads read `stop`
  std::size_t working = 0;     // guarded by mutex
  std::exception_ptr failure;  // guarded by mutex; the first
  ApplicationMetrics ended;    // guarded by mutex; of workers that are gone
  std::atomic<bool> stop{false};

  void requestStop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      stop = true;
      for (const auto& worker : workers) worker->wakeup();
    }
    changed.notify_all();
  }
};

ApplicationRun::ApplicationRun(const ApplicationOptions& options)
    : state_(std::make_shared<State>()) {
  state_->options = options;
}

ApplicationRun::~ApplicationRun() = default;

void ApplicationRun::stop() { state_->requestStop(); }

ApplicationMetrics ApplicationRun::metrics() const {
  const std::lock_guard lock(state_->mutex);
  ApplicationMetrics sum = state_->ended;
  for (const auto& worker : state_->workers) sum += worker->metrics();
  return sum;
}

void ApplicationRun::work(const std::shared_ptr<State>& state, std::size_t number) {
  Worker& worker = *state->workers[number];
  milliseconds backOff = kBackOffMin;
  try {
    while (!state->stop) {
      try {
        worker.step(kIdle);
        backOff = kBackOffMin;
        continue;
      } catch (const Error& error) {
        if (!passing(error)) throw;
        log(LogLevel::Warning, "runtime", "worker goes back to its last commit",
            {{"application", state->plan.application},
             {"worker", std::to_string(number)},
             {"error", error.what()}});
      }
      worker.recover();
      std::unique_lock lock(state->mutex);
      state->changed.wait_for(lock, backOff, [&] { return state->stopping; });
      backOff = std::min(backOff * 2, kBackOffMax);
    }
    worker.finish();
  } catch (...) {
    const std::lock_guard lock(state->mutex);
    if (!state->failure) state->failure = std::current_exception();
    state->stopping = true;
    state->stop = true;
  }
  {
    const std::lock_guard lock(state->mutex);
    --state->working;
  }
  state->changed.notify_all();
}

void ApplicationRun::run(const detail::TopologyBuilder& builder) {
  State& state = *state_;
  checkOptions(state.options);
  {
    const std::lock_guard lock(state.mutex);
    if (std::exchange(state.began, true)) {
      throw ConfigurationError("application " + state.options.id +
                               ": run() was called before; make another Application");
    }
  }
  state.topology.emplace(state.options.id, builder);
  std::optional<StopSignals> signals;
  if (state.options.handleSignals) signals.emplace();
  state.plan = makePlan(*state.topology, state.options);
  state.backend = openBackend(state.options);
  state.backend->prepare(state.plan);
  std::optional<UntilEnd> untilEnd;
  if (state.options.untilEnd) untilEnd.emplace(state.plan, *state.backend);
  state.context = {&*state.topology, &state.plan, &state.options, state.backend.get(),
                   state::Environment::real().clock};
  const auto count = static_cast<std::size_t>(state.options.workers);
  {
    const std::lock_guard lock(state.mutex);
    for (std::size_t i = 0; i < count; ++i) {
      state.workers.push_back(std::make_shared<Worker>(state.context, i));
    }
    state.working = count;
  }
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([shared = state_, i] { work(shared, i); });
  }

  {
    std::unique_lock lock(state.mutex);
    while (!state.stopping) {
      state.changed.wait_for(lock, kWatch, [&] { return state.stopping; });
      if (state.stopping) break;
      lock.unlock();
      const bool done = (signals && signals->received() != 0) || (untilEnd && untilEnd->reached());
      lock.lock();
      if (done) break;
    }
  }
  state.requestStop();
  std::unique_lock lock(state.mutex);
  const bool ended =
      state.changed.wait_for(lock, state.options.stopTimeout, [&] { return state.working == 0; });
  lock.unlock();
  if (!ended) {
    for (std::thread& thread : threads) thread.detach();
    throw Error(ErrorCode::Retry,
                "application " + state.options.id + " did not stop within " +
                    std::to_string(state.options.stopTimeout.count()) +
                    " ms: a worker is still in a function of the program or in a call of the "
                    "system. What it has not committed is processed again at the next start");
  }
  for (std::thread& thread : threads) thread.join();
  lock.lock();
  for (const auto& worker : state.workers) state.ended += worker->metrics();
  state.ended.tasks = 0;
  state.workers.clear();  // a worker that failed still holds its claims
  if (state.failure) std::rethrow_exception(state.failure);
}

}  // namespace penstock::streams
