// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <librdkafka/rdkafka.h>
#include <penstock/record.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "kafka/kafka_handle.h"

namespace penstock::kafka {

/// Messages as librdkafka gave them out. Keeps its client alive: librdkafka wants its messages
/// back before the client goes.
class MessageArray {
 public:
  MessageArray(std::shared_ptr<Client> client, std::size_t size)
      : client_(std::move(client)), messages_(size, nullptr) {}
  ~MessageArray();
  MessageArray(const MessageArray&) = delete;
  MessageArray& operator=(const MessageArray&) = delete;

  /// The first `count` slots were filled. What librdkafka left in the others is not a message.
  void keep(std::size_t count) noexcept { count_ = count; }

  [[nodiscard]] rd_kafka_message_t** data() noexcept { return messages_.data(); }
  [[nodiscard]] const rd_kafka_message_t& operator[](std::size_t i) const { return *messages_[i]; }
  [[nodiscard]] std::size_t size() const noexcept { return messages_.size(); }

 private:
  std::shared_ptr<Client> client_;
  std::vector<rd_kafka_message_t*> messages_;
  std::size_t count_ = 0;
};

/// Makes `batch` show messages [begin, end) of the array, which are of one partition and no
/// errors. Copies nothing. Leaves batch.source alone.
void showMessages(const std::shared_ptr<MessageArray>& messages, std::size_t begin, std::size_t end,
                  RecordBatch& batch);

}  // namespace penstock::kafka
