// SPDX-License-Identifier: Apache-2.0
#include "samples/wordcount_topology.h"

#include <gtest/gtest.h>
#include <penstock/test_driver.h>

#include <map>
#include <random>
#include <string>

#include "support/test_seed.h"

namespace penstock {
namespace {

TEST(WordcountTest, CountsLowerCasedWordsOfLettersAndDigits) {
  Application app({.id = "wordcount"});
  wordcountTopology(app, "lines", "counts");
  TestDriver driver(app, {.partitions = 3});
  driver.pipe("lines", None{}, "To be, or not to be: 42 is THE 42nd answer");
  driver.pipe("lines", None{}, "--");
  driver.pipe("lines", None{}, "don't be");
  const std::map<std::string, std::int64_t> expected{
      {"to", 2},  {"be", 3},   {"or", 1},     {"not", 1}, {"42", 1}, {"is", 1},
      {"the", 1}, {"42nd", 1}, {"answer", 1}, {"don", 1}, {"t", 1}};
  EXPECT_EQ((driver.readTable<std::string, std::int64_t>("counts")), expected);
  EXPECT_EQ((driver.readStore<std::string, std::int64_t>("words")), expected);
}

TEST(WordcountTest, CountsAreBigEndianInt64KeyedByTheWord) {
  Application app({.id = "wordcount"});
  wordcountTopology(app, "lines", "counts");
  TestDriver driver(app);
  driver.pipe("lines", None{}, "a", {.timestamp = EventTime{77}});
  const std::vector<Record> records = driver.take("counts");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].key, "a");
  EXPECT_EQ(records[0].value, std::string("\0\0\0\0\0\0\0\1", 8));
  EXPECT_EQ(records[0].timestamp, EventTime{77});
}

// Kills at random points between commits; the last count of each word must be exact.
TEST(WordcountTest, CrashesLoseAndRepeatNothing) {
  std::mt19937 random(testing::testSeed());
  Application app({.id = "wordcount"});
  wordcountTopology(app, "lines", "counts");
  TestDriver driver(app, {.partitions = 2, .commitAtOnce = false});
  std::map<std::string, std::int64_t> expected;
  for (int line = 0; line < 500; ++line) {
    std::string text;
    for (int word = 0; word < 5; ++word) {
      const std::string chosen = "w" + std::to_string(random() % 40);
      ++expected[chosen];
      text += chosen + " ";
    }
    driver.pipe("lines", None{}, text, {.partition = PartitionIndex{line % 2}});
    if (random() % 10 == 0) driver.commit();
    if (random() % 10 == 0) driver.crash();
  }
  driver.commit();
  EXPECT_EQ((driver.readTable<std::string, std::int64_t>("counts")), expected);
  driver.crash();
  EXPECT_EQ((driver.readStore<std::string, std::int64_t>("words")), expected);
}

}  // namespace
}  // namespace penstock
