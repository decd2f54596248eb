// SPDX-License-Identifier: Apache-2.0
// Failures of a Datastore in a directory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/datastore.h>
#include <penstock/state/journal.h>

#include <filesystem>
#include <string>

#include "support/datastore_place.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using penstock::testing::increment;
using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using penstock::testsupport::SimCall;
using penstock::testsupport::SimFs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

class SimulatedDatastore : public ::testing::Test {
 protected:
  Datastore open() {
    process_ = machine_.startProcess();
    return Datastore::open("file:/store", {.lockTimeout = 100ms}, process_->environment());
  }

  SimFs machine_{1};
  std::shared_ptr<penstock::testsupport::SimProcess> process_;
};

TEST_F(SimulatedDatastore, AFullDiskRefusesTheChangeAndKeepsTheOldValue) {
  Datastore store = open();
  store.set("k", 1);
  const Revision revision = store.getWithRevision("k").revision;
  std::uint64_t used = 0;
  for (const std::string& file : machine_.files()) used += process_->info(file).value.size;
  machine_.setCapacity(used);
  const std::string large(8 << 20, 'x');
  EXPECT_THROW(store.set("k", large), DiskFull);
  EXPECT_THROW(store.update("k", [&](const auto&) { return std::optional<Value>(large); }),
               DiskFull);
  EXPECT_THROW(store.createOnly("l", large), DiskFull);
  EXPECT_EQ(store.get("k"), Value(1));
  EXPECT_EQ(store.getWithRevision("k").revision, revision);
  EXPECT_THAT(store.list(), ElementsAre("k"));

  machine_.setCapacity(std::uint64_t{1} << 40);
  EXPECT_EQ(store.update("k", increment).current, Value(2)) << "the lock is free";
}

TEST_F(SimulatedDatastore, APowerCutLosesNothingThatACallHasReturnedFor) {
  for (const auto damage : penstock::testsupport::kAllDamages) {
    SCOPED_TRACE(nameOf(damage));
    std::optional<Datastore> store = open();
    store->set("k", 1);
    store->update("k", increment);
    store->set("gone", 1);
    store->remove("gone");
    const Revision revision = store->getWithRevision("k").revision;
    machine_.crash(1, damage);
    store.reset();
    store = open();
    EXPECT_EQ(store->get("k"), Value(2));
    EXPECT_EQ(store->getWithRevision("k").revision, revision);
    EXPECT_THAT(store->list(), ElementsAre("k"));
  }
}

TEST_F(SimulatedDatastore, ALockFileThatCannotBeLockedIsNamed) {
  Datastore store = open();
  store.set("k", 1);
  machine_.fail({.call = SimCall::Lock, .error = ENOLCK, .always = true, .path = "KEYS"});
  EXPECT_THAT(messageOf<IoError>([&] { store.set("k", 2); }), HasSubstr("/store/KEYS"));
  machine_.clearFaults();
  EXPECT_EQ(store.update("k", increment).current, Value(2));
}

TEST(DatastoreInADirectory, AKilledProcessesLockIsFree) {
  SimFs machine(1);
  const auto one = machine.startProcess();
  const auto two = machine.startProcess();
  Datastore holder = Datastore::open("file:/store", {}, one->environment());
  Datastore waiter = Datastore::open("file:/store", {.lockTimeout = 50ms}, two->environment());
  holder.set("k", 1);
  EXPECT_THROW(holder.update("k",
                             [&](const auto&) -> std::optional<Value> {
                               EXPECT_THROW(waiter.set("k", 2), LockTimeout);
                               one->kill();
                               waiter.set("k", 3);
                               return Value(4);
                             }),
               Error);
  EXPECT_EQ(waiter.get("k"), Value(3));
}

TEST(DatastoreInADirectory, ALockFileThatIsRemovedWhileItIsOpenIsSaid) {
  const TemporaryDirectory directory;
  Datastore store = Datastore::open("file:" + directory.path());
  store.set("k", 1);
  std::filesystem::remove(directory / "KEYS");
  EXPECT_THAT(messageOf<SourceChanged>([&] { store.update("k", increment); }),
              HasSubstr("KEYS: was removed"));
  Datastore other = Datastore::open("file:" + directory.path());
  EXPECT_EQ(other.update("k", increment).current, Value(2));
  EXPECT_THAT(messageOf<SourceChanged>([&] { store.update("k", increment); }),
              HasSubstr("KEYS: was replaced"));
}

TEST(DatastoreInADirectory, WhatNoDatastoreWroteIsRefusedByItsKey) {
  const TemporaryDirectory directory;
  Datastore store = Datastore::open("file:" + directory.path());
  store.set("whole", 1);
  {
    JournalOptions options;
    options.sharing = Sharing::Shared;
    const auto journal = Journal::open(directory.path(), options);
    Commit commit;
    const StoreId id = journal->findStore("datastore").value();
    commit.put(id, "short", "123456789012345");
    commit.put(id, "foreign", "1234567890123456\x2a");
    journal->commit(commit);
  }
  for (const char* key : {"short", "foreign"}) {
    EXPECT_THAT(messageOf<Corruption>([&] { (void)store.get(key); }),
                ::testing::AllOf(HasSubstr(key), HasSubstr(directory.path())));
    EXPECT_THROW(store.update(key, increment), Corruption);
  }
  EXPECT_EQ(store.get("whole"), Value(1));
  EXPECT_EQ(store.list().size(), 3U);
  store.set("foreign", 1);
  EXPECT_EQ(store.get("foreign"), Value(1));
}

TEST(DatastoreInADirectory, OneThatIsOpenByASingleProcessIsRefused) {
  const TemporaryDirectory directory;
  const auto journal = Journal::open(directory.path());
  EXPECT_THAT(
      messageOf<ConfigurationError>([&] { (void)Datastore::open("file:" + directory.path()); }),
      HasSubstr("another sharing mode"));
}

}  // namespace
}  // namespace penstock::state
