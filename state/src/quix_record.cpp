// SPDX-License-Identifier: Apache-2.0
#include "quix_record.h"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <optional>

#include "bytes.h"
#include "penstock/state/detail/stored.h"

namespace penstock::state {

namespace {

constexpr std::size_t crcBytes = 4;

constexpr std::array<std::uint32_t, 256> crcTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xEDB88320U : 0);
    table[i] = value;
  }
  return table;
}();

// .NET's Read7BitEncodedInt: a non-negative int32 in at most 5 bytes; not always the fewest.
std::optional<std::uint32_t> length7Bit(ByteReader& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    const auto byte = in.fixed<std::uint8_t>();
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      const bool fits = in.ok() && value <= std::numeric_limits<std::int32_t>::max();
      return fits ? std::optional(static_cast<std::uint32_t>(value)) : std::nullopt;
    }
  }
  return std::nullopt;
}

template <typename T>
void store(const T& value, std::string& out) {
  detail::Stored<T>::encode(value, out);
}

}  // namespace

std::uint32_t crc32(std::string_view bytes) noexcept {
  std::uint32_t crc = ~std::uint32_t{0};
  for (const char c : bytes) {
    crc = crc >> 8 ^ crcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  }
  return ~crc;
}

std::string decodeQuixRecord(std::string_view bytes, QuixRecord& out) {
  out = {};
  if (bytes.size() <= crcBytes) {
    return fmt::format("it has {} bytes, which is less than a record has", bytes.size());
  }
  const std::string_view content = bytes.substr(0, bytes.size() - crcBytes);
  std::uint32_t wanted = 0;
  for (const char c : bytes.substr(content.size())) {
    wanted = wanted << 8 | static_cast<unsigned char>(c);
  }
  if (const std::uint32_t crc = crc32(content); crc != wanted) {
    return fmt::format("its checksum is {:08x}, that of its bytes {:08x}: it is damaged, or no "
                       "record",
                       wanted, crc);
  }
  if (content.size() < 2 || content[0] != 'b') {
    return fmt::format("its codec is {:?}; only 'b' is known", content.substr(0, 1));
  }
  ByteReader in(content.substr(2));
  switch (content[1]) {
    case 'b':
      store(in.fixed<std::uint8_t>() != 0, out.stored);
      break;
    case 'l':
      store(in.fixed<std::int64_t>(), out.stored);
      break;
    case 'd':
      store(in.fixed<double>(), out.stored);
      break;
    case 's': {
      const auto length = length7Bit(in);
      if (!length) return "the length of its string cannot be read";
      detail::encodeBytes(detail::ValueTag::String, in.take(*length), out.stored);
      break;
    }
    case 'a':
    case 'o': {
      const auto length = in.fixed<std::int32_t>();
      const std::int32_t null = content[1] == 'a' ? -1 : 0;
      if (length == null) {
        store(nullptr, out.stored);
        break;
      }
      if (length < 0) return fmt::format("the length of its bytes is {}", length);
      detail::encodeBytes(detail::ValueTag::Bytes, in.take(static_cast<std::uint32_t>(length)),
                          out.stored);
      out.object = content[1] == 'o';
      break;
    }
    default:
      return fmt::format("its type is {:?}, which is none of b, l, d, s, a, o",
                         content.substr(1, 1));
  }
  if (!in.ok()) return "its value is longer than the file";
  if (!in.atEnd()) return fmt::format("{} bytes follow its value", in.left());
  return {};
}

bool isPickledNone(std::string_view bytes) noexcept {
  // PROTO n, NONE, STOP; older protocols do not begin with 0x80, which the library asks for
  return bytes.size() == 4 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5 &&
         bytes.substr(2) == "N.";
}

}  // namespace penstock::state
