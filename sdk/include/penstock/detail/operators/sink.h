// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/node.h>
#include <penstock/error.h>
#include <penstock/serde.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::detail {

/// Writes to a topic; headers of the record that was read go along.
template <typename K, typename V, typename KeySerde, typename ValueSerde>
class Sink final : public Node, public Receiver<K, V> {
 public:
  Sink(KeySerde keySerde, ValueSerde valueSerde)
      : keySerde_(std::move(keySerde)), valueSerde_(std::move(valueSerde)) {}

  void connect(Node& child) override { refuseChild(child); }
  void open() override { output_ = &services().output(*this); }

  void receive(const K& key, const V& value, const RecordInfo& info) override {
    RecordView record;
    try {
      record.key = encodeField(keySerde_, key, key_);
      record.value = encodeField(valueSerde_, value, value_);
    } catch (...) {
      services().failed(*this, info, Stage::Encode);
      return;
    }
    record.timestamp = info.timestamp;
    record.headers = info.headers();
    try {
      output_->send(std::nullopt, record);
    } catch (const Error&) {  // of the record (too long) with FixData; others pass
      services().failed(*this, info, Stage::Encode);
      return;
    }
    ++services().counters.recordsOut;
  }

 private:
  [[no_unique_address]] KeySerde keySerde_;
  [[no_unique_address]] ValueSerde valueSerde_;
  Output* output_ = nullptr;
  std::string key_;
  std::string value_;
};

}  // namespace penstock::detail
