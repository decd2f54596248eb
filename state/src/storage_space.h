// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/local_file_storage.h>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace penstock::state {

/// A key as the store knows it. Throws InvalidArgument when it is none.
class StoreKey {
 public:
  StoreKey(std::string_view key, bool lowerCase);
  StoreKey(const StoreKey&) = delete;
  StoreKey& operator=(const StoreKey&) = delete;

  operator std::string_view() const noexcept { return view_; }

  // One rule, whatever the locale: only ASCII.
  static std::string fold(std::string_view key);

 private:
  std::string folded_;
  std::string_view view_;
};

/// InvalidArgument beyond the limits. `bytes` is a stored value, with its tag.
void checkValue(std::string_view key, std::string_view bytes);
/// InvalidArgument when it is none.
std::int64_t ttlMsOf(std::chrono::milliseconds ttl);

/// What the handles of one storage point to.
struct StorageReader::Space {
  using Views = std::map<std::string, std::shared_ptr<const Store>, std::less<>>;

  std::shared_ptr<Journal> journal;
  LocalFileStorageOptions options;
  Clock* clock = nullptr;
  std::string storeName;
  std::shared_ptr<const Store> store;  // null: of a snapshot, when there was none
  std::shared_ptr<const Views> views;  // of a snapshot: the stores in it, by name

  static std::shared_ptr<const Space> open(std::shared_ptr<Journal> journal,
                                           const LocalFileStorageOptions& options,
                                           Clock* clock, std::string storeName);
  /// The name of the store at a path, see storage_path.h. InvalidArgument when nested too deeply.
  [[nodiscard]] std::string nameAt(std::string_view path) const;
  [[nodiscard]] bool expired(std::string_view bytes) const;
  /// Makes a value what is kept of it: compressed, with its expiry. InvalidArgument when it is
  /// beyond the limits.
  void wrap(std::string_view key, std::string& bytes, const SetOptions& set) const;
  /// Removes the keys of this space and of those below it.
  void clear(Commit& commit) const;
};

}  // namespace penstock::state
