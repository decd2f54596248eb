// SPDX-License-Identifier: Apache-2.0
#include "storage_transfer.h"

#include <fmt/format.h>

#include <algorithm>

#include "penstock/state/errors.h"
#include "storage_path.h"
#include "storage_space.h"

namespace penstock::state {

namespace {

constexpr std::uint64_t keysPerCall = 1024;  // of a progress callback; arbitrary
constexpr std::uint64_t namedMax = 10;       // keys in a message; arbitrary

std::string shownAt(const std::string& path, std::string_view key) {
  return path.empty() ? shownKey(key) : fmt::format("{} of sub-storage {}", shownKey(key), path);
}

}  // namespace

std::vector<StorageCopy> captureStorages(const LocalFileStorage& storage) {
  const StorageSnapshot now = storage.snapshot();
  const std::size_t rootBytes = StorageAccess::storeName(now).size();
  std::vector<StorageCopy> copies;
  for (const auto& [name, store] : StorageAccess::stores(now)) {
    const std::size_t from = std::min(name.size(), rootBytes + 1);
    copies.push_back({name.substr(from), store->size(), store});
  }
  return copies;
}

void ProgressTeller::begin(TransferPhase phase, std::optional<std::uint64_t> keysTotal) {
  progress_ = {phase, 0, keysTotal};
}

void ProgressTeller::keyDone() {
  if (++progress_.keys % keysPerCall == 0) tell();
}

void ProgressTeller::end() {
  progress_.keysTotal = progress_.keys;
  tell();
}

StorageImporter::StorageImporter(LocalFileStorage& into, const Options& options,
                                 ProgressCallback progress)
    : into_(into),
      options_(options),
      remembersKeys_(!options.keysDiffer || StorageAccess::foldsKeys(into)),
      progress_(std::move(progress)) {
  progress_.begin(TransferPhase::Checking, std::nullopt);
  expectStorage({});
}

StorageImporter::Target& StorageImporter::target(const std::string& path) {
  if (const auto known = targets_.find(path); known != targets_.end()) return known->second;
  Journal& journal = *StorageAccess::journal(into_);
  Target fresh;  // kept only when it can be one
  if (const auto id = journal.findStore(StorageAccess::storeNameAt(into_, path))) {
    fresh = {*id, journal.store(*id)};
  }
  return targets_.emplace(path, std::move(fresh)).first->second;
}

void StorageImporter::expectStorage(const std::string& path) { (void)target(path); }

std::optional<std::uint64_t> StorageImporter::expect(const std::string& path, std::string_view key,
                                                     std::uint64_t place) {
  const std::string stored = StorageAccess::storedKey(into_, key);
  const Target& to = target(path);
  if (remembersKeys_) {
    const auto [at, fresh] = seen_.try_emplace(path + '\0' + stored, place);
    if (!fresh) return at->second;
  }
  if (!options_.overwrite && StorageAccess::holds(into_, to.store.get(), stored)) {
    present_.add(path, stored);
  }
  ++expected_;
  progress_.keyDone();
  return std::nullopt;
}

void StorageImporter::Collision::add(const std::string& path, std::string_view key) {
  if (++count > namedMax) return;
  if (count > 1) names += ", ";
  names += shownAt(path, key);
}

void StorageImporter::refuse(const Collision& present) const {
  throw InvalidArgument(fmt::format(
      "{}: {} of the keys to be imported {} there already: {}{}; {}. Import into another storage, "
      "remove them, or ask for them to be overwritten",
      into_.directory(), present.count, present.count == 1 ? "is" : "are", present.names,
      present.count > namedMax ? ", ..." : "",
      report_.batches == 0
          ? std::string("nothing was imported")
          : fmt::format("{} of {} keys were imported before", report_.keys, expected_)));
}

void StorageImporter::beginCopying() {
  progress_.end();
  if (present_.count != 0) refuse(present_);
  seen_.clear();
  Journal& journal = *StorageAccess::journal(into_);
  for (auto& [path, to] : targets_) {
    if (to.store) continue;
    to.id = StorageAccess::declareStoreAt(into_, path);
    to.store = journal.store(to.id);
  }
  report_.storages = targets_.size();
  progress_.begin(TransferPhase::Copying, expected_);
}

void StorageImporter::put(const std::string& path, std::string_view key, std::string_view stored) {
  checkValue(key, stored);
  const auto to = targets_.find(path);
  if (to == targets_.end() || batchKeys_.size() + report_.keys == expected_) {
    throw SourceChanged(
        fmt::format("the key {} came in while it was imported; import again", shownAt(path, key)));
  }
  std::string storedKey = StorageAccess::storedKey(into_, key);
  const std::uint64_t bytes = storedKey.size() + stored.size();
  if (batchBytes_ != 0 && batchBytes_ + bytes > options_.batchBytes) commitBatch();
  batchBytes_ += bytes;
  batch_.put(to->second.id, storedKey, stored);
  batchKeys_.emplace_back(&to->first, std::move(storedKey));
}

void StorageImporter::commitBatch() {
  Journal& journal = *StorageAccess::journal(into_);
  if (options_.overwrite) {
    (void)journal.commit(batch_, Durability::Synced);
  } else {
    (void)journal.transact(
        [&](Commit& commit) {
          Collision present;  // set by others since it was looked for
          for (const auto& [path, key] : batchKeys_) {
            const Store* store = targets_.at(*path).store.get();
            if (StorageAccess::holds(into_, store, key)) present.add(*path, key);
          }
          if (present.count != 0) refuse(present);
          commit = std::move(batch_);
        },
        Durability::Synced);
    batch_ = Commit();
  }
  ++report_.batches;
  report_.keys += batchKeys_.size();
  for (std::size_t i = 0; i < batchKeys_.size(); ++i) progress_.keyDone();
  batchKeys_.clear();
  batchBytes_ = 0;
}

ImportReport StorageImporter::finish() {
  if (!batch_.empty()) commitBatch();
  progress_.end();
  return report_;
}

}  // namespace penstock::state
