// SPDX-License-Identifier: Apache-2.0
// In the place of sqlite_adapter.cpp where the library is built without SQLite.
#include "datastore/adapter.h"

namespace penstock::state::datastore {

std::unique_ptr<Adapter> openSqlite(const std::string& /*file*/,
                                    const DatastoreOptions& /*options*/,
                                    const Environment& /*environment*/) {
  throw ConfigurationError(
      "this Penstock was built without SQLite, and cannot open sqlite: addresses; install "
      "SQLiteCpp (Debian: libsqlitecpp-dev) and build it again with PENSTOCK_SQLITE=ON, which pip "
      "does by itself");
}

}  // namespace penstock::state::datastore
