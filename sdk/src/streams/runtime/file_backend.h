// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "streams/runtime/backend.h"
#include "streams/runtime/file_worker.h"

/// The file backend: topics, state, positions and claims of an application are frames of one
/// Shared journal, that of the application's directory.
///
/// 1. A commit of a worker is one frame: changes of its tasks' stores, its output records, the
///    positions of all its tasks, under the requirement that each task's claim is still the
///    newest. So it is whole or it is not, and nobody else's work can be in between.
/// 2. Inputs of this directory are read ahead of the sync: what is made of them are later frames
///    of the same journal, so that power loss takes back cause and effect together. Inputs of
///    another directory are read up to its synced position.
/// 3. A task belongs to who holds the claim `<application>/task/<sub-topology>/<partition>`. It
///    is taken before its positions are read, so they are those of the last commit of whoever
///    had it before.
/// 4. Stores are named `<application>/<store>/<partition>`; the group's store `<application>
///    group` holds `task/<sub-topology>/<partition>` -> positions, `member/<number>`, `topology`
///    -> fingerprint.
namespace penstock::streams {

struct FileBackendOptions {
  std::string directory;
  state::Durability durability = state::Durability::Synced;  // of commits
  state::JournalOptions journal;                             // `sharing` is always Shared
};

class FileBackend final : public Backend {
 public:
  explicit FileBackend(const FileBackendOptions& options,
                       const state::Environment& environment = state::Environment::real());

  void prepare(ApplicationPlan& plan) override;
  std::unique_ptr<WorkerBackend> worker(const ApplicationPlan& plan, std::size_t number) override;
  Offset end(const InputPlan& input, PartitionIndex partition) override;
  std::optional<Offset> committed(const TaskId& task, std::size_t input) override;
  std::string holder(const TaskId& task) override;
  [[nodiscard]] state::JournalMetrics journalMetrics() const override {
    return journal_->metrics();
  }

 private:
  /// The journal that a topic of `address` lives in.
  std::shared_ptr<state::Journal> journalOf(const std::string& address);
  FileLayout::Input findInput(const ApplicationPlan& plan, const InputPlan& input);
  std::vector<state::LogId> prepareOutput(std::int32_t writerPartitions, OutputPlan& output);
  void checkTopology(const ApplicationPlan& plan);

  FileBackendOptions options_;
  state::Environment environment_;
  std::shared_ptr<state::Journal> journal_;
  std::map<std::string, std::shared_ptr<state::Journal>> others_;  // by address; set by prepare
  std::shared_ptr<const FileLayout> layout_;                       // set by prepare
  std::shared_ptr<state::Store> group_;
  const ApplicationPlan* plan_ = nullptr;  // set by prepare
};

}  // namespace penstock::streams
