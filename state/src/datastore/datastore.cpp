// SPDX-License-Identifier: Apache-2.0

// Datastore: what every adapter does alike.
//
// 1. A change is: lock the key, read it, write it, unlock. Reads take no lock.
// 2. A stored key is the names of its namespaces, outermost first, each as U+0001, its length in
//    bytes as a decimal number, ':' and the name; then the key, which does not begin with U+0001.
//    So no two namespaces, and no key and namespace, share a prefix that ends at a key.
// 3. Whatever can be refused is refused before the adapter is touched.
#include "penstock/state/datastore.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "datastore/adapter.h"
#include "datastore/text.h"
#include "process.h"
#include "storage_path.h"

namespace penstock::state {

namespace {

using datastore::Adapter;
using datastore::Deadline;
using datastore::Row;

constexpr std::size_t prefixBytesMax = 1024;
constexpr std::chrono::hours waitMax{24};
constexpr std::chrono::milliseconds meanwhileMost{500};  // between two calls of it
constexpr std::size_t tableBytesMax = 63;                // PostgreSQL cuts off what is longer

constexpr const char* forms =
    "memory:, file:DIRECTORY, sqlite:FILE or postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE";

/// Of file:x, file:/x and file:///x: x, /x and /x.
std::string pathIn(const std::string& address, std::string_view scheme, std::string_view what) {
  std::string_view path = std::string_view(address).substr(scheme.size());
  if (path.starts_with("//") && !path.starts_with("///")) {
    throw ConfigurationError(fmt::format(
        "'{}': behind {} a host is named where the {} is expected; write {}PATH or {}///PATH",
        address, scheme, what, scheme, scheme));
  }
  if (path.starts_with("///")) path.remove_prefix(2);
  if (path.empty()) {
    throw ConfigurationError(fmt::format("'{}' names no {}; expected {}", address, what, forms));
  }
  return std::string(path);
}

void checkOptions(const std::string& address, const DatastoreOptions& options) {
  if (options.lockTimeout < std::chrono::milliseconds(1) || options.lockTimeout > waitMax) {
    throw ConfigurationError(fmt::format("DatastoreOptions::lockTimeout is {} ms; 1 ms to one day",
                                         options.lockTimeout.count()));
  }
  if (options.table.empty() || options.table.find('\0') != std::string::npos ||
      options.table.size() > tableBytesMax || !datastore::isUtf8(options.table)) {
    throw ConfigurationError(fmt::format("DatastoreOptions::table is {}; 1 B to {} B of text",
                                         shownKey(options.table), tableBytesMax));
  }
  if (options.reshuffleTable && !address.starts_with("postgres")) {
    throw ConfigurationError(fmt::format(
        "DatastoreOptions::reshuffleTable with {}: tables of Reshuffle's are opened with "
        "postgresql:// addresses only",
        address));
  }
}

std::unique_ptr<Adapter> openAdapter(const std::string& address, const DatastoreOptions& options,
                                     const Environment& environment) {
  if (address == "memory:") return datastore::openMemory();
  if (address.starts_with("file:")) {
    return datastore::openFile(pathIn(address, "file:", "directory"), environment);
  }
  if (address.starts_with("sqlite:")) {
    return datastore::openSqlite(pathIn(address, "sqlite:", "file"), options, environment);
  }
  if (address.starts_with("postgresql://") || address.starts_with("postgres://")) {
    return datastore::openPostgresql(address, options);
  }
  throw ConfigurationError(fmt::format("'{}' is no address of a datastore; expected {}",
                                       datastore::withoutPassword(address), forms));
}

void checkText(std::string_view text, std::string_view what) {
  if (text.find('\0') != std::string_view::npos || !datastore::isUtf8(text)) {
    throw InvalidArgument(fmt::format(
        "{} {} is not text: keys and namespaces are UTF-8 without NUL", what, shownKey(text)));
  }
}

Deadline deadlineIn(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}

}  // namespace

struct Datastore::Space {
  std::shared_ptr<Adapter> adapter;
  Random* random;
  std::chrono::milliseconds lockTimeout;
  ProcessMark mark;
  std::string address;  // for messages, without a password
  std::string prefix;   // of all its keys

  void checkUsable() const {
    if (mark.forkedChild()) {
      throw Closed(
          "this Datastore was opened before the process was forked; open it again in the child");
    }
  }

  [[nodiscard]] std::string keyOf(std::string_view key) const {
    checkUsable();
    if (key.empty() || key.size() > keyBytesMax) {
      throw InvalidArgument(fmt::format("key {} has {} bytes; keys have 1 to {}", shownKey(key),
                                        key.size(), keyBytesMax));
    }
    checkText(key, "key");
    if (key.front() == Adapter::reserved) {
      throw InvalidArgument(
          fmt::format("key {} begins with U+0001, which is reserved", shownKey(key)));
    }
    return prefix + std::string(key);
  }

  [[nodiscard]] std::string bytesOf(const Value& value) const {
    std::string bytes = adapter->encode(value);
    if (bytes.size() > valueBytesMax) {
      throw InvalidArgument(fmt::format("the value takes {} bytes; values have up to {}",
                                        bytes.size(), valueBytesMax));
    }
    return bytes;
  }

  [[nodiscard]] std::optional<Value> valueOf(const std::string& key,
                                             const std::optional<Row>& row) const {
    if (!row) return std::nullopt;
    std::optional<Value> value = adapter->decode(row->bytes);
    if (!value) {
      throw Corruption(address, 0,
                       fmt::format("{}: what is stored under key {} is no value of a Datastore",
                                   address, shownKey(key)),
                       "set or remove the key, or restore the store from a backup");
    }
    return value;
  }

  [[nodiscard]] DatastoreEntry entryOf(std::string_view key) const {
    const std::string stored = keyOf(key);
    const std::optional<Row> row = adapter->read(stored);
    return {std::string(key), valueOf(stored, row), row ? row->revision : Revision{}};
  }

  [[nodiscard]] std::unique_ptr<datastore::Session> lock(const std::string& key) const {
    return adapter->lock(key, deadlineIn(lockTimeout));
  }

  /// The revision that the key has then.
  Revision write(datastore::Session& session, const std::optional<Row>& found,
                 std::string bytes) const {
    const Revision revision = adapter->revisionAfter(found ? &*found : nullptr, bytes, *random);
    session.write({revision, std::move(bytes)});
    return revision;
  }

  CompareAndSet compareAndSet(const std::string& key, const Revision& expected,
                              std::string bytes) const {
    const auto session = lock(key);
    const std::optional<Row> found = session->read();
    const Revision revision = found ? found->revision : Revision{};
    if (revision != expected) return {false, revision};
    return {true, write(*session, found, std::move(bytes))};
  }
};

Datastore::Datastore(std::shared_ptr<const Space> space) : space_(std::move(space)) {}

Datastore Datastore::open(const std::string& address, const DatastoreOptions& options,
                          const Environment& environment) {
  checkOptions(address, options);
  const ProcessMark mark;
  // A child of a fork leaves the parent's connections and files alone.
  std::shared_ptr<Adapter> adapter(openAdapter(address, options, environment).release(),
                                   [mark](Adapter* opened) {
                                     if (!mark.forkedChild()) delete opened;
                                   });
  return Datastore(std::make_shared<const Space>(Space{std::move(adapter),
                                                       environment.random,
                                                       options.lockTimeout,
                                                       mark,
                                                       datastore::withoutPassword(address),
                                                       {}}));
}

std::optional<Value> Datastore::get(std::string_view key) const {
  return space_->entryOf(key).value;
}

DatastoreEntry Datastore::getWithRevision(std::string_view key) const {
  return space_->entryOf(key);
}

std::vector<std::string> Datastore::list(std::string_view prefix) const {
  space_->checkUsable();
  checkText(prefix, "prefix");
  std::vector<std::string> keys = space_->adapter->list(space_->prefix + std::string(prefix));
  for (std::string& key : keys) key.erase(0, space_->prefix.size());
  std::erase_if(keys, [](const std::string& key) { return key.front() == Adapter::reserved; });
  std::sort(keys.begin(), keys.end());
  return keys;
}

Value Datastore::set(std::string_view key, Value value) {
  const std::string stored = space_->keyOf(key);
  std::string bytes = space_->bytesOf(value);
  const auto session = space_->lock(stored);
  space_->write(*session, session->read(), std::move(bytes));
  return value;
}

DatastoreUpdate Datastore::update(std::string_view key, const Updater& change) {
  const std::string stored = space_->keyOf(key);
  const auto session = space_->lock(stored);
  const std::optional<Row> found = session->read();
  const std::optional<Value> previous = space_->valueOf(stored, found);
  std::optional<Value> wanted = change(previous);
  if (!wanted) return {previous, previous, false};
  std::string bytes = space_->bytesOf(*wanted);
  if (found && found->bytes == bytes) return {previous, previous, false};
  space_->write(*session, found, std::move(bytes));
  return {previous, std::move(wanted), true};
}

DatastoreUpdate Datastore::updateOptimistic(std::string_view key, const Updater& change) {
  const std::string stored = space_->keyOf(key);
  // arbitrary: about the time of one change, then of some
  constexpr std::chrono::microseconds firstPause{100};
  constexpr std::chrono::microseconds lastPause{20'000};
  auto pause = firstPause;
  for (int attempt = 0; attempt < optimisticAttempts; ++attempt) {
    const std::optional<Row> found = space_->adapter->read(stored);
    const std::optional<Value> previous = space_->valueOf(stored, found);
    std::optional<Value> wanted = change(previous);
    if (!wanted) return {previous, previous, false};
    std::string bytes = space_->bytesOf(*wanted);
    if (found && found->bytes == bytes) return {previous, previous, false};
    const Revision revision = found ? found->revision : Revision{};
    if (space_->compareAndSet(stored, revision, std::move(bytes)).applied) {
      return {previous, std::move(wanted), true};
    }
    // by chance, so that two do not meet again and again
    const std::uint64_t part = space_->random->next() % static_cast<std::uint64_t>(pause.count());
    std::this_thread::sleep_for(std::chrono::microseconds(part));
    pause = std::min(2 * pause, lastPause);
  }
  throw Conflict(fmt::format(
      "key {} was changed by others during each of {} attempts; nothing was changed. Try again, or "
      "use update, which waits for its turn",
      shownKey(key), optimisticAttempts));
}

CompareAndSet Datastore::compareAndSet(std::string_view key, const Revision& expected,
                                       Value value) {
  const std::string stored = space_->keyOf(key);
  return space_->compareAndSet(stored, expected, space_->bytesOf(value));
}

bool Datastore::createOnly(std::string_view key, Value value) {
  return compareAndSet(key, Revision{}, std::move(value)).applied;
}

bool Datastore::remove(std::string_view key) {
  const std::string stored = space_->keyOf(key);
  const auto session = space_->lock(stored);
  if (!session->read()) return false;
  session->erase();
  return true;
}

std::vector<DatastoreEntry> Datastore::watch(const std::map<std::string, Revision>& known,
                                             std::chrono::milliseconds timeout,
                                             const std::function<void()>& meanwhile) const {
  space_->checkUsable();
  const Deadline deadline = deadlineIn(std::min<std::chrono::milliseconds>(timeout, waitMax));
  const auto watch = space_->adapter->watch();  // before the first look, so that nothing is missed
  for (;;) {
    std::vector<DatastoreEntry> newer;
    for (const auto& [key, revision] : known) {
      DatastoreEntry entry = space_->entryOf(key);
      if (entry.revision != revision) newer.push_back(std::move(entry));
    }
    if (!newer.empty() || std::chrono::steady_clock::now() >= deadline) return newer;
    watch->wait(meanwhile ? std::min(deadline, deadlineIn(meanwhileMost)) : deadline);
    if (meanwhile) meanwhile();
  }
}

Datastore Datastore::namespace_(std::string_view name) const {
  space_->checkUsable();
  if (name.empty() || name.size() > namespaceBytesMax) {
    throw InvalidArgument(fmt::format("namespace {} has {} bytes; names have 1 to {}",
                                      shownKey(name), name.size(), namespaceBytesMax));
  }
  checkText(name, "namespace");
  auto space = std::make_shared<Space>(*space_);
  space->prefix = space_->adapter->prefixBelow(space_->prefix, name);
  if (space->prefix.size() > prefixBytesMax) {
    throw InvalidArgument(fmt::format(
        "namespace {} is too deep: with those that it lies in it takes {} bytes; up to {}",
        shownKey(name), space->prefix.size(), prefixBytesMax));
  }
  return Datastore(std::move(space));
}

std::size_t Datastore::renameNamespace(std::string_view from, std::string_view to) {
  const std::string oldPrefix = namespace_(from).space_->prefix;
  const std::string newPrefix = namespace_(to).space_->prefix;
  if (oldPrefix == newPrefix) return 0;
  const std::vector<std::string> keys = space_->adapter->list(oldPrefix);
  const auto moved = [&](const std::string& key) {
    return newPrefix + key.substr(oldPrefix.size());
  };
  for (const std::string& key : keys) {
    if (key[oldPrefix.size()] == Adapter::reserved && moved(key).size() > prefixBytesMax) {
      throw InvalidArgument(fmt::format(
          "key {} of a namespace in {} would take {} bytes in {}; up to {}", shownKey(key),
          shownKey(from), moved(key).size(), shownKey(to), prefixBytesMax));
    }
  }
  std::size_t count = 0;
  for (const std::string& key : keys) {
    const auto old = space_->lock(key);
    std::optional<Row> row = old->read();
    if (!row) continue;
    const auto fresh = space_->lock(moved(key));
    const std::optional<Row> found = fresh->read();
    if (found && found->bytes != row->bytes) {
      throw Conflict(fmt::format(
          "key {} is in namespace {} too, with another value; {} keys were moved. Remove one of "
          "the two, and rename again",
          shownKey(key.substr(oldPrefix.size())), shownKey(to), count));
    }
    if (!found) space_->write(*fresh, found, std::move(row->bytes));
    old->erase();
    ++count;
  }
  return count;
}

}  // namespace penstock::state
