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

std::size_t queryOf(const std::string& address) {
  const std::size_t start = address.find("://");
  if (start == std::string::npos) return std::string::npos;
  // libpq's rule: credentials end at the first '@', if no '/' comes before it
  const std::size_t end = address.find_first_of("@/", start + 3);
  return address.find('?', end == std::string::npos ? start + 3 : end);
}

std::string withoutPassword(const std::string& address) {
  std::string shown = address;
  const std::size_t start = shown.find("://");
  if (start == std::string::npos) return shown;
  // Also of what is no address because of a password that should have been escaped.
  const std::size_t query = queryOf(shown);
  const std::size_t at = shown.rfind('@', query);
  const std::size_t colon = shown.find(':', start + 3);
  std::string parameters = query == std::string::npos ? "" : shown.substr(query);
  shown.resize(shown.size() - parameters.size());
  if (at != std::string::npos && colon < at) shown.replace(colon + 1, at - colon - 1, "***");
  // '?' and '&' in front of each; its name may have escapes
  for (std::size_t from = 0; from < parameters.size();) {
    const std::size_t next = std::min(parameters.find('&', from + 1), parameters.size());
    const std::string parameter = parameters.substr(from, next - from);
    const std::size_t equals = std::min(parameter.find('='), parameter.size());
    const std::string name = parameter.substr(1, equals - 1);
    const bool secret = name == "password" || name.find('%') != std::string::npos;
    shown += secret ? parameter.substr(0, equals) + "=***" : parameter;
    from = next;
  }
  return shown;
}

}  // namespace penstock::state::datastore
