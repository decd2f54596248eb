// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kafka/kafka_settings.h"
#include "streams/runtime/backend.h"
#include "streams/runtime/kafka_position.h"
#include "streams/runtime/kafka_task_store.h"

namespace penstock::streams {

/// A task whose stores are to stand at a commit.
struct RestoreTask {
  struct Store {
    state::StoreId id;
    Changelog changelog;
    Offset from;                 // what is stored stands there
    Offset to;                   // the commit ended there
    std::set<std::string> torn;  // found: keys, as stored, of records behind the commit
  };
  TaskId id;
  std::string name;  // for messages
  std::string key;   // of its LocalPosition, in the group's store
  const state::Claim* claim = nullptr;
  bool fresh = false;  // nothing is committed yet: its changelogs must be empty
  LocalPosition target;
  std::int64_t wallMs = 0;    // LocalPosition::wallMs until it is done
  std::vector<Store> stores;  // by name
};

/// Brings stores of tasks to what their changelogs held when a commit ended, in the background.
///
/// Records of committed transactions up to the recorded end are applied; a dead owner's open
/// transaction hides them until it times out, which is waited for. Records behind it, of whatever
/// transaction, are not: no commit knows of them, be it that theirs was taken back, or that an end
/// of transaction came twice and tore it from its positions. Their keys are collected, because
/// the first commit has to write them again: the changelog would keep the wrong value for good.
///
/// How far it has come is stored with what was applied: who comes next goes on from there.
///
/// Threads: owned by the worker's thread; works in one of its own.
/// Errors, from takeDone: RestoreState when a changelog does not hold what a commit left in it.
class ChangelogRestore {
 public:
  /// `wake` is called from the thread when something is done or has failed.
  ChangelogRestore(const kafka::TransportSettings& settings,
                   std::shared_ptr<state::Journal> journal, state::StoreId groupStore,
                   std::vector<RestoreTask> tasks, std::function<void()> wake);
  /// Stops; within a tenth of a second, or so long as one commit or one question to a broker takes.
  ~ChangelogRestore();

  /// Those that are done and were not taken yet.
  std::vector<RestoreTask> takeDone();
  /// All were taken, and its thread has ended: to destroy it takes no time.
  [[nodiscard]] bool finished() const noexcept { return left_ == 0 && ended_; }

 private:
  class Reading;

  void run();
  void findTorn();
  void apply();
  void finish(RestoreTask& task);
  void put(const RestoreTask& task, const LocalPosition& position);

  const kafka::TransportSettings settings_;
  const std::shared_ptr<state::Journal> journal_;
  const state::StoreId groupStore_;
  const std::function<void()> wake_;
  std::size_t left_;                // not taken yet
  std::vector<RestoreTask> tasks_;  // the thread's
  state::Commit commit_;            // the thread's

  std::atomic<bool> stop_{false};
  std::atomic<bool> ended_{false};
  std::mutex mutex_;
  std::vector<RestoreTask> done_;  // guarded by mutex_
  std::exception_ptr failure_;     // guarded by mutex_
  std::thread thread_;
};

}  // namespace penstock::streams
