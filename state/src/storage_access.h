// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <penstock/state/local_file_storage.h>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace penstock::state {

/// What import and export need of a LocalFileStorage beyond its public face.
/// Paths are those of storage_path.h.
struct StorageAccess {
  static const std::shared_ptr<Journal>& journal(const LocalFileStorage& storage);
  static const std::string& storeName(const StorageReader& storage);
  /// All of it, by name.
  static const std::map<std::string, std::shared_ptr<const Store>, std::less<>>& stores(
      const StorageSnapshot& snapshot);
  /// Whether keys that differ become one (LocalFileStorageOptions::lowerCaseKeys).
  static bool foldsKeys(const LocalFileStorage& storage);
  /// The key as the store has it. InvalidArgument beyond the limits.
  static std::string storedKey(const LocalFileStorage& storage, std::string_view key);

  /// Whether the key is there and has not expired. `store` may be null.
  static bool holds(const LocalFileStorage& storage, const Store* store, std::string_view key);

  /// The store at a path, created when absent. InvalidArgument when nested too deeply.
  static StoreId declareStoreAt(const LocalFileStorage& storage, std::string_view path);
  /// The journal's name of the store at a path. InvalidArgument when nested too deeply.
  static std::string storeNameAt(const LocalFileStorage& storage, std::string_view path);
};

}  // namespace penstock::state
