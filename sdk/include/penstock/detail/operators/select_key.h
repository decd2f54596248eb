// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/call.h>
#include <penstock/detail/node.h>

#include <optional>
#include <utility>

namespace penstock::detail {

/// Gives each record another key; the value stays. Stateless.
template <typename K, typename V, typename KOut, typename F>
class SelectKey final : public Operator<K, V, KOut, V> {
 public:
  explicit SelectKey(F function) : function_(std::move(function)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    std::optional<KOut> made;
    if (!this->guarded(info, [&] { made.emplace(call(function_, key, value, info)); })) return;
    this->forward(*made, value, info);
  }

 private:
  F function_;
};

}  // namespace penstock::detail
