// SPDX-License-Identifier: Apache-2.0
#include "penstock/detail/topology_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "penstock/detail/operators/process.h"
#include "penstock/error.h"
#include "topics/transport.h"

namespace penstock::detail {

void checkDurableName(std::string_view what, std::string_view name) {
  if (name.empty()) {
    throw ConfigurationError(fmt::format(
        "{} without a name: durable things are found again by name, so it has to be given, as in "
        "{{.name = \"counts\"}}",
        what));
  }
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  constexpr std::size_t sizeMax = 130;  // with application id and suffix a Kafka topic name (249)
  if (name.size() > sizeMax || !std::all_of(name.begin(), name.end(), allowed)) {
    throw ConfigurationError(
        fmt::format("{} \"{}\": a name is 1 to {} of A-Z a-z 0-9 . _ -", what, name, sizeMax));
  }
}

NodeId TopologyBuilder::add(NodeSpec spec) {
  if (spec.name.empty()) spec.name = fmt::format("{}-{}", spec.kind, nodes_.size());
  for (const NodeSpec& other : nodes_) {
    if (other.name == spec.name) {
      throw ConfigurationError(fmt::format("two operators are named \"{}\"", spec.name));
    }
    if (!spec.input.empty() && other.input == spec.input && other.internal == spec.internal) {
      throw ConfigurationError(
          spec.internal
              ? fmt::format("two groups repartition through the name \"{}\": give one of them "
                            "another GroupOptions::name",
                            spec.input)
              : fmt::format("topic \"{}\" is already read by operator \"{}\": use the Stream that "
                            "made twice instead of reading twice",
                            spec.input, other.name));
    }
  }
  if (!spec.internal) {
    if (spec.kind == "source") topics::checkTopicName(spec.input);
    if (spec.kind == "to") topics::checkTopicName(spec.output);
  }
  if (spec.partitions < 0) {
    throw ConfigurationError(
        fmt::format("operator \"{}\": {} partitions", spec.name, spec.partitions));
  }
  for (const std::string& store : spec.stores) {
    const bool known = std::any_of(stores_.begin(), stores_.end(),
                                   [&](const StoreSpec& other) { return other.name == store; });
    if (!known) {
      throw ConfigurationError(fmt::format(
          "operator \"{}\" names a store \"{}\" that this application has not", spec.name, store));
    }
  }
  nodes_.push_back(std::move(spec));
  return NodeId{nodes_.size() - 1};
}

void TopologyBuilder::addStore(StoreSpec spec) {
  checkDurableName("store", spec.name);
  for (const StoreSpec& other : stores_) {
    if (other.name == spec.name) {
      throw ConfigurationError(fmt::format("two stores are named \"{}\"", spec.name));
    }
  }
  stores_.push_back(std::move(spec));
}

void throwUnnamedStore(const std::string& node, const std::string& store) {
  throw ConfigurationError(
      fmt::format("operator \"{}\" asks for store \"{}\", which its ProcessOptions::stores does "
                  "not name",
                  node, store));
}

}  // namespace penstock::detail
