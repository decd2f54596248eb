// SPDX-License-Identifier: Apache-2.0
// Failures of a Datastore in a PostgreSQL database, with a real server; and tables of Reshuffle's.
#ifdef PENSTOCK_POSTGRESQL
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>

#include <chrono>
#include <future>
#include <limits>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/datastore_place.h"
#include "support/message_of.h"
#include "support/postgresql_server.h"
#include "support/subprocess.h"

namespace penstock::state {
namespace {

using penstock::testing::eventually;
using penstock::testing::increment;
using penstock::testing::messageOf;
using penstock::testing::PostgresqlServer;
using penstock::testing::Subprocess;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

class DatastorePostgresql : public ::testing::Test {
 protected:
  Datastore open(DatastoreOptions options = {}) {
    options.table = table_;
    return Datastore::open(server_.address(), options);
  }
  Datastore openReshuffle(std::chrono::milliseconds lockTimeout = 10s) {
    return open({.lockTimeout = lockTimeout, .reshuffleTable = true});
  }
  /// Ends the connections of Datastores, as an administrator does. How many there were.
  int endConnections(const std::string& which = "true") {
    return std::stoi(
        server_.sql("SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
                    "WHERE application_name = 'penstock' AND " +
                    which));
  }
  /// A client that holds what `statements` lock until it is killed.
  std::unique_ptr<Subprocess> holding(const std::string& statements) {
    auto client = std::make_unique<Subprocess>(std::vector<std::string>{
        PostgresqlServer::clientProgram(), "-X", "-q", "-d", server_.address()});
    client->write("BEGIN; " + statements + ";\n\\echo held\n");
    EXPECT_TRUE(client->waitForOutput(
        [](const std::string& out) { return out.find("held") != std::string::npos; }));
    return client;
  }
  /// Some connection of a Datastore waits for a lock.
  bool somebodyWaits() {
    return eventually([&] {
      return server_.sql(
                 "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock'"
                 " AND wait_event_type = 'Lock'") != "0\n";
    });
  }

  PostgresqlServer& server_ = PostgresqlServer::running();
  static inline int tables_ = 0;
  std::string table_ = "faults" + std::to_string(++tables_);
};

TEST_F(DatastorePostgresql, AServerThatDiesInTheMiddleOfAnUpdateChangesNothing) {
  Datastore store = open();
  store.set("k", 1);
  EXPECT_THAT(messageOf<Unavailable>([&] {
                store.update("k", [&](const std::optional<Value>& found) {
                  server_.kill9();
                  return increment(found);
                });
              }),
              HasSubstr("nothing was changed"));
  const auto began = steady_clock::now();
  EXPECT_THROW((void)store.get("k"), Unavailable);
  EXPECT_THROW(store.set("k", 2), Unavailable);
  EXPECT_LT(steady_clock::now() - began, 10s);
  server_.start();
  EXPECT_EQ(store.get("k"), Value(1));
  EXPECT_EQ(store.update("k", increment).current, Value(2));
}

TEST_F(DatastorePostgresql, AConnectionThatIsEndedInTheMiddleOfAnUpdateChangesNothing) {
  Datastore store = open();
  Datastore other = open();
  store.set("k", 1);
  EXPECT_THROW(store.update("k",
                            [&](const std::optional<Value>& found) {
                              EXPECT_GT(endConnections(), 0);
                              other.set("k", 10);  // the lock went with the connection
                              return increment(found);
                            }),
               Unavailable);
  EXPECT_EQ(store.get("k"), Value(10));
  EXPECT_EQ(store.update("k", increment).current, Value(11));
}

TEST_F(DatastorePostgresql, AConnectionThatIsLostWhileItWritesLeavesTheOutcomeUnknown) {
  Datastore store = open();
  store.set("k", 1);
  const auto holder = holding("LOCK TABLE " + table_ + " IN EXCLUSIVE MODE");
  auto writing = std::async(std::launch::async, [&] { store.update("k", increment); });
  ASSERT_TRUE(somebodyWaits());
  endConnections("wait_event_type = 'Lock'");
  EXPECT_THAT(messageOf<OutcomeUnknown>([&] { writing.get(); }), HasSubstr("read the key"));
  holder->kill9();
  EXPECT_EQ(store.get("k"), Value(1));
  EXPECT_EQ(store.update("k", increment).current, Value(2));
}

TEST_F(DatastorePostgresql, ConnectionsThatWereLostWhileIdleAreMadeAgain) {
  Datastore store = open();
  store.set("k", 1);
  EXPECT_GT(endConnections(), 0);
  EXPECT_EQ(store.get("k"), Value(1));
  EXPECT_GT(endConnections(), 0);
  EXPECT_EQ(store.update("k", increment).current, Value(2));
  EXPECT_GT(endConnections(), 0);
  EXPECT_THAT(store.list(), ElementsAre("k"));
}

TEST_F(DatastorePostgresql, AWatchSurvivesTheLossOfItsConnection) {
  Datastore store = open();
  auto watching = std::async(std::launch::async, [&] { return store.watch({{"k", {}}}, 60s); });
  ASSERT_TRUE(eventually([&] { return endConnections("query LIKE 'LISTEN%'") > 0; }));
  store.set("k", 1);
  ASSERT_EQ(watching.wait_for(30s), std::future_status::ready);
  EXPECT_EQ(watching.get().at(0).value, Value(1));
}

TEST_F(DatastorePostgresql, AWatchOfADeadServerSaysSo) {
  Datastore store = open();
  auto watching = std::async(std::launch::async, [&] { return store.watch({{"k", {}}}, 60s); });
  ASSERT_TRUE(eventually([&] {
    return server_.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == "1\n";
  }));
  server_.kill9();
  ASSERT_EQ(watching.wait_for(30s), std::future_status::ready);
  EXPECT_THROW(watching.get(), Unavailable);
}

TEST_F(DatastorePostgresql, ARefusedConnectionIsNamedWithinSecondsWithoutThePassword) {
  const std::string directory = server_.address().substr(server_.address().find("host=") + 5);
  const std::string host = "host=" + directory.substr(0, directory.find('&'));
  const std::map<std::string, std::string> wrong{
      {"postgresql://locked:secretly@/postgres?" + host, "password authentication failed"},
      {"postgresql://locked@/postgres?" + host, "no password supplied"},
      {"postgresql:///postgres?" + host + "&user=locked&password=secretly", "failed"},
      {server_.address("nobody-there"), "\"nobody-there\" does not exist"},
      {server_.address("penstock", "nowhere"), "database \"nowhere\" does not exist"},
      {server_.address() + "&nonsense=1", "nonsense"}};
  for (const auto& [address, why] : wrong) {
    const auto began = steady_clock::now();
    EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)Datastore::open(address); }),
                AllOf(HasSubstr(why), Not(HasSubstr("secretly"))));
    EXPECT_LT(steady_clock::now() - began, 5s);
  }
  EXPECT_NO_THROW(
      (void)Datastore::open("postgresql://locked:right@/postgres?" + host, {.table = table_}))
      << "hence the password was what was wrong";
}

TEST_F(DatastorePostgresql, NamesInAnErrorDoNotDecideWhatItIs) {
  const penstock::testing::TemporaryDirectory empty;
  EXPECT_THROW((void)Datastore::open("postgresql:///invalid?host=" + empty.path()), Unavailable);
  EXPECT_THROW((void)Datastore::open("postgresql://u@nohost.invalid/db"), Unavailable);
  EXPECT_THROW((void)Datastore::open(server_.address("penstock", "recovery")), ConfigurationError);
}

TEST_F(DatastorePostgresql, PasswordsAreNotShownHoweverTheyAreWritten) {
  for (const char* address :
       {"postgresql://u:pa?secretly@127.0.0.1:1/db", "postgresql://u:pa/secretly@127.0.0.1:1/db",
        "postgresql://u@127.0.0.1:1/db?pass%77ord=secretly",
        "postgresql://u@127.0.0.1:1/db?a=b&password=secretly"}) {
    EXPECT_THAT(messageOf<Error>([&] { (void)Datastore::open(address); }),
                Not(HasSubstr("secretly")))
        << address;
  }
}

TEST_F(DatastorePostgresql, AServerThatIsNotThereIsUnavailable) {
  const penstock::testing::TemporaryDirectory empty;
  EXPECT_THAT(messageOf<Unavailable>(
                  [&] { (void)Datastore::open("postgresql:///postgres?host=" + empty.path()); }),
              HasSubstr(empty.path()));
}

TEST_F(DatastorePostgresql, AMissingPermissionIsNamed) {
  const std::string reader = server_.address("reader");
  EXPECT_THAT(
      messageOf<ConfigurationError>([&] { (void)Datastore::open(reader, {.table = table_}); }),
      HasSubstr("permission denied"));
  open().set("k", 1);
  server_.sql("GRANT SELECT ON " + table_ + " TO reader");
  Datastore store = Datastore::open(reader, {.table = table_});
  EXPECT_EQ(store.get("k"), Value(1));
  EXPECT_THAT(messageOf<ConfigurationError>([&] { store.set("k", 2); }),
              HasSubstr("permission denied"));
  EXPECT_EQ(store.get("k"), Value(1));
}

TEST_F(DatastorePostgresql, ReadersFindAConnectionWhileUpdatesHoldTheirs) {
  Datastore store = open({.lockTimeout = 500ms});
  constexpr std::size_t more = 20;  // than may be held
  std::promise<void> leave;
  const auto left = leave.get_future().share();
  std::vector<std::future<bool>> updates;
  for (std::size_t i = 0; i < more; ++i) {
    updates.push_back(std::async(std::launch::async, [&, i] {
      try {
        store.update("key" + std::to_string(i), [&](const std::optional<Value>& found) {
          left.wait();
          return increment(found);
        });
        return true;
      } catch (const Unavailable& error) {
        EXPECT_THAT(error.what(), HasSubstr("no connection of 16"));
        return false;
      }
    }));
  }
  const auto done = [](std::future<bool>& update) {
    return update.wait_for(0s) == std::future_status::ready;
  };
  EXPECT_TRUE(eventually([&] { return std::count_if(updates.begin(), updates.end(), done) == 8; }));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(store.get("key0"), std::nullopt);
  leave.set_value();
  std::size_t made = 0;
  for (auto& update : updates) made += update.get() ? 1 : 0;
  EXPECT_EQ(made, 12U);
  EXPECT_EQ(store.list().size(), 12U);
}

TEST_F(DatastorePostgresql, ATableOfAnotherProgramIsRefusedAndNotTouched) {
  for (const char* columns :
       {"id varchar PRIMARY KEY, value varchar", "a int",
        "id varchar PRIMARY KEY, value bytea, created bigint, changes bigint"}) {
    server_.sql("CREATE TABLE " + table_ + " (" + columns + ")");
    EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)open(); }),
                AllOf(HasSubstr(table_), HasSubstr("not made by a Datastore")))
        << columns;
    EXPECT_EQ(server_.sql("SELECT count(*) FROM " + table_), "0\n");
    server_.sql("DROP TABLE " + table_);
  }
}

TEST_F(DatastorePostgresql, ANewerFormatIsRefusedByItsNumber) {
  (void)open();
  server_.sql("UPDATE " + table_ + " SET value = '\\x030200000000000000'");
  EXPECT_THAT(messageOf<FormatTooNew>([&] { (void)open(); }), HasSubstr("format 2"));
}

TEST_F(DatastorePostgresql, AValueThatNoDatastoreWroteIsRefusedByItsKey) {
  Datastore store = open();
  store.set("k", 1);
  server_.sql("UPDATE " + table_ + " SET value = '\\x2a' WHERE id = 'k'");
  EXPECT_THAT(messageOf<Corruption>([&] { (void)store.get("k"); }), HasSubstr("key \"k\""));
  store.set("k", 2);
  EXPECT_EQ(store.get("k"), Value(2));
}

TEST_F(DatastorePostgresql, ADatabaseOfAnotherEncodingIsRefused) {
  server_.sql("CREATE DATABASE latin ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'");
  EXPECT_THAT(messageOf<ConfigurationError>(
                  [&] { (void)Datastore::open(server_.address("penstock", "latin")); }),
              HasSubstr("SQL_ASCII"));
}

// Tables of Reshuffle's

TEST_F(DatastorePostgresql, ATableOfReshufflesIsReadAndWrittenAsItDoes) {
  server_.sql("CREATE TABLE IF NOT EXISTS " + table_ + " (id VARCHAR PRIMARY KEY, value VARCHAR)");
  server_.sql("INSERT INTO " + table_ +
              " VALUES ('count', '5'), ('big', '1152921504606846976'), ('huge', "
              "'123456789012345678901234567890'), ('Svc:abc:seen', '{\"b\":[1.5,null,\"\\u00e4\"],"
              "\"$double\":\"NaN\"}')");
  Datastore store = openReshuffle();
  EXPECT_EQ(store.get("count"), Value(5));
  EXPECT_EQ(store.get("big"), Value(1152921504606846976.0));
  EXPECT_EQ(store.get("huge"), Value(123456789012345678901234567890.0));
  const Value seen = ValueMap{{"b", Value::List{1.5, nullptr, "\xc3\xa4"}}, {"$double", "NaN"}};
  Datastore space = store.namespace_("Svc").namespace_("abc");
  EXPECT_EQ(space.get("seen"), seen);
  EXPECT_THAT(space.list(), ElementsAre("seen"));
  EXPECT_THAT(store.list("b"), ElementsAre("big"));
  EXPECT_THROW((void)store.namespace_("a:b"), InvalidArgument);

  EXPECT_EQ(store.update("count", increment).current, Value(6));
  space.set("set", Value::List{1, "a\"b", true, ValueMap{{"$binary", "x"}}});
  const std::string values = "SELECT value FROM " + table_ + " WHERE id = ";
  EXPECT_EQ(server_.sql(values + "'count'"), "6\n");
  EXPECT_EQ(server_.sql(values + "'Svc:abc:set'"), "[1,\"a\\\"b\",true,{\"$binary\":\"x\"}]\n");
  EXPECT_TRUE(store.remove("big"));
  EXPECT_EQ(server_.sql(values + "'big'"), "");
  EXPECT_EQ(server_.sql("SELECT count(*) FROM information_schema.columns WHERE table_name = '" +
                        table_ + "'"),
            "2\n");
}

TEST_F(DatastorePostgresql, WhatJavascriptCannotReadExactlyIsRefusedByName) {
  Datastore store = openReshuffle();
  const std::int64_t most = std::int64_t{1} << 53;
  store.set("k", most);
  EXPECT_EQ(store.get("k"), Value(most));
  const std::vector<std::pair<Value, std::string>> wrong{
      {most + 1, "9007199254740993, which is beyond 2^53"},
      {-most - 1, "beyond 2^53"},
      {std::numeric_limits<double>::quiet_NaN(), "NaN"},
      {-std::numeric_limits<double>::infinity(), "an infinity"},
      {Binary{std::byte{1}}, "binary"},
      {"\xff", "not UTF-8"},
      {Value::List{1, ValueMap{{"a", Binary{}}}}, "binary"}};
  for (const auto& [value, why] : wrong) {
    EXPECT_THAT(messageOf<InvalidArgument>([&] { store.set("k", value); }), HasSubstr(why));
  }
  EXPECT_EQ(store.get("k"), Value(most));
  server_.sql("UPDATE " + table_ + " SET value = '{no json'");
  EXPECT_THROW((void)store.get("k"), Corruption);
  server_.sql("UPDATE " + table_ + " SET value = NULL");
  EXPECT_THROW((void)store.get("k"), Corruption);
}

TEST_F(DatastorePostgresql, UpdatesOfReshufflesAndOursWaitForEachOther) {
  Datastore store = openReshuffle(300ms);
  store.set("k", 1);
  const auto other = holding("SELECT value FROM " + table_ + " WHERE id = 'k' FOR UPDATE");
  EXPECT_THROW(store.update("k", increment), LockTimeout);
  EXPECT_EQ(store.get("k"), Value(1));
  other->write("UPDATE " + table_ + " SET value = '7' WHERE id = 'k'; COMMIT;\n\\echo done\n");
  ASSERT_TRUE(other->waitForOutput(
      [](const std::string& out) { return out.find("done") != std::string::npos; }));
  const DatastoreUpdate done = store.update("k", [&](const std::optional<Value>& found) {
    EXPECT_THROW(server_.sql("SET lock_timeout = 200; UPDATE " + table_ + " SET value = '9'"),
                 std::runtime_error);
    return increment(found);
  });
  EXPECT_EQ(done.current, Value(8));
  EXPECT_EQ(server_.sql("SELECT value FROM " + table_), "8\n");
}

TEST_F(DatastorePostgresql, AChangeByReshuffleWakesAWatchWithinSeconds) {
  Datastore store = openReshuffle();
  auto watching = std::async(std::launch::async, [&] { return store.watch({{"k", {}}}, 60s); });
  ASSERT_EQ(watching.wait_for(50ms), std::future_status::timeout);
  server_.sql("INSERT INTO " + table_ + " VALUES ('k', 'true')");
  ASSERT_EQ(watching.wait_for(10s), std::future_status::ready);
  EXPECT_EQ(watching.get().at(0).value, Value(true));
}

TEST_F(DatastorePostgresql, ATableOfOursIsNoneOfReshuffles) {
  (void)open();
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)openReshuffle(); }),
              HasSubstr("none of Reshuffle's"));
}

}  // namespace
}  // namespace penstock::state
#endif
