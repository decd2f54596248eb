// SPDX-License-Identifier: Apache-2.0

// Datastore::update of counters, on every adapter, by one thread and by eight with a key each.
// Beside SQLite and PostgreSQL the bare SQL of the same shape, with the library that the adapter
// uses: a connection for each thread, prepared statements, the same table, the same settings.
//
//   SQLite      SELECT; INSERT ... ON CONFLICT DO UPDATE, WAL, synchronous = FULL
//   PostgreSQL  pg_advisory_lock; SELECT; INSERT ... ON CONFLICT DO UPDATE; pg_advisory_unlock
//
// The systems take turns, five rounds each; what was counted is checked. Figures are medians,
// spread is (max - min) / median; only ratios carry over to another machine.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <penstock/state/datastore.h>
#include <penstock/state/detail/stored.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <pqxx/pqxx>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/postgresql_server.h"
#include "tests/support/temporary_directory.h"

namespace penstock::bench {
namespace {

using state::Datastore;
using state::Value;
using testing::PostgresqlServer;

constexpr int rounds = 5;
constexpr std::chrono::milliseconds roundTime{1000};

std::string keyOf(int thread) { return fmt::format("counter-{}", thread); }

/// Adds one to a counter; each thread has one of its own.
class Counting {
 public:
  Counting() = default;
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;
  virtual ~Counting() = default;
  virtual void addOne(const std::string& key) = 0;
  virtual std::int64_t read(const std::string& key) = 0;
};
using Maker = std::function<std::unique_ptr<Counting>()>;

class OurCounting final : public Counting {
 public:
  explicit OurCounting(Datastore store) : store_(std::move(store)) {}
  void addOne(const std::string& key) override {
    store_.update(key, [](const std::optional<Value>& found) {
      return std::optional<Value>(found ? found->asInt64() + 1 : 1);
    });
  }
  std::int64_t read(const std::string& key) override {
    const auto found = store_.get(key);
    return found ? found->asInt64() : 0;
  }

 private:
  Datastore store_;
};

std::string encoded(std::int64_t count) {
  std::string bytes;
  state::detail::Stored<std::int64_t>::encode(count, bytes);
  return bytes;
}

std::int64_t decoded(std::string bytes) {
  std::int64_t count = 0;
  (void)state::detail::Stored<std::int64_t>::decode(bytes, count);
  return count;
}

class BareSqlite final : public Counting {
 public:
  explicit BareSqlite(const std::string& file)
      : database_(file, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE, 10'000) {
    database_.exec("PRAGMA journal_mode = WAL");
    database_.exec("PRAGMA synchronous = FULL");
    database_.exec(
        "CREATE TABLE IF NOT EXISTS bare (id TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, "
        "created INTEGER NOT NULL, changes INTEGER NOT NULL)");
    select_ = std::make_unique<SQLite::Statement>(
        database_, "SELECT created, changes, value FROM bare WHERE id = ?");
    write_ = std::make_unique<SQLite::Statement>(
        database_,
        "INSERT INTO bare (id, value, created, changes) VALUES (?, ?, 1, 1) ON CONFLICT (id) DO "
        "UPDATE SET value = excluded.value, created = excluded.created, changes = "
        "excluded.changes");
  }
  void addOne(const std::string& key) override {
    const std::string bytes = encoded(read(key) + 1);
    write_->bind(1, key);
    write_->bind(2, bytes.data(), static_cast<int>(bytes.size()));
    write_->exec();
    write_->reset();
  }
  std::int64_t read(const std::string& key) override {
    select_->bind(1, key);
    std::int64_t count = 0;
    if (select_->executeStep()) {
      const auto value = select_->getColumn(2);
      count = decoded(
          {static_cast<const char*>(value.getBlob()), static_cast<std::size_t>(value.getBytes())});
    }
    select_->reset();
    return count;
  }

 private:
  SQLite::Database database_;
  std::unique_ptr<SQLite::Statement> select_;
  std::unique_ptr<SQLite::Statement> write_;
};

class BarePostgresql final : public Counting {
 public:
  explicit BarePostgresql(const std::string& address) : connection_(address) {
    pqxx::nontransaction(connection_)
        .exec(
            "SET client_min_messages = error; CREATE TABLE IF NOT EXISTS bare (id varchar COLLATE "
            "\"C\" PRIMARY KEY, value bytea NOT NULL, created bigint NOT NULL, changes bigint NOT "
            "NULL)");
    connection_.prepare("lock", "SELECT pg_advisory_lock($1)");
    connection_.prepare("unlock", "SELECT pg_advisory_unlock($1)");
    connection_.prepare("read", "SELECT value, created, changes FROM bare WHERE id = $1");
    connection_.prepare("write",
                        "INSERT INTO bare (id, value, created, changes) VALUES ($1, $2, 1, 1) ON "
                        "CONFLICT (id) DO UPDATE SET value = $2, created = 1, changes = 1");
  }
  void addOne(const std::string& key) override {
    const auto number = static_cast<std::int64_t>(std::hash<std::string>()(key) >> 2);
    pqxx::nontransaction statement(connection_);
    statement.exec_prepared("lock", number);
    const std::string bytes = encoded(count(statement, key) + 1);
    statement.exec_prepared("write", key, pqxx::binarystring(bytes));
    statement.exec_prepared("unlock", number);
  }
  std::int64_t read(const std::string& key) override {
    pqxx::nontransaction statement(connection_);
    return count(statement, key);
  }

 private:
  static std::int64_t count(pqxx::nontransaction& statement, const std::string& key) {
    const auto found = statement.exec_prepared("read", key);
    return found.empty() ? 0 : decoded(pqxx::binarystring(found[0][0]).str());
  }
  pqxx::connection connection_;
};

/// Updates in a second by `threads`, with a key each.
double updatesPerSecond(const Maker& make, int threads) {
  std::vector<std::unique_ptr<Counting>> counting;
  std::vector<std::int64_t> before;
  for (int i = 0; i < threads; ++i) {
    counting.push_back(make());
    counting.back()->addOne(keyOf(i));  // whatever is done once
    before.push_back(counting.back()->read(keyOf(i)));
  }
  std::vector<std::int64_t> added(static_cast<std::size_t>(threads));
  std::vector<std::thread> workers;
  const auto began = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < counting.size(); ++i) {
    workers.emplace_back([&, i] {
      const std::string key = keyOf(static_cast<int>(i));
      while (std::chrono::steady_clock::now() - began < roundTime) {
        counting[i]->addOne(key);
        ++added[i];
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < counting.size(); ++i) {
    if (counting[i]->read(keyOf(static_cast<int>(i))) != before[i] + added[i]) {
      throw std::runtime_error("updates were lost");
    }
    sum += added[i];
  }
  return static_cast<double>(sum) / took.count();
}

struct System {
  std::string name;
  Maker make;
  std::vector<double> figures;

  [[nodiscard]] double median() const {
    std::vector<double> sorted = figures;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

/// `bareOf`: the index of the system that a system stands on, or -1.
void compare(int threads, std::vector<System> systems, const std::vector<int>& bareOf) {
  for (int round = 0; round < rounds; ++round) {
    for (System& system : systems) {
      system.figures.push_back(updatesPerSecond(system.make, threads));
    }
  }
  fmt::print("\nupdate, {} thread{}, a key each, per second\n", threads, threads == 1 ? "" : "s");
  for (std::size_t i = 0; i < systems.size(); ++i) {
    const auto& [name, make, figures] = systems[i];
    const auto [least, most] = std::minmax_element(figures.begin(), figures.end());
    const double median = systems[i].median();
    fmt::print("  {:<24}{:>10.0f}   spread {:>4.0f} %", name, median,
               100 * (*most - *least) / median);
    if (bareOf[i] >= 0) {
      const System& bare = systems[static_cast<std::size_t>(bareOf[i])];
      fmt::print("   {:.2f} x {} (goal 0.70)", median / bare.median(), bare.name);
    }
    fmt::print("\n");
  }
  std::fflush(stdout);
}

void run() {
  const testing::TemporaryDirectory directory;
  PostgresqlServer server(PostgresqlServer::Disk::Synced);
  const auto ours = [](const std::string& address) {
    return [store = Datastore::open(address)] { return std::make_unique<OurCounting>(store); };
  };
  const std::string database = directory / "store.db";
  const std::string bareDatabase = directory / "bare.db";
  const std::vector<System> systems{
      {"memory", ours("memory:"), {}},
      {"file", ours("file:" + (directory / "store")), {}},
      {"SQLite", ours("sqlite:" + database), {}},
      {"bare SQLite", [&] { return std::make_unique<BareSqlite>(bareDatabase); }, {}},
      {"PostgreSQL", ours(server.address()), {}},
      {"bare PostgreSQL", [&] { return std::make_unique<BarePostgresql>(server.address()); }, {}}};
  for (const int threads : {1, 8}) compare(threads, systems, {-1, -1, 3, -1, 5, -1});
}

}  // namespace
}  // namespace penstock::bench

int main() {
  try {
    penstock::bench::run();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "datastore_bench: {}\n", error.what());
    return 1;
  }
}
