// SPDX-License-Identifier: Apache-2.0
#include <penstock/state/detail/base64.h>

#include <cstdint>

namespace penstock::state::detail {

namespace {

constexpr std::string_view digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string base64Encoded(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8U | (j < count ? static_cast<std::uint8_t>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? digits[group >> (18 - 6 * j) & 63U] : '=';
    }
  }
  return text;
}

std::optional<std::string> base64Decoded(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 4) {
    std::size_t count = 4;
    if (i + 4 == text.size()) {
      while (count > 2 && text[i + count - 1] == '=') --count;
    }
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 4; ++j) {
      const std::size_t bits = j < count ? digits.find(text[i + j]) : 0;
      if (bits == std::string_view::npos) return std::nullopt;
      group = group << 6U | static_cast<std::uint32_t>(bits);
    }
    for (std::size_t j = 0; j + 1 < count; ++j) {
      bytes += static_cast<char>(group >> (16 - 8 * j) & 0xffU);
    }
  }
  if (base64Encoded(bytes) != text) return std::nullopt;  // stray bits behind the last byte
  return bytes;
}

}  // namespace penstock::state::detail
