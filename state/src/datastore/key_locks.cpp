// SPDX-License-Identifier: Apache-2.0

// Two layers. Threads of this process queue for a key in memory; who is at the head of the queue
// competes with other processes for two bytes of the lock file, neither of which needs to exist:
//
//   byte N           the lock itself, N being the key's number (62 bits)
//   byte N + 2^62    the turn: held while waiting for byte N, and by nobody else
//
// 1. Byte locks of one open file do not exclude each other, so at most one thread of a process asks
//    for a number's bytes: the one that holds it in memory.
// 2. The kernel has no byte lock that waits until a deadline, so waiters look again and again.
//    Without the turn, a process that lets go and asks again at once would nearly always win
//    against one that looks now and then; with it, whoever waits is next.
#include "datastore/key_locks.h"

#include <fmt/format.h>
#include <penstock/state/errors.h>

#include <algorithm>

#include "frame.h"
#include "io_errors.h"
#include "storage_path.h"

namespace penstock::state::datastore {

namespace {

constexpr std::uint64_t turnOffset = std::uint64_t{1} << 62;

// Between two looks at a byte, doubling from the first to the last: a lock is most often held for
// the time of one sync of the disk.
constexpr std::chrono::microseconds firstPause{50};
constexpr std::chrono::microseconds lastPause{2000};

}  // namespace

FileInfo infoOf(const std::string& path, FileSystem& files) {
  auto info = files.info(path);
  throwUnlessOk(info, "looking at", path);
  return std::move(info.value);
}

void checkSameFile(const std::string& path, FileSystem& files, const FileInfo& opened) {
  const FileInfo now = infoOf(path, files);
  if (now.exists && now.device == opened.device && now.inode == opened.inode) return;
  throw SourceChanged(fmt::format(
      "{}: was {} while this Datastore had it open, so that others would not see what it does; "
      "nothing was changed. Open the Datastore again",
      path, now.exists ? "replaced by another file" : "removed"));
}

KeyLocks::KeyLocks(std::string path, FileSystem& files) : path_(std::move(path)), files_(&files) {
  auto opened = files.open(path_, OpenMode::ReadWriteCreate);
  throwUnlessOk(opened, "opening", path_);
  file_ = std::move(opened.value);
  opened_ = infoOf(path_, files);
}

std::uint64_t KeyLocks::numberOf(std::string_view key) noexcept { return hash64(key) % turnOffset; }

void KeyLocks::throwTimeout(std::string_view key) {
  throw LockTimeout(fmt::format(
      "the lock of key {} was not to be had within the lock timeout: somebody else updates the key "
      "for as long; try again, or give DatastoreOptions::lockTimeout more",
      shownKey(key)));
}

KeyLocks::Hold KeyLocks::acquire(std::string_view key, Deadline deadline) {
  const std::uint64_t number = numberOf(key);
  acquireHere(number, key, deadline);
  if (file_) {
    try {
      acquireByte(number, key, deadline);
    } catch (...) {
      releaseHere(number);
      throw;
    }
  }
  return {*this, number};
}

void KeyLocks::release(std::uint64_t number) {
  // A byte that could not be unlocked (a closed file) is nobody's hindrance: this process is the
  // child of a fork, whose copy of the file is closed.
  if (file_) (void)file_->unlockByte(number);
  releaseHere(number);
}

void KeyLocks::acquireHere(std::uint64_t number, std::string_view key, Deadline deadline) {
  const auto self = std::this_thread::get_id();
  std::unique_lock guard(mutex_);
  const auto [at, fresh] = locks_.try_emplace(number);
  Lock& lock = at->second;
  if (fresh) {
    lock.owner = self;
    return;
  }
  if (lock.owner == self) {
    throw NestedUpdate(fmt::format(
        "key {} is being updated by this very thread: an updater may not set, update or remove the "
        "key it is called for; return the new value instead",
        shownKey(key)));
  }
  Waiter waiter{self, {}};
  const auto place = lock.waiters.insert(lock.waiters.end(), &waiter);
  // `lock` stays: it is erased only when nobody waits
  if (!waiter.turn.wait_until(guard, deadline, [&] { return lock.owner == self; })) {
    lock.waiters.erase(place);
    throwTimeout(key);
  }
}

void KeyLocks::releaseHere(std::uint64_t number) {
  const std::lock_guard guard(mutex_);
  const auto at = locks_.find(number);
  Lock& lock = at->second;
  if (lock.waiters.empty()) {
    locks_.erase(at);
    return;
  }
  Waiter* next = lock.waiters.front();
  lock.waiters.pop_front();
  lock.owner = next->thread;
  next->turn.notify_one();
}

void KeyLocks::acquireByte(std::uint64_t number, std::string_view key, Deadline deadline) {
  awaitByte(number + turnOffset, key, deadline);
  struct Turn {
    File& file;
    std::uint64_t offset;
    ~Turn() { (void)file.unlockByte(offset); }
  } const turn{*file_, number + turnOffset};
  awaitByte(number, key, deadline);
  try {
    checkSameFile(path_, *files_, opened_);
  } catch (...) {
    (void)file_->unlockByte(number);
    throw;
  }
}

void KeyLocks::awaitByte(std::uint64_t offset, std::string_view key, Deadline deadline) {
  for (auto pause = firstPause;; pause = std::min(2 * pause, lastPause)) {
    const auto locked = file_->tryLockByte(offset);
    throwUnlessOk(locked, "locking a key in", path_);
    if (locked.value) return;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) throwTimeout(key);
    std::this_thread::sleep_until(std::min<Deadline>(deadline, now + pause));
  }
}

}  // namespace penstock::state::datastore
