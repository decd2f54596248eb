// SPDX-License-Identifier: Apache-2.0
#include <penstock/record.h>

namespace penstock {

Record RecordView::copy() const {
  Record record;
  if (key) record.key.emplace(*key);
  if (value) record.value.emplace(*value);
  record.timestamp = timestamp;
  record.headers.reserve(headers.size());
  for (const HeaderView& header : headers) {
    Header& copied = record.headers.emplace_back(Header{std::string(header.name), std::nullopt});
    if (header.value) copied.value.emplace(*header.value);
  }
  return record;
}

}  // namespace penstock
