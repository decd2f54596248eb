// SPDX-License-Identifier: Apache-2.0

// Any bytes: the decoder neither crashes nor reads beyond them, what it accepts is written back
// as the same bytes, and JSON keeps it; what they hold compressed is as safe. Any text: the JSON
// reader refuses it or keeps it.
// Built and run by scripts/fuzz.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "penstock/state/detail/stored.h"
#include "penstock/state/errors.h"

namespace {

using penstock::state::Value;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string stored(const Value& value) {
  std::string bytes;
  penstock::state::detail::encodeValue(value, bytes);
  return bytes;
}

// NaN keeps being one in JSON, its bits may change; so compare what JSON says.
void checkJson(const Value& value) {
  std::string json;
  try {
    json = value.toJson();
  } catch (const penstock::state::InvalidArgument&) {  // a name that is not UTF-8
    return;
  }
  require(Value::fromJson(json).toJson() == json);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  require(!penstock::state::detail::describeStored(bytes).empty());
  Value value;
  if (penstock::state::detail::decodeValue(bytes, value) == penstock::state::detail::Decoded::Ok) {
    require(stored(value) == bytes);
    checkJson(value);
  }
  std::string wrapped(bytes);
  penstock::state::detail::unwrap(wrapped);
  (void)penstock::state::detail::decodeValue(wrapped, value);
  try {
    checkJson(Value::fromJson(bytes));
  } catch (const penstock::state::InvalidArgument&) {
  }
  return 0;
}
