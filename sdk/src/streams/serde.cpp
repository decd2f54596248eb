// SPDX-License-Identifier: Apache-2.0
#include "penstock/serde.h"

#include <fmt/format.h>

namespace penstock::detail {

void throwSize(std::string_view type, std::size_t expected, std::size_t found) {
  throw SerdeError(fmt::format("{}: expected {} bytes, found {}", type, expected, found));
}

void throwAbsent(const std::string& serde) {
  throw SerdeError(
      fmt::format("{}: absent (read it as std::optional or as penstock::None where that is no "
                  "error)",
                  serde));
}

}  // namespace penstock::detail
