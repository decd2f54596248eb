// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/detail/stored.h>
#include <penstock/state/errors.h>
#include <penstock/state/journal.h>
#include <penstock/state/value.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::state {

struct StorageAccess;
class StorageCursor;

/// The reading half of a storage: what `LocalFileStorage` and `StorageSnapshot` share.
///
/// A key whose time to live is over is absent, but for `size`, which counts it until the next
/// snapshot of the storage leaves it out.
///
/// Threads: safe from any thread.
/// Errors: KeyNotFound and TypeMismatch; InvalidArgument for a key beyond the limits; Corruption
/// names the damaged file and offset.
/// Cost: reads copy from memory, or from a block of the snapshot that is read at first touch.
class StorageReader {
 public:
  [[nodiscard]] const std::string& directory() const noexcept;

  /// KeyNotFound when absent.
  template <typename T>
  [[nodiscard]] T get(std::string_view key) const;
  /// nullopt when absent.
  template <typename T>
  [[nodiscard]] std::optional<T> find(std::string_view key) const;
  template <typename T>
  [[nodiscard]] T getOr(std::string_view key, T fallback) const;
  [[nodiscard]] bool containsKey(std::string_view key) const;

  [[nodiscard]] std::int64_t getLong(std::string_view key) const { return get<std::int64_t>(key); }
  [[nodiscard]] double getDouble(std::string_view key) const { return get<double>(key); }
  [[nodiscard]] std::string getString(std::string_view key) const { return get<std::string>(key); }
  [[nodiscard]] Binary getBinary(std::string_view key) const { return get<Binary>(key); }
  [[nodiscard]] bool getBool(std::string_view key) const { return get<bool>(key); }

  /// In order of their bytes; not those of sub-storages.
  [[nodiscard]] std::vector<std::string> getAllKeys() const;
  /// Those that begin with `prefix`, in order of their bytes.
  [[nodiscard]] std::vector<std::string> keys(std::string_view prefix) const;
  [[nodiscard]] std::uint64_t size() const;
  /// At the first key that is not before `from`.
  [[nodiscard]] StorageCursor cursor(std::string_view from = {}) const;

 protected:
  struct Space;

  explicit StorageReader(std::shared_ptr<const Space> space);
  StorageReader();
  StorageReader(const StorageReader&);
  StorageReader& operator=(const StorageReader&);
  StorageReader(StorageReader&&) noexcept;
  StorageReader& operator=(StorageReader&&) noexcept;
  ~StorageReader();

  bool readStored(std::string_view key, std::string& bytes) const;
  template <typename T>
  T decoded(std::string_view key, std::string& bytes) const;

  std::shared_ptr<const Space> space_;

 private:
  friend struct StorageAccess;
  friend class StorageCursor;
  [[noreturn]] void throwAbsent(std::string_view key) const;
  [[noreturn]] void throwUndecoded(std::string_view key, std::string_view bytes,
                                   std::string_view asked, detail::Decoded how) const;
};

/// Walks keys and values of a storage, as it was when the cursor was made, in order of the keys'
/// bytes; those of sub-storages are not among them. Writing meanwhile is allowed and not seen.
///
/// Ownership: holds what it walks, as a StorageSnapshot does.
/// Threads: owned by one thread.
/// Errors: TypeMismatch from `value`; Corruption when a part is damaged, the cursor stays then.
///
///     for (auto at = storage.cursor("a"); at.valid() && at.key() < "b"; at.next()) {
///       sum += at.value<std::int64_t>();
///     }
class StorageCursor {
 public:
  StorageCursor(StorageCursor&&) noexcept;
  StorageCursor& operator=(StorageCursor&&) noexcept;
  ~StorageCursor();

  [[nodiscard]] bool valid() const noexcept;  // false behind the last key
  /// REQUIRES: valid(). Until `next`.
  [[nodiscard]] std::string_view key() const noexcept;
  /// REQUIRES: valid().
  template <typename T>
  [[nodiscard]] T value() const;
  void next();

 private:
  friend class StorageReader;
  StorageCursor(StorageReader storage, std::string_view from);
  void readStored() const;  // into bytes_
  void passExpired();

  StorageReader storage_;
  std::optional<StoreCursor> at_;  // nullopt: of a snapshot, when there was no such storage
  mutable std::string bytes_;
};

/// A storage and its sub-storages as they were at one moment, while writing goes on: what one
/// batch changed is in all of it or in none.
///
/// Ownership: a handle, independent of the storage's; copies are handles to the same moment. The
/// directory stays open while it lives, and what was overwritten since stays in memory or on disk.
/// Threads: safe from any thread.
/// Durability: shows what was written, as a `get` does: the newest of it may not be synced yet.
/// Cost: making one copies nothing.
///
///     const StorageSnapshot then = storage.snapshot();
///     for (const std::string& key : then.getAllKeys()) show(key, then.get<Value>(key));
class StorageSnapshot : public StorageReader {
 public:
  /// Empty when there was no sub-storage of that name.
  [[nodiscard]] StorageSnapshot subStorage(std::string_view name) const;

 private:
  friend class LocalFileStorage;
  explicit StorageSnapshot(std::shared_ptr<const Space> space);
};

template <typename T>
T StorageReader::decoded(std::string_view key, std::string& bytes) const {
  T value{};
  const detail::Decoded how = detail::Stored<T>::decode(bytes, value);
  if (how != detail::Decoded::Ok) throwUndecoded(key, bytes, detail::Stored<T>::name, how);
  return value;
}

template <typename T>
T StorageCursor::value() const {
  readStored();
  return storage_.decoded<T>(key(), bytes_);
}

template <typename T>
T StorageReader::get(std::string_view key) const {
  detail::assertReadable<T>();
  std::string bytes;
  if (!readStored(key, bytes)) throwAbsent(key);
  return decoded<T>(key, bytes);
}

template <typename T>
std::optional<T> StorageReader::find(std::string_view key) const {
  detail::assertReadable<T>();
  std::string bytes;
  if (!readStored(key, bytes)) return std::nullopt;
  return decoded<T>(key, bytes);
}

template <typename T>
T StorageReader::getOr(std::string_view key, T fallback) const {
  std::optional<T> found = find<T>(key);
  return found ? *std::move(found) : std::move(fallback);
}

}  // namespace penstock::state
