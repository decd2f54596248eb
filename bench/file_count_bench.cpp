// SPDX-License-Identifier: Apache-2.0
// Count per key on file: topics: 4 M records of 100 B, 100,000 keys, 4 partitions; updates go to
// an output topic, commits every 100 ms, synced. Beside it, in the same run, the physical limit:
// reading the same records only, a bare loop that reads them and counts in a flat map, and the
// typed hot state alone, counting the same keys from memory.
#include <fmt/format.h>
#include <penstock/application.h>
#include <penstock/key_value_store.h>
#include <penstock/state/journal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/support/no_store.h"
#include "file/record_codec.h"
#include "file/topic_catalog.h"

namespace {

using namespace penstock;

std::int64_t recordCount = 4'000'000;  // argv[1] changes it
constexpr std::int64_t kKeys = 100'000;
constexpr std::int32_t kPartitions = 4;
constexpr std::size_t kRecordBytes = 100;  // key and value
constexpr int kRuns = 5;

std::string keyOf(std::int64_t number) { return fmt::format("key-{:07}", number); }

/// splitmix64: the same input in every run.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::vector<state::LogId> fill(const std::shared_ptr<state::Journal>& journal) {
  file::TopicCatalog catalog(journal);
  catalog.create("in", {.partitions = kPartitions});
  const auto logs = catalog.get("in").logs;
  state::Commit commit;
  const std::string value(kRecordBytes - keyOf(0).size(), 'v');
  for (std::int64_t i = 0; i < recordCount; ++i) {
    const auto number = static_cast<std::int64_t>(mixed(static_cast<std::uint64_t>(i)) % kKeys);
    const std::string key = keyOf(number);
    RecordView record;
    record.key = key;
    record.value = value;
    record.timestamp.ms = i;
    const state::LogId log = logs[static_cast<std::size_t>(number % kPartitions)];
    file::encodeRecord(record, commit.recordBuffer(log));
    commit.recordAdded(log, i);
    if (commit.bytes() > (1U << 20)) journal->commit(commit, state::Durability::Buffered);
  }
  journal->commit(commit);
  return logs;
}

/// Calls `each` for every record of the input.
template <typename Each>
void readAll(const std::shared_ptr<state::Journal>& journal, const std::vector<state::LogId>& logs,
             Each each) {
  for (const state::LogId log : logs) {
    state::LogReader reader(journal, log, 0);
    state::LogChunk chunk;
    file::RecordWalker walker("in");
    while (reader.next(chunk, state::ReadLimit::Written)) {
      walker.start(chunk.bytes, chunk.baseOffset, chunk.count);
      RecordView record;
      while (walker.next(record)) each(record);
    }
  }
}

/// CPU time of all threads of this process.
double cpuSeconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

struct Measured {
  double median = 0;  // records/s
  double perCpu = 0;  // records per second of CPU time, median
  double least = 0;
  double most = 0;
};

/// `run` is timed; `result` is not: it says how many records were counted.
Measured measure(const std::function<void(int)>& run,
                 const std::function<std::int64_t(int)>& result) {
  std::vector<double> rates;
  std::vector<double> cpuRates;
  for (int i = 0; i < kRuns; ++i) {
    const auto began = std::chrono::steady_clock::now();
    const double cpuBegan = cpuSeconds();
    run(i);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    const double cpu = cpuSeconds() - cpuBegan;
    const std::int64_t records = result(i);
    if (records != recordCount) {
      fmt::print(stderr, "wrong result: {} records instead of {}\n", records, recordCount);
      std::exit(1);
    }
    rates.push_back(static_cast<double>(records) / took.count());
    cpuRates.push_back(static_cast<double>(records) / cpu);
  }
  std::sort(rates.begin(), rates.end());
  std::sort(cpuRates.begin(), cpuRates.end());
  return {rates[rates.size() / 2], cpuRates[cpuRates.size() / 2], rates.front(), rates.back()};
}

void print(const char* what, const Measured& measured, const Measured& reading) {
  fmt::print("{:<44} {:>11.0f} {:>11.0f} {:>11.0f} {:>11.0f} {:>8.2f}\n", what, measured.median,
             measured.least, measured.most, measured.perCpu, measured.median / reading.median);
}

constexpr std::size_t kCommitEvery = 200'000;  // of hot state alone: 100 ms at 2 M/s
constexpr double kFasterQuoted = 5.9e6;        // FASTER (C++), 1 M u64 keys, in memory, one thread

/// Counts `draws` of `keys` in hot state, committing to nowhere. Returns the sum.
std::int64_t countInHotState(const std::vector<std::string>& keys,
                             const std::vector<std::uint32_t>& draws) {
  detail::SerdeHotStore<std::string, std::int64_t, Serde<std::string>, Serde<std::int64_t>> hot(
      {}, {});
  hot.attach("counts", std::make_shared<bench::NoStore>());
  KeyValueStore<std::string, std::int64_t> store(hot);
  const auto commit = [&] {
    hot.flush();
    hot.committed();
  };
  std::size_t sinceCommit = 0;
  for (const std::uint32_t draw : draws) {
    store.update(keys[draw], [](std::int64_t& count) { ++count; });
    if (++sinceCommit == kCommitEvery) {
      commit();
      sinceCommit = 0;
    }
  }
  commit();
  std::int64_t sum = 0;
  store.forEach([&](const auto&, std::int64_t count) { sum += count; });
  return sum;
}

/// One whole run of the application: from nothing to the end, all committed and on disk.
void countWithApplication(const std::string& directory, int run) {
  ApplicationOptions options{.id = fmt::format("count{}", run), .broker = directory};
  options.untilEnd = true;
  options.handleSignals = false;
  Application application(options);
  const std::string output = fmt::format("out{}", run);
  application.stream<std::string_view, std::string_view>("in")
      .groupByKey()
      .count({.name = "counts"})
      .toStream()
      .to(output);
  application.run();
}

/// The sum of the last counts of all keys.
std::int64_t countedBy(const std::shared_ptr<state::Journal>& journal, int run) {
  const file::TopicCatalog catalog(journal);
  boost::unordered_flat_map<std::string, std::int64_t> last;
  readAll(journal, catalog.get(fmt::format("out{}", run)).logs, [&](const RecordView& record) {
    std::int64_t count = 0;
    for (const char c : *record.value) count = count * 256 + static_cast<unsigned char>(c);
    last[std::string(*record.key)] = count;
  });
  std::int64_t sum = 0;
  for (const auto& [key, count] : last) sum += count;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) recordCount = std::atoll(argv[1]);
  const std::string directory =
      (std::filesystem::temp_directory_path() / fmt::format("penstock-bench-{}", ::getpid()))
          .string();
  {
    const auto journal = state::Journal::open(directory, {.sharing = state::Sharing::Shared});
    const std::vector<state::LogId> logs = fill(journal);

    std::int64_t records = 0;
    const auto counted = [&](int) { return std::exchange(records, 0); };
    std::size_t bytes = 0;  // so that the records are looked at
    const Measured reading = measure(
        [&](int) {
          readAll(journal, logs, [&](const RecordView& record) {
            ++records;
            bytes += record.key->size() + record.value->size();
          });
        },
        counted);
    const Measured bare = measure(
        [&](int) {
          boost::unordered_flat_map<std::string, std::int64_t> counts;
          std::string key;
          readAll(journal, logs, [&](const RecordView& record) {
            key.assign(*record.key);
            ++counts[key];
          });
          for (const auto& [word, count] : counts) records += count;
        },
        counted);
    std::vector<std::string> keys;
    for (std::int64_t i = 0; i < kKeys; ++i) keys.push_back(keyOf(i));
    std::vector<std::uint32_t> draws;
    for (std::int64_t i = 0; i < recordCount; ++i) {
      draws.push_back(static_cast<std::uint32_t>(mixed(static_cast<std::uint64_t>(i)) %
                                                 static_cast<std::uint64_t>(kKeys)));
    }
    const Measured hot = measure([&](int) { records = countInHotState(keys, draws); }, counted);
    const Measured application = measure([&](int run) { countWithApplication(directory, run); },
                                         [&](int run) { return countedBy(journal, run); });
    if (bytes != kRecordBytes * static_cast<std::size_t>(recordCount) * kRuns) return 1;

    fmt::print("count per key on file: {} records of {} B, {} keys, {} partitions; records/s\n",
               recordCount, kRecordBytes, kKeys, kPartitions);
    fmt::print("{:<44} {:>11} {:>11} {:>11} {:>11} {:>8}\n", "", "median", "least", "most",
               "per CPU s", "/reading");
    print("reading only (verify, decode)", reading, reading);
    print("bare loop (read, flat map), no output", bare, reading);
    print("hot state alone, from memory", hot, reading);
    print("Application, exactly once, synced, 1 worker", application, reading);
    fmt::print("Application / bare loop: {:.2f}; / hot state alone: {:.2f}\n",
               application.median / bare.median, application.median / hot.median);
    fmt::print("hot state alone / FASTER's quoted {:.1f} M/s: {:.2f}\n", kFasterQuoted / 1e6,
               hot.median / kFasterQuoted);
  }
  std::filesystem::remove_all(directory);
  return 0;
}
