// SPDX-License-Identifier: Apache-2.0
#include "penstock/state/storage_reader.h"

#include <fmt/format.h>

#include <utility>

#include "storage_access.h"
#include "storage_path.h"
#include "storage_space.h"

namespace penstock::state {

namespace {

constexpr std::size_t storeNameBytesMax = 4096;  // bounds nesting; arbitrary
constexpr std::int64_t ttlMsMax = std::int64_t{1000} * 366 * 86'400'000;  // far from overflow

bool hasExpired(std::string_view bytes, Clock& clock) {
  const auto expiry = detail::expiryOf(bytes);
  return expiry && *expiry <= clock.wallMs();
}

}  // namespace

StoreKey::StoreKey(std::string_view key, bool lowerCase) : view_(key) {
  if (key.empty()) {
    throw InvalidArgument("the key is empty; keys have 1 B to 64 KiB");
  }
  if (key.size() > Commit::keyBytesMax) {
    throw InvalidArgument(
        fmt::format("the key {} is too long; keys have 1 B to 64 KiB", shownKey(key)));
  }
  if (lowerCase) {
    folded_ = fold(key);
    view_ = folded_;
  }
}

std::string StoreKey::fold(std::string_view key) {
  std::string folded(key);
  for (char& c : folded) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return folded;
}

std::shared_ptr<const StorageReader::Space> StorageReader::Space::open(
    std::shared_ptr<Journal> journal, const LocalFileStorageOptions& options, Clock* clock,
    std::string storeName) {
  auto space = std::make_shared<Space>();
  space->store = journal->store(journal->declareStore(storeName, options.engine));
  journal->leaveOut(space->store->id(),
                    [clock](std::string_view value) { return hasExpired(value, *clock); });
  space->journal = std::move(journal);
  space->options = options;
  space->clock = clock;
  space->storeName = std::move(storeName);
  return space;
}

std::string StorageReader::Space::nameAt(std::string_view path) const {
  std::string name = storeName;
  if (!path.empty()) (name += '/') += path;
  if (name.size() > storeNameBytesMax) {
    throw InvalidArgument(fmt::format("the sub-storage {} is nested too deeply", shownKey(path)));
  }
  return name;
}

bool StorageReader::Space::expired(std::string_view bytes) const {
  return hasExpired(bytes, *clock);
}

void checkValue(std::string_view key, std::string_view bytes) {
  const std::size_t head = 1 + (detail::expiryOf(bytes) ? detail::expiryBytes : 0);
  if (bytes.size() - head > detail::storedBytesMax) {
    throw InvalidArgument(fmt::format("the value of key {} has {} bytes; values have up to 1 GiB",
                                      shownKey(key), bytes.size() - head));
  }
}

std::int64_t ttlMsOf(std::chrono::milliseconds ttl) {
  if (ttl.count() < 0 || ttl.count() > ttlMsMax) {
    throw InvalidArgument(fmt::format(
        "a time to live of {} ms; it may be 1 ms to 1,000 years, or 0 to stay", ttl.count()));
  }
  return ttl.count();
}

void StorageReader::Space::wrap(std::string_view key, std::string& bytes,
                                const SetOptions& set) const {
  checkValue(key, bytes);
  const std::int64_t ttlMs = ttlMsOf(set.ttl.value_or(options.ttl));
  if (options.compressFromBytes != 0 && bytes.size() > options.compressFromBytes) {
    detail::compress(bytes);
  }
  if (ttlMs != 0) detail::expireAt(clock->wallMs() + ttlMs, bytes);
}

void StorageReader::Space::clear(Commit& commit) const {
  commit.clear(store->id());
  const std::string below = storeName + '/';
  for (const StoreInfo& info : journal->stores()) {
    if (info.name.starts_with(below)) commit.clear(info.id);
  }
}

StorageReader::StorageReader() = default;
StorageReader::StorageReader(std::shared_ptr<const Space> space) : space_(std::move(space)) {}
StorageReader::StorageReader(const StorageReader&) = default;
StorageReader& StorageReader::operator=(const StorageReader&) = default;
StorageReader::StorageReader(StorageReader&&) noexcept = default;
StorageReader& StorageReader::operator=(StorageReader&&) noexcept = default;
StorageReader::~StorageReader() = default;

const std::string& StorageReader::directory() const noexcept {
  return space_->journal->directory();
}

bool StorageReader::readStored(std::string_view key, std::string& bytes) const {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  if (!space_->store || !space_->store->get(storeKey, bytes) || space_->expired(bytes)) {
    return false;
  }
  detail::unwrap(bytes);
  return true;
}

bool StorageReader::containsKey(std::string_view key) const {
  const StoreKey storeKey(key, space_->options.lowerCaseKeys);
  std::string bytes;
  return space_->store && space_->store->getFirst(storeKey, detail::expiryBytes, bytes) &&
         !space_->expired(bytes);
}

std::vector<std::string> StorageReader::getAllKeys() const { return keys({}); }

std::vector<std::string> StorageReader::keys(std::string_view prefix) const {
  std::vector<std::string> found;
  if (!space_->store) return found;
  const std::string folded = space_->options.lowerCaseKeys ? StoreKey::fold(prefix) : "";
  space_->store->scanPrefix(space_->options.lowerCaseKeys ? folded : prefix,
                            [&](std::string_view key, std::string_view value) {
                              if (!space_->expired(value)) found.emplace_back(key);
                              return true;
                            });
  return found;
}

StorageCursor StorageReader::cursor(std::string_view from) const {
  const std::string folded = space_->options.lowerCaseKeys ? StoreKey::fold(from) : "";
  return {*this, space_->options.lowerCaseKeys ? std::string_view(folded) : from};
}

StorageCursor::StorageCursor(StorageReader storage, std::string_view from)
    : storage_(std::move(storage)) {
  if (!storage_.space_->store) return;
  at_ = storage_.space_->store->cursor(from);
  passExpired();
}

StorageCursor::StorageCursor(StorageCursor&&) noexcept = default;
StorageCursor& StorageCursor::operator=(StorageCursor&&) noexcept = default;
StorageCursor::~StorageCursor() = default;

bool StorageCursor::valid() const noexcept { return at_ && at_->valid(); }
std::string_view StorageCursor::key() const noexcept { return at_->key(); }

void StorageCursor::next() {
  at_->next();
  passExpired();
}

void StorageCursor::passExpired() {
  while (at_->valid() && storage_.space_->expired(at_->value())) at_->next();
}

void StorageCursor::readStored() const {
  bytes_.assign(at_->value());
  detail::unwrap(bytes_);
}

std::uint64_t StorageReader::size() const { return space_->store ? space_->store->size() : 0; }

void StorageReader::throwAbsent(std::string_view key) const {
  throw KeyNotFound(fmt::format(
      "there is no key {} in {} ({}); where it may be absent, use find, getOr or containsKey",
      shownKey(key), directory(), space_->storeName));
}

void StorageReader::throwUndecoded(std::string_view key, std::string_view bytes,
                                   std::string_view asked, detail::Decoded how) const {
  std::string_view remark = "; read it as that, or as a Value, or set it anew";
  if (how == detail::Decoded::OutOfRange) {
    remark = ", which its value does not fit; read it as a wider or signed type, or as a Value";
  }
  if (how == detail::Decoded::Unreadable) {
    remark =
        "; its bytes are not of the form expected: read it with the members, in the order, that "
        "it was stored with, or set it anew";
  }
  if (how == detail::Decoded::Newer) {
    remark =
        "; it, or a struct in it, was stored by a newer version of the type than this program "
        "knows (CEREAL_CLASS_VERSION): run a program that has that version";
  }
  throw TypeMismatch(fmt::format("key {} of {} ({}) holds {}, but was read as {}{}", shownKey(key),
                                 directory(), space_->storeName, detail::describeStored(bytes),
                                 asked, remark));
}

StorageSnapshot::StorageSnapshot(std::shared_ptr<const Space> space)
    : StorageReader(std::move(space)) {}

StorageSnapshot StorageSnapshot::subStorage(std::string_view name) const {
  auto space = std::make_shared<Space>(*space_);
  space->storeName = space_->nameAt(pathBelow({}, name));
  const auto at = space->views->find(space->storeName);
  space->store = at == space->views->end() ? nullptr : at->second;
  return StorageSnapshot(std::move(space));
}

const std::shared_ptr<Journal>& StorageAccess::journal(const LocalFileStorage& storage) {
  return storage.space_->journal;
}

const std::string& StorageAccess::storeName(const StorageReader& storage) {
  return storage.space_->storeName;
}

const std::map<std::string, std::shared_ptr<const Store>, std::less<>>& StorageAccess::stores(
    const StorageSnapshot& snapshot) {
  return *snapshot.space_->views;
}

StoreId StorageAccess::declareStoreAt(const LocalFileStorage& storage, std::string_view path) {
  const auto& space = *storage.space_;
  return space.journal->declareStore(space.nameAt(path), space.options.engine);
}

bool StorageAccess::foldsKeys(const LocalFileStorage& storage) {
  return storage.space_->options.lowerCaseKeys;
}

std::string StorageAccess::storedKey(const LocalFileStorage& storage, std::string_view key) {
  const StoreKey storeKey(key, storage.space_->options.lowerCaseKeys);
  return std::string(std::string_view(storeKey));
}

bool StorageAccess::holds(const LocalFileStorage& storage, const Store* store,
                          std::string_view key) {
  std::string first;
  return store != nullptr && store->getFirst(key, detail::expiryBytes, first) &&
         !storage.space_->expired(first);
}

std::string StorageAccess::storeNameAt(const LocalFileStorage& storage, std::string_view path) {
  return storage.space_->nameAt(path);
}

}  // namespace penstock::state
