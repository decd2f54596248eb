// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/call.h>
#include <penstock/detail/node.h>

#include <optional>
#include <utility>

namespace penstock::detail {

/// Makes another record of each: the function returns a std::pair. Stateless.
template <typename K, typename V, typename KOut, typename VOut, typename F>
class Map final : public Operator<K, V, KOut, VOut> {
 public:
  explicit Map(F function) : function_(std::move(function)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    std::optional<std::pair<KOut, VOut>> made;
    if (!this->guarded(info, [&] { made.emplace(call(function_, key, value, info)); })) return;
    this->forward(made->first, made->second, info);
  }

 private:
  F function_;
};

}  // namespace penstock::detail
