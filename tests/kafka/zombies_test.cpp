// SPDX-License-Identifier: Apache-2.0
//
// Goal (rows 23 and 25): processes that are killed, and that stop for so long that others have
// taken their tasks over and then go on, write nothing twice and lose nothing.
#include <fstream>
#include <random>

#include "tests/fault/scale.h"
#include "tests/kafka/keyed_count.h"

namespace penstock::kafka {
namespace {

class Zombies : public KeyedCountTest {
 protected:
  testing::TemporaryDirectory directory;

  static bool stopped(const testing::Subprocess& program) {
    std::ifstream file("/proc/" + std::to_string(program.pid()) + "/stat");
    std::string stat;
    std::getline(file, stat);
    const auto name = stat.rfind(") ");
    return name != std::string::npos && stat.compare(name + 2, 1, "T") == 0;
  }
};

TEST_F(Zombies, OneThatGoesOnAfterOthersTookOverWritesNothing) {
  std::mt19937 random(static_cast<unsigned>(fault::firstSeed()));
  const std::string fast = settings(1000, 2000);
  int freezes = 0;
  for (int round = 0; round < fault::scaled(2, 10, 100); ++round) {
    for (const char* const point : {"transaction-begun", "record-sent", "records-delivered",
                                    "positions-sent", "transaction-committed"}) {
      if (round > 0 && random() % 5 != 0) continue;  // each in the first, then one of five
      const auto frozen =
          start(directory / "zombie", {fast, "PENSTOCK_FAIL_POINT=" + std::string(point) + ":" +
                                                 std::to_string(1 + random() % 10) + ":stop"});
      ASSERT_TRUE(eventually([&] {
        produce(10);
        return stopped(*frozen);
      })) << point
          << frozen->err();
      ++freezes;
      produce(100);
      const auto other = start(directory / "other", {fast});
      const std::int64_t before = written(ids);
      ASSERT_TRUE(eventually([&] { return written(ids) >= before + 100; })) << other->err();
      frozen->signal(SIGCONT);
      // It has found out when it has got tasks from the group again, or goes without.
      produce(100);
      ASSERT_TRUE(eventually([&] {
        produce(10);
        return frozen->ended() || frozen->err().find("worker goes back") != std::string::npos ||
               frozen->err().find("task given up") != std::string::npos;
      })) << point
          << frozen->err();
      frozen->kill9();
      other->kill9();
    }
  }
  expectExact(directory / "other");
  std::printf("row 25, zombies: %d freezes, %d records\n", freezes, produced);
}

/// Its records in the changelog are in front of those of the next owner and hide them, although
/// the group has the next owner's commit.
TEST_F(Zombies, AnOpenTransactionHidesNothingOfWhatOthersHaveCommitted) {
  produce(100);
  const auto first = start(directory / "first",
                           {settings(1000, 15000), "PENSTOCK_FAIL_POINT=records-delivered:4:stop"});
  ASSERT_TRUE(eventually([&] {
    produce(10);
    return stopped(*first);
  })) << first->err();
  {
    const auto second = start(directory / "second", {settings(1000, 2000)});
    const TopicPartition partition{input, {0}};
    const auto committed = [&] {
      const auto stored = transport->consumer({.group = id})->committed({partition}, 10s);
      return stored.contains(partition) ? stored.at(partition).value : 0;
    };
    ASSERT_TRUE(eventually([&] { return committed() >= produced / partitions; })) << second->err();
    second->kill9();
  }
  produce(100);  // the third one has something to do, for which it needs the state
  expectExact(directory / "third");
  first->kill9();
}

/// It still has the claims of its tasks; those wait for it, and everything else goes on.
TEST_F(Zombies, OneThatSharesAStateDirectoryHoldsUpItsOwnTasksOnly) {
  const std::string fast = settings(1000, 2000);
  const auto frozen = start(directory / "shared", {fast});
  ASSERT_TRUE(eventually([&] {
    produce(10);
    return frozen->err().find("task assigned") != std::string::npos;
  }));
  const auto beside = start(directory / "shared", {fast});
  ASSERT_TRUE(eventually([&] {
    produce(10);
    return beside->err().find("task assigned") != std::string::npos;
  })) << beside->err();
  frozen->signal(SIGSTOP);
  ASSERT_TRUE(eventually([&] {
    produce(10);
    return beside->err().find("no longer answers the group") != std::string::npos;
  })) << beside->err();
  const auto elsewhere = start(directory / "elsewhere", {fast});
  EXPECT_TRUE(eventually([&] {
    produce(10);
    return elsewhere->err().find("task assigned") != std::string::npos;
  })) << elsewhere->err()
      << beside->err();
  frozen->kill9();  // and the claims are free
  for (const auto& program : {beside.get(), elsewhere.get()}) program->kill9();
  expectExact(directory / "shared");
}

TEST_F(Zombies, KillsOfClientsAndOfTheBroker) {
  if (!broker().ours()) return;
  std::mt19937 random(static_cast<unsigned>(fault::firstSeed()));
  const int kills = fault::scaled(2, 5, 20);
  const int each = fault::scaled(1000, 3000, 100000 / (2 * 20));
  for (int round = 0; round < 2 * kills; ++round) {
    const std::int64_t before = written(ids);
    const auto program = start(directory / "state");
    produce(each);
    const auto some = static_cast<std::int64_t>(random()) % each;
    ASSERT_TRUE(eventually([&] { return written(ids) >= before + some; })) << program->err();
    if (round % 2 == 0) {
      program->kill9();
      continue;
    }
    broker().kill9();
    broker().restart();
    produce(each);
    EXPECT_FALSE(program->ended());
    program->signal(SIGTERM);
    const testing::Finished ended = program->wait();
    EXPECT_EQ(ended.exitCode, 0) << ended.err;
  }
  expectExact(directory / "state");
  std::printf("row 23: %d kills of clients and of the broker, %d records\n", 2 * kills, produced);
}

}  // namespace
}  // namespace penstock::kafka
