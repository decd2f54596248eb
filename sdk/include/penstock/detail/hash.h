// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace penstock::detail {

/// Folded 64 x 64 bit multiplication: every bit of the result depends on every bit of both.
inline std::uint64_t foldedMultiply(std::uint64_t left, std::uint64_t right) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(left) * right;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Odd, half of the bits set, no structure: digits of pi.
inline constexpr std::uint64_t hashMultiplier = 0x9e3779b97f4a7c15;
inline constexpr std::uint64_t hashSalt = 0x243f6a8885a308d3;

/// Not for anything durable and not against attackers: the scheme of wyhash, inlined.
inline std::uint64_t hashBytes(std::string_view bytes) noexcept {
  const auto read8 = [](const char* at) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return word;
  };
  const auto read4 = [](const char* at) {
    std::uint32_t word = 0;
    std::memcpy(&word, at, sizeof word);
    return std::uint64_t{word};
  };
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t hash = hashSalt ^ left;
  while (left > 16) {
    hash = foldedMultiply(read8(at) ^ hashMultiplier, read8(at + 8) ^ hash);
    at += 16;
    left -= 16;
  }
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  if (left >= 8) {
    first = read8(at);
    second = read8(at + left - 8);
  } else if (left >= 4) {
    first = read4(at);
    second = read4(at + left - 4);
  } else if (left > 0) {
    first = static_cast<unsigned char>(at[0]);
    second = std::uint64_t{static_cast<unsigned char>(at[left / 2])} << 8 |
             static_cast<unsigned char>(at[left - 1]);
  }
  return foldedMultiply(first ^ hashMultiplier, second ^ hash);
}

/// Hash of a store's key in memory. Any type with std::hash will do.
template <typename T>
std::uint64_t hashKey(const T& key) noexcept {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return hashBytes(std::string_view(key));
  } else if constexpr (std::is_same_v<T, std::vector<std::byte>>) {
    return hashBytes({reinterpret_cast<const char*>(key.data()), key.size()});
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    return foldedMultiply(static_cast<std::uint64_t>(key) ^ hashSalt, hashMultiplier);
  } else {
    return foldedMultiply(std::hash<T>{}(key) ^ hashSalt, hashMultiplier);
  }
}

}  // namespace penstock::detail
