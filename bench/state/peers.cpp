// SPDX-License-Identifier: Apache-2.0
#include "state/peers.h"

#define XXH_INLINE_ALL
#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstring>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <utility>

#if __has_include(<leveldb/db.h>)
#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>
#define PENSTOCK_BENCH_LEVELDB
#endif
#if __has_include(<lmdb.h>)
#include <lmdb.h>
#define PENSTOCK_BENCH_LMDB
#endif
#if __has_include(<rocksdb/db.h>)
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#define PENSTOCK_BENCH_ROCKSDB
#endif
#if __has_include(<sqlite3.h>)
#include <sqlite3.h>
#define PENSTOCK_BENCH_SQLITE
#endif

#include "penstock/state/local_file_storage.h"

namespace penstock::bench {
namespace {

std::int64_t numberIn(std::string_view value) {
  std::int64_t number = 0;
  if (value.empty()) return number;
  require(value.size() == sizeof(number), "a counter of another size");
  std::memcpy(&number, value.data(), sizeof(number));
  return number;
}

class Penstock final : public Peer {
 public:
  explicit Penstock(state::Sharing sharing = state::Sharing::Exclusive) : sharing_(sharing) {}
  void open(const std::string& directory) override {
    state::LocalFileStorageOptions options;
    options.sharing = sharing_;
    synced_.emplace(directory, options);
    options.durability = state::Durability::Buffered;
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
  void put(const std::string& key, std::string_view value, bool sync) override {
    (sync ? *synced_ : *buffered_).set(key, value);
  }
  bool get(const std::string& key, std::string& value) override {
    auto found = synced_->find<std::string>(key);
    if (found) value = std::move(*found);
    return found.has_value();
  }
  std::size_t scan(const std::string& from, std::size_t count) override {
    std::size_t seen = 0;
    for (auto at = synced_->cursor(from); seen < count && at.valid(); at.next()) {
      require(!at.value<std::string>().empty(), "an empty value");
      ++seen;
    }
    return seen;
  }
  bool putPipelined(Keys keys, std::string_view value) override {
    std::vector<std::future<void>> futures;
    futures.reserve(keys.size());
    for (const std::string& key : keys) futures.push_back(synced_->setAsync(key, value));
    for (auto& future : futures) future.get();
    return true;
  }

 private:
  const state::Sharing sharing_;
  std::optional<state::LocalFileStorage> synced_;
  std::optional<state::LocalFileStorage> buffered_;
  std::optional<state::Batch> batch_;
};

class Sketch final : public Peer {
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
        Entry entry;
        std::memcpy(&entry, frame.data(), sizeof(entry));
        index_[std::string(frame.substr(sizeof(entry), entry.key))] =
            frame.substr(sizeof(entry) + entry.key, entry.value);
        frame.remove_prefix(sizeof(entry) + entry.key + entry.value);
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
    begin();
    for (const std::string& key : keys) {
      std::string& kept = index_[key];
      const std::int64_t value = numberIn(kept) + 1;
      kept.assign(reinterpret_cast<const char*>(&value), sizeof(value));
      add(key, kept);
    }
    write(sync);
  }
  std::int64_t sum(Keys keys) override {
    std::int64_t sum = 0;
    for (const std::string& key : keys) {
      if (const auto found = index_.find(key); found != index_.end())
        sum += numberIn(found->second);
    }
    return sum;
  }
  void put(const std::string& key, std::string_view value, bool sync) override {
    begin();
    add(key, value);
    index_[key] = value;
    write(sync);
  }
  bool get(const std::string& key, std::string& value) override {
    const auto found = index_.find(key);
    if (found != index_.end()) value = found->second;
    return found != index_.end();
  }
  std::size_t scan(const std::string&, std::size_t) override { return 0; }  // it has no order
  [[nodiscard]] bool threads() const override { return false; }

 private:
  struct Head {
    std::uint64_t length;
    std::uint64_t hash;
  };
  struct Entry {
    std::uint32_t key = 0;
    std::uint32_t value = 0;
  };
  void begin() { frame_.resize(sizeof(Head)); }
  void add(const std::string& key, std::string_view value) {
    const Entry entry{static_cast<std::uint32_t>(key.size()),
                      static_cast<std::uint32_t>(value.size())};
    frame_.append(reinterpret_cast<const char*>(&entry), sizeof(entry)).append(key).append(value);
  }
  void write(bool sync) {
    const std::size_t length = frame_.size() - sizeof(Head);
    const Head head{length, XXH3_64bits(frame_.data() + sizeof(Head), length)};
    std::memcpy(frame_.data(), &head, sizeof(head));
    const auto wrote = ::pwrite(file_, frame_.data(), frame_.size(), end_);
    require(wrote == static_cast<ssize_t>(frame_.size()), "sketch: write");
    end_ += static_cast<off_t>(frame_.size());
    if (sync) require(::fdatasync(file_) == 0, "sketch: sync");
  }

  int file_ = -1;
  off_t end_ = 0;
  boost::unordered_flat_map<std::string, std::string> index_;
  std::string frame_;
};

#ifdef PENSTOCK_BENCH_LMDB
class Lmdb final : public Peer {
 public:
  void open(const std::string& directory) override {
    check(mdb_env_create(&environment_));
    check(mdb_env_set_mapsize(environment_, std::size_t{32} << 30));
    check(mdb_env_open(environment_, directory.c_str(), 0, 0600));
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    check(mdb_dbi_open(transaction, nullptr, 0, &table_));
    check(mdb_txn_commit(transaction));
  }
  void close() override {
    if (reader_ != nullptr) mdb_txn_abort(std::exchange(reader_, nullptr));
    mdb_env_close(environment_);
  }
  void addOne(Keys keys, bool sync) override {
    MDB_txn* transaction = begin(sync);
    for (const std::string& key : keys) {
      const std::int64_t value = numberIn(read(transaction, key)) + 1;
      write(transaction, key, {reinterpret_cast<const char*>(&value), sizeof(value)});
    }
    check(mdb_txn_commit(transaction));
  }
  std::int64_t sum(Keys keys) override {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction));
    std::int64_t sum = 0;
    for (const std::string& key : keys) sum += numberIn(read(transaction, key));
    mdb_txn_abort(transaction);
    return sum;
  }
  void put(const std::string& key, std::string_view value, bool sync) override {
    MDB_txn* transaction = begin(sync);
    write(transaction, key, value);
    check(mdb_txn_commit(transaction));
  }
  bool get(const std::string& key, std::string& value) override {
    if (reader_ == nullptr) {
      check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &reader_));
    } else {
      check(mdb_txn_renew(reader_));
    }
    const std::string_view found = read(reader_, key);
    value = found;
    mdb_txn_reset(reader_);
    return found.data() != nullptr;
  }
  std::size_t scan(const std::string& from, std::size_t count) override {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, MDB_RDONLY, &transaction));
    MDB_cursor* cursor = nullptr;
    check(mdb_cursor_open(transaction, table_, &cursor));
    MDB_val name = view(from);
    MDB_val data;
    std::size_t seen = 0;
    int error = mdb_cursor_get(cursor, &name, &data, MDB_SET_RANGE);
    while (error == 0 && seen < count) {
      require(data.mv_size > 0, "an empty value");
      ++seen;
      error = mdb_cursor_get(cursor, &name, &data, MDB_NEXT);
    }
    if (error != MDB_NOTFOUND) check(error);
    mdb_cursor_close(cursor);
    mdb_txn_abort(transaction);
    return seen;
  }

 private:
  static void check(int error) { require(error == 0, mdb_strerror(error)); }
  static MDB_val view(const std::string& key) {
    return {key.size(), const_cast<char*>(key.data())};
  }
  MDB_txn* begin(bool sync) {
    MDB_txn* transaction = nullptr;
    check(mdb_txn_begin(environment_, nullptr, 0, &transaction));
    // Within it, so that threads do not meet.
    check(mdb_env_set_flags(environment_, MDB_NOSYNC, sync ? 0 : 1));
    return transaction;
  }
  void write(MDB_txn* transaction, const std::string& key, std::string_view value) {
    MDB_val name = view(key);
    MDB_val data{value.size(), const_cast<char*>(value.data())};
    check(mdb_put(transaction, table_, &name, &data, 0));
  }
  std::string_view read(MDB_txn* transaction, const std::string& key) {
    MDB_val name = view(key);
    MDB_val data;
    const int error = mdb_get(transaction, table_, &name, &data);
    if (error == MDB_NOTFOUND) return {};
    check(error);
    return {static_cast<const char*>(data.mv_data), data.mv_size};
  }

  MDB_env* environment_ = nullptr;
  MDB_dbi table_ = 0;
  MDB_txn* reader_ = nullptr;  // of gets, which one thread makes
};
#endif

/// What their own guides advise for point reads, and blocks in memory as all others have them.
constexpr int kFilterBits = 10;  // for each key
constexpr std::size_t kBlockCache = 256U << 20;

/// LevelDB, and RocksDB, which has kept its calls. `Api` names their types.
template <typename Api>
class LsmTree final : public Peer {
 public:
  void open(const std::string& directory) override {
    typename Api::Options options;
    options.create_if_missing = true;
    api_.keepBlocks(options);
    typename Api::DB* database = nullptr;
    check(Api::DB::Open(options, directory, &database));
    database_.reset(database);
  }
  void close() override { database_.reset(); }
  void addOne(Keys keys, bool sync) override {
    batch_.Clear();
    for (const std::string& key : keys) {
      const std::int64_t value = number(key) + 1;
      batch_.Put(key, {reinterpret_cast<const char*>(&value), sizeof(value)});
    }
    typename Api::WriteOptions options;
    options.sync = sync;
    check(database_->Write(options, &batch_));
  }
  std::int64_t sum(Keys keys) override {
    std::int64_t sum = 0;
    for (const std::string& key : keys) sum += number(key);
    return sum;
  }
  void put(const std::string& key, std::string_view value, bool sync) override {
    typename Api::WriteOptions options;
    options.sync = sync;
    check(database_->Put(options, key, {value.data(), value.size()}));
  }
  bool get(const std::string& key, std::string& value) override {
    const typename Api::Status status = database_->Get(typename Api::ReadOptions(), key, &value);
    if (status.IsNotFound()) return false;
    check(status);
    return true;
  }
  std::size_t scan(const std::string& from, std::size_t count) override {
    const std::unique_ptr<typename Api::Iterator> at(
        database_->NewIterator(typename Api::ReadOptions()));
    std::size_t seen = 0;
    for (at->Seek(from); seen < count && at->Valid(); at->Next()) {
      require(!at->value().empty(), "an empty value");
      ++seen;
    }
    check(at->status());
    return seen;
  }

 private:
  static void check(const typename Api::Status& status) { require(status.ok(), status.ToString()); }
  std::int64_t number(const std::string& key) { return get(key, value_) ? numberIn(value_) : 0; }

  Api api_;  // outlives the database
  std::unique_ptr<typename Api::DB> database_;
  typename Api::WriteBatch batch_;
  std::string value_;
};

#ifdef PENSTOCK_BENCH_ROCKSDB
struct RocksApi {
  using DB = rocksdb::DB;
  using Iterator = rocksdb::Iterator;
  using Options = rocksdb::Options;
  using ReadOptions = rocksdb::ReadOptions;
  using Status = rocksdb::Status;
  using WriteBatch = rocksdb::WriteBatch;
  using WriteOptions = rocksdb::WriteOptions;

  void keepBlocks(Options& options) {
    rocksdb::BlockBasedTableOptions table;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kFilterBits));
    table.block_cache = rocksdb::NewLRUCache(kBlockCache);
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  }
};
#endif

#ifdef PENSTOCK_BENCH_LEVELDB
struct LevelApi {
  using DB = leveldb::DB;
  using Iterator = leveldb::Iterator;
  using Options = leveldb::Options;
  using ReadOptions = leveldb::ReadOptions;
  using Status = leveldb::Status;
  using WriteBatch = leveldb::WriteBatch;
  using WriteOptions = leveldb::WriteOptions;

  void keepBlocks(Options& options) {
    if (filter_ == nullptr) filter_.reset(leveldb::NewBloomFilterPolicy(kFilterBits));
    blocks_.reset(leveldb::NewLRUCache(kBlockCache));
    options.filter_policy = filter_.get();
    options.block_cache = blocks_.get();
  }

 private:
  std::unique_ptr<const leveldb::FilterPolicy> filter_;
  std::unique_ptr<leveldb::Cache> blocks_;
};
#endif

#ifdef PENSTOCK_BENCH_SQLITE
class Sqlite final : public Peer {
 public:
  void open(const std::string& directory) override {
    check(sqlite3_open((directory + "/database").c_str(), &database_));
    run("PRAGMA journal_mode=WAL");
    run("CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID");
    synced_ = true;
    run("PRAGMA synchronous=FULL");  // with WAL: each commit is synced
    prepare("INSERT INTO kv VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v", put_);
    prepare("SELECT v FROM kv WHERE k = ?", get_);
    prepare("SELECT v FROM kv WHERE k >= ? ORDER BY k LIMIT ?", scan_);
  }
  void close() override {
    for (sqlite3_stmt* statement : {put_, get_, scan_}) sqlite3_finalize(statement);
    check(sqlite3_close(database_));
  }
  void addOne(Keys keys, bool sync) override {
    const std::lock_guard lock(mutex_);
    setSync(sync);
    run("BEGIN IMMEDIATE");
    for (const std::string& key : keys) {
      const std::int64_t value = number(key) + 1;
      write(key, {reinterpret_cast<const char*>(&value), sizeof(value)});
    }
    run("COMMIT");
  }
  std::int64_t sum(Keys keys) override {
    const std::lock_guard lock(mutex_);
    std::int64_t sum = 0;
    run("BEGIN");
    for (const std::string& key : keys) sum += number(key);
    run("COMMIT");
    return sum;
  }
  void put(const std::string& key, std::string_view value, bool sync) override {
    const std::lock_guard lock(mutex_);
    setSync(sync);
    write(key, value);
  }
  bool get(const std::string& key, std::string& value) override {
    const std::lock_guard lock(mutex_);
    return read(key, value);
  }
  std::size_t scan(const std::string& from, std::size_t count) override {
    const std::lock_guard lock(mutex_);
    bind(scan_, 1, from);
    check(sqlite3_bind_int64(scan_, 2, static_cast<std::int64_t>(count)));
    std::size_t seen = 0;
    while (sqlite3_step(scan_) == SQLITE_ROW) {
      require(sqlite3_column_bytes(scan_, 0) > 0, "an empty value");
      ++seen;
    }
    check(sqlite3_reset(scan_));
    return seen;
  }

 private:
  void check(int error) const {
    if (error != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(database_));
  }
  void run(const char* sql) { check(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr)); }
  void prepare(const char* sql, sqlite3_stmt*& statement) {
    check(sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr));
  }
  void bind(sqlite3_stmt* statement, int at, std::string_view bytes) {
    check(sqlite3_bind_blob(statement, at, bytes.data(), static_cast<int>(bytes.size()),
                            SQLITE_STATIC));
  }
  void setSync(bool sync) {
    if (std::exchange(synced_, sync) == sync) return;
    run(sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
  }
  void write(const std::string& key, std::string_view value) {
    bind(put_, 1, key);
    bind(put_, 2, value);
    require(sqlite3_step(put_) == SQLITE_DONE, sqlite3_errmsg(database_));
    check(sqlite3_reset(put_));
  }
  bool read(const std::string& key, std::string& value) {
    bind(get_, 1, key);
    const bool found = sqlite3_step(get_) == SQLITE_ROW;
    if (found) {
      value.assign(static_cast<const char*>(sqlite3_column_blob(get_, 0)),
                   static_cast<std::size_t>(sqlite3_column_bytes(get_, 0)));
    }
    check(sqlite3_reset(get_));
    return found;
  }
  std::int64_t number(const std::string& key) { return read(key, value_) ? numberIn(value_) : 0; }

  std::mutex mutex_;
  sqlite3* database_ = nullptr;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* get_ = nullptr;
  sqlite3_stmt* scan_ = nullptr;
  bool synced_ = true;
  std::string value_;
};
#endif

class FilePerKey final : public Peer {
 public:
  void open(const std::string& directory) override {
    directory_ = directory;
    opened_ = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY);
    require(opened_ >= 0, "file per key: open");
  }
  void close() override { ::close(opened_); }
  void addOne(Keys keys, bool sync) override {  // not atomic: it cannot be
    std::string value;
    for (const std::string& key : keys) {
      const std::int64_t number = (get(key, value) ? numberIn(value) : 0) + 1;
      put(key, {reinterpret_cast<const char*>(&number), sizeof(number)}, sync);
    }
  }
  std::int64_t sum(Keys keys) override {
    std::int64_t sum = 0;
    std::string value;
    for (const std::string& key : keys) sum += get(key, value) ? numberIn(value) : 0;
    return sum;
  }
  void put(const std::string& key, std::string_view value, bool sync) override {
    const std::string path = directory_ + '/' + key;
    const std::string beside = path + ".tmp";
    const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(file >= 0, "file per key: open");
    const auto wrote = ::write(file, value.data(), value.size());
    require(wrote == static_cast<ssize_t>(value.size()), "file per key: write");
    if (sync) require(::fsync(file) == 0, "file per key: sync");
    ::close(file);
    require(::rename(beside.c_str(), path.c_str()) == 0, "file per key: rename");
    if (sync) require(::fsync(opened_) == 0, "file per key: sync");
  }
  bool get(const std::string& key, std::string& value) override {
    const int file = ::open((directory_ + '/' + key).c_str(), O_RDONLY);
    if (file < 0) return false;
    value.resize(std::size_t{1} << 17);
    const auto got = ::read(file, value.data(), value.size());
    require(got >= 0, "file per key: read");
    value.resize(static_cast<std::size_t>(got));
    ::close(file);
    return true;
  }
  std::size_t scan(const std::string&, std::size_t) override { return 0; }  // it has no order

 private:
  std::string directory_;
  int opened_ = -1;
};

}  // namespace

std::vector<NamedPeer> allPeers() {
  std::vector<NamedPeer> peers;
  peers.push_back({"LocalFileStorage", std::make_unique<Penstock>()});
#ifdef PENSTOCK_BENCH_LMDB
  peers.push_back({"LMDB", std::make_unique<Lmdb>()});
#endif
#ifdef PENSTOCK_BENCH_ROCKSDB
  peers.push_back({"RocksDB", std::make_unique<LsmTree<RocksApi>>()});
#endif
#ifdef PENSTOCK_BENCH_LEVELDB
  peers.push_back({"LevelDB", std::make_unique<LsmTree<LevelApi>>()});
#endif
#ifdef PENSTOCK_BENCH_SQLITE
  peers.push_back({"SQLite", std::make_unique<Sqlite>()});
#endif
  peers.push_back({"index + log sketch", std::make_unique<Sketch>()});
  return peers;
}

NamedPeer sharedStorage() { return {"shared", std::make_unique<Penstock>(state::Sharing::Shared)}; }

NamedPeer filePerKey() { return {"file per key", std::make_unique<FilePerKey>()}; }

}  // namespace penstock::bench
