// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_producer.h"

#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <utility>

namespace penstock::kafka {
namespace {

ClientSettings clientSettings(const TransportSettings& settings, const ProducerOptions& options) {
  refuseContradictions(options.extra);
  if (options.deliveryTimeout < milliseconds(1) ||
      options.deliveryTimeout > std::chrono::hours(24)) {
    throw ConfigurationError("ProducerOptions::deliveryTimeout is " +
                             std::to_string(options.deliveryTimeout.count()) +
                             " ms; expected 1 ms to 24 h");
  }
  TransportSettings all = settings;
  for (const auto& [name, value] : options.extra) all.values[name] = value;
  ClientSettings result = producerSettings(all);
  // librdkafka wants it above linger.ms (5), whose default it would refuse for short time-outs
  if (options.deliveryTimeout <= milliseconds(5)) result.values.emplace("linger.ms", "0");
  result.values["delivery.timeout.ms"] = std::to_string(options.deliveryTimeout.count());
  return result;
}

}  // namespace

KafkaProducer::KafkaProducer(const TransportSettings& settings, const ProducerOptions& options)
    : settings_(settings),
      options_(options),
      client_(std::make_unique<Client>(RD_KAFKA_PRODUCER, clientSettings(settings, options))),
      topics_(settings_, *client_),
      reports_(rd_kafka_queue_get_main(client_->get())),
      thread_([this] { serveReports(); }) {}

KafkaProducer::~KafkaProducer() {
  try {
    close();
  } catch (const std::exception& error) {
    log(LogLevel::Error, "kafka", "records were not delivered", {{"error", error.what()}});
  }
}

void KafkaProducer::send(std::string_view topic, std::optional<PartitionIndex> partition,
                         const RecordView& record, Done done) {
  if (closed_) {
    throw state::Closed("producing to topic '" + std::string(topic) + "': the producer was closed");
  }
  checkRecord(topic, partition ? partition->value : 0, record);
  const ProducerTopic& target = topics_.find(topic, partition ? partition->value : 0);
  auto kept = done ? std::make_unique<Done>(std::move(done)) : nullptr;
  // Waiting for room on the thread that makes room would never end.
  const bool mayWait = std::this_thread::get_id() != thread_.get_id();
  const RdError failure =
      produce(*client_, target, partition ? partition->value : -1, record, mayWait, kept.get());
  if (failure) {
    throwKafka(rd_kafka_error_code(failure.get()), "producing to topic '" + target.name + "'",
               rd_kafka_error_string(failure.get()));
  }
  static_cast<void>(kept.release());  // comes back with the report
}

void KafkaProducer::serveReports() {
  while (true) {
    const Event event(rd_kafka_queue_poll(reports_.get(), 1000));
    if (event) {
      if (rd_kafka_event_type(event.get()) != RD_KAFKA_EVENT_DR) continue;
      while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event.get())) {
        report(*message);
      }
    } else if (stopping_) {
      return;
    }
  }
}

void KafkaProducer::report(const rd_kafka_message_t& message) {
  const std::unique_ptr<Done> done(static_cast<Done*>(message._private));
  std::exception_ptr error;
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const TopicPartition target{rd_kafka_topic_name(message.rkt), {message.partition}};
    error = kafkaError(message.err, "delivering a record to " + nameOf(target));
    const std::lock_guard lock(mutex_);
    if (!firstFailure_) firstFailure_ = error;
  }
  if (!done) return;
  try {
    (*done)({{message.partition}, {message.offset}}, error);
  } catch (const std::exception& thrown) {
    log(LogLevel::Error, "kafka", "a delivery callback threw", {{"error", thrown.what()}});
  }
}

void KafkaProducer::flush(milliseconds timeout) {
  const auto waited = rd_kafka_flush(
      client_->get(), static_cast<int>(std::clamp<std::int64_t>(timeout.count(), 0, 86400000)));
  std::exception_ptr failure;
  {
    const std::lock_guard lock(mutex_);
    failure = std::exchange(firstFailure_, {});
  }
  if (failure) std::rethrow_exception(failure);
  check(waited, "flushing a producer to " + settings_.servers + " within " +
                    std::to_string(timeout.count()) + " ms");
}

void KafkaProducer::close() {
  if (closed_.exchange(true)) return;
  std::exception_ptr failure;
  try {
    // Every record is delivered or has failed by then.
    flush(options_.deliveryTimeout + settings_.timeout);
  } catch (...) {
    failure = std::current_exception();
  }
  shutDown();
  if (failure) std::rethrow_exception(failure);
}

void KafkaProducer::abandon() {
  if (!closed_.exchange(true)) shutDown();
}

/// What is still unsettled fails now, so that each `done` is called once.
void KafkaProducer::shutDown() {
  rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(client_->get(), static_cast<int>(settings_.timeout.count()));
  stopping_ = true;
  rd_kafka_queue_yield(reports_.get());
  thread_.join();
}

}  // namespace penstock::kafka
