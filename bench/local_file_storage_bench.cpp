// SPDX-License-Identifier: Apache-2.0

// LocalFileStorage beside LMDB, RocksDB and a sketch of the least that such a store must do (an
// index in memory and an append-only log): read-modify-write of counters under random keys.
//
// A round takes the keys in a new random order, each at most once, so that a batch need not read
// what it wrote itself. All systems do the same operations on the same keys in one run, in turns,
// round by round, and are checked: the counters must add up to the operations. Figures are medians
// over the rounds, spread is (max - min) / median; only ratios carry over to another machine.

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#if __has_include(<lmdb.h>)
#include <lmdb.h>
#define PENSTOCK_BENCH_LMDB
#endif
#if __has_include(<rocksdb/db.h>)
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>
#define PENSTOCK_BENCH_ROCKSDB
#endif

#include "penstock/state/local_file_storage.h"

namespace {

using Keys = std::span<const std::string>;

void require(bool holds, std::string_view what) {
  if (!holds) throw std::runtime_error(std::string(what));
}

/// One of the systems compared. A key is a counter; an absent one is 0.
class Peer {
 public:
  Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  virtual ~Peer() = default;
  virtual void open(const std::string& directory) = 0;
  virtual void close() = 0;
  /// Adds one to each key, all in one atomic batch.
  virtual void addOne(Keys keys, bool sync) = 0;
  virtual std::int64_t sum(Keys keys) = 0;
};

class Penstock : public Peer {
 public:
  void open(const std::string& directory) override {
    penstock::state::LocalFileStorageOptions options;
    synced_.emplace(directory, options);
    options.durability = penstock::state::Durability::Buffered;
    buffered_.emplace(directory, options);
    batch_.emplace(*synced_);
  }
  void close() override {
    batch_.reset();
    buffered_.reset();
    synced_.reset();
  }
  void addOne(Keys keys, bool sync) override {
    auto& storage = sync ? *synced_ : *buffered_;
    for (const std::string& key : keys) {
      batch_->set(key, storage.getOr<std::int64_t>(key, 0) + 1);
    }
    storage.write(*batch_);
  }
  std::int64_t sum(Keys keys) override {
    std::int64_t sum = 0;
    for (const std::string& key : keys) sum += synced_->getOr<std::int64_t>(key, 0);
    return sum;
  }

 private:
  std::optional<penstock::state::LocalFileStorage> synced_;
  std::optional<penstock::state::LocalFileStorage> buffered_;
  std::optional<penstock::state::Batch> batch_;
};

/// An index in memory and a log that is only appended to. It shows the limit; it is no store: it
/// has no snapshots, no cleaning, and takes damage for the end.
class Sketch : public Peer {
 public:
  void open(const std::string& directory) override {
    file_ = ::open((directory + "/log").c_str(), O_RDWR | O_CREAT, 0600);
    require(file_ >= 0, "sketch: open");
    std::string log(std::filesystem::file_size(directory + "/log"), '\0');
    require(::pread(file_, log.data(), log.size(), 0) == static_cast<ssize_t>(log.size()), "read");
    for (std::string_view rest = log; rest.size() >= sizeof(Head);) {
      Head head;
      std::memcpy(&head, rest.data(), sizeof(head));
      std::string_view frame = rest.substr(sizeof(head), head.length);
      if (frame.size() != head.length || XXH3_64bits(frame.data(), frame.size()) != head.hash)
        break;
      while (!frame.empty()) {
        const auto length = static_cast<unsigned char>(frame[0]);
        std::memcpy(&index_[std::string(frame.substr(1, length))], &frame[1U + length], 8);
        frame.remove_prefix(9U + length);
      }
      rest.remove_prefix(sizeof(head) + head.length);
      end_ += static_cast<off_t>(sizeof(head) + head.length);
    }
  }
  void close() override {
    ::close(file_);
    index_ = {};
    end_ = 0;
  }
  void addOne(Keys keys, bool sync) override {
    frame_.resize(sizeof(Head));
    for (const std::string& key : keys) {
      const std::int64_t value = ++index_[key];
      frame_.push_back(static_cast<char>(key.size()));
      frame_.append(key).append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    const std::size_t length = frame_.size() - sizeof(Head);
    const Head head{length, XXH3_64bits(frame_.data() + sizeof(Head), length)};
    std::memcpy(frame_.data(), &head, sizeof(head));
    require(
        ::pwrite(file_, frame_.data(), frame_.size(), end_) == static_cast<ssize_t>(frame_.size()),
        "sketch: write");
    end_ += static_cast<off_t>(frame_.size());
    if (sync) require(::fdatasync(file_) == 0, "sketch: sync");
  }
  std::int64_t sum(Keys keys) override {
    std::int64_t sum = 0;
    for (const std::string& key : keys) {
      if (const auto found = index_.find(key); found != index_.end()) sum += found->second;
    }
    return sum;
  }

 private:
  struct Head {
    std::uint64_t length;
    std::uint64_t hash;
  };
  int file_ = -1;
  off_t end_ = 0;
  boost::unordered_flat_map<std::string, std::int64_t> index_;
  std::string frame_;
};

#ifdef PENSTOCK_BENCH_LMDB
class Lmdb : public Peer {
 public:
  void open(const std::string& directory) override {
    check(mdb_env_create(&environment_));
    check(mdb_env_set_mapsize(environment_, std::size_t{8} << 30));
    check(mdb_env_open(environment_, directory.c_str(), 0, 0600));
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    check(mdb_dbi_open(transaction, nullptr, 0, &table_));
    check(mdb_txn_commit(transaction));
  }
  void close() override { mdb_env_close(environment_); }
  void addOne(Keys keys, bool sync) override {
    check(mdb_env_set_flags(environment_, MDB_NOSYNC, sync ? 0 : 1));
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    for (const std::string& key : keys) {
      std::int64_t value = read(transaction, key) + 1;
      MDB_val name = view(key);
      MDB_val data{sizeof(value), &value};
      check(mdb_put(transaction, table_, &name, &data, 0));
    }
    check(mdb_txn_commit(transaction));
  }
  std::int64_t sum(Keys keys) override {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction));
    std::int64_t sum = 0;
    for (const std::string& key : keys) sum += read(transaction, key);
    mdb_txn_abort(transaction);
    return sum;
  }

 private:
  static void check(int error) { require(error == 0, mdb_strerror(error)); }
  static MDB_val view(const std::string& key) {
    return {key.size(), const_cast<char*>(key.data())};
  }
  std::int64_t read(MDB_txn* transaction, const std::string& key) {
    MDB_val name = view(key);
    MDB_val data;
    const int error = mdb_get(transaction, table_, &name, &data);
    if (error == MDB_NOTFOUND) return 0;
    check(error);
    std::int64_t value = 0;
    std::memcpy(&value, data.mv_data, sizeof(value));
    return value;
  }

  MDB_env* environment_ = nullptr;
  MDB_dbi table_ = 0;
};
#endif

#ifdef PENSTOCK_BENCH_ROCKSDB
class RocksDb : public Peer {
 public:
  void open(const std::string& directory) override {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* database = nullptr;
    check(rocksdb::DB::Open(options, directory, &database));
    database_.reset(database);
  }
  void close() override { database_.reset(); }
  void addOne(Keys keys, bool sync) override {
    batch_.Clear();
    for (const std::string& key : keys) {
      const std::int64_t value = read(key) + 1;
      batch_.Put(key, {reinterpret_cast<const char*>(&value), sizeof(value)});
    }
    rocksdb::WriteOptions options;
    options.sync = sync;
    check(database_->Write(options, &batch_));
  }
  std::int64_t sum(Keys keys) override {
    std::int64_t sum = 0;
    for (const std::string& key : keys) sum += read(key);
    return sum;
  }

 private:
  static void check(const rocksdb::Status& status) { require(status.ok(), status.ToString()); }
  std::int64_t read(const std::string& key) {
    const rocksdb::Status status = database_->Get({}, key, &value_);
    if (status.IsNotFound()) return 0;
    check(status);
    std::int64_t value = 0;
    std::memcpy(&value, value_.data(), sizeof(value));
    return value;
  }

  std::unique_ptr<rocksdb::DB> database_;
  rocksdb::WriteBatch batch_;
  std::string value_;
};
#endif

double secondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Sizes {
  std::size_t keys = 1'000'000;
  std::size_t operations = 1'000'000;  // per round
  std::size_t synced = 2'000;          // one by one, per round
  std::size_t batch = 1'000;
  int rounds = 5;
};

/// Everything measured of one system: per measure, one figure per round.
struct Measured {
  std::string name;
  std::unique_ptr<Peer> peer;
  std::string directory;
  std::map<std::string, std::vector<double>> figures;
};

const std::vector<std::string> measures = {"batch, no sync [op/s]", "batch, synced [op/s]",
                                           "one by one, synced [op/s]", "get [op/s]", "reopen [s]"};

double median(std::vector<double> figures) {
  std::sort(figures.begin(), figures.end());
  return figures[figures.size() / 2];
}

class Run {
 public:
  Run(const Sizes& sizes, std::uint64_t seed) : sizes_(sizes), random_(seed) {
    for (std::size_t i = 0; i < sizes.keys; ++i) all_.push_back(fmt::format("key-{:07}", i));
  }

  // One figure for every measure of every system, in turns; all get the same keys.
  void round(std::vector<Measured>& systems) {
    const std::vector<std::string> operations = draw(sizes_.operations);
    const std::vector<std::string> single = draw(sizes_.synced);
    for (Measured& system : systems) {
      Peer& peer = *system.peer;
      const auto rate = [&](std::size_t count, const std::function<void()>& work) {
        return static_cast<double>(count) / secondsOf(work);
      };
      const auto batches = [&](bool sync) {
        for (std::size_t at = 0; at < operations.size(); at += sizes_.batch) {
          peer.addOne(Keys(operations).subspan(at, std::min(sizes_.batch, operations.size() - at)),
                      sync);
        }
      };
      auto& figures = system.figures;
      figures[measures[0]].push_back(rate(operations.size(), [&] { batches(false); }));
      figures[measures[1]].push_back(rate(operations.size(), [&] { batches(true); }));
      figures[measures[2]].push_back(rate(single.size(), [&] {
        for (const std::string& key : single) peer.addOne(Keys(&key, 1), true);
      }));
      figures[measures[3]].push_back(
          rate(operations.size(), [&] { require(peer.sum(operations) > 0, "nothing was read"); }));
      peer.close();
      figures[measures[4]].push_back(secondsOf([&] {
        peer.open(system.directory);
        require(peer.sum(Keys(operations).first(1)) > 0, "nothing was read after reopening");
      }));
    }
    expected_ += static_cast<std::int64_t>(2 * operations.size() + single.size());
    for (Measured& system : systems) {
      const std::int64_t sum = system.peer->sum(all_);
      require(sum == expected_,
              fmt::format("{}: counters add up to {}, not {}", system.name, sum, expected_));
    }
  }

  // Every key is there before anything is measured.
  void fill(std::vector<Measured>& systems) {
    for (Measured& system : systems) {
      for (std::size_t at = 0; at < all_.size(); at += sizes_.batch) {
        system.peer->addOne(Keys(all_).subspan(at, std::min(sizes_.batch, all_.size() - at)),
                            false);
      }
    }
    expected_ += static_cast<std::int64_t>(all_.size());
  }

 private:
  std::vector<std::string> draw(std::size_t count) {
    std::vector<std::string> keys = all_;
    std::shuffle(keys.begin(), keys.end(), random_);
    keys.resize(std::min(count, keys.size()));
    return keys;
  }

  Sizes sizes_;
  std::mt19937_64 random_;
  std::vector<std::string> all_;
  std::int64_t expected_ = 0;
};

void print(const std::vector<Measured>& systems) {
  for (const std::string& measure : measures) {
    std::cout << '\n' << measure << '\n';
    const double ours = median(systems[0].figures.at(measure));
    for (const Measured& system : systems) {
      const std::vector<double>& figures = system.figures.at(measure);
      const double figure = median(figures);
      const auto [least, most] = std::minmax_element(figures.begin(), figures.end());
      const bool seconds = measure.ends_with("[s]");
      std::cout << fmt::format(
          "  {:<18}{:>14}   spread {:>4.0f} %   LocalFileStorage is {:.2f} x\n", system.name,
          seconds ? fmt::format("{:.4f}", figure) : fmt::format("{:.0f}", figure),
          100 * (*most - *least) / figure, seconds ? figure / ours : ours / figure);
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  Sizes sizes;
  bool quick = false;
  bool alone = false;
  std::uint64_t seed = 1;
  std::string parent = ".";
  CLI::App app("LocalFileStorage beside its peers: read-modify-write of counters");
  app.add_flag("--quick", quick, "a tenth of the keys, fewer rounds");
  app.add_flag("--alone", alone, "no peers: for profiling");
  app.add_option("--keys", sizes.keys, "distinct keys")->check(CLI::PositiveNumber);
  app.add_option("--operations", sizes.operations, "per round, at most one per key")
      ->check(CLI::PositiveNumber);
  app.add_option("--synced", sizes.synced, "synced one by one, per round")
      ->check(CLI::PositiveNumber);
  app.add_option("--batch", sizes.batch, "operations per batch")->check(CLI::PositiveNumber);
  app.add_option("--rounds", sizes.rounds)->check(CLI::PositiveNumber);
  app.add_option("--seed", seed, "of the keys drawn");
  app.add_option("--directory", parent, "on the disk to measure; all is removed at the end");
  CLI11_PARSE(app, argc, argv);
#ifndef PENSTOCK_BENCH_LMDB
  fmt::print("LMDB: not installed when this was built, so not measured\n");
#endif
#ifndef PENSTOCK_BENCH_ROCKSDB
  fmt::print("RocksDB: not installed when this was built, so not measured\n");
#endif
  if (quick) {
    sizes.keys /= 10;
    sizes.operations /= 10;
    sizes.synced /= 10;
    sizes.rounds = 3;
  }

  const std::filesystem::path root = parent + "/local_file_storage_bench.tmp";
  std::filesystem::remove_all(root);
  std::vector<Measured> systems;
  systems.push_back({"LocalFileStorage", std::make_unique<Penstock>(), {}, {}});
  if (!alone) {
#ifdef PENSTOCK_BENCH_LMDB
    systems.push_back({"LMDB", std::make_unique<Lmdb>(), {}, {}});
#endif
#ifdef PENSTOCK_BENCH_ROCKSDB
    systems.push_back({"RocksDB", std::make_unique<RocksDb>(), {}, {}});
#endif
    systems.push_back({"index + log sketch", std::make_unique<Sketch>(), {}, {}});
  }
  for (Measured& system : systems) {
    system.directory = root / std::to_string(&system - systems.data());
    std::filesystem::create_directories(system.directory);
    system.peer->open(system.directory);
  }

  std::cout << fmt::format(
      "counters: {} keys key-0000000, per round {} operations in batches of {}, {} one by one; "
      "{} rounds, seed {}\n",
      sizes.keys, sizes.operations, sizes.batch, sizes.synced, sizes.rounds, seed);
  Run run(sizes, seed);
  run.fill(systems);
  for (int round = 0; round < sizes.rounds; ++round) run.round(systems);
  print(systems);
  std::cout << "\nchecked: every system's counters add up to the operations\n";
  for (Measured& system : systems) system.peer->close();
  std::filesystem::remove_all(root);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "local_file_storage_bench: " << error.what() << '\n';
  return 1;
}
