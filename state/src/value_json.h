// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>
#include <penstock/state/value.h>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::state {

/// JSON that cannot be read, and where that was seen.
class JsonError : public InvalidArgument {
 public:
  JsonError(const std::string& why, std::uint64_t offset)
      : InvalidArgument("JSON: " + why), offset_(offset) {}
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }  // bytes from the start

 private:
  std::uint64_t offset_;
};

/// How JSON is meant.
enum class JsonDialect : std::uint8_t {
  Exact,    // what appendJson writes: every Value comes back
  Foreign,  // no marks; a number that is no int64 becomes a binary value, the number's text
  Plain,    // what programs in JavaScript read and write: no marks, and numbers are doubles
};

/// JsonError, also when containers are nested more than `depthMax` deep.
Value parseJson(std::string_view json, JsonDialect dialect, std::size_t depthMax);

/// Where lines of JSON begin: `indent` blanks in; each level two more. nullopt: all on one line.
using JsonIndent = std::optional<std::size_t>;
/// As Value::toJson says.
void appendJson(const Value& value, JsonIndent indent, std::string& out);
/// Begins a new line, or does nothing.
void appendJsonBreak(JsonIndent indent, std::string& out);
/// As JsonDialect::Plain, on one line. InvalidArgument for what would come back as something else:
/// integers beyond 2^53, NaN, infinities, binary, strings that are not UTF-8.
std::string toPlainJson(const Value& value);
/// Integers beyond 2^53 become doubles, as there. JsonError for what is no JSON, is nested more
/// than Value::depthMax deep, or has a name twice in one object.
Value fromPlainJson(std::string_view json);
/// In quotes. nullopt unless it is UTF-8.
std::optional<std::string> jsonString(std::string_view text);

}  // namespace penstock::state
