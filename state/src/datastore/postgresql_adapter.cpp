// SPDX-License-Identifier: Apache-2.0

// Values in one table of a PostgreSQL database; docs/formats/datastore.md.
//
// 1. The lock of a key is an advisory lock that the connection holds, not a transaction: while an
//    updater runs, no transaction of ours is open. The change is written by the same connection: if
//    it is lost, so is the lock, and nothing can be written under it any more.
// 2. Threads of this process queue for a key before they take a connection: those that wait for
//    each other need none.
// 3. With a table of Reshuffle's, which knows no advisory locks, the row is locked too, and a
//    transaction is open while the updater runs.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "datastore/adapter.h"
#include "datastore/postgresql_listener.h"
#include "datastore/postgresql_sessions.h"
#include "datastore/sql_table.h"
#include "datastore/text.h"
#include "frame.h"
#include "storage_path.h"
#include "value_json.h"

namespace penstock::state::datastore {

namespace {

using Lease = PostgresqlSessions::Lease;
using Use = PostgresqlSessions::Use;
using Doing = PostgresqlSessions::Doing;

/// In bytea columns; a Reshuffle table has text.
pqxx::binarystring binary(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

class PostgresqlAdapter final : public Adapter {
 public:
  PostgresqlAdapter(const std::string& address, const DatastoreOptions& options)
      : place_(fmt::format("{}: table {}", withoutPassword(address), quotedName(options.table))),
        options_(options),
        sessions_(address, [this](pqxx::connection& connection) { prepare(connection); }),
        channel_(fmt::format("penstock_{:016x}", hash64(options.table))),
        listener_(sessions_, channel_) {
    sessions_.with(Use::Briefly, deadline(), [&](Lease& lease) {
      lease.run(Doing::Reading, [&](pqxx::connection& connection) { prepareTable(connection); });
    });
  }

  std::optional<Row> read(const std::string& key) override {
    return sessions_.with(Use::Briefly, deadline(), [&](Lease& lease) {
      return lease.run(Doing::Reading, [&](pqxx::connection& connection) {
        pqxx::nontransaction statement(connection);
        return rowOf(statement.exec_prepared("read", key));
      });
    });
  }

  std::unique_ptr<Session> lock(const std::string& key, Deadline deadline) override {
    auto hold = locks_.acquire(key, deadline);
    return sessions_.with(Use::Hold, deadline, [&](Lease& lease) -> std::unique_ptr<Session> {
      lockKey(lease, key, deadline);
      return std::make_unique<KeySession>(*this, key, std::move(hold), std::move(lease));
    });
  }

  std::vector<std::string> list(const std::string& prefix) override {
    return sessions_.with(Use::Briefly, deadline(), [&](Lease& lease) {
      return lease.run(Doing::Reading, [&](pqxx::connection& connection) {
        pqxx::nontransaction statement(connection);
        std::vector<std::string> keys;
        for (const auto& row : statement.exec_prepared("list", prefix)) {
          keys.push_back(row[0].as<std::string>());
        }
        return keys;
      });
    });
  }

  std::unique_ptr<Watch> watch() override { return listener_.watch(deadline()); }

  // of a table of Reshuffle's
  std::string encode(const Value& value) const override {
    return options_.reshuffleTable ? toPlainJson(value) : Adapter::encode(value);
  }
  std::optional<Value> decode(std::string_view bytes) const override {
    if (!options_.reshuffleTable) return Adapter::decode(bytes);
    try {
      return fromPlainJson(bytes);
    } catch (const InvalidArgument&) {
      return std::nullopt;
    }
  }
  std::string prefixBelow(const std::string& prefix, std::string_view name) const override {
    if (!options_.reshuffleTable) return Adapter::prefixBelow(prefix, name);
    if (name.find(':') != std::string_view::npos) {
      throw InvalidArgument(fmt::format(
          "namespace {} has a ':', which ends the names of namespaces in a table of Reshuffle's",
          shownKey(name)));
    }
    return fmt::format("{}{}:", prefix, name);
  }
  Revision revisionAfter(const Row* found, std::string_view bytes, Random& random) const override {
    return options_.reshuffleTable ? revisionOf(bytes)
                                   : Adapter::revisionAfter(found, bytes, random);
  }

 private:
  class KeySession final : public Session {
   public:
    KeySession(PostgresqlAdapter& adapter, std::string key, KeyLocks::Hold hold, Lease lease)
        : adapter_(adapter),
          key_(std::move(key)),
          hold_(std::move(hold)),
          lease_(std::move(lease)) {}

    ~KeySession() override {
      try {
        transaction_.reset();         // rolled back, if it was not committed
        if (!lease_.whole()) return;  // the lock is gone
        lease_.run(Doing::Reading, [&](pqxx::connection& connection) {
          pqxx::nontransaction statement(connection);
          if (changed_) {
            statement.exec_prepared("unlockAndTell", adapter_.numberOf(key_), adapter_.channel_);
          } else {
            statement.exec_prepared("unlock", adapter_.numberOf(key_));
          }
        });
      } catch (const std::exception&) {
        lease_.discard();  // which frees the lock too
      }
    }

    std::optional<Row> read() override {
      return lease_.run(Doing::Reading, [&](pqxx::connection& connection) {
        if (adapter_.options_.reshuffleTable) {
          transaction_ = std::make_unique<pqxx::work>(connection);
          return adapter_.rowOf(transaction_->exec_prepared("readLocked", key_));
        }
        pqxx::nontransaction statement(connection);
        return adapter_.rowOf(statement.exec_prepared("read", key_));
      });
    }

    void write(const Row& row) override {
      change([&](pqxx::transaction_base& statement) {
        if (adapter_.options_.reshuffleTable) {
          statement.exec_prepared("write", key_, row.bytes);
        } else {
          statement.exec_prepared("write", key_, binary(row.bytes),
                                  static_cast<std::int64_t>(row.revision.created),
                                  static_cast<std::int64_t>(row.revision.changes));
        }
      });
    }
    void erase() override {
      change([&](pqxx::transaction_base& statement) { statement.exec_prepared("erase", key_); });
    }

   private:
    template <typename Call>
    void change(Call&& call) {
      lease_.checkAlive();
      lease_.run(Doing::Writing, [&](pqxx::connection& connection) {
        if (transaction_) {
          call(*transaction_);
          transaction_->commit();
        } else {
          pqxx::nontransaction statement(connection);
          call(statement);
        }
      });
      changed_ = true;
    }

    PostgresqlAdapter& adapter_;
    const std::string key_;
    const KeyLocks::Hold hold_;  // outlives the lock in the database
    Lease lease_;
    std::unique_ptr<pqxx::work> transaction_;
    bool changed_ = false;
  };

  [[nodiscard]] Deadline deadline() const {
    return std::chrono::steady_clock::now() + options_.lockTimeout;
  }

  /// Advisory locks are numbers that all programs on a database share.
  [[nodiscard]] std::int64_t numberOf(const std::string& key) const {
    return static_cast<std::int64_t>(KeyLocks::numberOf(options_.table + '\0' + key));
  }

  static Revision revisionOf(std::string_view json) { return {hash64(json), 1}; }

  [[nodiscard]] std::optional<Row> rowOf(const pqxx::result& found) const {
    if (found.empty()) return std::nullopt;
    const pqxx::row row = found[0];
    if (options_.reshuffleTable) {
      std::string json = row[0].is_null() ? std::string() : row[0].as<std::string>();
      const Revision revision = revisionOf(json);
      return Row{revision, std::move(json)};
    }
    const pqxx::binarystring bytes(row[0]);
    return Row{{row[1].as<std::uint64_t>(), row[2].as<std::uint64_t>()}, bytes.str()};
  }

  void lockKey(Lease& lease, const std::string& key, Deadline deadline) const {
    lease.run(Doing::Reading, [&](pqxx::connection& connection) {
      const std::int64_t number = numberOf(key);
      {
        pqxx::nontransaction statement(connection);
        if (statement.exec_prepared1("tryLock", number)[0].as<bool>()) return;
      }
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) KeyLocks::throwTimeout(key);
      pqxx::work transaction(connection);  // for SET LOCAL; the lock is the connection's
      transaction.exec(fmt::format("SET LOCAL lock_timeout = {}", left.count()));
      try {
        transaction.exec_prepared("lock", number);
      } catch (const pqxx::sql_error& error) {
        if (error.sqlstate() == "55P03") KeyLocks::throwTimeout(key);
        throw;
      }
      transaction.commit();
    });
  }

  void prepare(pqxx::connection& connection) const {
    pqxx::nontransaction(connection)
        .exec(fmt::format("SET client_encoding = 'UTF8'; SET bytea_output = 'hex'; "
                          "SET default_transaction_isolation = 'read committed'; "
                          "SET lock_timeout = {}; SET tcp_keepalives_idle = 5; "
                          "SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3",
                          options_.lockTimeout.count()));
    const std::string table = quotedName(options_.table);
    connection.prepare("tryLock", "SELECT pg_try_advisory_lock($1)");
    connection.prepare("lock", "SELECT pg_advisory_lock($1)");
    connection.prepare("unlock", "SELECT pg_advisory_unlock($1)");
    connection.prepare("unlockAndTell", "SELECT pg_advisory_unlock($1), pg_notify($2, '')");
    connection.prepare("list", fmt::format("SELECT id FROM {} WHERE id ^@ $1", table));
    connection.prepare("erase", fmt::format("DELETE FROM {} WHERE id = $1", table));
    if (options_.reshuffleTable) {
      const std::string read = fmt::format("SELECT value FROM {} WHERE id = $1", table);
      connection.prepare("read", read);
      connection.prepare("readLocked", read + " FOR UPDATE");
      connection.prepare("write", fmt::format("INSERT INTO {} (id, value) VALUES ($1, $2) "
                                              "ON CONFLICT (id) DO UPDATE SET value = $2",
                                              table));
    } else {
      connection.prepare(
          "read", fmt::format("SELECT value, created, changes FROM {} WHERE id = $1", table));
      connection.prepare("write", fmt::format("INSERT INTO {} (id, value, created, changes) "
                                              "VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE "
                                              "SET value = $2, created = $3, changes = $4",
                                              table));
    }
  }

  /// Refuses another's table before anything is changed. Openers wait for each other.
  void prepareTable(pqxx::connection& connection) const {
    pqxx::work transaction(connection);
    const std::string encoding = transaction.exec1("SHOW server_encoding")[0].as<std::string>();
    if (encoding != "UTF8") {
      throw ConfigurationError(fmt::format(
          "{}: the database's encoding is {}; keys and values need UTF8", place_, encoding));
    }
    transaction.exec_params("SELECT pg_advisory_xact_lock($1)", numberOf(std::string(formatKey)));
    const std::string table = quotedName(options_.table);
    std::set<std::string> columns;
    for (const auto& row : transaction.exec_params(
             "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 "
             "AND NOT attisdropped",
             table)) {
      columns.insert(row[0].as<std::string>());
    }
    const bool ours = columns.contains("created") && columns.contains("changes");
    const bool pair = columns.contains("id") && columns.contains("value");
    if (columns.empty()) {
      createTable(transaction, table);
    } else if (options_.reshuffleTable && (ours || !pair)) {
      throw ConfigurationError(
          fmt::format("{} is none of Reshuffle's, which have the columns id and value: it was not "
                      "touched; name another one, or leave out DatastoreOptions::reshuffleTable",
                      place_));
    } else if (!options_.reshuffleTable) {
      std::optional<std::string> format;
      if (ours && pair) {
        const auto found = transaction.exec_params(
            fmt::format("SELECT value FROM {} WHERE id = $1", table), std::string(formatKey));
        if (!found.empty()) format = pqxx::binarystring(found[0][0]).str();
      }
      checkFormat(format, place_);
    }
    transaction.commit();
  }

  void createTable(pqxx::transaction_base& transaction, const std::string& table) const {
    if (options_.reshuffleTable) {
      transaction.exec(
          fmt::format("CREATE TABLE {} (id varchar PRIMARY KEY, value varchar)", table));
      return;
    }
    transaction.exec(
        fmt::format("CREATE TABLE {} (id varchar COLLATE \"C\" PRIMARY KEY, "
                    "value bytea NOT NULL, created bigint NOT NULL, "
                    "changes bigint NOT NULL)",
                    table));
    transaction.exec_params(fmt::format("INSERT INTO {} VALUES ($1, $2, 0, 0)", table),
                            std::string(formatKey), binary(formatBytes()));
  }

  const std::string place_;
  const DatastoreOptions options_;
  KeyLocks locks_;  // of this process's threads
  PostgresqlSessions sessions_;
  const std::string channel_;
  PostgresqlListener listener_;
};

}  // namespace

std::unique_ptr<Adapter> openPostgresql(const std::string& address,
                                        const DatastoreOptions& options) {
  return std::make_unique<PostgresqlAdapter>(address, options);
}

}  // namespace penstock::state::datastore
