// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/node.h>

namespace penstock::detail {

/// Passes on the records of several streams as they come. Stateless.
template <typename K, typename V>
class Merge final : public Operator<K, V, K, V> {
 public:
  void receive(const K& key, const V& value, const RecordInfo& info) override {
    this->forward(key, value, info);
  }
};

}  // namespace penstock::detail
