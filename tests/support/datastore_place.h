// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <penstock/state/datastore.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "support/temporary_directory.h"
#ifdef PENSTOCK_POSTGRESQL
#include "support/postgresql_server.h"
#endif

namespace penstock::testing {

/// The adapters that this build has; `shared`: those that several processes share.
inline std::vector<std::string> datastoreAdapters(bool shared = false) {
  std::vector<std::string> adapters{"File"};
  if (!shared) adapters.insert(adapters.begin(), "Memory");
#ifdef PENSTOCK_SQLITE
  adapters.emplace_back("Sqlite");
#endif
#ifdef PENSTOCK_POSTGRESQL
  adapters.emplace_back("Postgresql");
#endif
  return adapters;
}

/// The updater of most tests: from an absent key on.
inline std::optional<state::Value> increment(const std::optional<state::Value>& found) {
  return state::Value(found ? found->asInt64() + 1 : 1);
}

inline std::string adapterName(const ::testing::TestParamInfo<std::string>& test) {
  return test.param;
}

/// Where the datastore of one test lies: a directory, a file or a table that nobody else uses.
class DatastorePlace {
 public:
  /// `quick`: on a disk in memory, where the machine has one: syncs take no time.
  explicit DatastorePlace(const std::string& adapter, bool quick = false)
      : directory_(quick && std::filesystem::is_directory("/dev/shm")
                       ? "/dev/shm"
                       : std::filesystem::temp_directory_path()) {
    if (adapter == "Memory") address_ = "memory:";
    if (adapter == "File") address_ = "file:" + (directory_ / "store");
    if (adapter == "Sqlite") address_ = "sqlite:" + (directory_ / "store.db");
#ifdef PENSTOCK_POSTGRESQL
    static int tables = 0;
    if (adapter == "Postgresql") {
      address_ = PostgresqlServer::running().address();
      table_ = "table \"" + std::to_string(++tables) + '"';  // needs quotes, and escapes in them
    }
#endif
  }

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::string directory() const { return directory_.path(); }
  [[nodiscard]] state::Datastore open(state::DatastoreOptions options = {}) const {
    if (table_) options.table = *table_;
    return state::Datastore::open(address_, options);
  }

 private:
  TemporaryDirectory directory_;
  std::string address_;
  std::optional<std::string> table_;
};

}  // namespace penstock::testing
