// SPDX-License-Identifier: Apache-2.0
#include "penstock/test_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include "penstock/error.h"
#include "streams/task_graph.h"
#include "streams/task_store.h"
#include "streams/topology.h"
#include "topics/transport.h"

namespace penstock {
namespace {

using streams::SubTopology;
using streams::TaskGraph;
using streams::TopologyTopic;

/// A topic in memory.
struct Log {
  std::vector<std::vector<Record>> partitions;
  std::vector<std::size_t> taken;  // per partition: up to where `take` gave it out
};

/// What is committed, and what will be with the next commit.
class MemoryStore final : public streams::TaskStore {
 public:
  bool get(std::string_view key, std::string& value) const override {
    const auto found = committed_.find(key);
    if (found == committed_.end()) return false;
    value = found->second;
    return true;
  }
  void scan(std::string_view from, std::string_view to,
            const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    for (auto at = committed_.lower_bound(from);
         at != committed_.end() && (to.empty() || at->first < to); ++at) {
      if (!visit(at->first, at->second)) return;
    }
  }
  [[nodiscard]] std::uint64_t size() const override { return committed_.size(); }
  void put(std::string_view key, std::string_view value, EventTime) override {
    changes_.emplace_back(key, std::string(value));
  }
  void erase(std::string_view key, EventTime) override { changes_.emplace_back(key, std::nullopt); }

  void commit() {
    for (auto& [key, value] : changes_) {
      if (value) {
        committed_.insert_or_assign(key, std::move(*value));
      } else {
        committed_.erase(key);
      }
    }
    changes_.clear();
  }
  void forget() { changes_.clear(); }

 private:
  std::map<std::string, std::string, std::less<>> committed_;
  std::vector<std::pair<std::string, std::optional<std::string>>> changes_;
};

}  // namespace

class TestDriver::Impl {
 public:
  Impl(const Application& application, const TestDriverOptions& options)
      : options_(options),
        topology_(application.options().id, application.builder()),
        errors_{application.options().errorPolicy, application.options().deadLetterTopic, {}},
        nowMs_(options.wallClock.count()) {
    if (options.partitions < 1) {
      throw ConfigurationError(
          fmt::format("TestDriverOptions::partitions: {} is less than 1", options.partitions));
    }
    for (const SubTopology& part : topology_.subTopologies()) {
      for (const TopologyTopic& topic : part.inputs) addLog(topic);
      for (const TopologyTopic& topic : part.outputs) addLog(topic);
    }
    if (!errors_.deadLetterTopic.empty()) addLog({errors_.deadLetterTopic});
    for (std::size_t part = 0; part < topology_.subTopologies().size(); ++part) addTasks(part);
    start();
  }

  void pipe(std::string_view topic, Record record, std::optional<PartitionIndex> partition) {
    Log& log = this->log(topic);
    if (!isInput(topic)) {
      throw ConfigurationError(fmt::format("topic \"{}\" is not read by the application", topic));
    }
    const std::int32_t number = partition ? partition->value : partitionOf(log, record.key);
    if (number < 0 || static_cast<std::size_t>(number) >= log.partitions.size()) {
      throw ConfigurationError(fmt::format("topic \"{}\" has {} partitions, not a number {}", topic,
                                           log.partitions.size(), number));
    }
    log.partitions[static_cast<std::size_t>(number)].push_back(std::move(record));
    work();
  }

  void advance(std::int64_t byMs) {
    const std::int64_t until = nowMs_ + byMs;
    while (true) {
      std::int64_t next = until;
      for (const auto& task : tasks_) next = std::min(next, task->graph->nextPunctuationMs());
      nowMs_ = std::max(nowMs_, next);
      for (const auto& task : tasks_) task->graph->punctuate(nowMs_);
      work();
      if (next >= until) break;
    }
  }

  void commit() {
    do {
      for (const auto& task : tasks_) task->commit();
    } while (processAll());
  }

  void crash() {
    for (const auto& task : tasks_) task->forget();
    start();
    work();
  }

  std::vector<Record> take(std::string_view topic) {
    Log& log = this->log(topic);
    std::vector<Record> records;
    for (std::size_t number = 0; number < log.partitions.size(); ++number) {
      const auto& partition = log.partitions[number];
      records.insert(records.end(),
                     partition.begin() + static_cast<std::ptrdiff_t>(log.taken[number]),
                     partition.end());
      log.taken[number] = partition.size();
    }
    return records;
  }

  std::vector<detail::StoreBase*> stores(std::string_view name) {
    std::vector<detail::StoreBase*> found;
    for (const auto& task : tasks_) {
      if (detail::StoreBase* store = task->graph->findStore(name)) found.push_back(store);
    }
    if (found.empty()) throwStoreType(name);
    return found;
  }

  [[nodiscard]] detail::TaskCounters counters() const {
    detail::TaskCounters sum;
    for (const auto& task : tasks_) {
      const detail::TaskCounters& one = task->graph->counters();
      sum.recordsIn += one.recordsIn;
      sum.recordsOut += one.recordsOut;
      sum.skipped += one.skipped;
      sum.deadLettered += one.deadLettered;
    }
    return sum;
  }

 private:
  struct Task;

  /// Collects until the commit.
  class PendingOutput final : public detail::Output {
   public:
    explicit PendingOutput(Log& log) : log_(log) {}
    void send(std::optional<PartitionIndex> partition, const RecordView& record) override {
      Record copy = record.copy();
      const std::int32_t number = partition ? partition->value : partitionOf(log_, copy.key);
      records_.emplace_back(number, std::move(copy));
    }
    void commit() {
      for (auto& [number, record] : records_) {
        log_.partitions.at(static_cast<std::size_t>(number)).push_back(std::move(record));
      }
      records_.clear();
    }
    void forget() { records_.clear(); }

   private:
    Log& log_;
    std::vector<std::pair<std::int32_t, Record>> records_;
  };

  /// One task: what is durable of it, and the graph that runs it.
  struct Task final : streams::TaskContext {
    Task(Impl& driver, std::size_t subTopology, std::int32_t number)
        : impl(driver), part(subTopology), partition(number) {
      const SubTopology& sub = impl.topology_.subTopologies()[part];
      stores.resize(sub.stores.size());
      for (auto& store : stores) store = std::make_shared<MemoryStore>();
      position.resize(sub.inputs.size());
      committed.resize(sub.inputs.size());
    }

    std::shared_ptr<streams::TaskStore> store(std::size_t index, const std::string&) override {
      return stores.at(index);
    }
    detail::Output& output(const std::string& topic) override {
      return outputs.try_emplace(topic, impl.log(topic)).first->second;
    }
    [[nodiscard]] std::int64_t nowMs() const override { return impl.nowMs_; }

    void start() {
      graph = std::make_unique<TaskGraph>(impl.topology_, part, *this, impl.errors_);
      graph->restoreStreamTime(committedTime);
      position = committed;
    }

    /// False: nothing new.
    bool process() {
      bool any = false;
      const SubTopology& sub = impl.topology_.subTopologies()[part];
      for (std::size_t input = 0; input < sub.inputs.size(); ++input) {
        const std::string& topic = sub.inputs[input].name;
        const auto& log = impl.log(topic).partitions[static_cast<std::size_t>(partition)];
        const std::size_t first = position[input];
        if (first == log.size()) continue;
        RecordBatch batch;
        batch.source = {topic, PartitionIndex{partition}};
        fill(batch, log, first);
        position[input] = log.size();
        batch.next = Offset{static_cast<std::int64_t>(position[input])};
        graph->process(batch);
        any = true;
      }
      return any;
    }

    void commit() {
      graph->prepareCommit();
      for (const auto& store : stores) store->commit();
      for (auto& [topic, output] : outputs) output.commit();
      committed = position;
      committedTime = graph->streamTime();
      graph->committed();
    }

    void forget() {
      graph.reset();
      for (const auto& store : stores) store->forget();
      for (auto& [topic, output] : outputs) output.forget();
    }

    static void fill(RecordBatch& batch, const std::vector<Record>& log, std::size_t first) {
      std::size_t headers = 0;
      for (std::size_t at = first; at < log.size(); ++at) headers += log[at].headers.size();
      batch.headerViews.reserve(headers);  // the spans below must not move
      for (std::size_t at = first; at < log.size(); ++at) {
        const Record& record = log[at];
        const std::size_t begin = batch.headerViews.size();
        for (const Header& header : record.headers) {
          batch.headerViews.push_back({header.name, header.value});
        }
        batch.records.push_back(
            {record.key, record.value, record.timestamp, Offset{static_cast<std::int64_t>(at)},
             std::span(batch.headerViews).subspan(begin, record.headers.size())});
      }
    }

    Impl& impl;
    std::size_t part;
    std::int32_t partition;
    std::vector<std::shared_ptr<MemoryStore>> stores;
    std::map<std::string, PendingOutput> outputs;
    std::vector<std::size_t> position;   // per input
    std::vector<std::size_t> committed;  // per input
    EventTime committedTime{-1};
    std::unique_ptr<TaskGraph> graph;
  };

  static std::int32_t partitionOf(const Log& log, const std::optional<std::string>& key) {
    const auto count = static_cast<std::int32_t>(log.partitions.size());
    return key && count > 1 ? topics::partitionForKey(*key, count).value : 0;
  }

  void addLog(const TopologyTopic& topic) {
    Log& log = logs_[topic.name];
    const std::int32_t count = topic.partitions > 0 ? topic.partitions : options_.partitions;
    // A repartition topic's sink knows the wish for its count, its source does not.
    if (log.partitions.size() < static_cast<std::size_t>(count) || topic.partitions > 0) {
      log.partitions.resize(static_cast<std::size_t>(count));
      log.taken.resize(static_cast<std::size_t>(count));
    }
  }

  void addTasks(std::size_t part) {
    const SubTopology& sub = topology_.subTopologies()[part];
    const std::size_t count = log(sub.inputs.front().name).partitions.size();
    for (const TopologyTopic& input : sub.inputs) {
      if (log(input.name).partitions.size() != count) {
        throw ConfigurationError(fmt::format(
            "topics \"{}\" and \"{}\" run together but have {} and {} partitions",
            sub.inputs.front().name, input.name, count, log(input.name).partitions.size()));
      }
    }
    for (std::size_t number = 0; number < count; ++number) {
      tasks_.push_back(std::make_unique<Task>(*this, part, static_cast<std::int32_t>(number)));
    }
  }

  void start() {
    for (const auto& task : tasks_) task->start();
  }

  bool processAll() {
    bool any = false;
    bool moved = true;
    while (moved) {
      moved = false;
      for (const auto& task : tasks_) moved |= task->process();
      any |= moved;
    }
    return any;
  }

  void work() {
    processAll();
    if (options_.commitAtOnce) commit();
  }

  [[nodiscard]] bool isInput(std::string_view topic) const {
    for (const SubTopology& part : topology_.subTopologies()) {
      for (const TopologyTopic& input : part.inputs) {
        if (input.name == topic) return true;
      }
    }
    return false;
  }

  Log& log(std::string_view topic) {
    const auto found = logs_.find(topic);
    if (found == logs_.end()) {
      throw ConfigurationError(
          fmt::format("topic \"{}\" is neither read nor written by the application", topic));
    }
    return found->second;
  }

  const TestDriverOptions options_;
  const streams::Topology topology_;
  const streams::ErrorHandling errors_;
  std::map<std::string, Log, std::less<>> logs_;
  std::vector<std::unique_ptr<Task>> tasks_;
  std::int64_t nowMs_;
};

TestDriver::TestDriver(const Application& application, TestDriverOptions options)
    : impl_(std::make_unique<Impl>(application, options)) {}
TestDriver::~TestDriver() = default;

void TestDriver::pipeRecord(std::string_view topic, Record record,
                            std::optional<PartitionIndex> partition) {
  impl_->pipe(topic, std::move(record), partition);
}
void TestDriver::advanceWallClock(std::chrono::milliseconds by) { impl_->advance(by.count()); }
void TestDriver::commit() { impl_->commit(); }
void TestDriver::crash() { impl_->crash(); }
std::vector<Record> TestDriver::take(std::string_view topic) { return impl_->take(topic); }
std::vector<detail::StoreBase*> TestDriver::stores(std::string_view name) {
  return impl_->stores(name);
}
detail::TaskCounters TestDriver::counters() const { return impl_->counters(); }
void TestDriver::throwStoreType(std::string_view name) {
  throw ConfigurationError(
      fmt::format("there is no store \"{}\" of these types in the application", name));
}

}  // namespace penstock
