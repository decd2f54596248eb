// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/datastore.h>
#include <penstock/state/shared_state.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace penstock::detail {

/// What an application's operators and threads share beside its topics. Opened when first asked
/// for.
///
/// Threads: safe from any thread.
class SharedValues {
 public:
  /// ConfigurationError once the datastore was asked for.
  void setDatastore(std::string address, const state::DatastoreOptions& options);
  state::Datastore datastore();
  state::SharedState& sharedState() noexcept { return sharedState_; }

 private:
  std::mutex mutex_;
  std::string address_ = "memory:";         // guarded by mutex_
  state::DatastoreOptions options_;         // guarded by mutex_
  std::optional<state::Datastore> opened_;  // guarded by mutex_
  state::SharedState sharedState_;
};

}  // namespace penstock::detail
