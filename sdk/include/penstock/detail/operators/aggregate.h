// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/hot_store.h>
#include <penstock/detail/node.h>
#include <penstock/serde.h>

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace penstock {

/// When an aggregate passes on what changed.
enum class Emit : std::uint8_t {
  PerCommit,    // the last value of each changed key, at each commit
  EveryUpdate,  // each change, at once
};

namespace detail {

/// Keeps one aggregate per key in a store. Stateful; `Step` says what one record does to it:
///   step.apply(aggregate, fresh, key, value, info)   fresh: default-constructed, new key
///   Step::throws                                     false: cannot fail
template <typename K, typename V, typename Agg, typename Step>
class Aggregate final : public Operator<K, V, Owned<K>, Agg> {
 public:
  using Store = HotStore<Owned<K>, Agg>;

  Aggregate(std::string store, Emit emit, Step step)
      : store_(std::move(store)), emit_(emit), step_(std::move(step)) {}

  void open() override {
    hot_ = &dynamic_cast<Store&>(this->services().store(store_));
    copies_ = this->services().survivesErrors();
  }

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    typename Store::Number number = Store::Table::none;
    if (!this->guarded(info, [&] { number = hot_->entry(key); })) return;
    auto& entry = (*hot_)[number];
    if constexpr (!Step::throws) {
      step_.apply(entry.value, !entry.present, key, value, info);
    } else if (!apply(entry.value, !entry.present, key, value, info)) {
      if (!entry.present) hot_->abandon(number);
      return;
    }
    hot_->changed(number, info.timestamp);
    if (emit_ == Emit::EveryUpdate) this->forward(entry.key, entry.value, info);
  }

  void emitChanges() override {
    if (emit_ != Emit::PerCommit || !this->hasChildren()) return;
    for (std::size_t at = 0; at < hot_->dirty().size(); ++at) {
      const auto [number, time] = hot_->dirty()[at];
      const auto& entry = (*hot_)[number];
      this->forward(entry.key, entry.value, RecordInfo{time});
    }
  }

 private:
  /// False: it threw, the record is dropped, the aggregate is as it was.
  bool apply(Agg& aggregate, bool fresh, const K& key, const V& value, const RecordInfo& info) {
    if (!copies_) {
      return this->guarded(info, [&] { step_.apply(aggregate, fresh, key, value, info); });
    }
    return this->guarded(info, [&] {
      Agg copy = aggregate;
      step_.apply(copy, fresh, key, value, info);
      aggregate = std::move(copy);
    });
  }

  std::string store_;
  Emit emit_;
  Step step_;
  Store* hot_ = nullptr;
  bool copies_ = false;
};

struct CountStep {
  static constexpr bool throws = false;
  template <typename K, typename V>
  void apply(std::int64_t& count, bool, const K&, const V&, const RecordInfo&) const noexcept {
    ++count;
  }
};

template <typename Agg, typename Initial, typename F>
struct AggregateStep {
  static constexpr bool throws = true;
  Initial initial;
  F function;

  template <typename K, typename V>
  void apply(Agg& aggregate, bool fresh, const K& key, const V& value, const RecordInfo& info) {
    if (fresh) aggregate = initial();
    if constexpr (std::is_void_v<decltype(function(key, value, aggregate))>) {
      function(key, value, aggregate);
    } else {
      aggregate = function(key, value, std::as_const(aggregate));
    }
    static_cast<void>(info);
  }
};

template <typename V, typename F>
struct ReduceStep {
  static constexpr bool throws = true;
  F function;

  template <typename K, typename VIn>
  void apply(V& reduced, bool fresh, const K&, const VIn& value, const RecordInfo&) {
    if (fresh) {
      reduced = value;
    } else {
      reduced = function(std::as_const(reduced), value);
    }
  }
};

}  // namespace detail
}  // namespace penstock
