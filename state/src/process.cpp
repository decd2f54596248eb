// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <pthread.h>

#include <atomic>
#include <new>

#include "lock_registry.h"

namespace penstock::state {
namespace {

std::atomic<std::uint32_t> generation{0};

// Between prepare and the end of the fork the registry's mutex is held, so the child finds a
// consistent list. What runs in the child is async-signal-safe: close, stores, the unlock of a
// mutex that this very thread locked.
void prepareFork() { LockRegistry::instance().lock(); }

void afterForkInParent() { LockRegistry::instance().unlock(); }

void afterForkInChild() {
  generation.fetch_add(1, std::memory_order_relaxed);
  LockRegistry::instance().closeAll();
  LockRegistry::instance().unlock();
}

}  // namespace

std::uint32_t processGeneration() noexcept { return generation.load(std::memory_order_relaxed); }

void registerForkHandlers() {
  static const bool registered = [] {
    LockRegistry::instance();  // built before the first fork can need it
    if (::pthread_atfork(prepareFork, afterForkInParent, afterForkInChild) != 0) {
      throw std::bad_alloc();
    }
    return true;
  }();
  static_cast<void>(registered);
}

}  // namespace penstock::state
