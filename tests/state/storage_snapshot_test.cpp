// SPDX-License-Identifier: Apache-2.0
// LocalFileStorage: a storage as it was at one moment, values that expire, values that are kept
// compressed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "penstock/state/local_file_storage.h"
#include "tests/support/message_of.h"
#include "tests/support/sim_fs.h"
#include "tests/support/temporary_directory.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

TEST(StorageSnapshotTest, StaysAsItWas) {
  TemporaryDirectory directory;
  LocalFileStorage storage(directory / "state");
  storage.set("a", 1);
  storage.set("b", "text");
  LocalFileStorage below = storage.subStorage("below");
  below.set("c", 2.5);
  const StorageSnapshot then = storage.snapshot();
  storage.set("a", 2);
  storage.remove("b");
  storage.set("d", true);
  below.set("c", 3.5);
  storage.subStorage("later").set("e", 1);

  EXPECT_EQ(then.getLong("a"), 1);
  EXPECT_EQ(then.getString("b"), "text");
  EXPECT_FALSE(then.containsKey("d"));
  EXPECT_THROW((void)then.get<bool>("d"), KeyNotFound);
  EXPECT_THROW((void)then.get<double>("a"), TypeMismatch);
  EXPECT_THAT(then.getAllKeys(), ElementsAre("a", "b"));
  EXPECT_EQ(then.size(), 2U);
  EXPECT_EQ(then.subStorage("below").getDouble("c"), 2.5);
  EXPECT_THAT(then.subStorage("later").getAllKeys(), IsEmpty());
  EXPECT_FALSE(then.subStorage("later").containsKey("e"));
  EXPECT_EQ(then.subStorage("later").size(), 0U);
  EXPECT_EQ(then.directory(), storage.directory());

  storage.clear();
  EXPECT_EQ(then.getLong("a"), 1);
  EXPECT_THAT(storage.snapshot().getAllKeys(), IsEmpty());
  EXPECT_EQ(below.snapshot().size(), 0U);
}

TEST(StorageCursorTest, WalksFromAKeyOnInOrderWhateverIsWrittenMeanwhile) {
  TemporaryDirectory directory;
  LocalFileStorage storage(directory / "state");
  for (const char* key : {"c", "a", "bb", "b", "\xff", "A"}) storage.set(key, std::string(key));
  storage.subStorage("b").set("inner", 1);
  std::vector<std::string> walked;
  for (auto at = storage.cursor("b"); at.valid(); at.next()) {
    EXPECT_EQ(at.value<std::string>(), at.key());
    walked.emplace_back(at.key());
    storage.remove("c");
    storage.set("bc", 7);
  }
  EXPECT_THAT(walked, ElementsAre("b", "bb", "c", "\xff"));
  EXPECT_FALSE(storage.cursor(std::string("\xff\xff")).valid());

  auto at = storage.cursor("bc");
  EXPECT_EQ(at.value<std::int64_t>(), 7);
  EXPECT_EQ(at.value<Value>(), Value(std::int64_t{7}));
  EXPECT_THAT(messageOf<TypeMismatch>([&] { (void)at.value<std::string>(); }), HasSubstr("bc"));
}

TEST(StorageCursorTest, OfASnapshotOutlivesItAndOfNoStorageIsEmpty) {
  TemporaryDirectory directory;
  std::optional<StorageCursor> at;
  {
    LocalFileStorage storage(directory / "state");
    storage.subStorage("s").set("k", 1);
    const StorageSnapshot then = storage.snapshot();
    storage.subStorage("s").set("k", 2);
    EXPECT_FALSE(then.subStorage("none").cursor().valid());
    EXPECT_FALSE(then.cursor().valid());
    at = then.subStorage("s").cursor();
  }
  ASSERT_TRUE(at->valid());
  EXPECT_EQ(at->value<std::int64_t>(), 1);
  at->next();
  EXPECT_FALSE(at->valid());
}

TEST(StorageCursorTest, FoldsWhereItBeginsAsKeysAreFolded) {
  TemporaryDirectory directory;
  LocalFileStorageOptions options;
  options.lowerCaseKeys = true;
  LocalFileStorage storage(directory / "state", options);
  storage.set("Alpha", 1);
  storage.set("Beta", 2);
  EXPECT_EQ(storage.cursor("BETA").key(), "beta");
}

TEST(StorageSnapshotTest, OutlivesTheStorage) {
  TemporaryDirectory directory;
  auto storage = std::make_unique<LocalFileStorage>(directory / "state");
  storage->set("a", 1);
  const StorageSnapshot then = storage->snapshot();
  storage.reset();
  EXPECT_EQ(then.getLong("a"), 1);
}

// Each batch adds one in two sub-storages, one of which may come into being while a snapshot is
// made.
TEST(StorageSnapshotTest, SeesAllOfABatchOrNothing) {
  TemporaryDirectory directory;
  LocalFileStorageOptions options;
  options.durability = Durability::Buffered;
  LocalFileStorage storage(directory / "state", options);
  LocalFileStorage one = storage.subStorage("one");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int round = 0; !stop.load(); ++round) {
      LocalFileStorage two = storage.subStorage("two" + std::to_string(round % 100));
      for (int n = 1; n <= 20; ++n) {
        Batch batch = storage.batch();
        batch.into(one).set("sum", round * 20 + n);
        batch.into(two).set("n", n);
        storage.write(batch);
      }
    }
  });
  int seen = 0;
  std::int64_t last = 0;
  for (int i = 0; i < 100'000 && seen < 100; ++i) {
    const StorageSnapshot now = storage.snapshot();
    const auto sum = now.subStorage("one").getOr<std::int64_t>("sum", 0);
    if (sum == 0 || sum == last) continue;
    last = sum;
    ++seen;
    const std::int64_t round = (sum - 1) / 20;
    EXPECT_EQ(now.subStorage("two" + std::to_string(round % 100)).getLong("n"), sum - round * 20);
  }
  stop = true;
  writer.join();
  EXPECT_EQ(seen, 100);
}

// Nobody writes while an update runs, and who runs it may read.
TEST(StorageSnapshotTest, MayBeTakenWithinAnUpdate) {
  TemporaryDirectory directory;
  LocalFileStorage storage(directory / "state");
  storage.set("a", 1);
  (void)storage.update<std::int64_t>(
      "a", [&](const std::optional<std::int64_t>&) { return storage.snapshot().getLong("a") + 1; });
  EXPECT_EQ(storage.getLong("a"), 2);
}

class ExpiryTest : public ::testing::Test {
 protected:
  LocalFileStorage open(const LocalFileStorageOptions& options = {}) {
    return LocalFileStorage("/state", options, process_->environment());
  }
  testsupport::SimFs machine_{1};
  std::shared_ptr<testsupport::SimProcess> process_ = machine_.startProcess();
};

TEST_F(ExpiryTest, AKeyIsGoneWhenItsTimeIsOver) {
  LocalFileStorage storage = open();
  storage.set("stays", 1);
  storage.set("goes", 2, {.ttl = 1000ms});
  Batch batch = storage.batch();
  batch.set("goes too", std::string(5000, 'x'), {.ttl = 2000ms});
  storage.write(batch);
  storage.setAsync("goes async", 3, {.ttl = 1000ms});
  storage.flush();
  const StorageSnapshot then = storage.snapshot();
  machine_.clock().advanceMs(999);
  EXPECT_EQ(storage.getLong("goes"), 2);
  EXPECT_EQ(storage.getLong("goes async"), 3);
  machine_.clock().advanceMs(1);
  EXPECT_FALSE(storage.containsKey("goes"));
  EXPECT_THROW((void)storage.getLong("goes"), KeyNotFound);
  EXPECT_EQ(storage.find<std::int64_t>("goes"), std::nullopt);
  EXPECT_TRUE(storage.containsKey("goes too"));
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("goes too", "stays"));
  EXPECT_THAT(storage.keys("goes"), ElementsAre("goes too"));
  auto at = storage.cursor("go");
  EXPECT_EQ(at.key(), "goes too");
  at.next();
  EXPECT_EQ(at.key(), "stays");
  EXPECT_FALSE(then.containsKey("goes"));  // by the clock, whatever was taken when
  machine_.clock().advanceMs(1'000'000'000);
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("stays"));
}

TEST_F(ExpiryTest, ASetGivesANewTimeAndAnUpdateTakesAGoneValueForAbsent) {
  LocalFileStorage storage = open();
  storage.set("k", 1, {.ttl = 1000ms});
  machine_.clock().advanceMs(900);
  storage.set("k", 2, {.ttl = 1000ms});
  machine_.clock().advanceMs(900);
  EXPECT_EQ(storage.getLong("k"), 2);
  const auto addOne = [](const std::optional<std::int64_t>& found) {
    return found.value_or(0) + 1;
  };
  EXPECT_EQ(storage.update<std::int64_t>("k", addOne, {.ttl = 1000ms}).current, 3);
  machine_.clock().advanceMs(1000);
  const auto updated = storage.update<std::int64_t>("k", addOne);
  EXPECT_EQ(updated.previous, std::nullopt);
  EXPECT_EQ(updated.current, 1);
  machine_.clock().advanceMs(1'000'000'000);
  EXPECT_EQ(storage.getLong("k"), 1);  // set without a time
}

TEST_F(ExpiryTest, TheStoragesOwnTimeCountsForValuesWithoutOne) {
  LocalFileStorageOptions options;
  options.ttl = 1000ms;
  LocalFileStorage storage = open(options);
  storage.set("default", 1);
  storage.subStorage("s").set("default", 1);
  storage.set("longer", 1, {.ttl = 5000ms});
  storage.set("stays", 1, {.ttl = 0ms});
  machine_.clock().advanceMs(1000);
  EXPECT_THAT(storage.getAllKeys(), ElementsAre("longer", "stays"));
  EXPECT_THAT(storage.subStorage("s").getAllKeys(), IsEmpty());
}

TEST_F(ExpiryTest, OutlastsReopening) {
  (void)open().set("k", 1, {.ttl = 1000ms});
  machine_.clock().advanceMs(500);
  EXPECT_EQ(open().getLong("k"), 1);
  machine_.clock().advanceMs(500);
  EXPECT_FALSE(open().containsKey("k"));
}

TEST_F(ExpiryTest, TheNextSnapshotLeavesOutWhatIsGone) {
  LocalFileStorage storage = open();
  auto journal = Journal::open("/state", {}, process_->environment());
  const StoreId id = journal->findStore("storage").value();
  for (int i = 0; i < 100; ++i) {
    storage.set(std::to_string(i), std::string(1000, 'x'), {.ttl = i < 90 ? 1000ms : 0ms});
  }
  EXPECT_EQ(storage.size(), 100U);
  machine_.clock().advanceMs(1000);
  EXPECT_EQ(storage.size(), 100U);
  journal->snapshotStore(id);
  EXPECT_EQ(storage.size(), 10U);
  EXPECT_EQ(storage.getAllKeys().size(), 10U);
  machine_.clock().jumpWallMs(-5000);  // and a clock that goes back does not bring it back
  EXPECT_FALSE(storage.containsKey("0"));
  storage.set("0", 1);
  EXPECT_EQ(storage.size(), 11U);
  EXPECT_EQ(journal->store(id)->view()->size(), 11U);
}

TEST_F(ExpiryTest, AbsurdTimesAreRefused) {
  LocalFileStorage storage = open();
  EXPECT_THAT(messageOf<InvalidArgument>([&] { storage.set("k", 1, {.ttl = -1ms}); }),
              HasSubstr("a time to live of -1 ms"));
  EXPECT_THROW(storage.set("k", 1, {.ttl = std::chrono::milliseconds::max()}), InvalidArgument);
  EXPECT_THROW(storage.batch().set("k", 1, {.ttl = -1ms}), InvalidArgument);
  EXPECT_THROW(storage.setAsync("k", 1, {.ttl = -1ms}).get(), InvalidArgument);
  EXPECT_FALSE(storage.containsKey("k"));
  LocalFileStorageOptions options;
  options.ttl = -5ms;
  EXPECT_THROW((void)open(options), InvalidArgument);
}

TEST(CompressionTest, LargeValuesTakeLessAndComeBack) {
  TemporaryDirectory directory;
  const std::string text(100'000, 'a');
  std::string noise(100'000, '\0');
  std::mt19937 random(1);
  for (char& c : noise) c = static_cast<char>(random());
  LocalFileStorageOptions options;
  options.compressFromBytes = 1000;
  {
    LocalFileStorage storage(directory / "state", options);
    storage.set("text", text);
    storage.set("small", std::string(999, 'b'));
    EXPECT_LT(storage.metrics().bytesWritten, 5000U);
    storage.set("noise", noise);
    storage.set("both", text, {.ttl = 24h});
    EXPECT_EQ(storage.getString("text"), text);
    Batch batch = storage.batch();
    batch.set("list", Value(Value::List(1000, Value(1))));
    storage.write(batch);
  }
  LocalFileStorage storage(directory / "state");  // reading needs no option
  EXPECT_EQ(storage.getString("text"), text);
  EXPECT_EQ(storage.getString("noise"), noise);
  EXPECT_EQ(storage.getString("both"), text);
  EXPECT_EQ(storage.get<Value>("list"), Value(Value::List(1000, Value(1))));
  EXPECT_THAT(messageOf<TypeMismatch>([&] { (void)storage.getLong("text"); }),
              HasSubstr("holds string"));
}

}  // namespace
}  // namespace penstock::state
