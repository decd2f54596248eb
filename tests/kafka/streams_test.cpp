// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <penstock/application.h>
#include <penstock/error.h>
#include <penstock/state/errors.h>

#include <csignal>
#include <filesystem>

#include "tests/kafka/wordcount.h"

namespace penstock::kafka {
namespace {

using ::testing::HasSubstr;

class KafkaStreams : public WordcountTest {
 protected:
  /// Where the group stands.
  Offset positionOf(const TopicPartition& partition) {
    const auto stored = transport->consumer({.group = id})->committed({partition}, 10s);
    const auto found = stored.find(partition);
    return found == stored.end() ? Offset{0} : found->second;
  }
};

TEST_F(KafkaStreams, CountsToTheEndAndGoesOnFromThere) {
  produceLines(1000);
  const auto first = testing::Subprocess(untilEnd(), environment()).wait();
  ASSERT_EQ(first.exitCode, 0) << first.err;
  EXPECT_EQ(counts(), expected());
  produceLines(500);
  const auto second = testing::Subprocess(untilEnd(), environment()).wait();
  ASSERT_EQ(second.exitCode, 0) << second.err;
  EXPECT_EQ(counts(), expected());
  const auto group = transport->consumer({.group = id});
  const auto stored = group->committed({{input, {0}}, {input, {1}}}, 10s);
  ASSERT_EQ(stored.size(), 2U);
  EXPECT_EQ(stored.at({input, {0}}).value, 750);
}

TEST_F(KafkaStreams, StateThatIsLostComesBackFromItsChangelog) {
  produceLines(100);
  ASSERT_EQ(testing::Subprocess(untilEnd(), environment()).wait().exitCode, 0);
  std::filesystem::remove_all(state.path());
  std::filesystem::create_directory(state.path());
  produceLines(100);
  const auto ended = testing::Subprocess(untilEnd(), environment()).wait();
  ASSERT_EQ(ended.exitCode, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("state restored"));
  EXPECT_EQ(counts(), expected());
  EXPECT_EQ(sumOfCounts(state.path()), 400);
}

TEST_F(KafkaStreams, AnOldCopyOfTheStateIsBroughtUpToDate) {
  produceLines(100);
  ASSERT_EQ(testing::Subprocess(untilEnd(), environment()).wait().exitCode, 0);
  const testing::TemporaryDirectory copy;
  std::filesystem::copy(
      state.path(), copy.path(),
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  produceLines(100);
  ASSERT_EQ(testing::Subprocess(untilEnd(), environment()).wait().exitCode, 0);
  std::filesystem::remove_all(state.path());
  std::filesystem::copy(copy.path(), state.path(), std::filesystem::copy_options::recursive);
  produceLines(100);
  const auto ended = testing::Subprocess(untilEnd(), environment()).wait();
  ASSERT_EQ(ended.exitCode, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("state restored"));
  EXPECT_EQ(counts(), expected());
  EXPECT_EQ(sumOfCounts(state.path()), 600);
}

TEST_F(KafkaStreams, AtLeastOnceCountsToTheEndToo) {
  produceLines(500);
  const auto first = testing::Subprocess(untilEnd("at-least-once"), environment()).wait();
  ASSERT_EQ(first.exitCode, 0) << first.err;
  std::filesystem::remove_all(state.path());
  std::filesystem::create_directory(state.path());
  produceLines(500);
  const auto second = testing::Subprocess(untilEnd("at-least-once"), environment()).wait();
  ASSERT_EQ(second.exitCode, 0) << second.err;
  EXPECT_EQ(counts(), expected());
}

TEST_F(KafkaStreams, AStatelessApplicationGoesOnWhereTheGroupStands) {
  const std::string stateless = freshName("stateless");
  const std::string numbersTopic = makeTopic(2);
  const std::string sums = makeTopic(2);
  ApplicationOptions options;
  options.id = stateless;
  options.broker = broker().address();
  options.stateDirectory = state.path();
  options.guarantee = Guarantee::AtLeastOnce;
  options.untilEnd = true;
  options.handleSignals = false;
  for (int i = 0; i < 3; ++i) {
    produceNumbers(numbersTopic, 0, 1000, i * 1000);
    Application application(options);
    application.stream<None, std::string_view>(numbersTopic).to(sums);
    application.run();
  }
  EXPECT_EQ(transport->describeTopic(sums)->partitions[0].end.value +
                transport->describeTopic(sums)->partitions[1].end.value,
            3000);
}

TEST_F(KafkaStreams, AKilledProcessGetsItsPartitionsBackAndLosesNothing) {
  produceLines(2000);
  for (int round = 0; round < 3; ++round) {
    testing::Subprocess program(command(), environment());
    const std::int64_t before = transport->describeTopic(output)->partitions[0].end.value;
    produceLines(200);
    ASSERT_TRUE(eventually([&] {
      return transport->describeTopic(output)->partitions[0].end.value > before;
    })) << program.err();
    program.kill9();
  }
  const auto last = testing::Subprocess(untilEnd(), environment()).wait();
  ASSERT_EQ(last.exitCode, 0) << last.err;
  EXPECT_EQ(counts(), expected());
  EXPECT_EQ(sumOfCounts(state.path()), 2 * 2600);
}

TEST_F(KafkaStreams, ProcessesShareOneStateDirectory) {
  testing::Subprocess first(command(), environment());
  testing::Subprocess second(command(), environment());
  for (testing::Subprocess* const program : {&first, &second}) {
    EXPECT_TRUE(eventually([&] {
      return program->err().find("task assigned") != std::string::npos;
    })) << program->err();
    produceLines(100);
  }
  for (testing::Subprocess* const program : {&first, &second}) {
    program->signal(SIGTERM);
    const testing::Finished ended = program->wait(30s);
    EXPECT_EQ(ended.exitCode, 0) << ended.err;
  }
  auto asBoth = environment();  // takes the places of both, which the group still keeps for them
  asBoth.emplace_back("PENSTOCK_WORKERS=2");
  const testing::Finished rest = testing::Subprocess(untilEnd(), asBoth).wait();
  ASSERT_EQ(rest.exitCode, 0) << rest.err;
  EXPECT_EQ(counts(), expected());
  EXPECT_EQ(sumOfCounts(state.path()), 2 * produced);
}

// Only the end commits: the words that lines became show that they were processed, and are there
// without a commit.
TEST_F(KafkaStreams, SignalsCommitAndEndIt) {
  const std::string words = id + "-words-repartition";
  const auto recordsIn = [&](const std::string& topic) {
    const auto found = transport->describeTopic(topic);
    return found ? found->partitions[0].end.value + found->partitions[1].end.value : 0;
  };
  const auto read = [&] { return positionOf({input, {0}}).value + positionOf({input, {1}}).value; };
  for (const int signal : {SIGTERM, SIGINT}) {
    const int before = produced;
    produceLines(100);
    auto arguments = command("at-least-once");
    arguments.back() = "3600000";  // --commit-interval
    testing::Subprocess program(arguments, environment());
    EXPECT_TRUE(eventually([&] { return recordsIn(words) == 2 * produced; })) << program.err();
    EXPECT_EQ(read(), before);
    program.signal(signal);
    const testing::Finished ended = program.wait(30s);
    EXPECT_EQ(ended.exitCode, 0) << ended.err;
    EXPECT_EQ(read(), produced);
    EXPECT_EQ(sumOfCounts(state.path()),
              positionOf({words, {0}}).value + positionOf({words, {1}}).value);
  }
  const testing::Finished rest =
      testing::Subprocess(untilEnd("at-least-once"), environment()).wait();
  EXPECT_EQ(rest.exitCode, 0) << rest.err;
  EXPECT_EQ(recordsIn(words), 2 * produced) << "nothing was read twice";
  EXPECT_EQ(counts(), expected());
}

TEST_F(KafkaStreams, AnIntervalThatATransactionCannotLastIsRefused) {
  auto arguments = command();
  arguments.back() = "6000";
  const auto ended = testing::Subprocess(arguments, environment()).wait();
  EXPECT_EQ(ended.exitCode, 2);
  EXPECT_THAT(ended.err, HasSubstr("commitInterval of 6000 ms"));
  EXPECT_THAT(ended.err, HasSubstr("transaction.timeout.ms 10000"));
}

TEST_F(KafkaStreams, AnUnreachableBrokerIsAnErrorInTime) {
  auto arguments = command();
  arguments[2] = "kafka://127.0.0.1:1";
  const testing::Finished ended = testing::Subprocess(arguments, environment()).wait(60s);
  EXPECT_EQ(ended.exitCode, 4) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("127.0.0.1:1"));
}

TEST_F(KafkaStreams, ASignalWhileTheBrokerIsOutOfReachEndsIt) {
  for (const int signal : {SIGTERM, SIGINT}) {
    auto arguments = command();
    arguments[2] = "kafka://127.0.0.1:1";
    auto variables = environment();
    variables.emplace_back("PENSTOCK_STOP_TIMEOUT_MS=50");
    testing::Subprocess program(arguments, variables);
    EXPECT_TRUE(eventually([&] { return program.err().find("127.0.0.1:1") != std::string::npos; }));
    program.signal(signal);
    const testing::Finished ended = program.wait(30s);
    EXPECT_EQ(ended.exitCode, 0) << ended.err;
  }
}

TEST_F(KafkaStreams, AnUnknownInputIsRefusedByName) {
  auto arguments = command();
  arguments[4] = freshName("missing");
  const auto ended = testing::Subprocess(arguments, environment()).wait();
  EXPECT_EQ(ended.exitCode, 2);
  EXPECT_THAT(ended.err, HasSubstr(arguments[4]));
}

}  // namespace
}  // namespace penstock::kafka
