// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/node.h>
#include <penstock/serde.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>

namespace penstock::detail {

template <typename K, typename V>
using TimestampExtractor = std::function<EventTime(const K&, const V&, const RecordInfo&)>;

/// Reads a topic. Key and value are decoded into the same two objects over and over, so that
/// strings keep their capacity.
template <typename K, typename V, typename KeySerde, typename ValueSerde>
class Source final : public SourceNode {
 public:
  Source(KeySerde keySerde, ValueSerde valueSerde, TimestampExtractor<K, V> timestamp)
      : keySerde_(std::move(keySerde)),
        valueSerde_(std::move(valueSerde)),
        timestamp_(std::move(timestamp)) {}

  void connect(Node& child) override {
    if (!children_.add(child)) refuseChild(child);
  }

  void process(const RecordBatch& batch, std::size_t first, std::size_t count) override {
    for (std::size_t at = first; at < first + count; ++at) {
      const RecordView& record = batch.records[at];
      RecordInfo info{record.timestamp, &record, &batch.source};
      try {
        decodeField(keySerde_, record.key, key_);
        decodeField(valueSerde_, record.value, value_);
        if (timestamp_) info.timestamp = timestamp_(key_, value_, info);
      } catch (...) {
        services().failed(*this, info, Stage::Decode);
        continue;
      }
      services().streamTime = std::max(services().streamTime, info.timestamp);
      children_.forward(key_, value_, info);
    }
  }

 private:
  [[no_unique_address]] KeySerde keySerde_;
  [[no_unique_address]] ValueSerde valueSerde_;
  TimestampExtractor<K, V> timestamp_;
  K key_{};
  V value_{};
  Children<K, V> children_;
};

}  // namespace penstock::detail
