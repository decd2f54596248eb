// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/node.h>
#include <penstock/detail/shared_values.h>
#include <penstock/detail/store_base.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

/// What the typed DSL writes down: operators as untyped descriptions with a factory each.
namespace penstock::detail {

enum class NodeId : std::size_t {};

struct NodeSpec {
  std::string name;  // unique; made from kind and position when empty
  std::string kind;  // "filter", "to", ...
  std::vector<NodeId> parents;
  std::vector<std::string> stores;  // names of those it reads or writes
  std::string input;                // topic, of sources; without the application's prefix when
  std::string output;               // topic, of sinks;   internal
  bool internal = false;            // the topic is a repartition topic
  std::int32_t partitions = 0;      // wanted for the repartition topic; 0: as many as its inputs
  std::string keySerde;             // of sources and sinks
  std::string valueSerde;
  std::function<std::unique_ptr<Node>()> make;
};

struct StoreSpec {
  std::string name;
  std::string kind;  // durable: "keyvalue/1"
  std::string keySerde;
  std::string valueSerde;
  bool escapesKeys = false;  // SerdeHotStore
  std::function<std::unique_ptr<StoreBase>()> make;
};

/// Collects the operators of an application; refuses what cannot run, at the line that adds it.
///
/// Threads: thread-compatible: one writer or many readers.
/// Errors: ConfigurationError naming the operator, store or topic.
class TopologyBuilder {
 public:
  NodeId add(NodeSpec spec);
  void addStore(StoreSpec spec);

  [[nodiscard]] const std::vector<NodeSpec>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const std::vector<StoreSpec>& stores() const noexcept { return stores_; }
  [[nodiscard]] const std::shared_ptr<SharedValues>& shared() const noexcept { return shared_; }

 private:
  std::vector<NodeSpec> nodes_;
  std::vector<StoreSpec> stores_;
  std::shared_ptr<SharedValues> shared_ = std::make_shared<SharedValues>();
};

/// Names of durable things: [A-Za-z0-9._-]{1,150}, given by the user. ConfigurationError else.
void checkDurableName(std::string_view what, std::string_view name);

}  // namespace penstock::detail
