// SPDX-License-Identifier: Apache-2.0
#include "file/record_codec.h"

#include <penstock/state/errors.h>

namespace penstock::file {

namespace detail {

void throwTooLong(std::size_t length) {
  throw state::InvalidArgument("writing a record: a part of " + std::to_string(length) +
                               " bytes is too long, at most 4294967294 fit");
}

void throwMalformed(std::string_view source, std::uint64_t recordOffset, std::size_t byteOffset) {
  throw state::Corruption(std::string(source), byteOffset,
                          "reading '" + std::string(source) + "': the bytes of the record at " +
                              "offset " + std::to_string(recordOffset) + " (" +
                              std::to_string(byteOffset) +
                              " bytes into its section) are no record");
}

namespace {

std::uint32_t checkedLength(std::size_t length) {
  if (length >= UINT32_MAX) throwTooLong(length);
  return static_cast<std::uint32_t>(length);
}

}  // namespace

void encodeHeaders(std::span<const HeaderView> headers, std::string& out) {
  for (const HeaderView& header : headers) {
    char head[2 * 5];
    char* to = putVarint(head, checkedLength(header.name.size()));
    to = putVarint(to, header.value ? checkedLength(header.value->size()) + 1 : 0);
    out.append(head, static_cast<std::size_t>(to - head));
    out.append(header.name);
    if (header.value) out.append(*header.value);
  }
}

const char* decodeHeaders(const char* from, const char* end, std::uint32_t count,
                          std::vector<HeaderView>& headers) {
  for (; count > 0; --count) {
    std::uint32_t name = 0;
    std::uint32_t value = 0;
    from = getVarint(from, end, name);
    if (from == nullptr) return nullptr;
    from = getVarint(from, end, value);
    if (from == nullptr) return nullptr;
    const std::size_t valueBytes = value == 0 ? 0 : value - 1;
    if (static_cast<std::size_t>(end - from) < name + valueBytes) return nullptr;
    HeaderView& header = headers.emplace_back();
    header.name = {from, name};
    if (value != 0) header.value.emplace(from + name, valueBytes);
    from += name + valueBytes;
  }
  return from;
}

}  // namespace detail

void RecordWalker::nextSlow(RecordView& record) {
  if (end_ - at_ < 9) fail();
  const auto flags = static_cast<std::uint8_t>(*at_);
  if (flags > (detail::kHasKey | detail::kHasValue | detail::kHasHeaders)) fail();
  std::memcpy(&record.timestamp.ms, at_ + 1, 8);
  const char* at = at_ + 9;
  const auto number = [&](std::uint8_t flag) {
    std::uint32_t result = 0;
    if ((flags & flag) != 0) {
      at = detail::getVarint(at, end_, result);
      if (at == nullptr) fail();
    }
    return std::size_t{result};
  };
  const std::size_t key = number(detail::kHasKey);
  const std::size_t value = number(detail::kHasValue);
  const std::size_t headers = number(detail::kHasHeaders);
  if (static_cast<std::size_t>(end_ - at) < key + value) fail();
  record.key.reset();
  record.value.reset();
  if ((flags & detail::kHasKey) != 0) record.key.emplace(at, key);
  at += key;
  if ((flags & detail::kHasValue) != 0) record.value.emplace(at, value);
  at += value;
  if ((flags & detail::kHasHeaders) != 0) {
    // an encoder never writes zero headers, and a header takes two bytes at least
    if (headers == 0 || headers > static_cast<std::size_t>(end_ - at) / 2) fail();
    headers_.clear();
    at = detail::decodeHeaders(at, end_, static_cast<std::uint32_t>(headers), headers_);
    if (at == nullptr) fail();
    record.headers = headers_;
  }
  at_ = at;
}

}  // namespace penstock::file
