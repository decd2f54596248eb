// SPDX-License-Identifier: Apache-2.0
#include "database.h"

#include <fmt/format.h>
#include <penstock/state/errors.h>
#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_buffer_manager.h>
#include <algorithm>
#include <atomic>
#include <boost/filesystem/operations.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstdarg>
#include <map>
#include <mutex>
#include <utility>

#include "bytes.h"
#include "io_errors.h"
#include "memory_budget.h"
#include "process.h"

namespace penstock::state::database {

namespace {

constexpr std::uint64_t identityMagic = 0x3153414244504e50;  // "PNPDBAS1"
constexpr std::size_t batchBytes = 1U << 20;                 // arbitrary: what is written at a time
// Of the database itself, under the empty key, which no store has.
const rocksdb::Slice identityKey("");

rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

[[noreturn]] void throwStatus(const rocksdb::Status& status, const char* doing,
                              const std::string& directory) {
  const std::string text = fmt::format("{}: {}: {}", directory, doing, status.ToString());
  if (status.IsCorruption()) throw Corruption(directory, 0, text);
  if (status.IsNoSpace()) throw DiskFull(text, ENOSPC, directory);
  if (status.IsMemoryLimit()) throw std::bad_alloc();
  if (status.IsIOError() && status.ToString().find("lock") != std::string::npos) {
    throw OwnedElsewhere(directory +
                         ": is open in another process, and a store of Engine::RocksDb can be used "
                         "by one at a time; end that process, or give the store Engine::File");
  }
  throw IoError(EIO, text, directory);
}

void check(const rocksdb::Status& status, const char* doing, const std::string& directory) {
  if (!status.ok()) throwStatus(status, doing, directory);
}

void removeFiles(const std::string& directory) noexcept {
  try {
    boost::system::error_code ignored;
    boost::filesystem::remove_all(directory, ignored);
  } catch (const std::bad_alloc&) {  // the next recovery removes it
  }
}

/// What all databases of the process share.
struct Shared {
  std::shared_ptr<rocksdb::Cache> cache;
  std::shared_ptr<rocksdb::WriteBufferManager> buffers;

  static const Shared& instance() {
    static const Shared* shared = new Shared(MemoryBudget::process().limit() / 4);
    return *shared;
  }

 private:
  explicit Shared(std::size_t bytes)
      : cache(rocksdb::NewLRUCache(bytes)),
        buffers(std::make_shared<rocksdb::WriteBufferManager>(bytes / 4, cache)) {}
};

// processGeneration() + 1 of the process that first used RocksDB; 0: none did.
std::atomic<std::uint64_t> firstUse{0};

/// Whether the process was forked from one that used RocksDB: its databases are the parent's, the
/// threads of RocksDB are not here, and its locks may be held for ever.
bool forkedAfterUse() noexcept {
  const std::uint64_t used = firstUse.load();
  return used != 0 && used != std::uint64_t{processGeneration()} + 1;
}

void useInThisProcess(const std::string& directory) {
  std::uint64_t none = 0;
  firstUse.compare_exchange_strong(none, std::uint64_t{processGeneration()} + 1);
  if (!forkedAfterUse()) return;
  throw Closed(directory +
               ": RocksDB cannot be used in a process that was forked from one that had used it; "
               "fork first, or run another program");
}

/// Drops values that are gone when RocksDB rewrites a file.
class GoneFilter final : public rocksdb::CompactionFilter {
 public:
  [[nodiscard]] const char* Name() const override { return "penstock.gone"; }
  bool Filter(int /*level*/, const rocksdb::Slice& key, const rocksdb::Slice& value,
              std::string* /*newValue*/, bool* /*changed*/) const override {
    if (key.empty()) return false;
    const std::lock_guard guard(mutex_);
    try {
      return isGone_ && isGone_(view(value));
    } catch (...) {  // nobody here could take it; what is kept is absent to readers all the same
      return false;
    }
  }
  void set(IsGone isGone) {
    const std::lock_guard guard(mutex_);
    isGone_ = std::move(isGone);
  }

 private:
  mutable std::mutex mutex_;
  IsGone isGone_;
};

struct Database;

/// What RocksDB would tell its log goes nowhere: a directory that is only read does not change.
class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char* /*format*/, va_list /*values*/) override {}
};

/// The open databases of this process, by directory.
struct OpenDatabases {
  static OpenDatabases& instance() {
    static auto* open = new OpenDatabases;  // outlives journals with static storage
    return *open;
  }
  std::mutex opening;  // one at a time, so that the second finds what the first opened
  std::mutex mutex;
  std::condition_variable closed;
  std::multimap<std::string, Database*> databases;
};

struct Database : std::enable_shared_from_this<Database> {
  Database(std::string path, const Identity& identity) : directory(std::move(path)), id(identity) {
    auto& open = OpenDatabases::instance();
    const std::lock_guard guard(open.mutex);
    open.databases.emplace(directory, this);
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() {
    if (forkedAfterUse()) {
      (void)db.release();
      return;
    }
    auto& open = OpenDatabases::instance();
    const std::lock_guard guard(open.mutex);
    std::erase_if(open.databases, [&](const auto& item) { return item.second == this; });
    db.reset();
    if (unused && !open.databases.contains(directory)) removeFiles(directory);
    open.closed.notify_all();
  }

  void openFiles(bool create, bool readOnly) {
    const Shared& shared = Shared::instance();
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = shared.cache;
    table.cache_index_and_filter_blocks = true;
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    table.checksum = rocksdb::kXXH3;
    table.optimize_filters_for_memory = true;
    table.format_version = 5;
    rocksdb::Options options;
    options.create_if_missing = create;
    options.error_if_exists = create;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.write_buffer_manager = shared.buffers;
    options.compaction_filter = &gone;
    options.max_open_files = 256;
    options.max_background_jobs = 2;
    options.info_log = std::make_shared<NoLog>();
    options.avoid_flush_during_shutdown = true;  // what was not flushed is in the journal
    rocksdb::DB* opened = nullptr;
    const auto status = readOnly ? rocksdb::DB::OpenForReadOnly(options, directory, &opened)
                                 : rocksdb::DB::Open(options, directory, &opened);
    check(status, "opening the database", directory);
    db.reset(opened);
    owned = !readOnly;
  }

  [[nodiscard]] std::string identityText(const Extent& extent) const {
    std::string text;
    putFixed(text, identityMagic);
    putFixed(text, id.journal.low);
    putFixed(text, id.journal.high);
    putFixed(text, id.number);
    putFixed(text, std::uint64_t{id.storeId});
    putFixed(text, extent.whole);
    putFixed(text, extent.begun);
    return text;
  }

  /// What it says of itself.
  [[nodiscard]] Extent readIdentity() const {
    std::string text;
    const auto status = db->Get(rocksdb::ReadOptions(), identityKey, &text);
    if (!status.ok() && !status.IsNotFound()) throwStatus(status, "reading", directory);
    ByteReader in(text);
    const bool ours =
        in.fixed<std::uint64_t>() == identityMagic && in.fixed<std::uint64_t>() == id.journal.low &&
        in.fixed<std::uint64_t>() == id.journal.high && in.fixed<std::uint64_t>() == id.number &&
        in.fixed<std::uint64_t>() == id.storeId;
    Extent extent;
    extent.whole = in.fixed<std::uint64_t>();
    extent.begun = in.fixed<std::uint64_t>();
    if (!ours || !in.ok() || !in.atEnd()) {
      throw Corruption(directory, 0,
                       directory +
                           ": is not the database of this store and journal; it was copied or "
                           "renamed from elsewhere, or is damaged");
    }
    return extent;
  }

  const std::string directory;
  const Identity id;
  GoneFilter gone;
  std::unique_ptr<rocksdb::DB> db;
  std::atomic<bool> owned{false};   // open, and not for reading only
  std::atomic<bool> failed{false};  // the last write
  std::atomic<bool> unused{false};  // to be removed
};

class Base final : public StoreBase {
 public:
  Base(std::shared_ptr<Database> database, std::uint64_t covers)
      : database_(std::move(database)), moment_(database_->db->GetSnapshot()), covers_(covers) {}
  ~Base() override {
    if (!forkedAfterUse()) database_->db->ReleaseSnapshot(moment_);
  }

  bool find(std::string_view key, std::uint64_t /*hash*/, std::string& scratch,
            std::string_view& value) const override {
    rocksdb::PinnableSlice found;
    const auto status =
        database_->db->Get(reading(), database_->db->DefaultColumnFamily(), slice(key), &found);
    if (status.IsNotFound()) return false;
    check(status, "reading", database_->directory);
    value = scratch.assign(found.data(), found.size());
    return true;
  }

  [[nodiscard]] std::uint64_t entries() const override {
    std::uint64_t count = entries_.load();
    if (count != unknown) return count;
    count = 0;
    for (Walk at(*this, {}, false); at.valid(); at.next()) ++count;
    entries_ = count;
    return count;
  }
  [[nodiscard]] std::uint64_t covers() const noexcept override { return covers_; }
  // The cache is accounted as a whole.
  [[nodiscard]] std::size_t memoryBytes() const noexcept override { return 0; }

  [[nodiscard]] std::unique_ptr<StoreBase::Cursor> cursor(std::string_view from) const override {
    return std::make_unique<Walk>(*this, from, true);
  }

  [[nodiscard]] const std::shared_ptr<Database>& database() const noexcept { return database_; }

 private:
  class Walk final : public StoreBase::Cursor {
   public:
    Walk(const Base& base, std::string_view from, bool keep) : base_(base) {
      rocksdb::ReadOptions options = base.reading();
      options.fill_cache = keep;
      at_.reset(base.database_->db->NewIterator(options));
      at_->Seek(from.empty() ? rocksdb::Slice("\0", 1) : slice(from));  // behind the identity
    }
    [[nodiscard]] bool valid() override {
      if (at_->Valid()) return true;
      check(at_->status(), "reading", base_.database_->directory);
      return false;
    }
    [[nodiscard]] std::string_view key() override { return view(at_->key()); }
    [[nodiscard]] std::string_view value() override { return view(at_->value()); }
    [[nodiscard]] bool stay() override { return false; }
    void next() override { at_->Next(); }

   private:
    const Base& base_;
    std::unique_ptr<rocksdb::Iterator> at_;
  };

  [[nodiscard]] rocksdb::ReadOptions reading() const {
    rocksdb::ReadOptions options;
    options.snapshot = moment_;
    return options;
  }

  static constexpr std::uint64_t unknown = ~std::uint64_t{0};

  const std::shared_ptr<Database> database_;
  const rocksdb::Snapshot* const moment_;
  const std::uint64_t covers_;
  mutable std::atomic<std::uint64_t> entries_{unknown};
};

/// Collects changes and writes them a batch at a time, without a log: the journal is the log. What
/// is on disk of them is always the first ones, so that what is begun is known when any of it is.
class Writer {
 public:
  Writer(Database& database, const Extent& extent) : database_(database) {
    options_.disableWAL = true;
    putIdentity(extent);
  }
  void put(std::string_view key, std::string_view value) {
    check(batch_.Put(slice(key), slice(value)), "writing", database_.directory);
    if (batch_.GetDataSize() >= batchBytes) write();
  }
  void erase(std::string_view key) {
    check(batch_.Delete(slice(key)), "writing", database_.directory);
    if (batch_.GetDataSize() >= batchBytes) write();
  }
  /// All of it is on disk when it returns.
  void finish(std::uint64_t covers) {
    putIdentity({covers, covers});
    write();
    check(database_.db->Flush(rocksdb::FlushOptions()), "syncing", database_.directory);
  }

 private:
  void putIdentity(const Extent& extent) {
    const std::string text = database_.identityText(extent);
    check(batch_.Put(identityKey, slice(text)), "writing", database_.directory);
  }
  void write() {
    check(database_.db->Write(options_, &batch_), "writing", database_.directory);
    batch_.Clear();
  }

  Database& database_;
  rocksdb::WriteOptions options_;
  rocksdb::WriteBatch batch_;
};

/// Null when it is not, or only for reading. Waits while it is being closed.
std::shared_ptr<Database> opened(const std::string& directory) {
  auto& open = OpenDatabases::instance();
  std::unique_lock lock(open.mutex);
  for (;; open.closed.wait(lock)) {
    const auto [first, last] = open.databases.equal_range(directory);
    const auto owner =
        std::find_if(first, last, [](const auto& item) { return item.second->owned.load(); });
    if (owner == last) return nullptr;
    if (auto database = owner->second->weak_from_this().lock()) return database;
  }
}

void keepPrivate(const std::string& directory, boost::system::error_code& error) {
  boost::filesystem::permissions(directory, boost::filesystem::owner_all, error);
}

const Base& asBase(const StoreBase& base) { return dynamic_cast<const Base&>(base); }

/// What the layers changed; the base has the rest.
void writeChanges(Writer& writer, const StoreImage& image, const IsGone& isGone) {
  for (const auto& layer : image.layers) {
    layer->map().forEach([&](std::string_view key, std::string_view value, bool tombstone) {
      if (tombstone || (isGone && isGone(value))) {
        writer.erase(key);
      } else {
        writer.put(key, value);
      }
    });
  }
}

}  // namespace

void checkAvailable() {}

std::shared_ptr<const StoreBase> open(const std::string& directory, const Identity& identity,
                                      std::uint64_t covers, std::uint64_t end, bool readOnly) {
  useInThisProcess(directory);
  std::unique_lock opening(OpenDatabases::instance().opening, std::defer_lock);
  if (!readOnly) opening.lock();
  std::shared_ptr<Database> database = readOnly ? nullptr : opened(directory);
  if (!database) {
    database = std::make_shared<Database>(directory, identity);
    database->openFiles(false, readOnly);
  }
  const Extent extent = database->readIdentity();
  if (extent.whole < covers || extent.begun > end) {
    throw Corruption(directory, 0,
                     fmt::format("{}: has frames up to {} and some up to {}, but the journal "
                                 "expects those up to {}, and ends at frame {}; the directory was "
                                 "put together from different times",
                                 directory, extent.whole, extent.begun, covers, end));
  }
  return std::make_shared<Base>(database, covers);
}

std::shared_ptr<const StoreBase> write(const StoreImage& image, const std::string& directory,
                                       const Identity& identity, std::uint64_t covers,
                                       const IsGone& isGone) {
  useInThisProcess(directory);
  std::shared_ptr<Database> database;
  const auto* below = dynamic_cast<const Base*>(image.base.get());
  if (below != nullptr) {
    database = below->database();
    if (database->failed.load()) {
      check(database->db->Resume(), "resuming", database->directory);
    }
  } else {
    database = std::make_shared<Database>(directory, identity);
    boost::system::error_code error;
    boost::filesystem::create_directory(directory, error);
    if (!error) keepPrivate(directory, error);
    if (error) throwIoError(error.value(), "creating", directory);
    database->unused = true;  // until it is whole
    database->openFiles(true, false);
  }
  database->gone.set(isGone);
  database->failed = true;
  Extent extent;
  if (below != nullptr) extent = database->readIdentity();
  extent.begun = std::max(extent.begun, covers);
  Writer writer(*database, extent);
  if (below != nullptr) {
    writeChanges(writer, image, isGone);
  } else {
    for (ImageCursor at(image, {}); at.valid(); at.next()) {
      if (!isGone || !isGone(at.value())) writer.put(at.key(), at.value());
    }
  }
  writer.finish(covers);
  database->failed = false;
  if (below == nullptr) database->unused = false;
  return std::make_shared<Base>(database, covers);
}

std::uint64_t numberOf(const StoreBase* base) noexcept {
  const auto* mine = dynamic_cast<const Base*>(base);
  return mine != nullptr ? mine->database()->id.number : 0;
}

Extent extentOf(const StoreBase& base) { return asBase(base).database()->readIdentity(); }

void leaveNothingOut(const StoreBase* base) noexcept {
  const auto* mine = dynamic_cast<const Base*>(base);
  if (mine != nullptr && !forkedAfterUse()) mine->database()->gone.set({});
}

void remove(const std::string& directory) noexcept {
  if (forkedAfterUse()) return removeFiles(directory);
  auto& open = OpenDatabases::instance();
  const std::lock_guard guard(open.mutex);
  const auto [first, last] = open.databases.equal_range(directory);
  for (auto at = first; at != last; ++at) at->second->unused = true;
  if (first == last) removeFiles(directory);
}

void copy(const StoreBase& base, const std::string& directory) {
  const Database& database = *asBase(base).database();
  rocksdb::Checkpoint* made = nullptr;
  check(rocksdb::Checkpoint::Create(database.db.get(), &made), "copying", database.directory);
  const std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
  check(checkpoint->CreateCheckpoint(directory), "copying", database.directory);
  boost::system::error_code error;
  keepPrivate(directory, error);
  if (error) throwIoError(error.value(), "changing the permissions of", directory);
}

void verify(const StoreBase& base) {
  const Database& database = *asBase(base).database();
  check(database.db->VerifyChecksum(), "verifying", database.directory);
}

std::uint64_t bytesOf(const StoreBase& base) noexcept {
  std::uint64_t bytes = 0;
  (void)asBase(base).database()->db->GetIntProperty(rocksdb::DB::Properties::kTotalSstFilesSize,
                                                    &bytes);
  return bytes;
}

}  // namespace penstock::state::database
