// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/topology_builder.h>
#include <penstock/fwd.h>

#include <memory>
#include <utility>

namespace penstock {

/// The newest value per key: what an aggregation makes.
///
/// Ownership: a handle; copies mean the same table, and may outlive the Application.
/// Threads: thread-compatible: one writer or many readers.
template <typename K, typename V>
class Table {
 public:
  using Key = K;
  using Value = V;

  Table(std::shared_ptr<detail::TopologyBuilder> builder, detail::NodeId node)
      : builder_(std::move(builder)), node_(node) {}

  /// Its changes: the last per key and commit, or each one, as `emit` said. Their timestamp is
  /// the highest of the records behind the change; they have no headers, offset or topic when
  /// emitted at a commit.
  [[nodiscard]] Stream<K, V> toStream() const { return Stream<K, V>(builder_, node_, false); }

 private:
  std::shared_ptr<detail::TopologyBuilder> builder_;
  detail::NodeId node_;
};

}  // namespace penstock
