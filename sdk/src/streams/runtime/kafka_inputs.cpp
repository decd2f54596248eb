// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_inputs.h"

#include <utility>

namespace penstock::streams {
namespace {

using Amount = KafkaInputs::Amount;

// A round takes this much at most: some rounds of the tasks' slices. librdkafka's own queue holds
// up to 64 MiB beside it.
constexpr Amount bufferedMax{65536, 32 << 20};
// An input that nobody takes from (another one of its task has nothing) is paused in time.
// Pausing throws away what librdkafka has prefetched, so not early; the numbers are arbitrary.
constexpr Amount inputPauseAt{65536, 32 << 20};
constexpr Amount inputResumeBelow{8192, 4 << 20};

Amount amountOf(const RecordBatch& batch) {
  Amount amount{batch.records.size(), 0};
  for (const RecordView& record : batch.records) {
    if (record.key) amount.bytes += record.key->size();
    if (record.value) amount.bytes += record.value->size();
    for (const HeaderView& header : record.headers) {
      amount.bytes += header.name.size() + (header.value ? header.value->size() : 0);
    }
  }
  return amount;
}

}  // namespace

Amount& Amount::operator+=(const Amount& more) noexcept {
  records += more.records;
  bytes += more.bytes;
  return *this;
}

Amount& Amount::operator-=(const Amount& less) noexcept {
  records -= less.records;
  bytes -= less.bytes;
  return *this;
}

KafkaInputs::Input& KafkaInputs::add(const TopicPartition& source, Offset start) {
  Input& input = inputs_[source];
  input.source = source;
  input.given = start;
  return input;
}

void KafkaInputs::clear() {
  inputs_.clear();
  buffered_ = {};
}

void KafkaInputs::drain(kafka::KafkaConsumer& consumer, std::chrono::milliseconds timeout) {
  RecordBatch batch;
  bool any = false;
  while (!buffered_.reaches(bufferedMax) && consumer.poll(batch, std::chrono::milliseconds(0))) {
    keep(std::exchange(batch, {}));
    any = true;
  }
  // At the bound only when a task waits for another input, whose records may come now.
  if (!any && consumer.poll(batch, timeout)) keep(std::move(batch));
  balance(consumer);
}

void KafkaInputs::keep(RecordBatch&& batch) {
  const auto found = inputs_.find(batch.source);
  if (found == inputs_.end()) return;
  Input& input = found->second;
  const Amount amount = amountOf(batch);
  input.amount_ += amount;
  buffered_ += amount;
  input.fetched_.push_back({std::move(batch), amount});
}

void KafkaInputs::balance(kafka::KafkaConsumer& consumer) {
  for (auto& [source, input] : inputs_) {
    if (!input.paused_ && (input.held || input.amount_.reaches(inputPauseAt))) {
      consumer.pause({source});
      input.paused_ = true;
    } else if (input.paused_ && !input.held && !input.amount_.reaches(inputResumeBelow)) {
      consumer.resume({source});
      input.paused_ = false;
    }
  }
}

FetchResult KafkaInputs::fetch(kafka::KafkaConsumer& consumer, Input& input, RecordBatch& batch) {
  if (input.fetched_.empty()) {
    batch.clear();
    batch.next = Offset{-1};
    if (!consumer.atEnd(input.source)) return FetchResult::Pending;
    batch.next = consumer.position(input.source);
    return FetchResult::AtEnd;
  }
  batch = std::move(input.fetched_.front().batch);
  input.amount_ -= input.fetched_.front().amount;
  buffered_ -= input.fetched_.front().amount;
  input.fetched_.pop_front();
  input.given = batch.next;
  return FetchResult::Records;
}

}  // namespace penstock::streams
