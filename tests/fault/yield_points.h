// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>

#include "fault/guarded_files.h"

namespace penstock::fault {

/// Stops each of two threads at a place of the test's choice: before or behind a call that changes
/// files, the only places where the order of two is seen from outside. One at a time is alive.
///
/// Threads: safe from any thread.
class YieldPoints {
 public:
  enum Actor : std::size_t { First, Second, None };
  static constexpr std::chrono::seconds kHangs{60};

  YieldPoints() { current() = this; }
  ~YieldPoints() { current() = nullptr; }
  YieldPoints(const YieldPoints&) = delete;
  YieldPoints& operator=(const YieldPoints&) = delete;

  /// This thread is the actor from now on. Threads that say nothing pass all points, or are all
  /// the first one when `everybodyIsFirst`.
  static void become(Actor actor) { self() = actor; }
  void everybodyIsFirst() { everybodyIsFirst_ = true; }
  /// At the n-th point from now (1: the next).
  void stopAt(Actor actor, int nth) {
    const std::lock_guard guard(mutex_);
    actors_[actor].left = nth;
  }
  void end(Actor actor) {
    const std::lock_guard guard(mutex_);
    actors_[actor].ended = true;
    moved_.notify_all();
  }
  /// False: it is neither stopped nor at its end after this time, so it waits for the other one.
  bool settle(Actor actor, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    return moved_.wait_for(lock, timeout,
                           [&] { return actors_[actor].stopped || actors_[actor].ended; });
  }
  [[nodiscard]] bool ended(Actor actor) const {
    const std::lock_guard guard(mutex_);
    return actors_[actor].ended;
  }
  [[nodiscard]] bool stopped(Actor actor) const {
    const std::lock_guard guard(mutex_);
    return actors_[actor].stopped;
  }
  /// It goes on, and stops no more.
  void letGo(Actor actor) {
    const std::lock_guard guard(mutex_);
    actors_[actor].left = 0;
    actors_[actor].stopped = false;
    moved_.notify_all();
  }

  /// Around a call of the seam.
  struct Call {
    explicit Call(testsupport::SimCall call) : changes(changesFiles(call)) { pass(); }
    ~Call() { pass(); }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    void pass() const {
      if (changes && current() != nullptr) current()->passOne();
    }
    const bool changes;
  };

 private:
  struct State {
    int left = 0;  // points until the one to stop at; 0: at none
    bool stopped = false;
    bool ended = false;
  };

  static YieldPoints*& current() {
    static YieldPoints* one = nullptr;
    return one;
  }
  static Actor& self() {
    thread_local Actor actor = None;
    return actor;
  }
  static bool changesFiles(testsupport::SimCall call) {
    using testsupport::SimCall;
    return call == SimCall::Open || call == SimCall::Write || call == SimCall::Truncate ||
           call == SimCall::Allocate || call == SimCall::Sync || call == SimCall::Rename ||
           call == SimCall::Remove || call == SimCall::SyncDirectory;
  }
  void passOne() {
    std::unique_lock lock(mutex_);
    const Actor actor = self() == None && everybodyIsFirst_ ? First : self();
    if (actor == None) return;
    State& state = actors_[actor];
    if (state.left == 0 || --state.left != 0) return;
    state.stopped = true;
    moved_.notify_all();
    moved_.wait(lock, [&] { return !state.stopped; });
  }

  mutable std::mutex mutex_;
  std::condition_variable moved_;
  std::array<State, 2> actors_;
  bool everybodyIsFirst_ = false;
};

}  // namespace penstock::fault
