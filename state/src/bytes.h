// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

/// Little-endian integers and LEB128 varints in byte strings.
namespace penstock::state {

static_assert(std::endian::native == std::endian::little,
              "the on-disk format is little-endian and is copied as it is");

inline std::span<const std::byte> asBytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view asText(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// How many bytes there are up to the last that is not zero. Preallocated space is long and all
/// zeros; a block at a time it costs what reading it costs.
inline std::size_t usedLength(std::string_view bytes) noexcept {
  constexpr std::size_t blockBytes = 4096;
  while (!bytes.empty()) {
    const auto block = bytes.substr(bytes.size() - std::min(bytes.size(), blockBytes));
    const bool zeros =
        block[0] == 0 && std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0;
    if (!zeros) return bytes.size() - block.size() + block.find_last_not_of('\0') + 1;
    bytes.remove_suffix(block.size());
  }
  return 0;
}

template <typename T>
void putFixed(std::string& out, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out.append(raw, sizeof(T));
}

inline void putVarint(std::string& out, std::uint64_t value) {
  char raw[10];
  std::size_t n = 0;
  while (value >= 0x80) {
    raw[n++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  raw[n++] = static_cast<char>(value);
  out.append(raw, n);
}

inline void putText(std::string& out, std::string_view text) {
  putVarint(out, text.size());
  out.append(text);
}

/// Reads what the put functions wrote. Never reads past the end: after the first impossible
/// length every further read gives zeros and ok() is false.
///
/// Threads: owned by one thread.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) noexcept
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  template <typename T>
  T fixed() noexcept {
    T value{};
    if (static_cast<std::size_t>(end_ - at_) < sizeof(T)) {
      fail();
      return value;
    }
    std::memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  std::uint64_t varint() noexcept {
    if (at_ != end_ && static_cast<unsigned char>(*at_) < 0x80) {
      return static_cast<unsigned char>(*at_++);
    }
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) {
        fail();
        return 0;
      }
      const auto byte = static_cast<unsigned char>(*at_++);
      if (shift == 63 && byte > 1) {
        fail();
        return 0;
      }
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail();
    return 0;
  }

  std::string_view take(std::uint64_t length) noexcept {
    if (length > static_cast<std::uint64_t>(end_ - at_)) {
      fail();
      return {};
    }
    std::string_view result(at_, static_cast<std::size_t>(length));
    at_ += length;
    return result;
  }
  std::string_view text() noexcept { return take(varint()); }

  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] bool atEnd() const noexcept { return at_ == end_; }
  [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }

 private:
  void fail() noexcept {
    ok_ = false;
    at_ = end_;
  }
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace penstock::state
