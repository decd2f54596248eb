// SPDX-License-Identifier: Apache-2.0
#include "datastore/adapter.h"

#include <fmt/format.h>
#include <penstock/state/detail/stored.h>

#include <limits>

namespace penstock::state::datastore {

std::string Adapter::encode(const Value& value) const {
  std::string bytes;
  detail::encodeValue(value, bytes);
  return bytes;
}

std::optional<Value> Adapter::decode(std::string_view bytes) const {
  Value value;
  if (detail::decodeValue(bytes, value) != detail::Decoded::Ok) return std::nullopt;
  return value;
}

std::string Adapter::prefixBelow(const std::string& prefix, std::string_view name) const {
  return fmt::format("{}{}{}:{}", prefix, reserved, name.size(), name);
}

Revision Adapter::revisionAfter(const Row* found, std::string_view /*bytes*/,
                                Random& random) const {
  if (found != nullptr) return {found->revision.created, found->revision.changes + 1};
  // positive, because SQL's integers have a sign
  return {random.next() % std::numeric_limits<std::int64_t>::max() + 1, 1};
}

}  // namespace penstock::state::datastore
