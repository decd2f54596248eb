// SPDX-License-Identifier: Apache-2.0

// Applications on real files: what they count, how they end, what they refuse.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/application.h>
#include <penstock/state/backup.h>
#include <penstock/state/journal.h>
#include <penstock/stream_errors.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "file/record_codec.h"
#include "file/topic_catalog.h"
#include "support/log_lines.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using testing::eventually;
using ::testing::HasSubstr;

/// A directory of topics, seen from beside the application.
class Topics {
 public:
  Topics() {
    state::JournalOptions options;
    options.sharing = state::Sharing::Shared;
    journal_ = state::Journal::open(directory_.path(), options);
  }

  [[nodiscard]] const std::string& address() const { return directory_.path(); }
  [[nodiscard]] const std::shared_ptr<state::Journal>& journal() const { return journal_; }
  [[nodiscard]] file::TopicCatalog catalog() const { return file::TopicCatalog(journal_); }

  void create(const std::string& topic, std::int32_t partitions) {
    TopicConfig config;
    config.partitions = partitions;
    catalog().create(topic, config);
  }
  void write(const std::string& topic, std::size_t partition, const std::string& key,
             const std::string& value, std::int64_t timestampMs = 0) {
    writeMany(1, topic, partition, key, value, timestampMs);
  }
  /// As one batch, which is fetched as one.
  void writeMany(std::size_t count, const std::string& topic, std::size_t partition,
                 const std::string& key, const std::string& value, std::int64_t timestampMs = 0) {
    state::Commit commit;
    const state::LogId log = catalog().get(topic).logs.at(partition);
    RecordView record;
    record.key = key;
    record.value = value;
    record.timestamp.ms = timestampMs;
    for (; count > 0; --count) {
      file::encodeRecord(record, commit.recordBuffer(log));
      commit.recordAdded(log, timestampMs);
    }
    static_cast<void>(journal_->commit(commit, state::Durability::Buffered));
  }
  [[nodiscard]] std::vector<Record> read(const std::string& topic) const {
    std::vector<Record> records;
    const auto found = catalog().find(topic);
    if (!found) return records;
    for (const state::LogId log : found->logs) {
      state::LogReader reader(journal_, log, journal_->log(log).start);
      state::LogChunk chunk;
      file::RecordWalker walker(topic);
      while (reader.next(chunk, state::ReadLimit::Written)) {
        walker.start(chunk.bytes, chunk.baseOffset, chunk.count);
        RecordView record;
        while (walker.next(record)) records.push_back(record.copy());
      }
    }
    return records;
  }
  /// The last value per key, as int64.
  [[nodiscard]] std::map<std::string, std::int64_t> counts(const std::string& topic) const {
    std::map<std::string, std::int64_t> result;
    for (const Record& record : read(topic)) {
      std::uint64_t value = 0;
      for (const char c : *record.value) value = value << 8 | static_cast<unsigned char>(c);
      result[*record.key] = static_cast<std::int64_t>(value);
    }
    return result;
  }

 private:
  testing::TemporaryDirectory directory_;
  std::shared_ptr<state::Journal> journal_;
};

ApplicationOptions optionsFor(const Topics& topics) {
  ApplicationOptions options;
  options.id = "test";
  options.broker = topics.address();
  options.commitInterval = std::chrono::milliseconds(10);
  options.untilEnd = true;
  options.handleSignals = false;
  return options;
}

/// in: values are words -> counts, by way of a repartition topic.
void buildWordCount(Application& application) {
  application.stream<std::string_view, std::string_view>("in")
      .groupBy([](std::string_view, std::string_view word) { return word; }, {.name = "words"})
      .count({.name = "counts"})
      .toStream()
      .to("out");
}

void runWordCount(const ApplicationOptions& options) {
  Application application(options);
  buildWordCount(application);
  application.run();
}

std::string errorOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

using Counts = std::map<std::string, std::int64_t>;

TEST(ApplicationRunTest, CountsToTheEndAndGoesOnWhereItWas) {
  Topics topics;
  topics.create("in", 3);
  for (int i = 0; i < 100; ++i) {
    topics.write("in", static_cast<std::size_t>(i) % 3, "k", i % 4 == 0 ? "a" : "b");
  }
  runWordCount(optionsFor(topics));
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 25}, {"b", 75}}));

  topics.write("in", 0, "k", "a");
  runWordCount(optionsFor(topics));
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 26}, {"b", 75}}));

  const std::size_t before = topics.read("out").size();
  runWordCount(optionsFor(topics));  // nothing new: nothing written
  EXPECT_EQ(topics.read("out").size(), before);
}

TEST(ApplicationRunTest, EmptyInputEndsAtOnce) {
  Topics topics;
  topics.create("in", 2);
  runWordCount(optionsFor(topics));
  EXPECT_TRUE(topics.read("out").empty());
}

TEST(ApplicationRunTest, WorkersShareTheTasks) {
  Topics topics;
  topics.create("in", 5);
  for (int i = 0; i < 1000; ++i) {
    topics.write("in", static_cast<std::size_t>(i) % 5, "k", "w" + std::to_string(i % 7));
  }
  ApplicationOptions options = optionsFor(topics);
  options.workers = 3;
  Application application(options);
  buildWordCount(application);
  application.run();
  std::int64_t sum = 0;
  for (const auto& [word, count] : topics.counts("out")) sum += count;
  EXPECT_EQ(sum, 1000);
  const ApplicationMetrics metrics = application.metrics();
  EXPECT_EQ(metrics.recordsIn, 2000U);  // and the repartition topic
  EXPECT_GE(metrics.commits, 2U);
  EXPECT_GE(metrics.tasksAssigned, 10U);
  EXPECT_EQ(metrics.tasks, 0);
  EXPECT_GE(metrics.journal.commitEntries.sum, 2000U);
}

TEST(ApplicationRunTest, StopCommitsAndReturns) {
  Topics topics;
  topics.create("in", 1);
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  Application application(options);
  buildWordCount(application);
  std::thread runner([&] { application.run(); });
  topics.write("in", 0, "k", "a");
  EXPECT_TRUE(eventually([&] { return topics.counts("out") == Counts{{"a", 1}}; }));
  application.stop();
  runner.join();
  EXPECT_EQ(application.metrics().tasks, 0);
}

TEST(ApplicationRunTest, SignalCommitsAndReturns) {
  for (const int signal : {SIGTERM, SIGINT}) {
    Topics topics;
    topics.create("in", 1);
    ApplicationOptions options = optionsFor(topics);
    options.untilEnd = false;
    options.handleSignals = true;
    options.commitInterval = std::chrono::hours(1);  // only the end commits
    Application application(options);
    buildWordCount(application);
    topics.write("in", 0, "k", "a");
    std::thread runner([&] { application.run(); });
    EXPECT_TRUE(eventually([&] { return application.metrics().recordsIn > 0; }));
    std::raise(signal);
    runner.join();
    EXPECT_EQ(topics.read("test-words-repartition").size(), 1U) << "what was processed is there";
    runWordCount(optionsFor(topics));
    EXPECT_EQ(topics.counts("out"), (Counts{{"a", 1}}));
  }
}

// A backlog of 8 s at a millisecond for each record.
TEST(ApplicationRunTest, SignalEndsABacklogOfSlowRecordsInTime) {
  constexpr std::size_t backlog = 8000;
  Topics topics;
  topics.create("in", 1);
  topics.writeMany(backlog, "in", 0, "k", "a");
  ApplicationOptions options = optionsFor(topics);
  options.handleSignals = true;
  options.stopTimeout = std::chrono::seconds(3);
  std::atomic<std::size_t> processed{0};
  std::atomic<bool> slow{true};
  const auto copy = [&](Application& application) {
    application.stream<std::string_view, std::string_view>("in")
        .mapValues([&](std::string_view value) {
          ++processed;
          using Clock = std::chrono::steady_clock;
          const auto until = Clock::now() + std::chrono::milliseconds(slow ? 1 : 0);
          while (Clock::now() < until) std::this_thread::yield();
          return value;
        })
        .to("out");
  };
  Application application(options);
  copy(application);
  std::thread runner([&] { EXPECT_NO_THROW(application.run()); });
  EXPECT_TRUE(eventually([&] { return processed > 50; }));
  std::raise(SIGTERM);
  runner.join();
  const std::size_t stopped = processed;
  EXPECT_LT(stopped, backlog);
  EXPECT_EQ(topics.read("out").size(), stopped) << "what was processed is committed";
  slow = false;
  options.handleSignals = false;
  Application rest(options);
  copy(rest);
  rest.run();
  EXPECT_EQ(topics.read("out").size(), backlog);
  EXPECT_EQ(processed, backlog) << "nothing twice";
}

void buildCopy(Application& application) {
  application.stream<std::string_view, std::string_view>("in").to("out");
}

/// Runs an application until `condition` holds.
void runUntil(Application& application, const std::function<bool()>& condition) {
  std::thread runner([&] { EXPECT_NO_THROW(application.run()); });
  EXPECT_TRUE(eventually(condition));
  application.stop();
  runner.join();
}

TEST(ApplicationRunTest, CommitsAfterSoManyRecords) {
  Topics topics;
  topics.create("in", 1);
  topics.writeMany(1000, "in", 0, "k", "a");
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  options.commitInterval = std::chrono::hours(1);
  options.commitRecordsMax = 100;
  Application application(options);
  buildCopy(application);
  runUntil(application, [&] { return topics.read("out").size() >= 900; });
  // Slices are of at most 512 records, so not each hundred has a commit of its own.
  EXPECT_GE(application.metrics().commits, 2U);
}

TEST(ApplicationRunTest, CommitsWhenOutputsReachTheirBound) {
  Topics topics;
  topics.create("in", 1);
  topics.writeMany(1000, "in", 0, "k", std::string(100, 'v'));
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  options.commitInterval = std::chrono::hours(1);
  options.commitBytesMax = 10'000;
  Application application(options);
  buildCopy(application);
  runUntil(application, [&] { return topics.read("out").size() >= 900; });
  EXPECT_GE(application.metrics().commits, 2U);
}

/// Topics left, with one record, and right, with none; for an application that runs on.
ApplicationOptions mergingOptions(Topics& topics, std::chrono::milliseconds maxTaskIdle) {
  topics.create("left", 1);
  topics.create("right", 1);
  topics.write("left", 0, "l10", "v", 10);
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  options.maxTaskIdle = maxTaskIdle;
  return options;
}

void buildMerge(Application& application) {
  const auto left = application.stream<std::string_view, std::string_view>("left");
  const auto right = application.stream<std::string_view, std::string_view>("right");
  left.merge(right).to("out");
}

TEST(ApplicationRunTest, TaskWaitsForAnInputThatHasNothing) {
  Topics topics;
  Application application(mergingOptions(topics, std::chrono::hours(1)));
  buildMerge(application);
  std::thread runner([&] { EXPECT_NO_THROW(application.run()); });
  // It has committed: by then it would have processed the one that is there.
  EXPECT_TRUE(eventually([&] { return application.metrics().commits > 0; }));
  EXPECT_TRUE(topics.read("out").empty());
  topics.write("right", 0, "r5", "v", 5);
  topics.write("right", 0, "r20", "v", 20);
  EXPECT_TRUE(eventually([&] { return topics.read("out").size() >= 2; }));
  application.stop();
  runner.join();
  const std::vector<Record> records = topics.read("out");
  ASSERT_EQ(records.size(), 2U) << "r20 waits for left";
  EXPECT_EQ(records[0].key, "r5");
  EXPECT_EQ(records[1].key, "l10");
}

TEST(ApplicationRunTest, TaskGoesOnWhenAnInputHasNothingForTooLong) {
  Topics topics;
  Application application(mergingOptions(topics, std::chrono::milliseconds(20)));
  buildMerge(application);
  runUntil(application, [&] { return topics.read("out").size() == 1; });
}

TEST(ApplicationRunTest, RepartitionTopicIsTrimmedBehindWhatWasCommitted) {
  Topics topics;
  topics.create("in", 1);
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  Application application(options);
  buildWordCount(application);
  std::int64_t written = 0;
  runUntil(application, [&] {
    topics.write("in", 0, "k", "a");
    ++written;
    const auto words = topics.catalog().find("test-words-repartition");
    return words && topics.journal()->log(words->logs[0]).start > 0;
  });
  runWordCount(optionsFor(topics));
  const auto log = topics.journal()->log(topics.catalog().get("test-words-repartition").logs[0]);
  EXPECT_GT(log.start, 0U);
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", written}})) << "nothing that was needed is gone";
}

TEST(ApplicationRunTest, DeletedTopicIsNamed) {
  for (const std::string topic : {"in", "out"}) {
    Topics topics;
    topics.create("in", 1);
    topics.write("in", 0, "k", "a");
    ApplicationOptions options = optionsFor(topics);
    options.untilEnd = false;
    Application application(options);
    buildCopy(application);
    std::string message;
    std::thread runner([&] { message = errorOf([&] { application.run(); }); });
    EXPECT_TRUE(eventually([&] { return !topics.read("out").empty(); }));
    topics.catalog().remove(topic);
    if (topic == "out") topics.write("in", 0, "k", "b");
    runner.join();
    EXPECT_THAT(message, HasSubstr("topic " + topic + " of " + topics.address()));
    EXPECT_THAT(message, HasSubstr("deleted"));
  }
}

TEST(ApplicationRunTest, DeadLettersMayNotGoToAnInput) {
  Topics topics;
  topics.create("in", 1);
  ApplicationOptions options = optionsFor(topics);
  options.errorPolicy = ErrorPolicy::DeadLetter;
  options.deadLetterTopic = "in";
  EXPECT_THAT(errorOf([&] { runWordCount(options); }),
              AllOf(HasSubstr("deadLetterTopic"), HasSubstr("topic in")));
}

TEST(ApplicationRunTest, RunsOnce) {
  Topics topics;
  topics.create("in", 1);
  Application application(optionsFor(topics));
  buildWordCount(application);
  application.run();
  EXPECT_THAT(errorOf([&] { application.run(); }), HasSubstr("run() was called before"));
}

TEST(ApplicationRunTest, UnknownInputIsNamed) {
  Topics topics;
  EXPECT_THAT(errorOf([&] { runWordCount(optionsFor(topics)); }),
              AllOf(HasSubstr("topic in"), HasSubstr(topics.address()),
                    HasSubstr("penstock topics create")));
}

TEST(ApplicationRunTest, InputsReadTogetherNeedEqualPartitionCounts) {
  Topics topics;
  topics.create("left", 2);
  topics.create("right", 3);
  const std::string message = errorOf([&] {
    Application application(optionsFor(topics));
    const auto left = application.stream<std::string_view, std::string_view>("left");
    const auto right = application.stream<std::string_view, std::string_view>("right");
    left.merge(right).to("out");
    application.run();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("left"), HasSubstr("right"), HasSubstr("2 and 3")));
}

TEST(ApplicationRunTest, TopologyThatNoLongerFitsItsStateIsRefused) {
  Topics topics;
  topics.create("in", 1);
  runWordCount(optionsFor(topics));
  const std::string message = errorOf([&] {
    Application application(optionsFor(topics));
    application.stream<std::string_view, std::string_view>("in")
        .groupBy([](std::string_view, std::string_view word) { return word; }, {.name = "words"})
        .count({.name = "tallies"})
        .toStream()
        .to("out");
    application.run();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("no longer fits"), HasSubstr("counts"), HasSubstr("tallies"),
                             HasSubstr(topics.address())));
}

TEST(ApplicationRunTest, MissingStoreIsRefusedNeverCountedFromNothing) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "a");
  runWordCount(optionsFor(topics));
  const auto store = topics.journal()->findStore("test/counts/0");
  ASSERT_TRUE(store);
  topics.journal()->removeStore(*store);
  EXPECT_THAT(errorOf([&] { runWordCount(optionsFor(topics)); }),
              AllOf(HasSubstr("test/counts/0"), HasSubstr("not there")));
}

TEST(ApplicationRunTest, StateWithoutPositionsIsRefusedNeverCountedTwice) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "a");
  runWordCount(optionsFor(topics));
  const auto group = topics.journal()->findStore("test group");
  ASSERT_TRUE(group);
  state::Commit commit;
  commit.erasePrefix(*group, "task/");
  static_cast<void>(topics.journal()->commit(commit));
  EXPECT_THAT(errorOf([&] { runWordCount(optionsFor(topics)); }),
              AllOf(HasSubstr("no committed positions"), HasSubstr("test/counts/0")));
}

TEST(ApplicationRunTest, TopicMadeAnewIsNotReadOnFromTheSameNumber) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "a");
  runWordCount(optionsFor(topics));
  topics.catalog().remove("in");
  topics.create("in", 1);
  topics.write("in", 0, "k", "b");
  EXPECT_THAT(errorOf([&] { runWordCount(optionsFor(topics)); }),
              AllOf(HasSubstr("topic in"), HasSubstr("made anew")));
}

TEST(ApplicationRunTest, PartsDefinedInAnotherOrderGoOnWhereTheyWere) {
  Topics topics;
  topics.create("a", 1);
  topics.create("b", 1);
  const auto run = [&](const std::vector<std::string>& order) {
    Application application(optionsFor(topics));
    for (const std::string& topic : order) {
      application.stream<std::string_view, std::string_view>(topic)
          .groupByKey()
          .count({.name = topic + "-counts"})
          .toStream()
          .to(topic + "-out");
    }
    application.run();
  };
  for (int i = 0; i < 3; ++i) topics.write("a", 0, "k", "");
  topics.write("b", 0, "k", "");
  run({"a", "b"});
  topics.write("a", 0, "k", "");
  for (int i = 0; i < 3; ++i) topics.write("b", 0, "k", "");
  run({"b", "a"});
  EXPECT_EQ(topics.counts("a-out"), (Counts{{"k", 4}}));
  EXPECT_EQ(topics.counts("b-out"), (Counts{{"k", 4}}));
}

TEST(ApplicationRunTest, PositionBelowTheStartStopsTheTask) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "a");
  runWordCount(optionsFor(topics));
  for (int i = 0; i < 5; ++i) topics.write("in", 0, "k", "a");
  topics.journal()->trimLog(topics.catalog().get("in").logs[0], 4);
  EXPECT_THROW(runWordCount(optionsFor(topics)), state::PositionOutOfRange);
}

/// in: numbers as text; "bad" throws.
void buildParsing(Application& application) {
  application.stream<std::string_view, std::string_view>("in")
      .mapValues(
          [](std::string_view text) -> std::int64_t {
            if (text == "bad") throw std::runtime_error("cannot parse " + std::string(text));
            return std::stoll(std::string(text));
          },
          {.name = "parse"})
      .to("out");
}

TEST(ApplicationRunTest, FailingRecordIsNamedAndNothingOfItCommitted) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "1");
  topics.write("in", 0, "k", "bad");
  ApplicationOptions options = optionsFor(topics);
  options.commitInterval = std::chrono::hours(1);  // no commit between the two
  try {
    Application application(options);
    buildParsing(application);
    application.run();
    FAIL() << "no error";
  } catch (const RecordError& error) {
    EXPECT_EQ(error.node(), "parse");
    ASSERT_TRUE(error.source());
    EXPECT_EQ(error.source()->topic, "in");
    EXPECT_EQ(error.offset(), Offset{1});
    EXPECT_THAT(error.what(), HasSubstr("cannot parse bad"));
  }
  EXPECT_TRUE(topics.read("out").empty());
}

TEST(ApplicationRunTest, SkippedRecordIsCounted) {
  Topics topics;
  topics.create("in", 1);
  for (const char* value : {"1", "bad", "2"}) topics.write("in", 0, value, value);
  ApplicationOptions options = optionsFor(topics);
  options.errorPolicy = ErrorPolicy::Skip;
  Application application(options);
  buildParsing(application);
  application.run();
  EXPECT_EQ(topics.counts("out"), (Counts{{"1", 1}, {"2", 2}}));
  EXPECT_EQ(application.metrics().skipped, 1U);
}

TEST(ApplicationRunTest, DeadLetterHasTheRecordAndTheReason) {
  Topics topics;
  topics.create("in", 1);
  for (const char* value : {"1", "bad", "2"}) topics.write("in", 0, value, value, 77);
  ApplicationOptions options = optionsFor(topics);
  options.errorPolicy = ErrorPolicy::DeadLetter;
  options.deadLetterTopic = "dead";
  Application application(options);
  buildParsing(application);
  application.run();
  EXPECT_EQ(topics.counts("out"), (Counts{{"1", 1}, {"2", 2}}));
  EXPECT_EQ(application.metrics().deadLettered, 1U);
  const std::vector<Record> dead = topics.read("dead");
  ASSERT_EQ(dead.size(), 1U);
  EXPECT_EQ(dead[0].key, "bad");
  EXPECT_EQ(dead[0].value, "bad");
  EXPECT_EQ(dead[0].timestamp.ms, 77);
  std::map<std::string, std::string> headers;
  for (const Header& header : dead[0].headers) headers[header.name] = header.value.value_or("");
  EXPECT_EQ(headers[std::string(DeadLetterHeaders::topic)], "in");
  EXPECT_EQ(headers[std::string(DeadLetterHeaders::partition)], "0");
  EXPECT_EQ(headers[std::string(DeadLetterHeaders::offset)], "1");
  EXPECT_EQ(headers[std::string(DeadLetterHeaders::node)], "parse");
  EXPECT_THAT(headers[std::string(DeadLetterHeaders::reason)], HasSubstr("cannot parse bad"));
}

TEST(ApplicationRunTest, MissingOutputsAreCreatedWithTheTasksOfTheirWritersAndLogged) {
  Topics topics;
  topics.create("in", 3);
  topics.write("in", 0, "k", "w");
  ApplicationOptions options = optionsFor(topics);
  options.errorPolicy = ErrorPolicy::DeadLetter;
  options.deadLetterTopic = "dead";
  const auto run = [&] {
    const testing::LogLines log;
    Application application(options);
    application.stream<std::string_view, std::string_view>("in")
        .groupBy([](std::string_view, std::string_view word) { return word; },
                 {.name = "words", .partitions = 2})
        .count({.name = "counts"})
        .toStream()
        .to("out");
    application.run();
    return log.get();
  };
  const auto made = [&](const std::string& topic, int partitions) {
    return ::testing::Contains(AllOf(HasSubstr("INFO    file: made a topic topic=" + topic +
                                               " partitions=" + std::to_string(partitions)),
                                     HasSubstr("directory=" + topics.journal()->directory())));
  };
  const std::vector<std::string> first = run();
  EXPECT_THAT(first, made("dead", 3));  // all parts write it, the first one has three tasks
  EXPECT_THAT(first, made("out", 2));
  ASSERT_TRUE(topics.catalog().find("dead"));
  EXPECT_EQ(topics.catalog().get("dead").partitions(), 3);
  ASSERT_TRUE(topics.catalog().find("out"));
  EXPECT_EQ(topics.catalog().get("out").partitions(), 2);
  EXPECT_EQ(topics.counts("out"), (Counts{{"w", 1}}));
  EXPECT_THAT(run(), ::testing::Not(::testing::Contains(HasSubstr("made a topic"))));
}

TEST(ApplicationRunTest, AnOutputThatIsThereIsTakenAsItIs) {
  Topics topics;
  topics.create("in", 2);
  topics.create("out", 5);
  topics.write("in", 0, "k", "w");
  runWordCount(optionsFor(topics));
  EXPECT_EQ(topics.catalog().get("out").partitions(), 5);
  EXPECT_EQ(topics.counts("out"), (Counts{{"w", 1}}));
}

TEST(ApplicationRunTest, InputsAreMergedByTime) {
  Topics topics;
  topics.create("left", 1);
  topics.create("right", 1);
  for (int i = 0; i < 50; ++i) {
    topics.write(i % 3 == 0 ? "left" : "right", 0, std::to_string(i), "v", i);
  }
  Application application(optionsFor(topics));
  const auto left = application.stream<std::string_view, std::string_view>("left");
  const auto right = application.stream<std::string_view, std::string_view>("right");
  left.merge(right).to("out");
  application.run();
  const std::vector<Record> records = topics.read("out");
  ASSERT_EQ(records.size(), 50U);
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].key, std::to_string(i));
  }
}

TEST(ApplicationRunTest, TopicOfAnotherDirectoryIsCountedOnce) {
  Topics topics;
  Topics elsewhere;
  elsewhere.create("in", 2);
  elsewhere.write("in", 0, "k", "a");
  elsewhere.journal()->flush();
  ApplicationOptions options = optionsFor(topics);
  options.inputAddresses["in"] = elsewhere.address();
  runWordCount(options);
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 1}}));
  elsewhere.write("in", 1, "k", "a");
  elsewhere.journal()->flush();
  runWordCount(options);
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 2}}));

  // The same name in another directory is another topic.
  Topics impostor;
  impostor.create("in", 2);
  for (int i = 0; i < 5; ++i) impostor.write("in", 0, "k", "b");
  impostor.journal()->flush();
  options.inputAddresses["in"] = impostor.address();
  EXPECT_THROW(runWordCount(options), state::PositionOutOfRange);

  options.inputAddresses["inn"] = impostor.address();
  EXPECT_THAT(errorOf([&] { runWordCount(options); }), HasSubstr("inn"));
}

// A copy of a directory has its id, but what is written to either later is not in the other.
TEST(ApplicationRunTest, ATopicInACopyOfTheOwnDirectoryIsAnotherTopic) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "a");
  topics.journal()->flush();
  const testing::TemporaryDirectory elsewhere;
  const std::string copied = elsewhere / "copy";
  state::backup(*topics.journal(), copied);
  ApplicationOptions options = optionsFor(topics);
  options.inputAddresses["in"] = copied;
  runWordCount(options);
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 1}}));
  topics.write("in", 0, "k", "b");
  options.inputAddresses.clear();
  EXPECT_THROW(runWordCount(options), state::PositionOutOfRange);
}

TEST(ApplicationRunTest, ATopicInACopyOfItsDirectoryIsReadOnOnlyToWhereTheyPart) {
  Topics topics;
  Topics source;
  source.create("in", 1);
  source.write("in", 0, "k", "a");
  source.journal()->flush();
  const testing::TemporaryDirectory elsewhere;
  const std::string copied = elsewhere / "copy";
  state::backup(*source.journal(), copied);
  ApplicationOptions options = optionsFor(topics);
  options.inputAddresses["in"] = source.address();
  runWordCount(options);
  options.inputAddresses["in"] = copied;  // as far as they are the same
  runWordCount(options);
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 1}}));
  source.write("in", 0, "k", "b");
  source.journal()->flush();
  options.inputAddresses["in"] = source.address();
  runWordCount(options);
  EXPECT_EQ(topics.counts("out"), (Counts{{"a", 1}, {"b", 1}}));
  options.inputAddresses["in"] = copied;  // which never had b
  EXPECT_THROW(runWordCount(options), state::PositionOutOfRange);
}

/// Counts its own timer's calls in its store, and forwards the count.
class Ticks : public Processor<std::string, std::string, std::string, std::int64_t> {
 public:
  explicit Ticks(StoreHandle<std::string, std::int64_t> store) : handle_(std::move(store)) {}
  void init() override {
    context().schedule(std::chrono::milliseconds(5), [this](std::int64_t) {
      auto ticks = context().store(handle_);
      std::int64_t count = 0;
      ticks.update("ticks", [&](std::int64_t& kept) { count = ++kept; });
      context().forward("ticks", count);
    });
  }
  void process(const std::string&, const std::string&) override {}

 private:
  StoreHandle<std::string, std::int64_t> handle_;
};

// Without a single record: timers run by the wall clock, and what they do is committed like the
// rest, store and output together.
TEST(ApplicationRunTest, TimersRunOnAnIdleWorkerAndTheirWorkIsCommitted) {
  Topics topics;
  topics.create("in", 1);
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  std::int64_t before = 0;
  for (int run = 0; run < 3; ++run) {
    Application application(options);
    auto store = application.store<std::string, std::int64_t>({.name = "ticks"});
    application.stream<std::string, std::string>("in")
        .process([store] { return std::make_unique<Ticks>(store); }, {.stores = {store}})
        .to("out");
    std::thread runner([&] { application.run(); });
    EXPECT_TRUE(eventually([&] { return topics.counts("out")["ticks"] > before + 3; }));
    application.stop();
    runner.join();
    before = topics.counts("out")["ticks"];
  }
  // Every count once, in order: none was lost or made twice where one run ended.
  std::int64_t expected = 0;
  for (const Record& record : topics.read("out")) {
    std::int64_t value = 0;
    for (const char c : *record.value) value = value << 8 | static_cast<unsigned char>(c);
    EXPECT_EQ(value, ++expected);
  }
  EXPECT_EQ(expected, before);
}

TEST(ApplicationRunTest, WorkerStuckInAFunctionDoesNotHoldUpTheEnd) {
  Topics topics;
  topics.create("in", 1);
  topics.write("in", 0, "k", "v");
  ApplicationOptions options = optionsFor(topics);
  options.untilEnd = false;
  options.stopTimeout = std::chrono::milliseconds(50);
  // The stuck thread outlives this test: what it uses must too.
  static std::atomic<bool> inside{false};
  static std::atomic<bool> leave{false};
  auto application = std::make_unique<Application>(options);
  application->stream<std::string_view, std::string_view>("in")
      .filter([](std::string_view, std::string_view) {
        inside = true;
        inside.notify_all();
        leave.wait(false);
        return true;
      })
      .to("out");
  std::thread stopper([&] {
    inside.wait(false);
    application->stop();
  });
  EXPECT_THAT(errorOf([&] { application->run(); }), HasSubstr("did not stop within 50 ms"));
  stopper.join();
  application.reset();
  leave = true;
  leave.notify_all();
  // The thread ends in its own time, and what it owned is free then.
  EXPECT_TRUE(eventually([&] { return topics.journal()->tryClaim("test/0_0") != nullptr; }));
}

}  // namespace
}  // namespace penstock
