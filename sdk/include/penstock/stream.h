// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/build.h>
#include <penstock/detail/call.h>
#include <penstock/detail/operators/filter.h>
#include <penstock/detail/operators/flat_map.h>
#include <penstock/detail/operators/map.h>
#include <penstock/detail/operators/map_values.h>
#include <penstock/detail/operators/merge.h>
#include <penstock/detail/operators/peek.h>
#include <penstock/detail/operators/process.h>
#include <penstock/detail/operators/select_key.h>
#include <penstock/detail/operators/sink.h>
#include <penstock/detail/topology_builder.h>
#include <penstock/fwd.h>
#include <penstock/grouped_stream.h>
#include <penstock/processor.h>
#include <penstock/serde.h>
#include <penstock/stream_options.h>

#include <concepts>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace penstock {

/// A flow of records with keys of type K and values of type V, while the topology is described.
///
/// Operators return what comes behind them and change nothing else; a stream used twice goes both
/// ways. Functions are copied for every task: they take (const K&, const V&), and may take a
/// const RecordInfo& behind them. What they throw follows ApplicationOptions::errorPolicy, record
/// by record: under Skip and DeadLetter the record is dropped where it failed, the rest goes on.
///
/// Ownership: a handle; copies mean the same flow, and may outlive the Application.
/// Threads: thread-compatible: one writer or many readers. The functions run on task threads.
/// Errors: ConfigurationError for a name or topic that cannot be, at the call that gives it.
/// Cost: one indirect call per operator and record; no allocation of ours.
template <typename K, typename V>
class Stream {
 public:
  using Key = K;
  using Value = V;

  Stream(std::shared_ptr<detail::TopologyBuilder> builder, detail::NodeId node, bool keyChanged)
      : builder_(std::move(builder)), node_(node), keyChanged_(keyChanged) {}

  /// Keeps records of which predicate(key, value) is true. Stateless.
  template <typename Predicate>
  Stream filter(Predicate predicate, OperatorOptions options = {}) const {
    static_assert(std::convertible_to<detail::CallResult<Predicate, K, V>, bool>,
                  "filter: the predicate has to return bool");
    return attach<K, V, detail::Filter<K, V, Predicate>>("filter", options, keyChanged_,
                                                         std::move(predicate));
  }

  /// function(key, value) -> std::pair{key, value}. Stateless; what groups behind it repartitions.
  template <typename F>
  auto map(F function, OperatorOptions options = {}) const {
    using Pair = detail::CallResult<F, K, V>;
    using KOut = typename Pair::first_type;
    using VOut = typename Pair::second_type;
    return attach<KOut, VOut, detail::Map<K, V, KOut, VOut, F>>("map", options, true,
                                                                std::move(function));
  }

  /// function(value) or function(key, value) -> value. Stateless.
  template <typename F>
  auto mapValues(F function, OperatorOptions options = {}) const {
    using VOut = detail::CallValueResult<F, K, V>;
    static_assert(!std::is_void_v<VOut>, "mapValues: the function has to return the new value");
    return attach<K, VOut, detail::MapValues<K, V, VOut, F>>("mapValues", options, keyChanged_,
                                                             std::move(function));
  }

  /// function(key, value, emit) calls emit(key, value) any number of times. Stateless; what groups
  /// behind it repartitions.
  ///
  ///     lines.flatMap<std::string_view, None>([](auto&, auto& line, auto& emit) {...});
  template <typename KOut, typename VOut, typename F>
  Stream<KOut, VOut> flatMap(F function, OperatorOptions options = {}) const {
    return attach<KOut, VOut, detail::FlatMap<K, V, KOut, VOut, F>>("flatMap", options, true,
                                                                    std::move(function));
  }

  /// function(value, emit) or function(key, value, emit) calls emit(value) any number of times.
  /// Stateless.
  template <typename VOut, typename F>
  Stream<K, VOut> flatMapValues(F function, OperatorOptions options = {}) const {
    return attach<K, VOut, detail::FlatMapValues<K, V, VOut, F>>("flatMapValues", options,
                                                                 keyChanged_, std::move(function));
  }

  /// Calls function(key, value) and passes the record on. Stateless.
  template <typename F>
  Stream peek(F function, OperatorOptions options = {}) const {
    return attach<K, V, detail::Peek<K, V, F>>("peek", options, keyChanged_, std::move(function));
  }

  /// function(key, value) -> key. Stateless; what groups behind it repartitions.
  template <typename F>
  auto selectKey(F function, OperatorOptions options = {}) const {
    using KOut = detail::CallResult<F, K, V>;
    static_assert(!std::is_void_v<KOut>, "selectKey: the function has to return the new key");
    return attach<KOut, V, detail::SelectKey<K, V, KOut, F>>("selectKey", options, true,
                                                             std::move(function));
  }

  /// The records of both. Stateless. Inputs of what is merged need equal partition counts.
  Stream merge(const Stream& other, OperatorOptions options = {}) const {
    detail::NodeSpec spec;
    spec.name = std::move(options.name);
    spec.kind = "merge";
    spec.parents = {node_, other.node_};
    spec.make = [] { return std::make_unique<detail::Merge<K, V>>(); };
    return Stream(builder_, builder_->add(std::move(spec)), keyChanged_ || other.keyChanged_);
  }

  /// Groups by the key that the records have. Repartitions when an operator before changed it.
  template <SerdeFor<K> KeySerde = Serde<K>, SerdeFor<V> ValueSerde = Serde<V>>
  auto groupByKey(GroupOptions<KeySerde, ValueSerde> options = {}) const {
    static_assert(!std::same_as<K, None> && !detail::canBeAbsent<K>,
                  "groupByKey: records without a key cannot be grouped: use groupBy, or filter and "
                  "selectKey before it");
    return GroupedStream<K, V, KeySerde, ValueSerde>(builder_, node_, keyChanged_,
                                                     std::move(options));
  }

  /// Groups by function(key, value). Repartitions.
  template <typename F, typename KOut = detail::CallResult<F, K, V>,
            SerdeFor<KOut> KeySerde = Serde<KOut>, SerdeFor<V> ValueSerde = Serde<V>>
  auto groupBy(F function, GroupOptions<KeySerde, ValueSerde> options = {}) const {
    return selectKey(std::move(function)).groupByKey(std::move(options));
  }

  /// Writes to a topic; the partition is that of the key's bytes, as Kafka's Java client has it.
  /// A topic that is not there is created at start, and logged, with as many partitions as there
  /// are tasks that write it (of several parts of the topology the first one's). One that is there
  /// is taken as it is.
  template <SerdeFor<K> KeySerde = Serde<K>, SerdeFor<V> ValueSerde = Serde<V>>
  void to(std::string topic, ToOptions<KeySerde, ValueSerde> options = {}) const {
    detail::addSink<K, V>(*builder_, node_, std::move(topic), false, 0, std::move(options));
  }

  /// Runs a Processor. `make` returns a std::unique_ptr to one, for each task. Stateful when it
  /// has stores; what groups behind it repartitions.
  template <typename Make>
  auto process(Make make, ProcessOptions options = {}) const {
    using Made = typename std::invoke_result_t<Make&>::element_type;
    using Shape = typename Made::Shape;
    static_assert(
        std::same_as<typename Shape::KeyIn, K> && std::same_as<typename Shape::ValueIn, V>,
        "process: the Processor takes other types than the stream has");
    using KOut = typename Shape::KeyOut;
    using VOut = typename Shape::ValueOut;
    detail::NodeSpec spec;
    spec.name = std::move(options.name);
    spec.kind = "process";
    spec.parents = {node_};
    for (const StoreReference& store : options.stores) spec.stores.push_back(store.name());
    spec.make = [make = std::move(make), stores = spec.stores] {
      return std::make_unique<detail::Process<K, V, KOut, VOut>>(std::invoke(make), stores);
    };
    return Stream<KOut, VOut>(builder_, builder_->add(std::move(spec)), true);
  }

 private:
  template <typename KOut, typename VOut, typename NodeType, typename F>
  Stream<KOut, VOut> attach(const char* kind, OperatorOptions& options, bool keyChanged,
                            F function) const {
    detail::NodeSpec spec;
    spec.name = std::move(options.name);
    spec.kind = kind;
    spec.parents = {node_};
    spec.make = [function = std::move(function)] { return std::make_unique<NodeType>(function); };
    return Stream<KOut, VOut>(builder_, builder_->add(std::move(spec)), keyChanged);
  }

  std::shared_ptr<detail::TopologyBuilder> builder_;
  detail::NodeId node_;
  bool keyChanged_;
};

}  // namespace penstock
