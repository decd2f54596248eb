// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/stop_signals.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>

namespace penstock::streams {
namespace {

constexpr std::array<int, 2> kSignals{SIGTERM, SIGINT};

// Only lock-free atomics may be touched by a handler.
std::atomic<int> count{0};
std::atomic<int> last{0};
static_assert(std::atomic<int>::is_always_lock_free);

std::mutex mutex;  // guards what follows
int users = 0;
std::array<struct sigaction, kSignals.size()> before;

void handle(int signal) {
  last.store(signal);
  count.fetch_add(1);
  // sigaction is safe in a handler; `before` does not change while the handler is installed
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] == signal) ::sigaction(signal, &before[i], nullptr);
  }
}

}  // namespace

StopSignals::StopSignals() {
  const std::lock_guard lock(mutex);
  seen_ = count.load();
  if (users++ > 0) return;
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before[i]);
    ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  const std::lock_guard lock(mutex);
  if (--users > 0) return;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], &before[i], nullptr);
  }
}

int StopSignals::received() const noexcept { return count.load() == seen_ ? 0 : last.load(); }

}  // namespace penstock::streams
