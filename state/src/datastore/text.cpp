// SPDX-License-Identifier: Apache-2.0
#include "datastore/text.h"

#include <algorithm>
#include <cstddef>

namespace penstock::state::datastore {

namespace {

/// Bytes of the character that begins there; 0: none does.
std::size_t characterAt(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const std::size_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() < bytes) return 0;
  // what the second byte has to lie in, so that there is no shorter form, no surrogate and no end
  // passed
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < bytes; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  return bytes;
}

}  // namespace

bool isUtf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const std::size_t bytes = characterAt(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

std::string withoutPassword(const std::string& address) {
  std::string shown = address;
  const std::size_t start = shown.find("://");
  if (start == std::string::npos) return shown;
  const std::size_t end = std::min(shown.find_first_of("/?", start + 3), shown.size());
  const std::size_t at = shown.rfind('@', end);
  const std::size_t colon = shown.find(':', start + 3);
  if (at != std::string::npos && colon < at) shown.replace(colon + 1, at - colon - 1, "***");
  constexpr std::string_view parameter = "password=";
  for (std::size_t from = shown.find('?'); from != std::string::npos;) {
    from = shown.find(parameter, from);
    if (from == std::string::npos) break;
    from += parameter.size();
    shown.replace(from, std::min(shown.find('&', from), shown.size()) - from, "***");
  }
  return shown;
}

}  // namespace penstock::state::datastore
