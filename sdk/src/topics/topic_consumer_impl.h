// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topic_consumer.h>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "topics/transport.h"

namespace penstock {

/// What TopicConsumer keeps beside its backend: the positions that polls have given out, for
/// commit() and for the loops.
struct TopicConsumer::Impl {
  using Clock = std::chrono::steady_clock;

  Impl(std::shared_ptr<topics::Transport> transport, const ConsumerOptions& options);

  void subscribe(const std::vector<std::string>& topics);
  void assignAll(const std::vector<std::string>& topics);
  topics::ConsumerBackend& open();  // throws Closed

  void loop(const Callback& callback, bool toEnd);
  void process(const RecordBatch& batch, const Callback& callback);
  void commitDone();
  /// Goes back to the record that failed and commits those before it. What goes wrong with that
  /// is logged: the error of the record is on its way.
  void stopAt(const TopicPartition& source, Offset offset) noexcept;
  [[nodiscard]] bool atEnds();
  void forget(const std::vector<TopicPartition>& partitions);
  [[nodiscard]] std::vector<TopicPartition> partitionsOf(const std::vector<std::string>& names);
  [[nodiscard]] std::map<TopicPartition, Offset> endsOf(
      const std::vector<TopicPartition>& partitions);

  std::shared_ptr<topics::Transport> transport;
  ConsumerOptions options;
  std::unique_ptr<topics::ConsumerBackend> backend;
  std::vector<std::string> topics;        // subscribed to
  RebalanceListener listener;             // the user's
  std::map<TopicPartition, Offset> done;  // next offsets of what was given out, not committed
  std::map<TopicPartition, Offset> ends;  // of forEach
  const Callback* running = nullptr;      // inside run or forEach: give-ups commit
  std::atomic<bool> stopping{false};
  std::atomic<bool> closed{false};  // the backend stays: another thread may be in wakeup
};

}  // namespace penstock
