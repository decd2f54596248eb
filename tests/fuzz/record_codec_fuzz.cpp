// SPDX-License-Identifier: Apache-2.0

// Any bytes as a section of records: the walker neither crashes nor reads beyond them, and what
// it accepts says the same when it is written and read again.
// Built and run by scripts/fuzz.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "file/record_codec.h"
#include "penstock/state/errors.h"

namespace {

using penstock::Record;
using penstock::RecordView;

void require(bool holds) {
  if (!holds) std::abort();
}

std::vector<Record> decoded(std::span<const std::byte> bytes, std::uint32_t count) {
  penstock::file::RecordWalker walker("fuzz");
  walker.start(bytes, 0, count);
  std::vector<Record> records;
  RecordView view;
  while (walker.next(view)) records.push_back(view.copy());
  return records;
}

void checkAgain(const std::vector<Record>& records) {
  std::string bytes;
  for (const Record& record : records) {
    std::vector<penstock::HeaderView> headers;
    for (const penstock::Header& header : record.headers) {
      headers.push_back({header.name, header.value});
    }
    RecordView view;
    view.key = record.key;
    view.value = record.value;
    view.timestamp = record.timestamp;
    view.headers = headers;
    penstock::file::encodeRecord(view, bytes);
  }
  require(decoded(std::as_bytes(std::span(bytes)), static_cast<std::uint32_t>(records.size())) ==
          records);
}

}  // namespace

/// The first byte is how many records are counted, the rest the section.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<Record> records;
  try {
    records = decoded(std::as_bytes(std::span(data + 1, size - 1)), data[0]);
  } catch (const penstock::state::Corruption&) {
    return 0;
  }
  require(records.size() == data[0]);
  checkAgain(records);
  return 0;
}
