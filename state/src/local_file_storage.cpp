// SPDX-License-Identifier: Apache-2.0

// LocalFileStorage: a face of the journal.
//
// 1. A storage is one store of the directory's journal, called "storage"; a sub-storage is one
//    called after its parent's: "storage/orders". The bytes of a sub-storage's name that are not
//    A-Z a-z 0-9 _ - . are written %XX, so any name comes back and none holds a '/'.
// 2. Values are stored as penstock/state/detail/stored.h says.
// 3. Whatever can be refused is refused before the journal is touched.

#include "penstock/state/local_file_storage.h"

#include <fmt/format.h>

#include <cstdlib>
#include <mutex>

namespace penstock::state {
namespace {

constexpr std::string_view rootStore = "storage";
constexpr std::size_t subStorageNameBytesMax = 255;  // as of a file name: enough for a name
constexpr std::size_t storeNameBytesMax = 4096;      // bounds nesting; arbitrary
// A thread keeps the buffers of its last commit up to this size; arbitrary.
constexpr std::size_t keptBytesMax = std::size_t{1} << 20;

// As much of a key as a message should hold, unprintable bytes escaped.
std::string shown(std::string_view key) {
  constexpr std::size_t shownBytesMax = 80;
  return key.size() <= shownBytesMax
             ? fmt::format("{:?}", key)
             : fmt::format("{:?}... ({} bytes)", key.substr(0, shownBytesMax), key.size());
}

std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
    if (plain) {
      out.push_back(c);
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace

struct LocalFileStorage::Space {
  std::shared_ptr<Journal> journal;
  LocalFileStorageOptions options;
  std::string storeName;
  std::shared_ptr<Store> store;

  static std::shared_ptr<const Space> open(std::shared_ptr<Journal> journal,
                                           const LocalFileStorageOptions& options,
                                           std::string storeName) {
    auto space = std::make_shared<Space>();
    space->store = journal->store(journal->declareStore(storeName));
    space->journal = std::move(journal);
    space->options = options;
    space->storeName = std::move(storeName);
    return space;
  }

  // Removes the keys of this space and of those below it.
  void clear(Commit& commit) const {
    commit.clear(store->id());
    const std::string below = storeName + '/';
    for (const StoreInfo& info : journal->stores()) {
      if (info.name.starts_with(below)) commit.clear(info.id);
    }
  }
};

namespace {

// A key as the store knows it.
class StoreKey {
 public:
  StoreKey(std::string_view key, bool lowerCase) : view_(key) {
    if (key.empty()) {
      throw InvalidArgument("the key is empty; keys have 1 B to 64 KiB");
    }
    if (key.size() > LocalFileStorage::keyBytesMax) {
      throw InvalidArgument(
          fmt::format("the key {} is too long; keys have 1 B to 64 KiB", shown(key)));
    }
    if (lowerCase) {
      folded_ = fold(key);
      view_ = folded_;
    }
  }
  StoreKey(const StoreKey&) = delete;
  StoreKey& operator=(const StoreKey&) = delete;

  operator std::string_view() const noexcept { return view_; }

  // One rule, whatever the locale: only ASCII.
  static std::string fold(std::string_view key) {
    std::string folded(key);
    for (char& c : folded) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return folded;
  }

 private:
  std::string folded_;
  std::string_view view_;
};

void checkValue(std::string_view key, std::string_view bytes) {
  if (bytes.size() - 1 > LocalFileStorage::valueBytesMax) {
    throw InvalidArgument(fmt::format("the value of key {} has {} bytes; values have up to 1 GiB",
                                      shown(key), bytes.size() - 1));
  }
}

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
    if (large_) kept() = Commit();
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
  space_ = Space::open(Journal::open(directory, journalOptions, environment), options,
                       std::string(rootStore));
}

LocalFileStorage::LocalFileStorage(std::shared_ptr<const Space> space) : space_(std::move(space)) {}

const std::string& LocalFileStorage::directory() const noexcept {
  return space_->journal->directory();
}

JournalMetrics LocalFileStorage::metrics() const { return space_->journal->metrics(); }

const std::vector<std::string>& LocalFileStorage::warnings() const noexcept {
  return space_->journal->warnings();
}

bool LocalFileStorage::readStored(std::string_view key, std::string& bytes) const {
  return space_->store->get(StoreKey(key, space_->options.lowerCaseKeys), bytes);
}

void LocalFileStorage::writeStored(std::string_view key, std::string_view bytes) {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  checkValue(key, bytes);
  KeptCommit commit;
  commit.put(space_->store->id(), storeKey, bytes);
  space_->journal->commit(*commit, space_->options.durability);
}

std::future<void> LocalFileStorage::writeStoredAsync(std::string_view key, std::string_view bytes) {
  try {
    const StoreKey storeKey(key, space_->options.lowerCaseKeys);
    checkValue(key, bytes);
    Commit commit;
    commit.put(space_->store->id(), storeKey, bytes);
    return commitLater(*space_->journal, std::move(commit), space_->options.durability);
  } catch (...) {
    return failed();
  }
}

void LocalFileStorage::updateStored(std::string_view key, const StoredChange& change,
                                    std::function<void(Failure)> done) {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  const Durability durability = space_->options.durability;
  const auto fill = [&](Commit& commit) {
    std::string found;
    const bool present = space_->store->get(storeKey, found);
    const std::string_view bytes = change(present ? &found : nullptr);
    checkValue(key, bytes);
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
    space_->journal->commitAsync(
        Commit(), durability,
        [done](const CommitResult&, std::exception_ptr failure) { done(std::move(failure)); });
  }
}

bool LocalFileStorage::containsKey(std::string_view key) const {
  return space_->store->contains(StoreKey(key, space_->options.lowerCaseKeys));
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

std::vector<std::string> LocalFileStorage::getAllKeys() const { return keys({}); }

std::vector<std::string> LocalFileStorage::keys(std::string_view prefix) const {
  std::vector<std::string> found;
  const auto visit = [&](std::string_view key, std::string_view) {
    found.emplace_back(key);
    return true;
  };
  if (space_->options.lowerCaseKeys) {
    space_->store->scanPrefix(StoreKey::fold(prefix), visit);
  } else {
    space_->store->scanPrefix(prefix, visit);
  }
  return found;
}

std::uint64_t LocalFileStorage::size() const { return space_->store->size(); }

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
  if (name.empty() || name.size() > subStorageNameBytesMax) {
    throw InvalidArgument(
        fmt::format("the name {} of a sub-storage has {} bytes; names have 1 B to 255 B",
                    shown(name), name.size()));
  }
  std::string storeName = space_->storeName + '/' + escaped(name);
  if (storeName.size() > storeNameBytesMax) {
    throw InvalidArgument(fmt::format("the sub-storage {} is nested too deeply", shown(name)));
  }
  return LocalFileStorage(Space::open(space_->journal, space_->options, std::move(storeName)));
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

void LocalFileStorage::throwAbsent(std::string_view key) const {
  throw KeyNotFound(
      fmt::format("there is no key {} in {} ({})", shown(key), directory(), space_->storeName));
}

void LocalFileStorage::throwUndecoded(std::string_view key, std::string_view bytes,
                                      std::string_view asked, detail::Decoded how) const {
  std::string_view remark;
  if (how == detail::Decoded::OutOfRange) remark = ", which its value does not fit";
  if (how == detail::Decoded::Unreadable) remark = "; its bytes are not of the form expected";
  throw TypeMismatch(fmt::format("key {} of {} ({}) holds {}, but was read as {}{}", shown(key),
                                 directory(), space_->storeName, detail::describeStored(bytes),
                                 asked, remark));
}

Batch::Batch(const LocalFileStorage& storage) : space_(storage.space_) {}

void Batch::put(std::string_view key, std::string_view bytes) {
  checkValue(key, bytes);
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
