// SPDX-License-Identifier: Apache-2.0

// Typed hot state against the hash tables one would write by hand: counters, read-modify-write,
// one thread, keys drawn at random. Each contender does the same operations on the same keys; the
// sum of all counters is checked. Hot state also marks what changed and encodes it once per
// commit (every `commitEvery` operations), which the plain tables do not.
//
// Last, the whole path of a task without a broker: decode, group, count, emit and encode.

#include <fmt/format.h>
#include <malloc.h>
#include <penstock/application.h>
#include <penstock/key_value_store.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bench/support/no_store.h"
#include "streams/task_graph.h"
#include "streams/topology.h"

namespace {

using penstock::Serde;
using penstock::bench::NoStore;

constexpr std::size_t operations = 4'000'000;
constexpr std::size_t commitEvery = 200'000;  // 100 ms at 2 M/s
constexpr int repetitions = 5;

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view key) const noexcept {
    return penstock::detail::hashBytes(key);
  }
};

struct Measured {
  std::vector<double> perSecond;
  std::size_t bytesPerEntry = 0;
  [[nodiscard]] double median() {
    std::sort(perSecond.begin(), perSecond.end());
    return perSecond[perSecond.size() / 2];
  }
};

[[noreturn]] void fail(std::string_view what) {
  fmt::print(stderr, "wrong result: {}\n", what);
  std::exit(1);
}

std::size_t allocated() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

/// One contender: makes its table, does all operations, returns the sum of the counters and how
/// many there are.
struct Outcome {
  std::int64_t sum = 0;
  std::size_t entries = 0;
};

template <typename Run>
void measure(Measured& into, Run&& run) {
  const std::size_t before = allocated();
  std::size_t after = 0;
  double seconds = 0;
  std::chrono::steady_clock::time_point begin;
  const auto clock = [&](bool start) {
    if (start) {
      begin = std::chrono::steady_clock::now();
    } else {
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      after = allocated();
    }
  };
  const Outcome outcome = run(clock);
  if (outcome.sum != static_cast<std::int64_t>(operations + outcome.entries)) fail("sum");
  into.perSecond.push_back(static_cast<double>(operations) / seconds);
  into.bytesPerEntry = (after - before) / outcome.entries;
}

/// `keys`: all keys once (to fill), `draws`: positions in it.
template <typename Map, typename Key>
Outcome runMap(const std::vector<Key>& keys, const std::vector<std::uint32_t>& draws,
               const auto& clock) {
  Map map;
  const auto bump = [&](const Key& key) {
    const auto found = map.find(key);
    if (found != map.end()) {
      ++found->second;
    } else {
      map.emplace(key, 1);
    }
  };
  for (const Key& key : keys) bump(key);
  clock(true);
  for (const std::uint32_t draw : draws) bump(keys[draw]);
  clock(false);
  Outcome outcome{0, map.size()};
  for (const auto& [key, count] : map) outcome.sum += count;
  return outcome;
}

template <typename K, typename Key>
Outcome runHot(const std::vector<Key>& keys, const std::vector<std::uint32_t>& draws,
               const auto& clock) {
  penstock::detail::SerdeHotStore<K, std::int64_t, Serde<K>, Serde<std::int64_t>> hot({}, {});
  const auto durable = std::make_shared<NoStore>();
  hot.attach("counts", durable);
  penstock::KeyValueStore<K, std::int64_t> store(hot);
  const auto bump = [&](const Key& key) {
    store.update(key, [](std::int64_t& count) { ++count; });
  };
  for (const Key& key : keys) bump(key);
  hot.flush();
  hot.committed();
  clock(true);
  std::size_t sinceCommit = 0;
  for (const std::uint32_t draw : draws) {
    bump(keys[draw]);
    if (++sinceCommit == commitEvery) {
      hot.flush();
      hot.committed();
      sinceCommit = 0;
    }
  }
  clock(false);
  if (durable->bytes < keys.size() * (sizeof(std::int64_t) + 1)) fail("nothing was committed");
  Outcome outcome{0, hot.entries()};
  store.forEach([&](const auto&, std::int64_t count) { outcome.sum += count; });
  return outcome;
}

void report(std::string_view name, Measured& measured, double reference) {
  const double median = measured.median();
  fmt::print("  {:34} {:6.2f} M/s  ({:.2f} - {:.2f})  {:4.2f} x std  {:4} B per entry\n", name,
             median / 1e6, measured.perSecond.front() / 1e6, measured.perSecond.back() / 1e6,
             median / reference, measured.bytesPerEntry);
}

template <typename K, typename Key, typename Std, typename Flat>
double compare(std::string_view title, const std::vector<Key>& keys, std::mt19937_64& random) {
  std::vector<std::uint32_t> draws(operations);
  for (auto& draw : draws) draw = static_cast<std::uint32_t>(random() % keys.size());
  Measured hot;
  Measured flat;
  Measured plain;
  for (int repetition = 0; repetition < repetitions; ++repetition) {
    measure(hot, [&](const auto& clock) { return runHot<K>(keys, draws, clock); });
    measure(flat, [&](const auto& clock) { return runMap<Flat>(keys, draws, clock); });
    measure(plain, [&](const auto& clock) { return runMap<Std>(keys, draws, clock); });
  }
  fmt::print("{}\n", title);
  const double reference = plain.median();
  report("std::unordered_map", plain, reference);
  report("boost::unordered_flat_map", flat, reference);
  report("hot state, with commits", hot, reference);
  return hot.median();
}

/// A task without a broker.
class NullContext final : public penstock::streams::TaskContext {
 public:
  class NullOutput final : public penstock::detail::Output {
   public:
    void send(std::optional<penstock::PartitionIndex>,
              const penstock::RecordView& record) override {
      bytes += record.value->size();
      ++records;
    }
    std::size_t bytes = 0;
    std::size_t records = 0;
  };
  std::shared_ptr<penstock::streams::TaskStore> store(std::size_t, const std::string&) override {
    return std::make_shared<NoStore>();
  }
  penstock::detail::Output& output(const std::string&) override { return out; }
  [[nodiscard]] std::int64_t nowMs() const override { return 0; }
  NullOutput out;
};

double runTask(const std::vector<std::string>& keys, const std::vector<std::uint32_t>& draws,
               penstock::Emit emit) {
  penstock::Application app({.id = "bench"});
  app.stream<std::string_view, std::string_view>("in")
      .groupByKey()
      .count({.name = "counts", .emit = emit})
      .toStream()
      .to("out");
  const penstock::streams::Topology topology("bench", app.builder());
  NullContext context;
  penstock::streams::TaskGraph graph(topology, 0, context, {});
  const std::string value(100, 'v');
  penstock::RecordBatch batch;
  batch.source = {"in", {}};
  const auto begin = std::chrono::steady_clock::now();
  std::size_t sinceCommit = 0;
  for (std::size_t at = 0; at < draws.size();) {
    batch.clear();
    for (; at < draws.size() && batch.records.size() < 4096; ++at) {
      batch.records.push_back({keys[draws[at]], value, {}, {}, {}});
    }
    graph.process(batch);
    sinceCommit += batch.records.size();
    if (sinceCommit >= commitEvery) {
      graph.prepareCommit();
      graph.committed();
      sinceCommit = 0;
    }
  }
  graph.prepareCommit();
  graph.committed();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (graph.counters().recordsIn != draws.size()) fail("records");
  if (emit == penstock::Emit::EveryUpdate && context.out.records != draws.size()) fail("output");
  return static_cast<double>(draws.size()) / took.count();
}

}  // namespace

int main() {
  std::mt19937_64 random(20240607);
  std::vector<std::uint64_t> numbers(1'000'000);
  for (auto& number : numbers) number = random();
  const double u64 =
      compare<std::uint64_t, std::uint64_t, std::unordered_map<std::uint64_t, std::int64_t>,
              boost::unordered_flat_map<std::uint64_t, std::int64_t>>(
          "counters, 1,000,000 u64 keys, 4,000,000 updates", numbers, random);
  fmt::print(
      "  FASTER (C++), 1 M u64 keys, in memory, one thread: 5.90 M/s quoted; hot state "
      "{:.2f} x\n",
      u64 / 5.9e6);

  for (const std::size_t count : {std::size_t{100'000}, std::size_t{1'000'000}}) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < count; ++i) keys.push_back(fmt::format("key-{:07}", i));
    using Std = std::unordered_map<std::string, std::int64_t>;
    using Flat = boost::unordered_flat_map<std::string, std::int64_t, StringHash, std::equal_to<>>;
    compare<std::string, std::string, Std, Flat>(
        fmt::format("counters, {} keys key-0000000, 4,000,000 updates", count), keys, random);
    if (count == 100'000) {
      std::vector<std::uint32_t> draws(operations);
      for (auto& draw : draws) draw = static_cast<std::uint32_t>(random() % count);
      for (const auto& [name, emit] : {std::pair("per commit", penstock::Emit::PerCommit),
                                       std::pair("every update", penstock::Emit::EveryUpdate)}) {
        Measured task;
        for (int i = 0; i < repetitions; ++i) task.perSecond.push_back(runTask(keys, draws, emit));
        const double median = task.median();
        fmt::print(
            "  a whole task, 100 B values, emit {:13} {:6.2f} M records/s  ({:.2f} - {:.2f})\n",
            name, median / 1e6, task.perSecond.front() / 1e6, task.perSecond.back() / 1e6);
      }
    }
  }
}
