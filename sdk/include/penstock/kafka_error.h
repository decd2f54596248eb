// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.h>

#include <string>

namespace penstock {

/// What librdkafka or a broker answered. Code Retry: passing; RestartTask: make a new client;
/// FixConfiguration: an address, permission or setting is wrong; FixData: the record can't be
/// stored as it is.
///
/// Threads: immutable after construction.
class KafkaError : public Error {
 public:
  KafkaError(ErrorCode code, int kafkaCode, const std::string& message)
      : Error(code, message), kafkaCode_(kafkaCode) {}
  /// rd_kafka_resp_err_t: positive is the broker's answer, negative librdkafka's own.
  [[nodiscard]] int kafkaCode() const noexcept { return kafkaCode_; }

 private:
  int kafkaCode_;
};

/// No broker answered within the time (`penstock.timeout.ms`, 10 s by default).
///
/// Threads: immutable after construction.
class BrokerUnreachable : public KafkaError {
 public:
  BrokerUnreachable(int kafkaCode, const std::string& message)
      : KafkaError(ErrorCode::Retry, kafkaCode, message) {}
};

}  // namespace penstock
