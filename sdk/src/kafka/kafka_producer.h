// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topics.h>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "kafka/kafka_handle.h"
#include "kafka/producer_topics.h"
#include "topics/transport.h"

namespace penstock::kafka {

/// A ProducerBackend over one idempotent librdkafka producer. One thread of its own takes the
/// delivery reports and calls `done`; each report is looked at.
///
/// Kafka has no timestamps before 1970-01-01 00:00:00.001: 0 becomes the time of the call.
class KafkaProducer final : public topics::ProducerBackend {
 public:
  KafkaProducer(const TransportSettings& settings, const ProducerOptions& options);
  ~KafkaProducer() override;

  void send(std::string_view topic, std::optional<PartitionIndex> partition,
            const RecordView& record, Done done) override;
  void flush(milliseconds timeout) override;
  void close() override;
  /// Closes without waiting: what is not delivered yet fails, or may still arrive.
  void abandon();

 private:
  void serveReports();
  void report(const rd_kafka_message_t& message);
  void shutDown();

  const TransportSettings settings_;
  const ProducerOptions options_;
  std::unique_ptr<Client> client_;
  ProducerTopics topics_;
  Queue reports_;

  std::mutex mutex_;
  std::exception_ptr firstFailure_;  // guarded by mutex_; since the last flush

  std::atomic<bool> closed_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace penstock::kafka
