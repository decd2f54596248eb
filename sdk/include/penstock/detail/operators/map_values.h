// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/call.h>
#include <penstock/detail/node.h>

#include <optional>
#include <utility>

namespace penstock::detail {

/// Makes another value of each; the key stays. Stateless.
template <typename K, typename V, typename VOut, typename F>
class MapValues final : public Operator<K, V, K, VOut> {
 public:
  explicit MapValues(F function) : function_(std::move(function)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    std::optional<VOut> made;
    if (!this->guarded(info, [&] { made.emplace(callValue(function_, key, value, info)); })) return;
    this->forward(key, *made, info);
  }

 private:
  F function_;
};

}  // namespace penstock::detail
