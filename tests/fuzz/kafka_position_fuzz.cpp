// SPDX-License-Identifier: Apache-2.0

// Any text as a position of a task on Kafka, which a broker or a state directory gave: what is
// accepted says the same when it is written and read again.
// Built and run by scripts/fuzz.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "streams/runtime/kafka_position.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace penstock::streams;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto stamp = decodeStamp(text)) {
    if (decodeStamp(encodeStamp(*stamp)) != stamp) std::abort();
  }
  if (const auto local = decodeLocal(text)) {
    if (decodeLocal(encodeLocal(*local)) != local) std::abort();
  }
  return 0;
}
