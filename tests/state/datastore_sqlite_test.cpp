// SPDX-License-Identifier: Apache-2.0
// Failures of a Datastore in an SQLite database, and databases that others use too.
#ifdef PENSTOCK_SQLITE
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/datastore_place.h"
#include "support/full_disk.h"
#include "support/message_of.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using penstock::testing::increment;
using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace std::chrono_literals;

/// Another program's connection.
class OtherProgram {
 public:
  explicit OtherProgram(const std::string& file) {
    if (::sqlite3_open(file.c_str(), &database_) != SQLITE_OK) throw std::runtime_error(file);
  }
  ~OtherProgram() { ::sqlite3_close(database_); }
  OtherProgram(const OtherProgram&) = delete;
  OtherProgram& operator=(const OtherProgram&) = delete;

  /// The columns of the last row, joined.
  std::string run(const std::string& sql) {
    std::string said;
    const auto take = [](void* into, int columns, char** values, char**) {
      auto& row = *static_cast<std::string*>(into);
      row.clear();
      for (int i = 0; i < columns; ++i) row += values[i] == nullptr ? "NULL" : values[i];
      return 0;
    };
    if (::sqlite3_exec(database_, sql.c_str(), take, &said, nullptr) != SQLITE_OK) {
      throw std::runtime_error(::sqlite3_errmsg(database_));
    }
    return said;
  }

 private:
  sqlite3* database_ = nullptr;
};

class DatastoreSqlite : public ::testing::Test {
 protected:
  Datastore open(const DatastoreOptions& options = {}) const {
    return Datastore::open("sqlite:" + file_, options);
  }
  TemporaryDirectory directory_;
  std::string file_ = directory_ / "store.db";
};

TEST_F(DatastoreSqlite, ALockOfAnotherProgramIsWaitedForUpToTheTimeout) {
  Datastore store = open({.lockTimeout = 200ms});
  store.set("k", 1);
  OtherProgram other(file_);
  other.run("BEGIN IMMEDIATE");
  EXPECT_THAT(messageOf<LockTimeout>([&] { store.update("k", increment); }), HasSubstr(file_));
  EXPECT_EQ(store.get("k"), Value(1)) << "reading waits for nobody";
  other.run("COMMIT");
  EXPECT_EQ(store.update("k", increment).current, Value(2));
}

TEST_F(DatastoreSqlite, TablesOfOthersStayAsTheyAre) {
  OtherProgram other(file_);
  other.run("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
  Datastore store = open({.table = "theirs too"});
  store.set("k", 1);
  EXPECT_EQ(other.run("SELECT a FROM theirs"), "1");
  EXPECT_EQ(other.run("SELECT count(*) FROM \"theirs too\""), "2");
  EXPECT_EQ(open({.table = "theirs too"}).get("k"), Value(1));
}

TEST_F(DatastoreSqlite, ATableOfAnotherProgramIsRefusedAndNotTouched) {
  OtherProgram other(file_);
  for (const char* columns :
       {"id TEXT PRIMARY KEY, value TEXT", "a",
        "id TEXT PRIMARY KEY, value BLOB, created INTEGER, changes INTEGER"}) {
    other.run(std::string("CREATE TABLE penstock_datastore (") + columns + ")");
    EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)open(); }),
                AllOf(HasSubstr(file_), HasSubstr("penstock_datastore"),
                      HasSubstr("not made by a Datastore")))
        << columns;
    EXPECT_EQ(other.run("PRAGMA journal_mode"), "delete");
    EXPECT_EQ(other.run("SELECT count(*) FROM penstock_datastore"), "0");
    other.run("DROP TABLE penstock_datastore");
  }
}

TEST_F(DatastoreSqlite, ANewerFormatIsRefusedByItsNumber) {
  open().set("k", 1);
  OtherProgram(file_).run(
      "UPDATE penstock_datastore SET value = x'030200000000000000' WHERE id = x'01' || 'format'");
  EXPECT_THAT(messageOf<FormatTooNew>([&] { (void)open(); }), HasSubstr("format 2"));
}

TEST_F(DatastoreSqlite, WhatIsNoDatabaseIsRefusedAndNotTouched) {
  std::ofstream(file_) << std::string(5000, 'x');
  EXPECT_THAT(messageOf<Corruption>([&] { (void)open(); }), HasSubstr(file_));
  std::ostringstream content;
  content << std::ifstream(file_).rdbuf();
  EXPECT_EQ(content.str(), std::string(5000, 'x'));
}

TEST_F(DatastoreSqlite, ADamagedPageIsCorruption) {
  {
    Datastore store = open();
    for (int i = 0; i < 200; ++i) store.set("key" + std::to_string(i), std::string(1000, 'x'));
  }
  {
    std::fstream file(file_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    for (int page = 1; page < 60; ++page) file << std::string(4096, '\x5a');
  }
  EXPECT_THAT(messageOf<Corruption>([&] {
                Datastore store = open();
                for (int i = 0; i < 200; ++i) (void)store.get("key" + std::to_string(i));
              }),
              HasSubstr(file_));
}

TEST_F(DatastoreSqlite, AValueThatNoDatastoreWroteIsRefusedByItsKey) {
  Datastore store = open();
  store.set("k", 1);
  OtherProgram(file_).run("UPDATE penstock_datastore SET value = 'text' WHERE id = 'k'");
  EXPECT_THAT(messageOf<Corruption>([&] { (void)store.get("k"); }),
              AllOf(HasSubstr(file_), HasSubstr("k")));
  store.set("k", 2);
  EXPECT_EQ(store.get("k"), Value(2));
}

TEST_F(DatastoreSqlite, ATableThatIsDroppedMeanwhileIsSaid) {
  Datastore store = open();
  OtherProgram(file_).run("DROP TABLE penstock_datastore");
  EXPECT_THAT(messageOf<ConfigurationError>([&] { store.set("k", 1); }),
              HasSubstr("penstock_datastore"));
}

TEST_F(DatastoreSqlite, AFullDiskRefusesTheChangeAndKeepsTheOldValue) {
  Datastore store = open();
  store.set("k", 1);
  {
    const penstock::testing::FullDisk full(256 << 10);
    EXPECT_THROW(store.set("k", std::string(1 << 20, 'x')), Error);
  }
  EXPECT_EQ(store.get("k"), Value(1));
  EXPECT_EQ(store.update("k", increment).current, Value(2));
}

TEST_F(DatastoreSqlite, FilesAreTheirOwnersAlone) {
  open().set("k", 1);
  for (const char* suffix : {"", "-keys"}) {
    struct stat status {};
    ASSERT_EQ(::stat((file_ + suffix).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U) << suffix;
  }
}

TEST_F(DatastoreSqlite, TwoNamesOfADatabaseShareItsLocks) {
  Datastore store = Datastore::open("sqlite:" + file_);
  std::filesystem::create_symlink(file_, directory_ / "link.db");
  Datastore other = Datastore::open("sqlite:" + (directory_ / "link.db"), {.lockTimeout = 50ms});
  store.update("k", [&](const std::optional<Value>& found) {
    std::thread([&] { EXPECT_THROW(other.update("k", increment), LockTimeout); }).join();
    return increment(found);
  });
  EXPECT_EQ(other.update("k", increment).current, Value(2));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "link.db-keys"));
}

TEST_F(DatastoreSqlite, FilesThatAreReplacedWhileItIsOpenAreSaid) {
  Datastore store = Datastore::open("sqlite:" + file_);
  store.set("k", 1);
  std::filesystem::rename(file_ + "-keys", directory_ / "keys");
  EXPECT_THAT(messageOf<SourceChanged>([&] { store.set("k", 2); }),
              AllOf(HasSubstr(file_ + "-keys: was removed"), HasSubstr("nothing was changed")));
  std::ofstream(file_ + "-keys") << "";
  EXPECT_THAT(messageOf<SourceChanged>([&] { store.update("k", increment); }),
              HasSubstr("replaced by another file"));
  EXPECT_EQ(store.get("k"), Value(1));
  std::filesystem::rename(directory_ / "keys", file_ + "-keys");
  EXPECT_EQ(store.update("k", increment).current, Value(2));

  std::filesystem::rename(file_, directory_ / "moved.db");
  EXPECT_THAT(messageOf<SourceChanged>([&] { store.set("k", 3); }), HasSubstr(file_ + ": was"));
  EXPECT_THROW((void)store.get("k"), SourceChanged);
  std::filesystem::rename(directory_ / "moved.db", file_);
  EXPECT_EQ(store.get("k"), Value(2));
}

// SQLite's own waiting sleeps for longer and longer, so that who comes later goes first.
TEST_F(DatastoreSqlite, WritersOfManyConnectionsTakeTurns) {
  constexpr int writers = 8;
  std::atomic<bool> over{false};
  std::vector<std::future<int>> counts;
  for (int i = 0; i < writers; ++i) {
    counts.push_back(std::async(std::launch::async, [&, i] {
      Datastore store = Datastore::open("sqlite:" + file_);
      const std::string key = "k" + std::to_string(i);
      int count = 0;
      while (!over) {
        store.update(key, increment);
        if (++count == 200) over = true;
      }
      return count;
    }));
  }
  int least = 200;
  for (auto& count : counts) least = std::min(least, count.get());
  EXPECT_GE(least, 40) << "of 200 that another one got";
}

TEST_F(DatastoreSqlite, AMissingDirectoryIsNamed) {
  const std::string missing = directory_ / "missing";
  EXPECT_THAT(messageOf<IoError>([&] { (void)Datastore::open("sqlite:" + missing + "/a.db"); }),
              HasSubstr(missing));
}

}  // namespace
}  // namespace penstock::state
#endif
