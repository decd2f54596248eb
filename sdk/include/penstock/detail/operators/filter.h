// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/call.h>
#include <penstock/detail/node.h>

#include <utility>

namespace penstock::detail {

/// Passes on the records of which the predicate holds. Stateless.
template <typename K, typename V, typename Predicate>
class Filter final : public Operator<K, V, K, V> {
 public:
  explicit Filter(Predicate predicate) : predicate_(std::move(predicate)) {}

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    bool passes = false;
    if (!this->guarded(info, [&] { passes = call(predicate_, key, value, info); })) return;
    if (passes) this->forward(key, value, info);
  }

 private:
  Predicate predicate_;
};

}  // namespace penstock::detail
