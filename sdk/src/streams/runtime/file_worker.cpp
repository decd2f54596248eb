// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/file_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <exception>

namespace penstock::streams {
namespace {

// A dead member's tasks wait this long at most; looking costs a few system calls.
constexpr std::int64_t kRebalanceUs = 100'000;
// Purging is a frame of its own, so not with every commit.
constexpr std::int64_t kTrimUs = 1'000'000;
// Waiting for one journal does not wake us for another.
constexpr std::chrono::milliseconds kForeignWait{10};

std::string storeName(const ApplicationPlan& plan, const TaskId& id, std::size_t number) {
  const auto& store = plan.subtopologies[static_cast<std::size_t>(id.subtopology)].stores[number];
  return fmt::format("{}/{}/{}", plan.application, store.name, id.partition.value);
}

}  // namespace

struct FileWorker::Sync {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::exception_ptr error;
};

FileWorker::FileWorker(const ApplicationPlan& plan, std::shared_ptr<const FileLayout> layout)
    : plan_(plan),
      layout_(std::move(layout)),
      journal_(*layout_->journal),
      members_(
          std::make_unique<FileMembers>(layout_->journal, plan.application, layout_->groupStore)),
      group_(journal_.store(layout_->groupStore)),
      claimWait_("application " + plan.application) {
  for (const auto& inputs : layout_->inputs) {
    for (const auto& input : inputs) {
      if (input.foreign) foreign_.push_back(input.journal.get());
    }
  }
}

FileWorker::~FileWorker() = default;

std::string FileWorker::where(const TaskId& id) const {
  return fmt::format("task {} of application {} in {}", id.name(), plan_.application,
                     journal_.directory());
}

void FileWorker::poll(TaskListener& listener, std::chrono::milliseconds timeout) {
  if (layout_->clock->monotonicUs() >= nextRebalanceUs_) rebalance(listener);
  if (timeout.count() > 0 && layout_->threads) {
    journal_.waitForWritten(seen_, foreign_.empty() ? timeout : std::min(timeout, kForeignWait));
    // Nothing is left to read: says so when one of them has failed.
    for (state::Journal* journal : foreign_) {
      journal->waitForSynced(journal->synced(), std::chrono::milliseconds(0));
    }
  }
  seen_ = journal_.written();
}

void FileWorker::wakeup() { journal_.interruptWaits(); }

void FileWorker::rebalance(TaskListener& listener) {
  const std::vector<std::uint64_t> members = members_->living();
  const auto rank = static_cast<std::size_t>(
      std::find(members.begin(), members.end(), members_->number()) - members.begin());
  std::vector<TaskId> surplus;
  std::vector<TaskId> won;
  std::string holder;  // of a task that we want
  bool wanting = false;
  for (std::size_t s = 0; s < plan_.subtopologies.size(); ++s) {
    const auto subtopology = static_cast<std::int32_t>(s);
    const std::int32_t partitions = plan_.subtopologies[s].partitions;
    const std::int32_t quota = taskQuota(rank, members.size(), subtopology, partitions);
    std::vector<TaskId> owned;
    for (const auto& [id, task] : tasks_) {
      if (id.subtopology == subtopology) owned.push_back(id);
    }
    auto count = static_cast<std::int32_t>(owned.size());
    for (; count > quota; --count, owned.pop_back()) surplus.push_back(owned.back());
    // Each begins to look at another place, so that members seldom try for the same task.
    const auto first =
        static_cast<std::int32_t>(rank * static_cast<std::size_t>(partitions) / members.size());
    for (std::int32_t i = 0; i < partitions && count < quota; ++i) {
      const TaskId id{subtopology, PartitionIndex{(first + i) % partitions}};
      if (tasks_.contains(id) || !claim(id, holder)) continue;
      won.push_back(id);
      ++count;
    }
    wanting = wanting || count < quota;
  }
  claimWait_.look(wanting, holder, layout_->clock->monotonicUs());
  if (!surplus.empty()) {
    listener.revoking(surplus);
    for (const TaskId& id : surplus) tasks_.erase(id);
  }
  if (!won.empty()) listener.assigned(won);
  nextRebalanceUs_ = layout_->clock->monotonicUs() + kRebalanceUs;
}

bool FileWorker::claim(const TaskId& id, std::string& holder) {
  Task task;
  task.owned = layout_->owned->add(id);
  task.claim = journal_.tryClaim(FileLayout::claimName(plan_, id), &holder);
  if (!task.claim) return false;
  try {
    open(id, task);
  } catch (const state::InvalidArgument&) {
    checkTopics();
    throw;
  }
  tasks_.emplace(id, std::move(task));
  return true;
}

void FileWorker::open(const TaskId& id, Task& task) {
  std::string bytes;
  std::optional<StoredPosition> stored;
  if (group_->get(plan_.taskKey(id), bytes)) {
    stored = decodePosition(bytes);
    if (!stored) {
      throw state::FormatTooNew(
          where(id) + ": its positions were written by a newer Penstock; use a newer one");
    }
  }
  const auto& subtopology = plan_.subtopologies[static_cast<std::size_t>(id.subtopology)];
  if (stored && stored->inputs.size() != subtopology.inputs.size()) {
    throw ConfigurationError(fmt::format("{} has {} inputs, its committed positions have {}",
                                         where(id), subtopology.inputs.size(),
                                         stored->inputs.size()));
  }
  task.start.task = id;
  if (stored) task.start.streamTime = stored->streamTime;
  for (std::size_t i = 0; i < subtopology.stores.size(); ++i) {
    openStore(id, i, !stored, task);
  }
  task.inputs.resize(subtopology.inputs.size());
  for (std::size_t i = 0; i < subtopology.inputs.size(); ++i) {
    openInput(id, i, stored ? &stored->inputs[i] : nullptr, task);
  }
}

void FileWorker::openStore(const TaskId& id, std::size_t number, bool fresh, Task& task) {
  const std::string name = storeName(plan_, id, number);
  std::optional<state::StoreId> store = journal_.findStore(name);
  if (!store && !fresh) {
    throw Error(ErrorCode::RestoreState,
                fmt::format("{} has committed positions, but its store {} is not there. Counting "
                            "on from nothing would be wrong: restore the directory, or begin "
                            "anew under another application id",
                            where(id), name));
  }
  if (!store) store = journal_.declareStore(name);
  auto content = journal_.store(*store);
  if (fresh && content->size() > 0) {
    throw Error(ErrorCode::RestoreState,
                fmt::format("{} has no committed positions, but its store {} holds {} keys. "
                            "Reading its inputs from the start would count them twice: restore "
                            "the directory, or begin anew under another application id",
                            where(id), name, content->size()));
  }
  task.stores.push_back(std::make_shared<FileTaskStore>(std::move(content), commit_));
}

void FileWorker::openInput(const TaskId& id, std::size_t number, const InputPosition* stored,
                           Task& task) {
  const auto s = static_cast<std::size_t>(id.subtopology);
  Input& input = task.inputs[number];
  input.layout = &layout_->inputs[s][number];
  input.log = input.layout->logs[static_cast<std::size_t>(id.partition.value)];
  state::Journal& journal = *input.layout->journal;
  const std::string& topic = plan_.subtopologies[s].inputs[number].topic;
  if (stored == nullptr) {
    input.next = journal.log(input.log).start;
  } else {
    if (stored->log != input.log ||
        stored->journal != (input.layout->foreign ? journal.id() : std::string())) {
      throw state::PositionOutOfRange(
          fmt::format("{}: topic {} is not the one that its committed position {} stands in; it "
                      "was deleted and made anew, or its directory replaced",
                      where(id), topic, stored->at.offset));
    }
    if (input.layout->foreign) journal.checkPosition(input.log, stored->at);
    input.next = stored->at.offset;
  }
  input.trimmed = input.next;
  task.start.next.push_back(Offset{static_cast<std::int64_t>(input.next)});
  input.reader = std::make_unique<state::LogReader>(input.layout->journal, input.log, input.next);
  input.walker = file::RecordWalker(fmt::format("topic/{}/{}", topic, id.partition.value));
}

TaskPosition FileWorker::start(const TaskId& task) { return tasks_.at(task).start; }

std::shared_ptr<TaskStore> FileWorker::store(const TaskId& task, std::size_t store) {
  return tasks_.at(task).stores.at(store);
}

FetchResult FileWorker::fetch(const TaskId& task, std::size_t number, RecordBatch& batch) {
  Input& input = tasks_.at(task).inputs[number];
  const auto limit = input.layout->foreign ? state::ReadLimit::Synced : state::ReadLimit::Written;
  batch.clear();
  try {
    if (!input.reader->next(input.chunk, limit)) return FetchResult::AtEnd;
  } catch (const state::InvalidArgument&) {
    checkTopics();
    throw;
  }
  const state::LogChunk& chunk = input.chunk;
  input.walker.start(chunk.bytes, chunk.baseOffset, chunk.count);
  input.walker.skipTo(input.next);
  input.next = chunk.baseOffset + chunk.count;
  batch.records.reserve(input.walker.left());
  batch.headerViews.clear();
  RecordView record;
  bool headers = false;
  while (input.walker.next(record)) {
    if (!record.headers.empty()) {
      // The walker's headers last until its next record, and ours may move while they grow: only
      // the count is right until all are there.
      headers = true;
      batch.headerViews.insert(batch.headerViews.end(), record.headers.begin(),
                               record.headers.end());
    }
    batch.records.push_back(record);
  }
  if (headers) {
    const HeaderView* at = batch.headerViews.data();
    for (RecordView& each : batch.records) {
      each.headers = {at, each.headers.size()};
      at += each.headers.size();
    }
  }
  batch.owner = chunk.owner;
  batch.next = Offset{static_cast<std::int64_t>(input.next)};
  return FetchResult::Records;
}

std::optional<Offset> FileWorker::knownEnd(const TaskId& task, std::size_t number) noexcept {
  try {
    const Input& input = tasks_.at(task).inputs.at(number);
    const state::LogInfo info = input.layout->journal->log(input.log);
    return Offset{static_cast<std::int64_t>(input.layout->foreign ? info.syncedEnd : info.end)};
  } catch (const std::exception&) {  // the topic may be gone: fetch will say so
    return std::nullopt;
  }
}

void FileWorker::output(std::size_t output, PartitionIndex partition, const RecordView& record) {
  const state::LogId log = layout_->outputs[output][static_cast<std::size_t>(partition.value)];
  std::string& buffer = commit_.recordBuffer(log);
  const std::size_t before = buffer.size();
  try {
    file::encodeRecord(record, buffer);
  } catch (...) {  // the record may be passed over: nothing of it stays
    buffer.resize(before);
    throw;
  }
  commit_.recordAdded(log, record.timestamp.ms);
}

void FileWorker::commit(std::span<const TaskPosition> positions) {
  for (const TaskPosition& position : positions) {
    const Task& task = tasks_.at(position.task);
    StoredPosition stored{position.streamTime, {}};
    for (std::size_t i = 0; i < task.inputs.size(); ++i) {
      const Input& input = task.inputs[i];
      const auto offset = static_cast<std::uint64_t>(position.next[i].value);
      InputPosition& at = stored.inputs.emplace_back();
      at.log = input.log;
      at.at.offset = offset;
      if (input.layout->foreign) {
        at.journal = input.layout->journal->id();
        at.at = input.layout->journal->position(input.log, offset);
      }
    }
    encoded_.clear();
    encodePosition(stored, encoded_);
    commit_.put(layout_->groupStore, plan_.taskKey(position.task), encoded_);
    commit_.require(*task.claim);
  }
  // Written here, so that what follows can be read from it at once; the sync overlaps with what
  // is processed next, because whatever is derived from now on are later frames of this journal.
  const bool synced = layout_->durability == state::Durability::Synced;
  const bool inlineSync = synced && !layout_->threads;
  try {
    journal_.commit(commit_, inlineSync ? state::Durability::Synced : state::Durability::Buffered);
    trimRepartitions(positions);
  } catch (const state::InvalidArgument&) {
    checkTopics();
    throw;
  }
  if (synced && !inlineSync) {
    auto sync = std::make_shared<Sync>();
    sync_ = sync;
    journal_.commitAsync(state::Commit(), state::Durability::Synced,
                         [sync](const state::CommitResult&, std::exception_ptr error) {
                           const std::lock_guard lock(sync->mutex);
                           sync->error = std::move(error);
                           sync->done = true;
                           sync->changed.notify_all();
                         });
  }
}

bool FileWorker::settled() {
  if (!sync_) return true;
  {
    const std::lock_guard lock(sync_->mutex);
    if (!sync_->done) return false;
  }
  settle();
  return true;
}

void FileWorker::settle() {
  if (!sync_) return;
  const std::shared_ptr<Sync> sync = std::move(sync_);
  sync_.reset();
  std::unique_lock lock(sync->mutex);
  sync->changed.wait(lock, [&] { return sync->done; });
  if (sync->error) std::rethrow_exception(sync->error);
}

void FileWorker::trimRepartitions(std::span<const TaskPosition> positions) {
  const std::int64_t now = layout_->clock->monotonicUs();
  if (now < nextTrimUs_) return;
  nextTrimUs_ = now + kTrimUs;
  for (const TaskPosition& position : positions) {
    const auto s = static_cast<std::size_t>(position.task.subtopology);
    Task& task = tasks_.at(position.task);
    for (std::size_t i = 0; i < task.inputs.size(); ++i) {
      const auto committed = static_cast<std::uint64_t>(position.next[i].value);
      if (!plan_.subtopologies[s].inputs[i].repartition || task.inputs[i].trimmed >= committed) {
        continue;
      }
      journal_.trimLog(task.inputs[i].log, committed);
      task.inputs[i].trimmed = committed;
    }
  }
}

void FileWorker::checkTopics() {
  const auto check = [&](state::Journal& journal, state::LogId log, const std::string& topic) {
    try {
      static_cast<void>(journal.log(log));
    } catch (const state::InvalidArgument&) {
      throw ConfigurationError(
          fmt::format("application {}: topic {} of {} was deleted while the application uses it",
                      plan_.application, topic, journal.directory()));
    }
  };
  for (std::size_t s = 0; s < layout_->inputs.size(); ++s) {
    for (std::size_t i = 0; i < layout_->inputs[s].size(); ++i) {
      const FileLayout::Input& input = layout_->inputs[s][i];
      for (const state::LogId log : input.logs) {
        check(*input.journal, log, plan_.subtopologies[s].inputs[i].topic);
      }
    }
  }
  for (std::size_t output = 0; output < layout_->outputs.size(); ++output) {
    for (const state::LogId log : layout_->outputs[output]) {
      check(journal_, log, plan_.outputs[output].topic);
    }
  }
}

void FileWorker::restart() {
  sync_.reset();
  commit_.reset();
  tasks_.clear();
  nextRebalanceUs_ = 0;
}

void FileWorker::close(TaskListener& listener) {
  std::vector<TaskId> all;
  for (const auto& [id, task] : tasks_) all.push_back(id);
  if (!all.empty()) listener.revoking(all);
  tasks_.clear();
  members_.reset();
}

}  // namespace penstock::streams
