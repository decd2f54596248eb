// SPDX-License-Identifier: Apache-2.0
//
// Goal: a database is taken for that of its store, journal and time, and for no other; what is
// gone or erased leaves it. The whole of a store in a database is engine_contract_test.cpp's.
#ifdef PENSTOCK_ROCKSDB
#include "database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <penstock/state/journal.h>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "support/message_of.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr database::Identity own{{1, 2}, 3, 4};
constexpr std::uint64_t covers = 10;

class DatabaseTest : public ::testing::Test {
 protected:
  const TemporaryDirectory temporary_;
  const std::string path_ = temporary_ / "database-1.db";
};

TEST_F(DatabaseTest, OfAnotherJournalNumberStoreOrTimeIsRefused) {
  (void)database::write({}, path_, own, covers, nullptr);
  for (const bool readOnly : {true, false}) {
    EXPECT_NO_THROW((void)database::open(path_, own, covers, covers, readOnly));
    for (const database::Identity& other :
         {database::Identity{{9, 2}, 3, 4}, database::Identity{{1, 9}, 3, 4},
          database::Identity{{1, 2}, 9, 4}, database::Identity{{1, 2}, 3, 9}}) {
      EXPECT_THAT(messageOf<Corruption>(
                      [&] { (void)database::open(path_, other, covers, covers, readOnly); }),
                  AllOf(HasSubstr(path_), HasSubstr("copied or renamed from elsewhere")));
    }
    for (const auto& [least, end] : {std::pair{covers + 1, covers + 1}, {covers, covers - 1}}) {
      EXPECT_THAT(
          messageOf<Corruption>([&] { (void)database::open(path_, own, least, end, readOnly); }),
          HasSubstr("put together from different times"));
    }
  }
}

TEST_F(DatabaseTest, ThatIsOpenIsOpenedOnce) {
  const auto first = database::write({}, path_, own, covers, nullptr);
  const auto again = database::open(path_, own, covers, covers, false);
  EXPECT_EQ(database::numberOf(first.get()), database::numberOf(again.get()));
  const auto reading = database::open(path_, own, covers, covers, true);
  EXPECT_EQ(reading->entries(), 0U);
}

TEST_F(DatabaseTest, ThatIsNoneOrHasNoPlaceIsAnErrorThatNamesIt) {
  EXPECT_THAT(messageOf<Error>([&] { (void)database::open(path_, own, 1, 1, true); }),
              HasSubstr(path_));
  const std::string nowhere = temporary_ / "nowhere/database-1.db";
  EXPECT_THAT(messageOf<IoError>([&] { (void)database::write({}, nowhere, own, 1, nullptr); }),
              AllOf(HasSubstr("creating"), HasSubstr(nowhere)));
  std::ofstream(temporary_ / "file") << "x";
  EXPECT_THAT(
      messageOf<Error>([&] { (void)database::open(temporary_ / "file", own, 1, 1, false); }),
      HasSubstr("opening the database"));
}

TEST_F(DatabaseTest, ThatIsNotWholeGoesWithItsLastUser) {
  auto base = database::write({}, path_, own, covers, nullptr);
  database::remove(path_);
  EXPECT_TRUE(std::filesystem::exists(path_));
  base.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// More than is written at a time, in the making and in the erasing.
TEST(DatabaseStoreTest, WhatIsErasedOrGoneLeavesIt) {
  constexpr int keys = 20'000;
  const TemporaryDirectory temporary;
  const auto journal = Journal::open(temporary / "state");
  const StoreId id = journal->declareStore("large", Engine::RocksDb);
  const auto store = journal->store(id);
  const auto key = [](int i) { return std::string(80, 'k') + std::to_string(i); };
  Commit commit;
  for (int i = 0; i < keys; ++i) commit.put(id, key(i), "value");
  (void)journal->commit(commit);
  journal->snapshotStore(id);
  EXPECT_EQ(store->size(), static_cast<std::uint64_t>(keys));
  for (int i = 0; i < keys; ++i) commit.erase(id, key(i));
  commit.put(id, "kept", "value");
  commit.put(id, "gone", "over");
  (void)journal->commit(commit);
  journal->leaveOut(id, [](std::string_view value) { return value == "over"; });
  journal->snapshotStore(id);
  EXPECT_EQ(store->size(), 1U);
  EXPECT_TRUE(store->contains("kept"));
}

}  // namespace
}  // namespace penstock::state
#endif
