// SPDX-License-Identifier: Apache-2.0
// What every engine promises, in every durability: the same answers, the same order, the same
// refusals. Where engines differ (memory forgets, a database is a directory), it is said here too.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <penstock/state/backup.h>
#include <penstock/state/inspect.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/state/repair.h>
#include <penstock/state/verify.h>
#include <array>
#include <boost/filesystem/operations.hpp>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "database.h"
#include "support/temporary_directory.h"
#include "support/test_seed.h"

namespace penstock::state {
namespace {

using penstock::testing::TemporaryDirectory;
using Content = std::map<std::string, std::string>;

std::vector<Engine> engines() {
  std::vector<Engine> all{Engine::File, Engine::Memory};
#ifdef PENSTOCK_ROCKSDB
  all.push_back(Engine::RocksDb);
#endif
  return all;
}

struct Contract {
  Engine engine = Engine::File;
  Durability durability = Durability::Synced;
};

class EngineContract : public ::testing::TestWithParam<Contract> {
 protected:
  [[nodiscard]] Engine engine() const { return GetParam().engine; }
  [[nodiscard]] const Environment& environment() const {
    return engine() == Engine::Memory ? Environment::memory() : Environment::real();
  }
  /// Small, so that the background thread takes part.
  [[nodiscard]] static JournalOptions smallOptions() {
    JournalOptions options;
    options.segmentBytes = 64 * 1024;
    options.snapshotAfterBytes = 32 * 1024;
    return options;
  }
  [[nodiscard]] std::shared_ptr<Journal> openJournal() const {
    return Journal::open(directory_.path(), smallOptions(), environment());
  }
  [[nodiscard]] LocalFileStorage openStorage() const {
    LocalFileStorageOptions options;
    options.engine = engine();
    options.durability = GetParam().durability;
    return LocalFileStorage(directory_.path(), options);
  }

  void snapshotAll() const {
    const auto journal = openJournal();
    for (const StoreInfo& store : journal->stores()) journal->snapshotStore(store.id);
  }

  TemporaryDirectory directory_;
};

std::string nameOf(const ::testing::TestParamInfo<Contract>& info) {
  return std::string(toString(info.param.engine)) +
         (info.param.durability == Durability::Synced ? "Synced" : "Buffered");
}

std::vector<Contract> contracts() {
  std::vector<Contract> all;
  for (const Engine engine : engines()) {
    all.push_back({engine, Durability::Synced});
    all.push_back({engine, Durability::Buffered});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(AllEngines, EngineContract, ::testing::ValuesIn(contracts()), nameOf);

Content contentOf(const Store& store) {
  Content content;
  for (StoreCursor at = store.cursor(); at.valid(); at.next()) {
    EXPECT_TRUE(content.emplace(at.key(), at.value()).second) << at.key() << " came twice";
  }
  return content;
}

void expectSame(const Store& store, const Content& expected, std::mt19937_64& random) {
  ASSERT_TRUE(contentOf(store) == expected) << "other content";  // too much to print
  EXPECT_EQ(store.size(), expected.size());
  for (int i = 0; i < 50; ++i) {
    const std::string key = std::to_string(random() % 2000);
    std::string value = "<absent>";
    EXPECT_EQ(store.get(key, value), expected.contains(key));
    const auto at = expected.find(key);
    EXPECT_EQ(value, at == expected.end() ? "<absent>" : at->second) << key;
    EXPECT_EQ(store.contains(key), at != expected.end());
  }
  Content found;
  store.scanPrefix("12", [&](std::string_view key, std::string_view value) {
    found.emplace(key, value);
    return true;
  });
  EXPECT_TRUE(found == Content(expected.lower_bound("12"), expected.lower_bound("13")));
}

// A model, with snapshots, views and openings in between.
TEST_P(EngineContract, RandomOperationsAreThoseOfAMap) {
  const std::uint64_t seed = penstock::testing::testSeed();
  std::mt19937_64 random(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  Content model;
  auto journal = openJournal();
  StoreId id = journal->declareStore("content", engine());
  auto store = journal->store(id);
  struct View {
    std::shared_ptr<const Store> store;
    Content content;
  };
  std::vector<View> views;
  for (int round = 0; round < 60; ++round) {
    Commit commit;
    for (int i = 0; i < 200; ++i) {
      const std::string key = std::to_string(random() % 2000);
      const std::uint64_t what = random() % 100;
      if (what < 70) {
        std::string value(random() % 60, static_cast<char>('a' + random() % 26));
        commit.put(id, key, value);
        model[key] = value;
      } else if (what < 98) {
        commit.erase(id, key);
        model.erase(key);
      } else if (what < 99) {
        const std::string prefix = key.substr(0, 2);
        commit.erasePrefix(id, prefix);
        std::erase_if(model, [&](const auto& item) { return item.first.starts_with(prefix); });
      } else if (random() % 20 == 0) {
        commit.clear(id);
        model.clear();
      }
    }
    (void)journal->commit(commit, GetParam().durability);
    if (random() % 4 == 0) journal->snapshotStore(id);
    if (random() % 4 == 0) (void)journal->clean();
    if (random() % 5 == 0) views.push_back({store->view(), model});
    if (round % 6 == 0) expectSame(*store, model, random);
    if (round % 20 == 19) {
      for (const View& view : views) expectSame(*view.store, view.content, random);
      views.clear();
      store.reset();
      journal.reset();
      if (engine() == Engine::Memory) model.clear();  // nobody had it any more
      journal = openJournal();
      id = journal->declareStore("content");  // the engine is remembered
      store = journal->store(id);
      expectSame(*store, model, random);
    }
  }
}

TEST_P(EngineContract, TypedValuesRoundTrip) {
  LocalFileStorage storage = openStorage();
  const std::vector<std::byte> bytes{std::byte{0}, std::byte{255}};
  storage.set("long", std::numeric_limits<std::int64_t>::min());
  storage.set("double", -0.0);
  storage.set("string", std::string());
  storage.set("binary", bytes);
  storage.set("bool", true);
  const auto check = [&] {
    EXPECT_EQ(storage.getLong("long"), std::numeric_limits<std::int64_t>::min());
    EXPECT_TRUE(std::signbit(storage.getDouble("double")));
    EXPECT_EQ(storage.getString("string"), "");
    EXPECT_EQ(storage.getBinary("binary"), bytes);
    EXPECT_TRUE(storage.getBool("bool"));
  };
  check();
  snapshotAll();
  check();
}

TEST_P(EngineContract, BatchesAreWholeAndSubStoragesApart) {
  LocalFileStorage storage = openStorage();
  LocalFileStorage sub = storage.subStorage("sub");
  Batch batch = storage.batch();
  batch.set("a", std::int64_t{1});
  batch.set("b", std::string("two"));
  storage.write(batch);
  sub.set("a", std::int64_t{10});
  EXPECT_EQ(storage.get<std::int64_t>("a"), 1);
  EXPECT_EQ(sub.get<std::int64_t>("a"), 10);
  EXPECT_EQ(storage.getAllKeys(), (std::vector<std::string>{"a", "b"}));
  EXPECT_THROW((void)storage.get<double>("a"), TypeMismatch);
  EXPECT_THROW((void)storage.get<double>("c"), KeyNotFound);
  const auto updated = storage.update<std::int64_t>(
      "a", [](const std::optional<std::int64_t>& old) { return old.value_or(0) + 1; });
  EXPECT_EQ(updated.current, 2);
  storage.setAsync("later", std::int64_t{3}).get();
  EXPECT_EQ(storage.getLong("later"), 3);
  storage.clear();
  EXPECT_TRUE(storage.getAllKeys().empty());
  EXPECT_TRUE(sub.getAllKeys().empty());
}

TEST_P(EngineContract, WhatHasExpiredIsAbsentAndLeavesWithASnapshot) {
  LocalFileStorage storage = openStorage();
  const auto journal = openJournal();
  const StoreId id = journal->stores().front().id;
  storage.set("stays", std::int64_t{1});
  storage.set("goes", std::int64_t{2}, {.ttl = std::chrono::milliseconds(1)});
  while (storage.containsKey("goes")) std::this_thread::yield();
  journal->snapshotStore(id);
  EXPECT_EQ(journal->store(id)->size(), 1U);
  EXPECT_EQ(storage.getAllKeys(), std::vector<std::string>{"stays"});
}

TEST_P(EngineContract, StaysWhereItSaysItDoes) {
  {
    LocalFileStorage storage = openStorage();
    storage.set("count", std::int64_t{42});
    snapshotAll();
    storage.set("more", std::int64_t{43});
  }
  LocalFileStorage again = openStorage();
  EXPECT_EQ(again.containsKey("count"), engine() != Engine::Memory);
  EXPECT_EQ(again.containsKey("more"), engine() != Engine::Memory);
  const bool onDisk = !boost::filesystem::is_empty(directory_.path());
  EXPECT_EQ(onDisk, engine() != Engine::Memory);
}

TEST_P(EngineContract, RefusesKeysBeyondTheLimits) {
  LocalFileStorage storage = openStorage();
  EXPECT_THROW(storage.set("", std::int64_t{1}), InvalidArgument);
  EXPECT_THROW(storage.set(std::string(64 * 1024 + 1, 'k'), std::int64_t{1}), InvalidArgument);
  const std::string longest(64 * 1024, 'k');
  storage.set(longest, std::string("\0\xff", 2));
  snapshotAll();
  EXPECT_EQ(storage.getString(longest), std::string("\0\xff", 2));
  storage.set(std::string("\0", 1), std::int64_t{1});  // the smallest
  snapshotAll();
  EXPECT_EQ(storage.getAllKeys().front(), std::string("\0", 1));
}

#ifdef PENSTOCK_ROCKSDB

class DatabaseStore : public ::testing::Test {
 protected:
  [[nodiscard]] std::string databasePath() const {
    for (const auto& entry : boost::filesystem::directory_iterator(directory_.path())) {
      if (entry.path().extension() == ".rocksdb") return entry.path().string();
    }
    return {};
  }
  [[nodiscard]] std::shared_ptr<Journal> open() const { return Journal::open(directory_.path()); }
  /// Larger commits seal a segment; nothing is done in the background.
  [[nodiscard]] std::shared_ptr<Journal> openAlone() const {
    JournalOptions options;
    options.segmentBytes = 4096;
    Environment environment = Environment::real();
    environment.threads = false;
    return Journal::open(directory_.path(), options, environment);
  }
  /// Keys 0 to 999 in the database, 1000 in the journal only.
  void write() {
    const auto journal = open();
    const StoreId id = journal->declareStore("large", Engine::RocksDb);
    Commit commit;
    for (int i = 0; i < 1000; ++i) commit.put(id, std::to_string(i), std::string(100, 'v'));
    (void)journal->commit(commit);
    const auto store = journal->store(id);
    journal->snapshotStore(id);
    commit.put(id, "1000", "newest");
    (void)journal->commit(commit);
  }
  static void damageTables(const std::string& database) {
    for (const auto& entry : boost::filesystem::directory_iterator(database)) {
      if (entry.path().extension() != ".sst") continue;
      std::fstream file(entry.path().string(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file << "damage";
    }
  }
  /// What a crash would leave, beside a database that may be ahead of it.
  [[nodiscard]] std::string crashed() const {
    std::string copy = directory_ / "crashed";
    boost::filesystem::create_directory(copy);
    for (const auto& entry : boost::filesystem::directory_iterator(directory_.path())) {
      if (boost::filesystem::is_regular_file(entry)) {
        boost::filesystem::copy_file(entry, copy / entry.path().filename());
      }
    }
    return copy;
  }
  /// The frame with that text in it.
  static void damageFrame(const std::string& directory, const std::string& text) {
    for (const auto& entry : boost::filesystem::directory_iterator(directory)) {
      if (entry.path().extension() != ".log") continue;
      std::fstream file(entry.path().string(), std::ios::in | std::ios::out | std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(file)), {});
      const std::size_t at = bytes.find(text);
      if (at == std::string::npos) continue;
      file.seekp(static_cast<std::streamoff>(at));
      file.put('~');
      return;
    }
    FAIL() << "no segment in " << directory << " has " << text;
  }
  static std::uint64_t keysIn(const std::string& directory) {
    const auto journal = Journal::open(directory);
    return journal->store(journal->findStore("large").value())->size();
  }

  TemporaryDirectory directory_;
};

TEST_F(DatabaseStore, IsVerifiedInspectedAndBackedUp) {
  write();
  EXPECT_TRUE(verifyJournal(directory_.path()).sound());
  const JournalDescription found = inspectJournal(directory_.path());
  EXPECT_EQ(found.stores.front().engine, Engine::RocksDb);
  EXPECT_EQ(found.stores.front().keys, 1001U);
  EXPECT_GT(found.stores.front().snapshotBytes, 1000U);
  const std::string copy = directory_ / "copy";
  const auto journal = open();
  (void)backup(*journal, copy);
  EXPECT_TRUE(verifyJournal(copy).sound());
  EXPECT_EQ(keysIn(copy), 1001U);
}

TEST_F(DatabaseStore, ABackupThatIsGivenUpLeavesNothingOfIt) {
  write();
  const std::string copy = directory_ / "copy";
  const auto journal = open();
  BackupOptions options;
  options.progress = [&](const BackupProgress&) {
    for (const auto& entry : boost::filesystem::directory_iterator(copy)) {
      if (boost::filesystem::is_directory(entry.path())) throw std::runtime_error("enough");
    }
  };
  EXPECT_THROW((void)backup(*journal, copy, options), std::runtime_error);
  EXPECT_TRUE(boost::filesystem::is_empty(copy));
}

TEST_F(DatabaseStore, DamageIsNamedAndRefused) {
  write();
  damageTables(databasePath());
  const VerifyReport report = verifyJournal(directory_.path());
  ASSERT_EQ(report.damages.size(), 1U);
  EXPECT_EQ(report.damages.front().file, databasePath());
  EXPECT_EQ(report.damages.front().stores, std::vector<std::string>{"large"});
  EXPECT_THROW((void)keysIn(directory_.path()), Corruption);
}

TEST_F(DatabaseStore, DamageIsNamedAlsoWhileItIsInUse) {
  write();
  const auto journal = open();
  damageTables(databasePath());
  const VerifyReport report = verifyJournal(directory_.path());
  EXPECT_EQ(report.use, DirectoryUse::Exclusive);
  ASSERT_EQ(report.damages.size(), 1U);
  EXPECT_EQ(report.damages.front().file, databasePath());
}

TEST_F(DatabaseStore, WithoutItsFilesIsNamedAsThat) {
  write();
  for (const auto& entry : boost::filesystem::directory_iterator(databasePath())) {
    boost::filesystem::remove(entry.path());
  }
  const VerifyReport report = verifyJournal(directory_.path());
  ASSERT_EQ(report.damages.size(), 1U);
  EXPECT_EQ(report.damages.front().file, databasePath());
  EXPECT_EQ(report.damages.front().stores, std::vector<std::string>{"large"});
  EXPECT_NE(report.damages.front().text.find("opening the database"), std::string::npos)
      << report.damages.front().text;
}

TEST_F(DatabaseStore, OfAnotherTimeOrPlaceIsRefused) {
  write();
  const std::string older = directory_ / "older";
  const std::string database = databasePath();
  boost::filesystem::rename(database, older);
  EXPECT_THROW((void)open(), Corruption);  // it is missing
  boost::filesystem::rename(older, database);
  boost::filesystem::copy(database, older, boost::filesystem::copy_options::recursive);
  {
    const auto journal = open();
    const StoreId id = journal->findStore("large").value();
    const auto store = journal->store(id);
    journal->snapshotStore(id);
  }
  boost::filesystem::remove_all(database);
  boost::filesystem::rename(older, database);
  EXPECT_THROW((void)keysIn(directory_.path()), Corruption);
}

TEST_F(DatabaseStore, BecomesSnapshotsAndBack) {
  write();
  {
    const auto journal = open();
    const StoreId id = journal->declareStore("large", Engine::File);
    const auto store = journal->store(id);
    journal->snapshotStore(id);
    EXPECT_EQ(store->size(), 1001U);
  }
  EXPECT_EQ(databasePath(), "");
  {
    const auto journal = open();
    const StoreId id = journal->declareStore("large", Engine::RocksDb);
    const auto store = journal->store(id);
    const auto view = store->view();
    journal->snapshotStore(id);
    EXPECT_EQ(view->size(), 1001U);
  }
  EXPECT_NE(databasePath(), "");
  EXPECT_EQ(keysIn(directory_.path()), 1001U);
}

TEST_F(DatabaseStore, GoesWithItsStoreButNotBeforeItsViews) {
  write();
  const auto journal = open();
  const StoreId id = journal->findStore("large").value();
  const std::string database = databasePath();
  {
    const auto view = journal->store(id)->view();
    journal->removeStore(id);
    EXPECT_EQ(view->size(), 1001U);
  }
  EXPECT_FALSE(boost::filesystem::exists(database));
}

TEST_F(DatabaseStore, AForkedChildIsRefusedAndLeavesItsParentsAlone) {
  write();
  auto journal = open();
  auto store = journal->store(journal->findStore("large").value());
  const pid_t child = ::fork();
  if (child == 0) {
    store.reset();  // the parent's
    journal.reset();
    try {
      (void)database::open(databasePath(), {}, 0, 0, true);
      ::_exit(1);
    } catch (const Closed&) {
      ::_exit(0);
    } catch (...) {
      ::_exit(2);
    }
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(store->size(), 1001U);
}

TEST_F(DatabaseStore, AForkedChildThatHasItIsSaid) {
  write();
  std::array<int, 2> ready{};
  std::array<int, 2> over{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  ASSERT_EQ(::pipe(over.data()), 0);
  const std::string lock = databasePath() + "/LOCK";
  const pid_t child = ::fork();
  if (child == 0) {  // as RocksDB does it
    const int file = ::open(lock.c_str(), O_RDWR);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    const char result = ::fcntl(file, F_SETLK, &whole) == 0 ? 'y' : 'n';
    ::close(over[1]);
    char none = 0;
    ::_exit(::write(ready[1], &result, 1) == 1 && ::read(over[0], &none, 1) == 0 ? 0 : 1);
  }
  char result = 0;
  ASSERT_EQ(::read(ready[0], &result, 1), 1);
  ASSERT_EQ(result, 'y');
  {
    const auto journal = open();
    const StoreId id = journal->findStore("large").value();
    try {
      (void)journal->store(id);
      ADD_FAILURE() << "opened";
    } catch (const OwnedElsewhere& refused) {
      EXPECT_THAT(refused.what(), ::testing::HasSubstr(databasePath()));
      EXPECT_THAT(refused.what(), ::testing::HasSubstr("open in another process"));
    }
    const StoreId other = journal->declareStore("other");
    EXPECT_EQ(journal->store(other)->size(), 0U);
  }
  for (const int each : {ready[0], ready[1], over[0], over[1]}) ::close(each);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(keysIn(directory_.path()), 1001U);
}

TEST_F(DatabaseStore, StaysForABackupWhenItsStoreGoes) {
  write();
  const auto journal = open();
  const StoreId id = journal->findStore("large").value();
  BackupOptions options;
  options.progress = [&](const BackupProgress&) {
    if (journal->findStore("large")) journal->removeStore(id);
  };
  const std::string copy = directory_ / "copy";
  (void)backup(*journal, copy, options);
  EXPECT_EQ(databasePath(), "");
  EXPECT_EQ(keysIn(copy), 1001U);
}

TEST_F(DatabaseStore, LeftoversOfACrashAreRemoved) {
  write();
  const std::string left = directory_ / "database-8000000000000001.rocksdb";
  boost::filesystem::create_directory(left);
  std::ofstream(left + "/000001.sst") << "half";
  (void)open();
  EXPECT_FALSE(boost::filesystem::exists(left));
  EXPECT_EQ(keysIn(directory_.path()), 1001U);
}

TEST_F(DatabaseStore, ARepairedCopyHasItsContent) {
  write();
  const std::string copy = directory_ / "repaired";
  repairInto(planRepair(directory_.path()), copy);
  EXPECT_EQ(keysIn(copy), 1001U);
}

TEST_F(DatabaseStore, AheadOfADamagedFrameItIsRepairedWithWhatItHas) {
  write();
  std::string left;
  {
    const auto journal = openAlone();
    const StoreId id = journal->findStore("large").value();
    Commit commit;
    for (const char* key : {"1000", "1001"}) {
      commit.put(id, key, std::string("later ") + key + std::string(8000, 'v'));
      (void)journal->commit(commit);
    }
    const auto store = journal->store(id);
    left = crashed();
    journal->snapshotStore(id);
  }
  boost::filesystem::rename(databasePath(),
                            left / boost::filesystem::path(databasePath()).filename());
  damageFrame(left, "later 1000");
  const auto repair = planRepair(left);
  ASSERT_EQ(repair.stores.size(), 1U);
  EXPECT_EQ(repair.stores.front().fate, StoreFate::Rebuilt);
  const std::string copy = directory_ / "repaired";
  repairInto(repair, copy);
  EXPECT_EQ(keysIn(copy), 1002U);
  const auto journal = Journal::open(copy);
  std::string value;
  EXPECT_TRUE(journal->store(journal->findStore("large").value())->get("1000", value));
  EXPECT_TRUE(value.starts_with("later 1000"));
}

TEST_F(DatabaseStore, OfTwoMomentsIsNotRepairedAsIfItWereOfOne) {
  write();
  const auto tables = [&] {
    std::size_t count = 0;
    for (const auto& entry : boost::filesystem::directory_iterator(databasePath())) {
      if (entry.path().extension() == ".sst") ++count;
    }
    return count;
  };
  {
    const auto journal = openAlone();
    const StoreId id = journal->findStore("large").value();
    Commit commit;
    commit.put(id, "1000", "later");
    (void)journal->commit(commit);
    // Half of them are written when RocksDB writes a table by itself: 64 MiB.
    constexpr int large = 140;
    for (int i = 0; i < large; ++i) {
      commit.put(id, "large " + std::to_string(i), std::string(1U << 20, 'v'));
      (void)journal->commit(commit);
    }
    const auto store = journal->store(id);
    const std::size_t before = tables();
    int asked = 0;
    journal->leaveOut(id, [&](std::string_view) {
      if (++asked < large) return false;
      throw std::runtime_error("stops here");
    });
    EXPECT_THROW(journal->snapshotStore(id), std::runtime_error);
    EXPECT_GT(tables(), before);
  }
  {
    const auto journal = openAlone();  // which has it all
    EXPECT_EQ(journal->store(journal->findStore("large").value())->size(), 1141U);
  }
  damageFrame(directory_.path(), "later");
  const auto repair = planRepair(directory_.path());
  ASSERT_EQ(repair.stores.size(), 1U);
  EXPECT_EQ(repair.stores.front().fate, StoreFate::Lost);
}

// ... but a command opens every journal as one that is shared, and reads it.
TEST_F(DatabaseStore, IsNotMadeInAJournalThatProcessesShare) {
  write();
  JournalOptions options;
  options.sharing = Sharing::Shared;
  const auto journal = Journal::open(directory_.path(), options);
  const StoreId id = journal->findStore("large").value();
  const auto store = journal->store(id);
  EXPECT_EQ(store->size(), 1001U);
  const std::string database = databasePath();
  journal->snapshotStore(id);
  EXPECT_EQ(databasePath(), database);  // brought up to date, not moved
  EXPECT_EQ(store->size(), 1001U);
  EXPECT_THROW((void)journal->declareStore("other", Engine::RocksDb), ConfigurationError);
}

#endif

TEST(Engines, MemoryIsNotForAJournalOfFiles) {
  const TemporaryDirectory directory;
  const auto journal = Journal::open(directory.path());
  EXPECT_THROW((void)journal->declareStore("cache", Engine::Memory), ConfigurationError);
}

TEST(Engines, MemoryOfOneNameIsSharedWhileSomebodyHasIt) {
  LocalFileStorageOptions options;
  options.engine = Engine::Memory;
  LocalFileStorage first("a name", options);
  LocalFileStorage second("a name", options);
  first.set("key", std::int64_t{1});
  EXPECT_EQ(second.getLong("key"), 1);
  EXPECT_FALSE(LocalFileStorage("another", options).containsKey("key"));
  EXPECT_THROW((void)backup(*Journal::open("a name", {}, Environment::memory()), "copy"),
               ConfigurationError);
}

}  // namespace
}  // namespace penstock::state
