// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/topology_builder.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// An application's operators, split into what can run apart.
namespace penstock::streams {

/// A topic that a sub-topology reads or writes; `name` in full: internal topics are
/// `<application>-<name>-repartition`.
struct TopologyTopic {
  std::string name;
  bool repartition = false;
  std::int32_t partitions = 0;  // wanted, of repartition topics; 0: as many as its writer's inputs
  bool operator==(const TopologyTopic&) const = default;
};

/// Operators that are connected without a topic in between, or by a store they share. One task
/// per partition number of its inputs, which must agree in their partition counts.
struct SubTopology {
  std::string name;                    // its first input's: does not change with its position
  std::vector<std::size_t> nodes;      // into Topology::nodes(), upstream first
  std::vector<std::size_t> stores;     // into Topology::stores()
  std::vector<TopologyTopic> inputs;   // in order of definition
  std::vector<TopologyTopic> outputs;  // each once
};

/// An application's operators in final form.
///
/// Threads: immutable after construction.
/// Errors: ConfigurationError for a topology that cannot run (no source; a topic read twice).
class Topology {
 public:
  Topology(std::string application, const detail::TopologyBuilder& builder);

  [[nodiscard]] const std::string& application() const noexcept { return application_; }
  /// Topic names in these are full ones.
  [[nodiscard]] const std::vector<detail::NodeSpec>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const std::vector<detail::StoreSpec>& stores() const noexcept { return stores_; }
  /// Upstream first: a repartition topic is written by one before the one that reads it (loops
  /// through topics are in order of definition).
  [[nodiscard]] const std::vector<SubTopology>& subTopologies() const noexcept { return parts_; }
  [[nodiscard]] detail::SharedValues& shared() const noexcept { return *shared_; }
  /// Each once, with `repartition` and `partitions`.
  [[nodiscard]] std::vector<TopologyTopic> outputs() const;

  /// For people: one line per operator.
  [[nodiscard]] std::string describe() const;

  /// What must not change while state exists: one sorted line per store (kind, serdes),
  /// repartition topic (serdes) and input with its partition count. `partitions` gives the
  /// counts by full topic name. Saved with the state by the runtime.
  [[nodiscard]] std::string fingerprint(
      const std::map<std::string, std::int32_t>& partitions) const;

 private:
  std::string application_;
  std::vector<detail::NodeSpec> nodes_;
  std::vector<detail::StoreSpec> stores_;
  std::vector<SubTopology> parts_;
  std::shared_ptr<detail::SharedValues> shared_;
};

/// What differs between the fingerprint found with the state and today's, for people, one line
/// each; nullopt when nothing does.
std::optional<std::string> explainDifference(std::string_view saved, std::string_view now);

}  // namespace penstock::streams
