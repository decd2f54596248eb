// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/build.h>
#include <penstock/detail/operators/aggregate.h>
#include <penstock/fwd.h>
#include <penstock/serde.h>
#include <penstock/stream_options.h>
#include <penstock/table.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace penstock {

/// A stream whose records with equal keys are in one partition, ready to be aggregated.
///
/// Made by Stream::groupBy and groupByKey. Several aggregations of one group share its
/// repartition topic, which the first of them names unless GroupOptions did. Aggregations are
/// stateful: each makes a store of the name given.
///
/// Ownership: a handle; copies mean the same group.
/// Threads: thread-compatible: one writer or many readers.
/// Errors: ConfigurationError when a store's name is missing, taken or no name.
/// Cost: per record one hash look-up; a new key allocates its entry.
template <typename K, typename V, typename KeySerde, typename ValueSerde>
class GroupedStream {
 public:
  using Options = GroupOptions<KeySerde, ValueSerde>;
  using StoreKeySerde =
      std::conditional_t<std::same_as<KeySerde, Serde<K>>, Serde<Owned<K>>, KeySerde>;
  using StoreValueSerde =
      std::conditional_t<std::same_as<ValueSerde, Serde<V>>, Serde<Owned<V>>, ValueSerde>;

  GroupedStream(std::shared_ptr<detail::TopologyBuilder> builder, detail::NodeId node,
                bool repartition, Options options)
      : builder_(std::move(builder)),
        group_(std::make_shared<Group>(node, repartition, std::move(options))) {}

  /// Records per key.
  Table<Owned<K>, std::int64_t> count(CountOptions options) const {
    return build<std::int64_t>("count", options, Serde<std::int64_t>{}, detail::CountStep{});
  }

  /// function(left, right) -> value, over all values of a key in order; the first as it is.
  template <typename F>
  Table<Owned<K>, Owned<V>> reduce(F function, ReduceOptions options) const {
    static_assert(std::is_invocable_r_v<Owned<V>, F&, const Owned<V>&, const V&>,
                  "reduce: the function has to take (const Value&, const Value&) and return one");
    return build<Owned<V>>("reduce", options,
                           keptSerde<StoreValueSerde>(group_->options.valueSerde),
                           detail::ReduceStep<Owned<V>, F>{std::move(function)});
  }

  /// initial() -> Agg for a new key; then for each record either function(key, value, Agg&), or
  /// function(key, value, const Agg&) -> Agg. Under Skip and DeadLetter an aggregate is copied
  /// before the function sees it, so that one that throws leaves no half change.
  template <typename Initial, typename F, typename Agg = std::invoke_result_t<Initial&>,
            SerdeFor<Agg> AggSerde = Serde<Agg>>
  Table<Owned<K>, Agg> aggregate(Initial initial, F function,
                                 AggregateOptions<AggSerde> options) const {
    static_assert(std::invocable<F&, const K&, const V&, Agg&>,
                  "aggregate: the function has to take (const Key&, const Value&, Agg&)");
    return build<Agg>(
        "aggregate", options, options.valueSerde,
        detail::AggregateStep<Agg, Initial, F>{std::move(initial), std::move(function)});
  }

 private:
  struct Group {
    Group(detail::NodeId behind, bool changed, Options given)
        : node(behind), repartition(changed), options(std::move(given)) {}
    detail::NodeId node;
    bool repartition;  // still to be done
    Options options;
  };

  /// A view's serde is replaced by that of the type that owns its bytes.
  template <typename Kept, typename Given>
  static Kept keptSerde(const Given& given) {
    if constexpr (std::same_as<Kept, Given>) {
      return given;
    } else {
      return Kept{};
    }
  }

  /// The operator to build on.
  detail::NodeId grouped(const std::string& store) const {
    if (group_->repartition) {
      const Options& options = group_->options;
      const std::string& name = options.name.empty() ? store : options.name;
      detail::checkDurableName("repartition topic", name);
      detail::addSink<K, V>(*builder_, group_->node, name, true, options.partitions,
                            ToOptions<KeySerde, ValueSerde>{.keySerde = options.keySerde,
                                                            .valueSerde = options.valueSerde});
      group_->node = detail::addSource<K, V>(
          *builder_, name, true,
          StreamOptions<K, V, KeySerde, ValueSerde>{.keySerde = options.keySerde,
                                                    .valueSerde = options.valueSerde});
      group_->repartition = false;
    }
    return group_->node;
  }

  template <typename Agg, typename AggregationOptions, typename AggSerde, typename Step>
  Table<Owned<K>, Agg> build(const char* kind, const AggregationOptions& options, AggSerde aggSerde,
                             Step step) const {
    detail::addStore<Owned<K>, Agg>(*builder_, options.name,
                                    keptSerde<StoreKeySerde>(group_->options.keySerde),
                                    std::move(aggSerde));
    detail::NodeSpec spec;
    spec.kind = kind;
    spec.parents = {grouped(options.name)};
    spec.stores = {options.name};
    spec.make = [name = options.name, emit = options.emit, step = std::move(step)] {
      return std::make_unique<detail::Aggregate<K, V, Agg, Step>>(name, emit, step);
    };
    return Table<Owned<K>, Agg>(builder_, builder_->add(std::move(spec)));
  }

  std::shared_ptr<detail::TopologyBuilder> builder_;
  std::shared_ptr<Group> group_;
};

}  // namespace penstock
