// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application.h>

#include <string_view>

namespace penstock::fault {

/// Topic `in` holds ids (keys), each with a word (value).
///
///   in ----> ids                                      each id once
///     `----> words (repartition) --count--> counts    each word's count, and every step to it once
inline void buildCounting(Application& application) {
  auto input = application.stream<std::string_view, std::string_view>("in");
  input.to("ids");
  input.groupBy([](std::string_view, std::string_view word) { return word; }, {.name = "words"})
      .count({.name = "counts"})
      .toStream()
      .to("counts");
}

}  // namespace penstock::fault
