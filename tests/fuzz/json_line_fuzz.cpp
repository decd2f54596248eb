// SPDX-License-Identifier: Apache-2.0

// Any text as a line of an export: the reader refuses it or keeps it. Any bytes as a key and a
// stored value: the line made of them says the same to the byte.
// Built and run by scripts/fuzz.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "json_line.h"
#include "penstock/state/detail/stored.h"
#include "penstock/state/errors.h"

namespace {

using penstock::state::JsonLine;
using penstock::state::JsonLineKind;

void require(bool holds) {
  if (!holds) std::abort();
}

void checkLine(JsonLine line) {
  const std::string text = penstock::state::formatJsonLine(line);
  require(text.find('\n') == std::string::npos);
  JsonLine again;
  std::uint64_t keys = 0;
  require(penstock::state::parseJsonLine(text, again, keys) == JsonLineKind::Record);
  require(penstock::state::detail::expiryOf(again.stored) ==
          penstock::state::detail::expiryOf(line.stored));
  penstock::state::detail::unwrap(line.stored);  // compression is not kept
  penstock::state::detail::unwrap(again.stored);
  require(again == line);
}

}  // namespace

/// The first byte is the length of the key in the second reading of the bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    JsonLine line;
    std::uint64_t keys = 0;
    if (penstock::state::parseJsonLine(bytes, line, keys) == JsonLineKind::Record) checkLine(line);
  } catch (const penstock::state::InvalidArgument&) {
  } catch (const penstock::state::FormatTooNew&) {
  }
  if (size < 3) return 0;
  const std::size_t keyBytes = std::min<std::size_t>(data[0], size - 2);
  checkLine({"a%20b/c", std::string(bytes.substr(1, keyBytes)),
             std::string(bytes.substr(1 + keyBytes))});
  return 0;
}
