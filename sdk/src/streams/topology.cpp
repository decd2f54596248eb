// SPDX-License-Identifier: Apache-2.0
#include "streams/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <utility>

#include "penstock/error.h"

namespace penstock::streams {
namespace {

/// Sets of operators that have to run together.
class Unions {
 public:
  explicit Unions(std::size_t size) : parent_(size) {
    std::iota(parent_.begin(), parent_.end(), std::size_t{0});
  }
  std::size_t find(std::size_t element) {
    while (parent_[element] != element) element = parent_[element] = parent_[parent_[element]];
    return element;
  }
  void join(std::size_t left, std::size_t right) {
    left = find(left);
    right = find(right);
    parent_[std::max(left, right)] = std::min(left, right);  // the root is the first defined
  }

 private:
  std::vector<std::size_t> parent_;
};

std::size_t indexOf(detail::NodeId id) { return static_cast<std::size_t>(id); }

std::size_t storeIndex(const std::vector<detail::StoreSpec>& stores, const std::string& name) {
  const auto found =
      std::find_if(stores.begin(), stores.end(),
                   [&](const detail::StoreSpec& store) { return store.name == name; });
  return static_cast<std::size_t>(found - stores.begin());  // the builder checked the name
}

void addOnce(std::vector<TopologyTopic>& topics, const TopologyTopic& topic) {
  const bool known = std::any_of(topics.begin(), topics.end(), [&](const TopologyTopic& other) {
    return other.name == topic.name;
  });
  if (!known) topics.push_back(topic);
}

/// Upstream first; what is left when topics lead round in a circle: in order of definition.
std::vector<SubTopology> sorted(std::vector<SubTopology> parts) {
  std::vector<SubTopology> result;
  std::set<std::string> unwritten;
  for (const SubTopology& part : parts) {
    for (const TopologyTopic& output : part.outputs) unwritten.insert(output.name);
  }
  while (!parts.empty()) {
    auto next = std::find_if(parts.begin(), parts.end(), [&](const SubTopology& part) {
      return std::none_of(part.inputs.begin(), part.inputs.end(), [&](const TopologyTopic& input) {
        return unwritten.contains(input.name);
      });
    });
    if (next == parts.end()) next = parts.begin();
    result.push_back(std::move(*next));
    parts.erase(next);
    unwritten.clear();
    for (const SubTopology& part : parts) {
      for (const TopologyTopic& output : part.outputs) unwritten.insert(output.name);
    }
  }
  return result;
}

}  // namespace

Topology::Topology(std::string application, const detail::TopologyBuilder& builder)
    : application_(std::move(application)),
      nodes_(builder.nodes()),
      stores_(builder.stores()),
      shared_(builder.shared()) {
  if (nodes_.empty()) {
    throw ConfigurationError(
        fmt::format("application \"{}\" reads no topic: describe what it does with stream() before "
                    "run()",
                    application_));
  }
  for (detail::NodeSpec& node : nodes_) {
    if (!node.internal) continue;
    std::string& topic = node.input.empty() ? node.output : node.input;
    topic = fmt::format("{}-{}-repartition", application_, topic);
  }
  Unions unions(nodes_.size());
  std::vector<std::size_t> firstUser(stores_.size(), nodes_.size());
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    for (const detail::NodeId parent : nodes_[node].parents) unions.join(node, indexOf(parent));
    for (const std::string& store : nodes_[node].stores) {
      std::size_t& first = firstUser[storeIndex(stores_, store)];
      if (first == nodes_.size()) first = node;
      unions.join(first, node);
    }
  }
  std::vector<SubTopology> parts;
  std::vector<std::size_t> partOf(nodes_.size());
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    const std::size_t root = unions.find(node);
    if (root == node) {
      partOf[node] = parts.size();
      parts.emplace_back();
    }
    partOf[node] = partOf[root];
    SubTopology& part = parts[partOf[node]];
    part.nodes.push_back(node);
    const detail::NodeSpec& spec = nodes_[node];
    if (!spec.input.empty()) {
      addOnce(part.inputs, {spec.input, spec.internal, spec.partitions});
      if (part.name.empty()) part.name = spec.input;
    }
    if (!spec.output.empty()) {
      addOnce(part.outputs, {spec.output, spec.internal, spec.partitions});
    }
  }
  for (std::size_t store = 0; store < stores_.size(); ++store) {
    if (firstUser[store] == nodes_.size()) {
      throw ConfigurationError(
          fmt::format("store \"{}\" is used by no operator: name it in ProcessOptions::stores",
                      stores_[store].name));
    }
    parts[partOf[firstUser[store]]].stores.push_back(store);
  }
  parts_ = sorted(std::move(parts));
}

std::vector<TopologyTopic> Topology::outputs() const {
  std::vector<TopologyTopic> topics;
  for (const SubTopology& part : parts_) {
    for (const TopologyTopic& output : part.outputs) addOnce(topics, output);
  }
  return topics;
}

std::string Topology::describe() const {
  std::string text = fmt::format("application {}\n", application_);
  auto out = std::back_inserter(text);
  for (std::size_t number = 0; number < parts_.size(); ++number) {
    fmt::format_to(out, "sub-topology {} ({})\n", number, parts_[number].name);
    for (const std::size_t index : parts_[number].nodes) {
      const detail::NodeSpec& node = nodes_[index];
      fmt::format_to(out, "  {}", node.name);
      for (const detail::NodeId parent : node.parents) {
        fmt::format_to(out, "{}{}", parent == node.parents.front() ? " <- " : ", ",
                       nodes_[indexOf(parent)].name);
      }
      for (const std::string& store : node.stores) {
        const detail::StoreSpec& spec = stores_[storeIndex(stores_, store)];
        fmt::format_to(out, " [store {}: {} -> {}]", store, spec.keySerde, spec.valueSerde);
      }
      if (!node.input.empty()) {
        fmt::format_to(out, " reads {} ({}, {})", node.input, node.keySerde, node.valueSerde);
      }
      if (!node.output.empty()) {
        fmt::format_to(out, " writes {} ({}, {})", node.output, node.keySerde, node.valueSerde);
      }
      text += '\n';
    }
  }
  return text;
}

std::string Topology::fingerprint(const std::map<std::string, std::int32_t>& partitions) const {
  std::set<std::string> lines;
  const auto count = [&](const std::string& topic) {
    const auto found = partitions.find(topic);
    return found == partitions.end() ? std::string("?") : std::to_string(found->second);
  };
  for (const SubTopology& part : parts_) {
    for (const std::size_t index : part.stores) {
      const detail::StoreSpec& store = stores_[index];
      lines.insert(fmt::format("store {} kind={} key={} value={}", store.name, store.kind,
                               store.keySerde, store.valueSerde));
    }
    for (const std::size_t index : part.nodes) {
      const detail::NodeSpec& node = nodes_[index];
      if (node.input.empty()) continue;
      if (node.internal) {
        lines.insert(fmt::format("repartition {} key={} value={} partitions={}", node.input,
                                 node.keySerde, node.valueSerde, count(node.input)));
      } else if (!part.stores.empty()) {
        lines.insert(fmt::format("input {} partitions={}", node.input, count(node.input)));
      }
    }
  }
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

namespace {

/// "store counts" -> "kind=... key=..."
std::map<std::string, std::string> parsed(std::string_view fingerprint) {
  std::map<std::string, std::string> things;
  while (!fingerprint.empty()) {
    const std::size_t end = std::min(fingerprint.find('\n'), fingerprint.size());
    const std::string_view line = fingerprint.substr(0, end);
    fingerprint.remove_prefix(std::min(end + 1, fingerprint.size()));
    if (line.empty()) continue;
    const std::size_t kindEnd = std::min(line.find(' '), line.size());
    const std::size_t nameEnd = std::min(line.find(' ', kindEnd + 1), line.size());
    things.emplace(line.substr(0, nameEnd), line.substr(std::min(nameEnd + 1, line.size())));
  }
  return things;
}

}  // namespace

std::optional<std::string> explainDifference(std::string_view saved, std::string_view now) {
  const auto before = parsed(saved);
  const auto after = parsed(now);
  std::string text;
  for (const auto& [thing, what] : before) {
    const auto found = after.find(thing);
    if (found == after.end()) {
      text += fmt::format("  {}: in the state, but no longer in the program\n", thing);
    } else if (found->second != what) {
      text += fmt::format("  {}: {} in the state, {} in the program\n", thing, what, found->second);
    }
  }
  for (const auto& [thing, what] : after) {
    if (!before.contains(thing)) {
      text += fmt::format("  {}: in the program, but not in the state\n", thing);
    }
  }
  if (text.empty()) return std::nullopt;
  return text;
}

}  // namespace penstock::streams
