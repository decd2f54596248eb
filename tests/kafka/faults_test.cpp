// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <penstock/error.h>
#include <penstock/kafka_error.h>
#include <penstock/state/errors.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>

#include "tests/kafka/kafka_test.h"

namespace penstock::kafka {
namespace {

using ::testing::HasSubstr;
using KafkaFaults = KafkaTest;

RecordView plainRecord() {
  RecordView record;
  record.value = "v";
  record.timestamp.ms = 1;
  return record;
}

/// A port that nobody listens on, or one where connections are taken and never answered.
class DeadEnd {
 public:
  explicit DeadEnd(bool listens) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(socket_, generic, length), 0);
    if (listens) {
      EXPECT_EQ(::listen(socket_, 16), 0);
    }
    EXPECT_EQ(::getsockname(socket_, generic, &length), 0);
    servers_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }
  ~DeadEnd() { ::close(socket_); }
  DeadEnd(const DeadEnd&) = delete;
  DeadEnd& operator=(const DeadEnd&) = delete;
  [[nodiscard]] const std::string& servers() const { return servers_; }

 private:
  int socket_;
  std::string servers_;
};

TEST_F(KafkaFaults, AnUnreachableBrokerIsATypedErrorInTime) {
  for (const bool listens : {false, true}) {
    const DeadEnd dead(listens);
    const auto there = topics::openKafkaTransport(dead.servers(), {{"penstock.timeout.ms", "300"}});
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THROW(there->listTopics(), BrokerUnreachable);
    EXPECT_THROW(there->describeTopic("t"), BrokerUnreachable);
    EXPECT_THROW(there->createTopic("t", {.partitions = 1}), BrokerUnreachable);
    EXPECT_THROW(there->deleteTopic("t"), BrokerUnreachable);
    EXPECT_THROW(there->consumer({})->assign({{"t", {0}}}), BrokerUnreachable);
    EXPECT_THROW(there->consumer({.group = "g"})->subscribe({"t"}, {}), BrokerUnreachable);
    EXPECT_THROW(there->producer({})->send("t", {}, {}, {}), BrokerUnreachable);
    try {
      there->listTopics();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Retry);
      EXPECT_THAT(error.what(), HasSubstr(dead.servers()));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
  }
}

TEST_F(KafkaFaults, SettingsThatContradictAreRefusedByName) {
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"enable.auto.commit", "true"},
      {"enable.auto.offset.store", "true"},
      {"auto.offset.reset", "latest"},
      {"group.id", "x"},
      {"acks", "1"},
      {"enable.idempotence", "false"},
      {"partitioner", "random"},
      {"transactional.id", "x"},
      {"bootstrap.servers", "x:1"},
      {"partition.assignment.strategy", "cooperative-sticky"},
      {"penstock.timeout.ms", "0"},
      {"penstock.timeout.ms", "soon"},
  };
  for (const auto& [name, value] : refused) {
    try {
      topics::openKafkaTransport(broker().servers(), {{name, value}});
      ADD_FAILURE() << name << "=" << value << " was taken";
    } catch (const ConfigurationError& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
    }
  }
  EXPECT_THROW(transport->consumer({.group = "g", .extra = {{"enable.auto.commit", "true"}}}),
               ConfigurationError);
  EXPECT_THROW(transport->producer({.extra = {{"acks", "0"}}}), ConfigurationError);
}

TEST_F(KafkaFaults, AbsurdOptionsAreRefusedByName) {
  EXPECT_THROW(transport->consumer({.batchRecordsMax = 0}), ConfigurationError);
  EXPECT_THROW(transport->consumer({.batchRecordsMax = 1'000'001}), ConfigurationError);
  EXPECT_THROW(transport->producer({.deliveryTimeout = -1s}), ConfigurationError);
  EXPECT_THROW(transport->producer({.deliveryTimeout = 0s}), ConfigurationError);
  try {
    transport->consumer({.extra = {{"no.such.setting", "1"}}});
    ADD_FAILURE() << "an unknown setting was taken";
  } catch (const ConfigurationError& error) {
    EXPECT_THAT(error.what(), HasSubstr("no.such.setting"));
  }
  EXPECT_THROW(transport->producer({.extra = {{"linger.ms", "a while"}}}), ConfigurationError);
}

TEST_F(KafkaFaults, ClientsGoOnAfterTheBrokerWasKilledAndStartedAgain) {
  if (!broker().ours()) return;  // somebody else's broker is not killed
  const std::string topic = makeTopic(1);
  const auto producer = transport->producer({});
  const auto consumer = transport->consumer({.group = freshName("g")});
  consumer->subscribe({topic}, {});
  std::atomic<int> delivered{0};
  const auto send = [&](int number) {
    const std::string value = std::to_string(number);
    RecordView record;
    record.value = value;
    record.timestamp.ms = 1;
    producer->send(topic, {}, record, [&](const Delivery&, const std::exception_ptr& error) {
      if (!error) ++delivered;
    });
  };
  for (int i = 0; i < 100; ++i) send(i);
  producer->flush(30s);
  EXPECT_EQ(readValues(*consumer, 100), numbers(0, 100));
  consumer->commit({{{topic, {0}}, Offset{100}}});
  broker().kill9();
  for (int i = 100; i < 200; ++i) send(i);  // waits in the producer
  RecordBatch batch;
  EXPECT_FALSE(consumer->poll(batch, 100ms));
  const auto quick =
      topics::openKafkaTransport(broker().servers(), {{"penstock.timeout.ms", "300"}});
  EXPECT_THROW(quick->listTopics(), BrokerUnreachable);
  broker().restart();
  producer->flush(60s);
  EXPECT_EQ(delivered, 200);
  EXPECT_EQ(readValues(*consumer, 100), numbers(100, 200));
  EXPECT_EQ(consumer->committed({{topic, {0}}}, 30s).at({topic, {0}}).value, 100);
}

TEST_F(KafkaFaults, ASilentBrokerBoundsCommitAndDelivery) {
  if (!broker().ours()) return;
  const std::string topic = makeTopic(1);
  const auto quick =
      topics::openKafkaTransport(broker().servers(), {{"penstock.timeout.ms", "1000"}});
  const auto consumer = quick->consumer({.group = freshName("g")});
  consumer->assign({{topic, {0}}});
  const auto commits = [&] {
    try {
      consumer->commit({{{topic, {0}}, Offset{0}}});
      return true;
    } catch (const BrokerUnreachable&) {
      return false;
    }
  };
  ASSERT_TRUE(eventually(commits));  // a broker just started may take longer than that
  const auto producer = quick->producer({.deliveryTimeout = 1s});
  producer->send(topic, {}, plainRecord(), {});
  producer->flush(30s);
  broker().freeze();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(consumer->commit({{{topic, {0}}, Offset{0}}}), BrokerUnreachable);
  producer->send(topic, {}, plainRecord(), {});
  EXPECT_THROW(producer->flush(20s), BrokerUnreachable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
  broker().thaw();
  EXPECT_TRUE(eventually(commits));
}

}  // namespace
}  // namespace penstock::kafka
