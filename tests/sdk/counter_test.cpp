// SPDX-License-Identifier: Apache-2.0
//
// Goal: the sample `counter` counts exactly however often it is killed, because counts and
// position are one batch.
#include <gtest/gtest.h>
#include <penstock/state/local_file_storage.h>
#include <penstock/streaming_client.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <random>

#include "support/build_paths.h"
#include "support/counter_kills.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"
#include "support/test_seed.h"

namespace penstock {
namespace {

using testing::TemporaryDirectory;

TEST(Counter, CountsExactlyOverKills) {
  const unsigned seed = testing::testSeed();
  const TemporaryDirectory directory;
  const StreamingClient client(directory / "topics");
  client.createTopic("t", {.partitions = 3});
  std::mt19937 random(seed);
  std::map<std::string, std::int64_t> expected;
  TopicProducer producer = client.producer("t");
  for (int i = 0; i < 300000; ++i) {
    const std::string key = "k" + std::to_string(random() % 2000);
    ++expected[key];
    producer.post({.key = key, .value = "v"});
  }
  producer.close();

  testing::CounterRuns runs =
      testing::runCounterOverKills(directory / "topics", "t", directory / "state", 20, seed);
  EXPECT_EQ(runs.errors, "");
  EXPECT_EQ(runs.counts, expected);
  EXPECT_GE(runs.kills, 5) << "it ended before it could be killed at work";

  // more records: goes on from there
  client.producer("t").send({.key = "k0", .value = "v"}).get();
  ++expected["k0"];
  runs = testing::runCounterOverKills(directory / "topics", "t", directory / "state", 0, seed);
  EXPECT_EQ(runs.counts, expected);
}

TEST(Counter, EndsCleanlyWhenTold) {
  const TemporaryDirectory directory;
  const StreamingClient client(directory / "topics");
  client.createTopic("t");
  client.producer("t").send({.value = "word"}).get();
  testing::Subprocess counter({testing::buildDirectory() + "/samples/counter", "--broker",
                               directory / "topics", "--input", "t", "--state",
                               directory / "state"});
  // at work once it has its state's directory
  EXPECT_TRUE(testing::eventually([&] { return std::filesystem::exists(directory / "state"); }));
  counter.signal(SIGTERM);
  const testing::Finished finished = counter.wait();
  EXPECT_EQ(finished.exitCode, 0) << finished.err;
}

TEST(Counter, RefusesATopicThatIsNotThere) {
  const TemporaryDirectory directory;
  const testing::Finished finished = testing::runProgram(
      {testing::buildDirectory() + "/samples/counter", "--broker", directory / "topics", "--input",
       "t", "--state", directory / "state", "--until-end"});
  EXPECT_EQ(finished.exitCode, 2);
  EXPECT_NE(finished.err.find("there is no topic 't'"), std::string::npos) << finished.err;
}

TEST(Counter, EndsWithTheCodeOfItsError) {
  const std::string counter = testing::buildDirectory() + "/samples/counter";
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {counter, "--input", "t"},
           {counter, "--broker", "file:///tmp", "--no-such-option"},
           {counter, "--broker", "mqtt://host", "--input", "t"},
           {counter, "--broker", "file:///dev/null/topics", "--input", "t"}}) {
    const TemporaryDirectory directory;
    const testing::Finished finished =
        testing::runProgram(wrong, "", {"PENSTOCK_STATE_DIR=" + (directory / "state")});
    EXPECT_EQ(finished.exitCode, 2) << finished.err;
    EXPECT_NE(finished.err, "");
  }
  EXPECT_EQ(testing::runProgram({counter, "--help"}).exitCode, 0);

  // its directory is held by another process: passing
  const TemporaryDirectory directory;
  const state::LocalFileStorage held(directory / "state");
  const testing::Finished finished =
      testing::runProgram({counter, "--broker", directory / "topics", "--input", "t", "--state",
                           directory / "state"});
  EXPECT_EQ(finished.exitCode, 4);
  EXPECT_NE(finished.err.find("is in use by pid"), std::string::npos) << finished.err;
}

TEST(Counter, RefusesCountsOfATopicThatWasMadeAnew) {
  const TemporaryDirectory directory;
  const StreamingClient client(directory / "topics");
  client.createTopic("t");
  client.producer("t").send({.value = "a"}).get();
  EXPECT_EQ(testing::runCounterOverKills(directory / "topics", "t", directory / "state", 0, 1)
                .counts["a"],
            1);
  client.deleteTopic("t");
  client.createTopic("t");
  client.producer("t").send({.value = "b"}).get();
  const testing::CounterRuns again =
      testing::runCounterOverKills(directory / "topics", "t", directory / "state", 0, 1);
  EXPECT_NE(again.errors.find("another topic of that name"), std::string::npos) << again.errors;
}

}  // namespace
}  // namespace penstock
