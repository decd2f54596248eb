// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/operators/aggregate.h>
#include <penstock/detail/operators/source.h>
#include <penstock/serde.h>

#include <cstdint>
#include <string>

/// One struct per operator, for designated initialisers: `{.name = "counts"}`.
namespace penstock {

/// Of Application::stream.
template <typename K, typename V, typename KeySerde = Serde<K>, typename ValueSerde = Serde<V>>
struct StreamOptions {
  // Changes behaviour.
  std::string name = {};  // default: from its position; shows in messages only
  KeySerde keySerde{};
  ValueSerde valueSerde{};
  /// Event time of a record; default: the timestamp it carries. What it throws counts as a
  /// record that cannot be decoded.
  detail::TimestampExtractor<K, V> timestamp = {};
};

/// Of the stateless operators.
struct OperatorOptions {
  // Changes behaviour.
  std::string name = {};  // default: from its position; shows in messages only
};

/// Of Stream::groupBy and groupByKey.
template <typename KeySerde, typename ValueSerde>
struct GroupOptions {
  // Changes behaviour.
  /// Durable: names the repartition topic, <application>-<name>-repartition, when one is needed.
  /// Default: the name of the first aggregation built on the group.
  std::string name = {};
  KeySerde keySerde{};  // in the repartition topic and in the stores
  ValueSerde valueSerde{};
  // Changes performance.
  std::int32_t partitions = 0;  // of the repartition topic; 0: as many as the inputs have
};

/// Of GroupedStream::count.
struct CountOptions {
  // Changes behaviour.
  std::string name = {};        // of the store: required, durable
  Emit emit = Emit::PerCommit;  // what the Table passes on
};

/// Of GroupedStream::reduce.
struct ReduceOptions {
  // Changes behaviour.
  std::string name = {};        // of the store: required, durable
  Emit emit = Emit::PerCommit;  // what the Table passes on
};

/// Of GroupedStream::aggregate.
template <typename ValueSerde>
struct AggregateOptions {
  // Changes behaviour.
  std::string name = {};        // of the store: required, durable
  Emit emit = Emit::PerCommit;  // what the Table passes on
  ValueSerde valueSerde{};      // of the aggregate in its store
};

/// Of Stream::to.
template <typename KeySerde, typename ValueSerde>
struct ToOptions {
  // Changes behaviour.
  std::string name = {};  // default: from its position; shows in messages only
  KeySerde keySerde{};
  ValueSerde valueSerde{};
};

}  // namespace penstock
