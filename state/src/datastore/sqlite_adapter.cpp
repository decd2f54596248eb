// SPDX-License-Identifier: Apache-2.0

// Values in one table of an SQLite database; docs/formats/datastore.md. Locks of keys are bytes of
// the file beside it whose name ends in "-keys".
//
// 1. The database is in WAL mode: who reads sees the last commit and waits for nobody; one writes.
// 2. A change is one statement, its own transaction. While an updater runs nothing of the database
//    is locked, so that changes of other keys go on.
// 3. Those who write take turns by a lock of ours: SQLite's own waiting lets some wait for seconds.
#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>

#include "datastore/adapter.h"
#include "datastore/sql_table.h"
#include "io_errors.h"

namespace penstock::state::datastore {

namespace {

// Between two looks at whether another process has changed the database; arbitrary.
constexpr std::chrono::milliseconds watchPeriod{10};

// Its lock is had by who writes; no key, because those do not begin so.
constexpr std::string_view writersTurn = "\x01writers";

[[noreturn]] void throwTyped(const SQLite::Exception& error, const std::string& file) {
  const std::string text =
      fmt::format("{}: SQLite: {} ({})", file, error.what(), error.getErrorStr());
  switch (error.getErrorCode()) {
    case SQLITE_NOMEM:
      throw std::bad_alloc();
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw LockTimeout(
          text +
          "; another program, which is none of ours, has kept the database locked for "
          "the lock timeout: try again");
    case SQLITE_FULL:
      throw DiskFull(text + "; nothing was changed", ENOSPC, file);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      throw Corruption(file, 0, text, "restore the database from a backup");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_ERROR:  // for example that somebody has dropped the table
      throw ConfigurationError(text + "; nothing was changed");
    default:
      throw IoError(EIO, text, file);
  }
}

/// A statement that is prepared once and used again and again.
class Prepared {
 public:
  Prepared(SQLite::Database& database, const std::string& sql) : statement_(database, sql) {}

  /// Frees at the end what the statement holds of the database and of our memory.
  class Use {
   public:
    explicit Use(SQLite::Statement& statement) : statement_(statement) {}
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use() {
      (void)statement_.tryReset();
      statement_.clearBindings();
    }
    SQLite::Statement* operator->() noexcept { return &statement_; }

   private:
    SQLite::Statement& statement_;
  };
  Use use() { return Use(statement_); }

 private:
  SQLite::Statement statement_;
};

SQLite::Database opened(const std::string& file, std::chrono::milliseconds patience) {
  return {file, SQLite::OPEN_READWRITE, static_cast<int>(patience.count())};
}

std::string bytesOf(const SQLite::Column& column) {
  const auto size = static_cast<std::size_t>(column.getBytes());
  return size == 0 ? std::string() : std::string(static_cast<const char*>(column.getBlob()), size);
}

/// A connection for those who read.
struct Reader {
  Reader(const std::string& file, const std::string& table, std::chrono::milliseconds patience)
      : database(opened(file, patience)),
        read(database, fmt::format("SELECT created, changes, value FROM {} WHERE id = ?", table)),
        list(database, fmt::format("SELECT id FROM {} WHERE id >= ? AND id < ?", table)),
        version(database, "PRAGMA data_version") {}
  SQLite::Database database;
  Prepared read;
  Prepared list;
  Prepared version;  // another number after each commit of another connection
  std::mutex mutex;
};

/// The connection of those who write, in turn.
struct Writer {
  Writer(const std::string& file, const std::string& table, std::chrono::milliseconds patience)
      : database(opened(file, patience)),
        write(database,
              fmt::format("INSERT INTO {} (id, created, changes, value) VALUES (?, ?, ?, ?) "
                          "ON CONFLICT (id) DO UPDATE SET created = excluded.created, "
                          "changes = excluded.changes, value = excluded.value",
                          table)),
        erase(database, fmt::format("DELETE FROM {} WHERE id = ?", table)) {
    database.exec("PRAGMA synchronous = FULL");  // each commit is on disk when it returns
  }
  SQLite::Database database;
  Prepared write;
  Prepared erase;
};

/// The first key behind all that begin with `prefix`, as bytes: those of UTF-8 are below 0xFF.
std::string behind(std::string prefix) {
  if (prefix.empty()) return "\xFF";
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

class SqliteAdapter final : public Adapter {
 public:
  SqliteAdapter(const std::string& file, const DatastoreOptions& options,
                const Environment& environment)
      : file_(prepareFile(file, *environment.files)),
        files_(*environment.files),
        opened_(infoOf(file_, files_)),
        lockTimeout_(options.lockTimeout),
        locks_(file_ + "-keys", files_) {
    typed([&] {
      const std::string table = quotedName(options.table);
      const auto setUp = locks_.acquire(formatKey, std::chrono::steady_clock::now() + lockTimeout_);
      prepareTable(options, table);
      reader_.emplace(file_, table, lockTimeout_);
      writer_.emplace(file_, table, lockTimeout_);
    });
  }

  std::optional<Row> read(const std::string& key) override {
    checkSameFile(file_, files_, opened_);
    return typed([&]() -> std::optional<Row> {
      const std::lock_guard guard(reader_->mutex);
      auto query = reader_->read.use();
      query->bind(1, key);
      if (!query->executeStep()) return std::nullopt;
      return Row{{static_cast<std::uint64_t>(query->getColumn(0).getInt64()),
                  static_cast<std::uint64_t>(query->getColumn(1).getInt64())},
                 bytesOf(query->getColumn(2))};
    });
  }

  std::unique_ptr<Session> lock(const std::string& key, Deadline deadline) override {
    return std::make_unique<KeySession>(*this, key, locks_.acquire(key, deadline));
  }

  std::vector<std::string> list(const std::string& prefix) override {
    return typed([&] {
      const std::lock_guard guard(reader_->mutex);
      auto query = reader_->list.use();
      query->bind(1, prefix);
      query->bind(2, behind(prefix));
      std::vector<std::string> keys;
      while (query->executeStep()) keys.push_back(bytesOf(query->getColumn(0)));
      return keys;
    });
  }

  std::unique_ptr<Watch> watch() override { return std::make_unique<VersionWatch>(*this); }

 private:
  class KeySession final : public Session {
   public:
    KeySession(SqliteAdapter& adapter, std::string key, KeyLocks::Hold hold)
        : adapter_(adapter), key_(std::move(key)), hold_(std::move(hold)) {}
    std::optional<Row> read() override { return adapter_.read(key_); }
    void write(const Row& row) override {
      adapter_.change([&] {
        auto insert = adapter_.writer_->write.use();
        insert->bind(1, key_);
        insert->bind(2, static_cast<std::int64_t>(row.revision.created));
        insert->bind(3, static_cast<std::int64_t>(row.revision.changes));
        insert->bindNoCopy(4, row.bytes.data(), static_cast<int>(row.bytes.size()));
        insert->exec();
      });
    }
    void erase() override {
      adapter_.change([&] {
        auto erase = adapter_.writer_->erase.use();
        erase->bind(1, key_);
        erase->exec();
      });
    }

   private:
    SqliteAdapter& adapter_;
    const std::string key_;
    const KeyLocks::Hold hold_;
  };

  class VersionWatch final : public Watch {
   public:
    explicit VersionWatch(SqliteAdapter& adapter) : adapter_(adapter), seen_(adapter.version()) {}
    void wait(Deadline deadline) override {
      for (;;) {
        const std::int64_t version = adapter_.version();
        const auto now = std::chrono::steady_clock::now();
        if (std::exchange(seen_, version) != version || now >= deadline) return;
        std::this_thread::sleep_until(std::min<Deadline>(deadline, now + watchPeriod));
      }
    }

   private:
    SqliteAdapter& adapter_;
    std::int64_t seen_;
  };

  /// Makes the database's file, readable by its owner only, when it is not there. Gives the one
  /// name that it has, whatever symbolic links lead to it: the files beside it are called after it.
  static std::string prepareFile(const std::string& file, FileSystem& files) {
    // CreateNew: closing a file that is there would free the locks of this process's connections
    const auto made = files.open(file, OpenMode::CreateNew);
    if (made.error != EEXIST) throwUnlessOk(made, "creating the database", file);
    const auto info = files.info(file);
    throwUnlessOk(info, "looking at the database", file);
    if (!info.value.networkKind.empty()) {
      throw ConfigurationError(fmt::format(
          "{} is on a network file system ({}), where neither SQLite nor our locks of keys are "
          "safe; use a local disk, or postgresql://",
          file, info.value.networkKind));
    }
    std::error_code failed;
    const auto resolved = std::filesystem::canonical(file, failed);
    if (failed) {
      throw IoError(failed.value(), fmt::format("looking at {}: {}", file, failed.message()), file);
    }
    return resolved.string();
  }

  /// Refuses another's table before anything is changed.
  void prepareTable(const DatastoreOptions& options, const std::string& quoted) {
    const std::string place = fmt::format("{}: table {}", file_, quoted);
    SQLite::Database database = opened(file_, options.lockTimeout);
    const bool there = database.tableExists(options.table);
    if (there) {
      std::optional<std::string> format;
      try {
        SQLite::Statement query(
            database, fmt::format("SELECT value, created, changes FROM {} WHERE id = ?", quoted));
        query.bind(1, std::string(formatKey));
        if (query.executeStep()) format = bytesOf(query.getColumn(0));
      } catch (const SQLite::Exception& error) {
        if (error.getErrorCode() == SQLITE_ERROR) throwForeignTable(place);  // lacks a column
        throw;
      }
      checkFormat(format, place);
    }
    const std::string mode = database.execAndGet("PRAGMA journal_mode = WAL").getString();
    if (mode != "wal") {
      throw ConfigurationError(
          fmt::format("{}: SQLite keeps journal mode {} where WAL is needed", file_, mode));
    }
    if (there) return;
    SQLite::Transaction transaction(database);
    database.exec(
        fmt::format("CREATE TABLE {} (id TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, "
                    "created INTEGER NOT NULL, changes INTEGER NOT NULL)",
                    quoted));
    SQLite::Statement insert(database, fmt::format("INSERT INTO {} VALUES (?, ?, 0, 0)", quoted));
    const std::string format = formatBytes();
    insert.bind(1, std::string(formatKey));
    insert.bindNoCopy(2, format.data(), static_cast<int>(format.size()));
    insert.exec();
    transaction.commit();
  }

  std::int64_t version() {
    return typed([&] {
      const std::lock_guard guard(reader_->mutex);
      auto query = reader_->version.use();
      query->executeStep();
      return query->getColumn(0).getInt64();
    });
  }

  template <typename Call>
  void change(Call&& call) {
    const auto turn = [&] {
      try {
        return locks_.acquire(writersTurn, std::chrono::steady_clock::now() + lockTimeout_);
      } catch (const LockTimeout&) {
        throw LockTimeout(fmt::format(
            "{}: others wrote for all of the lock timeout; nothing was changed: try again, or give "
            "DatastoreOptions::lockTimeout more",
            file_));
      }
    }();
    checkSameFile(file_, files_, opened_);
    typed(call);
  }

  template <typename Call>
  std::invoke_result_t<Call> typed(Call&& call) {
    try {
      return call();
    } catch (const SQLite::Exception& error) {
      throwTyped(error, file_);
    }
  }

  const std::string file_;
  FileSystem& files_;
  const FileInfo opened_;
  const std::chrono::milliseconds lockTimeout_;
  KeyLocks locks_;
  std::optional<Reader> reader_;
  std::optional<Writer> writer_;
};

}  // namespace

std::unique_ptr<Adapter> openSqlite(const std::string& file, const DatastoreOptions& options,
                                    const Environment& environment) {
  return std::make_unique<SqliteAdapter>(file, options, environment);
}

}  // namespace penstock::state::datastore
