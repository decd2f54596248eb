// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/hot_store.h>
#include <penstock/detail/operators/sink.h>
#include <penstock/detail/operators/source.h>
#include <penstock/detail/topology_builder.h>
#include <penstock/stream_options.h>

#include <memory>
#include <string>
#include <utility>

/// Writes typed sources, sinks and stores into the untyped topology.
namespace penstock::detail {

template <typename K, typename V, typename KeySerde, typename ValueSerde>
NodeId addSource(TopologyBuilder& builder, std::string topic, bool internal,
                 StreamOptions<K, V, KeySerde, ValueSerde> options) {
  NodeSpec spec;
  spec.name = std::move(options.name);
  spec.kind = "source";
  spec.input = std::move(topic);
  spec.internal = internal;
  spec.keySerde = options.keySerde.name();
  spec.valueSerde = options.valueSerde.name();
  spec.make = [keySerde = options.keySerde, valueSerde = options.valueSerde,
               timestamp = std::move(options.timestamp)] {
    return std::make_unique<Source<K, V, KeySerde, ValueSerde>>(keySerde, valueSerde, timestamp);
  };
  return builder.add(std::move(spec));
}

template <typename K, typename V, typename KeySerde, typename ValueSerde>
void addSink(TopologyBuilder& builder, NodeId parent, std::string topic, bool internal,
             std::int32_t partitions, ToOptions<KeySerde, ValueSerde> options) {
  NodeSpec spec;
  spec.name = std::move(options.name);
  spec.kind = "to";
  spec.parents = {parent};
  spec.output = std::move(topic);
  spec.internal = internal;
  spec.partitions = partitions;
  spec.keySerde = options.keySerde.name();
  spec.valueSerde = options.valueSerde.name();
  spec.make = [keySerde = options.keySerde, valueSerde = options.valueSerde] {
    return std::make_unique<Sink<K, V, KeySerde, ValueSerde>>(keySerde, valueSerde);
  };
  builder.add(std::move(spec));
}

template <typename K, typename V, typename KeySerde, typename ValueSerde>
void addStore(TopologyBuilder& builder, std::string name, KeySerde keySerde,
              ValueSerde valueSerde) {
  StoreSpec spec;
  spec.name = std::move(name);
  spec.kind = "keyvalue/1";
  spec.keySerde = keySerde.name();
  spec.valueSerde = valueSerde.name();
  using Store = SerdeHotStore<K, V, KeySerde, ValueSerde>;
  spec.escapesKeys = Store::escapesKeys;
  spec.make = [keySerde = std::move(keySerde), valueSerde = std::move(valueSerde)] {
    return std::make_unique<Store>(keySerde, valueSerde);
  };
  builder.addStore(std::move(spec));
}

}  // namespace penstock::detail
