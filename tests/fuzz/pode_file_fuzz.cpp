// SPDX-License-Identifier: Apache-2.0

// Any bytes as a file of Pode's: the reader refuses them or keeps what can be written in version 2
// and read again. Version 1 may refuse what it cannot say; what it writes can be read.
// Built and run by scripts/fuzz.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "penstock/state/errors.h"
#include "pode_file.h"

using penstock::state::formatPodeFile;
using penstock::state::parsePodeFile;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::vector<penstock::state::SharedContentPtr> contents;
  try {
    contents = parsePodeFile(bytes, "file");
  } catch (const penstock::state::Corruption& error) {
    if (error.offset() > size) std::abort();
    return 0;
  } catch (const penstock::state::ForeignFile&) {
    return 0;
  } catch (const penstock::state::FormatTooNew&) {
    return 0;
  }
  const std::string written = formatPodeFile(contents, 2, 0, true);
  const auto again = parsePodeFile(written, "file");
  if (formatPodeFile(again, 2, 0, true) != written) std::abort();
  std::string plain;
  try {
    plain = formatPodeFile(contents, 1, 0, false);
  } catch (const penstock::state::InvalidArgument&) {
    return 0;
  }
  if (parsePodeFile(plain, "file").size() != contents.size()) std::abort();
  return 0;
}
