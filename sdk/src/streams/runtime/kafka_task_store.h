// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/kafka_error.h>
#include <penstock/state/journal.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include "kafka/transactional_producer.h"
#include "streams/printable.h"
#include "streams/task_store.h"

namespace penstock::streams {

/// A partition of a changelog topic, `<application>-<store>-changelog`: the latest record of a
/// key holds its value, in the serdes' own encoding as Kafka Streams writes it, or nothing when
/// it was erased.
struct Changelog {
  TopicPartition source;
  bool escapesKeys = false;                                             // StorePlan
  std::size_t batchBytesMax = std::numeric_limits<std::size_t>::max();  // that the topic takes
  /// More than a batch of one record takes beside its key and value.
  static constexpr std::size_t batchOverhead = 128;

  [[nodiscard]] std::string_view keyOf(std::string_view stored) const noexcept {
    return escapesKeys && stored.front() == '\0' ? stored.substr(1) : stored;
  }
  void toStored(std::string_view key, std::string& stored) const {
    stored.clear();
    if (escapesKeys && (key.empty() || key.front() == '\0')) stored += '\0';
    stored += key;
  }
};

/// Content of a store of one task; changes go into the worker's commit, and into its transaction.
class KafkaTaskStore final : public TaskStore {
 public:
  KafkaTaskStore(std::shared_ptr<state::Store> content, state::Commit& commit, Changelog changelog,
                 kafka::TransactionalProducer& producer)
      : content_(std::move(content)),
        id_(content_->id()),
        commit_(&commit),
        changelog_(std::move(changelog)),
        producer_(&producer),
        topic_(&producer.topic(changelog_.source.topic, changelog_.source.partition)) {}

  bool get(std::string_view key, std::string& value) const override {
    return content_->get(key, value);
  }
  void scan(std::string_view from, std::string_view to,
            const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    content_->scan(from, to, visit);
  }
  [[nodiscard]] std::uint64_t size() const override { return content_->size(); }
  void put(std::string_view key, std::string_view value, EventTime time) override {
    send(key, value, time);
    commit_->put(id_, key, value);
  }
  void erase(std::string_view key, EventTime time) override {
    send(key, std::nullopt, time);
    commit_->erase(id_, key);
  }

  /// Writes to the changelog what is stored of the key.
  void writeAgain(std::string_view key) {
    std::string value;
    const bool found = content_->get(key, value);
    send(key, found ? std::optional<std::string_view>(value) : std::nullopt, EventTime{0});
  }
  /// Behind the changelog's last record of a committed transaction, when it was `before` first.
  [[nodiscard]] Offset end(Offset before) const {
    const auto partition = static_cast<std::size_t>(changelog_.source.partition.value);
    return {std::max(before.value, topic_->ends[partition].load(std::memory_order_relaxed))};
  }

 private:
  void send(std::string_view key, std::optional<std::string_view> value, EventTime time) {
    RecordView record;
    record.key = changelog_.keyOf(key);
    record.value = value;
    record.timestamp.ms = std::max<std::int64_t>(time.ms, 0);
    if (value &&
        record.key->size() + value->size() + Changelog::batchOverhead > changelog_.batchBytesMax) {
      throw KafkaError(
          ErrorCode::FixData, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
          fmt::format("store {}, key {}: the value takes {} bytes, which its changelog topic {} "
                      "does not take: its max.message.bytes is {}. Store less under one key, or "
                      "raise it, and message.max.bytes here",
                      content_->name(), printable(*record.key), value->size(),
                      changelog_.source.topic, changelog_.batchBytesMax));
    }
    try {
      producer_->send(*topic_, changelog_.source.partition, record);
    } catch (const KafkaError& error) {
      if (error.code() != ErrorCode::FixData) throw;
      throw KafkaError(ErrorCode::FixData, error.kafkaCode(),
                       "store " + content_->name() + ", key " + printable(record.key.value()) +
                           ": " + error.what());
    }
  }

  std::shared_ptr<state::Store> content_;
  state::StoreId id_;
  state::Commit* commit_;
  Changelog changelog_;
  kafka::TransactionalProducer* producer_;
  kafka::ProducerTopic* topic_;
};

}  // namespace penstock::streams
