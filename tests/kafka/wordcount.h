// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/serde.h>
#include <penstock/state/journal.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tests/kafka/kafka_test.h"
#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"

namespace penstock::kafka {

/// The wordcount sample against the broker: as a program of its own, so that it can be killed.
class WordcountTest : public KafkaTest {
 protected:
  const std::string input = makeTopic(2);
  const std::string output = makeTopic(2);
  const std::string id = freshName("wordcount");
  testing::TemporaryDirectory state;
  int produced = 0;  // lines

  std::vector<std::string> command(const std::string& guarantee = "exactly-once") const {
    return {testing::buildDirectory() + "/samples/wordcount",
            "--broker",
            broker().address(),
            "--input",
            input,
            "--output",
            output,
            "--state",
            state.path(),
            "--guarantee",
            guarantee,
            "--commit-interval",
            "20"};
  }
  std::vector<std::string> untilEnd(const std::string& guarantee = "exactly-once") const {
    auto arguments = command(guarantee);
    arguments.emplace_back("--until-end");
    return arguments;
  }
  /// The same program with its places to die at, and its planted bugs (sdk/src/fail_points.h).
  static std::vector<std::string> failing(std::vector<std::string> arguments) {
    arguments[0] = testing::buildDirectory() + "/tests/penstock_failing_wordcount";
    return arguments;
  }
  std::vector<std::string> environment() const { return {"PENSTOCK_APPLICATION_ID=" + id}; }

  /// Lines "w0 w1", "w1 w2", ... over 50 words, alternating between the partitions.
  void produceLines(int count) {
    for (const int behind = produced + count; produced < behind; ++produced) {
      const std::string line =
          "w" + std::to_string(produced % 50) + " w" + std::to_string((produced + 1) % 50) + "\n";
      RecordView record;
      record.value = line;
      record.timestamp.ms = 1000 + produced;
      lines_->send(input, PartitionIndex{produced % 2}, record, {});
    }
    lines_->flush(30s);
  }

  /// What all lines make.
  std::map<std::string, std::int64_t> expected() const {
    std::map<std::string, std::int64_t> result;
    for (int i = 0; i < produced; ++i) {
      ++result["w" + std::to_string(i % 50)];
      ++result["w" + std::to_string((i + 1) % 50)];
    }
    return result;
  }
  /// The last count of each word in the output, for a reader of committed records. Fails when the
  /// counts of a word repeat or go back.
  std::map<std::string, std::int64_t> counts() {
    const auto consumer = transport->consumer({});
    consumer->assign({{output, {0}}, {output, {1}}});
    std::map<std::string, std::int64_t> result;
    for (const Record& record : readToEnd(*consumer, *transport)) {
      std::int64_t value = 0;
      Serde<std::int64_t>::decode(*record.value, value);
      std::int64_t& last = result[*record.key];
      EXPECT_GT(value, last) << *record.key;
      last = value;
    }
    return result;
  }
  /// Of all words in all partitions of the store in a state directory.
  std::int64_t sumOfCounts(const std::string& directory) const {
    state::JournalOptions options;
    options.sharing = state::Sharing::Shared;
    const auto journal = state::Journal::open(directory + "/" + id, options);
    std::int64_t sum = 0;
    for (const char* const name : {"words/0", "words/1"}) {
      const auto store = journal->findStore(name);
      if (!store) continue;
      journal->store(*store)->scan("", "", [&](std::string_view, std::string_view value) {
        std::int64_t count = 0;
        Serde<std::int64_t>::decode(value, count);
        sum += count;
        return true;
      });
    }
    return sum;
  }
  /// Runs to the end; then outputs and state are what all lines make.
  void expectExact(const std::vector<std::string>& arguments) {
    const auto ended = testing::Subprocess(arguments, environment()).wait();
    ASSERT_EQ(ended.exitCode, 0) << ended.err;
    EXPECT_EQ(counts(), expected()) << ended.err;
    EXPECT_EQ(sumOfCounts(arguments.at(8)), 2 * produced);
  }
  void expectExact() { expectExact(untilEnd()); }

 private:
  std::unique_ptr<topics::ProducerBackend> lines_ = transport->producer({});
};

}  // namespace penstock::kafka
