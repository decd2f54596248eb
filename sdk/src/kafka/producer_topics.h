// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "kafka/kafka_handle.h"

/// What every producer does with a record.
namespace penstock::kafka {

/// A topic as one producer knows it.
struct ProducerTopic {
  std::string name;
  TopicHandle handle;
  std::int32_t partitions = 0;
  /// Behind the last record delivered, by partition; -1: none. For who follows them.
  std::unique_ptr<std::atomic<std::int64_t>[]> ends;
};

/// The topics that a producer has written to, each looked up once.
///
/// Threads: safe from any thread.
class ProducerTopics {
 public:
  ProducerTopics(const TransportSettings& settings, Client& client)
      : settings_(settings), client_(client) {}

  /// Valid as long as this is. Throws for a topic, or partition of it, that does not exist.
  ProducerTopic& find(std::string_view name, std::int32_t partition);

 private:
  const TransportSettings& settings_;
  Client& client_;
  std::atomic<ProducerTopic*> last_{nullptr};  // most producers write one topic
  std::mutex mutex_;
  // Guarded by mutex_. Never shrinks, and superseded topics stay: they are pointed to.
  std::multimap<std::string, std::unique_ptr<ProducerTopic>, std::less<>> topics_;
};

/// What every producer is set to, from the transport's settings.
ClientSettings producerSettings(const TransportSettings& settings);

/// Throws what no broker needs to be asked for.
void checkRecord(std::string_view topic, std::int32_t partition, const RecordView& record);

/// Hands a record to librdkafka, which copies it. `partition` -1: by the key. `waits`: for room
/// in the queue, which another thread has to make; else the answer may be QUEUE_FULL.
RdError produce(Client& client, const ProducerTopic& topic, std::int32_t partition,
                const RecordView& record, bool waits, void* opaque);

}  // namespace penstock::kafka
