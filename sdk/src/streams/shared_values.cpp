// SPDX-License-Identifier: Apache-2.0
#include "penstock/detail/shared_values.h"

#include <utility>

#include "penstock/error.h"

namespace penstock::detail {

void SharedValues::setDatastore(std::string address, const state::DatastoreOptions& options) {
  const std::lock_guard lock(mutex_);
  if (opened_) {
    // Without the addresses: they may have a password.
    throw ConfigurationError(
        "setting the datastore: one is in use already; set it before anybody asks for it");
  }
  address_ = std::move(address);
  options_ = options;
}

state::Datastore SharedValues::datastore() {
  const std::lock_guard lock(mutex_);
  if (!opened_) opened_ = state::Datastore::open(address_, options_);
  return *opened_;
}

}  // namespace penstock::detail
