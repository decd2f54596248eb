// SPDX-License-Identifier: Apache-2.0
// The bound on what stores hold in memory.
#include <gtest/gtest.h>

#include <penstock/state/errors.h>
#include <penstock/state/journal.h>
#include <penstock/state/memory.h>
#include <algorithm>
#include <random>
#include <string>

#include "support/temporary_directory.h"
#include "support/test_seed.h"

namespace penstock::state {
namespace {

using penstock::testing::TemporaryDirectory;

class StoreMemoryLimit : public ::testing::Test {
 protected:
  ~StoreMemoryLimit() override { setStoreMemoryLimit(before_.limitBytes); }
  const StoreMemory before_ = storeMemory();
};

TEST_F(StoreMemoryLimit, IsAtLeastSoMuch) {
  EXPECT_GE(before_.limitBytes, 16ULL << 20);
  EXPECT_THROW(setStoreMemoryLimit((16ULL << 20) - 1), InvalidArgument);
  setStoreMemoryLimit(16ULL << 20);
  EXPECT_EQ(storeMemory().limitBytes, 16ULL << 20);
}

TEST_F(StoreMemoryLimit, WhatAStoreHoldsIsGivenBack) {
  const TemporaryDirectory directory;
  {
    const auto journal = Journal::open(directory.path());
    const StoreId id = journal->declareStore("store");
    const auto store = journal->store(id);
    Commit commit;
    for (int i = 0; i < 1000; ++i) commit.put(id, std::to_string(i), std::string(1000, 'v'));
    (void)journal->commit(commit);
    EXPECT_GE(storeMemory().usedBytes, before_.usedBytes + 1'000'000);
  }
  EXPECT_EQ(storeMemory().usedBytes, before_.usedBytes);
}

// Four times the limit, in a store of one process: all is there, and what is read is right.
TEST_F(StoreMemoryLimit, AStoreMayBeLargerThanIt) {
  constexpr std::uint64_t limit = 32ULL << 20;
  constexpr int keys = 64'000;
  const TemporaryDirectory directory;
  setStoreMemoryLimit(before_.usedBytes + limit);
  const auto value = [](int key) { return std::to_string(key) + std::string(2000, 'v'); };
  std::uint64_t most = 0;
  {
    const auto journal = Journal::open(directory.path());
    const StoreId id = journal->declareStore("store");
    const auto store = journal->store(id);
    Commit commit;
    for (int i = 0; i < keys; ++i) {
      commit.put(id, std::to_string(i), value(i));
      if (i % 500 != 499) continue;
      (void)journal->commit(commit, Durability::Buffered);
      most = std::max(most, storeMemory().usedBytes);
    }
    EXPECT_EQ(store->size(), static_cast<std::uint64_t>(keys));
  }
  EXPECT_LE(most, before_.usedBytes + limit + (2ULL << 20));
  const auto journal = Journal::open(directory.path());
  const auto store = journal->store(journal->findStore("store").value());
  std::mt19937_64 random(penstock::testing::testSeed());
  std::string found;
  for (int i = 0; i < 5000; ++i) {
    const int key = static_cast<int>(random() % keys);
    ASSERT_TRUE(store->get(std::to_string(key), found));
    ASSERT_EQ(found, value(key));
  }
  std::uint64_t walked = 0;
  for (StoreCursor at = store->cursor(); at.valid(); at.next()) {
    ASSERT_EQ(at.value(), value(std::stoi(std::string(at.key()))));
    ++walked;
  }
  EXPECT_EQ(walked, static_cast<std::uint64_t>(keys));
  EXPECT_LE(storeMemory().usedBytes, before_.usedBytes + limit + (8ULL << 20));  // replayed changes
}

// Where nothing makes snapshots, nothing lets go.
TEST_F(StoreMemoryLimit, ACommitBeyondItIsRefusedByNameAndChangesNothing) {
  const TemporaryDirectory directory;
  Environment environment = Environment::real();
  environment.threads = false;
  const auto journal = Journal::open(directory.path(), {}, environment);
  const StoreId id = journal->declareStore("orders");
  const auto store = journal->store(id);
  setStoreMemoryLimit(before_.usedBytes + (16ULL << 20));
  Commit commit;
  const auto put = [&](int key) {
    commit.put(id, std::to_string(key), std::string(1 << 20, 'v'));
    (void)journal->commit(commit);
  };
  int stored = 0;
  try {
    for (; stored < 100; ++stored) put(stored);
    FAIL() << "100 MiB went in";
  } catch (const MemoryExceeded& error) {
    EXPECT_NE(std::string(error.what()).find("'orders'"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("RocksDb"), std::string::npos) << error.what();
  }
  EXPECT_EQ(store->size(), static_cast<std::uint64_t>(stored));
  commit.reset();
  // Nor does it bind what takes no such memory: records, and stores that nobody has read.
  const LogId log = journal->declareLog("log");
  commit.recordBuffer(log) += "record";
  commit.recordAdded(log, 1);
  commit.put(journal->declareStore("unread"), "k", "v");
  EXPECT_NO_THROW((void)journal->commit(commit));
  EXPECT_EQ(journal->log(log).end, 1U);
  journal->snapshotStore(id);
  put(stored);
  EXPECT_EQ(store->size(), static_cast<std::uint64_t>(stored) + 1);
}

}  // namespace
}  // namespace penstock::state
