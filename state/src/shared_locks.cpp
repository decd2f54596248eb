// SPDX-License-Identifier: Apache-2.0
#include "shared_locks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "penstock/state/errors.h"
#include "penstock/state/shared_state.h"

namespace penstock::state {

namespace {

#ifdef NDEBUG
constexpr bool orderIsChecked = false;
#else
constexpr bool orderIsChecked = true;
#endif

}  // namespace

struct SharedLocks::Held {
  Held(std::shared_ptr<SharedLocks> in, std::string lock, std::thread::id by)
      : locks(std::move(in)), name(std::move(lock)), owner(by) {}
  ~Held() {
    if (taken) locks->release(name, owner);
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const std::shared_ptr<SharedLocks> locks;
  const std::string name;
  const std::thread::id owner;
  bool taken = false;
};

SharedLocks::Deadline SharedLocks::deadlineOf(std::chrono::milliseconds atMost) {
  if (atMost > std::chrono::years(100)) return std::nullopt;  // `forever`, and what would overflow
  return std::chrono::steady_clock::now() + atMost;
}

// False: the deadline passed before `ready()`.
template <typename Ready>
bool SharedLocks::waitFor(std::unique_lock<std::mutex>& lock, const Deadline& deadline,
                          Ready&& ready) {
  const auto done = [&] { return closed_ || ready(); };
  if (!deadline) {
    changed_.wait(lock, done);
  } else if (!changed_.wait_until(lock, *deadline, done)) {
    return false;
  }
  if (closed_) throw Closed("shared state: it was closed");
  return true;
}

void SharedLocks::create(std::string_view name, bool mayBeThere) {
  const std::lock_guard guard(mutex_);
  if (locks_.try_emplace(std::string(name)).second || mayBeThere) return;
  throw InvalidArgument(fmt::format(
      "shared state: the lock {:?} is there already; findOrCreateLock takes it as it is", name));
}

std::shared_ptr<void> SharedLocks::acquire(std::string_view name,
                                           std::chrono::milliseconds atMost) {
  const Deadline deadline = deadlineOf(atMost);
  const std::thread::id self = std::this_thread::get_id();
  std::unique_lock guard(mutex_);
  const auto found = locks_.find(name);
  if (found == locks_.end()) {
    throw InvalidArgument(
        fmt::format("shared state: there is no lock {:?}; create it with createLock", name));
  }
  auto& [key, lock] = *found;
  const auto before = holders_.find(self);
  const bool holdsOne = before != holders_.end();
  if (orderIsChecked && holdsOne) checkOrder(key, before->second);
  const std::uint64_t ticket = nextTicket_++;
  const bool got = waitFor(guard, deadline, [&] {
    return (lock.depth == 0 || lock.owner == self) && !snapshotRuns_ &&
           (holdsOne || pending_.empty() || *pending_.begin() > ticket);
  });
  if (!got) {
    throw LockTimeout(
        fmt::format("shared state: the lock {:?} was not free within {} ms", name, atMost.count()));
  }
  auto held = std::make_shared<Held>(shared_from_this(), key, self);
  if (lock.depth == 0) {
    Holder& holder = holders_[self];
    holder.held.push_back(key);
    lock.owner = self;
  }
  ++lock.depth;
  held->taken = true;
  return held;
}

void SharedLocks::release(const std::string& name, std::thread::id owner) {
  const std::lock_guard guard(mutex_);
  Lock& lock = locks_.find(name)->second;
  if (--lock.depth != 0) return;
  const auto holder = holders_.find(owner);
  std::erase(holder->second.held, name);
  if (holder->second.held.empty() && holder->second.resting == 0) holders_.erase(holder);
  changed_.notify_all();
}

std::vector<std::string> SharedLocks::heldByOthers(std::thread::id self) const {
  std::vector<std::string> names;
  for (const auto& [thread, holder] : holders_) {
    if (thread == self || holder.resting != 0) continue;
    names.insert(names.end(), holder.held.begin(), holder.held.end());
  }
  return names;
}

SharedLocks::Rest::Rest(SharedLocks& locks) : locks_(locks), self_(std::this_thread::get_id()) {
  const std::lock_guard guard(locks_.mutex_);
  ++locks_.holders_[self_].resting;
  locks_.changed_.notify_all();
}

SharedLocks::Rest::~Rest() {
  const std::lock_guard guard(locks_.mutex_);
  const auto holder = locks_.holders_.find(self_);
  if (--holder->second.resting == 0 && holder->second.held.empty()) locks_.holders_.erase(holder);
}

void SharedLocks::exclusively(std::chrono::milliseconds atMost, const std::function<void()>& call) {
  const Deadline deadline = deadlineOf(atMost);
  const std::thread::id self = std::this_thread::get_id();
  const Rest rest(*this);
  {
    std::unique_lock guard(mutex_);
    const std::uint64_t ticket = nextTicket_++;
    const auto leave = [&] {
      pending_.erase(ticket);
      changed_.notify_all();
    };
    try {
      pending_.insert(ticket);
      if (!waitFor(guard, deadline, [&] { return !snapshotRuns_ && heldByOthers(self).empty(); })) {
        throw LockTimeout(fmt::format(
            "shared state: for {} ms other snapshots ran, or other threads held the locks [{}]",
            atMost.count(), fmt::join(heldByOthers(self), ", ")));
      }
    } catch (...) {
      leave();
      throw;
    }
    leave();
    snapshotRuns_ = true;
  }
  const auto end = [&] {
    const std::lock_guard guard(mutex_);
    snapshotRuns_ = false;
    changed_.notify_all();
  };
  try {
    call();
  } catch (...) {
    end();
    throw;
  }
  end();
}

void SharedLocks::close() {
  const std::lock_guard guard(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void SharedLocks::checkOrder(const std::string& name, const Holder& holder) {
  if (std::find(holder.held.begin(), holder.held.end(), name) != holder.held.end()) return;
  for (const std::string& held : holder.held) {
    if (comesBefore(name, held)) {
      throw LockOrder(fmt::format(
          "shared state: the lock {:?} is asked for by a thread that holds {:?}, and was held by "
          "one that asked for {:?}: the two could wait for each other for ever; take them in one "
          "order everywhere",
          name, held, held));
    }
  }
  for (const std::string& held : holder.held) after_[held].insert(name);
}

// Whether some chain of threads held `earlier`, or what was taken behind it, when `later` was
// taken.
bool SharedLocks::comesBefore(const std::string& earlier, const std::string& later) const {
  std::set<std::string> seen;
  std::vector<std::string> next{earlier};
  while (!next.empty()) {
    const std::string name = std::move(next.back());
    next.pop_back();
    const auto found = after_.find(name);
    if (found == after_.end()) continue;
    for (const std::string& follower : found->second) {
      if (follower == later) return true;
      if (seen.insert(follower).second) next.push_back(follower);
    }
  }
  return false;
}

}  // namespace penstock::state
