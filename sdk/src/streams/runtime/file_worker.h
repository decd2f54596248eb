// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "file/claim_wait.h"
#include "file/record_codec.h"
#include "streams/runtime/backend.h"
#include "streams/runtime/file_members.h"
#include "streams/runtime/task_position_codec.h"

/// One worker of the file backend (file_backend.h).
namespace penstock::streams {

/// The tasks that the workers of this process own.
///
/// Threads: safe from any thread.
class OwnedTasks {
 public:
  /// `id` is owned while the result lives.
  [[nodiscard]] std::shared_ptr<void> add(const TaskId& id) {
    const std::lock_guard lock(mutex_);
    ids_.insert(id);
    return {nullptr, [this, id](void*) {
              const std::lock_guard guard(mutex_);
              ids_.erase(ids_.find(id));
            }};
  }
  [[nodiscard]] bool contains(const TaskId& id) const {
    const std::lock_guard lock(mutex_);
    return ids_.contains(id);
  }

 private:
  mutable std::mutex mutex_;
  std::multiset<TaskId> ids_;  // a worker may try for what another one has
};

/// What FileBackend::prepare found, shared by its workers; the plan's numbers are its indices.
struct FileLayout {
  struct Input {
    std::shared_ptr<state::Journal> journal;
    bool foreign = false;            // another directory's
    std::vector<state::LogId> logs;  // by partition
  };
  std::shared_ptr<state::Journal> journal;
  state::StoreId groupStore;
  std::vector<std::vector<Input>> inputs;          // by sub-topology, input
  std::vector<std::vector<state::LogId>> outputs;  // by output, partition
  state::Durability durability = state::Durability::Synced;
  state::Clock* clock = nullptr;
  bool threads = true;
  const std::unique_ptr<OwnedTasks> owned = std::make_unique<OwnedTasks>();

  static std::string claimName(const ApplicationPlan& plan, const TaskId& task) {
    return plan.application + "/" + plan.taskKey(task);
  }
};

/// Content of a store of one task; changes go into the worker's commit.
class FileTaskStore final : public TaskStore {
 public:
  FileTaskStore(std::shared_ptr<state::Store> content, state::Commit& commit)
      : content_(std::move(content)), id_(content_->id()), commit_(&commit) {}
  bool get(std::string_view key, std::string& value) const override {
    return content_->get(key, value);
  }
  void scan(std::string_view from, std::string_view to,
            const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    content_->scan(from, to, visit);
  }
  [[nodiscard]] std::uint64_t size() const override { return content_->size(); }
  void put(std::string_view key, std::string_view value, EventTime) override {
    commit_->put(id_, key, value);
  }
  void erase(std::string_view key, EventTime) override { commit_->erase(id_, key); }

 private:
  std::shared_ptr<state::Store> content_;
  state::StoreId id_;
  state::Commit* commit_;
};

class FileWorker final : public WorkerBackend {
 public:
  FileWorker(const ApplicationPlan& plan, std::shared_ptr<const FileLayout> layout);
  ~FileWorker() override;

  void poll(TaskListener& listener, std::chrono::milliseconds timeout) override;
  void wakeup() override;
  TaskPosition start(const TaskId& task) override;
  std::shared_ptr<TaskStore> store(const TaskId& task, std::size_t store) override;
  FetchResult fetch(const TaskId& task, std::size_t input, RecordBatch& batch) override;
  std::optional<Offset> knownEnd(const TaskId& task, std::size_t input) noexcept override;
  void output(std::size_t output, PartitionIndex partition, const RecordView& record) override;
  [[nodiscard]] std::size_t pendingBytes() const noexcept override { return commit_.bytes(); }
  void commit(std::span<const TaskPosition> positions) override;
  bool settled() override;
  void settle() override;
  void restart() override;
  void close(TaskListener& listener) override;

 private:
  struct Input {
    const FileLayout::Input* layout = nullptr;
    state::LogId log;
    std::unique_ptr<state::LogReader> reader;
    state::LogChunk chunk;
    file::RecordWalker walker;
    std::uint64_t next = 0;     // offset of the next record to fetch
    std::uint64_t trimmed = 0;  // a repartition topic is purged up to here
  };
  struct Task {
    std::shared_ptr<void> owned;  // longer than the claim
    std::unique_ptr<state::Claim> claim;
    TaskPosition start;
    std::vector<Input> inputs;
    std::vector<std::shared_ptr<FileTaskStore>> stores;
  };
  /// Outcome of the sync under way; outlives the worker when it is dropped meanwhile.
  struct Sync;

  void rebalance(TaskListener& listener);
  /// False when somebody else has it: `holder`.
  bool claim(const TaskId& id, std::string& holder);
  void open(const TaskId& id, Task& task);
  void openInput(const TaskId& id, std::size_t number, const InputPosition* stored, Task& task);
  void openStore(const TaskId& id, std::size_t number, bool fresh, Task& task);
  void trimRepartitions(std::span<const TaskPosition> positions);
  /// Throws ConfigurationError when a topic that is read or written was deleted.
  void checkTopics();
  [[nodiscard]] std::string where(const TaskId& id) const;

  const ApplicationPlan& plan_;
  std::shared_ptr<const FileLayout> layout_;
  state::Journal& journal_;
  state::Commit commit_;
  std::unique_ptr<FileMembers> members_;
  std::shared_ptr<state::Store> group_;
  std::map<TaskId, Task> tasks_;
  std::shared_ptr<Sync> sync_;
  state::Sequence seen_;  // frames up to here have been fetched from
  std::int64_t nextRebalanceUs_ = 0;
  std::int64_t nextTrimUs_ = 0;
  file::ClaimWait claimWait_;
  std::vector<state::Journal*> foreign_;  // those of inputs elsewhere
  std::string encoded_;                   // kept for its buffer
};

}  // namespace penstock::streams
