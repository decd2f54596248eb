// SPDX-License-Identifier: Apache-2.0

// LocalFileStorage: a face of the journal.
//
// 1. A storage is one store of the directory's journal, called "storage"; a sub-storage is one
//    called after its parent's: "storage/orders". The bytes of a sub-storage's name that are not
//    A-Z a-z 0-9 _ - . are written %XX, so any name comes back and none holds a '/'.
// 2. Values are stored as penstock/state/detail/stored.h says.
// 3. Whatever can be refused is refused before the journal is touched.
// 4. A value that expires says so itself. Readers take it for absent by the wall clock, and the
//    next snapshot leaves it out; there is no list of times that could disagree with it.

#include "penstock/state/local_file_storage.h"

#include <fmt/format.h>

#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "penstock/state/detail/storage_names.h"
#include "storage_path.h"
#include "storage_space.h"

namespace penstock::state {

namespace {

// A thread keeps the buffers of its last commit up to this size; arbitrary.
constexpr std::size_t keptBytesMax = std::size_t{1} << 20;

// The calling thread's commit, empty, with the buffers of its last one.
class KeptCommit {
 public:
  KeptCommit() { kept().reset(); }
  KeptCommit(const KeptCommit&) = delete;
  KeptCommit& operator=(const KeptCommit&) = delete;
  Commit& operator*() noexcept { return kept(); }
  void put(StoreId store, std::string_view key, std::string_view value) {
    large_ = key.size() + value.size() > keptBytesMax;
    kept().put(store, key, value);
  }
  ~KeptCommit() {
    if (!large_) return;
    try {
      kept() = Commit();
    } catch (const std::bad_alloc&) {  // it keeps them a while longer
    }
  }

 private:
  static Commit& kept() {
    thread_local Commit commit;
    return commit;
  }
  bool large_ = false;
};

// A future that a commit's callback makes ready.
struct Outcome {
  std::shared_ptr<std::promise<void>> promise = std::make_shared<std::promise<void>>();

  std::function<void(const CommitResult&, std::exception_ptr)> callback() const {
    return [kept = promise](const CommitResult&, std::exception_ptr failure) {
      if (failure) {
        kept->set_exception(std::move(failure));
      } else {
        kept->set_value();
      }
    };
  }
};

std::future<void> commitLater(Journal& journal, Commit commit, Durability durability) {
  const Outcome outcome;
  journal.commitAsync(std::move(commit), durability, outcome.callback());
  return outcome.promise->get_future();
}

std::future<void> failed() {
  std::promise<void> promise;
  promise.set_exception(std::current_exception());
  return promise.get_future();
}

}  // namespace

std::string LocalFileStorage::defaultDirectory() {
  const char* directory = std::getenv("PENSTOCK_STATE_DIR");
  return directory != nullptr && *directory != '\0' ? directory : "./state";
}

LocalFileStorage::LocalFileStorage() : LocalFileStorage(defaultDirectory()) {}

LocalFileStorage::LocalFileStorage(const std::string& directory,
                                   const LocalFileStorageOptions& options,
                                   const Environment& environment) {
  if (directory.empty()) {
    throw ConfigurationError(
        "LocalFileStorage: the directory is empty; name one, for example "
        "./state");
  }
  JournalOptions journalOptions;
  journalOptions.sharing = options.sharing;
  journalOptions.allowNetworkFileSystem = options.allowNetworkFileSystem;
  journalOptions.createDirectory = options.createDirectory;
  journalOptions.syncInterval = options.syncInterval;
  (void)ttlMsOf(options.ttl);
  Environment used = environment;
  if (options.engine == Engine::Memory) used.files = Environment::memory().files;
  space_ = Space::open(Journal::open(directory, journalOptions, used), options, used.clock,
                       std::string(detail::rootStore));
}

LocalFileStorage::LocalFileStorage(std::shared_ptr<const Space> space)
    : StorageReader(std::move(space)) {}

JournalMetrics LocalFileStorage::metrics() const { return space_->journal->metrics(); }

const std::vector<std::string>& LocalFileStorage::warnings() const noexcept {
  return space_->journal->warnings();
}

void LocalFileStorage::writeStored(std::string_view key, std::string& bytes,
                                   const SetOptions& options) {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  space_->wrap(key, bytes, options);
  KeptCommit commit;
  commit.put(space_->store->id(), storeKey, bytes);
  space_->journal->commit(*commit, space_->options.durability);
}

std::future<void> LocalFileStorage::writeStoredAsync(std::string_view key, std::string& bytes,
                                                     const SetOptions& options) {
  try {
    const StoreKey storeKey(key, space_->options.lowerCaseKeys);
    space_->wrap(key, bytes, options);
    Commit commit;
    commit.put(space_->store->id(), storeKey, bytes);
    return commitLater(*space_->journal, std::move(commit), space_->options.durability);
  } catch (...) {
    return failed();
  }
}

void LocalFileStorage::updateStored(std::string_view key, const StoredChange& change,
                                    const SetOptions& options, std::function<void(Failure)> done) {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  const Durability durability = space_->options.durability;
  const auto fill = [&](Commit& commit) {
    std::string found;
    std::string bytes;
    change(readStored(key, found) ? &found : nullptr, bytes);
    space_->wrap(key, bytes, options);
    commit.put(space_->store->id(), storeKey, bytes);
  };
  if (!done) {
    space_->journal->transact(fill, durability);
    return;
  }
  // Written at once, because `change` needs the writers to stand still; a commit without changes
  // then waits in everybody's queue for the sync.
  space_->journal->transact(fill, Durability::Buffered);
  if (durability == Durability::Buffered) {
    done(nullptr);
  } else {
    try {
      space_->journal->commitAsync(
          Commit(), durability,
          [done](const CommitResult&, std::exception_ptr failure) { done(std::move(failure)); });
    } catch (const std::bad_alloc&) {  // the change is made: it must not be told as failed
      space_->journal->flush();
      done(nullptr);
    }
  }
}

void LocalFileStorage::remove(std::string_view key) {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  KeptCommit commit;
  (*commit).erase(space_->store->id(), storeKey);
  space_->journal->commit(*commit, space_->options.durability);
}

void LocalFileStorage::clear() {
  KeptCommit commit;
  space_->clear(*commit);
  space_->journal->commit(*commit, space_->options.durability);
}

Batch LocalFileStorage::batch() const { return Batch(*this); }

void LocalFileStorage::write(Batch& batch) {
  if (!batch.space_->journal->sameAs(*space_->journal)) {
    throw InvalidArgument(fmt::format("the batch was made for {}, not for {}",
                                      batch.space_->journal->directory(), directory()));
  }
  if (batch.empty()) return;
  batch.space_->journal->commit(batch.commit_, space_->options.durability);
}

LocalFileStorage LocalFileStorage::subStorage(std::string_view name) const {
  return LocalFileStorage(Space::open(space_->journal, space_->options, space_->clock,
                                      space_->nameAt(pathBelow({}, name))));
}

StorageSnapshot LocalFileStorage::snapshot() const {
  Journal& journal = *space_->journal;
  const std::string below = space_->storeName + '/';
  const auto declared = [&] {
    std::vector<StoreInfo> stores = journal.stores();
    std::erase_if(stores, [&](const StoreInfo& info) {
      return info.name != space_->storeName && !info.name.starts_with(below);
    });
    return stores;
  };
  auto space = std::make_shared<Space>(*space_);
  // False when a sub-storage came meanwhile: it may hold a part of a batch that these hold the
  // rest of.
  const auto take = [&] {
    const std::vector<StoreInfo> stores = declared();
    std::vector<StoreId> ids;
    for (const StoreInfo& info : stores) ids.push_back(info.id);
    const auto views = journal.views(ids);
    if (declared().size() != stores.size()) return false;
    Space::Views named;
    for (std::size_t i = 0; i < views.size(); ++i) named.emplace(stores[i].name, views[i]);
    space->store = named.at(space_->storeName);
    space->views = std::make_shared<const Space::Views>(std::move(named));
    return true;
  };
  constexpr int attemptsMax = 3;  // then writers wait, lest it never ends; arbitrary
  bool taken = false;
  for (int attempt = 0; !taken && attempt < attemptsMax; ++attempt) taken = take();
  if (!taken) {
    (void)journal.transact([&](Commit&) { (void)take(); }, Durability::Buffered);
  }
  return StorageSnapshot(std::move(space));
}

void LocalFileStorage::flush() { space_->journal->flush(); }

std::future<bool> LocalFileStorage::containsKeyAsync(std::string_view key) const {
  return ready([&] { return containsKey(key); });
}

std::future<void> LocalFileStorage::removeAsync(std::string_view key) {
  try {
    Commit commit;
    commit.erase(space_->store->id(), StoreKey(key, space_->options.lowerCaseKeys));
    return commitLater(*space_->journal, std::move(commit), space_->options.durability);
  } catch (...) {
    return failed();
  }
}

std::future<std::int64_t> LocalFileStorage::getLongAsync(std::string_view key) const {
  return getAsync<std::int64_t>(key);
}

std::future<double> LocalFileStorage::getDoubleAsync(std::string_view key) const {
  return getAsync<double>(key);
}

std::future<std::string> LocalFileStorage::getStringAsync(std::string_view key) const {
  return getAsync<std::string>(key);
}

std::future<Binary> LocalFileStorage::getBinaryAsync(std::string_view key) const {
  return getAsync<Binary>(key);
}

std::future<bool> LocalFileStorage::getBoolAsync(std::string_view key) const {
  return getAsync<bool>(key);
}

std::future<void> LocalFileStorage::clearAsync() {
  try {
    Commit commit;
    space_->clear(commit);
    return commitLater(*space_->journal, std::move(commit), space_->options.durability);
  } catch (...) {
    return failed();
  }
}

std::future<std::vector<std::string>> LocalFileStorage::getAllKeysAsync() const {
  return ready([&] { return getAllKeys(); });
}

std::future<std::vector<std::string>> LocalFileStorage::keysAsync(std::string_view prefix) const {
  return ready([&] { return keys(prefix); });
}

std::future<std::uint64_t> LocalFileStorage::sizeAsync() const {
  return ready([&] { return size(); });
}

std::future<void> LocalFileStorage::writeAsync(Batch& batch) {
  try {
    if (!batch.space_->journal->sameAs(*space_->journal)) {
      throw InvalidArgument(fmt::format("the batch was made for {}, not for {}",
                                        batch.space_->journal->directory(), directory()));
    }
    Commit commit = std::exchange(batch.commit_, Commit());
    return commitLater(*batch.space_->journal, std::move(commit), space_->options.durability);
  } catch (...) {
    return failed();
  }
}

std::future<LocalFileStorage> LocalFileStorage::subStorageAsync(std::string_view name) const {
  return ready([&] { return subStorage(name); });
}

std::future<void> LocalFileStorage::flushAsync() {
  try {
    return commitLater(*space_->journal, Commit(), Durability::Synced);
  } catch (...) {
    return failed();
  }
}

Batch::Batch(const LocalFileStorage& storage) : space_(storage.space_) {}

void Batch::put(std::string_view key, std::string& bytes, const SetOptions& options) {
  space_->wrap(key, bytes, options);
  commit_.put(space_->store->id(), StoreKey(key, space_->options.lowerCaseKeys), bytes);
}

void Batch::remove(std::string_view key) {
  commit_.erase(space_->store->id(), StoreKey(key, space_->options.lowerCaseKeys));
}

void Batch::clear() { space_->clear(commit_); }

Batch& Batch::into(const LocalFileStorage& storage) {
  if (!storage.space_->journal->sameAs(*space_->journal)) {
    throw InvalidArgument(fmt::format("the batch was made for {}, not for {}",
                                      space_->journal->directory(), storage.directory()));
  }
  space_ = storage.space_;
  return *this;
}

}  // namespace penstock::state
