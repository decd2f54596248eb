// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_metrics.h>
#include <penstock/application_options.h>
#include <penstock/detail/build.h>
#include <penstock/detail/topology_builder.h>
#include <penstock/key_value_store.h>
#include <penstock/stream.h>
#include <penstock/stream_options.h>

#include <memory>
#include <string>
#include <utility>

namespace penstock {

namespace streams {
class ApplicationRun;  // sdk/src/streams/runtime
}  // namespace streams

/// A program that reads topics, keeps state and writes topics.
///
/// Describe what it does with `stream` and the operators on what it returns, then call `run`.
/// When it is killed at any instant and started again it goes on as if nothing had happened.
///
/// Threads: the topology is built by one thread, before `run`; `stop` and `metrics` are safe from
/// any thread.
/// Errors: ConfigurationError for options and topologies that cannot run, RecordError, and
/// what the stores and topics throw, from run().
/// Durability: ApplicationOptions::durability.
class Application {
 public:
  explicit Application(ApplicationOptions options = {});
  ~Application();
  Application(const Application&) = delete;
  Application& operator=(const Application&) = delete;

  [[nodiscard]] const ApplicationOptions& options() const noexcept { return options_; }

  /// The records of a topic. Errors: ConfigurationError when the topic is already read (use the
  /// Stream twice) or is no topic name.
  ///
  ///     auto lines = application.stream<None, std::string_view>("lines");
  template <typename K, typename V, SerdeFor<K> KeySerde = Serde<K>,
            SerdeFor<V> ValueSerde = Serde<V>>
  Stream<K, V> stream(std::string topic, StreamOptions<K, V, KeySerde, ValueSerde> options = {}) {
    const detail::NodeId node =
        detail::addSource<K, V>(*builder_, std::move(topic), false, std::move(options));
    return Stream<K, V>(builder_, node, false);
  }

  /// A store for Processors; one per task. What names it in ProcessOptions::stores runs together.
  template <typename K, typename V, SerdeFor<K> KeySerde = Serde<K>,
            SerdeFor<V> ValueSerde = Serde<V>>
  StoreHandle<K, V> store(StoreOptions<KeySerde, ValueSerde> options) {
    detail::addStore<K, V>(*builder_, options.name, std::move(options.keySerde),
                           std::move(options.valueSerde));
    return StoreHandle<K, V>(std::move(options.name));
  }

  /// Where `datastore` keeps its values: an address as Datastore::open takes it; in memory when it
  /// is not set. Before anybody asks for it; ConfigurationError else.
  void setDatastore(std::string address, const state::DatastoreOptions& options = {}) {
    builder_->shared()->setDatastore(std::move(address), options);
  }
  /// Values shared with other programs, for operators, timers and threads of this one (also
  /// ProcessorContext::datastore). Opened by the first call, with its errors. From any thread.
  [[nodiscard]] state::Datastore datastore() { return builder_->shared()->datastore(); }
  /// Values shared within the process. From any thread; lives as long as the application.
  [[nodiscard]] state::SharedState& sharedState() { return builder_->shared()->sharedState(); }

  /// The operators as text: sub-topologies, topics, stores.
  [[nodiscard]] std::string describe() const;

  /// Blocks until stopped, until the end of the inputs (ApplicationOptions::untilEnd), or an error.
  void run();
  /// Commits and lets run() return. From any thread, also from a signal handler's thread.
  void stop();
  [[nodiscard]] ApplicationMetrics metrics() const;

  /// For the runtime and TestDriver.
  [[nodiscard]] const detail::TopologyBuilder& builder() const noexcept { return *builder_; }

 private:
  ApplicationOptions options_;
  std::shared_ptr<detail::TopologyBuilder> builder_;
  std::shared_ptr<streams::ApplicationRun> run_;  // guards itself
};

}  // namespace penstock
