// SPDX-License-Identifier: Apache-2.0
#include "kafka/transactional_producer.h"

#include <penstock/error.h>
#include <penstock/kafka_error.h>

#include <utility>

#include "fail_points.h"

namespace penstock::kafka {
namespace {

// Reports are served this often at least: a message is kept until then. Arbitrary.
constexpr std::size_t sendsPerPoll = 1024;

ClientSettings clientSettings(const TransportSettings& settings, const std::string& id) {
  ClientSettings result = producerSettings(settings);
  result.values["transactional.id"] = id;
  return result;
}

}  // namespace

TransactionalProducer::TransactionalProducer(const TransportSettings& settings,
                                             const std::string& id)
    : settings_(settings),
      id_(id),
      client_(clientSettings(settings, id),
              [this](const rd_kafka_message_t& message) { delivered(message); }),
      topics_(settings_, client_) {}

TransactionalProducer::~TransactionalProducer() {
  // What is still unsettled is of no use; its reports must not come to who is gone.
  rd_kafka_purge(client_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(client_.get(), milliCount(settings_.timeout));
}

void TransactionalProducer::check(rd_kafka_error_t* raw, const std::string& doing) const {
  const RdError failure(raw);
  if (!failure) return;
  const std::string what = doing + " as transactional.id '" + id_ + "'";
  const auto code = client_.causeOf(rd_kafka_error_code(failure.get()));
  try {
    throwKafka(code, what, rd_kafka_error_string(failure.get()));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Retry) throw;
    // However harmless it looks, this transaction is not gone on with.
    throw KafkaError(ErrorCode::RestartTask, code, error.what());
  }
}

void TransactionalProducer::initialise() {
  const RdError failure(rd_kafka_init_transactions(client_.get(), milliCount(settings_.timeout)));
  if (!failure) return;
  throwKafka(client_.causeOf(rd_kafka_error_code(failure.get())),
             "asking for the transactions of transactional.id '" + id_ + "'",
             rd_kafka_error_string(failure.get()));
}

void TransactionalProducer::begin() {
  check(rd_kafka_begin_transaction(client_.get()), "beginning a transaction");
  open_ = true;
  failPoint("transaction-begun");
}

void TransactionalProducer::send(ProducerTopic& topic, PartitionIndex partition,
                                 const RecordView& record) {
  checkRecord(topic.name, partition.value, record);
  if (!open_) begin();
  while (true) {
    const RdError failure = produce(client_, topic, partition.value, record, false, &topic);
    if (!failure) break;
    const auto code = rd_kafka_error_code(failure.get());
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      throwKafka(client_.causeOf(code), "producing to topic '" + topic.name + "'",
                 rd_kafka_error_string(failure.get()));
    }
    rd_kafka_poll(client_.get(), 100);  // a record that cannot be delivered fails in time
    sendsUntilPoll_ = sendsPerPoll;
  }
  failPoint("record-sent");
  openBytes_ += (record.key ? record.key->size() : 0) + (record.value ? record.value->size() : 0);
  if (sendsUntilPoll_-- > 0) return;
  rd_kafka_poll(client_.get(), 0);
  sendsUntilPoll_ = sendsPerPoll;
}

void TransactionalProducer::delivered(const rd_kafka_message_t& message) {
  auto& topic = *static_cast<ProducerTopic*>(message._private);
  if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR && message.offset >= 0) {
    topic.ends[static_cast<std::size_t>(message.partition)].store(message.offset + 1,
                                                                  std::memory_order_relaxed);
  } else if (!failure_) {
    // Stored, and the broker does not know any more where: as bad for who follows the ends.
    const auto error = message.err != RD_KAFKA_RESP_ERR_NO_ERROR
                           ? client_.causeOf(message.err)
                           : RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER;
    failure_ =
        kafkaError(error, "delivering a record to " + nameOf({topic.name, {message.partition}}));
  }
}

void TransactionalProducer::flush() {
  const auto waited = rd_kafka_flush(client_.get(), milliCount(settings_.timeout));
  if (failure_ && !planted(Planted::FailedDeliveryIgnored)) {
    try {
      std::rethrow_exception(failure_);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Retry) throw;
      throw Error(ErrorCode::RestartTask, error.what());
    }
  }
  if (open_) failPoint("records-delivered");
  if (waited == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  throw KafkaError(ErrorCode::RestartTask, waited,
                   "flushing the records of transactional.id '" + id_ + "' to " +
                       settings_.servers + ": not delivered within " +
                       std::to_string(settings_.timeout.count()) + " ms");
}

void TransactionalProducer::commit(const std::map<TopicPartition, Committed>& positions,
                                   const rd_kafka_consumer_group_metadata_t& membership) {
  if (!open_) begin();
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(positions.size())));
  for (const auto& [partition, at] : positions) {
    auto& entry = *rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(),
                                                     partition.partition.value);
    entry.offset = at.offset.value;
    entry.metadata_size = at.metadata.size();
    if (at.metadata.empty()) continue;
    entry.metadata = rd_kafka_mem_malloc(client_.get(), at.metadata.size());
    std::copy(at.metadata.begin(), at.metadata.end(), static_cast<char*>(entry.metadata));
  }
  const int timeout = milliCount(settings_.timeout);
  const std::uint64_t lost = client_.connectionsLost();
  check(rd_kafka_send_offsets_to_transaction(client_.get(), list.get(), &membership, timeout),
        "committing positions");
  failPoint("positions-sent");
  check(rd_kafka_commit_transaction(client_.get(), timeout), "committing a transaction");
  failPoint("transaction-committed");
  if (client_.connectionsLost() != lost && !planted(Planted::ProducerReused)) {
    throw KafkaError(ErrorCode::RestartTask, RD_KAFKA_RESP_ERR__TRANSPORT,
                     "committing a transaction as transactional.id '" + id_ +
                         "': a connection was lost meanwhile, so that positions or the end of the "
                         "transaction may have been sent twice");
  }
  open_ = false;
  openBytes_ = 0;
}

}  // namespace penstock::kafka
