// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/changelog_restore.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "fail_points.h"
#include "kafka/kafka_consumer.h"

namespace penstock::streams {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds pollTime{100};
constexpr std::chrono::seconds reportEvery{5};
constexpr std::size_t commitBytes = 1 << 20;  // arbitrary: one commit does not hold up others

kafka::TransportSettings settingsFor(kafka::TransportSettings settings, const char* isolation) {
  settings.values["isolation.level"] = isolation;
  return settings;
}

}  // namespace

/// Changelogs of one or several tasks, read by one consumer.
class ChangelogRestore::Reading {
 public:
  struct At {
    RestoreTask* task;
    RestoreTask::Store* store;
  };

  Reading(const kafka::TransportSettings& settings, const char* isolation)
      : consumer_(settingsFor(settings, isolation), ConsumerOptions{}) {}

  void add(RestoreTask& task, RestoreTask::Store& store, Offset from) {
    parts_[store.changelog.source] = {&task, &store};
    starts_[store.changelog.source] = from;
  }
  [[nodiscard]] bool empty() const noexcept { return parts_.empty(); }
  void start() {
    std::vector<TopicPartition> sources;
    for (const auto& [source, part] : parts_) sources.push_back(source);
    consumer_.assign(sources);
    for (const auto& [source, from] : starts_) consumer_.seek(source, from);
  }
  /// Records of one of them; nullopt when none came.
  std::optional<At> poll(RecordBatch& batch) {
    try {
      if (!consumer_.poll(batch, pollTime)) return std::nullopt;
    } catch (const state::PositionOutOfRange& error) {
      throw Error(ErrorCode::RestoreState,
                  fmt::format("a changelog does not hold what a commit has left in it: the brokers "
                              "have lost records, or the topic was made anew ({}). Begin anew "
                              "under another application id",
                              error.what()));
    }
    return parts_.at(batch.source);
  }
  [[nodiscard]] bool atEnd(const RestoreTask::Store& store) const {
    return consumer_.atEnd(store.changelog.source);
  }
  Offset position(const RestoreTask::Store& store) {
    return consumer_.position(store.changelog.source);
  }
  void pause(const RestoreTask::Store& store) { consumer_.pause({store.changelog.source}); }

 private:
  kafka::KafkaConsumer consumer_;
  std::map<TopicPartition, At> parts_;
  std::map<TopicPartition, Offset> starts_;
};

ChangelogRestore::ChangelogRestore(const kafka::TransportSettings& settings,
                                   std::shared_ptr<state::Journal> journal,
                                   state::StoreId groupStore, std::vector<RestoreTask> tasks,
                                   std::function<void()> wake)
    : settings_(settings),
      journal_(std::move(journal)),
      groupStore_(groupStore),
      wake_(std::move(wake)),
      left_(tasks.size()),
      tasks_(std::move(tasks)),
      thread_([this] { run(); }) {}

ChangelogRestore::~ChangelogRestore() {
  stop_ = true;
  thread_.join();
}

std::vector<RestoreTask> ChangelogRestore::takeDone() {
  const std::lock_guard lock(mutex_);
  if (done_.empty() && failure_) std::rethrow_exception(failure_);
  left_ -= done_.size();
  return std::exchange(done_, {});
}

void ChangelogRestore::run() {
  try {
    findTorn();
    failPoint("torn-found");
    apply();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  wake_();
  ended_ = true;
}

void ChangelogRestore::findTorn() {
  Reading reading(settings_, "read_uncommitted");
  std::vector<RestoreTask::Store*> left;
  for (RestoreTask& task : tasks_) {
    for (RestoreTask::Store& store : task.stores) {
      reading.add(task, store, store.to);
      left.push_back(&store);
    }
  }
  if (reading.empty()) return;
  reading.start();
  RecordBatch batch;
  std::string stored;
  while (!left.empty() && !stop_) {
    if (const auto at = reading.poll(batch)) {
      if (at->task->fresh) {
        throw Error(ErrorCode::RestoreState,
                    fmt::format("{}: topic {} holds changes of its state, but the group has no "
                                "position of it: it was deleted, or has expired. Counting on from "
                                "nothing would be wrong: begin anew under another application id, "
                                "or delete that topic too",
                                at->task->name, batch.source.topic));
      }
      for (const RecordView& record : batch.records) {
        if (!record.key) continue;
        at->store->changelog.toStored(*record.key, stored);
        at->store->torn.insert(stored);
      }
    }
    std::erase_if(left, [&](const RestoreTask::Store* store) { return reading.atEnd(*store); });
  }
}

void ChangelogRestore::apply() {
  Reading reading(settings_, "read_committed");
  std::int64_t behind = 0;
  for (RestoreTask& task : tasks_) {
    for (RestoreTask::Store& store : task.stores) {
      if (store.from >= store.to) continue;
      reading.add(task, store, store.from);
      behind += store.to.value - store.from.value;
    }
  }
  const auto complete = [](const RestoreTask& task) {
    return std::all_of(task.stores.begin(), task.stores.end(),
                       [](const auto& store) { return store.from >= store.to; });
  };
  std::vector<RestoreTask*> left;
  for (RestoreTask& task : tasks_) {
    if (stop_) return;
    if (complete(task)) {
      finish(task);
    } else {
      left.push_back(&task);
    }
  }
  if (left.empty()) return;
  log(LogLevel::Info, "runtime", "restoring state from changelogs",
      {{"tasks", std::to_string(left.size())},
       {"of", left.front()->name},
       {"offsets", std::to_string(behind)}});
  reading.start();
  const auto began = Clock::now();
  auto reported = began;
  std::uint64_t records = 0;
  std::set<RestoreTask*> touched;  // since the last commit
  RecordBatch batch;
  std::string stored;
  const auto flush = [&] {
    for (RestoreTask* task : touched) {
      LocalPosition position = task->target;
      position.stamp = {0, 0, task->target.stamp.streamTime, {}};
      position.wallMs = task->wallMs;
      for (const auto& store : task->stores) position.stamp.changelogs.push_back(store.from);
      put(*task, position);
    }
    touched.clear();
    if (commit_.empty()) return;
    journal_->commit(commit_, state::Durability::Buffered);
    failPoint("restore-progress");
  };
  const auto moved = [&](RestoreTask::Store& store) {
    if (store.from >= store.to) return;
    store.from = std::min(reading.position(store), store.to);
    if (planted(Planted::RestoredToStableOnly) && reading.atEnd(store)) store.from = store.to;
    if (store.from >= store.to) reading.pause(store);
  };
  while (!left.empty() && !stop_) {
    const auto at = reading.poll(batch);
    if (at) {
      const RestoreTask::Store& store = *at->store;
      for (const RecordView& record : batch.records) {
        if (record.offset >= store.to || !record.key) continue;
        store.changelog.toStored(*record.key, stored);
        if (record.value) {
          commit_.put(store.id, stored, *record.value);
        } else {
          commit_.erase(store.id, stored);
        }
        ++records;
      }
      touched.insert(at->task);
      moved(*at->store);
    } else {  // by ends of partitions: behind the last record may stand control records
      for (RestoreTask* task : left) std::for_each(task->stores.begin(), task->stores.end(), moved);
    }
    if (!at || commit_.bytes() >= commitBytes) flush();
    std::erase_if(left, [&](RestoreTask* task) {
      if (!complete(*task)) return false;
      flush();
      finish(*task);
      return true;
    });
    const auto now = Clock::now();
    if (now - reported < reportEvery) continue;
    reported = now;
    std::int64_t rest = 0;
    for (const RestoreTask* task : left) {
      for (const auto& store : task->stores) rest += store.to.value - store.from.value;
    }
    log(LogLevel::Info, "runtime", "restoring state from changelogs",
        {{"offsets left", std::to_string(rest)}, {"records", std::to_string(records)}});
  }
  flush();
  const std::chrono::duration<double> seconds = Clock::now() - began;
  log(LogLevel::Info, "runtime", left.empty() ? "state restored" : "restoring was interrupted",
      {{"records", std::to_string(records)}, {"seconds", fmt::format("{:.3f}", seconds.count())}});
}

/// The whole of the commit is there: from now on its position says so.
void ChangelogRestore::finish(RestoreTask& task) {
  if (!task.fresh) {
    put(task, task.target);
    journal_->commit(commit_, state::Durability::Buffered);
  }
  failPoint("restored");
  {
    const std::lock_guard lock(mutex_);
    done_.push_back(std::move(task));
  }
  wake_();
}

void ChangelogRestore::put(const RestoreTask& task, const LocalPosition& position) {
  commit_.put(groupStore_, task.key, encodeLocal(position));
  commit_.require(*task.claim);
}

}  // namespace penstock::streams
