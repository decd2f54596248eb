// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>

#include "kafka/kafka_consumer.h"
#include "streams/runtime/backend.h"

namespace penstock::streams {

/// What one worker has fetched for its tasks, and they have not taken yet. Bounded: both small
/// records by number and large ones by size. Only `drain` talks to the consumer's queue, so that
/// partitions come and go between the tasks' steps and never inside one.
///
/// Threads: owned by the worker's thread.
class KafkaInputs {
 public:
  struct Amount {
    std::size_t records = 0;
    std::size_t bytes = 0;  // of keys, values and headers
    Amount& operator+=(const Amount& more) noexcept;
    Amount& operator-=(const Amount& less) noexcept;
    [[nodiscard]] bool reaches(const Amount& bound) const noexcept {
      return records >= bound.records || bytes >= bound.bytes;
    }
  };
  /// One partition.
  struct Input {
    TopicPartition source;
    Offset given;       // behind what the task was given
    bool held = false;  // not to be read for the time being
    [[nodiscard]] bool empty() const noexcept { return fetched_.empty(); }

   private:
    friend class KafkaInputs;
    struct Fetched {
      RecordBatch batch;
      Amount amount;
    };
    std::deque<Fetched> fetched_;
    Amount amount_;  // of them
    bool paused_ = false;
  };

  /// The consumer reads it from `start` on. Stays where it is until `clear`.
  Input& add(const TopicPartition& source, Offset start);
  void clear();

  /// Takes what the consumer has, waiting up to `timeout` for something.
  void drain(kafka::KafkaConsumer& consumer, std::chrono::milliseconds timeout);
  /// The next records of an input; as WorkerBackend::fetch.
  FetchResult fetch(kafka::KafkaConsumer& consumer, Input& input, RecordBatch& batch);

 private:
  void keep(RecordBatch&& batch);
  void balance(kafka::KafkaConsumer& consumer);

  std::map<TopicPartition, Input> inputs_;
  Amount buffered_;
};

}  // namespace penstock::streams
