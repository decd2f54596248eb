// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_position.h"

#include <fmt/format.h>

#include <charconv>

namespace penstock::streams {
namespace {

/// Takes text apart from its front; false, and nothing more, at the first thing it cannot read.
class Reader {
 public:
  explicit Reader(std::string_view text) : at_(text) {}

  [[nodiscard]] bool atEnd() const noexcept { return at_.empty(); }
  bool take(char expected) noexcept {
    if (at_.empty() || at_.front() != expected) return false;
    at_.remove_prefix(1);
    return true;
  }
  template <typename Number>
  bool take(Number& number, int base = 10) noexcept {
    const auto read = std::from_chars(at_.data(), at_.data() + at_.size(), number, base);
    if (read.ec != std::errc{}) return false;
    at_.remove_prefix(static_cast<std::size_t>(read.ptr - at_.data()));
    return true;
  }
  bool takeLine(std::string_view& line) noexcept {
    const std::size_t end = at_.find('\n');
    if (end == std::string_view::npos) return false;
    line = at_.substr(0, end);
    at_.remove_prefix(end + 1);
    return true;
  }

 private:
  std::string_view at_;
};

}  // namespace

std::string encodeStamp(const CommitStamp& stamp) {
  std::string text =
      fmt::format("1 {:016x} {} {}", stamp.writer, stamp.number, stamp.streamTime.ms);
  for (const Offset& end : stamp.changelogs) text += fmt::format(" {}", end.value);
  return text;
}

std::optional<CommitStamp> decodeStamp(std::string_view text) {
  Reader reader(text);
  CommitStamp stamp;
  if (!reader.take('1') || !reader.take(' ') || !reader.take(stamp.writer, 16) ||
      !reader.take(' ') || !reader.take(stamp.number) || !reader.take(' ') ||
      !reader.take(stamp.streamTime.ms)) {
    return std::nullopt;
  }
  while (!reader.atEnd()) {
    Offset& end = stamp.changelogs.emplace_back();
    if (!reader.take(' ') || !reader.take(end.value) || end.value < 0) return std::nullopt;
  }
  return stamp;
}

std::string encodeLocal(const LocalPosition& position) {
  std::string text = fmt::format("2 {} {}\n{}\n", position.wallMs, position.generation,
                                 encodeStamp(position.stamp));
  for (const LocalPosition::Input& input : position.inputs) {
    text += fmt::format("{} {}\n", input.next.value, input.topic);
  }
  return text;
}

std::optional<LocalPosition> decodeLocal(std::string_view text) {
  Reader reader(text);
  LocalPosition position;
  std::string_view line;
  if (!reader.take('2') || !reader.take(' ') || !reader.take(position.wallMs) ||
      !reader.take(' ') || !reader.take(position.generation) || !reader.take('\n') ||
      !reader.takeLine(line)) {
    return std::nullopt;
  }
  auto stamp = decodeStamp(line);
  if (!stamp) return std::nullopt;
  position.stamp = std::move(*stamp);
  while (!reader.atEnd()) {
    LocalPosition::Input& input = position.inputs.emplace_back();
    if (!reader.take(input.next.value) || input.next.value < 0 || !reader.take(' ') ||
        !reader.takeLine(line) || line.empty()) {
      return std::nullopt;
    }
    input.topic = line;
  }
  return position;
}

}  // namespace penstock::streams
