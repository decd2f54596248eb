// SPDX-License-Identifier: Apache-2.0
//
// Goal (row 25): an end of transaction that is delayed, dropped, answered to nobody, or comes
// again during the next transaction tears nothing and loses nothing.
#include <random>

#include "tests/fault/scale.h"
#include "tests/kafka/wordcount.h"
#include "tests/support/kafka_proxy.h"

namespace penstock::kafka {
namespace {

using testing::KafkaProxy;

class EndOfTransaction : public WordcountTest {
 protected:
  /// Counts under `decide`'s faults until there were `count` of them; then exact, without any.
  void expectExactUnder(const std::string& commitIntervalMs, int count,
                        const std::function<KafkaProxy::Decision()>& decide) {
    std::atomic<bool> calm{false};
    KafkaProxy proxy(broker().servers(), [&] { return calm ? KafkaProxy::Decision{} : decide(); });
    auto arguments = failing(command());
    arguments[2] = proxy.address();
    arguments.back() = commitIntervalMs;
    testing::Subprocess program(arguments, environment());
    EXPECT_TRUE(eventually(
        [&] {
          produceLines(20);
          return proxy.faults() >= count || program.ended();
        },
        std::chrono::seconds(30 + 5 * count)))
        << proxy.faults() << " faults";
    EXPECT_FALSE(program.ended());
    calm = true;
    program.signal(SIGTERM);
    const testing::Finished ended = program.wait();
    EXPECT_EQ(ended.exitCode, 0) << ended.err;
    expectExact();
    std::printf("row 25: %d ends of transaction, %d lines\n", proxy.faults(), produced);
  }
};

TEST_F(EndOfTransaction, DelayedDroppedAndUnansweredOnes) {
  std::mt19937 random(static_cast<unsigned>(fault::firstSeed()));
  std::mutex mutex;
  expectExactUnder("20", fault::scaled(6, 20, 200), [&]() -> KafkaProxy::Decision {
    const std::lock_guard lock(mutex);
    if (random() % 3 != 0) return {};
    using enum KafkaProxy::Fault;
    const std::array faults{Delay, DropRequest, DropAnswer};
    return {faults[random() % faults.size()], std::chrono::milliseconds(random() % 200)};
  });
}

// Transactions are open most of the time, and the client has sent it again by then.
TEST_F(EndOfTransaction, OneThatComesAgainDuringTheNext) {
  std::mt19937 random(static_cast<unsigned>(fault::firstSeed()));
  std::mutex mutex;
  expectExactUnder("200", fault::scaled(6, 20, 200), [&]() -> KafkaProxy::Decision {
    const std::lock_guard lock(mutex);
    if (random() % 3 != 0) return {};
    return {KafkaProxy::Fault::HeldAndCut, std::chrono::milliseconds(150 + random() % 300)};
  });
}

}  // namespace
}  // namespace penstock::kafka
