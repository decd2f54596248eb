// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>

#include <optional>
#include <span>
#include <string_view>

namespace penstock {

/// What an operator is told about the record that it handles, beside key and value.
///
/// Where it comes from is known only while a record of a topic is being handled; timers and the
/// emission at a commit have no record behind them.
///
/// Threads: owned by the task thread. Valid during the call it is passed to.
struct RecordInfo {
  EventTime timestamp;
  const RecordView* record = nullptr;      // as it was read; null: no record behind it
  const TopicPartition* source = nullptr;  // where it was read

  [[nodiscard]] std::span<const HeaderView> headers() const noexcept {
    return record != nullptr ? record->headers : std::span<const HeaderView>{};
  }
  [[nodiscard]] std::optional<Offset> offset() const noexcept {
    return record != nullptr ? std::optional(record->offset) : std::nullopt;
  }
  [[nodiscard]] std::optional<PartitionIndex> partition() const noexcept {
    return source != nullptr ? std::optional(source->partition) : std::nullopt;
  }
  [[nodiscard]] std::string_view topic() const noexcept {
    return source != nullptr ? std::string_view(source->topic) : std::string_view{};
  }
};

}  // namespace penstock
