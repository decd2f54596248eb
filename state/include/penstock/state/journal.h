// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/engine.h>
#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <penstock/state/journal_metrics.h>
#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::state {

class Commit;
class Store;
class LogReader;
class JournalCore;

/// When a write counts as done.
enum class Durability : std::uint8_t {
  Synced,    // returns once it is on disk: survives power loss
  Buffered,  // survives the process; synced within JournalOptions::syncInterval
};

/// Who may have the directory open.
enum class Sharing : std::uint8_t {
  Exclusive,  // one process; a second one is refused, naming the holder
  Shared,     // any number of processes, all of which open it Shared
};

/// Number of a frame in its journal; 0 is before the first.
struct Sequence {
  std::uint64_t value = 0;
  auto operator<=>(const Sequence&) const = default;
};

/// A named map of bytes to bytes in the journal. Ids are the journal's own and never reused.
struct StoreId {
  std::uint32_t value = 0;
  auto operator<=>(const StoreId&) const = default;
};

/// A named sequence of records in the journal. Ids are the journal's own and never reused.
struct LogId {
  std::uint32_t value = 0;
  auto operator<=>(const LogId&) const = default;
};

/// How a directory is opened, held and written. Times are 0 to one day, sizes 4 KiB or more
/// (segments up to 64 GiB); else a ConfigurationError.
struct JournalOptions {
  // Changes behaviour.
  Sharing sharing = Sharing::Exclusive;
  bool allowNetworkFileSystem = false;          // refused unless asked for
  bool createDirectory = true;                  // false: a missing directory is an error
  std::chrono::milliseconds openTimeout{5000};  // waiting for a holder that is recovering
  std::uint64_t commitBytesMax = 4ULL << 30;    // a larger commit is refused (InvalidArgument)
  // Changes performance.
  std::chrono::milliseconds syncInterval{100};     // of Buffered writes
  std::uint64_t segmentBytes = 32ULL << 20;        // a segment is sealed beyond this
  std::uint64_t snapshotAfterBytes = 16ULL << 20;  // of changes to one store since its last
                                                   // one, and at least a third of its size
  std::uint64_t blobBytes = 8ULL << 20;  // a commit from here on is written, and synced, as a
                                         // file of its own before others are held up
  std::uint64_t unsyncedBytesMax = 64ULL << 20;  // appenders wait for a sync beyond this
};

/// A store as listed.
struct StoreInfo {
  std::string name;
  StoreId id;
};

/// What a log keeps. Cleaning works on whole sections, so more may be there for a while, never
/// less.
struct LogRetention {
  std::int64_t maxAgeMs = -1;  // by record timestamp; -1: for ever
  std::int64_t maxBytes = -1;  // -1: no bound
  auto operator<=>(const LogRetention&) const = default;
};

/// A log as listed, at one moment.
struct LogInfo {
  std::string name;
  LogId id;
  std::uint64_t start = 0;      // offset of the first record kept
  std::uint64_t end = 0;        // offset after the last record written
  std::uint64_t syncedEnd = 0;  // offset after the last record known to be on disk
  LogRetention retention;
};

/// A place in a log as another directory may keep it: valid only in a journal that knows the
/// epoch and had reached the offset in it. See Journal::checkPosition.
struct LogPosition {
  std::uint64_t epoch = 0;
  std::uint64_t offset = 0;
};

/// Where a commit stands in the journal.
struct CommitResult {
  Sequence sequence;
  /// For each log appended to, the offset its first record got, in order of first append.
  std::vector<std::pair<LogId, std::uint64_t>> baseOffsets;
};

/// Ownership of a named unit of work (a task) in a journal. Released by destruction, and by the
/// kernel when the process dies. A commit that names an older incarnation is refused.
class Claim {
 public:
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  virtual ~Claim() = default;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t incarnation() const noexcept = 0;

 protected:
  Claim() = default;
};

/// The one append-only checksummed log of a directory. Everything durable in the directory is a
/// frame of it: changes of stores, records of logs, claims.
///
/// One commit is one frame: all of it survives a crash, or nothing of it. What survives is
/// always a prefix of what was committed.
///
/// Threads: safe from any thread.
/// Errors: OwnedElsewhere, Corruption, FormatTooNew, DiskFull, IoError, JournalFailed, Fenced,
/// Closed; each says what, where and what to do.
/// Format: docs/formats.md.
class Journal {
 public:
  /// Opens, creates or recovers. Within a process, openers of one directory share one engine
  /// (the options of the first one count; another sharing mode is a ConfigurationError).
  static std::shared_ptr<Journal> open(const std::string& directory,
                                       const JournalOptions& options = {},
                                       const Environment& environment = Environment::real());
  ~Journal();  // closes: what was committed is synced, a mark is written
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Whether it is the same journal: not a copy of it, though that has the same id.
  [[nodiscard]] bool sameAs(const Journal& other) const noexcept;
  [[nodiscard]] const std::string& directory() const noexcept;  // absolute
  /// 16 random bytes as 32 hexadecimal digits, made with the journal; a copy has the same.
  [[nodiscard]] const std::string& id() const noexcept;
  [[nodiscard]] Sharing sharing() const noexcept;

  // Stores and logs. Declaring an unknown name is a (buffered) frame of its own.
  /// `engine`: how the store is kept from its next snapshot on; remembered. nullopt: as it was,
  /// File at first. Throws ConfigurationError for one that is not to be had here.
  StoreId declareStore(std::string_view name, std::optional<Engine> engine = std::nullopt);
  [[nodiscard]] std::optional<StoreId> findStore(std::string_view name);
  [[nodiscard]] std::vector<StoreInfo> stores();
  void removeStore(StoreId id);
  /// The content of a store, read in from snapshot and journal at first use and kept up to date
  /// while the handle lives. Corruption when a part of it is damaged.
  std::shared_ptr<Store> store(StoreId id);

  /// Views of several stores at one moment, between two frames: what one commit changed is in all
  /// of them or in none. In the order of `ids`.
  [[nodiscard]] std::vector<std::shared_ptr<const Store>> views(std::span<const StoreId> ids);

  LogId declareLog(std::string_view name, const LogRetention& retention = {});
  [[nodiscard]] std::optional<LogId> findLog(std::string_view name);
  [[nodiscard]] std::vector<LogInfo> logs();
  [[nodiscard]] LogInfo log(LogId id);
  void setRetention(LogId id, const LogRetention& retention);
  void removeLog(LogId id);
  /// Records below `offset` are no longer wanted (repartition topics behind their readers).
  void trimLog(LogId id, std::uint64_t offset);
  /// First offset whose record has a timestamp >= `timestampMs`, as far as section ranges tell:
  /// never after the exact one; nullopt when all are older.
  [[nodiscard]] std::optional<std::uint64_t> offsetForTime(LogId id, std::int64_t timestampMs);
  /// Today's position for `offset`, to be kept in another directory.
  [[nodiscard]] LogPosition position(LogId id, std::uint64_t offset);
  /// Throws PositionOutOfRange when the epoch is unknown, did not reach the offset, or the
  /// offset is below the log's start.
  void checkPosition(LogId id, const LogPosition& position);

  /// Writes all of `commit` as one frame. `commit` is emptied and may be filled again.
  CommitResult commit(Commit& commit, Durability durability = Durability::Synced);
  /// Like `commit`, filled by `fill` while no other process or thread can write: reads of stores
  /// in it see all that was written before. `fill` may not call the journal's writing methods.
  /// An exception of `fill` is passed on and nothing is written.
  CommitResult transact(const std::function<void(Commit&)>& fill,
                        Durability durability = Durability::Synced);
  /// As `commit`; the future is ready at the stated durability. Rides the group commit: no
  /// thread per call, and a dropped future does not block. Commits of one thread keep their order,
  /// async or not. Blocks while more than JournalOptions::unsyncedBytesMax wait to be written.
  std::future<CommitResult> commitAsync(Commit commit, Durability durability = Durability::Synced);
  /// As commitAsync, with a callback from the committing thread instead of a future. `done` gets
  /// null or the error; it must be quick and must not throw.
  void commitAsync(Commit commit, Durability durability,
                   std::function<void(const CommitResult&, std::exception_ptr)> done);

  /// Everything committed before, async commits too, is on disk when it returns, and their
  /// futures are ready. Not to be called by the callback of an async commit.
  void flush();

  [[nodiscard]] Sequence written();  // all whole frames, of every process
  [[nodiscard]] Sequence synced();
  /// Returns when written() > `seen`, after `timeout`, or after `interruptWaits`. Throws
  /// JournalFailed when nothing more will ever be seen, also with a `timeout` of 0.
  void waitForWritten(Sequence seen, std::chrono::milliseconds timeout);
  /// The same for synced().
  void waitForSynced(Sequence seen, std::chrono::milliseconds timeout);
  void interruptWaits();

  /// Null when another process holds it; `holder` (may be null) then gets who. Taking it is a
  /// frame; the incarnation grows with each take.
  std::unique_ptr<Claim> tryClaim(std::string_view name, std::string* holder = nullptr);

  /// From now on snapshots of the store that this process makes leave out the keys whose value
  /// `isGone`. Its readers must take them for absent already: nobody else learns of it.
  void leaveOut(StoreId id, std::function<bool(std::string_view value)> isGone);
  /// Snapshots the store now instead of in the background. Returns when it is installed.
  void snapshotStore(StoreId id);
  /// Removes and rewrites what nobody needs any more. Returns the bytes freed.
  std::uint64_t clean();

  [[nodiscard]] JournalMetrics metrics();
  /// What opening met that a person should know, a sentence each: a torn tail that was cut off, a
  /// file system whose syncs cannot be judged. For a log: this library writes none.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept;

  /// Does what the background thread would do now. Only with Environment::threads == false.
  void testingTick();

 private:
  friend class JournalCore;
  friend class LogReader;
  explicit Journal(std::shared_ptr<JournalCore> core);
  std::shared_ptr<JournalCore> core_;
};

/// What is to become visible and durable together. Reusable: buffers are kept when it is emptied.
///
/// Threads: thread-compatible: one writer or many readers.
class Commit {
 public:
  static constexpr std::size_t keyBytesMax = 64 * 1024;
  static constexpr std::size_t valueBytesMax = (std::size_t{1} << 30) + 64;  // 1 GiB and a tag

  Commit();
  ~Commit();
  Commit(Commit&&) noexcept;
  Commit& operator=(Commit&&) noexcept;

  // Keys are 1 B - 64 KiB of any bytes, values 0 B - 1 GiB; else InvalidArgument.
  void put(StoreId store, std::string_view key, std::string_view value);
  void erase(StoreId store, std::string_view key);
  void clear(StoreId store);
  void erasePrefix(StoreId store, std::string_view prefix);

  /// Appends one record to a log: the caller appends the record's bytes to the returned buffer,
  /// then calls `recordAdded` before anything else is called on this object.
  [[nodiscard]] std::string& recordBuffer(LogId log);
  void recordAdded(LogId log, std::int64_t timestampMs);

  /// The commit is refused (Fenced) unless the claim is still the newest of its name.
  void require(const Claim& claim);

  [[nodiscard]] bool empty() const noexcept;
  [[nodiscard]] std::size_t bytes() const noexcept;  // of encoded changes and records
  void reset() noexcept;

 private:
  friend class JournalCore;
  struct Content;
  std::unique_ptr<Content> content_;
};

/// Walks the keys of a store, as it was at one moment, in order of their bytes. Writing meanwhile,
/// also to the same store, is allowed and not seen.
///
/// Threads: owned by one thread.
/// Errors: Corruption when a part of the store is damaged; the cursor stays where it was.
class StoreCursor {
 public:
  StoreCursor(StoreCursor&&) noexcept;
  StoreCursor& operator=(StoreCursor&&) noexcept;
  ~StoreCursor();

  [[nodiscard]] bool valid() const noexcept;  // false behind the last key
  /// REQUIRES: valid(). They point into memory that the cursor keeps.
  [[nodiscard]] std::string_view key() const noexcept;
  [[nodiscard]] std::string_view value() const noexcept;
  void next();

 private:
  friend class StoreView;
  struct Impl;
  explicit StoreCursor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// The content of one store, for reading. Writes go through Journal::commit and are visible to
/// reads when commit returns.
///
/// Threads: safe from any thread.
class Store {
 public:
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  [[nodiscard]] virtual StoreId id() const noexcept = 0;
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  /// False when absent; `value` is then untouched.
  virtual bool get(std::string_view key, std::string& value) const = 0;
  /// The same with the value's first bytes only.
  virtual bool getFirst(std::string_view key, std::size_t bytesMax, std::string& value) const = 0;
  [[nodiscard]] virtual bool contains(std::string_view key) const = 0;
  /// Number of keys (exact). The first call after opening looks at every change since the last
  /// snapshot.
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// The store as it is now: one that does not change any more, though writing goes on. Costs no
  /// copy; what is overwritten later stays in memory, and the snapshot it lies on stays on disk,
  /// while it lives. See Journal::views for several stores at one moment.
  [[nodiscard]] virtual std::shared_ptr<const Store> view() const = 0;
  /// At the first key that is not before `from`.
  [[nodiscard]] virtual StoreCursor cursor(std::string_view from = {}) const = 0;
  /// Calls `visit` for each key in [from, to) in order of bytes until it returns false; an empty
  /// `to` is no bound. Sees one consistent state; `visit` may write to the journal.
  void scan(std::string_view from, std::string_view to,
            const std::function<bool(std::string_view key, std::string_view value)>& visit) const;
  void scanPrefix(
      std::string_view prefix,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) const;

 protected:
  Store() = default;
};

/// How far a reader may see.
enum class ReadLimit : std::uint8_t {
  Written,  // ahead of the sync: for work whose results are frames of the same journal
  Synced,   // only what power loss cannot take back: for everyone else
};

/// Consecutive records of a log, as they were appended, verified.
struct LogChunk {
  std::uint64_t baseOffset = 0;  // of its first record; may lie below the offset asked for
  std::uint32_t count = 0;       // records
  std::span<const std::byte> bytes;
  Sequence sequence;                  // frame it came with
  std::shared_ptr<const void> owner;  // keeps `bytes` alive
};

/// Reads the records of one log in order.
///
/// Threads: owned by one thread.
/// Errors: PositionOutOfRange when records at the offset were trimmed; Corruption naming file and
/// offset when they are damaged.
class LogReader {
 public:
  LogReader(std::shared_ptr<Journal> journal, LogId log, std::uint64_t offset);
  ~LogReader();
  LogReader(LogReader&&) noexcept;
  LogReader& operator=(LogReader&&) noexcept;

  /// The chunk that holds the current offset; moves behind it. False when there is none yet.
  bool next(LogChunk& chunk, ReadLimit limit);
  void seek(std::uint64_t offset);
  [[nodiscard]] std::uint64_t offset() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::state
