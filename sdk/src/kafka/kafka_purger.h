// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>

#include "kafka/kafka_handle.h"

namespace penstock::kafka {

/// Deletes the records of repartition topics that have been processed, which nothing else does.
/// Best effort: nobody waits for an answer; what fails is logged, and asked for again with what
/// is processed later.
///
/// Threads: owned by one thread.
class KafkaPurger {
 public:
  explicit KafkaPurger(TransportSettings settings) : settings_(std::move(settings)) {}

  /// False while an answer is awaited.
  [[nodiscard]] bool ready();
  /// Deletes what stands before these offsets. REQUIRES: ready().
  void purge(const std::map<TopicPartition, Offset>& below);

 private:
  void ask(const std::map<TopicPartition, Offset>& below);

  const TransportSettings settings_;
  std::unique_ptr<Client> client_;  // made with the first question
  Queue answers_;
  bool asked_ = false;
};

}  // namespace penstock::kafka
