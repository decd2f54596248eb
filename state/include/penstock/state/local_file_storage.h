// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/detail/stored.h>
#include <penstock/state/engine.h>
#include <penstock/state/errors.h>
#include <penstock/state/journal.h>
#include <penstock/state/storage_reader.h>
#include <penstock/state/value.h>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace penstock::state {

class Batch;

/// How a LocalFileStorage is opened. Within a process the first opener's options for the directory
/// count; durability and key case are each handle's own.
struct LocalFileStorageOptions {
  // Changes behaviour.
  Durability durability = Durability::Synced;  // of every write; Buffered is far quicker
  Sharing sharing = Sharing::Exclusive;        // Shared: several processes, all opening it so
  /// How its content is kept, see penstock/state/engine.h; remembered. nullopt: as it was, File at
  /// first. With Memory nothing is on disk, and the directory is but a name within the process.
  std::optional<Engine> engine = std::nullopt;
  bool createDirectory = true;          // false: a missing directory is an error
  bool allowNetworkFileSystem = false;  // refused unless asked for
  /// Compatibility with legacy Quix storages: A-Z in keys become a-z, in calls and in lists.
  bool lowerCaseKeys = false;
  /// Of values that are set without one of their own: by the wall clock, from 1 ms to 1,000 years;
  /// 0: they stay.
  std::chrono::milliseconds ttl{0};
  // Changes performance.
  std::chrono::milliseconds syncInterval{100};  // how long a Buffered write may wait for its sync
  /// Values that take as many bytes are compressed (zstd) where that makes them smaller; 0: none.
  std::size_t compressFromBytes = 0;
};

/// How one value is kept.
struct SetOptions {
  /// As LocalFileStorageOptions::ttl; nullopt: as the storage has it.
  std::optional<std::chrono::milliseconds> ttl;
};

/// What `LocalFileStorage::update` found and left.
template <typename T>
struct Updated {
  std::optional<T> previous;  // nullopt: the key was absent
  T current;
};

/// A directory that keeps named values of a program across restarts, crashes and power loss.
///
/// Use it for counters, positions, settings, caches of up to tens of millions of keys; for more
/// than fits memory there is Engine::RocksDb. For state that follows a topic use
/// `penstock::Application`.
///
/// Types: bool, every integer that fits an int64, float and double, strings, bytes, `Value` (null,
/// lists, maps), and any struct with a cereal `serialize` once <penstock/state/cereal.h> is
/// included. A value is read as the type it was stored with: there is no conversion, bool is no
/// integer and an integer no double; a narrower integer or float is given if the value fits it.
/// Strings are bytes: what is not UTF-8 round-trips. Keys are case-sensitive bytes, 1 B - 64 KiB,
/// never paths. Values have up to 1 GiB.
///
/// Ownership: a handle; copies are handles to the same storage. The directory is released when
/// the last handle (sub-storages and batches count) goes; what is pending is synced then, but
/// only `flush` reports if that fails. Opening a directory twice in one process gives the same
/// storage; another process is refused unless both open it `Shared`.
/// Threads: safe from any thread.
/// Errors: KeyNotFound and TypeMismatch from reads; InvalidArgument for a key or value beyond the
/// limits, at once and without having changed anything; OwnedElsewhere names the process that
/// holds the directory; Corruption the damaged file and offset; ConfigurationError, DiskFull,
/// IoError, FormatTooNew, JournalFailed, Closed (in a forked child) as they say.
/// Time to live: a key set with one is absent once it is over, by the wall clock; each set gives
/// it a new one. `size` counts it until the next snapshot of the storage.
/// Durability: a write returns when it is on disk (Synced) or when it survives the death of the
/// process (Buffered). A `get` may show what isn't synced yet.
/// Cost: reads copy from memory. A Synced write waits for a sync of the disk, which it shares
/// with every thread that writes at the time; put what belongs together into a `Batch`.
///
/// Every call has an `...Async` twin. Those that write return at once; the future is ready at the
/// storage's durability, and may be dropped. Arguments are copied; reads see the change at the
/// latest when the future is ready. Reads never wait for the disk, so their twins return futures
/// that are ready. All errors come from the future.
///
///     LocalFileStorage storage("state");
///     storage.set("orders", 17);
///     storage.get<std::int64_t>("orders");
class LocalFileStorage : public StorageReader {
 public:
  static constexpr std::size_t keyBytesMax = Commit::keyBytesMax;
  static constexpr std::size_t valueBytesMax = detail::storedBytesMax;  // as stored, without tag

  /// $PENSTOCK_STATE_DIR, or ./state when that is unset or empty.
  [[nodiscard]] static std::string defaultDirectory();

  /// Opens, or creates, the default directory.
  LocalFileStorage();
  explicit LocalFileStorage(const std::string& directory,
                            const LocalFileStorageOptions& options = {},
                            const Environment& environment = Environment::real());

  /// Of the directory's journal, all storages in it together.
  [[nodiscard]] JournalMetrics metrics() const;
  /// What opening the directory met that a person should know, a sentence each: a torn tail that
  /// was cut off, a file system whose syncs cannot be judged.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept;

  // One key. Reading: see StorageReader.
  template <typename T>
  void set(std::string_view key, const T& value, const SetOptions& options = {});
  /// No error when absent.
  void remove(std::string_view key);
  /// Sets the key to `change(found)`, where `found` is a std::optional<T>, as one step that no
  /// other write of any thread or process can come between. `change` runs while all other
  /// writers wait: it must be quick and may not write; what it throws is passed on and nothing
  /// is changed.
  template <typename T, std::invocable<const std::optional<T>&> Change>
  Updated<T> update(std::string_view key, Change&& change, const SetOptions& options = {});

  // All keys.
  /// Removes every key of this storage and of its sub-storages, at any depth, as one step.
  void clear();
  /// The storage and its sub-storages as they are now.
  [[nodiscard]] StorageSnapshot snapshot() const;

  /// An empty batch of changes to this storage.
  [[nodiscard]] Batch batch() const;
  /// All changes of the batch become visible and durable together. Empties it for the next use.
  void write(Batch& batch);
  void write(Batch&& batch) { write(batch); }

  /// A storage of its own inside this one: its keys are apart, its directory is the same, and
  /// `clear` of this one clears it. Names are 1 B - 255 B of any bytes; sub-storages nest.
  /// Created when absent.
  [[nodiscard]] LocalFileStorage subStorage(std::string_view name) const;

  /// Returns when everything written before is on disk.
  void flush();

  // The twins.
  template <typename T>
  std::future<void> setAsync(std::string_view key, const T& value, const SetOptions& options = {});
  template <typename T>
  [[nodiscard]] std::future<T> getAsync(std::string_view key) const;
  template <typename T>
  [[nodiscard]] std::future<std::optional<T>> findAsync(std::string_view key) const;
  template <typename T>
  [[nodiscard]] std::future<T> getOrAsync(std::string_view key, T fallback) const;
  [[nodiscard]] std::future<bool> containsKeyAsync(std::string_view key) const;
  std::future<void> removeAsync(std::string_view key);
  /// `change` runs before this returns; the future is about durability.
  template <typename T, std::invocable<const std::optional<T>&> Change>
  std::future<Updated<T>> updateAsync(std::string_view key, Change&& change,
                                      const SetOptions& options = {});
  [[nodiscard]] std::future<std::int64_t> getLongAsync(std::string_view key) const;
  [[nodiscard]] std::future<double> getDoubleAsync(std::string_view key) const;
  [[nodiscard]] std::future<std::string> getStringAsync(std::string_view key) const;
  [[nodiscard]] std::future<Binary> getBinaryAsync(std::string_view key) const;
  [[nodiscard]] std::future<bool> getBoolAsync(std::string_view key) const;
  std::future<void> clearAsync();
  [[nodiscard]] std::future<std::vector<std::string>> getAllKeysAsync() const;
  [[nodiscard]] std::future<std::vector<std::string>> keysAsync(std::string_view prefix) const;
  [[nodiscard]] std::future<std::uint64_t> sizeAsync() const;
  std::future<void> writeAsync(Batch& batch);
  std::future<void> writeAsync(Batch&& batch) { return writeAsync(batch); }
  [[nodiscard]] std::future<LocalFileStorage> subStorageAsync(std::string_view name) const;
  std::future<void> flushAsync();

 private:
  friend class Batch;
  using Failure = std::exception_ptr;

  explicit LocalFileStorage(std::shared_ptr<const Space> space);

  // `bytes` becomes what is kept: compressed, with its expiry.
  void writeStored(std::string_view key, std::string& bytes, const SetOptions& options);
  std::future<void> writeStoredAsync(std::string_view key, std::string& bytes,
                                     const SetOptions& options);
  /// Calls `change` with what is stored (null when absent) to be replaced by what it leaves in
  /// `bytes`, with all other writers waiting. With a callback that is called at the storage's
  /// durability, else returns then.
  using StoredChange = std::function<void(std::string* found, std::string& bytes)>;
  void updateStored(std::string_view key, const StoredChange& change, const SetOptions& options,
                    std::function<void(Failure)> done);

  template <typename T, typename Change>
  void updateWith(std::string_view key, Change& change, Updated<T>& updated,
                  const SetOptions& options, std::function<void(Failure)> done);
  template <typename Call>
  static auto ready(Call&& call) -> std::future<std::invoke_result_t<Call>>;
};

/// Changes that become visible and durable together: nothing of it is seen before
/// `LocalFileStorage::write`, all of it after, also after a crash. Later changes of a key win.
///
/// Threads: thread-compatible: one writer or many readers.
/// Errors: InvalidArgument for a key or value beyond the limits; the batch is as before. `write`
/// refuses a batch whose keys and values, as stored, have more than 4 GiB together.
/// Cost: values are encoded once, into the buffer that is written. Reuse one in a loop.
///
///     Batch batch = storage.batch();
///     batch.set("count", count);
///     batch.set("position", position);
///     storage.write(batch);
class Batch {
 public:
  explicit Batch(const LocalFileStorage& storage);

  template <typename T>
  void set(std::string_view key, const T& value, const SetOptions& options = {});
  void remove(std::string_view key);
  /// Removes every key of the storage, and of its sub-storages, that is there before the batch
  /// or came into it before.
  void clear();
  /// What follows changes `storage`, another one of the same directory.
  Batch& into(const LocalFileStorage& storage);

  [[nodiscard]] bool empty() const noexcept { return commit_.empty(); }
  /// Forgets all changes.
  void reset() noexcept { commit_.reset(); }

 private:
  friend class LocalFileStorage;
  void put(std::string_view key, std::string& bytes, const SetOptions& options);

  std::shared_ptr<const LocalFileStorage::Space> space_;
  Commit commit_;
  std::string scratch_;
};

template <typename T>
void LocalFileStorage::set(std::string_view key, const T& value, const SetOptions& options) {
  detail::assertStorable<detail::StoredAs<T>>();
  std::string bytes;
  detail::Stored<detail::StoredAs<T>>::encode(value, bytes);
  writeStored(key, bytes, options);
}

template <typename T, typename Change>
void LocalFileStorage::updateWith(std::string_view key, Change& change, Updated<T>& updated,
                                  const SetOptions& options, std::function<void(Failure)> done) {
  detail::assertReadable<T>();
  updateStored(
      key,
      [&](std::string* found, std::string& bytes) {
        if (found != nullptr) updated.previous = decoded<T>(key, *found);
        updated.current = std::invoke(change, std::as_const(updated.previous));
        detail::Stored<T>::encode(updated.current, bytes);
      },
      options, std::move(done));
}

template <typename T, std::invocable<const std::optional<T>&> Change>
Updated<T> LocalFileStorage::update(std::string_view key, Change&& change,
                                    const SetOptions& options) {
  Updated<T> updated{};
  updateWith<T>(key, change, updated, options, nullptr);
  return updated;
}

template <typename T, std::invocable<const std::optional<T>&> Change>
std::future<Updated<T>> LocalFileStorage::updateAsync(std::string_view key, Change&& change,
                                                      const SetOptions& options) {
  struct Pending {
    Updated<T> updated{};
    std::promise<Updated<T>> promise;
  };
  const auto pending = std::make_shared<Pending>();
  const auto done = [pending](Failure failure) {
    if (failure) {
      pending->promise.set_exception(std::move(failure));
    } else {
      pending->promise.set_value(std::move(pending->updated));
    }
  };
  try {
    updateWith<T>(key, change, pending->updated, options, done);
  } catch (...) {
    pending->promise.set_exception(std::current_exception());
  }
  return pending->promise.get_future();
}

template <typename Call>
auto LocalFileStorage::ready(Call&& call) -> std::future<std::invoke_result_t<Call>> {
  std::promise<std::invoke_result_t<Call>> promise;
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Call>>) {
      call();
      promise.set_value();
    } else {
      promise.set_value(call());
    }
  } catch (...) {
    promise.set_exception(std::current_exception());
  }
  return promise.get_future();
}

template <typename T>
std::future<void> LocalFileStorage::setAsync(std::string_view key, const T& value,
                                             const SetOptions& options) {
  detail::assertStorable<detail::StoredAs<T>>();
  std::string bytes;
  try {
    detail::Stored<detail::StoredAs<T>>::encode(value, bytes);
  } catch (...) {
    return ready([] { std::rethrow_exception(std::current_exception()); });
  }
  return writeStoredAsync(key, bytes, options);
}

template <typename T>
std::future<T> LocalFileStorage::getAsync(std::string_view key) const {
  return ready([&] { return get<T>(key); });
}

template <typename T>
std::future<std::optional<T>> LocalFileStorage::findAsync(std::string_view key) const {
  return ready([&] { return find<T>(key); });
}

template <typename T>
std::future<T> LocalFileStorage::getOrAsync(std::string_view key, T fallback) const {
  return ready([&] { return getOr<T>(key, std::move(fallback)); });
}

template <typename T>
void Batch::set(std::string_view key, const T& value, const SetOptions& options) {
  detail::assertStorable<detail::StoredAs<T>>();
  detail::Stored<detail::StoredAs<T>>::encode(value, scratch_);
  put(key, scratch_, options);
}

}  // namespace penstock::state
