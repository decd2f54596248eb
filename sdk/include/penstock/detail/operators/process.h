// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/node.h>
#include <penstock/error.h>
#include <penstock/processor.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::detail {

[[noreturn]] void throwUnnamedStore(const std::string& node, const std::string& store);

/// Runs a Processor.
template <typename KIn, typename VIn, typename KOut, typename VOut>
class Process final : public Operator<KIn, VIn, KOut, VOut>, private ProcessorContext<KOut, VOut> {
 public:
  Process(std::unique_ptr<Processor<KIn, VIn, KOut, VOut>> processor,
          std::vector<std::string> stores)
      : processor_(std::move(processor)), stores_(std::move(stores)) {}

  void open() override {
    processor_->attach(*this);
    processor_->init();
  }

  void receive(const KIn& key, const VIn& value, const RecordInfo& info) override {
    const RecordInfo* outer = std::exchange(info_, &info);
    try {
      processor_->process(key, value);
    } catch (...) {
      info_ = outer;
      this->services().failed(*this, info, Stage::Process);
      return;
    }
    info_ = outer;
  }

 private:
  // ProcessorContext
  void forward(const KOut& key, const VOut& value) override {
    Operator<KIn, VIn, KOut, VOut>::forward(key, value, info());
  }
  void forward(const KOut& key, const VOut& value, EventTime timestamp) override {
    RecordInfo changed = info();
    changed.timestamp = timestamp;
    Operator<KIn, VIn, KOut, VOut>::forward(key, value, changed);
  }
  [[nodiscard]] const RecordInfo& info() const noexcept override { return *info_; }
  void schedule(std::chrono::milliseconds interval,
                std::function<void(std::int64_t)> callback) override {
    this->services().schedule(*this, interval,
                              [this, callback = std::move(callback)](std::int64_t now) {
                                between_.timestamp = EventTime{now};
                                this->guarded(between_, [&] { callback(now); });
                              });
  }
  [[nodiscard]] std::int64_t nowMs() const override { return this->services().nowMs(); }
  [[nodiscard]] EventTime streamTime() const noexcept override {
    return this->services().streamTime;
  }
  [[nodiscard]] state::Datastore datastore() override {
    return this->services().shared().datastore();
  }
  [[nodiscard]] state::SharedState& sharedState() override {
    return this->services().shared().sharedState();
  }
  void deadLetter(std::string_view reason) override {
    this->services().deadLetter(*this, info(), Stage::Process, reason);
  }
  StoreBase& findStore(const std::string& store) override {
    if (std::find(stores_.begin(), stores_.end(), store) == stores_.end()) {
      throwUnnamedStore(this->name(), store);
    }
    return this->services().store(store);
  }

  std::unique_ptr<Processor<KIn, VIn, KOut, VOut>> processor_;
  std::vector<std::string> stores_;
  RecordInfo between_;  // no record behind it
  const RecordInfo* info_ = &between_;
};

}  // namespace penstock::detail
