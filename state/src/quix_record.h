// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// The record of a legacy Quix LocalFileStorage: one file, one value.
///
///   'b' type payload crc     crc: CRC-32 of zip over all before it, big-endian
///   'b' bool    1 byte
///   'l' long    8 bytes, little-endian
///   'd' double  8 bytes, little-endian IEEE 754
///   's' string  length as .NET's 7-bit varint, UTF-8
///   'a' binary  int32 length (-1: null), bytes
///   'o' object  int32 length (0: null), bytes: what pickle made of it
namespace penstock::state {

/// A record as a stored value (penstock/state/detail/stored.h).
struct QuixRecord {
  std::string stored;
  bool object = false;  // not null
};

/// CRC-32 as zip and PNG use it (polynomial 0xEDB88320).
std::uint32_t crc32(std::string_view bytes) noexcept;

/// Why `bytes` are no record, or "".
std::string decodeQuixRecord(std::string_view bytes, QuixRecord& out);

/// Whether this is what any protocol of pickle makes of None.
bool isPickledNone(std::string_view bytes) noexcept;

}  // namespace penstock::state
