// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/detail/node.h>
#include <penstock/detail/shared_values.h>
#include <penstock/key_value_store.h>
#include <penstock/record_info.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

/// What a Processor can do beside computing: forward, use its stores, set timers.
///
/// Threads: owned by the task thread. Lives as long as the Processor.
template <typename KOut, typename VOut>
class ProcessorContext {
 public:
  virtual ~ProcessorContext() = default;

  /// To the operators behind, with the timestamp of the record being handled (a timer's: now).
  virtual void forward(const KOut& key, const VOut& value) = 0;
  virtual void forward(const KOut& key, const VOut& value, EventTime timestamp) = 0;

  /// The record being handled; between records and in timers one without topic and offset.
  [[nodiscard]] virtual const RecordInfo& info() const noexcept = 0;

  /// REQUIRES: the store is named in ProcessOptions::stores; ConfigurationError else.
  template <typename K, typename V>
  [[nodiscard]] KeyValueStore<K, V> store(const StoreHandle<K, V>& handle) {
    return KeyValueStore<K, V>(dynamic_cast<detail::HotStore<K, V>&>(findStore(handle.name())));
  }

  /// Calls `callback(nowMs)` on the task's thread about every `interval` by the wall clock; calls
  /// missed (a long batch) are not made up for. Timers are not durable: register them in `init`,
  /// keep what they need in a store. Not before a commit ends; what they do is part of the next.
  virtual void schedule(std::chrono::milliseconds interval,
                        std::function<void(std::int64_t nowMs)> callback) = 0;
  [[nodiscard]] virtual std::int64_t nowMs() const = 0;  // wall clock
  /// Highest timestamp that the task has seen; -1: none yet.
  [[nodiscard]] virtual EventTime streamTime() const noexcept = 0;

  /// As Application::datastore and Application::sharedState. What is written there is written at
  /// once, and again when the record is processed again after a crash: it is no part of the commit.
  [[nodiscard]] virtual state::Datastore datastore() = 0;
  [[nodiscard]] virtual state::SharedState& sharedState() = 0;

  /// Writes the record being handled to the dead-letter topic, with `reason` in its headers.
  /// ConfigurationError when ApplicationOptions::deadLetterTopic is empty.
  virtual void deadLetter(std::string_view reason) = 0;

 protected:
  virtual detail::StoreBase& findStore(const std::string& name) = 0;
};

/// An operator written by hand: one object per task, made when the task starts and again after
/// an error, because what it keeps in members is not durable; what has to survive goes to a store.
///
/// Threads: owned by the task thread.
/// Errors: exceptions of `process` and of timers follow ApplicationOptions::errorPolicy; those of
/// `init` end the application. What was forwarded or stored before a skipped exception stays.
///
///     class Dedupe : public penstock::Processor<std::string, Order, std::string, Order> {
///      public:
///       explicit Dedupe(penstock::StoreHandle<std::string, bool> seen) : seen_(seen) {}
///       void process(const std::string& id, const Order& order) override {
///         auto seen = context().store(seen_);
///         if (seen.contains(id)) return;
///         seen.put(id, true);
///         context().forward(id, order);
///       }
///      private:
///       penstock::StoreHandle<std::string, bool> seen_;
///     };
template <typename KIn, typename VIn, typename KOut, typename VOut>
class Processor {
 public:
  using Context = ProcessorContext<KOut, VOut>;
  using Shape = Processor;  // what Stream::process checks
  using KeyIn = KIn;
  using ValueIn = VIn;
  using KeyOut = KOut;
  using ValueOut = VOut;

  virtual ~Processor() = default;
  /// Before the first record. Registers timers, looks up stores.
  virtual void init() {}
  virtual void process(const KIn& key, const VIn& value) = 0;

  /// Called once, before `init`.
  void attach(Context& context) noexcept { context_ = &context; }

 protected:
  [[nodiscard]] Context& context() const noexcept { return *context_; }

 private:
  Context* context_ = nullptr;
};

/// How `process` is wired.
struct ProcessOptions {
  // Changes behaviour.
  std::string name = {};  // default: from its position; shows in messages only
  std::vector<StoreReference> stores = {};
};

}  // namespace penstock
