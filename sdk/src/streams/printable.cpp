// SPDX-License-Identifier: Apache-2.0
#include "streams/printable.h"

#include <fmt/format.h>

#include <iterator>

namespace penstock::streams {

std::string printable(std::string_view bytes) {
  constexpr std::size_t shownMax = 64;  // arbitrary: a line stays readable
  std::string text = "\"";
  for (const char each : bytes.substr(0, shownMax)) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte < 0x20 || byte > 0x7e || each == '"' || each == '\\') {
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", byte);
    } else {
      text += each;
    }
  }
  text += '"';
  if (bytes.size() > shownMax) text += fmt::format(" ({} bytes)", bytes.size());
  return text;
}

}  // namespace penstock::streams
