// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_streams_worker.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>

#include <algorithm>
#include <utility>

namespace penstock::streams {
namespace {

constexpr std::chrono::seconds flushTimeout{60};  // deliveries fail by themselves before

ConsumerOptions consumerOptions(const StreamsContext& context, const std::string& instance) {
  ConsumerOptions options;
  options.group = context.application;
  options.extra["group.instance.id"] = instance;
  // A dead process that does not come back: its partitions wait this long.
  if (!context.settings.values.contains("session.timeout.ms")) {
    options.extra["session.timeout.ms"] = "10000";
  }
  return options;
}

std::uint64_t randomWriter() {
  std::uint64_t writer = 0;
  while (writer == 0) writer = state::Environment::real().random->next();
  return writer;
}

}  // namespace

KafkaStreamsWorker::KafkaStreamsWorker(const ApplicationPlan& plan,
                                       std::shared_ptr<StreamsContext> context)
    : plan_(plan),
      context_(std::move(context)),
      group_(context_->journal->store(context_->groupStore)),
      purger_(context_->settings),
      nextPurge_(Clock::now() + context_->purgeEvery),
      nextRefresh_(Clock::now() + context_->refreshEvery) {
  std::size_t number = 0;
  while (!instance_) {
    instance_ = context_->journal->tryClaim("instance/" + std::to_string(number++));
  }
  instanceId_ = fmt::format("{}-{}-{}", context_->application, context_->journal->id(), number - 1);
  consumer_ = makeConsumer();
  makeProducers();
  subscribe();
}

KafkaStreamsWorker::~KafkaStreamsWorker() {
  listener_ = nullptr;
  restore_.reset();
  if (outputs_) outputs_->abandon();
}

std::unique_ptr<kafka::KafkaConsumer> KafkaStreamsWorker::makeConsumer() const {
  return std::make_unique<kafka::KafkaConsumer>(context_->settings,
                                                consumerOptions(*context_, instanceId_));
}

/// The earlier ones may be beyond use, and their failures are those of what is dropped.
void KafkaStreamsWorker::makeProducers() {
  transactions_.reset();
  transactions_ = std::make_unique<kafka::TransactionalProducer>(context_->settings, instanceId_);
  initialised_ = false;
  writer_ = randomWriter();
  number_ = 0;
  if (context_->guarantee == Guarantee::ExactlyOnce) return;
  if (outputs_) outputs_->abandon();
  outputs_ = std::make_unique<kafka::KafkaProducer>(context_->settings, ProducerOptions{});
}

void KafkaStreamsWorker::wakeup() {
  const std::lock_guard lock(consumerMutex_);
  consumer_->wakeup();
}

std::string KafkaStreamsWorker::where(const TaskId& id) const {
  return fmt::format("task {} of application {} with state in {}", id.name(), plan_.application,
                     context_->journal->directory());
}

/// To the lead topics: the first input of each sub-topology. The same partitions of the others
/// come along (onAssigned).
void KafkaStreamsWorker::subscribe() {
  std::vector<std::string> leads;
  for (const auto& subtopology : plan_.subtopologies) {
    leads.push_back(subtopology.inputs[0].topic);
  }
  RebalanceListener listener;
  listener.assigned = [this](const auto& partitions) { onAssigned(partitions); };
  listener.revoked = [this](const auto&) { onGone(false); };
  listener.lost = [this](const auto&) { onGone(true); };
  consumer_->subscribe(leads, std::move(listener));
  subscribed_ = true;
}

std::vector<TaskId> KafkaStreamsWorker::readyTasks() const {
  std::vector<TaskId> ids;
  for (const auto& [id, task] : tasks_) {
    if (task.ready) ids.push_back(id);
  }
  return ids;
}

std::vector<TaskPosition> KafkaStreamsWorker::committedPositions() const {
  std::vector<TaskPosition> positions;
  for (const auto& [id, task] : tasks_) {
    if (task.ready) positions.push_back(task.committed);
  }
  return positions;
}

// ---- ownership

void KafkaStreamsWorker::onAssigned(const std::vector<TopicPartition>& partitions) {
  forget();
  if (partitions.empty()) return;
  if (transactions_->open()) makeProducers();  // with what was lost
  // Before the group is asked: it does not answer while a transaction is open that this worker
  // has left.
  if (!initialised_) transactions_->initialise();
  initialised_ = true;
  addTasks(partitions);
  std::vector<TopicPartition> sources;
  for (const auto& [id, task] : tasks_) {
    for (const Input& input : task.inputs) sources.push_back(input.source);
  }
  consumer_->alsoRead(sources);
  const Stored inGroup = consumer_->committedByGroup(sources);
  std::vector<RestoreTask> restores;
  for (auto& [id, task] : tasks_) {
    takePosition(id, task, inGroup);
    if (!planOf(id).stores.empty()) restores.push_back(takeStores(id, task, inGroup));
  }
  const auto starts = consumer_->positions(sources);
  std::vector<TaskId> ready;
  for (auto& [id, task] : tasks_) {
    task.committed.next.clear();
    for (Input& input : task.inputs) {
      const Offset start = starts.at(input.source);
      task.committed.next.push_back(start);
      input.buffer = &inputs_.add(input.source, start);
      input.buffer->held = task.claim != nullptr;
      task.local.inputs.push_back({input.source.topic, start});
    }
    if (!task.claim) ready.push_back(id);
  }
  for (RestoreTask& restore : restores) restore.target = tasks_.at(restore.id).local;
  makeReady(ready);
  if (restores.empty()) return;
  restore_ = std::make_unique<ChangelogRestore>(context_->settings, context_->journal,
                                                context_->groupStore, std::move(restores),
                                                [this] { wakeup(); });
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
  const Input* missing = nullptr;
  for (const Input& input : task.inputs) {
    const auto found = inGroup.find(input.source);
    if (found == inGroup.end()) {
      missing = &input;
    } else {
      consumer_->seek(input.source, found->second.offset);
    }
  }
  const auto lead = inGroup.find(task.inputs[0].source);
  task.fresh = missing != nullptr;
  if (lead == inGroup.end()) return;
  if (const auto stamp = decodeStamp(lead->second.metadata)) {
    task.local.stamp = *stamp;
    task.committed.streamTime = stamp->streamTime;
  }
  if (missing != nullptr && !planOf(id).stores.empty()) {
    throw Error(ErrorCode::RestoreState,
                fmt::format("{}: group {} has a position in topic {}, but none in topic {}: the "
                            "topic was deleted and made anew. Begin anew under another "
                            "application id",
                            where(id), plan_.application, task.inputs[0].source.topic,
                            missing->source.topic));
  }
}

/// A task with stores: claims it and finds out what its stores lack.
RestoreTask KafkaStreamsWorker::takeStores(const TaskId& id, Task& task, const Stored& inGroup) {
  const auto& stores = planOf(id).stores;
  RestoreTask restore;
  restore.id = id;
  restore.name = where(id);
  restore.key = keyOf(id);
  restore.fresh = task.fresh;
  std::string holder;
  task.claim = context_->journal->tryClaim(restore.key, &holder);
  if (!task.claim) {
    throw state::OwnedElsewhere(where(id) + " is held by " + holder +
                                "; it is free when that process stops or is killed");
  }
  restore.claim = task.claim.get();
  for (std::size_t i = 0; i < stores.size(); ++i) task.byName.push_back(i);
  std::sort(task.byName.begin(), task.byName.end(),
            [&](std::size_t a, std::size_t b) { return stores[a].name < stores[b].name; });
  const auto local = localPosition(id, task);
  CommitStamp& stamp = task.local.stamp;
  if (!task.fresh && stamp.changelogs.size() != stores.size()) {
    const auto& lead = *inGroup.find(task.inputs[0].source);
    throw Error(
        ErrorCode::RestoreState,
        fmt::format("{}: group {} stands at offset {} of topic {}, but not by a commit of "
                    "this application, so that no state belongs to it: was it set by a "
                    "tool? Begin anew under another application id",
                    where(id), plan_.application, lead.second.offset.value, lead.first.topic));
  }
  if (task.fresh && local) {
    throw Error(ErrorCode::RestoreState,
                fmt::format("{}: its state stands at offset {} of topic {}, but group {} has no "
                            "position there: the topic was deleted and made anew, or the brokers "
                            "dropped what the group had not used for long. Begin anew under "
                            "another application id",
                            where(id), local->inputs[0].next.value, local->inputs[0].topic,
                            plan_.application));
  }
  if (task.fresh) stamp.changelogs.assign(stores.size(), Offset{0});
  planRestore(id, task, local, restore);
  return restore;
}

std::optional<LocalPosition> KafkaStreamsWorker::localPosition(const TaskId& id, const Task& task) {
  std::string text;
  if (!group_->get(keyOf(id), text)) return std::nullopt;
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
void KafkaStreamsWorker::planRestore(const TaskId& id, Task& task,
                                     const std::optional<LocalPosition>& local,
                                     RestoreTask& restore) {
  state::Journal& journal = *context_->journal;
  const std::int64_t now = state::Environment::real().clock->wallMs();
  const CommitStamp& stamp = task.local.stamp;
  bool anew = !local;
  std::uint32_t generation = local ? local->generation : 0;
  if (local && local->stamp != stamp) {
    bool behind = false;
    for (std::size_t i = 0; i < task.byName.size(); ++i) {
      const Offset here = local->stamp.changelogs[i];
      behind = behind || here < stamp.changelogs[i];
      if (here <= stamp.changelogs[i]) continue;
      throw Error(ErrorCode::RestoreState,
                  fmt::format("{}: its store {} stands at offset {} of its changelog, ahead of the "
                              "group's commit, which ended at {}: the group was set back, or the "
                              "brokers have lost commits. Begin anew under another application id",
                              where(id), planOf(id).stores[task.byName[i]].name, here.value,
                              stamp.changelogs[i].value));
    }
    // A day less than the brokers keep them.
    const std::chrono::milliseconds age(now - local->wallMs);
    anew = behind && age > tombstonesKept - std::chrono::hours(24);
    if (anew) ++generation;
  }
  const auto nameOf = [&](std::size_t store, std::uint32_t of) {
    std::string name = fmt::format("{}/{}", planOf(id).stores[store].name, id.partition.value);
    return of == 0 ? name : fmt::format("{}~{}", name, of);
  };
  for (std::size_t i = 0; i < task.byName.size(); ++i) {
    const StorePlan& plan = planOf(id).stores[task.byName[i]];
    RestoreTask::Store& store = restore.stores.emplace_back();
    store.changelog = {{changelogTopic(plan_.application, plan), id.partition}, plan.escapesKeys};
    store.to = stamp.changelogs[i];
    const std::string name = nameOf(task.byName[i], generation);
    const auto found = journal.findStore(name);
    store.id = found ? *found : journal.declareStore(name);
    if (!anew && found) store.from = local->stamp.changelogs[i];
    if (store.from.value > 0 || !found) continue;
    const std::uint64_t keys = journal.store(store.id)->size();
    if (keys == 0) continue;
    throw Error(ErrorCode::RestoreState,
                fmt::format("{} has no positions, but its store {} holds {} keys: restore the "
                            "state directory, or begin anew under another application id",
                            where(id), name, keys));
  }
  task.local.generation = generation;
  task.local.wallMs = now;
  restore.wallMs = anew ? now : local->wallMs;
}

void KafkaStreamsWorker::takeRestored() {
  if (!restore_) return;
  std::vector<RestoreTask> restored = restore_->takeDone();
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
  if (listener_ != nullptr) listener_->assigned(ids);
}

void KafkaStreamsWorker::forget() {
  restore_.reset();
  commit_.reset();
  tasks_.clear();
  inputs_.clear();
}

void KafkaStreamsWorker::onGone(bool lost) {
  const std::vector<TaskId> ids = readyTasks();
  struct Guard {
    KafkaStreamsWorker& worker;
    ~Guard() { worker.forget(); }  // their claims too: the next owner waits for them
  } const guard{*this};
  if (listener_ == nullptr || ids.empty()) return;
  if (lost) {
    listener_->lost(ids);
  } else {
    listener_->revoking(ids);
  }
}

void KafkaStreamsWorker::restart() {
  forget();
  makeProducers();
  if (consumer_->failed()) {
    subscribed_ = false;
    std::unique_ptr<kafka::KafkaConsumer> failed = makeConsumer();
    {
      const std::lock_guard lock(consumerMutex_);
      std::swap(failed, consumer_);
    }
  }
  if (subscribed_) {
    consumer_->announceAgain();
  } else {
    subscribe();  // may fail as long as the broker is away; then it is tried again
  }
}

void KafkaStreamsWorker::close(TaskListener& listener) {
  listener_ = &listener;
  const std::vector<TaskId> ids = readyTasks();
  if (!ids.empty()) listener.revoking(ids);
  forget();
  if (outputs_) outputs_->close();
  consumer_->leave();
  listener_ = nullptr;
}

// ---- reading

void KafkaStreamsWorker::poll(TaskListener& listener, std::chrono::milliseconds timeout) {
  listener_ = &listener;
  struct Guard {
    KafkaStreamsWorker& worker;
    ~Guard() { worker.listener_ = nullptr; }
  } const guard{*this};
  takeRestored();
  if (timeout.count() > 0) commitEnds();
  const auto now = Clock::now();
  refresh(now);
  purge(now);
  inputs_.drain(*consumer_, timeout);
}

TaskPosition KafkaStreamsWorker::start(const TaskId& task) { return tasks_.at(task).committed; }

std::shared_ptr<TaskStore> KafkaStreamsWorker::store(const TaskId& task, std::size_t store) {
  return tasks_.at(task).stores.at(store);
}

FetchResult KafkaStreamsWorker::fetch(const TaskId& task, std::size_t number, RecordBatch& batch) {
  return inputs_.fetch(*consumer_, *tasks_.at(task).inputs[number].buffer, batch);
}

std::optional<Offset> KafkaStreamsWorker::knownEnd(const TaskId& task,
                                                   std::size_t number) noexcept {
  const auto found = tasks_.find(task);
  if (found == tasks_.end()) return std::nullopt;
  return consumer_->knownEnd(found->second.inputs[number].source);
}

// ---- writing

void KafkaStreamsWorker::output(std::size_t output, PartitionIndex partition,
                                const RecordView& record) {
  const std::string& topic = plan_.outputs[output].topic;
  if (outputs_) {
    outputs_->send(topic, partition, record, {});
  } else {
    transactions_->send(transactions_->topic(topic, partition), partition, record);
  }
}

std::size_t KafkaStreamsWorker::pendingBytes() const noexcept { return transactions_->openBytes(); }

void KafkaStreamsWorker::commit(std::span<const TaskPosition> positions) {
  if (positions.empty()) return;
  if (outputs_) outputs_->flush(flushTimeout);
  transactions_->flush();
  ++number_;
  Stored group;
  for (const TaskPosition& position : positions) {
    Task& task = tasks_.at(position.task);
    CommitStamp& stamp = task.local.stamp;
    stamp.writer = writer_;
    stamp.number = number_;
    stamp.streamTime = position.streamTime;
    for (std::size_t i = 0; i < task.byName.size(); ++i) {
      Offset& end = stamp.changelogs[i];
      end = task.stores[task.byName[i]]->end(end);
    }
    task.committed = position;
    for (std::size_t i = 0; i < task.inputs.size(); ++i) {
      group[task.inputs[i].source] = {position.next[i], i == 0 ? encodeStamp(stamp) : ""};
      task.local.inputs[i].next = position.next[i];
    }
    if (!task.claim) continue;
    task.local.wallMs = state::Environment::real().clock->wallMs();
    commit_.put(context_->groupStore, keyOf(position.task), encodeLocal(task.local));
    commit_.require(*task.claim);
  }
  transactions_->commit(group, consumer_->membership());
  // It need not be on disk: what a power cut takes back is in the changelogs.
  if (!commit_.empty()) context_->journal->commit(commit_, state::Durability::Buffered);
  nextRefresh_ = Clock::now() + context_->refreshEvery;
}

/// Behind the last record may stand control records of transactions. They change nothing here,
/// but who waits for the end compares with what the group has committed.
void KafkaStreamsWorker::commitEnds() {
  if (transactions_->open() || !commit_.empty()) return;
  std::vector<TaskPosition> positions = committedPositions();
  bool any = false;
  for (TaskPosition& position : positions) {
    const Task& task = tasks_.at(position.task);
    for (std::size_t i = 0; i < task.inputs.size(); ++i) {
      const Input& input = task.inputs[i];
      if (position.next[i] < input.buffer->given || !input.buffer->empty()) continue;
      if (!consumer_->atEnd(input.source)) continue;
      const Offset end = consumer_->position(input.source);
      any = any || end > position.next[i];
      position.next[i] = std::max(position.next[i], end);
    }
  }
  if (any) commit(positions);
}

/// Brokers drop old positions, of topics that the group does not subscribe to even while it lives.
void KafkaStreamsWorker::refresh(Clock::time_point now) {
  if (now < nextRefresh_ || transactions_->open() || !commit_.empty()) return;
  nextRefresh_ = now + context_->refreshEvery;
  commit(committedPositions());
}

void KafkaStreamsWorker::purge(Clock::time_point now) {
  if (now < nextPurge_) return;
  nextPurge_ = now + context_->purgeEvery;
  if (!purger_.ready()) return;
  std::map<TopicPartition, Offset> below;
  for (auto& [id, task] : tasks_) {
    for (std::size_t i = 0; task.ready && i < task.inputs.size(); ++i) {
      Input& input = task.inputs[i];
      if (!input.repartition || task.committed.next[i] <= input.purged) continue;
      below[input.source] = input.purged = task.committed.next[i];
    }
  }
  if (!below.empty()) purger_.purge(below);
}

}  // namespace penstock::streams
