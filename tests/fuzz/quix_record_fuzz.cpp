// SPDX-License-Identifier: Apache-2.0

// Any bytes as a record of a legacy Quix storage, as they are and with the checksum that they
// should have: the decoder neither crashes nor reads beyond them, and what it accepts is a stored
// value that can be read.
// Built and run by scripts/fuzz.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "penstock/state/detail/stored.h"
#include "quix_record.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(std::string_view bytes) {
  penstock::state::QuixRecord record;
  if (!penstock::state::decodeQuixRecord(bytes, record).empty()) return;
  penstock::state::Value value;
  require(penstock::state::detail::decodeValue(record.stored, value) ==
          penstock::state::detail::Decoded::Ok);
  require(!record.object || value.type() == penstock::state::ValueType::Binary);
  require(record.stored.size() <= bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  const std::uint32_t crc = penstock::state::crc32(bytes);
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(crc >> shift));
  check(bytes);
  return 0;
}
