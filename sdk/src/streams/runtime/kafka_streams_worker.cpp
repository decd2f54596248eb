// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_streams_worker.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>

#include <algorithm>
#include <utility>

#include "fail_points.h"

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
  restores_.clear();
  if (outputs_) outputs_->abandon();
}

std::unique_ptr<kafka::KafkaConsumer> KafkaStreamsWorker::makeConsumer() const {
  return std::make_unique<kafka::KafkaConsumer>(context_->settings,
                                                consumerOptions(*context_, instanceId_));
}

/// The earlier ones may be beyond use, and their failures are those of what is dropped.
void KafkaStreamsWorker::makeProducers() {
  left_ = left_ || (transactions_ && transactions_->open());
  outputTopics_.assign(plan_.outputs.size(), nullptr);
  transactions_.reset();
  transactions_ =
      std::make_unique<kafka::TransactionalProducer>(context_->producing(), instanceId_);
  initialised_ = false;
  writer_ = randomWriter();
  number_ = 0;
  if (context_->guarantee == Guarantee::ExactlyOnce) return;
  if (outputs_) outputs_->abandon();
  outputs_ = std::make_unique<kafka::KafkaProducer>(context_->producing(), ProducerOptions{});
}

void KafkaStreamsWorker::initialise() {
  if (!initialised_) transactions_->initialise();
  initialised_ = true;
  left_ = false;
  failPoint("producer-ready");
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

// ---- life

void KafkaStreamsWorker::restart() {
  forget();
  makeProducers();
  holds_ = context_->guarantee == Guarantee::ExactlyOnce;
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
  std::exception_ptr failure;
  try {
    const std::vector<TaskId> ids = readyTasks();
    if (!ids.empty()) listener.revoking(ids);
    if (outputs_) outputs_->close();
  } catch (...) {
    failure = std::current_exception();
  }
  forget();
  consumer_->leave();  // in any case: the others need not wait
  listener_ = nullptr;
  if (failure) std::rethrow_exception(failure);
}

// ---- reading

void KafkaStreamsWorker::poll(TaskListener& listener, std::chrono::milliseconds timeout) {
  listener_ = &listener;
  struct Guard {
    KafkaStreamsWorker& worker;
    ~Guard() { worker.listener_ = nullptr; }
  } const guard{*this};
  if (left_) initialise();
  takeRestored();
  if (claimAt_ && Clock::now() >= *claimAt_) takeStores();
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
  if (outputs_) {
    outputs_->send(plan_.outputs[output].topic, partition, record, {});
  } else if (holds_) {
    held_.push_back({output, partition, record.copy()});
    heldBytes_ += (record.key ? record.key->size() : 0) + (record.value ? record.value->size() : 0);
  } else {
    send(output, partition, record);
  }
}

void KafkaStreamsWorker::send(std::size_t output, PartitionIndex partition,
                              const RecordView& record) {
  kafka::ProducerTopic*& topic = outputTopics_[output];
  if (topic == nullptr || partition.value >= topic->partitions) {
    topic = &transactions_->topic(plan_.outputs[output].topic, partition);
  }
  transactions_->send(*topic, partition, record);
}

std::size_t KafkaStreamsWorker::pendingBytes() const noexcept {
  return heldBytes_ + transactions_->openBytes();
}

void KafkaStreamsWorker::commit(std::span<const TaskPosition> positions) {
  if (positions.empty()) return;
  failPoint("commit-begins");
  if (outputs_) outputs_->flush(flushTimeout);
  for (const Held& each : std::exchange(held_, {})) {
    const Record& record = each.record;
    std::vector<HeaderView> headers;
    for (const Header& header : record.headers) headers.push_back({header.name, header.value});
    send(each.output, each.partition, {record.key, record.value, record.timestamp, {}, headers});
  }
  heldBytes_ = 0;
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
    task.local.wallMs = state::Environment::real().clock->wallMs();
    commit_.put(context_->groupStore, plan_.taskKey(position.task), encodeLocal(task.local));
    if (task.claim) commit_.require(*task.claim);
  }
  const bool localFirst = planted(Planted::LocalCommitFirst);
  if (!localFirst) transactions_->commit(group, consumer_->membership());
  // It need not be on disk: what a power cut takes back is in the changelogs.
  if (!commit_.empty()) {
    context_->journal->commit(commit_, state::Durability::Buffered);
    failPoint("state-committed");
  }
  if (localFirst) transactions_->commit(group, consumer_->membership());
  const auto now = Clock::now();
  nextRefresh_ = now + context_->refreshEvery;
  // Records that take so long that a transaction does not last.
  if (now - committedAt_ < context_->transactionTimeout / 2) holds_ = false;
  committedAt_ = now;
}

/// Behind the last record may stand control records of transactions. They change nothing here,
/// but who waits for the end compares with what the group has committed.
void KafkaStreamsWorker::commitEnds() {
  if (transactions_->open() || !held_.empty() || !commit_.empty()) return;
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
  if (now < nextRefresh_ || transactions_->open() || !held_.empty() || !commit_.empty()) return;
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
