// SPDX-License-Identifier: Apache-2.0
// In the place of postgresql_adapter.cpp and postgresql_sessions.cpp where the library is built
// without PostgreSQL.
#include "datastore/adapter.h"

namespace penstock::state::datastore {

std::unique_ptr<Adapter> openPostgresql(const std::string& /*address*/,
                                        const DatastoreOptions& /*options*/) {
  throw ConfigurationError(
      "this Penstock was built without PostgreSQL, and cannot open postgresql:// addresses; "
      "install libpqxx (Debian: libpqxx-dev) and build it again with PENSTOCK_POSTGRESQL=ON, which "
      "pip does by itself");
}

}  // namespace penstock::state::datastore
