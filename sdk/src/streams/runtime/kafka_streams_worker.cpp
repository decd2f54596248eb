// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_streams_worker.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <utility>

#include "streams/runtime/task_position_codec.h"

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

}  // namespace

// A round takes this much at most: some rounds of the tasks' slices. librdkafka's own queue holds
// up to 64 MiB beside it.
const KafkaStreamsWorker::Amount KafkaStreamsWorker::bufferedMax{65536, 32 << 20};
// An input that nobody takes from (another one of its task has nothing) is paused in time.
// Pausing throws away what librdkafka has prefetched, so not early; the numbers are arbitrary.
const KafkaStreamsWorker::Amount KafkaStreamsWorker::inputPauseAt{65536, 32 << 20};
const KafkaStreamsWorker::Amount KafkaStreamsWorker::inputResumeBelow{8192, 4 << 20};

KafkaStreamsWorker::Amount& KafkaStreamsWorker::Amount::operator+=(const Amount& more) noexcept {
  records += more.records;
  bytes += more.bytes;
  return *this;
}

KafkaStreamsWorker::Amount& KafkaStreamsWorker::Amount::operator-=(const Amount& less) noexcept {
  records -= less.records;
  bytes -= less.bytes;
  return *this;
}

KafkaStreamsWorker::Amount KafkaStreamsWorker::amountOf(const RecordBatch& batch) {
  Amount amount{batch.records.size(), 0};
  for (const RecordView& record : batch.records) {
    if (record.key) amount.bytes += record.key->size();
    if (record.value) amount.bytes += record.value->size();
    for (const HeaderView& header : record.headers) {
      amount.bytes += header.name.size() + (header.value ? header.value->size() : 0);
    }
  }
  return amount;
}

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
  producer_ = std::make_unique<kafka::KafkaProducer>(context_->settings, ProducerOptions{});
  subscribe();
}

KafkaStreamsWorker::~KafkaStreamsWorker() {
  listener_ = nullptr;
  producer_->abandon();
}

std::unique_ptr<kafka::KafkaConsumer> KafkaStreamsWorker::makeConsumer() const {
  return std::make_unique<kafka::KafkaConsumer>(context_->settings,
                                                consumerOptions(*context_, instanceId_));
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

std::vector<TaskId> KafkaStreamsWorker::owned() const {
  std::vector<TaskId> ids;
  for (const auto& [id, task] : tasks_) ids.push_back(id);
  return ids;
}

// ---- ownership

void KafkaStreamsWorker::onAssigned(const std::vector<TopicPartition>& partitions) {
  tasks_.clear();
  bySource_.clear();
  buffered_ = {};
  std::vector<TopicPartition> sources;
  for (const TopicPartition& lead : partitions) {
    for (std::size_t s = 0; s < plan_.subtopologies.size(); ++s) {
      const auto& subtopology = plan_.subtopologies[s];
      if (subtopology.inputs[0].topic != lead.topic) continue;
      if (lead.partition.value >= subtopology.partitions) {
        throw ConfigurationError(fmt::format(
            "topic {} has got more partitions than the {} it had at start: keys have changed "
            "places. Stop all members of application {} before starting it again",
            lead.topic, subtopology.partitions, plan_.application));
      }
      Task& task = tasks_[{static_cast<std::int32_t>(s), lead.partition}];
      for (const auto& input : subtopology.inputs) {
        Input& added = task.inputs.emplace_back();
        added.source = {input.topic, lead.partition};
        added.repartition = input.repartition;
        sources.push_back(added.source);
      }
    }
  }
  consumer_->alsoRead(sources);
  const auto stored = consumer_->committed(sources, context_->settings.timeout);
  for (auto& [id, task] : tasks_) {
    task.start.task = id;
    if (!planOf(id).stores.empty()) takeUp(id, task, stored);
  }
  const auto starts = consumer_->positions(sources);
  std::map<TopicPartition, Offset> notInGroup;
  for (auto& [id, task] : tasks_) {
    task.start.next.clear();
    for (Input& input : task.inputs) {
      input.given = starts.at(input.source);
      const auto found = stored.find(input.source);
      if (found == stored.end()) notInGroup[input.source] = input.given;
      input.committed = found == stored.end() ? input.given : std::min(found->second, input.given);
      task.start.next.push_back(input.given);
      bySource_[input.source] = &input;
    }
  }
  commitStarts(notInGroup);
  const std::vector<TaskId> ids = owned();
  if (listener_ != nullptr && !ids.empty()) listener_->assigned(ids);
}

/// A task with stores: claims it and finds out whether state and positions belong together.
void KafkaStreamsWorker::takeUp(const TaskId& id, Task& task,
                                const std::map<TopicPartition, Offset>& inGroup) {
  const std::string key = FileLayout::taskKey(plan_, id);
  std::string holder;
  task.claim = context_->journal->tryClaim(key, &holder);
  if (!task.claim) {
    throw state::OwnedElsewhere(where(id) + " is held by " + holder +
                                "; it is free when that process stops or is killed");
  }
  const bool known = group_->contains(key);
  if (known) readPosition(id, task);
  openStores(id, task);
  for (std::size_t i = 0; i < task.inputs.size(); ++i) {
    const TopicPartition& source = task.inputs[i].source;
    const auto found = inGroup.find(source);
    if (task.confirmed && found == inGroup.end()) {
      throw Error(ErrorCode::RestoreState,
                  fmt::format("{}: its state stands at offset {} of topic {}, but group {} has no "
                              "position there: the topic was deleted and made anew, or the brokers "
                              "dropped what the group had not used for long. Begin anew under "
                              "another application id; or, only if the topic still is the same, "
                              "store that offset in the group (kafka-consumer-groups.sh "
                              "--reset-offsets --to-offset {})",
                              where(id), task.start.next[i].value, source.topic, plan_.application,
                              task.start.next[i].value));
    }
    if (!known && found != inGroup.end()) {
      throw Error(ErrorCode::RestoreState,
                  fmt::format("{}: the group stands at offset {} of topic {}, but there is no "
                              "state here that belongs to it. Counting on from nothing would be "
                              "wrong: restore the state directory, start it where the state is, "
                              "or begin anew under another application id",
                              where(id), found->second.value, source.topic));
    }
    // In the group, and not confirmed: power loss took back the commits after the note, which
    // says where reading began. Their state is gone too.
    if (known && (task.confirmed || found != inGroup.end())) {
      consumer_->seek(source, task.start.next[i]);
    }
  }
}

/// A position that the group had not got yet is no more than a note that nothing was read.
void KafkaStreamsWorker::readPosition(const TaskId& id, Task& task) {
  std::string bytes;
  group_->get(FileLayout::taskKey(plan_, id), bytes);
  const auto stored = decodePosition(bytes);
  if (!stored) {
    throw state::FormatTooNew(where(id) +
                              ": its positions were written by a newer Penstock; use a newer one");
  }
  task.confirmed = true;
  for (const Input& input : task.inputs) {
    const auto found =
        std::find_if(stored->inputs.begin(), stored->inputs.end(),
                     [&](const InputPosition& each) { return each.journal == input.source.topic; });
    if (found == stored->inputs.end() || stored->inputs.size() != task.inputs.size()) {
      std::string topics;
      for (const auto& each : stored->inputs) topics += (topics.empty() ? "" : ", ") + each.journal;
      throw ConfigurationError(
          fmt::format("{} reads topic {} and has {} inputs, its stored positions are in: {}",
                      where(id), input.source.topic, task.inputs.size(), topics));
    }
    task.confirmed = task.confirmed && found->at.epoch != 0;
    task.start.next.push_back(Offset{static_cast<std::int64_t>(found->at.offset)});
  }
  if (task.confirmed) task.start.streamTime = stored->streamTime;
}

/// Before the first record of a task is read, journal and group have its positions, in this
/// order: whatever is found later says whether anything is missing.
void KafkaStreamsWorker::commitStarts(const std::map<TopicPartition, Offset>& notInGroup) {
  state::Commit first;
  bool any = false;
  for (const auto& [id, task] : tasks_) {
    if (!task.claim || task.confirmed) continue;
    putPosition(task, task.start, first);
    any = true;
  }
  if (any) context_->journal->commit(first, context_->durability);
  consumer_->commit(notInGroup);
  for (auto& [id, task] : tasks_) task.confirmed = true;
}

void KafkaStreamsWorker::putPosition(const Task& task, const TaskPosition& position,
                                     state::Commit& commit) {
  StoredPosition stored{position.streamTime, {}};
  for (std::size_t i = 0; i < task.inputs.size(); ++i) {
    InputPosition& input = stored.inputs.emplace_back();
    input.journal = task.inputs[i].source.topic;
    input.at.epoch = task.confirmed ? 1 : 0;
    input.at.offset = static_cast<std::uint64_t>(position.next[i].value);
  }
  encoded_.clear();
  encodePosition(stored, encoded_);
  commit.put(context_->groupStore, FileLayout::taskKey(plan_, position.task), encoded_);
  commit.require(*task.claim);
}

/// Positions and stores of one frame: both are there, or neither.
void KafkaStreamsWorker::openStores(const TaskId& id, Task& task) {
  state::Journal& journal = *context_->journal;
  for (const auto& store : planOf(id).stores) {
    const std::string name = fmt::format("{}/{}", store.name, id.partition.value);
    std::optional<state::StoreId> found = journal.findStore(name);
    if (!found && task.confirmed) {
      throw Error(ErrorCode::RestoreState,
                  fmt::format("{} has positions, but its store {} is not there: restore the state "
                              "directory, or begin anew under another application id",
                              where(id), name));
    }
    if (!found) found = journal.declareStore(name);
    auto content = journal.store(*found);
    if (!task.confirmed && content->size() > 0) {
      throw Error(ErrorCode::RestoreState,
                  fmt::format("{} has no positions, but its store {} holds {} keys: restore the "
                              "state directory, or begin anew under another application id",
                              where(id), name, content->size()));
    }
    task.stores.push_back(std::make_shared<FileTaskStore>(std::move(content), commit_));
  }
}

void KafkaStreamsWorker::onGone(bool lost) {
  const std::vector<TaskId> ids = owned();
  if (listener_ != nullptr && !ids.empty()) {
    try {
      if (lost) {
        listener_->lost(ids);
      } else {
        listener_->revoking(ids);
      }
    } catch (...) {
      tasks_.clear();  // their claims too: the next owner waits for them
      bySource_.clear();
      throw;
    }
  }
  commit_.reset();
  tasks_.clear();
  bySource_.clear();
  buffered_ = {};
}

void KafkaStreamsWorker::restart() {
  commit_.reset();
  tasks_.clear();
  bySource_.clear();
  buffered_ = {};
  producer_->abandon();  // it may be beyond use, and its failures are those of what is dropped
  producer_ = std::make_unique<kafka::KafkaProducer>(context_->settings, ProducerOptions{});
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
  const std::vector<TaskId> ids = owned();
  if (!ids.empty()) listener.revoking(ids);
  tasks_.clear();
  bySource_.clear();
  producer_->close();
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
  if (timeout.count() > 0) commitEnds();
  const auto now = Clock::now();
  refresh(now);
  purge(now);
  drain(timeout);
  balance();
}

void KafkaStreamsWorker::drain(std::chrono::milliseconds timeout) {
  RecordBatch batch;
  bool any = false;
  while (!buffered_.reaches(bufferedMax) && consumer_->poll(batch, std::chrono::milliseconds(0))) {
    keep(std::exchange(batch, {}));
    any = true;
  }
  // At the bound only when a task waits for another input, whose records may come now.
  if (!any && consumer_->poll(batch, timeout)) keep(std::move(batch));
}

void KafkaStreamsWorker::keep(RecordBatch&& batch) {
  const auto found = bySource_.find(batch.source);
  if (found == bySource_.end()) return;
  Input& input = *found->second;
  const Amount amount = amountOf(batch);
  input.amount += amount;
  buffered_ += amount;
  input.fetched.push_back({std::move(batch), amount});
}

void KafkaStreamsWorker::balance() {
  for (auto& [source, input] : bySource_) {
    if (!input->paused && input->amount.reaches(inputPauseAt)) {
      consumer_->pause({source});
      input->paused = true;
    } else if (input->paused && !input->amount.reaches(inputResumeBelow)) {
      consumer_->resume({source});
      input->paused = false;
    }
  }
}

TaskPosition KafkaStreamsWorker::start(const TaskId& task) { return tasks_.at(task).start; }

std::shared_ptr<TaskStore> KafkaStreamsWorker::store(const TaskId& task, std::size_t store) {
  return tasks_.at(task).stores.at(store);
}

FetchResult KafkaStreamsWorker::fetch(const TaskId& task, std::size_t number, RecordBatch& batch) {
  Input& input = tasks_.at(task).inputs[number];
  if (input.fetched.empty()) {
    batch.clear();
    batch.next = Offset{-1};
    if (!consumer_->atEnd(input.source)) return FetchResult::Pending;
    batch.next = consumer_->position(input.source);
    return FetchResult::AtEnd;
  }
  batch = std::move(input.fetched.front().batch);
  input.amount -= input.fetched.front().amount;
  buffered_ -= input.fetched.front().amount;
  input.fetched.pop_front();
  input.given = batch.next;
  return FetchResult::Records;
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
  producer_->send(plan_.outputs[output].topic, partition, record, {});
}

void KafkaStreamsWorker::commit(std::span<const TaskPosition> positions) {
  producer_->flush(flushTimeout);
  bool stateful = false;
  std::map<TopicPartition, Offset> group;
  for (const TaskPosition& position : positions) {
    Task& task = tasks_.at(position.task);
    for (std::size_t i = 0; i < task.inputs.size(); ++i) {
      group[task.inputs[i].source] = position.next[i];
    }
    if (!task.claim) continue;
    stateful = true;
    putPosition(task, position, commit_);
  }
  if (stateful) context_->journal->commit(commit_, context_->durability);
  consumer_->commit(group);
  for (const auto& [source, next] : group) bySource_.at(source)->committed = next;
  nextRefresh_ = Clock::now() + context_->refreshEvery;
}

/// Behind the last record may stand control records of transactions. They change nothing here,
/// but who waits for the end compares with what the group has committed.
void KafkaStreamsWorker::commitEnds() {
  std::map<TopicPartition, Offset> ends;
  for (const auto& [source, input] : bySource_) {
    if (input->committed < input->given || !input->fetched.empty()) continue;
    if (!consumer_->atEnd(source)) continue;
    const Offset end = consumer_->position(source);
    if (end > input->committed) ends[source] = end;
  }
  if (ends.empty()) return;
  consumer_->commit(ends);
  for (const auto& [source, end] : ends) bySource_.at(source)->committed = end;
}

void KafkaStreamsWorker::refresh(Clock::time_point now) {
  if (now < nextRefresh_) return;
  nextRefresh_ = now + context_->refreshEvery;
  std::map<TopicPartition, Offset> group;
  for (const auto& [source, input] : bySource_) group[source] = input->committed;
  consumer_->commit(group);
}

/// What was committed is purged when its frames are synced, a round later at least: a power cut
/// may take newer ones back, and the task would find its records gone.
void KafkaStreamsWorker::purge(Clock::time_point now) {
  if (now < nextPurge_) return;
  nextPurge_ = now + context_->purgeEvery;
  if (!purger_.ready() || context_->journal->synced() < purgeableAt_) return;
  if (!purgeable_.empty()) purger_.purge(std::exchange(purgeable_, {}));
  for (const auto& [source, input] : bySource_) {
    if (!input->repartition || input->committed <= input->purged) continue;
    purgeable_[source] = input->purged = input->committed;
  }
  purgeableAt_ = context_->journal->written();
}

}  // namespace penstock::streams
