// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application.h>
#include <penstock/detail/hot_store.h>
#include <penstock/record.h>
#include <penstock/serde.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace penstock {

/// How a TestDriver runs the application.
struct TestDriverOptions {
  // Changes behaviour.
  std::int32_t partitions = 1;            // of every topic that does not say otherwise
  std::chrono::milliseconds wallClock{};  // at the beginning, since 1970
  /// True: pipe and advanceWallClock commit until nothing moves any more. False: nothing is
  /// emitted per commit and no output can be read before `commit`.
  bool commitAtOnce = true;
};

/// What goes along with a record that is piped in.
struct PipeOptions {
  EventTime timestamp = {};
  std::vector<Header> headers = {};
  std::optional<PartitionIndex> partition = {};  // default: by key as a producer does
};

/// Runs an Application's topology in the test's own thread: records in, records out, stores
/// looked into, the wall clock moved by hand. No broker, disk, thread or sleep.
///
/// It runs the operators, serdes, hot state, repartitioning, timers, error policies, emission and
/// the atomicity of commits (crash) that the application runs.
///
/// What it does not simulate: transports, journals and their failures; several workers or
/// processes and tasks that move between them; commit intervals, time-outs and back-pressure;
/// records of several inputs being merged by timestamp (they come in the order piped); retention;
/// topics that do not exist; partition counts that do not fit.
///
/// Ownership: keeps what it needs of the Application; the topology is taken as it is now.
/// Threads: owned by one thread.
/// Errors: ConfigurationError as run() would; RecordError from pipe, commit and advanceWallClock
/// under ErrorPolicy::Fail: only `crash` may follow.
///
///     penstock::TestDriver driver(application);
///     driver.pipe("lines", penstock::None{}, "to be or not to be");
///     EXPECT_EQ(driver.readTable<std::string, std::int64_t>("counts").at("be"), 2);
class TestDriver {
 public:
  explicit TestDriver(const Application& application, TestDriverOptions options = {});
  ~TestDriver();
  TestDriver(const TestDriver&) = delete;
  TestDriver& operator=(const TestDriver&) = delete;

  /// Appends to an input topic and processes it. Text of any kind is encoded as a string.
  template <typename K, typename V>
  void pipe(std::string_view topic, const K& key, const V& value, PipeOptions options = {}) {
    Record record;
    record.key = encode(key);
    record.value = encode(value);
    record.timestamp = options.timestamp;
    record.headers = std::move(options.headers);
    pipeRecord(topic, std::move(record), options.partition);
  }
  /// The same for bytes, absent ones too.
  void pipeRecord(std::string_view topic, Record record,
                  std::optional<PartitionIndex> partition = {});

  /// Runs the timers that become due on the way, in order.
  void advanceWallClock(std::chrono::milliseconds by);

  /// Commits all tasks, and what that makes downstream, until nothing moves any more.
  void commit();
  /// As kill -9 and a new start: memory is gone, stores and positions stand at the last commit,
  /// what was read since is processed again.
  void crash();

  /// The committed records of a topic that were not taken before, by partition and in order.
  [[nodiscard]] std::vector<Record> take(std::string_view topic);
  template <typename K, typename V>
  [[nodiscard]] std::vector<std::pair<K, V>> read(std::string_view topic) {
    std::vector<std::pair<K, V>> records;
    for (const Record& record : take(topic)) {
      auto& [key, value] = records.emplace_back();
      detail::decodeField(Serde<K>{}, record.key, key);
      detail::decodeField(Serde<V>{}, record.value, value);
    }
    return records;
  }
  /// The last value per key of what `read` gives.
  template <typename K, typename V>
  [[nodiscard]] std::map<K, V> readTable(std::string_view topic) {
    std::map<K, V> table;
    for (auto& [key, value] : read<K, V>(topic)) table.insert_or_assign(key, std::move(value));
    return table;
  }

  /// A store's content in all tasks, what is not committed included. ConfigurationError when
  /// there is none of that name and types.
  template <typename K, typename V>
  [[nodiscard]] std::map<K, V> readStore(std::string_view name) {
    std::map<K, V> content;
    for (detail::StoreBase* store : stores(name)) {
      auto* typed = dynamic_cast<detail::HotStore<K, V>*>(store);
      if (typed == nullptr) throwStoreType(name);
      typed->forEach([&](const K& key, const V& value) { content.emplace(key, value); });
    }
    return content;
  }

  [[nodiscard]] detail::TaskCounters counters() const;  // of all tasks since the last crash

 private:
  class Impl;

  template <typename T>
  [[nodiscard]] static std::optional<std::string> encode(const T& value) {
    using Plain =
        std::conditional_t<std::convertible_to<const T&, std::string_view>, std::string_view, T>;
    std::string buffer;
    const auto bytes = detail::encodeField(Serde<Plain>{}, Plain(value), buffer);
    return bytes ? std::optional(std::string(*bytes)) : std::nullopt;
  }
  [[nodiscard]] std::vector<detail::StoreBase*> stores(std::string_view name);
  [[noreturn]] static void throwStoreType(std::string_view name);

  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
