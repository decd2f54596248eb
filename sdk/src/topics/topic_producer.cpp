// SPDX-License-Identifier: Apache-2.0
#include <penstock/log.h>
#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>

#include <exception>
#include <vector>

#include "topics/topic_producer_impl.h"

namespace penstock {

namespace {

RecordView viewOf(const ProducerRecord& record) {
  RecordView view;
  view.key = record.key;
  view.value = record.value;
  view.timestamp =
      record.timestamp ? *record.timestamp : EventTime{state::Environment::real().clock->wallMs()};
  view.headers = record.headers;
  return view;
}

std::vector<HeaderView> headersOf(const Record& record) {
  std::vector<HeaderView> headers;
  headers.reserve(record.headers.size());
  for (const Header& header : record.headers) {
    HeaderView& view = headers.emplace_back();
    view.name = header.name;
    if (header.value) view.value.emplace(*header.value);
  }
  return headers;
}

/// REQUIRES: `headers` are those of the record, and both outlive the result.
ProducerRecord viewOf(const Record& record, std::span<const HeaderView> headers) {
  ProducerRecord view;
  if (record.key) view.key.emplace(*record.key);
  if (record.value) view.value.emplace(*record.value);
  view.timestamp = record.timestamp;
  view.headers = headers;
  return view;
}

}  // namespace

topics::ProducerBackend& TopicProducer::Impl::open() {
  if (closed) throw state::Closed("producing to topic '" + topic + "': the producer was closed");
  return *backend;
}

TopicProducer::TopicProducer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TopicProducer::TopicProducer(TopicProducer&&) noexcept = default;

TopicProducer& TopicProducer::operator=(TopicProducer&& other) noexcept {
  TopicProducer old(std::move(*this));  // flushes
  impl_ = std::move(other.impl_);
  return *this;
}

TopicProducer::~TopicProducer() {
  if (!impl_) return;
  try {
    close();
  } catch (const std::exception& error) {
    log(LogLevel::Error, "producer", "records were not delivered",
        {{"topic", impl_->topic}, {"error", error.what()}});
  } catch (...) {
    log(LogLevel::Error, "producer", "records were not delivered", {{"topic", impl_->topic}});
  }
}

const std::string& TopicProducer::topic() const noexcept { return impl_->topic; }

std::future<Delivery> TopicProducer::send(const ProducerRecord& record) {
  // shared: std::function must be copyable
  const auto promise = std::make_shared<std::promise<Delivery>>();
  impl_->open().send(impl_->topic, record.partition, viewOf(record),
                     [promise](const Delivery& delivery, const std::exception_ptr& error) {
                       if (error) {
                         promise->set_exception(error);
                       } else {
                         promise->set_value(delivery);
                       }
                     });
  return promise->get_future();
}

std::future<Delivery> TopicProducer::sendOwned(const Record& record) {
  return send(viewOf(record, headersOf(record)));
}

void TopicProducer::post(const ProducerRecord& record) {
  impl_->open().send(impl_->topic, record.partition, viewOf(record), {});
}

void TopicProducer::postOwned(const Record& record) { post(viewOf(record, headersOf(record))); }

void TopicProducer::flush(std::chrono::milliseconds timeout) { impl_->open().flush(timeout); }

void TopicProducer::close() {
  if (!impl_->closed.exchange(true)) impl_->backend->close();
}

}  // namespace penstock
