// SPDX-License-Identifier: Apache-2.0

// LocalFileStorage beside LMDB, RocksDB, LevelDB, SQLite, a file for each key, and a sketch of the
// least that such a store must do. Parts, each by itself with --only:
//
//   counters   read-modify-write of counters in batches, synced and not; one by one; get; reopen
//   waiting    synced sets of 16 threads and pipelined, beside a bare write + fdatasync
//   sharing    a directory that other processes may share, beside one of a single process
//   latency    percentiles of unsynced sets while snapshots and compactions run
//   ycsb       the six core workloads of YCSB (Cooper et al., SoCC 2010) on zipfian keys
//   values     sets and gets of 1 KiB and 64 KiB
//   reopen     after a kill -9, with files in the page cache and not
//   size       bytes on disk and in memory for each key
//   churn      the most that a directory takes while everything in it is overwritten
//
// All systems do the same operations on the same keys in one run, in turns where there are rounds.
// What was counted is checked. Figures are medians over the rounds, spread is (max - min) / median;
// only ratios carry over to another machine.

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <penstock/state/inspect.h>
#include <penstock/state/journal.h>

#include "state/peers.h"

extern char** environ;  // NOLINT: POSIX declares it nowhere

namespace penstock::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Sizes {
  std::size_t keys = 1'000'000;
  std::size_t operations = 1'000'000;  // per round, or part
  std::size_t synced = 2'000;          // one by one, per round
  std::size_t batch = 1'000;
  std::size_t ycsb = 2'000'000;      // operations of a workload
  std::size_t ycsbOthers = 200'000;  // of those that are not `many`
  std::size_t reopened = 1'000'000;  // keys
  int rounds = 5;
};

double secondsOf(const std::function<void()>& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> figures) {
  std::sort(figures.begin(), figures.end());
  return figures[figures.size() / 2];
}

/// One measure of all systems: ours first.
class Table {
 public:
  explicit Table(std::string title, bool lessIsBetter = false)
      : title_(std::move(title)), lessIsBetter_(lessIsBetter) {}
  void add(const std::string& system, double figure) {
    for (auto& [name, figures] : rows_) {
      if (name == system) return figures.push_back(figure);
    }
    rows_.push_back({system, {figure}});
  }
  void print() const {
    fmt::print("\n{}\n", title_);
    const double ours = median(rows_.at(0).second);
    for (const auto& [name, figures] : rows_) {
      const double figure = median(figures);
      const auto [least, most] = std::minmax_element(figures.begin(), figures.end());
      fmt::print("  {:<20}{:>14}", name,
                 figure < 100 ? fmt::format("{:.4f}", figure) : fmt::format("{:.0f}", figure));
      if (figures.size() > 1) fmt::print("   spread {:>4.0f} %", 100 * (*most - *least) / figure);
      if (name != rows_.front().first) {
        fmt::print("   {} is {:.2f} x", rows_.front().first,
                   lessIsBetter_ ? figure / ours : ours / figure);
      }
      fmt::print("\n");
    }
    std::fflush(stdout);
  }

 private:
  std::string title_;
  bool lessIsBetter_;
  std::vector<std::pair<std::string, std::vector<double>>> rows_;
};

/// Another one each time: SQLite writes, and syncs, nothing where a value is what it was.
std::string_view another(std::string& value) {
  std::uint64_t number = 0;
  std::memcpy(&number, value.data(), sizeof(number));
  ++number;
  std::memcpy(value.data(), &number, sizeof(number));
  return value;
}

std::string keyOf(std::size_t number) { return fmt::format("key-{:07}", number); }

/// Numbers below `count`, the small ones often: Gray et al., "Quickly generating billion-record
/// synthetic databases", SIGMOD 1994, as YCSB does it.
class Zipfian {
 public:
  explicit Zipfian(std::size_t count) : count_(static_cast<double>(count)) {
    for (std::size_t i = 1; i <= count; ++i)
      zeta_ += std::pow(1.0 / static_cast<double>(i), kTheta);
    const double two = 1 + std::pow(0.5, kTheta);
    eta_ = (1 - std::pow(2 / count_, 1 - kTheta)) / (1 - two / zeta_);
  }
  std::size_t operator()(std::mt19937_64& random) const {
    const double u = std::uniform_real_distribution<>(0, 1)(random);
    const double scaled = u * zeta_;
    if (scaled < 1) return 0;
    if (scaled < 1 + std::pow(0.5, kTheta)) return 1;
    const double drawn = count_ * std::pow(eta_ * u - eta_ + 1, 1 / (1 - kTheta));
    return static_cast<std::size_t>(std::min(drawn, count_ - 1));
  }

 private:
  static constexpr double kTheta = 0.99;
  double count_;
  double zeta_ = 0;
  double eta_ = 0;
};

class Bench {
 public:
  Bench(const Sizes& sizes, std::uint64_t seed, fs::path root, bool alone)
      : sizes_(sizes), random_(seed), root_(std::move(root)), alone_(alone) {
    for (std::size_t i = 0; i < sizes.keys; ++i) keys_.push_back(keyOf(i));
    value_ = randomBytes(100);
  }

  void counters();
  void waiting();
  void sharing();
  void latency();
  void ycsb();
  void values();
  void reopen();
  void size();
  void churn();

 private:
  struct System {
    std::string name;
    std::unique_ptr<Peer> peer;
    std::string directory;
    std::size_t inserted = 0;  // keys, by YCSB
    /// Where the others do a part of the operations: they would take most of the time.
    [[nodiscard]] bool many() const {
      return name == "LocalFileStorage" || name == "LMDB" || name == "index + log sketch";
    }
  };

  /// New, and none is open; those that are there already are gone.
  std::vector<System> systems(bool withFiles = false) {
    fs::remove_all(root_);
    std::vector<NamedPeer> peers = allPeers();
    if (alone_) peers.resize(1);
    if (withFiles && !alone_) peers.push_back(filePerKey());
    std::vector<System> made;
    for (NamedPeer& each : peers) {
      System& system = made.emplace_back();
      system.name = each.name;
      system.peer = std::move(each.peer);
      system.directory = root_ / std::to_string(made.size());
      fs::create_directories(system.directory);
    }
    return made;
  }
  /// One after the other is opened, used and closed, so that none works beside another.
  void forEach(bool withFiles, const std::function<void(System&)>& use) {
    for (System& system : systems(withFiles)) {
      system.peer->open(system.directory);
      use(system);
      system.peer->close();
      fs::remove_all(system.directory);
      settleDisk();
    }
    fs::remove_all(root_);
  }
  /// Nobody pays for what was written before and not synced.
  void settleDisk() const {
    const int directory = ::open(root_.c_str(), O_RDONLY | O_DIRECTORY);
    require(directory >= 0 && ::syncfs(directory) == 0, "syncing the file system");
    ::close(directory);
  }
  /// The same, with what the system itself holds back: adds one to the first key.
  void settle(System& system) const {
    system.peer->addOne(Keys(keys_).first(1), true);
    settleDisk();
  }
  /// The same for all systems, and nothing that compresses.
  std::string randomBytes(std::size_t count) {
    std::string bytes(count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  std::vector<std::string> draw(std::size_t count) {
    std::vector<std::string> drawn = keys_;
    std::shuffle(drawn.begin(), drawn.end(), random_);
    drawn.resize(std::min(count, drawn.size()));
    return drawn;
  }
  void addOne(Peer& peer, Keys keys, bool sync) const {
    for (std::size_t at = 0; at < keys.size(); at += sizes_.batch) {
      peer.addOne(keys.subspan(at, std::min(sizes_.batch, keys.size() - at)), sync);
    }
  }
  void runWorkload(char letter, System& system, std::size_t operations, std::uint64_t seed,
                   const Zipfian& zipfian, Table& table);
  /// This program again, with these arguments; what it printed.
  static std::string again(std::vector<std::string> arguments, int signal = 0);

  const Sizes sizes_;
  std::mt19937_64 random_;
  const fs::path root_;
  const bool alone_;
  std::vector<std::string> keys_;
  std::string value_;  // of 100 B
};

void Bench::counters() {
  fmt::print(
      "\ncounters: {} keys key-0000000, per round {} operations in batches of {}, a fifth of that "
      "by SQLite and LSM trees, {} one by one; {} rounds\n",
      sizes_.keys, sizes_.operations, sizes_.batch, sizes_.synced, sizes_.rounds);
  Table batches("batch, no sync [op/s]");
  Table synced("batch, synced [op/s]");
  Table single("one by one, synced [op/s]");
  Table get("get [op/s]");
  Table reopened("reopen after a close, first get [s]", true);
  auto all = systems();
  for (System& system : all) {  // every key is there
    system.peer->open(system.directory);
    addOne(*system.peer, keys_, false);
  }
  std::vector<std::int64_t> expected(all.size(), static_cast<std::int64_t>(keys_.size()));
  for (int round = 0; round < sizes_.rounds; ++round) {
    const std::vector<std::string> drawn = draw(sizes_.operations);
    const std::vector<std::string> few = draw(sizes_.synced);
    for (std::size_t i = 0; i < all.size(); ++i) {
      System& system = all[i];
      Peer& peer = *system.peer;
      const Keys some = Keys(drawn).first(system.many() ? drawn.size() : drawn.size() / 5);
      const auto rate = [&](Table& table, std::size_t count, const std::function<void()>& work) {
        settle(system);
        table.add(system.name, static_cast<double>(count) / secondsOf(work));
      };
      rate(batches, some.size(), [&] { addOne(peer, some, false); });
      rate(synced, some.size(), [&] { addOne(peer, some, true); });
      rate(single, few.size(), [&] {
        for (const std::string& key : few) peer.addOne(Keys(&key, 1), true);
      });
      rate(get, some.size(), [&] { require(peer.sum(some) > 0, "nothing was read"); });
      peer.close();
      reopened.add(system.name, secondsOf([&] {
                     peer.open(system.directory);
                     require(peer.sum(Keys(drawn).first(1)) > 0, "nothing there after reopening");
                   }));
      expected[i] += static_cast<std::int64_t>(2 * some.size() + few.size() + 4);  // 4: settled
    }
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::int64_t sum = all[i].peer->sum(keys_);
    require(sum == expected[i],
            fmt::format("{}: counters add up to {}, not {}", all[i].name, sum, expected[i]));
  }
  for (const Table* table : {&batches, &synced, &single, &get, &reopened}) table->print();
  fmt::print("\nchecked: every system's counters add up to the operations\n");
  for (System& system : all) system.peer->close();
  fs::remove_all(root_);
}

void Bench::waiting() {
  constexpr std::size_t kThreads = 16;
  std::string value = value_;
  Table single("synced sets of 100 B, one by one [op/s]");
  Table threads(fmt::format("synced sets of 100 B by {} threads [op/s]", kThreads));
  Table pipelined("synced sets of 100 B, pipelined as futures [op/s]");
  auto all = systems(true);
  for (System& system : all) system.peer->open(system.directory);
  fs::create_directories(root_ / "bare");
  const int bare = ::open((root_ / "bare/file").c_str(), O_WRONLY | O_CREAT, 0600);
  require(bare >= 0, "opening a file");
  off_t at = 0;
  for (int round = 0; round < sizes_.rounds; ++round) {
    const std::vector<std::string> few = draw(sizes_.synced);
    const auto count = static_cast<double>(few.size());
    for (System& system : all) {
      Peer& peer = *system.peer;
      single.add(system.name, count / secondsOf([&] {
                                for (const std::string& key : few)
                                  peer.put(key, another(value), true);
                              }));
      if (peer.threads()) {
        threads.add(system.name, count / secondsOf([&] {
                                   std::vector<std::thread> running;
                                   for (std::size_t t = 0; t < kThreads; ++t) {
                                     running.emplace_back([&, t, own = value]() mutable {
                                       for (std::size_t i = t; i < few.size(); i += kThreads) {
                                         peer.put(few[i], another(own), true);
                                       }
                                     });
                                   }
                                   for (std::thread& thread : running) thread.join();
                                 }));
      }
      bool can = true;
      const double seconds = secondsOf([&] { can = peer.putPipelined(few, another(value)); });
      if (can) pipelined.add(system.name, count / seconds);
    }
    single.add("write + fdatasync", count / secondsOf([&] {
                                      for (const std::string& key : few) {
                                        const std::string bytes = key + value;
                                        require(::pwrite(bare, bytes.data(), bytes.size(), at) ==
                                                    static_cast<ssize_t>(bytes.size()),
                                                "writing a file");
                                        at += static_cast<off_t>(bytes.size());
                                        require(::fdatasync(bare) == 0, "syncing a file");
                                      }
                                    }));
  }
  ::close(bare);
  for (const Table* table : {&single, &threads, &pipelined}) table->print();
  for (System& system : all) system.peer->close();
  fs::remove_all(root_);
}

void Bench::sharing() {
  constexpr std::size_t kBatch = 64;
  Table batches(fmt::format("batches of {}, not synced [op/s]", kBatch));
  Table synced(fmt::format("batches of {}, synced [op/s]", kBatch));
  Table single("one by one, synced [op/s]");
  fs::remove_all(root_);
  std::vector<NamedPeer> peers;
  peers.push_back(sharedStorage());
  peers.push_back(std::move(allPeers().front()));
  for (NamedPeer& each : peers) {
    fs::create_directories(root_ / each.name);
    each.peer->open(root_ / each.name);
  }
  for (int round = 0; round < sizes_.rounds; ++round) {
    const std::vector<std::string> drawn = draw(sizes_.operations);
    const std::vector<std::string> few = draw(sizes_.synced);
    for (NamedPeer& each : peers) {
      const auto rate = [&](Table& table, Keys keys, std::size_t batch, bool sync) {
        settleDisk();
        table.add(each.name, static_cast<double>(keys.size()) / secondsOf([&] {
                               for (std::size_t at = 0; at < keys.size(); at += batch) {
                                 each.peer->addOne(
                                     keys.subspan(at, std::min(batch, keys.size() - at)), sync);
                               }
                             }));
      };
      rate(batches, drawn, kBatch, false);
      rate(synced, Keys(drawn).first(std::min(drawn.size(), kBatch * few.size())), kBatch, true);
      rate(single, few, 1, true);
    }
  }
  for (const Table* table : {&batches, &synced, &single}) table->print();
  for (NamedPeer& each : peers) each.peer->close();
  fs::remove_all(root_);
}

void Bench::latency() {
  std::string value = value_;
  const std::vector<std::string> drawn = draw(sizes_.operations);
  fmt::print(
      "\nlatency of one unsynced set of 100 B, {} keys set twice and timed at the second "
      "[us]\n  {:<20}{:>10}{:>10}{:>10}{:>12}{:>12}\n",
      drawn.size(), "", "p50", "p99", "p99.9", "most", "op/s");
  forEach(false, [&](System& system) {
    for (const std::string& key : drawn) system.peer->put(key, another(value), false);
    std::vector<double> micros;
    micros.reserve(drawn.size());
    const double seconds = secondsOf([&] {
      for (const std::string& key : drawn) {
        const auto start = Clock::now();
        system.peer->put(key, another(value), false);
        micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
      }
    });
    std::sort(micros.begin(), micros.end());
    const auto quantile = [&](double share) {
      return micros[std::min(micros.size() - 1,
                             static_cast<std::size_t>(share * static_cast<double>(micros.size())))];
    };
    fmt::print("  {:<20}{:>10.1f}{:>10.1f}{:>10.1f}{:>12.1f}{:>12.0f}\n", system.name,
               quantile(0.5), quantile(0.99), quantile(0.999), micros.back(),
               static_cast<double>(drawn.size()) / seconds);
    std::fflush(stdout);
  });
}

/// A read half, update half; B read 95 %; C read; D read the newest 95 %, insert; E scan up to 100
/// 95 %, insert; F read half, read-modify-write half.
void Bench::runWorkload(char letter, System& system, std::size_t operations, std::uint64_t seed,
                        const Zipfian& zipfian, Table& table) {
  const double reads =
      std::map<char, double>{{'A', .5}, {'B', .95}, {'C', 1}, {'D', .95}, {'E', .95}, {'F', .5}}.at(
          letter);
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<> part(0, 1);
  std::string value = value_;
  std::size_t& inserted = system.inserted;
  std::size_t found = 0;
  const auto scattered = [&](std::size_t number) {  // so that hot keys are not neighbours
    return number * 0x9e3779b97f4a7c15U % keys_.size();
  };
  table.add(system.name, static_cast<double>(operations) / secondsOf([&] {
                           for (std::size_t i = 0; i < operations; ++i) {
                             const std::size_t drawn = zipfian(random);
                             const std::string key = letter == 'D' ? keyOf(inserted - 1 - drawn)
                                                                   : keys_[scattered(drawn)];
                             if (part(random) < reads) {
                               found += letter == 'E' ? system.peer->scan(key, 1 + random() % 100)
                                                      : std::size_t{system.peer->get(key, value)};
                             } else if (letter == 'D' || letter == 'E') {
                               system.peer->put(keyOf(inserted++), another(value), false);
                             } else {
                               if (letter == 'F')
                                 found += std::size_t{system.peer->get(key, value)};
                               system.peer->put(key, another(value), false);
                             }
                           }
                         }));
  require(found >= operations / 4, system.name + ": keys were not found");
}

void Bench::ycsb() {
  fmt::print(
      "\nYCSB, zipfian, {} keys, values of 100 B, not synced: {} operations of a workload, "
      "{} of SQLite and LSM trees\n",
      sizes_.keys, sizes_.ycsb, sizes_.ycsbOthers);
  const Zipfian zipfian(keys_.size());
  const std::string letters = "ABCDEF";
  std::vector<Table> tables;
  for (const char letter : letters) tables.emplace_back(fmt::format("YCSB {} [op/s]", letter));
  const std::uint64_t seed = random_();
  forEach(false, [&](System& system) {
    system.inserted = keys_.size();
    for (const std::string& key : keys_) system.peer->put(key, value_, false);
    const std::size_t operations = system.many() ? sizes_.ycsb : sizes_.ycsbOthers;
    for (std::size_t i = 0; i < letters.size(); ++i) {
      const bool scans = letters[i] == 'E';
      if (scans && system.peer->scan(keys_[0], 1) == 0) continue;  // has no order
      settleDisk();
      // A scan reads 50 values.
      runWorkload(letters[i], system, scans ? operations / 10 : operations, seed + i, zipfian,
                  tables[i]);
    }
  });
  for (const Table& table : tables) table.print();
}

void Bench::values() {
  for (const std::size_t bytes : {std::size_t{1} << 10U, std::size_t{1} << 16U}) {
    const std::size_t count = std::min(keys_.size(), (std::size_t{256} << 20U) / bytes);
    std::string value = randomBytes(bytes);
    Table sets(fmt::format("sets of {} B, not synced [op/s]", bytes));
    Table gets(fmt::format("gets of {} B [op/s]", bytes));
    forEach(true, [&](System& system) {
      std::vector<std::string> drawn(keys_.begin(),
                                     keys_.begin() + static_cast<std::ptrdiff_t>(count));
      if (system.name == "file per key") drawn.resize(std::min(count, std::size_t{20'000}));
      std::mt19937_64 order(count);
      for (int round = 0; round < sizes_.rounds; ++round) {
        std::shuffle(drawn.begin(), drawn.end(), order);
        const auto operations = static_cast<double>(drawn.size());
        settleDisk();
        sets.add(system.name, operations / secondsOf([&] {
                                for (const std::string& key : drawn) {
                                  system.peer->put(key, another(value), false);
                                }
                              }));
        std::string found;
        gets.add(system.name, operations / secondsOf([&] {
                                for (const std::string& key : drawn) {
                                  require(system.peer->get(key, found) && found.size() == bytes,
                                          system.name + ": a value is not there");
                                }
                              }));
      }
    });
    sets.print();
    gets.print();
  }
}

std::string Bench::again(std::vector<std::string> arguments, int signal) {
  std::array<int, 2> ends{};
  require(::pipe2(ends.data(), O_CLOEXEC) == 0, "making a pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  arguments.insert(arguments.begin(), "state_bench");
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t child = 0;
  const int error =
      ::posix_spawn(&child, "/proc/self/exe", &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  require(error == 0, "starting this program again");
  std::string out;
  std::array<char, 4096> part{};
  for (ssize_t got = 0; (got = ::read(ends[0], part.data(), part.size())) > 0;) {
    out.append(part.data(), static_cast<std::size_t>(got));
  }
  ::close(ends[0]);
  int status = 0;
  require(::waitpid(child, &status, 0) == child, "waiting for a process");
  require(signal == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                      : WIFSIGNALED(status) && WTERMSIG(status) == signal,
          "the process did not end as it should: " + arguments.at(1));
  return out;
}

std::uint64_t diskBytes(const fs::path& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    struct stat status {};
    if (::stat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
  }
  return bytes;
}

void dropCache(const fs::path& directory) {
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ::fdatasync(file);
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

void Bench::reopen() {
  Table warm(fmt::format("reopen after kill -9 with {} keys, first get, warm [s]", sizes_.reopened),
             true);
  Table cold("the same, files not in the page cache [s]", true);
  const std::string first = keyOf(sizes_.reopened / 2);
  for (int round = 0; round < std::min(sizes_.rounds, 3); ++round) {
    for (System& system : systems()) {
      if (system.name == "index + log sketch" && sizes_.reopened > 2'000'000) continue;
      const std::vector<std::string> fill{"--fill",      system.name,
                                          "--directory", system.directory,
                                          "--keys",      std::to_string(sizes_.reopened)};
      (void)again(fill, SIGKILL);
      const auto opening = [&](Table& table) {
        table.add(system.name, secondsOf([&] {
                    system.peer->open(system.directory);
                    require(system.peer->sum(Keys(&first, 1)) == 1, system.name + ": it is gone");
                  }));
        system.peer->close();
      };
      opening(warm);
      fs::remove_all(system.directory);
      fs::create_directories(system.directory);
      (void)again(fill, SIGKILL);
      dropCache(system.directory);
      opening(cold);
    }
  }
  warm.print();
  cold.print();
  fs::remove_all(root_);
}

void Bench::size() {
  Table disk(fmt::format("bytes on disk for each of {} counters, after closing [B]", sizes_.keys),
             true);
  Table memory("bytes in memory for each, all of them read [B]", true);
  for (System& system : systems()) {
    system.peer->open(system.directory);
    addOne(*system.peer, keys_, false);
    system.peer->close();
    const auto count = static_cast<double>(keys_.size());
    disk.add(system.name, static_cast<double>(diskBytes(system.directory)) / count);
    memory.add(system.name,
               std::stod(again({"--memory", system.name, "--directory", system.directory, "--keys",
                                std::to_string(sizes_.keys)})) /
                   count);
  }
  disk.print();
  memory.print();
  fs::remove_all(root_);
}

void Bench::churn() {
  constexpr std::int64_t kRetained = 32 << 20;
  constexpr std::size_t kMinCommits = 1000;
  fs::remove_all(root_);
  const auto journal = state::Journal::open(root_);
  const state::StoreId store = journal->declareStore("churned");
  const state::LogId log = journal->declareLog("topic", {.maxBytes = kRetained});
  const auto content = journal->store(store);
  std::atomic<std::uint64_t> most{0};
  std::jthread watching([&](const std::stop_token& stop) {
    for (; !stop.stop_requested(); std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
      most = std::max(most.load(), diskBytes(root_));
    }
  });
  const std::size_t commits = std::max(kMinCommits, 5 * sizes_.operations / sizes_.batch);
  state::Commit commit;
  const double seconds = secondsOf([&] {
    for (std::size_t i = 0; i < commits; ++i) {
      for (std::size_t j = 0; j < sizes_.batch; ++j) {
        commit.put(store, keys_[random_() % keys_.size()], value_);
      }
      for (std::size_t j = 0; j < sizes_.batch / 10; ++j) {
        commit.recordBuffer(log) += value_;
        commit.recordAdded(log, 0);
      }
      journal->commit(commit, state::Durability::Buffered);
    }
  });
  watching.request_stop();
  watching.join();
  const state::JournalMetrics metrics = journal->metrics();
  journal->snapshotStore(store);
  journal->clean();
  const auto fresh = static_cast<double>(state::inspectJournal(root_).stores.front().snapshotBytes);
  constexpr double kMega = 1 << 20;
  const double bound = 2.5 * fresh + 2.0 * kRetained + 64 * kMega;
  fmt::print(
      "\nchurn: {} commits of {} sets and {} records of 100 B over {} keys, {:.0f} sets/s, writers "
      "slowed for {:.1f} s\n  a fresh snapshot has {:.0f} MiB, the topic keeps {} MiB; the "
      "directory "
      "took at most {:.0f} MiB, {:.2f} x of 2.5 x fresh + 2 x kept + 64 MiB\n",
      commits, sizes_.batch, sizes_.batch / 10, keys_.size(),
      static_cast<double>(commits * sizes_.batch) / seconds,
      static_cast<double>(metrics.slowedMicros) / 1e6, fresh / kMega, kRetained >> 20,
      static_cast<double>(most.load()) / kMega, static_cast<double>(most.load()) / bound);
  std::fflush(stdout);
  fs::remove_all(root_);
}

std::unique_ptr<Peer> peerNamed(const std::string& name) {
  for (NamedPeer& each : allPeers()) {
    if (each.name == name) return std::move(each.peer);
  }
  throw std::runtime_error("no system " + name);
}

/// The child of `reopen`: fills a directory and dies in the middle of it all.
[[noreturn]] void fillAndDie(const std::string& name, const std::string& directory,
                             std::size_t count) {
  const auto peer = peerNamed(name);
  peer->open(directory);
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) {
    keys.push_back(keyOf(i));
    if (keys.size() < 1000 && i + 1 < count) continue;
    peer->addOne(keys, false);
    keys.clear();
  }
  ::raise(SIGKILL);
  std::abort();
}

/// The child of `size`: anonymous memory; for LMDB, whose cache is its file, the file's, too.
void printMemory(const std::string& name, const std::string& directory, std::size_t count) {
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < count; ++i) keys.push_back(keyOf(i));
  const auto resident = [&] {
    std::ifstream in("/proc/self/status");
    double kilobytes = 0;
    for (std::string word; in >> word;) {
      if (word != "RssAnon:" && (word != "RssFile:" || name != "LMDB")) continue;
      double more = 0;
      in >> more;
      kilobytes += more;
    }
    return kilobytes * 1024;
  };
  const auto peer = peerNamed(name);
  const double before = resident();
  peer->open(directory);
  require(peer->sum(keys) > 0, "nothing was read");
  fmt::print("{}\n", resident() - before);
  std::fflush(stdout);
  peer->close();
}

int run(int argc, char** argv) {
  Sizes sizes;
  bool quick = false;
  bool full = false;
  bool alone = false;
  std::uint64_t seed = 1;
  std::string parent = ".";
  std::string fill;
  std::string memory;
  std::set<std::string> only;
  const std::vector<std::pair<std::string, void (Bench::*)()>> parts{
      {"counters", &Bench::counters}, {"waiting", &Bench::waiting}, {"sharing", &Bench::sharing},
      {"latency", &Bench::latency},   {"ycsb", &Bench::ycsb},       {"values", &Bench::values},
      {"reopen", &Bench::reopen},     {"size", &Bench::size},       {"churn", &Bench::churn}};
  std::vector<std::string> names;
  for (const auto& [name, part] : parts) names.push_back(name);
  CLI::App app("LocalFileStorage beside its peers");
  app.add_flag("--quick", quick, "a tenth of everything, fewer rounds");
  app.add_flag("--full", full, "YCSB with 100 M operations (others 2 M), 10 M keys reopened");
  app.add_flag("--alone", alone, "no peers: for profiling");
  app.add_option("--only", only, "parts")->check(CLI::IsMember(names));
  app.add_option("--keys", sizes.keys, "distinct keys")->check(CLI::PositiveNumber);
  app.add_option("--operations", sizes.operations, "per round, at most one per key")
      ->check(CLI::PositiveNumber);
  app.add_option("--synced", sizes.synced, "synced one by one, per round")
      ->check(CLI::PositiveNumber);
  app.add_option("--batch", sizes.batch, "operations per batch")->check(CLI::PositiveNumber);
  app.add_option("--rounds", sizes.rounds)->check(CLI::PositiveNumber);
  app.add_option("--seed", seed, "of the keys drawn");
  app.add_option("--directory", parent, "on the disk to measure; all is removed at the end");
  app.add_option("--fill", fill)->group("");      // the child of `reopen`
  app.add_option("--memory", memory)->group("");  // the child of `size`
  CLI11_PARSE(app, argc, argv);
  if (!fill.empty()) fillAndDie(fill, parent, sizes.keys);
  if (!memory.empty()) {
    printMemory(memory, parent, sizes.keys);
    return 0;
  }
  if (quick) {
    for (std::size_t* each : {&sizes.keys, &sizes.operations, &sizes.synced, &sizes.ycsb,
                              &sizes.ycsbOthers, &sizes.reopened}) {
      *each /= 10;
    }
    sizes.rounds = 3;
  }
  if (full) {
    sizes.ycsb = 100'000'000;
    sizes.ycsbOthers = 2'000'000;
    sizes.reopened = 10'000'000;
  }
  fmt::print("state: seed {}, {} threads of the machine\n", seed,
             std::thread::hardware_concurrency());
  Bench bench(sizes, seed, fs::absolute(parent) / "state_bench.tmp", alone);
  for (const auto& [name, part] : parts) {
    if (only.empty() || only.contains(name)) (bench.*part)();
  }
  return 0;
}

}  // namespace
}  // namespace penstock::bench

int main(int argc, char** argv) try {
  return penstock::bench::run(argc, argv);
} catch (const std::exception& error) {
  std::cerr << "state_bench: " << error.what() << '\n';
  return 1;
}
