// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Records as they lie in the sections of a journal's logs (docs/formats/records.md):
///
///   1  flags: 1 key, 2 value, 4 headers; the other bits are 0
///   8  timestamp, milliseconds since 1970, little-endian
///   v  length of the key      if there is one       (v: LEB128, at most 5 bytes)
///   v  length of the value    if there is one
///   v  number of headers      if there are any
///   …  key, value
///   per header: v length of the name, v 0 or length of the value + 1, name, value
///
/// All of it is inline: encoding and decoding are on the path of every record.
namespace penstock::file {

namespace detail {

inline constexpr std::uint8_t kHasKey = 1;
inline constexpr std::uint8_t kHasValue = 2;
inline constexpr std::uint8_t kHasHeaders = 4;
static_assert(std::endian::native == std::endian::little, "timestamps are copied as they are");

inline char* putVarint(char* to, std::uint32_t number) {
  while (number >= 0x80) {
    *to++ = static_cast<char>(number | 0x80U);
    number >>= 7U;
  }
  *to++ = static_cast<char>(number);
  return to;
}

/// Null when the bytes end before the number does, or it does not fit 32 bits.
inline const char* getVarint(const char* from, const char* end, std::uint32_t& number) {
  std::uint32_t result = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    if (from == end) return nullptr;
    const auto byte = static_cast<std::uint8_t>(*from++);
    if (shift == 28 && byte > 0x0f) return nullptr;
    result |= static_cast<std::uint32_t>(byte & 0x7fU) << shift;
    if (byte < 0x80) {
      number = result;
      return from;
    }
  }
  return nullptr;
}

/// Throws InvalidArgument: more than 2^32 - 2 bytes cannot be encoded.
[[noreturn]] void throwTooLong(std::size_t length);
/// Throws Corruption naming `source` and the record.
[[noreturn]] void throwMalformed(std::string_view source, std::uint64_t recordOffset,
                                 std::size_t byteOffset);

void encodeHeaders(std::span<const HeaderView> headers, std::string& out);
/// Null when malformed. Appends to `headers`.
const char* decodeHeaders(const char* from, const char* end, std::uint32_t count,
                          std::vector<HeaderView>& headers);

}  // namespace detail

/// Appends the bytes of `record` to `out` (Commit::recordBuffer). `record.offset` is not stored:
/// a record's offset is its place in the log.
inline void encodeRecord(const RecordView& record, std::string& out) {
  char head[1 + 8 + 3 * 5];
  std::uint8_t flags = 0;
  std::memcpy(head + 1, &record.timestamp.ms, 8);
  char* to = head + 9;
  if (record.key) {
    if (record.key->size() >= UINT32_MAX) detail::throwTooLong(record.key->size());
    flags |= detail::kHasKey;
    to = detail::putVarint(to, static_cast<std::uint32_t>(record.key->size()));
  }
  if (record.value) {
    if (record.value->size() >= UINT32_MAX) detail::throwTooLong(record.value->size());
    flags |= detail::kHasValue;
    to = detail::putVarint(to, static_cast<std::uint32_t>(record.value->size()));
  }
  if (!record.headers.empty()) {
    flags |= detail::kHasHeaders;
    to = detail::putVarint(to, static_cast<std::uint32_t>(record.headers.size()));
  }
  head[0] = static_cast<char>(flags);
  out.append(head, static_cast<std::size_t>(to - head));
  if (record.key) out.append(*record.key);
  if (record.value) out.append(*record.value);
  if (!record.headers.empty()) detail::encodeHeaders(record.headers, out);
}

/// Walks the records of one chunk of a log without allocating (but for headers, whose buffer is
/// kept). Views given out point into the chunk's bytes; headers are valid until the next call.
///
/// Threads: owned by one thread.
/// Errors: Corruption naming `source` when the bytes are no records. Sections are checksummed, so
/// this means that somebody else wrote them.
///
///   LogChunk chunk;
///   RecordWalker walker("topic/clicks/0");
///   while (reader.next(chunk, limit)) {
///     walker.start(chunk.bytes, chunk.baseOffset, chunk.count);
///     RecordView record;
///     while (walker.next(record)) use(record);
///   }
class RecordWalker {
 public:
  explicit RecordWalker(std::string source = {}) : source_(std::move(source)) {}

  void start(std::span<const std::byte> bytes, std::uint64_t baseOffset, std::uint32_t count) {
    begin_ = at_ = reinterpret_cast<const char*>(bytes.data());
    end_ = at_ + bytes.size();
    offset_ = baseOffset;
    left_ = count;
    if (left_ == 0 && at_ != end_) fail();
  }

  /// False behind the last record.
  bool next(RecordView& record) {
    if (left_ == 0) return false;
    record.headers = {};
    const auto room = static_cast<std::size_t>(end_ - at_);
    // nearly every record: key and value under 128 bytes, no headers
    if (room >= 11 && at_[0] == (detail::kHasKey | detail::kHasValue) &&
        (static_cast<std::uint8_t>(at_[9]) | static_cast<std::uint8_t>(at_[10])) < 0x80) {
      const auto key = static_cast<std::size_t>(at_[9]);
      const auto value = static_cast<std::size_t>(at_[10]);
      if (room < 11 + key + value) fail();
      std::memcpy(&record.timestamp.ms, at_ + 1, 8);
      record.key.emplace(at_ + 11, key);
      record.value.emplace(at_ + 11 + key, value);
      at_ += 11 + key + value;
    } else {
      nextSlow(record);
    }
    record.offset.value = static_cast<std::int64_t>(offset_++);
    if (--left_ == 0 && at_ != end_) fail();
    return true;
  }

  /// Moves over records below `offset`.
  void skipTo(std::uint64_t offset) {
    RecordView record;
    while (offset_ < offset && next(record)) {
    }
  }

  [[nodiscard]] std::uint64_t nextOffset() const noexcept { return offset_; }
  [[nodiscard]] std::uint32_t left() const noexcept { return left_; }

 private:
  void nextSlow(RecordView& record);
  [[noreturn]] void fail() const {
    detail::throwMalformed(source_, offset_, static_cast<std::size_t>(at_ - begin_));
  }

  std::string source_;
  const char* begin_ = nullptr;
  const char* at_ = nullptr;
  const char* end_ = nullptr;
  std::uint64_t offset_ = 0;
  std::uint32_t left_ = 0;
  std::vector<HeaderView> headers_;
};

}  // namespace penstock::file
