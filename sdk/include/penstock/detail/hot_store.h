// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/hash.h>
#include <penstock/detail/hot_table.h>
#include <penstock/detail/store_base.h>
#include <penstock/record.h>
#include <penstock/serde.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace penstock::detail {

/// How a key is looked up: strings by view, without making a string.
template <typename K>
using LookupKey = std::conditional_t<std::is_same_v<K, std::string>, std::string_view, const K&>;

[[noreturn]] void throwUndecodable(const std::string& store, std::string_view key,
                                   const std::string& reason);

[[noreturn]] void throwKeySize(const std::string& store, std::size_t bytes);

/// The working set of one store, decoded: read in entry by entry when asked for, changed in
/// memory, encoded once per changed key and commit.
///
/// Invariants:
/// 1. An entry without a mark is what the durable store holds, counting flushes on their way.
/// 2. A marked entry is listed in `dirty_`, at position mark - 1.
/// 3. An entry that is not `present` is known to be absent: erased, or being made. It stays until
///    the durable store knows it too, because a read-through would bring back the old value.
/// 4. `unread_` is the number of keys in the durable store without an entry here; at 0 a miss
///    needs no read.
///
/// Threads: owned by the task thread.
template <typename K, typename V>
class HotStore : public StoreBase {
 public:
  using Lookup = LookupKey<K>;
  struct Entry {
    K key{};
    V value{};
    std::uint32_t mark = 0;
    bool present = false;
  };
  using Table = HotTable<Entry>;
  using Number = typename Table::Number;

  /// Null when absent. Stays valid until the key is erased or the task rolls back.
  [[nodiscard]] Entry* find(Lookup key) {
    const std::uint64_t hash = hashKey(key);
    Number number = table_.find(key, hash);
    if (number == Table::none) {
      if (!mayBeDurable()) return nullptr;
      number = readThrough(key, hash);
      if (number == Table::none) return nullptr;
    }
    Entry& entry = table_[number];
    return entry.present ? &entry : nullptr;
  }

  /// The entry of the key, made when absent (then !present, with a default value). What is done
  /// to it counts once `changed` was called. SerdeError when the key is too long for a store.
  [[nodiscard]] Number entry(Lookup key) {
    const std::uint64_t hash = hashKey(key);
    Number number = table_.find(key, hash);
    if (number != Table::none) return number;
    if (mayBeDurable()) {
      number = readThrough(key, hash);
      if (number != Table::none) return number;
    }
    if constexpr (requires { key.size(); }) {
      if (key.size() > keyBytesMax) throwKeySize(name(), key.size());
    }
    return table_.insert(key, hash);
  }
  [[nodiscard]] Entry& operator[](Number number) noexcept { return table_[number]; }

  void changed(Number number, EventTime time) {
    Entry& entry = table_[number];
    entry.present = true;
    mark(entry, number, time);
  }

  /// False when it was absent.
  bool eraseKey(Lookup key) {
    const Number number = entry(key);
    Entry& found = table_[number];
    const bool was = found.present;
    if (was) mark(found, number, EventTime{});
    abandon(number);
    return was;
  }

  /// An entry that was made but not filled: forgotten at the next commit.
  void abandon(Number number) {
    absent_.push_back(number);
    table_[number].present = false;
    table_[number].value = V{};
  }

  struct Dirty {
    Number number;
    EventTime time;  // highest of the records that changed it since the last flush
  };
  [[nodiscard]] const std::vector<Dirty>& dirty() const noexcept { return dirty_; }

  /// visit(key, value) for every key, in no order; `visit` may not change the store.
  template <typename Visit>
  void forEach(Visit&& visit) {
    readAll();
    table_.forEach([&](Number number) {
      const Entry& entry = table_[number];
      if (entry.present) visit(entry.key, entry.value);
    });
  }

  void rollback() final {
    table_.clear();
    dirty_.clear();
    absent_.clear();
    unread_ = unknown;
  }

  void committed() final {
    std::erase_if(absent_, [this](Number number) {
      const Entry& entry = table_[number];
      if (entry.present) return true;
      if (entry.mark != 0) return false;  // erased again since the flush
      // Listed twice, the number may be free by now: then no key leads to it.
      const std::uint64_t hash = hashKey(lookupOf(entry.key));
      if (table_.find(lookupOf(entry.key), hash) == number) table_.erase(number, hash);
      return true;
    });
  }

  [[nodiscard]] std::size_t entries() const noexcept final { return table_.size(); }
  [[nodiscard]] std::size_t dirtyEntries() const noexcept final { return dirty_.size(); }
  [[nodiscard]] std::size_t memoryBytes() const noexcept final {
    return table_.memoryBytes() + dirty_.capacity() * sizeof(Dirty);
  }

 protected:
  virtual void encodeKey(const K& key, std::string& out) const = 0;
  virtual void decodeKey(std::string_view bytes, K& key) const = 0;
  virtual void decodeValue(std::string_view bytes, V& value) const = 0;

  Table table_;
  std::vector<Dirty> dirty_;

 private:
  static constexpr std::size_t keyBytesMax = 64 * 1024 - 1;  // the engine's, less the escape
  static constexpr std::uint64_t unknown = ~std::uint64_t{0};

  [[nodiscard]] static Lookup lookupOf(const K& key) noexcept { return key; }

  void mark(Entry& entry, Number number, EventTime time) {
    if (entry.mark == 0) {
      dirty_.push_back({number, time});
      entry.mark = static_cast<std::uint32_t>(dirty_.size());
    } else {
      EventTime& latest = dirty_[entry.mark - 1].time;
      latest = std::max(latest, time);
    }
  }

  [[nodiscard]] bool mayBeDurable() {
    if (unread_ == unknown) [[unlikely]]
      unread_ = durableSize();
    return unread_ != 0;
  }

  [[gnu::noinline]] Number readThrough(Lookup key, std::uint64_t hash) {
    keyBuffer_.clear();
    encodeKey(K(key), keyBuffer_);
    if (!load(keyBuffer_, valueBuffer_)) return Table::none;
    return adopt(key, hash, keyBuffer_, valueBuffer_);
  }

  Number adopt(Lookup key, std::uint64_t hash, std::string_view keyBytes,
               std::string_view valueBytes) {
    V value{};
    try {
      decodeValue(valueBytes, value);
    } catch (const SerdeError& error) {
      throwUndecodable(name(), keyBytes, error.what());
    }
    const Number number = table_.insert(key, hash);
    table_[number].value = std::move(value);
    table_[number].present = true;
    --unread_;
    return number;
  }

  void readAll() {
    if (!mayBeDurable()) return;
    scan([&](std::string_view keyBytes, std::string_view valueBytes) {
      K key{};
      try {
        decodeKey(keyBytes, key);
      } catch (const SerdeError& error) {
        throwUndecodable(name(), keyBytes, error.what());
      }
      const std::uint64_t hash = hashKey(lookupOf(key));
      if (table_.find(lookupOf(key), hash) == Table::none) {
        adopt(lookupOf(key), hash, keyBytes, valueBytes);
      }
      return true;
    });
    unread_ = 0;
  }

  std::vector<Number> absent_;
  std::uint64_t unread_ = unknown;
  std::string keyBuffer_;
  std::string valueBuffer_;
};

/// A HotStore with its serdes. The engine takes no empty keys: an empty one, and those that
/// begin with a zero byte, get a zero byte in front (which keeps their order).
template <typename K, typename V, typename KeySerde, typename ValueSerde>
class SerdeHotStore final : public HotStore<K, V> {
 public:
  static constexpr bool escapesKeys = !requires { requires KeySerde::neverEmpty; };

  SerdeHotStore(KeySerde keySerde, ValueSerde valueSerde)
      : keySerde_(std::move(keySerde)), valueSerde_(std::move(valueSerde)) {}

  void flush() override {
    std::size_t done = 0;
    for (; done < this->dirty_.size(); ++done) {
      const auto& [number, time] = this->dirty_[done];
      auto& entry = this->table_[number];
      key_.clear();
      encodeKey(entry.key, key_);
      if (entry.present) {
        value_.clear();
        valueSerde_.encode(entry.value, value_);
        this->put(key_, value_, time);
      } else {
        this->erase(key_, time);
      }
      entry.mark = 0;
    }
    this->dirty_.clear();
  }

 protected:
  void encodeKey(const K& key, std::string& out) const override {
    const std::size_t begin = out.size();
    keySerde_.encode(key, out);
    if constexpr (escapesKeys) {
      if (out.size() == begin || out[begin] == '\0') out.insert(begin, 1, '\0');
    }
  }
  void decodeKey(std::string_view bytes, K& key) const override {
    if constexpr (escapesKeys) {
      if (!bytes.empty() && bytes[0] == '\0') bytes.remove_prefix(1);
    }
    keySerde_.decode(bytes, key);
  }
  void decodeValue(std::string_view bytes, V& value) const override {
    valueSerde_.decode(bytes, value);
  }

 private:
  [[no_unique_address]] KeySerde keySerde_;
  [[no_unique_address]] ValueSerde valueSerde_;
  std::string key_;
  std::string value_;
};

}  // namespace penstock::detail
