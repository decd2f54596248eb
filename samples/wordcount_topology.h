// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application.h>

#include <cstdint>
#include <string>
#include <string_view>

/// lines ──flatMap──> (word, none) ──repartition by word──> count ──> counts
///        split, lower                                  store "words"
///
/// The values of `input` are split on anything but ASCII letters and digits and lower-cased;
/// `output` gets key = word, value = how often it has been seen (int64, big-endian).
inline void wordcountTopology(penstock::Application& application, const std::string& input,
                              const std::string& output) {
  using penstock::None;
  application.stream<None, std::string_view>(input)
      .flatMap<std::string_view, None>(
          [word = std::string()](const None&, std::string_view line, const auto& emit) mutable {
            word.clear();
            for (const char each : line) {
              const char lower = each >= 'A' && each <= 'Z' ? static_cast<char>(each + 32) : each;
              if ((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')) {
                word += lower;
              } else if (!word.empty()) {
                emit(word, None{});
                word.clear();
              }
            }
            if (!word.empty()) emit(word, None{});
          })
      .groupByKey()
      .count({.name = "words"})
      .toStream()
      .to(output);
}
