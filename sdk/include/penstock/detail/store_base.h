// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace penstock::streams {
class TaskStore;
}  // namespace penstock::streams

namespace penstock::detail {

/// The untyped side of a store's hot state: what the task calls at its commits.
///
/// Threads: owned by the task thread.
class StoreBase {
 public:
  StoreBase();
  StoreBase(const StoreBase&) = delete;
  StoreBase& operator=(const StoreBase&) = delete;
  virtual ~StoreBase();

  /// REQUIRES: called once, before any use.
  void attach(std::string name, std::shared_ptr<streams::TaskStore> durable);
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Encodes what changed since the last flush, once per key, into the durable store.
  virtual void flush() = 0;
  /// The last flush can be read from the durable store: frees memory if over its limit.
  virtual void committed() = 0;
  /// Forgets everything in memory; it is read again when asked for.
  virtual void rollback() = 0;

  [[nodiscard]] virtual std::size_t entries() const noexcept = 0;  // in memory
  [[nodiscard]] virtual std::size_t dirtyEntries() const noexcept = 0;
  [[nodiscard]] virtual std::size_t memoryBytes() const noexcept = 0;  // about

 protected:
  [[nodiscard]] bool load(std::string_view key, std::string& value) const;
  [[nodiscard]] std::uint64_t durableSize() const;
  void scan(const std::function<bool(std::string_view, std::string_view)>& visit) const;
  void put(std::string_view key, std::string_view value, EventTime time);
  void erase(std::string_view key, EventTime time);

 private:
  std::string name_;
  std::shared_ptr<streams::TaskStore> durable_;
};

}  // namespace penstock::detail
