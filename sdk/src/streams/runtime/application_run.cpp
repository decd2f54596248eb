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

std::string textOf(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

}  // namespace

struct ApplicationRun::State {
  std::optional<Topology> topology;
  ApplicationOptions options;
  std::shared_ptr<Backend> backend;
  ApplicationPlan plan;
  std::optional<UntilEnd> untilEnd;
  WorkerContext context;
  std::vector<std::shared_ptr<Worker>> workers;  // made by run before the threads start

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool began = false;          // guarded by mutex
  bool prepared = false;       // guarded by mutex; or failed to be
  bool stopping = false;       // guarded by mutex; the threads read `stop`
  std::size_t working = 0;     // guarded by mutex; threads that have not ended
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
  /// The exception being handled ends the run. All are logged: run() may be long in coming back,
  /// and throws the first only.
  void fail(const std::string& where) {
    const std::exception_ptr error = std::current_exception();
    log(LogLevel::Error, "runtime", where + " failed",
        {{"application", options.id}, {"error", textOf(error)}});
    {
      const std::lock_guard lock(mutex);
      if (!failure) failure = error;
    }
    requestStop();
  }
};

ApplicationRun::ApplicationRun(const ApplicationOptions& options, std::shared_ptr<Backend> backend)
    : state_(std::make_shared<State>()) {
  state_->options = options;
  state_->backend = std::move(backend);
}

ApplicationRun::~ApplicationRun() = default;

void ApplicationRun::stop() { state_->requestStop(); }

ApplicationMetrics ApplicationRun::metrics() const {
  const std::lock_guard lock(state_->mutex);
  ApplicationMetrics sum = state_->ended;
  for (const auto& worker : state_->workers) sum += worker->metrics();
  if (state_->prepared && state_->backend) sum.journal = state_->backend->journalMetrics();
  return sum;
}

void ApplicationRun::work(const std::shared_ptr<State>& state, std::size_t number) {
  Worker& worker = *state->workers[number];
  milliseconds backOff = kBackOffMin;
  std::uint64_t commits = 0;
  bool behind = false;  // has to go back to its last commit
  // False when it failed in a way that may pass.
  const auto attempt = [&](const auto& call) {
    try {
      call();
      return true;
    } catch (const Error& error) {
      if (!passing(error)) throw;
      log(LogLevel::Warning, "runtime", "worker goes back to its last commit",
          {{"application", state->plan.application},
           {"worker", std::to_string(number)},
           {"error", error.what()}});
      return false;
    }
  };
  try {
    while (!state->stop) {
      if (!behind && attempt([&] { worker.step(kIdle); })) {
        // Steps between two attempts to commit prove nothing: a disk may be full all the while.
        if (std::exchange(commits, worker.commits()) != worker.commits()) backOff = kBackOffMin;
        continue;
      }
      behind = !attempt([&] { worker.recover(); });
      std::unique_lock lock(state->mutex);
      state->changed.wait_for(lock, backOff, [&] { return state->stopping; });
      backOff = std::min(backOff * 2, kBackOffMax);
    }
    if (behind) worker.recover();  // what it holds must not be committed
    worker.finish();
  } catch (...) {
    state->fail("worker " + std::to_string(number));
  }
  {
    const std::lock_guard lock(state->mutex);
    --state->working;
  }
  state->changed.notify_all();
}

/// False when a stop came meanwhile: there is no worker. The thread may go on for a while when a
/// broker does not answer.
bool ApplicationRun::prepare(const StopSignals* signals) {
  State& state = *state_;
  // On a thread of its own, so that a signal is seen while a broker is waited for.
  std::thread preparing([shared = state_] {
    State& mine = *shared;
    state::Clock* const clock = state::Environment::real().clock;
    try {
      mine.plan = makePlan(*mine.topology, mine.options);
      if (!mine.backend && !mine.stop) mine.backend = openBackend(mine.options);
      if (mine.backend && !mine.stop) mine.backend->prepare(mine.plan);
      if (mine.stop) throw Error(ErrorCode::Retry, "stopped while it was starting");
      if (mine.options.untilEnd) mine.untilEnd.emplace(mine.plan, *mine.backend, *clock);
      mine.context = {&*mine.topology,    &mine.plan, &mine.options,
                      mine.backend.get(), clock,      &mine.stop};
    } catch (...) {
      const std::lock_guard lock(mine.mutex);
      mine.failure = std::current_exception();
    }
    const std::lock_guard lock(mine.mutex);
    mine.prepared = true;
    mine.changed.notify_all();
  });
  const auto stopped = [&] {
    return state.stopping || (signals != nullptr && signals->received() != 0);
  };
  std::unique_lock lock(state.mutex);
  while (!stopped() && !state.changed.wait_for(lock, kWatch, [&] { return state.prepared; })) {
  }
  const bool stop = stopped();
  if (stop) state.stop = true;  // the thread begins nothing more
  if (!state.changed.wait_for(lock, state.options.stopTimeout, [&] { return state.prepared; })) {
    lock.unlock();
    preparing.detach();
    log(LogLevel::Warning, "runtime", "stopped while its start was in a call of the system",
        {{"application", state.options.id}});
    return false;
  }
  lock.unlock();
  preparing.join();
  if (stop) return false;
  if (state.failure) std::rethrow_exception(state.failure);
  return true;
}

void ApplicationRun::startWorkers(std::vector<std::thread>& threads) {
  State& state = *state_;
  const auto count = static_cast<std::size_t>(state.options.workers);
  for (std::size_t i = 0; i < count; ++i) {
    auto worker = std::make_shared<Worker>(state.context, i);
    const std::lock_guard lock(state.mutex);
    state.workers.push_back(std::move(worker));
  }
  threads.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::lock_guard lock(state.mutex);  // it cannot end before it is counted
    threads.emplace_back([shared = state_, i] { work(shared, i); });
    ++state.working;
  }
}

void ApplicationRun::waitForEnd(const StopSignals* signals) {
  State& state = *state_;
  bool warned = false;
  const auto reached = [&] {
    try {
      return state.untilEnd && state.untilEnd->reached();
    } catch (const state::OwnedElsewhere&) {
      throw;  // it has waited long enough
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Retry) throw;
      if (!std::exchange(warned, true)) {
        log(LogLevel::Warning, "runtime", "cannot see whether the end is reached; trying on",
            {{"application", state.options.id}, {"error", error.what()}});
      }
      return false;
    }
  };
  std::unique_lock lock(state.mutex);
  while (!state.changed.wait_for(lock, kWatch, [&] { return state.stopping; })) {
    lock.unlock();
    const bool done = (signals != nullptr && signals->received() != 0) || reached();
    lock.lock();
    if (done) return;
  }
}

void ApplicationRun::throwStuck() const {
  const State& state = *state_;
  const std::string message =
      "application " + state.options.id + " did not stop within " +
      std::to_string(state.options.stopTimeout.count()) +
      " ms: a worker is still in a function of the program or in a call of the system. What is "
      "not committed is processed again at the next start";
  const std::lock_guard lock(state.mutex);
  if (!state.failure) throw Error(ErrorCode::Retry, message);
  const std::string why = "; it was to stop because of: " + textOf(state.failure);
  try {  // as the failure alone would be: the same code, the same exit code
    std::rethrow_exception(state.failure);
  } catch (const state::JournalFailed&) {
    std::throw_with_nested(state::JournalFailed(message + why));
  } catch (const Error& error) {
    std::throw_with_nested(Error(error.code(), message + why));
  } catch (...) {
    std::throw_with_nested(Error(ErrorCode::ReportBug, message + why));
  }
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
  if (!prepare(signals ? &*signals : nullptr)) return;

  // From here on workers and threads are ended whatever happens.
  std::vector<std::thread> threads;
  try {
    startWorkers(threads);
    waitForEnd(signals ? &*signals : nullptr);
  } catch (...) {
    state.fail("application");
  }
  state.requestStop();
  std::unique_lock lock(state.mutex);
  const bool ended =
      state.changed.wait_for(lock, state.options.stopTimeout, [&] { return state.working == 0; });
  lock.unlock();
  if (!ended) {
    for (std::thread& thread : threads) thread.detach();
    throwStuck();
  }
  for (std::thread& thread : threads) thread.join();
  lock.lock();
  for (const auto& worker : state.workers) state.ended += worker->metrics();
  state.ended.tasks = 0;
  state.workers.clear();  // a worker that failed still holds its claims
  if (state.failure) std::rethrow_exception(state.failure);
}

}  // namespace penstock::streams
