// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_batch.h"

namespace penstock::kafka {
namespace {

std::string_view view(const void* data, std::size_t size) {
  return {static_cast<const char*>(data), size};
}

struct HeaderRange {
  std::size_t record;
  std::size_t begin;
  std::size_t end;
};

}  // namespace

MessageArray::~MessageArray() {
  for (std::size_t i = 0; i < count_; ++i) rd_kafka_message_destroy(messages_[i]);
}

void showMessages(const std::shared_ptr<MessageArray>& messages, std::size_t begin, std::size_t end,
                  RecordBatch& batch) {
  std::vector<HeaderRange> ranges;  // stays empty, and unallocated, without headers
  batch.records.clear();
  batch.headerViews.clear();
  batch.records.resize(end - begin);
  for (std::size_t i = begin; i < end; ++i) {
    const rd_kafka_message_t& message = (*messages)[i];
    RecordView& record = batch.records[i - begin];
    if (message.key != nullptr) record.key = view(message.key, message.key_len);
    if (message.payload != nullptr) record.value = view(message.payload, message.len);
    rd_kafka_timestamp_type_t type;
    record.timestamp.ms = rd_kafka_message_timestamp(&message, &type);
    record.offset.value = message.offset;

    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    const std::size_t first = batch.headerViews.size();
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    for (std::size_t h = 0;
         rd_kafka_header_get_all(headers, h, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
         ++h) {
      HeaderView& header = batch.headerViews.emplace_back();
      header.name = name;
      if (value != nullptr) header.value = view(value, size);
    }
    ranges.push_back({i - begin, first, batch.headerViews.size()});
  }
  for (const HeaderRange& range : ranges) {
    batch.records[range.record].headers = {batch.headerViews.data() + range.begin,
                                           range.end - range.begin};
  }
  batch.owner = messages;
  batch.next.value = (*messages)[end - 1].offset + 1;
}

}  // namespace penstock::kafka
