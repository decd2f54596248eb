// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/task_position_codec.h"

#include <cstring>

namespace penstock::streams {
namespace {

constexpr char kVersion = 1;

template <typename Number>
void putNumber(std::string& out, Number number) {
  for (std::size_t i = 0; i < sizeof number; ++i) {
    out += static_cast<char>(static_cast<std::uint64_t>(number) >> (8 * i));
  }
}

/// Takes from the front of `bytes`; false when there is too little.
template <typename Number>
bool takeNumber(std::string_view& bytes, Number& number) {
  if (bytes.size() < sizeof number) return false;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof number; ++i) {
    value |= std::uint64_t{static_cast<std::uint8_t>(bytes[i])} << (8 * i);
  }
  number = static_cast<Number>(value);
  bytes.remove_prefix(sizeof number);
  return true;
}

bool takeInput(std::string_view& bytes, InputPosition& input) {
  std::uint8_t length = 0;
  if (!takeNumber(bytes, length) || bytes.size() < length) return false;
  input.journal = bytes.substr(0, length);
  bytes.remove_prefix(length);
  return takeNumber(bytes, input.log.value) && takeNumber(bytes, input.at.epoch) &&
         takeNumber(bytes, input.at.offset);
}

}  // namespace

void encodePosition(const StoredPosition& position, std::string& out) {
  out += kVersion;
  putNumber(out, position.streamTime.ms);
  putNumber(out, static_cast<std::uint32_t>(position.inputs.size()));
  for (const InputPosition& input : position.inputs) {
    putNumber(out, static_cast<std::uint8_t>(input.journal.size()));
    out += input.journal;
    putNumber(out, input.log.value);
    putNumber(out, input.at.epoch);
    putNumber(out, input.at.offset);
  }
}

std::optional<StoredPosition> decodePosition(std::string_view bytes) {
  if (bytes.empty() || bytes.front() != kVersion) return std::nullopt;
  bytes.remove_prefix(1);
  StoredPosition position;
  std::uint32_t inputs = 0;
  if (!takeNumber(bytes, position.streamTime.ms) || !takeNumber(bytes, inputs)) {
    return std::nullopt;
  }
  for (std::uint32_t i = 0; i < inputs; ++i) {
    if (!takeInput(bytes, position.inputs.emplace_back())) return std::nullopt;
  }
  if (!bytes.empty()) return std::nullopt;
  return position;
}

}  // namespace penstock::streams
