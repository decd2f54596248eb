// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.h>
#include <penstock/record.h>

#include <exception>
#include <optional>
#include <string>
#include <string_view>

namespace penstock {

/// Bytes that are not what a serde expects, or a value that it cannot encode. Thrown by serdes.
///
/// Threads: immutable after construction.
class SerdeError : public Error {
 public:
  explicit SerdeError(const std::string& message) : Error(ErrorCode::FixData, message) {}
};

/// A record that could not be decoded or processed, under ErrorPolicy::Fail. Thrown by
/// Application::run and TestDriver; what() names operator, topic, partition, offset and reason.
///
/// `code()` is FixData. Errors of Penstock's own with another code (full disk, damaged state)
/// are never wrapped and never skipped: they pass as they are.
///
/// Threads: immutable after construction.
class RecordError : public Error {
 public:
  RecordError(const std::string& message, std::string node, std::optional<TopicPartition> source,
              std::optional<Offset> offset, std::exception_ptr cause)
      : Error(ErrorCode::FixData, message),
        node_(std::move(node)),
        source_(std::move(source)),
        offset_(offset),
        cause_(std::move(cause)) {}

  /// Name of the operator that failed.
  [[nodiscard]] const std::string& node() const noexcept { return node_; }
  /// Absent for timers and for what is emitted at a commit.
  [[nodiscard]] const std::optional<TopicPartition>& source() const noexcept { return source_; }
  [[nodiscard]] std::optional<Offset> offset() const noexcept { return offset_; }
  /// What the serde or the user's function threw.
  [[nodiscard]] const std::exception_ptr& cause() const noexcept { return cause_; }

 private:
  std::string node_;
  std::optional<TopicPartition> source_;
  std::optional<Offset> offset_;
  std::exception_ptr cause_;
};

/// Headers of a record in the dead-letter topic. Key, value, timestamp and its own headers are
/// those of the record as it was read; these come behind them.
struct DeadLetterHeaders {
  static constexpr std::string_view stage = "penstock.error.stage";  // decode, process, encode
  static constexpr std::string_view reason = "penstock.error.reason";
  static constexpr std::string_view node = "penstock.error.node";
  static constexpr std::string_view topic = "penstock.source.topic";  // absent: no record behind it
  static constexpr std::string_view partition = "penstock.source.partition";
  static constexpr std::string_view offset = "penstock.source.offset";
};

}  // namespace penstock
