// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/hot_store.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <utility>

namespace penstock {

/// A store of one task, as a Processor uses it: typed, in memory, durable with the next commit.
///
/// Made known with Application::store, named in ProcessOptions::stores, reached through
/// ProcessorContext::store. Copies mean the same store.
///
/// Threads: owned by the task thread.
/// Errors: what the durable store throws when it is read.
/// Durability: changes are durable with the commit that holds the positions of the records that
/// made them; together or not at all.
/// Cost: a hash look-up; a key not yet in memory is read and decoded once. No allocation but for
/// new keys.
template <typename K, typename V>
class KeyValueStore {
 public:
  using Lookup = detail::LookupKey<K>;  // std::string_view for strings, else const K&

  explicit KeyValueStore(detail::HotStore<K, V>& hot) noexcept : hot_(&hot) {}

  /// Null when absent. Valid until the key is erased or put, or the call of the Processor ends.
  [[nodiscard]] const V* find(Lookup key) const {
    const auto* entry = hot_->find(key);
    return entry != nullptr ? &entry->value : nullptr;
  }
  [[nodiscard]] bool contains(Lookup key) const { return find(key) != nullptr; }

  void put(Lookup key, V value) {
    const auto number = hot_->entry(key);
    (*hot_)[number].value = std::move(value);
    hot_->changed(number, EventTime{});
  }

  /// Calls `change(V&)` on the value, a default one when absent, and keeps the result. What
  /// `change` did before it threw stays in memory: give it the strong guarantee if your errors
  /// are skipped.
  template <std::invocable<V&> Change>
  const V& update(Lookup key, Change&& change) {
    const auto number = hot_->entry(key);
    auto& entry = (*hot_)[number];
    try {
      std::forward<Change>(change)(entry.value);
    } catch (...) {
      if (!entry.present) hot_->abandon(number);
      throw;
    }
    hot_->changed(number, EventTime{});
    return entry.value;
  }

  /// False when it was absent.
  bool erase(Lookup key) { return hot_->eraseKey(key); }

  /// visit(const K&, const V&) for every key, in no order; reads the whole store into memory.
  /// `visit` may not change the store.
  template <std::invocable<const K&, const V&> Visit>
  void forEach(Visit&& visit) const {
    hot_->forEach(std::forward<Visit>(visit));
  }

 private:
  detail::HotStore<K, V>* hot_;
};

/// How a store is made.
template <typename KeySerde, typename ValueSerde>
struct StoreOptions {
  // Changes behaviour.
  std::string name = {};  // required, durable
  KeySerde keySerde{};
  ValueSerde valueSerde{};
};

/// Names a store of an Application and its types; see Application::store.
template <typename K, typename V>
class StoreHandle {
 public:
  explicit StoreHandle(std::string name) : name_(std::move(name)) {}
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
};

/// A StoreHandle without its types, for ProcessOptions::stores.
class StoreReference {
 public:
  template <typename K, typename V>
  StoreReference(const StoreHandle<K, V>& handle) : name_(handle.name()) {}  // implicit on purpose
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
};

}  // namespace penstock
