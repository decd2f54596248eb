// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::state {

/// The text of a file in one of the encodings that PowerShell writes: UTF-8, UTF-16 of either byte
/// order, each with a byte order mark or (JSON begins with ASCII) without.
class PodeText {
 public:
  /// Corruption, naming the file and the offset, for what is no UTF-16. UTF-8 is not looked into.
  PodeText(std::string_view bytes, const std::string& file);

  [[nodiscard]] const std::string& utf8() const noexcept { return utf8_; }
  /// Where in the file the byte at `offset` of utf8() comes from.
  [[nodiscard]] std::uint64_t offsetInFile(std::uint64_t offset) const noexcept;

 private:
  std::string utf8_;
  std::size_t markBytes_ = 0;
  bool wide_ = false;
};

}  // namespace penstock::state
