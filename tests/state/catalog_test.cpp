// SPDX-License-Identifier: Apache-2.0
//
// Goal: a catalog is read back whole or not at all, and changes of what is not there change
// nothing. Method: one with every kind of entry, cut at every byte.
#include "catalog.h"

#include <gtest/gtest.h>

namespace penstock::state {
namespace {

SealedFile sealedFile(std::uint64_t number, std::uint64_t first, std::uint64_t last) {
  SealedFile file;
  file.number = number;
  file.firstSequence = first;
  file.lastSequence = last;
  file.endOffset = 5000;
  file.lastChecksum = 0x1234567890abcdef;
  file.logs.push_back({.log = 1, .start = 3, .end = 900, .bytes = 70'000, .maxTimeMs = -5});
  file.stores = {1, 300};
  file.blobs = {std::uint64_t{1} << 63};
  return file;
}

/// With at least two of everything that is counted.
Catalog fullCatalog() {
  std::string changes;
  Catalog::declareStore(changes, 1, "one");
  Catalog::declareStore(changes, 300, "three hundred");
  Catalog::declareLog(changes, 1, "log", {.maxAgeMs = 1000, .maxBytes = 1 << 20});
  Catalog::declareLog(changes, 2, "other", {});
  Catalog::claim(changes, "task", 7);
  Catalog::claim(changes, "task 2", 1);
  Catalog::newEpoch(changes, 11);
  Catalog catalog;
  EXPECT_TRUE(catalog.apply(changes, 1));
  EXPECT_TRUE(catalog.logAppended(1, 0, 900));
  changes.clear();
  Catalog::newEpoch(changes, 12);
  Catalog::installSnapshot(changes, 1, {.file = 9, .covers = 200, .bytes = 4000, .hash = 77});
  EXPECT_TRUE(catalog.apply(changes, 2));
  EXPECT_TRUE(catalog.logAppended(1, 900, 1));
  catalog.sealed = {sealedFile(1, 1, 10), sealedFile(2, 11, 20)};
  return catalog;
}

std::string encoded(const Catalog& catalog) {
  std::string bytes;
  catalog.encode(bytes);
  return bytes;
}

TEST(CatalogTest, ComesBackWholeOrNotAtAll) {
  const std::string bytes = encoded(fullCatalog());
  Catalog again;
  ASSERT_TRUE(again.decode(bytes));
  EXPECT_EQ(encoded(again), bytes);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(again.decode(std::string_view(bytes).substr(0, length))) << length;
  }
  EXPECT_FALSE(again.decode(bytes + '\0'));
}

TEST(CatalogTest, WithEnginesComesBackWholeOrNotAtAll) {
  std::string changes;
  Catalog::setEngine(changes, 300, Engine::RocksDb);
  Catalog::setEngine(changes, 5, Engine::RocksDb);  // which is not there
  Catalog::installSnapshot(changes, 1, {.file = 10, .covers = 900, .kind = FileKind::Database});
  Catalog catalog = fullCatalog();
  EXPECT_FALSE(catalog.hasEngines());
  ASSERT_TRUE(catalog.apply(changes, 3));
  EXPECT_TRUE(catalog.hasEngines());
  const std::string without = encoded(fullCatalog());
  const std::string bytes = encoded(catalog);
  Catalog again;
  ASSERT_TRUE(again.decode(bytes));
  EXPECT_EQ(encoded(again), bytes);
  EXPECT_EQ(again.stores.at(300).engine, Engine::RocksDb);
  EXPECT_EQ(again.stores.at(1).snapshot.kind, FileKind::Database);
  std::size_t whole = 0;  // what has no engines ends earlier
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    if (again.decode(std::string_view(bytes).substr(0, length))) ++whole;
  }
  EXPECT_LE(whole, 1U);
  EXPECT_FALSE(again.decode(bytes + '\0'));
  // The last byte of the change, and one of each store behind the rest, says which engine.
  changes.clear();
  Catalog::setEngine(changes, 300, Engine::RocksDb);
  changes.back() = 9;
  EXPECT_FALSE(catalog.apply(changes, 4)) << "an engine of a newer version";
  std::string newer = bytes;
  newer[newer.size() - 2] = 9;  // of the last store
  EXPECT_FALSE(again.decode(newer));
}

TEST(CatalogTest, AChangeThatWasCutOrIsOfANewerVersionIsRefused) {
  std::string changes[9];
  Catalog::declareStore(changes[0], 300, "store");
  Catalog::declareLog(changes[1], 300, "log", {});
  Catalog::setRetention(changes[2], 300, {});
  Catalog::trimLog(changes[3], 300, 70'000);
  Catalog::claim(changes[4], "task", 300);
  Catalog::newEpoch(changes[5], 12);
  Catalog::installSnapshot(changes[6], 300, {.file = 9, .covers = 200, .bytes = 300, .hash = 7});
  Catalog::removeFiles(changes[7], {1, 2});
  Catalog::installArchive(changes[8], sealedFile(9, 1, 20), {1, 2});
  for (const std::string& change : changes) {
    for (std::size_t length = 1; length < change.size(); ++length) {
      Catalog catalog = fullCatalog();
      EXPECT_FALSE(catalog.apply(std::string_view(change).substr(0, length), 3))
          << int{change[0]} << " cut at " << length;
    }
    Catalog catalog = fullCatalog();
    EXPECT_TRUE(catalog.apply(change, 3));
    EXPECT_FALSE(catalog.apply(change + '\x0c', 3));
  }
}

TEST(CatalogTest, ChangesOfWhatIsNotThereChangeNothing) {
  std::string changes;
  Catalog::removeStore(changes, 5);
  Catalog::removeLog(changes, 5);
  Catalog::setRetention(changes, 5, {.maxAgeMs = 1, .maxBytes = 1});
  Catalog::trimLog(changes, 5, 10);
  Catalog::installSnapshot(changes, 5, {.file = 10, .covers = 900, .bytes = 1, .hash = 1});
  Catalog::removeFiles(changes, {5});
  Catalog catalog = fullCatalog();
  EXPECT_TRUE(catalog.apply(changes, 3));
  EXPECT_FALSE(catalog.logAppended(5, 0, 1));
  EXPECT_FALSE(catalog.logAppended(1, 900, 1)) << "its end is 901";
  EXPECT_EQ(encoded(catalog), encoded(fullCatalog()));
  EXPECT_FALSE(catalog.storeByName("five").has_value());
  EXPECT_FALSE(catalog.logByName("five").has_value());
}

TEST(CatalogTest, OfTwoSnapshotsTheFurtherOneStays) {
  Catalog catalog = fullCatalog();
  std::string changes;
  Catalog::installSnapshot(changes, 1, {.file = 10, .covers = 199, .bytes = 1, .hash = 1});
  EXPECT_TRUE(catalog.apply(changes, 3));
  EXPECT_EQ(catalog.stores.at(1).snapshot.file, 9U);
  changes.clear();
  Catalog::installSnapshot(changes, 1, {.file = 10, .covers = 201, .bytes = 1, .hash = 1});
  EXPECT_TRUE(catalog.apply(changes, 3));
  EXPECT_EQ(catalog.stores.at(1).snapshot.file, 10U);
}

TEST(CatalogTest, ALogIsNeverTrimmedBackwardsNorBeyondItsEnd) {
  Catalog catalog = fullCatalog();
  const auto trim = [&](std::uint64_t offset) {
    std::string changes;
    Catalog::trimLog(changes, 1, offset);
    EXPECT_TRUE(catalog.apply(changes, 3));
    return catalog.logs.at(1).start;
  };
  EXPECT_EQ(trim(100), 100U);
  EXPECT_EQ(trim(50), 100U);
  EXPECT_EQ(trim(5000), 901U);
}

TEST(CatalogTest, OldEpochsAreForgottenWithTheirStarts) {
  Catalog catalog = fullCatalog();
  ASSERT_EQ(catalog.logs.at(1).history.size(), 2U);
  for (std::uint64_t id = 100; catalog.firstEpochIndex == 0; ++id) {
    std::string changes;
    Catalog::newEpoch(changes, id);
    ASSERT_TRUE(catalog.apply(changes, id));
    ASSERT_LT(id, 100'000U);
  }
  ASSERT_EQ(catalog.logs.at(1).history.size(), 1U);
  EXPECT_EQ(catalog.logs.at(1).history[0].epoch, 1U);
  EXPECT_EQ(catalog.epochs.front().id, 12U);
}

}  // namespace
}  // namespace penstock::state
