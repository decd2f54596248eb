// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/serde.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/kafka/kafka_test.h"
#include "tests/support/build_paths.h"
#include "tests/support/subprocess.h"
#include "tests/support/temporary_directory.h"

namespace penstock::kafka {

/// keyed_count_program.cpp against the broker: processes that are killed and stopped, each with
/// a state directory of its own if wanted, and numbered records of which nothing may be missing.
class KeyedCountTest : public KafkaTest {
 protected:
  static constexpr int partitions = 2;
  static constexpr int keys = 20;
  const std::string input = makeTopic(partitions);
  const std::string ids = makeTopic(partitions);
  const std::string counts = makeTopic(partitions);
  const std::string id = freshName("keyed");
  int produced = 0;

  void produce(int count) {
    for (const int behind = produced + count; produced < behind; ++produced) {
      const std::string key = "k" + std::to_string(produced % keys);
      const std::string value = std::to_string(produced);
      RecordView record;
      record.key = key;
      record.value = value;
      record.timestamp.ms = 1000 + produced;
      records_->send(input, PartitionIndex{produced % partitions}, record, {});
    }
    records_->flush(30s);
  }

  /// `more`: environment beside what all have. `idsTopic`: another one than `ids`.
  std::unique_ptr<testing::Subprocess> start(const std::string& directory,
                                             std::vector<std::string> more = {},
                                             const std::string& idsTopic = {}) const {
    more.insert(more.end(),
                {"PENSTOCK_APPLICATION_ID=" + id, "PENSTOCK_BROKER=" + broker().address(),
                 "PENSTOCK_STATE_DIR=" + directory, "PENSTOCK_COMMIT_INTERVAL_MS=20"});
    return std::make_unique<testing::Subprocess>(
        std::vector<std::string>{testing::buildDirectory() + "/tests/penstock_failing_keyed_count",
                                 input, idsTopic.empty() ? ids : idsTopic, counts},
        more);
  }
  static std::string settings(int sessionMs, int transactionMs) {
    return "PENSTOCK_KAFKA=session.timeout.ms=" + std::to_string(sessionMs) +
           ";heartbeat.interval.ms=" + std::to_string(sessionMs / 4) +
           ";transaction.timeout.ms=" + std::to_string(transactionMs);
  }
  std::int64_t written(const std::string& topic) {
    std::int64_t sum = 0;
    for (const auto& partition : transport->describeTopic(topic)->partitions) {
      sum += partition.end.value;
    }
    return sum;
  }

  /// Runs to the end with the state in `directory`; then each id is there once, and the counts of
  /// each key are what they were made of, none twice or going back.
  void expectExact(const std::string& directory) {
    const auto program = start(directory, {"PENSTOCK_UNTIL_END=1"});
    const testing::Finished ended = program->wait();
    ASSERT_EQ(ended.exitCode, 0) << ended.err;
    // What a process has left open that was killed hides what is behind it, until it times out.
    std::vector<Record> found;
    eventually([&] {
      found = all(ids);
      return found.size() >= static_cast<std::size_t>(produced);
    });
    std::map<std::string, int> seen;
    for (const Record& record : found) ++seen[*record.value];
    int missing = 0;
    int twice = 0;
    for (int i = 0; i < produced; ++i) {
      const int times = seen[std::to_string(i)];
      missing += times == 0 ? 1 : 0;
      twice += times > 1 ? 1 : 0;
    }
    EXPECT_EQ(missing, 0) << "of " << produced;
    EXPECT_EQ(twice, 0) << "of " << produced;
    std::map<std::string, std::int64_t> last;
    int backwards = 0;
    for (const Record& record : all(counts)) {
      std::int64_t count = 0;
      Serde<std::int64_t>::decode(*record.value, count);
      std::int64_t& before = last[*record.key];
      if (count <= before) ++backwards;
      before = count;
    }
    EXPECT_EQ(backwards, 0);
    for (int key = 0; key < keys; ++key) {
      EXPECT_EQ(last["k" + std::to_string(key)], (produced - key + keys - 1) / keys) << key;
    }
  }

  std::vector<Record> all(const std::string& topic) {
    const auto consumer = transport->consumer({});
    consumer->assign({{topic, {0}}, {topic, {1}}});
    return readToEnd(*consumer, *transport);
  }

 private:
  std::unique_ptr<topics::ProducerBackend> records_ = transport->producer({});
};

}  // namespace penstock::kafka
