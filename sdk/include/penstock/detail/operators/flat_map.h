// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/call.h>
#include <penstock/detail/node.h>

#include <utility>

namespace penstock::detail {

/// Makes any number of records of each: the function gets an `emit(key, value)` to call for
/// each, which allocates nothing. Stateless.
template <typename K, typename V, typename KOut, typename VOut, typename F>
class FlatMap final : public Operator<K, V, KOut, VOut> {
 public:
  explicit FlatMap(F function) : function_(std::move(function)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    const auto emit = [&](const KOut& outKey, const VOut& outValue) {
      this->forward(outKey, outValue, info);
    };
    this->guarded(info, [&] { call(function_, key, value, info, emit); });
  }

 private:
  F function_;
};

/// The same for values alone: `emit(value)`; the key stays.
template <typename K, typename V, typename VOut, typename F>
class FlatMapValues final : public Operator<K, V, K, VOut> {
 public:
  explicit FlatMapValues(F function) : function_(std::move(function)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    const auto emit = [&](const VOut& outValue) { this->forward(key, outValue, info); };
    this->guarded(info, [&] { callValue(function_, key, value, info, emit); });
  }

 private:
  F function_;
};

}  // namespace penstock::detail
