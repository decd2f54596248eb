// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/topic_producer.h>

#include <atomic>
#include <memory>
#include <string>

#include "topics/transport.h"

namespace penstock {

/// A backend and the one topic that is written to.
struct TopicProducer::Impl {
  Impl(std::string name, std::unique_ptr<topics::ProducerBackend> opened)
      : topic(std::move(name)), backend(std::move(opened)) {}

  topics::ProducerBackend& open();  // throws Closed

  std::string topic;
  std::unique_ptr<topics::ProducerBackend> backend;
  std::atomic<bool> closed{false};
};

}  // namespace penstock
