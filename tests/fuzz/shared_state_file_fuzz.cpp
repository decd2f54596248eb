// SPDX-License-Identifier: Apache-2.0

// Any bytes as the file of a shared state, as they are and under the seal that they should have:
// the reader refuses them or keeps what writing and reading give back. Built and run by
// scripts/fuzz.

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "frame.h"
#include "penstock/state/errors.h"
#include "shared_state_file.h"

namespace {

using penstock::state::formatSharedFile;
using penstock::state::parseSharedFile;

void check(std::string_view text) {
  try {
    const auto contents = parseSharedFile(text, "file", "", "");
    for (const bool compress : {false, true}) {
      const std::string written = formatSharedFile(contents, "", 0, compress);
      const auto again = parseSharedFile(written, "file", "", "");
      if (formatSharedFile(again, "", 0, compress) != written) std::abort();
    }
  } catch (const penstock::state::Corruption& error) {
    if (error.offset() > text.size()) std::abort();
  } catch (const penstock::state::ForeignFile&) {
  } catch (const penstock::state::FormatTooNew&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  check(fmt::format(R"({{"penstock":"shared state","seal":"{:016x}:{}"{})",
                    penstock::state::hash64(bytes), size, bytes));
  return 0;
}
