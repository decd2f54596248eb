// SPDX-License-Identifier: Apache-2.0
//
// Goal: the members of a group share its partitions, in one process and in several; each record
// is read under one claim at a time; and what a member leaves, others take over from its last
// commit. Members in other processes are `penstock topics consume --group`, which commits what it
// has printed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>
#include <penstock/streaming_client.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "support/build_paths.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock {
namespace {

using testing::eventually;
using testing::Subprocess;
using testing::TemporaryDirectory;

constexpr std::chrono::milliseconds kMoment{1};

std::vector<std::string> linesOf(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t from = 0, end; (end = text.find('\n', from)) != std::string::npos;
       from = end + 1) {
    lines.push_back(text.substr(from, end - from));
  }
  return lines;
}

class FileGroups : public ::testing::Test {
 protected:
  FileGroups() : client(directory.path()) { client.createTopic("t", {.partitions = 6}); }

  /// Values first, first + 1, ... spread over the partitions.
  void produce(int first, int count) {
    TopicProducer producer = client.producer("t");
    for (int i = first; i < first + count; ++i) {
      const std::string value = std::to_string(i);
      producer.post({.value = value, .partition = PartitionIndex{i % 6}});
    }
    producer.close();
  }

  std::unique_ptr<Subprocess> member() {
    return std::make_unique<Subprocess>(std::vector<std::string>{
        testing::buildDirectory() + "/sdk/penstock", "topics", "consume", "t", "--address",
        directory.path(), "--group", "g", "--from-beginning"});
  }

  TemporaryDirectory directory;
  StreamingClient client;
};

TEST_F(FileGroups, MembersOfOneProcessShareEvenlyAndGiveBack) {
  std::vector<TopicPartition> won;
  std::vector<TopicPartition> gone;
  TopicConsumer first = client.consumer("t", {.group = "g"});
  const auto add = [](std::vector<TopicPartition>& to) {
    return [&to](const std::vector<TopicPartition>& some) {
      to.insert(to.end(), some.begin(), some.end());
    };
  };
  first.onRebalance({.assigned = add(won), .revoked = add(gone), .lost = {}});
  (void)first.poll(kMoment);
  EXPECT_EQ(first.assignment().size(), 6U);
  EXPECT_EQ(won.size(), 6U);

  auto second = std::make_unique<TopicConsumer>(client.consumer("t", {.group = "g"}));
  const auto shared = [&](std::size_t mine, std::size_t theirs) {
    return eventually([&] {
      (void)first.poll(kMoment);
      if (second) (void)second->poll(kMoment);
      return first.assignment().size() == mine &&
             (!second || second->assignment().size() == theirs);
    });
  };
  ASSERT_TRUE(shared(3, 3));
  EXPECT_EQ(gone.size(), 3U);
  std::set<TopicPartition> all;
  for (const TopicPartition& partition : first.assignment()) all.insert(partition);
  for (const TopicPartition& partition : second->assignment()) all.insert(partition);
  EXPECT_EQ(all.size(), 6U);
  second.reset();
  EXPECT_TRUE(shared(6, 0));
  first.close();
  EXPECT_EQ(gone.size(), 9U);
}

TEST_F(FileGroups, MoreMembersThanPartitionsLeaveSomeIdle) {
  client.createTopic("one", {.partitions = 1});
  TopicConsumer first = client.consumer("one", {.group = "g"});
  TopicConsumer second = client.consumer("one", {.group = "g"});
  ASSERT_TRUE(eventually([&] {
    (void)first.poll(kMoment);
    (void)second.poll(kMoment);
    return first.assignment().size() + second.assignment().size() == 1;
  }));
  TopicConsumer& idle = first.assignment().empty() ? first : second;
  TopicConsumer& busy = first.assignment().empty() ? second : first;
  busy.close();
  EXPECT_TRUE(eventually([&] {
    (void)idle.poll(kMoment);
    return idle.assignment().size() == 1;
  }));
}

TEST_F(FileGroups, MembersReadingDifferentTopicsGetTheirShareOfEach) {
  client.createTopic("u", {.partitions = 4});
  TopicConsumer both = client.consumer(std::vector<std::string>{"t", "u"}, {.group = "g"});
  TopicConsumer one = client.consumer("t", {.group = "g"});
  EXPECT_TRUE(eventually([&] {
    (void)both.poll(kMoment);
    (void)one.poll(kMoment);
    const auto owned = both.assignment();
    const auto ofU = std::count_if(owned.begin(), owned.end(),
                                   [](const auto& partition) { return partition.topic == "u"; });
    return ofU == 4 && owned.size() == 7 && one.assignment().size() == 3;
  }));
}

TEST_F(FileGroups, ARevokedMemberCommitsBeforeTheNextReads) {
  produce(0, 600);
  TopicConsumer first = client.consumer("t", {.group = "g", .batchRecordsMax = 10});
  std::map<std::string, int> seen;
  first.onRebalance({.assigned = {},
                     .revoked = [&](const std::vector<TopicPartition>&) { first.commit(); },
                     .lost = {}});
  const auto note = [&](const RecordBatch& batch) {
    for (const RecordView& record : batch.records) ++seen[std::string(*record.value)];
  };
  for (int i = 0; i < 12; ++i) note(first.poll(std::chrono::seconds(20)));
  TopicConsumer second = client.consumer("t", {.group = "g", .batchRecordsMax = 10});
  ASSERT_TRUE(eventually([&] {
    note(first.poll(kMoment));
    note(second.poll(kMoment));
    return seen.size() == 600;
  }));
  for (const auto& [value, times] : seen) EXPECT_EQ(times, 1) << value;
}

TEST_F(FileGroups, TwoProcessesShareATopic) {
  const auto first = member();
  const auto second = member();
  produce(0, 3000);
  // both get some of it once both are in; until then one may have read all there was
  int produced = 3000;
  ASSERT_TRUE(eventually([&] {
    produce(produced, 60);
    produced += 60;
    return !first->out().empty() && !second->out().empty();
  }));
  const auto count = [&] { return linesOf(first->out()).size() + linesOf(second->out()).size(); };
  ASSERT_TRUE(eventually([&] { return count() >= static_cast<std::size_t>(produced); }));
  first->signal(SIGTERM);
  second->signal(SIGTERM);
  const auto one = first->wait();
  const auto two = second->wait();
  EXPECT_EQ(one.exitCode, 0) << one.err;
  EXPECT_EQ(two.exitCode, 0) << two.err;
  std::map<std::string, int> seen;
  for (const std::string& line : linesOf(one.out + two.out)) ++seen[line];
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(produced));
  for (const auto& [value, times] : seen) EXPECT_EQ(times, 1) << value;
}

TEST_F(FileGroups, AKilledMemberLeavesItsShareToTheSurvivorWithoutLoss) {
  auto doomed = member();
  const auto survivor = member();
  int produced = 0;
  ASSERT_TRUE(eventually([&] {
    produce(produced, 60);
    produced += 60;
    return !doomed->out().empty() && !survivor->out().empty();
  })) << doomed->err()
      << survivor->err();
  // in the midst of a stream of records
  for (int i = 0; i < 5; ++i) {
    produce(produced, 600);
    produced += 600;
  }
  const auto dead = doomed->kill9();
  EXPECT_EQ(dead.signal, SIGKILL);
  produce(produced, 600);
  produced += 600;
  std::set<std::string> seen;
  const bool all = eventually([&] {
    for (const std::string& line : linesOf(dead.out + survivor->out())) seen.insert(line);
    return seen.size() == static_cast<std::size_t>(produced);
  });
  EXPECT_TRUE(all) << seen.size() << " of " << produced << " records were read";
  survivor->signal(SIGTERM);
  EXPECT_EQ(survivor->wait().exitCode, 0);
}

TEST_F(FileGroups, AGroupThatLostAllItsMembersGoesOnWhereItCommitted) {
  produce(0, 600);
  for (int round = 0; round < 5; ++round) {
    const auto one = member();
    ASSERT_TRUE(one->waitForOutput([&](const std::string& out) { return !out.empty(); }) ||
                round > 0)
        << one->err();
    (void)one->kill9();
    produce(600 + round * 60, 60);
  }
  TopicConsumer last = client.consumer("t", {.group = "g"});
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually([&] {
    (void)last.poll(kMoment);
    return last.assignment().size() == 6;
  }));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
}

TEST_F(FileGroups, LatestOfAGroupIsWhereItsFirstMemberCameInNotTheOneAfterIt) {
  const ConsumerOptions latest{.group = "g", .offsetReset = OffsetReset::Latest};
  produce(0, 6);  // before: not for this group
  {
    TopicConsumer first = client.consumer("t", latest);
    (void)first.poll(kMoment);
    EXPECT_EQ(first.assignment().size(), 6U);
    produce(6, 12);
  }  // gone without a commit
  TopicConsumer second = client.consumer("t", latest);
  std::size_t seen = 0;
  second.forEach([&](const TopicPartition&, const RecordView&) { ++seen; });
  EXPECT_EQ(seen, 12U);
}

}  // namespace
}  // namespace penstock
