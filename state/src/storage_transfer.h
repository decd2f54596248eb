// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/state/transfer.h>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "storage_access.h"

/// What every export and every import does; paths are those of storage_path.h.
namespace penstock::state {

/// A storage of an export.
struct StorageCopy {
  std::string path;
  std::uint64_t keys = 0;
  std::shared_ptr<const Store> content;
};

/// A storage and all its sub-storages at one moment, in order of paths.
std::vector<StorageCopy> captureStorages(const LocalFileStorage& storage);

/// Tells the callback of a transfer, if there is one.
///
/// Threads: owned by one thread.
class ProgressTeller {
 public:
  explicit ProgressTeller(ProgressCallback callback) : callback_(std::move(callback)) {}
  void begin(TransferPhase phase, std::optional<std::uint64_t> keysTotal);
  void keyDone();
  void end();

 private:
  void tell() const {
    if (callback_) callback_(progress_);
  }
  ProgressCallback callback_;
  TransferProgress progress_;
};

/// Puts what an import read into a storage. First everything is announced (`expect…`), then
/// `beginCopying`, then everything is put, in any order, and `finish`ed.
///
/// Threads: owned by one thread.
/// Errors: InvalidArgument for what a storage does not take, and for keys that are there already.
class StorageImporter {
 public:
  struct Options {
    bool overwrite = false;
    bool keysDiffer = false;  // the source vouches for it: no key is there twice
    std::uint64_t batchBytes = 0;
  };
  StorageImporter(LocalFileStorage& into, const Options& options, ProgressCallback progress);

  void expectStorage(const std::string& path);
  /// `place` says where in the source it is; the place of the same key before, if there was one.
  [[nodiscard]] std::optional<std::uint64_t> expect(const std::string& path, std::string_view key,
                                                    std::uint64_t place);
  /// Refuses what is there already; creates the sub-storages.
  void beginCopying();
  /// What was not expected is SourceChanged.
  void put(const std::string& path, std::string_view key, std::string_view stored);
  ImportReport finish();
  [[nodiscard]] std::uint64_t batches() const noexcept { return report_.batches; }  // written

 private:
  struct Target {
    StoreId id;
    std::shared_ptr<Store> store;  // null: not there yet
  };
  struct Collision {
    std::uint64_t count = 0;
    std::string names;  // of the first few
    void add(const std::string& path, std::string_view key);
  };
  Target& target(const std::string& path);
  void commitBatch();
  [[noreturn]] void refuse(const Collision& present) const;

  LocalFileStorage& into_;
  const Options options_;
  const bool remembersKeys_;
  ProgressTeller progress_;
  std::map<std::string, Target> targets_;
  std::unordered_map<std::string, std::uint64_t> seen_;
  Collision present_;
  Commit batch_;
  std::vector<std::pair<const std::string*, std::string>> batchKeys_;  // path, key
  std::uint64_t batchBytes_ = 0;  // of keys and values, as Options::batchBytes counts
  ImportReport report_;
  std::uint64_t expected_ = 0;
};

}  // namespace penstock::state
