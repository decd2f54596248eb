// SPDX-License-Identifier: Apache-2.0
// In the place of database.cpp where the library is built without RocksDB.
#include <penstock/state/errors.h>

#include "database.h"

namespace penstock::state::database {

namespace {

[[noreturn]] void refuse() {
  throw ConfigurationError(
      "this Penstock was built without RocksDB, and cannot open stores of Engine::RocksDb; build "
      "it with PENSTOCK_ROCKSDB=ON");
}

}  // namespace

void checkAvailable() { refuse(); }
std::shared_ptr<const StoreBase> open(const std::string&, const Identity&, std::uint64_t,
                                      std::uint64_t, bool) {
  refuse();
}
std::shared_ptr<const StoreBase> write(const StoreImage&, const std::string&, const Identity&,
                                       std::uint64_t, const IsGone&) {
  refuse();
}
std::uint64_t numberOf(const StoreBase*) noexcept { return 0; }
Extent extentOf(const StoreBase&) { refuse(); }
void leaveNothingOut(const StoreBase*) noexcept {}
void remove(const std::string&) noexcept {}
void copy(const StoreBase&, const std::string&) { refuse(); }
void verify(const StoreBase&) { refuse(); }
std::uint64_t bytesOf(const StoreBase&) noexcept { return 0; }

}  // namespace penstock::state::database
