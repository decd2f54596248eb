// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <mutex>

#include "kafka/kafka_admin.h"
#include "kafka/kafka_consumer.h"
#include "kafka/kafka_producer.h"
#include "topics/transport.h"

namespace penstock::kafka {
namespace {

/// A Kafka cluster. Its client for questions is made with the first of them.
class KafkaTransport final : public topics::Transport {
 public:
  explicit KafkaTransport(TransportSettings settings) : settings_(std::move(settings)) {}

  [[nodiscard]] std::string address() const override { return settings_.address(); }
  bool createTopic(const std::string& name, const TopicConfig& config) override {
    return admin().createTopic(name, config);
  }
  std::vector<std::string> listTopics() override { return admin().listTopics(); }
  std::optional<TopicDescription> describeTopic(const std::string& name) override {
    return admin().describeTopic(name);
  }
  std::optional<std::int32_t> partitionCount(const std::string& name) override {
    return admin().partitionCount(name);
  }
  std::optional<std::vector<PartitionDescription>> partitionOffsets(
      const std::string& name) override {
    return admin().partitionOffsets(name);
  }
  bool deleteTopic(const std::string& name) override { return admin().deleteTopic(name); }

  std::unique_ptr<topics::ConsumerBackend> consumer(const ConsumerOptions& options) override {
    return std::make_unique<KafkaConsumer>(settings_, options);
  }
  std::unique_ptr<topics::ProducerBackend> producer(const ProducerOptions& options) override {
    return std::make_unique<KafkaProducer>(settings_, options);
  }

 private:
  KafkaAdmin& admin() {
    std::call_once(once_, [this] { admin_ = std::make_unique<KafkaAdmin>(settings_); });
    return *admin_;
  }

  const TransportSettings settings_;
  std::once_flag once_;
  std::unique_ptr<KafkaAdmin> admin_;
};

}  // namespace
}  // namespace penstock::kafka

namespace penstock::topics {

std::shared_ptr<Transport> openKafkaTransport(const std::string& brokers,
                                              const std::map<std::string, std::string>& settings) {
  return std::make_shared<kafka::KafkaTransport>(kafka::parseSettings(brokers, settings));
}

}  // namespace penstock::topics
