// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>
#include <penstock/streaming_client.h>

#include <cstdlib>

#include "topics/topic_consumer_impl.h"
#include "topics/topic_producer_impl.h"
#include "topics/transport.h"

namespace penstock {

namespace {

std::string addressOrEnvironment(const std::string& address) {
  if (!address.empty()) return address;
  const char* fromEnvironment = std::getenv("PENSTOCK_BROKER");
  if (fromEnvironment == nullptr || *fromEnvironment == '\0') {
    throw ConfigurationError(
        "no address: give one (file:///directory or kafka://host:port) or set PENSTOCK_BROKER");
  }
  return fromEnvironment;
}

void checkConfig(const std::string& topic, const TopicConfig& config) {
  const auto refuse = [&](const std::string& what, std::int64_t number, const char* expected) {
    throw ConfigurationError("creating topic '" + topic + "': " + what + " is " +
                             std::to_string(number) + ", expected " + expected);
  };
  if (config.partitions < 0 || config.partitions > TopicConfig::partitionsMax) {
    refuse("the number of partitions", config.partitions, "1 to 100000, or 0 for the default");
  }
  if (config.retentionMs < -2) {
    refuse("the retention in ms", config.retentionMs, "-1 (for ever), 0 or more");
  }
  if (config.retentionBytes < -2) {
    refuse("the retention in bytes", config.retentionBytes, "-1 (no bound), 0 or more");
  }
}

}  // namespace

StreamingClient::StreamingClient(const std::string& address,
                                 const std::map<std::string, std::string>& settings)
    : address_(addressOrEnvironment(address)),
      transport_(topics::openTransport(address_, settings)) {}

StreamingClient::~StreamingClient() = default;

TopicConsumer StreamingClient::consumer(const std::vector<std::string>& topics,
                                        const ConsumerOptions& options) const {
  topics::checkConsumerOptions(options);
  if (topics.empty()) throw ConfigurationError("making a consumer: the list of topics is empty");
  for (const std::string& topic : topics) topics::checkTopicName(topic);
  auto impl = std::make_unique<TopicConsumer::Impl>(transport_, options);
  if (options.group.empty()) {
    impl->assignAll(topics);
  } else {
    impl->subscribe(topics);
  }
  return TopicConsumer(std::move(impl));
}

TopicConsumer StreamingClient::consumer(const std::string& topic,
                                        const ConsumerOptions& options) const {
  return consumer(std::vector<std::string>{topic}, options);
}

TopicConsumer StreamingClient::consumer(const ConsumerOptions& options) const {
  topics::checkConsumerOptions(options);
  return TopicConsumer(std::make_unique<TopicConsumer::Impl>(transport_, options));
}

TopicProducer StreamingClient::producer(const std::string& topic,
                                        const ProducerOptions& options) const {
  topics::checkTopicName(topic);
  if (options.deliveryTimeout <= std::chrono::milliseconds(0)) {
    throw ConfigurationError("making a producer for topic '" + topic +
                             "': ProducerOptions::deliveryTimeout is " +
                             std::to_string(options.deliveryTimeout.count()) +
                             " ms; expected 1 ms or more (on Kafka up to 24 h)");
  }
  if (!transport_->partitionCount(topic)) topics::throwUnknownTopic(topic, transport_->address());
  return TopicProducer(std::make_unique<TopicProducer::Impl>(topic, transport_->producer(options)));
}

bool StreamingClient::createTopic(const std::string& topic, const TopicConfig& config) const {
  topics::checkTopicName(topic);
  checkConfig(topic, config);
  return transport_->createTopic(topic, config);
}

std::vector<std::string> StreamingClient::listTopics() const { return transport_->listTopics(); }

std::optional<TopicDescription> StreamingClient::describeTopic(const std::string& topic) const {
  topics::checkTopicName(topic);
  return transport_->describeTopic(topic);
}

bool StreamingClient::deleteTopic(const std::string& topic) const {
  topics::checkTopicName(topic);
  return transport_->deleteTopic(topic);
}

}  // namespace penstock
