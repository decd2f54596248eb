// SPDX-License-Identifier: Apache-2.0
// How tasks come to a worker and go.
#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>

#include <algorithm>
#include <utility>

#include "fail_points.h"
#include "streams/runtime/kafka_streams_worker.h"

namespace penstock::streams {
namespace {

// How often a claim is asked for that another process holds. Each time is a lock.
constexpr std::chrono::milliseconds claimEvery{200};

std::string storeName(const StorePlan& store, const TaskId& task, std::uint32_t generation) {
  const std::string name = fmt::format("{}/{}", store.name, task.partition.value);
  return generation == 0 ? name : fmt::format("{}~{}", name, generation);
}

}  // namespace

void KafkaStreamsWorker::onAssigned(const std::vector<TopicPartition>& partitions) {
  forget();
  if (partitions.empty()) return;
  // Before the group is asked: it does not answer while a transaction is open that this worker
  // has left.
  initialise();
  addTasks(partitions);
  std::vector<TopicPartition> sources;
  for (const auto& [id, task] : tasks_) {
    for (const Input& input : task.inputs) sources.push_back(input.source);
  }
  consumer_->alsoRead(sources);
  const Stored inGroup = consumer_->committedByGroup(sources);
  failPoint("positions-read");
  for (auto& [id, task] : tasks_) takePosition(id, task, inGroup);
  const auto starts = consumer_->positions(sources);
  std::vector<TaskId> ready;
  for (auto& [id, task] : tasks_) {
    for (Input& input : task.inputs) {
      const Offset start = starts.at(input.source);
      task.committed.next.push_back(start);
      task.local.inputs.push_back({input.source.topic, start});
      input.buffer = &inputs_.add(input.source, start);
      input.buffer->held = !planOf(id).stores.empty();
    }
    if (planOf(id).stores.empty()) ready.push_back(id);
  }
  makeReady(ready);
  takeStores();
}

void KafkaStreamsWorker::addTasks(const std::vector<TopicPartition>& leads) {
  for (const TopicPartition& lead : leads) {
    for (std::size_t s = 0; s < plan_.subtopologies.size(); ++s) {
      const auto& subtopology = plan_.subtopologies[s];
      if (subtopology.inputs[0].topic != lead.topic) continue;
      if (lead.partition.value >= subtopology.partitions) {
        throw ConfigurationError(fmt::format(
            "topic {} has got more partitions than the {} it had at start: keys have changed "
            "places. Stop all members of application {} before starting it again",
            lead.topic, subtopology.partitions, plan_.application));
      }
      const TaskId id{static_cast<std::int32_t>(s), lead.partition};
      Task& task = tasks_[id];
      task.committed.task = id;
      for (const auto& input : subtopology.inputs) {
        task.inputs.push_back({{input.topic, lead.partition}, input.repartition, nullptr, {}});
      }
    }
  }
}

/// Where the group says that the task goes on.
void KafkaStreamsWorker::takePosition(const TaskId& id, Task& task, const Stored& inGroup) {
  for (const Input& input : task.inputs) {
    const auto found = inGroup.find(input.source);
    if (found != inGroup.end()) {
      consumer_->seek(input.source, found->second.offset);
      continue;
    }
    task.fresh = true;
    if (const auto local = localPosition(id, task)) {
      throw Error(
          ErrorCode::RestoreState,
          fmt::format("{}: it stands at offset {} of topic {}, but group {} has no position "
                      "in topic {}: the topic was deleted and made anew, or the brokers "
                      "dropped what the group had not used for long. Begin anew under "
                      "another application id",
                      where(id), local->inputs[0].next.value, local->inputs[0].topic,
                      plan_.application, input.source.topic));
    }
  }
  const std::size_t stores = planOf(id).stores.size();
  const auto lead = inGroup.find(task.inputs[0].source);
  if (lead != inGroup.end()) {
    if (const auto stamp = decodeStamp(lead->second.metadata)) task.local.stamp = *stamp;
    task.committed.streamTime = task.local.stamp.streamTime;
    const bool stamped = task.local.stamp.changelogs.size() == stores;
    if (stores > 0 && (task.fresh || !stamped)) {
      throw Error(
          ErrorCode::RestoreState,
          fmt::format("{}: group {} stands at offset {} of topic {}, but not by a commit of "
                      "this application, so that no state belongs to it: was it set by a "
                      "tool? Begin anew under another application id",
                      where(id), plan_.application, lead->second.offset.value, lead->first.topic));
    }
  }
  if (task.fresh) task.local.stamp.changelogs.assign(stores, Offset{0});
}

/// Claims the tasks with stores, and has their stores brought to the group's commit. A claim that
/// another process on this machine holds, which may have stopped, is tried again later: the other
/// tasks go on.
void KafkaStreamsWorker::takeStores() {
  std::vector<RestoreTask> restores;
  claimAt_.reset();
  for (auto& [id, task] : tasks_) {
    if (task.claim || planOf(id).stores.empty()) continue;
    std::string holder;
    task.claim = context_->journal->tryClaim(plan_.taskKey(id), &holder);
    if (task.claim) {
      restores.push_back(planRestore(id, task));
      continue;
    }
    claimAt_ = Clock::now() + claimEvery;
    if (std::exchange(task.waits, true)) continue;
    log(LogLevel::Warning, "runtime",
        where(id) + " waits for " + holder + ", which has it and no longer answers the group");
  }
  if (restores.empty()) return;
  restores_.push_back(std::make_unique<ChangelogRestore>(context_->settings, context_->journal,
                                                         context_->groupStore, std::move(restores),
                                                         [this] { wakeup(); }));
}

std::optional<LocalPosition> KafkaStreamsWorker::localPosition(const TaskId& id, const Task& task) {
  std::string text;
  if (!group_->get(plan_.taskKey(id), text)) return std::nullopt;
  auto local = decodeLocal(text);
  if (!local) {
    throw state::FormatTooNew(where(id) +
                              ": its positions were written by another version of Penstock");
  }
  bool fits = local->inputs.size() == task.inputs.size() &&
              local->stamp.changelogs.size() == planOf(id).stores.size();
  for (std::size_t i = 0; fits && i < task.inputs.size(); ++i) {
    fits = local->inputs[i].topic == task.inputs[i].source.topic;
  }
  if (fits) return local;
  std::string before;
  for (const auto& input : local->inputs) before += (before.empty() ? "" : ", ") + input.topic;
  std::string now;
  for (const Input& input : task.inputs) now += (now.empty() ? "" : ", ") + input.source.topic;
  throw ConfigurationError(fmt::format("{} reads {} into {} stores, its state is of {} in {}",
                                       where(id), now, planOf(id).stores.size(), before,
                                       local->stamp.changelogs.size()));
}

/// From where each changelog is read: where the store stands; its beginning, into a new store,
/// when there is none, or one so old that the changelog has forgotten erasures since.
RestoreTask KafkaStreamsWorker::planRestore(const TaskId& id, Task& task) {
  const auto& stores = planOf(id).stores;
  for (std::size_t i = 0; i < stores.size(); ++i) task.byName.push_back(i);
  std::sort(task.byName.begin(), task.byName.end(),
            [&](std::size_t a, std::size_t b) { return stores[a].name < stores[b].name; });
  const auto local = localPosition(id, task);
  const std::int64_t now = state::Environment::real().clock->wallMs();
  const CommitStamp& stamp = task.local.stamp;
  bool anew = !local;
  std::uint32_t generation = local ? local->generation : 0;
  if (local && local->stamp != stamp) {
    bool behind = false;
    for (std::size_t i = 0; i < stores.size(); ++i) {
      const Offset here = local->stamp.changelogs[i];
      behind = behind || here < stamp.changelogs[i];
      if (here <= stamp.changelogs[i]) continue;
      throw Error(ErrorCode::RestoreState,
                  fmt::format("{}: its store {} stands at offset {} of its changelog, ahead of the "
                              "group's commit, which ended at {}: the group was set back, or the "
                              "brokers have lost commits. Begin anew under another application id",
                              where(id), stores[task.byName[i]].name, here.value,
                              stamp.changelogs[i].value));
    }
    // A day less than the brokers keep them.
    const std::chrono::milliseconds age(now - local->wallMs);
    anew = behind && age > tombstonesKept - std::chrono::hours(24);
    if (anew) ++generation;
  }
  RestoreTask restore;
  restore.id = id;
  restore.name = where(id);
  restore.key = plan_.taskKey(id);
  restore.claim = task.claim.get();
  restore.fresh = task.fresh;
  restore.wallMs = anew ? now : local->wallMs;
  for (std::size_t i = 0; i < stores.size(); ++i) {
    const StorePlan& plan = stores[task.byName[i]];
    RestoreTask::Store& store = restore.stores.emplace_back();
    const std::string changelog = changelogTopic(plan_.application, plan);
    store.changelog = {{changelog, id.partition}, plan.escapesKeys};
    const auto known = context_->batchBytesMax.find(changelog);
    if (known != context_->batchBytesMax.end()) store.changelog.batchBytesMax = known->second;
    store.to = stamp.changelogs[i];
    const std::string name = storeName(plan, id, generation);
    const auto found = context_->journal->findStore(name);
    store.id = found ? *found : context_->journal->declareStore(name);
    if (!anew && found) store.from = local->stamp.changelogs[i];
    if (store.from.value > 0 || !found) continue;
    const std::uint64_t keys = context_->journal->store(store.id)->size();
    if (keys == 0) continue;
    throw Error(ErrorCode::RestoreState,
                fmt::format("{} has no positions, but its store {} holds {} keys: restore the "
                            "state directory, or begin anew under another application id",
                            restore.name, name, keys));
  }
  task.local.generation = generation;
  task.local.wallMs = now;
  restore.target = task.local;
  return restore;
}

void KafkaStreamsWorker::takeRestored() {
  std::vector<RestoreTask> restored;
  for (const auto& restore : restores_) {
    for (RestoreTask& done : restore->takeDone()) restored.push_back(std::move(done));
  }
  std::erase_if(restores_, [](const auto& restore) { return restore->finished(); });
  if (restored.empty()) return;
  if (transactions_->open()) listener_->commitAll();
  std::vector<TaskId> ids;
  for (RestoreTask& done : restored) {
    Task& task = tasks_.at(done.id);
    task.stores.resize(done.stores.size());
    for (std::size_t i = 0; i < done.stores.size(); ++i) {
      const RestoreTask::Store& from = done.stores[i];
      auto& store = task.stores[task.byName[i]];
      store = std::make_shared<KafkaTaskStore>(context_->journal->store(from.id), commit_,
                                               from.changelog, *transactions_);
      for (const std::string& key : from.torn) store->writeAgain(key);
      const StorePlan& plan = planOf(done.id).stores[task.byName[i]];
      for (std::uint32_t old = 0; old < task.local.generation; ++old) {
        const auto found = context_->journal->findStore(storeName(plan, done.id, old));
        if (found) context_->journal->removeStore(*found);
      }
    }
    ids.push_back(done.id);
  }
  makeReady(ids);
}

/// Their stores stand at their positions. The group gets those that it does not have, before
/// anything can come of their first record.
void KafkaStreamsWorker::makeReady(const std::vector<TaskId>& ids) {
  if (ids.empty()) return;
  std::vector<TaskPosition> begun;
  const bool torn = transactions_->open();  // keys were written again: with positions, as all is
  for (const TaskId& id : ids) {
    Task& task = tasks_.at(id);
    task.ready = true;
    for (Input& input : task.inputs) input.buffer->held = false;
    if (task.fresh || torn) begun.push_back(task.committed);
  }
  commit(begun);
  failPoint("starts-committed");
  if (listener_ != nullptr) listener_->assigned(ids);
}

void KafkaStreamsWorker::forget() {
  restores_.clear();
  claimAt_.reset();
  commit_.reset();
  held_.clear();
  heldBytes_ = 0;
  tasks_.clear();
  inputs_.clear();
}

void KafkaStreamsWorker::onGone(bool lost) {
  failPoint("giving-up");
  const std::vector<TaskId> ids = readyTasks();
  struct Guard {
    KafkaStreamsWorker& worker;
    ~Guard() {
      worker.forget();  // their claims too: the next owner waits for them
      if (worker.listener_ != nullptr && worker.transactions_->open()) worker.makeProducers();
    }
  } const guard{*this};
  if (listener_ == nullptr || ids.empty()) return;
  if (lost) {
    listener_->lost(ids);
  } else {
    listener_->revoking(ids);
  }
}

}  // namespace penstock::streams
