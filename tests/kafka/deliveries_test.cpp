// SPDX-License-Identifier: Apache-2.0
//
// Goal: a record that a broker does not take ends the application by name, and nothing of its
// transaction is seen.
#include <gmock/gmock.h>

#include "tests/kafka/keyed_count.h"

namespace penstock::kafka {
namespace {

using ::testing::HasSubstr;

class Deliveries : public KeyedCountTest {
 protected:
  testing::TemporaryDirectory directory;
};

TEST_F(Deliveries, ARecordThatTheBrokerRefusesEndsItByName) {
  const std::string narrow = makeTopic(partitions, {.extra = {{"max.message.bytes", "300"}}});
  {
    const auto producer = transport->producer({});
    const std::string large(1000, 'x');
    RecordView record;
    record.key = "k0";
    record.value = large;
    record.timestamp.ms = 1000;
    producer->send(input, PartitionIndex{0}, record, {});
    producer->close();
  }
  const testing::Finished ended = start(directory / "state", {}, narrow)->wait();
  EXPECT_EQ(ended.exitCode, 1) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("delivering a record to topic '" + narrow + "'"));
  EXPECT_THAT(ended.err, HasSubstr("MSG_SIZE_TOO_LARGE"));
  const auto consumer = transport->consumer({});
  consumer->assign({{counts, {0}}, {counts, {1}}});
  EXPECT_EQ(readToEnd(*consumer, *transport).size(), 0U);
}

// librdkafka makes batches of up to 1 MB, and does not part one that the broker refuses.
TEST_F(Deliveries, TopicsThatTakeSmallBatchesGetSmallBatches) {
  const std::string narrow = makeTopic(partitions, {.extra = {{"max.message.bytes", "700"}}});
  produce(5000);
  const auto program = start(directory / "state", {"PENSTOCK_UNTIL_END=1"}, narrow);
  const testing::Finished ended = program->wait();
  EXPECT_EQ(ended.exitCode, 0) << ended.err;
  EXPECT_EQ(all(narrow).size(), 5000U);
}

}  // namespace
}  // namespace penstock::kafka
