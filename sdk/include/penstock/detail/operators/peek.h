// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/call.h>
#include <penstock/detail/node.h>

#include <utility>

namespace penstock::detail {

/// Shows each record to a function and passes it on. Stateless.
template <typename K, typename V, typename F>
class Peek final : public Operator<K, V, K, V> {
 public:
  explicit Peek(F function) : function_(std::move(function)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    if (!this->guarded(info, [&] { call(function_, key, value, info); })) return;
    this->forward(key, value, info);
  }

 private:
  F function_;
};

}  // namespace penstock::detail
