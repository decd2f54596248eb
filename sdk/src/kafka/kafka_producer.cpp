// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_producer.h"

#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <array>
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
  ClientSettings result{settings.servers, settings.values};
  for (const auto& [name, value] : options.extra) result.values[name] = value;
  result.values.emplace("partitioner", "murmur2_random");
  // librdkafka wants it above linger.ms (5), whose default it would refuse for short time-outs
  if (options.deliveryTimeout <= milliseconds(5)) result.values.emplace("linger.ms", "0");
  result.values["delivery.timeout.ms"] = std::to_string(options.deliveryTimeout.count());
  result.values["enable.idempotence"] = "true";
  // A topic that is missing is an error, and not made with whatever defaults the broker has.
  result.values.emplace("allow.auto.create.topics", "false");
  return result;
}

/// librdkafka tells an absent key or value by a null pointer, which an empty view may have too.
rd_kafka_vu_t bytes(rd_kafka_vtype_t type, const std::optional<std::string_view>& view) {
  rd_kafka_vu_t argument{};
  argument.vtype = type;
  const char* data = nullptr;
  if (view) data = view->data() != nullptr ? view->data() : "";
  argument.u.mem.ptr = const_cast<char*>(data);  // only read, and copied
  argument.u.mem.size = view ? view->size() : 0;
  return argument;
}

Headers headersOf(const RecordView& record) {
  Headers headers(rd_kafka_headers_new(record.headers.size()));
  for (const HeaderView& header : record.headers) {
    const char* value = nullptr;
    if (header.value) value = header.value->data() != nullptr ? header.value->data() : "";
    check(rd_kafka_header_add(headers.get(), header.name.data(),
                              static_cast<ssize_t>(header.name.size()), value,
                              header.value ? static_cast<ssize_t>(header.value->size()) : 0),
          "adding header '" + std::string(header.name) + "'");
  }
  return headers;
}

}  // namespace

KafkaProducer::KafkaProducer(const TransportSettings& settings, const ProducerOptions& options)
    : settings_(settings),
      options_(options),
      client_(std::make_unique<Client>(RD_KAFKA_PRODUCER, clientSettings(settings, options))),
      reports_(rd_kafka_queue_get_main(client_->get())),
      thread_([this] { serveReports(); }) {}

KafkaProducer::~KafkaProducer() {
  try {
    close();
  } catch (const std::exception& error) {
    log(LogLevel::Error, "kafka", "records were not delivered", {{"error", error.what()}});
  }
}

const KafkaProducer::Topic& KafkaProducer::topicOf(std::string_view name, std::int32_t partition) {
  const auto fits = [&](const Topic& topic) {
    return topic.name == name && partition < topic.partitions;
  };
  const Topic* last = last_.load(std::memory_order_acquire);
  if (last != nullptr && fits(*last)) return *last;
  {
    const std::lock_guard lock(mutex_);
    const auto [begin, end] = topics_.equal_range(name);
    for (auto it = begin; it != end; ++it) {
      if (!fits(*it->second)) continue;
      last_.store(it->second.get(), std::memory_order_release);
      return *it->second;
    }
  }
  topics::checkTopicName(name);
  auto topic = std::make_unique<Topic>();
  topic->name = name;
  topic->partitions = client_->partitionsOf(topic->name, settings_.timeout);
  if (topic->partitions < 0) topics::throwUnknownTopic(name, settings_.address());
  if (partition >= topic->partitions) {
    throw ConfigurationError("producing to topic '" + topic->name + "' partition " +
                             std::to_string(partition) + ": the topic has " +
                             std::to_string(topic->partitions) + " partitions");
  }
  topic->handle.reset(rd_kafka_topic_new(client_->get(), topic->name.c_str(), nullptr));
  const std::lock_guard lock(mutex_);
  const auto inserted = topics_.emplace(topic->name, std::move(topic));
  last_.store(inserted->second.get(), std::memory_order_release);
  return *inserted->second;
}

void KafkaProducer::send(std::string_view topic, std::optional<PartitionIndex> partition,
                         const RecordView& record, Done done) {
  if (closed_) {
    throw state::Closed("producing to topic '" + std::string(topic) + "': the producer was closed");
  }
  if (partition && partition->value < 0) {
    throw ConfigurationError("producing to topic '" + std::string(topic) + "' partition " +
                             std::to_string(partition->value) + ": partitions begin with 0");
  }
  if (record.timestamp.ms < 0) {
    throw state::InvalidArgument("producing to topic '" + std::string(topic) + "' with timestamp " +
                                 std::to_string(record.timestamp.ms) +
                                 ": Kafka has none before 1970");
  }
  const Topic& target = topicOf(topic, partition ? partition->value : 0);
  auto kept = done ? std::make_unique<Done>(std::move(done)) : nullptr;

  std::array<rd_kafka_vu_t, 8> arguments{};
  arguments[0].vtype = RD_KAFKA_VTYPE_RKT;
  arguments[0].u.rkt = target.handle.get();
  arguments[1].vtype = RD_KAFKA_VTYPE_PARTITION;
  arguments[1].u.i32 = partition ? partition->value : RD_KAFKA_PARTITION_UA;
  arguments[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
  // Waiting for room on the thread that makes room would never end.
  const bool mayWait = std::this_thread::get_id() != thread_.get_id();
  arguments[2].u.i = RD_KAFKA_MSG_F_COPY | (mayWait ? RD_KAFKA_MSG_F_BLOCK : 0);
  arguments[3].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
  arguments[3].u.i64 = record.timestamp.ms;
  arguments[4].vtype = RD_KAFKA_VTYPE_OPAQUE;
  arguments[4].u.ptr = kept.get();
  arguments[5] = bytes(RD_KAFKA_VTYPE_KEY, record.key);
  arguments[6] = bytes(RD_KAFKA_VTYPE_VALUE, record.value);
  std::size_t count = 7;
  Headers headers;
  if (!record.headers.empty()) {
    headers = headersOf(record);
    arguments[count].vtype = RD_KAFKA_VTYPE_HEADERS;
    arguments[count].u.headers = headers.get();
    ++count;
  }
  const RdError failure(rd_kafka_produceva(client_->get(), arguments.data(), count));
  if (failure) {
    throwKafka(rd_kafka_error_code(failure.get()), "producing to topic '" + target.name + "'",
               rd_kafka_error_string(failure.get()));
  }
  static_cast<void>(kept.release());     // comes back with the report
  static_cast<void>(headers.release());  // librdkafka's now
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
