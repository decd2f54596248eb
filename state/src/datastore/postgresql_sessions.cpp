// SPDX-License-Identifier: Apache-2.0
#include "datastore/postgresql_sessions.h"

#include <fmt/format.h>
#include <penstock/state/errors.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "datastore/text.h"

namespace penstock::state::datastore {

namespace {

/// What an address gets unless it says otherwise: an answer within seconds, also from a machine
/// that is gone.
constexpr std::array<std::string_view, 6> defaults{
    "connect_timeout=5",  "keepalives_idle=5",      "keepalives_interval=2",
    "keepalives_count=3", "tcp_user_timeout=10000", "fallback_application_name=penstock"};

std::string withDefaults(std::string address) {
  const std::size_t query = queryOf(address);
  for (const std::string_view parameter : defaults) {
    const std::string_view name = parameter.substr(0, parameter.find('=') + 1);
    if (query != std::string::npos &&
        (address.find(fmt::format("?{}", name), query) != std::string::npos ||
         address.find(fmt::format("&{}", name), query) != std::string::npos)) {
      continue;
    }
    address += queryOf(address) == std::string::npos ? '?' : '&';
    address += parameter;
  }
  return address;
}

/// What the server says of itself, or of how busy it is, when it refuses a connection that it would
/// take at another time.
bool isPassing(std::string_view text) {
  constexpr std::array<std::string_view, 5> passing{"starting up", "shutting down", "recovery",
                                                    "too many", "connection slots"};
  return std::any_of(passing.begin(), passing.end(), [&](std::string_view part) {
    return text.find(part) != std::string_view::npos;
  });
}

/// Without the names of databases, users and hosts in it, which may be any words.
std::string withoutNames(std::string_view text) {
  std::string left;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted) left += c;
  }
  return left;
}

std::string oneLine(std::string_view text) {
  std::string line(text);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

PostgresqlSessions::PostgresqlSessions(const std::string& address,
                                       std::function<void(pqxx::connection&)> prepare)
    : address_(withDefaults(address)),
      shown_(withoutPassword(address)),
      prepare_(std::move(prepare)) {
  idle_.reserve(sessionsMax);  // giving back allocates nothing
}

std::unique_ptr<PostgresqlSessions::Connection> PostgresqlSessions::connect() const {
  try {
    auto connection = std::make_unique<Connection>(address_);
    // A connection that came back by itself would have lost the lock that its holder relies on.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    connection->inhibit_reactivation(true);
#pragma GCC diagnostic pop
    prepare_(*connection);
    return connection;
  } catch (const pqxx::failure& error) {
    const std::string text = fmt::format("{}: {}", shown_, oneLine(error.what()));
    // The server answered and said no; or asked for a password that we were not given; or the
    // address has what libpq does not know.
    const std::string said = withoutNames(error.what());
    const bool refused = said.find("FATAL:") != std::string::npos ||
                         said.find("no password supplied") != std::string::npos ||
                         said.find("invalid") != std::string::npos;
    if (refused && !isPassing(said)) {
      throw ConfigurationError(text + "; correct the address, or what the server permits");
    }
    throw Unavailable(text + "; nothing was changed");
  }
}

PostgresqlSessions::Lease PostgresqlSessions::take(Use use, Deadline deadline) {
  Lease lease(*this, use);
  std::unique_lock guard(mutex_);
  const bool free = free_.wait_until(guard, deadline, [&] {
    return leased_ < sessionsMax && (use == Use::Briefly || held_ < holdersMax);
  });
  if (!free) {
    lease.sessions_ = nullptr;
    throw Unavailable(fmt::format(
        "{}: no connection of {} became free within the lock timeout; up to {} updates run at a "
        "time in one process",
        shown_, sessionsMax, holdersMax));
  }
  ++leased_;
  held_ += use == Use::Hold ? 1 : 0;
  if (!idle_.empty()) {
    lease.connection_ = std::move(idle_.back());
    idle_.pop_back();
  }
  guard.unlock();
  if (!lease.connection_) lease.connection_ = connect();
  return lease;
}

void PostgresqlSessions::giveBack(Use use, std::unique_ptr<Connection> connection) noexcept {
  {
    const std::lock_guard guard(mutex_);
    --leased_;
    held_ -= use == Use::Hold ? 1 : 0;
    if (connection) idle_.push_back(std::move(connection));
  }
  free_.notify_all();
}

void PostgresqlSessions::closeIdle() noexcept {
  std::vector<std::unique_ptr<Connection>> idle;
  const std::lock_guard guard(mutex_);
  idle.swap(idle_);
}

PostgresqlSessions::Lease::Lease(Lease&& other) noexcept
    : sessions_(std::exchange(other.sessions_, nullptr)),
      use_(other.use_),
      connection_(std::move(other.connection_)),
      discarded_(other.discarded_) {}

PostgresqlSessions::Lease::~Lease() {
  if (sessions_ == nullptr) return;
  if (!whole()) connection_.reset();
  sessions_->giveBack(use_, std::move(connection_));
}

void PostgresqlSessions::Lease::checkAlive() {
  run(Doing::Reading, [](pqxx::connection& connection) {
    // What has come unasked is the server's farewell, and behind it the end.
    pollfd readable{connection.sock(), POLLIN, 0};
    while (connection.is_open() && ::poll(&readable, 1, 0) > 0) connection.get_notifs();
    if (!connection.is_open()) throw pqxx::broken_connection("the connection is closed");
  });
}

void PostgresqlSessions::Lease::throwTyped(Doing doing, const std::string& state,
                                           const std::string& text) {
  const std::string said = fmt::format("{}: {}", sessions_->shown_, oneLine(text));
  const auto ofClass = [&](std::string_view prefix) { return state.starts_with(prefix); };
  if (!whole() || ofClass("08") || ofClass("57P")) {  // the connection, or the server, is ending
    discard();
    if (doing == Doing::Reading) throw Unavailable(said + "; nothing was changed");
    throw OutcomeUnknown(said +
                         "; the change had been sent, and is made or is not: read the key before "
                         "you do it again");
  }
  if (state == "55P03") throw LockTimeout(said);
  if (state == "53100") throw DiskFull(said + "; nothing was changed");
  if (ofClass("53") || ofClass("57") || ofClass("40")) {
    throw Unavailable(said + "; nothing was changed");
  }
  if (ofClass("XX")) throw Corruption(sessions_->shown_, 0, said, "look at the server's log");
  throw ConfigurationError(said + "; nothing was changed");
}

}  // namespace penstock::state::datastore
