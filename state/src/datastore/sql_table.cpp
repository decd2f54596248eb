// SPDX-License-Identifier: Apache-2.0
#include "datastore/sql_table.h"

#include <fmt/format.h>
#include <penstock/state/detail/stored.h>
#include <penstock/state/errors.h>

#include <cstdint>

namespace penstock::state::datastore {

namespace {

constexpr std::int64_t formatVersion = 1;

}  // namespace

std::string formatBytes() {
  std::string bytes;
  detail::Stored<std::int64_t>::encode(formatVersion, bytes);
  return bytes;
}

void checkFormat(const std::optional<std::string>& found, const std::string& place) {
  std::int64_t version = 0;
  std::string bytes = found.value_or(std::string());
  if (detail::Stored<std::int64_t>::decode(bytes, version) != detail::Decoded::Ok) {
    throwForeignTable(place);
  }
  if (version != formatVersion) {
    throw FormatTooNew(
        fmt::format("{} has format {}, and this Penstock knows format {}; open it "
                    "with a newer Penstock",
                    place, version, formatVersion));
  }
}

void throwForeignTable(const std::string& place) {
  throw ConfigurationError(fmt::format(
      "{} was not made by a Datastore: it lacks our columns or the row that says so, and was not "
      "touched; name another one (DatastoreOptions::table), or open a table of Reshuffle's in "
      "PostgreSQL with DatastoreOptions::reshuffleTable",
      place));
}

std::string quotedName(std::string_view table) {
  std::string quoted = "\"";
  for (const char c : table) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace penstock::state::datastore
