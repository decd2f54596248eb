// SPDX-License-Identifier: Apache-2.0
#include "pode_text.h"

#include <algorithm>

#include "pode_file.h"

namespace penstock::state {

namespace {

using namespace std::string_view_literals;

void appendUtf8(std::uint32_t point, std::string& out) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  } else {
    put(0xf0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3f));
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
}

bool isHigh(std::uint32_t unit) { return unit >= 0xd800 && unit < 0xdc00; }
bool isLow(std::uint32_t unit) { return unit >= 0xdc00 && unit < 0xe000; }

}  // namespace

PodeText::PodeText(std::string_view bytes, const std::string& file) {
  bool bigEndian = false;
  if (bytes.starts_with("\xef\xbb\xbf"sv)) {
    markBytes_ = 3;
  } else if (bytes.starts_with("\xff\xfe"sv) || bytes.starts_with("\xfe\xff"sv)) {
    wide_ = true;
    markBytes_ = 2;
    bigEndian = bytes[0] == '\xfe';
  } else if (bytes.size() >= 2 && (bytes[0] == '\0') != (bytes[1] == '\0')) {
    wide_ = true;
    bigEndian = bytes[0] == '\0';
  }
  if (!wide_) {
    utf8_ = bytes.substr(markBytes_);
    return;
  }
  const auto unitAt = [&](std::size_t at) {
    const auto first = static_cast<unsigned char>(bytes[at]);
    const auto second = static_cast<unsigned char>(bytes[at + 1]);
    return bigEndian ? std::uint32_t{first} << 8 | second : std::uint32_t{second} << 8 | first;
  };
  for (std::size_t at = markBytes_; at < bytes.size(); at += 2) {
    if (at + 1 == bytes.size()) throwPodeDamaged(file, at, "half a character: it was cut off");
    std::uint32_t point = unitAt(at);
    if (isHigh(point) && at + 3 < bytes.size() && isLow(unitAt(at + 2))) {
      point = 0x10000 + ((point - 0xd800) << 10) + (unitAt(at + 2) - 0xdc00);
      at += 2;
    } else if (isHigh(point) || isLow(point)) {
      throwPodeDamaged(file, at, "half a character of two");
    }
    appendUtf8(point, utf8_);
  }
}

std::uint64_t PodeText::offsetInFile(std::uint64_t offset) const noexcept {
  if (!wide_) return markBytes_ + offset;
  std::uint64_t units = 0;
  for (const char byte : std::string_view(utf8_).substr(0, offset)) {
    const auto lead = static_cast<unsigned char>(byte);
    if (lead < 0x80 || lead >= 0xc0) units += lead >= 0xf0 ? 2 : 1;
  }
  return markBytes_ + 2 * units;
}

}  // namespace penstock::state
