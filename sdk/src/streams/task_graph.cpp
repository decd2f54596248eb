// SPDX-License-Identifier: Apache-2.0
#include "streams/task_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <stdexcept>
#include <utility>

#include "penstock/error.h"
#include "penstock/stream_errors.h"

namespace penstock::streams {
namespace {

using detail::Node;
using detail::Stage;

std::string_view stageName(Stage stage) {
  constexpr std::array<std::string_view, 3> names{"decode", "process", "encode"};
  return names[static_cast<std::size_t>(stage)];
}

/// what() of the exception being handled.
std::string currentReason() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

struct Timer {
  std::int64_t dueMs;
  std::int64_t intervalMs;
  std::function<void(std::int64_t)> callback;
};

}  // namespace

class TaskGraph::Impl final : public detail::TaskServices {
 public:
  Impl(const Topology& topology, std::size_t subTopology, TaskContext& context,
       const ErrorHandling& errors)
      : topology_(topology),
        part_(topology.subTopologies().at(subTopology)),
        context_(context),
        errors_(errors) {
    for (std::size_t at = 0; at < part_.stores.size(); ++at) {
      const detail::StoreSpec& spec = topology_.stores()[part_.stores[at]];
      stores_.push_back(spec.make());
      stores_.back()->attach(spec.name, context_.store(at, spec.name));
    }
    if (!errors_.deadLetterTopic.empty()) deadLetters_ = &context_.output(errors_.deadLetterTopic);
    for (const std::size_t index : part_.nodes) {
      const std::string& output = topology_.nodes()[index].output;
      outputs_.push_back(output.empty() ? nullptr : &context_.output(output));
    }
    buildNodes();
  }

  void process(const RecordBatch& batch, std::size_t first, std::size_t count) {
    if (lastSource_ == nullptr || *lastTopic_ != batch.source.topic) findSource(batch.source.topic);
    lastSource_->process(batch, first, count);
    counters.recordsIn += count;
  }

  void punctuate(std::int64_t nowMs) {
    for (std::size_t at = 0; at < timers_.size(); ++at) {
      if (timers_[at].dueMs > nowMs) continue;
      const std::int64_t missed = (nowMs - timers_[at].dueMs) / timers_[at].intervalMs;
      timers_[at].dueMs += (missed + 1) * timers_[at].intervalMs;
      // A copy: the callback may set timers, which moves these.
      const auto callback = timers_[at].callback;
      callback(nowMs);
    }
  }

  [[nodiscard]] std::int64_t nextPunctuationMs() const noexcept {
    std::int64_t next = std::numeric_limits<std::int64_t>::max();
    for (const Timer& timer : timers_) next = std::min(next, timer.dueMs);
    return next;
  }

  void prepareCommit() {
    // Upstream first: what one emits may change the store of one behind it.
    for (const auto& node : nodes_) node->emitChanges();
    for (const auto& store : stores_) store->flush();
  }

  void committed() {
    for (const auto& store : stores_) store->committed();
  }

  void rollback() {
    for (const auto& store : stores_) store->rollback();
    buildNodes();
  }

  [[nodiscard]] const std::vector<std::unique_ptr<detail::StoreBase>>& stores() const noexcept {
    return stores_;
  }

  // TaskServices
  detail::StoreBase& store(std::string_view name) override {
    for (const auto& store : stores_) {
      if (store->name() == name) return *store;
    }
    throw std::logic_error(fmt::format("no store {} in this task", name));
  }
  detail::SharedValues& shared() override { return topology_.shared(); }
  detail::Output& output(const Node& sink) override {
    for (std::size_t at = 0; at < nodes_.size(); ++at) {
      if (nodes_[at].get() == &sink && outputs_[at] != nullptr) return *outputs_[at];
    }
    throw std::logic_error("operator " + sink.name() + " writes no topic");
  }
  [[nodiscard]] std::int64_t nowMs() const override { return context_.nowMs(); }
  [[nodiscard]] bool survivesErrors() const noexcept override {
    return errors_.policy != ErrorPolicy::Fail;
  }

  void schedule(const Node& node, std::chrono::milliseconds interval,
                std::function<void(std::int64_t)> callback) override {
    if (interval.count() < 1) {
      throw ConfigurationError(
          fmt::format("operator \"{}\": a timer every {} ms", node.name(), interval.count()));
    }
    timers_.push_back({context_.nowMs() + interval.count(), interval.count(), std::move(callback)});
  }

  [[gnu::cold]] void failed(const Node& node, const RecordInfo& info, Stage stage) override {
    try {
      throw;
    } catch (const RecordError&) {
      throw;  // from an operator behind: it has said all
    } catch (const Error& error) {
      if (error.code() != ErrorCode::FixData) throw;  // not the record's fault
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {  // NOLINT: looked at below
    }
    const std::string reason = currentReason();
    std::string message = fmt::format("cannot {} in operator {}", stageName(stage), node.name());
    if (info.record != nullptr && info.source != nullptr) {
      message += fmt::format(", topic {}, partition {}, offset {}", info.source->topic,
                             info.source->partition.value, info.record->offset.value);
    }
    message += ": " + reason;
    if (errors_.policy == ErrorPolicy::Fail) {
      throw RecordError(message, node.name(),
                        info.source != nullptr ? std::optional(*info.source) : std::nullopt,
                        info.offset(), std::current_exception());
    }
    if (errors_.policy == ErrorPolicy::DeadLetter) {
      deadLetter(node, info, stage, reason);
    } else {
      ++counters.skipped;
    }
    if (errors_.passedOver) errors_.passedOver(message);
  }

  [[gnu::cold]] void deadLetter(const Node& node, const RecordInfo& info, Stage stage,
                                std::string_view reason) override {
    if (deadLetters_ == nullptr) {
      throw ConfigurationError(fmt::format(
          "operator \"{}\": a dead letter, but ApplicationOptions::deadLetterTopic is empty",
          node.name()));
    }
    RecordView letter;
    if (info.record != nullptr) letter = *info.record;
    letter.timestamp = info.timestamp;
    std::vector<HeaderView> headers(letter.headers.begin(), letter.headers.end());
    headers.push_back({DeadLetterHeaders::stage, stageName(stage)});
    headers.push_back({DeadLetterHeaders::reason, reason});
    headers.push_back({DeadLetterHeaders::node, node.name()});
    std::string partition;
    std::string offset;
    if (info.record != nullptr && info.source != nullptr) {
      partition = std::to_string(info.source->partition.value);
      offset = std::to_string(info.record->offset.value);
      headers.push_back({DeadLetterHeaders::topic, info.source->topic});
      headers.push_back({DeadLetterHeaders::partition, partition});
      headers.push_back({DeadLetterHeaders::offset, offset});
    }
    letter.headers = headers;
    deadLetters_->send(std::nullopt, letter);
    ++counters.deadLettered;
    ++counters.recordsOut;
  }

 private:
  /// Makes, connects and opens all operators, user code's objects included.
  void buildNodes() {
    lastSource_ = nullptr;
    sources_.clear();
    timers_.clear();
    nodes_.clear();
    std::vector<Node*> byIndex(topology_.nodes().size());
    for (const std::size_t index : part_.nodes) {
      const detail::NodeSpec& spec = topology_.nodes()[index];
      nodes_.push_back(spec.make());
      Node& node = *nodes_.back();
      node.attach(spec.name, *this);
      byIndex[index] = &node;
      for (const detail::NodeId parent : spec.parents) {
        byIndex[static_cast<std::size_t>(parent)]->connect(node);
      }
      if (!spec.input.empty()) {
        sources_.emplace_back(&spec.input, &dynamic_cast<detail::SourceNode&>(node));
      }
    }
    for (const auto& node : nodes_) node->open();
  }

  void findSource(const std::string& topic) {
    for (const auto& [name, source] : sources_) {
      if (*name == topic) {
        lastTopic_ = name;
        lastSource_ = source;
        return;
      }
    }
    throw std::logic_error(
        fmt::format("topic {} is no input of sub-topology {}", topic, part_.name));
  }

  const Topology& topology_;
  const SubTopology& part_;
  TaskContext& context_;
  const ErrorHandling errors_;
  std::vector<std::unique_ptr<detail::StoreBase>> stores_;  // before nodes_: these point to them
  std::vector<std::unique_ptr<Node>> nodes_;                // as in part_.nodes
  std::vector<detail::Output*> outputs_;                    // as in part_.nodes; null: no sink
  std::vector<std::pair<const std::string*, detail::SourceNode*>> sources_;
  std::vector<Timer> timers_;
  detail::Output* deadLetters_ = nullptr;
  const std::string* lastTopic_ = nullptr;
  detail::SourceNode* lastSource_ = nullptr;
};

TaskGraph::TaskGraph(const Topology& topology, std::size_t subTopology, TaskContext& context,
                     const ErrorHandling& errors)
    : impl_(std::make_unique<Impl>(topology, subTopology, context, errors)) {}
TaskGraph::~TaskGraph() = default;

void TaskGraph::process(const RecordBatch& batch, std::size_t first, std::size_t count) {
  impl_->process(batch, first, count);
}
void TaskGraph::punctuate(std::int64_t nowMs) { impl_->punctuate(nowMs); }
std::int64_t TaskGraph::nextPunctuationMs() const noexcept { return impl_->nextPunctuationMs(); }
void TaskGraph::prepareCommit() { impl_->prepareCommit(); }
void TaskGraph::committed() { impl_->committed(); }
void TaskGraph::rollback() { impl_->rollback(); }
EventTime TaskGraph::streamTime() const noexcept { return impl_->streamTime; }
void TaskGraph::restoreStreamTime(EventTime time) noexcept { impl_->streamTime = time; }
const detail::TaskCounters& TaskGraph::counters() const noexcept { return impl_->counters; }

std::size_t TaskGraph::dirtyEntries() const noexcept {
  std::size_t sum = 0;
  for (const auto& store : impl_->stores()) sum += store->dirtyEntries();
  return sum;
}

std::size_t TaskGraph::memoryBytes() const noexcept {
  std::size_t sum = 0;
  for (const auto& store : impl_->stores()) sum += store->memoryBytes();
  return sum;
}

detail::StoreBase* TaskGraph::findStore(std::string_view name) noexcept {
  for (const auto& store : impl_->stores()) {
    if (store->name() == name) return store.get();
  }
  return nullptr;
}

}  // namespace penstock::streams
