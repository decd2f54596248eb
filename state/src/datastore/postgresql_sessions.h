// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <pqxx/pqxx>
#include <string>
#include <utility>
#include <vector>

#include "datastore/key_locks.h"

namespace penstock::state::datastore {

/// The connections of a Datastore to its server: at most `sessionsMax`, of which at most
/// `holdersMax` for those who keep one while a program's code runs, so that readers, who do not,
/// always find one soon.
///
/// Threads: safe from any thread.
/// Errors: Unavailable, ConfigurationError for a connection that the server refuses.
class PostgresqlSessions {
  /// libpqxx prints what servers and errors say unless it is told not to.
  struct Connection : pqxx::connection {
    using pqxx::connection::connection;
    pqxx::quiet_errorhandler quiet{*this};
  };

 public:
  static constexpr std::size_t sessionsMax = 16;
  static constexpr std::size_t holdersMax = 12;

  enum class Use : std::uint8_t { Briefly, Hold };
  enum class Doing : std::uint8_t { Reading, Writing };

  /// `prepare` is called for each new connection; there is none before the first use.
  PostgresqlSessions(const std::string& address, std::function<void(pqxx::connection&)> prepare);

  /// A connection of the caller's own, which goes back with this if it is whole.
  class Lease {
   public:
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

    /// Calls `call` with the connection. libpqxx's errors become ours; one that is lost is
    /// Unavailable or, if it was Writing, OutcomeUnknown.
    template <typename Call>
    auto run(Doing doing, Call&& call) {
      try {
        return call(static_cast<pqxx::connection&>(*connection_));
      } catch (const pqxx::sql_error& error) {
        throwTyped(doing, error.sqlstate(), error.what());
      } catch (const pqxx::failure& error) {
        throwTyped(doing, {}, error.what());
      }
    }
    /// Unavailable when the server has hung up meanwhile: nothing was sent.
    void checkAlive();
    /// The connection will be closed, not given back: whatever it holds goes with it.
    void discard() noexcept { discarded_ = true; }
    [[nodiscard]] bool whole() const noexcept {
      return connection_ && connection_->is_open() && !discarded_;
    }

   private:
    friend class PostgresqlSessions;
    Lease(PostgresqlSessions& sessions, Use use) : sessions_(&sessions), use_(use) {}
    [[noreturn]] void throwTyped(Doing doing, const std::string& state, const std::string& text);

    PostgresqlSessions* sessions_;  // null: moved from
    Use use_;
    std::unique_ptr<Connection> connection_;
    bool discarded_ = false;
  };

  /// Calls `call` with a Lease. If the connection turns out to have been lost while it was idle,
  /// `call` is called again with a new one: it must not write.
  template <typename Call>
  auto with(Use use, Deadline deadline, Call&& call) {
    {
      Lease lease = take(use, deadline);
      try {
        return call(lease);
      } catch (const Unavailable&) {
        if (lease.whole()) throw;
      }
    }
    closeIdle();  // lost with the same server
    Lease lease = take(use, deadline);
    return call(lease);
  }

 private:
  Lease take(Use use, Deadline deadline);
  [[nodiscard]] std::unique_ptr<Connection> connect() const;
  void giveBack(Use use, std::unique_ptr<Connection> connection) noexcept;
  void closeIdle() noexcept;

  const std::string address_;  // with what we set where it says nothing
  const std::string shown_;
  const std::function<void(pqxx::connection&)> prepare_;
  std::mutex mutex_;
  std::condition_variable free_;
  std::size_t leased_ = 0;
  std::size_t held_ = 0;
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace penstock::state::datastore
