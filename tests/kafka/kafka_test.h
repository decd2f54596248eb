// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/kafka_broker.h"
#include "tests/support/subprocess.h"
#include "topics/transport.h"

namespace penstock::kafka {

using namespace std::chrono_literals;

/// The one broker of the test binary: started before the first test, ended after the last.
testing::KafkaBroker& broker();

/// A name that no other test has, in no other run against the same broker.
std::string freshName(const std::string& stem);

using testing::eventually;

/// A transport to the broker and what most tests do with it.
class KafkaTest : public ::testing::Test {
 protected:
  std::shared_ptr<topics::Transport> transport = topics::openKafkaTransport(broker().servers(), {});

  /// A new topic; its name.
  std::string makeTopic(std::int32_t partitions, topics::TopicConfig config = {});

  /// Writes "0", "1", ... with timestamps 1000, 1001, ... to one partition.
  void produceNumbers(const std::string& topic, std::int32_t partition, int count, int first = 0);

  /// One transaction of `count` records, ended by commit or abort.
  static void transaction(const TopicPartition& partition, int count, bool commit);

  /// Reads until `count` records came, or fails. Values per partition, in order.
  static std::map<TopicPartition, std::vector<std::string>> read(topics::ConsumerBackend& consumer,
                                                                 std::size_t count);
  /// As `read`, of one partition.
  static std::vector<std::string> readValues(topics::ConsumerBackend& consumer, std::size_t count);

  /// What is there when nothing more is expected: polls until the partitions' ends.
  static std::vector<Record> readToEnd(topics::ConsumerBackend& consumer,
                                       topics::Transport& transport);
};

std::vector<std::string> numbers(int first, int behind);

}  // namespace penstock::kafka
