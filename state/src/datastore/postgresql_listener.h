// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "datastore/adapter.h"
#include "datastore/postgresql_sessions.h"

namespace penstock::state::datastore {

/// Tells the watches of a process that the table was changed, by LISTEN on one connection for all
/// of them. There is no thread: one of those that wait sits at the connection, the others wait for
/// it. The connection is closed with the last watch, because notifications that nobody fetches
/// would pile up in the server.
///
/// A watch also returns every second without having been told: a change may have been made by
/// somebody who does not notify, or who died before it could.
///
/// Threads: safe from any thread.
class PostgresqlListener {
 public:
  PostgresqlListener(PostgresqlSessions& sessions, std::string channel)
      : sessions_(sessions), channel_(std::move(channel)) {}

  [[nodiscard]] std::unique_ptr<Adapter::Watch> watch(Deadline deadline);

 private:
  class ChannelWatch;

  void listen(Deadline deadline);
  /// Whether something may have changed.
  bool awaitNotification(Deadline deadline);

  PostgresqlSessions& sessions_;
  const std::string channel_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t changes_ = 0;
  std::size_t watches_ = 0;
  bool attended_ = false;  // somebody sits at the connection, which is his then
  std::optional<PostgresqlSessions::Lease> lease_;
};

}  // namespace penstock::state::datastore
