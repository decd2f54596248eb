// SPDX-License-Identifier: Apache-2.0
//
// Goal: an Application in this process against the broker: what it counts, where its group
// stands, and how it ends when something is wrong.
#include <gmock/gmock.h>
#include <penstock/application.h>
#include <penstock/kafka_error.h>
#include <penstock/stream_errors.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "tests/kafka/kafka_test.h"
#include "tests/support/log_lines.h"
#include "tests/support/temporary_directory.h"

namespace penstock::kafka {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ApplicationOnKafka : public KafkaTest {
 protected:
  using Counts = std::map<std::string, std::int64_t>;

  const std::string id = freshName("application");
  testing::TemporaryDirectory state;

  ApplicationOptions optionsFor(const std::string& directory) const {
    ApplicationOptions options;
    options.id = id;
    options.broker = broker().address();
    options.stateDirectory = directory;
    options.commitInterval = 20ms;
    options.handleSignals = false;
    return options;
  }
  ApplicationOptions untilEnd() const {
    ApplicationOptions options = optionsFor(state.path());
    options.untilEnd = true;
    return options;
  }

  /// One record per key, without a value.
  void produceKeys(const std::string& topic, const std::vector<std::string>& keys,
                   std::int32_t partition = 0) {
    const auto producer = transport->producer({});
    for (const std::string& key : keys) {
      RecordView record;
      record.key = key;
      record.timestamp.ms = 1000;
      producer->send(topic, PartitionIndex{partition}, record, {});
    }
    producer->close();
  }

  /// Counts `topic` by key into store `name`; throws at key "bad".
  static void count(Application& application, const std::string& topic, const std::string& name) {
    application.stream<std::string_view, None>(topic)
        .filter([](std::string_view key, const None&) {
          if (key == "bad") throw std::runtime_error("no bad ones");
          return true;
        })
        .groupByKey()
        .count({.name = name});
  }
  static void runCount(const ApplicationOptions& options, const std::string& topic) {
    Application application(options);
    count(application, topic, "counts");
    application.run();
  }

  /// What store `name` of one partition holds.
  Counts stored(const std::string& name, std::int32_t partition = 0) const {
    const auto journal = openState();
    const auto store = journal->findStore(name + "/" + std::to_string(partition));
    Counts counts;
    if (!store) return counts;
    journal->store(*store)->scan("", "", [&](std::string_view key, std::string_view value) {
      Serde<std::int64_t>::decode(value, counts[std::string(key)]);
      return true;
    });
    return counts;
  }

  std::shared_ptr<state::Journal> openState() const {
    state::JournalOptions options;
    options.sharing = state::Sharing::Shared;
    return state::Journal::open(state.path() + "/" + id, options);
  }

  /// Counts two partitions, takes a part of what belongs to the second away, and counts on.
  /// What the second run threw; null when it went on.
  std::exception_ptr countOnWithout(const std::function<void(const std::string& topic)>& takeAway) {
    const std::string topic = makeTopic(2);
    produceKeys(topic, {"a", "a"}, 0);
    produceKeys(topic, {"b"}, 1);
    runCount(untilEnd(), topic);
    takeAway(topic);
    produceKeys(topic, {"a"}, 0);
    produceKeys(topic, {"b"}, 1);
    std::exception_ptr thrown;
    for (int round = 0; round < 2; ++round) {  // the first refusal takes nothing away either
      try {
        runCount(untilEnd(), topic);
      } catch (...) {
        thrown = std::current_exception();
      }
    }
    return thrown;
  }
  void expectRefused(const std::exception_ptr& thrown, const std::string& message) const {
    ASSERT_TRUE(thrown) << "went on without a part of its state";
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::RestoreState) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  }
  void erasePosition(const std::string& task) const {
    const auto journal = openState();
    const state::StoreId group = *journal->findStore("group");
    ASSERT_TRUE(journal->store(group)->contains("task/" + task));
    state::Commit commit;
    commit.erase(group, "task/" + task);
    journal->commit(commit);
  }
  void removeStore(const std::string& name) const {
    const auto journal = openState();
    journal->removeStore(*journal->findStore(name));
  }

  Offset committed(const TopicPartition& partition) {
    const auto group = transport->consumer({.group = id});
    const auto stored = group->committed({partition}, 10s);
    const auto found = stored.find(partition);
    return found == stored.end() ? Offset{-1} : found->second;
  }
};

TEST_F(ApplicationOnKafka, ARecordThatFailsEndsItAtTheLastCommit) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a", "b"});
  runCount(untilEnd(), topic);
  produceKeys(topic, {"a", "bad", "b"});
  for (int round = 0; round < 2; ++round) {  // it is still there, and is not passed over
    try {
      runCount(untilEnd(), topic);
      ADD_FAILURE() << "the bad record was passed over";
    } catch (const RecordError& error) {
      EXPECT_THAT(error.what(), HasSubstr("no bad ones"));
      EXPECT_EQ(error.offset(), Offset{3});
    }
    const Counts counts = stored("counts");
    EXPECT_LE(counts.at("a"), 2);
    EXPECT_EQ(counts.at("b"), 1);
  }
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::Skip;
  runCount(options, topic);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}, {"b", 2}}));
}

TEST_F(ApplicationOnKafka, ASignalCommitsWhatWasProcessed) {
  const std::string topic = makeTopic(1);
  const std::string out = makeTopic(1);
  ApplicationOptions options = optionsFor(state.path());
  options.handleSignals = true;
  options.guarantee = Guarantee::AtLeastOnce;
  options.commitInterval = std::chrono::hours(1);  // only the end commits
  int round = 0;
  for (const int signal : {SIGTERM, SIGINT}) {
    produceKeys(topic, {"a", "b", "a"});
    Application application(options);
    application.stream<std::string_view, None>(topic)
        .groupByKey()
        .count({.name = "counts"})
        .toStream()
        .to(out);
    std::thread runs([&] { application.run(); });
    EXPECT_TRUE(eventually([&] { return application.metrics().recordsIn == 3; }));
    EXPECT_EQ(committed({topic, {0}}), Offset{3 * round});
    std::raise(signal);
    runs.join();
    ++round;
    EXPECT_EQ(committed({topic, {0}}), Offset{3 * round});
    EXPECT_EQ(stored("counts"), (Counts{{"a", 2 * round}, {"b", round}}));
    EXPECT_EQ(transport->describeTopic(out)->partitions[0].end, Offset{2 * round});
  }
}

TEST_F(ApplicationOnKafka, ARecordThatFailsIsSkippedAndCounted) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a", "bad", "a"});
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::Skip;
  Application application(options);
  count(application, topic, "counts");
  application.run();
  EXPECT_EQ(application.metrics().skipped, 1U);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}}));
  EXPECT_EQ(committed({topic, {0}}), Offset{3});
}

TEST_F(ApplicationOnKafka, ARecordThatFailsGoesToTheDeadLetterTopic) {
  const std::string topic = makeTopic(1);
  const std::string letters = makeTopic(1);
  produceKeys(topic, {"a", "bad", "a"});
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::DeadLetter;
  options.deadLetterTopic = letters;
  runCount(options, topic);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}}));
  const auto consumer = transport->consumer({});
  consumer->assign({{letters, {0}}});
  const std::vector<Record> dead = readToEnd(*consumer, *transport);
  ASSERT_EQ(dead.size(), 1U);
  EXPECT_EQ(dead[0].key, "bad");
  const auto& headers = dead[0].headers;
  EXPECT_TRUE(std::any_of(headers.begin(), headers.end(), [](const Header& header) {
    return header.name == DeadLetterHeaders::reason &&
           header.value.value_or("").find("no bad ones") != std::string::npos;
  }));
}

TEST_F(ApplicationOnKafka, MissingOutputsAreCreatedWithTheTasksOfTheirWritersAndLogged) {
  const std::string topic = makeTopic(3);
  const std::string out = freshName("out");
  const std::string dead = freshName("dead");
  produceKeys(topic, {"a", "a"});
  ApplicationOptions options = untilEnd();
  options.errorPolicy = ErrorPolicy::DeadLetter;
  options.deadLetterTopic = dead;
  const auto run = [&] {
    const testing::LogLines log;
    Application application(options);
    application.stream<std::string_view, None>(topic)
        .selectKey([](std::string_view key, const None&) { return key; })
        .groupByKey({.name = "again", .partitions = 2})
        .count({.name = "counts"})
        .toStream()
        .to(out);
    application.run();
    return log.get();
  };
  const auto made = [&](const std::string& name, int partitions) {
    return ::testing::Contains(HasSubstr("INFO    kafka: made a topic topic=" + name +
                                         " partitions=" + std::to_string(partitions) +
                                         " brokers=" + broker().servers()));
  };
  const std::vector<std::string> first = run();
  EXPECT_THAT(first, made(dead, 3));  // all parts write it, the first one has three tasks
  EXPECT_THAT(first, made(out, 2));
  EXPECT_EQ(transport->partitionCount(dead), 3);
  EXPECT_EQ(transport->partitionCount(out), 2);
  EXPECT_THAT(run(), ::testing::Not(::testing::Contains(HasSubstr("made a topic"))));
}

TEST_F(ApplicationOnKafka, WorkersShareTheTasksAndCountExactly) {
  const std::string topic = makeTopic(4);
  const auto keyOf = [](int number) { return "k" + std::to_string(number); };
  std::mutex mutex;
  std::map<std::string, std::thread::id> workers;  // the latest one of each key
  const auto describe = [&](Application& application) {
    application.stream<std::string_view, None>(topic)
        .peek([&](std::string_view key, const None&) {
          const std::lock_guard lock(mutex);
          workers[std::string(key)] = std::this_thread::get_id();
        })
        .groupByKey()
        .count({.name = "counts"});
  };
  ApplicationOptions options = optionsFor(state.path());
  options.workers = 2;
  Application application(options);
  describe(application);
  auto runs = std::async(std::launch::async, [&] { application.run(); });
  int rounds = 0;
  EXPECT_TRUE(eventually([&] {
    for (int i = 0; i < 8; ++i) produceKeys(topic, {keyOf(i)}, i % 4);
    ++rounds;
    const std::lock_guard lock(mutex);
    std::set<std::thread::id> busy;
    for (const auto& [key, worker] : workers) busy.insert(worker);
    return busy.size() == 2;
  }));
  application.stop();
  runs.get();
  options.untilEnd = true;
  Application rest(options);
  describe(rest);
  rest.run();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(stored("counts", i), (Counts{{keyOf(i), rounds}, {keyOf(i + 4), rounds}}));
  }
}

TEST_F(ApplicationOnKafka, PartsDefinedInAnotherOrderGoOnWhereTheyWere) {
  const std::string a = makeTopic(1);
  const std::string b = makeTopic(1);
  const auto run = [&](bool swapped) {
    Application application(untilEnd());
    count(application, swapped ? b : a, swapped ? "of-b" : "of-a");
    count(application, swapped ? a : b, swapped ? "of-a" : "of-b");
    application.run();
  };
  produceKeys(a, {"k", "k", "k"});
  produceKeys(b, {"k"});
  run(false);
  produceKeys(a, {"k"});
  produceKeys(b, {"k", "k", "k"});
  run(true);
  EXPECT_EQ(stored("of-a"), (Counts{{"k", 4}}));
  EXPECT_EQ(stored("of-b"), (Counts{{"k", 4}}));
}

TEST_F(ApplicationOnKafka, ATopicMadeAnewIsNotReadOnFromTheSameNumber) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a", "a"});
  runCount(untilEnd(), topic);
  ASSERT_TRUE(transport->deleteTopic(topic));
  ASSERT_TRUE(transport->createTopic(topic, {.partitions = 1}));
  produceKeys(topic, {"b", "b", "b"});
  try {
    runCount(untilEnd(), topic);
    ADD_FAILURE() << "read on in another topic";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::RestoreState) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("offset 2 of topic " + topic));
    EXPECT_THAT(error.what(), HasSubstr("made anew"));
  }
  EXPECT_EQ(stored("counts"), (Counts{{"a", 2}}));
}

TEST_F(ApplicationOnKafka, ATaskThatLostItsPositionsAndItsStoreGetsThemBack) {
  const auto thrown = countOnWithout([&](const std::string& topic) {
    erasePosition(topic + "/1");
    removeStore("counts/1");
  });
  EXPECT_FALSE(thrown);
  EXPECT_EQ(stored("counts", 0), (Counts{{"a", 3}}));
  EXPECT_EQ(stored("counts", 1), (Counts{{"b", 2}}));
}

TEST_F(ApplicationOnKafka, ATaskThatLostItsStoreGetsItBack) {
  EXPECT_FALSE(countOnWithout([&](const std::string&) { removeStore("counts/1"); }));
  EXPECT_EQ(stored("counts", 1), (Counts{{"b", 2}}));
}

TEST_F(ApplicationOnKafka, ATaskThatLostItsPositionsIsRefused) {
  expectRefused(
      countOnWithout([&](const std::string& topic) { erasePosition(topic + "/1"); }),
      "has no positions, but its store counts/1 holds 1 keys: restore the state directory");
  EXPECT_EQ(stored("counts", 1), (Counts{{"b", 1}}));
}

TEST_F(ApplicationOnKafka, APositionThatAToolHasSetIsRefused) {
  expectRefused(countOnWithout([&](const std::string& topic) {
                  // As long as the group keeps the member's place, only that one may commit.
                  ASSERT_TRUE(eventually([&] {
                    try {
                      const auto tool = transport->consumer({.group = id});
                      tool->commit({{{topic, {1}}, Offset{0}}});
                      return true;
                    } catch (const state::Fenced&) {
                      return false;
                    }
                  }));
                }),
                "was it set by a tool?");
  EXPECT_EQ(stored("counts", 1), (Counts{{"b", 1}}));
}

TEST_F(ApplicationOnKafka, AChangelogThatLostRecordsIsRefused) {
  const std::string changelog = id + "-counts-changelog";
  expectRefused(
      countOnWithout([&](const std::string&) { ASSERT_TRUE(transport->deleteTopic(changelog)); }),
      "a changelog does not hold what a commit has left in it");
  EXPECT_EQ(stored("counts", 1), (Counts{{"b", 1}}));
}

TEST_F(ApplicationOnKafka, ChangesWithoutAPositionAreRefused) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a"});
  runCount(untilEnd(), topic);
  std::filesystem::remove_all(state.path() + "/" + id);
  ASSERT_TRUE(transport->deleteTopic(topic));  // and the group's position with it
  ASSERT_TRUE(transport->createTopic(topic, {.partitions = 1}));
  produceKeys(topic, {"b"});
  std::exception_ptr thrown;
  try {
    runCount(untilEnd(), topic);
  } catch (...) {
    thrown = std::current_exception();
  }
  expectRefused(thrown,
                "counts-changelog holds changes of its state, but the group has no position");
}

TEST_F(ApplicationOnKafka, AStartThatDiedBeforeItsFirstRecordBeginsAgain) {
  const std::string topic = makeTopic(1);
  {
    Application application(optionsFor(state.path()));
    count(application, topic, "counts");
    std::thread runs([&] { application.run(); });
    EXPECT_TRUE(eventually([&] { return committed({topic, {0}}) == Offset{0}; }));
    application.stop();
    runs.join();
  }
  std::filesystem::remove_all(state.path() + "/" + id);
  produceKeys(topic, {"a", "b"});
  runCount(untilEnd(), topic);
  EXPECT_EQ(stored("counts"), (Counts{{"a", 1}, {"b", 1}}));
}

TEST_F(ApplicationOnKafka, ChangelogsOfAnotherShapeAreRefusedByName) {
  const std::string topic = makeTopic(2);
  const std::string changelog = id + "-counts-changelog";
  const auto refused = [&](const std::string& message) {
    try {
      runCount(untilEnd(), topic);
      ADD_FAILURE() << "it ran";
    } catch (const ConfigurationError& error) {
      EXPECT_THAT(error.what(), HasSubstr(changelog));
      EXPECT_THAT(error.what(), HasSubstr(message));
    }
  };
  ASSERT_TRUE(transport->createTopic(changelog, {.partitions = 3}));
  refused("has 3 partitions, what is read has 2");
  ASSERT_TRUE(transport->deleteTopic(changelog));
  ASSERT_TRUE(transport->createTopic(changelog, {.partitions = 2}));
  refused("cleanup.policy delete: it would forget state");
  ASSERT_TRUE(transport->deleteTopic(changelog));
  ASSERT_TRUE(transport->createTopic(changelog,
                                     {.partitions = 2, .extra = {{"cleanup.policy", "compact"}}}));
  refused("delete.retention.ms by default: a store that is away for longer would keep");
}

TEST_F(ApplicationOnKafka, AValueThatItsChangelogDoesNotTakeIsRefusedByName) {
  const std::string topic = makeTopic(1);
  const std::string changelog = id + "-names-changelog";
  ASSERT_TRUE(transport->createTopic(changelog, {.partitions = 1,
                                                 .extra = {{"cleanup.policy", "compact"},
                                                           {"delete.retention.ms", "604800000"},
                                                           {"max.message.bytes", "2000"}}}));
  const auto runNames = [&] {
    Application application(untilEnd());
    application.stream<std::string, None>(topic).groupByKey().aggregate(
        [] { return std::string(); },
        [](const std::string& key, const None&, std::string& value) {
          value += std::string(key == "long" ? 1990 : 90, 'v');
        },
        {.name = "names"});
    application.run();
  };
  std::vector<std::string> keys;
  for (int i = 0; i < 200; ++i) keys.push_back("k" + std::to_string(i));
  produceKeys(topic, keys);
  runNames();  // more than 2,000 B together
  produceKeys(topic, {"long"});
  try {
    runNames();
    ADD_FAILURE() << "it was taken";
  } catch (const KafkaError& error) {
    EXPECT_EQ(error.code(), ErrorCode::FixData);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("store names/0, key \"long\""), HasSubstr(changelog),
                                    HasSubstr("1990 bytes"), HasSubstr("2000")));
  }
}

TEST_F(ApplicationOnKafka, PositionsBehindControlRecordsAreNotTakenBack) {
  const std::string topic = makeTopic(1);
  const std::string other = makeTopic(1);
  transaction({topic, {0}}, 3, true);
  const Offset end{4};
  const auto describe = [&](Application& application) {
    count(application, topic, "counts");
    count(application, other, "others");
  };
  Application application(optionsFor(state.path()));
  describe(application);
  std::thread runs([&] { application.run(); });
  EXPECT_TRUE(eventually([&] { return committed({topic, {0}}) == end; }));
  for (int round = 1; round <= 3; ++round) {
    produceKeys(other, {"k"});
    EXPECT_TRUE(eventually([&] { return committed({other, {0}}) == Offset{round}; }));
    EXPECT_EQ(committed({topic, {0}}), end);
  }
  application.stop();
  runs.join();
  transaction({topic, {0}}, 3, false);
  Application toTheEnd(untilEnd());
  describe(toTheEnd);
  toTheEnd.run();
  EXPECT_EQ(stored("counts"), (Counts{{"c0", 1}, {"c1", 1}, {"c2", 1}}));
}

// Its transaction would time out: first it does, then outputs wait until the record is processed.
TEST_F(ApplicationOnKafka, ARecordSlowerThanATransactionLastsIsCommittedAlone) {
  const std::string topic = makeTopic(1);
  const std::string out = makeTopic(1);
  produceKeys(topic, {"fast", "slow", "fast"});
  ApplicationOptions options = untilEnd();
  options.kafka["transaction.timeout.ms"] = "1000";
  Application application(options);
  application.stream<std::string_view, None>(topic)
      .flatMap<std::string_view, None>([](std::string_view key, const None&, const auto& emit) {
        emit(key, None{});
        const auto done = std::chrono::steady_clock::now() + 3s;
        if (key == "slow") eventually([&] { return std::chrono::steady_clock::now() >= done; });
        emit(key, None{});
      })
      .to(out);
  application.run();
  EXPECT_GE(application.metrics().restarts, 1U);
  const auto consumer = transport->consumer({});
  consumer->assign({{out, {0}}});
  std::vector<std::string> keys;
  for (const Record& record : readToEnd(*consumer, *transport)) keys.push_back(*record.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"fast", "fast", "slow", "slow", "fast", "fast"}));
}

TEST_F(ApplicationOnKafka, APositionThatVanishedIsNotResetAlsoWithoutStores) {
  const std::string topic = makeTopic(1);
  const std::string out = makeTopic(1);
  const auto run = [&] {
    Application application(untilEnd());
    application.stream<std::string_view, None>(topic).to(out);
    application.run();
  };
  produceKeys(topic, {"a"});
  run();
  ASSERT_TRUE(transport->deleteTopic(topic));
  ASSERT_TRUE(transport->createTopic(topic, {.partitions = 1}));
  produceKeys(topic, {"b"});
  std::exception_ptr thrown;
  try {
    run();
  } catch (...) {
    thrown = std::current_exception();
  }
  expectRefused(thrown, "has no position in topic " + topic);
}

TEST_F(ApplicationOnKafka, UncommittedRecordsAreRefusedByName) {
  ApplicationOptions options = untilEnd();
  options.kafka["isolation.level"] = "read_uncommitted";
  try {
    runCount(options, makeTopic(1));
    ADD_FAILURE() << "it ran";
  } catch (const ConfigurationError& error) {
    EXPECT_THAT(error.what(), HasSubstr("isolation.level"));
  }
}

TEST_F(ApplicationOnKafka, ACopyOfTheStateDirectoryPutsTheFirstOut) {
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a"});
  runCount(untilEnd(), topic);
  const testing::TemporaryDirectory copy;
  std::filesystem::copy(
      state.path(), copy.path(),
      std::filesystem::copy_options::recursive | std::filesystem::copy_options::overwrite_existing);
  const auto begin = [&](Application& application) {
    count(application, topic, "counts");
    return std::async(std::launch::async, [&application] { application.run(); });
  };
  Application first(optionsFor(state.path()));
  auto firstEnd = begin(first);
  ASSERT_TRUE(eventually([&] { return first.metrics().tasks == 1; }));
  Application second(optionsFor(copy.path()));
  auto secondEnd = begin(second);
  ASSERT_EQ(firstEnd.wait_for(60s), std::future_status::ready);
  try {
    firstEnd.get();
    ADD_FAILURE() << "two have one identity";
  } catch (const KafkaError& error) {
    EXPECT_EQ(error.code(), ErrorCode::FixConfiguration);
    EXPECT_THAT(error.what(), HasSubstr("copy of a state directory"));
  }
  EXPECT_TRUE(eventually([&] { return second.metrics().tasks == 1; }));
  second.stop();
  secondEnd.get();
}

TEST_F(ApplicationOnKafka, FiguresNeedNoBroker) {
  if (!broker().ours()) return;
  const std::string topic = makeTopic(1);
  produceKeys(topic, {"a"});
  ApplicationOptions options = optionsFor(state.path());
  options.kafka["penstock.timeout.ms"] = "300";
  options.kafka["session.timeout.ms"] = "30000";
  Application application(options);
  count(application, topic, "counts");
  std::thread runs([&] { application.run(); });
  EXPECT_TRUE(eventually([&] { return committed({topic, {0}}) == Offset{1}; }));
  const auto restarts = application.metrics().restarts;
  broker().freeze();
  // The lag is counted once a second.
  EXPECT_FALSE(eventually([&] { return application.metrics().restarts > restarts; }, 3s));
  EXPECT_EQ(application.metrics().lag, 0);
  broker().thaw();
  application.stop();
  runs.join();
}

}  // namespace
}  // namespace penstock::kafka
