// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/backup.h>
#include <penstock/state/journal.h>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "catalog.h"
#include "commit_content.h"
#include "frame.h"
#include "open_files.h"
#include "process.h"
#include "segment_index.h"
#include "store_state.h"

namespace penstock::state {

class CopyTarget;

/// The volatile page: what the processes that share a journal tell each other. Lives in a mapped
/// file; worth nothing after the last of them ended, hence the boot id.
struct JournalPage {
  std::atomic<std::uint64_t> bootHash;
  std::atomic<std::uint64_t> journalLow;
  std::atomic<std::uint64_t> end;       // packed: segment << 40 | offset / 8, behind the last frame
  std::atomic<std::uint64_t> written;   // sequence of the last whole frame
  std::atomic<std::uint64_t> synced;    // sequence up to which frames are on disk
  std::atomic<std::uint32_t> poisoned;  // errno of a failed sync; never goes back to 0
  std::atomic<std::uint32_t> writing;   // 1 while the holder of the append lock changes files
  std::atomic<std::uint32_t> word;      // grows with each frame and sync; waited for
  std::atomic<std::uint32_t> waiters;
  std::atomic<std::uint32_t> epochDue;  // 1: the next commit begins one; 2: it is being written
};
static_assert(sizeof(JournalPage) <= SharedPage::kSize);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Reads a file through a buffer, for walking frames.
class FileWindow {
 public:
  FileWindow(File& file, std::uint64_t limit, std::string path)
      : file_(file), limit_(limit), path_(std::move(path)) {}
  /// Up to `length` bytes at `offset`; fewer only at the limit. Valid until the next call.
  std::string_view at(std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] std::uint64_t limit() const noexcept { return limit_; }

 private:
  File& file_;
  std::uint64_t limit_;
  std::string path_;
  std::string buffer_;
  std::uint64_t start_ = 0;
};

/// The engine behind Journal, Store and LogReader: one per directory and process.
///
/// Locks, in the order they are taken:
///   cleanMutex_   one cleaner or maker of a snapshot; the flock of CLEANER is taken inside
///   appendMutex_  one appender or taker-in of this process; the flock of APPEND is taken inside
///   StoreState's  those that a frame changes, in order of their ids
///   indexMutex_   catalog, indexes, store table; held shortly
///   segmentSyncMutex_  one sync of a segment; with appendMutex_ or by itself
/// and by themselves:
///   syncMutex_    one who syncs for all that wait
///   queueMutex_   the queue of async commits, and the threads' waits
///
/// Positions, each behind the former: written >= synced; both only grow.
class JournalCore {
 public:
  JournalCore(std::string directory, const JournalOptions& options, const Environment& environment);
  ~JournalCore();
  JournalCore(const JournalCore&) = delete;
  JournalCore& operator=(const JournalCore&) = delete;

  void open();  // journal_open.cpp
  void startThread();
  void close() noexcept;
  [[nodiscard]] bool onOwnThread() const noexcept {
    return std::this_thread::get_id() == thread_.get_id();
  }

  // journal_append.cpp
  CommitResult commit(Commit& commit, Durability durability);
  CommitResult transact(const std::function<void(Commit&)>& fill, Durability durability);
  /// Which frames may use the space kept back for them on a full disk.
  enum class Space : std::uint8_t { Any, Reserved };
  using Done = std::function<void(CommitResult&&, std::exception_ptr)>;
  CommitResult changeCatalog(const std::function<std::string()>& changes, Durability durability,
                             Space space = Space::Any);
  void commitAsync(Commit commit, Durability durability, Done done);
  void flush();
  void syncTo(std::uint64_t sequence);
  void takeInOthers();  // cheap when there is nothing
  void waitForWritten(std::uint64_t seen, std::chrono::milliseconds timeout) {
    waitFor(page().written, seen, timeout);
  }
  void waitForSynced(std::uint64_t seen, std::chrono::milliseconds timeout) {
    waitFor(page().synced, seen, timeout);
  }
  void interruptWaits();
  void tick();

  // journal_claim.cpp
  std::unique_ptr<File> lockClaim(std::string_view name, std::string* holder,
                                  std::uint64_t& incarnation);
  std::string declareStoreChange(std::string_view name,
                                 std::optional<Engine> engine);  // called by changeCatalog
  std::string declareLogChange(std::string_view name, const LogRetention& retention);

  // journal_read.cpp
  std::shared_ptr<StoreState> openStore(StoreId id);
  /// Of one moment, between two frames.
  std::vector<StoreImage> images(std::span<const std::shared_ptr<StoreState>> states);
  struct FoundSection {
    std::shared_ptr<File> file;
    std::string path;
    std::vector<SectionRef> pieces;
  };
  /// False when the log has no record at `offset` yet, as far as `limit` lets see.
  bool findSection(LogId log, std::uint64_t offset, ReadLimit limit, FoundSection& out);
  static void readPieces(const FoundSection& section, std::span<char> into);
  std::optional<std::uint64_t> offsetForTime(LogId log, std::int64_t timestampMs);
  LogInfo logInfo(LogId log);
  void removeStore(StoreId id);

  // journal_clean.cpp
  void snapshotStore(StoreId id);
  std::uint64_t clean();

  // journal_backup.cpp
  BackupReport backupTo(const std::string& target, const BackupOptions& options);
  static JournalCore& of(Journal& journal) { return *journal.core_; }

  void checkUsable() const;
  [[nodiscard]] bool forked() const noexcept { return process_.forkedChild(); }
  [[nodiscard]] std::uint64_t written() const noexcept { return page().written.load(); }
  [[nodiscard]] std::uint64_t synced() const noexcept { return page().synced.load(); }
  [[nodiscard]] const std::string& directory() const noexcept { return directory_; }
  [[nodiscard]] const std::string& idText() const noexcept { return idText_; }
  [[nodiscard]] const JournalOptions& options() const noexcept { return options_; }
  [[nodiscard]] JournalMetrics metrics() const;
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  /// Runs `read` on the catalog, up to date with the other processes.
  template <typename Read>
  auto withCatalog(Read&& read) {
    checkUsable();
    takeInOthers();
    const std::shared_lock lock(indexMutex_);
    return read(static_cast<const Catalog&>(catalog_));
  }

 private:
  struct Tail {  // where the next frame goes; guarded by appendMutex_
    std::uint64_t segment = 0;
    std::uint64_t end = 0;
    std::uint64_t sequence = 0;
    std::uint64_t lastChecksum = 0;
    std::uint64_t allocated = 0;    // size of the active file
    std::uint64_t writebackAt = 0;  // bytes up to here were handed to write-back
    FrameKind lastKind = FrameKind::Commit;
    bool vouched = true;  // false: another process began the segment, see vouch()
    std::shared_ptr<File> file;
  };
  class AppendLock;

  // journal_open.cpp
  void lockPresence();
  void writePresence(const char* mode);
  void refuseForeignFiles();
  void create();
  void recover(std::uint64_t newest);
  bool takeFramesFrom(std::string_view content, const std::string& name);
  [[nodiscard]] std::optional<std::uint64_t> proofOfSync(std::string_view content,
                                                         std::uint64_t from,
                                                         std::uint64_t sequence) const;
  void publishRecovered();
  void writeIdentity();
  void checkIdentity(const std::string& segment);
  void join();
  void beginAt(std::uint64_t packedEnd);
  void forgetPage();
  bool heldExclusively(const std::string& holder, int& seen) const;
  void enterSegment(std::uint64_t number, std::shared_ptr<File> file);
  [[nodiscard]] std::uint64_t sealedEnd(File& next, std::uint64_t segment);
  [[nodiscard]] SealedFile describeActive() const;
  std::shared_ptr<File> writeSegment(const std::string& name, std::uint64_t number,
                                     std::uint64_t sequence, std::uint64_t previousChecksum,
                                     const Catalog& catalog, std::uint64_t syncedUpTo, Tail& next);
  [[nodiscard]] std::vector<std::uint64_t> listSegments(bool& others);
  void checkListedFiles();
  void removeLeftovers();
  [[nodiscard]] bool holds(const std::string& name, std::string_view bytes) const;
  void setTornAside(const std::string& path, std::string_view tail, std::uint64_t sequence);

  // journal_append.cpp
  CommitResult appendLocked(Commit::Content& content, std::uint64_t blob, Space space = Space::Any);
  CommitResult appendCatalog(const std::string& changes, Space space = Space::Any);
  void finishCommit(std::uint64_t sequence, Durability durability);
  void admit(const Commit::Content& content);
  std::uint64_t writeBlob(const Commit::Content& content);
  void dropBlob(std::uint64_t blob) noexcept;
  void writeFrame(std::uint64_t bytes, Space space);
  void reserve(std::uint64_t bytes, Space space);
  void syncSegment(File& file);
  void syncNow(std::uint64_t wanted);
  void roll();
  void rollIfLarge();
  void cutBack();
  void publish();
  void followTo(std::uint64_t packedEnd);
  void followFrames(std::uint64_t packedEnd);
  void skipCleanedAway();
  void reloadStale();
  bool takeFrame(FileWindow& window, const std::string& name);
  void adoptUnpublished();
  [[nodiscard]] bool wholeFrameAt(FileWindow& window, std::uint64_t offset) const;
  static std::uint64_t lastNonZero(FileWindow& window, std::uint64_t from);
  void vouch();
  void applyFrame(const FrameView& frame, std::span<const std::string_view> bodies, File* file,
                  const std::string& path);
  [[noreturn]] void throwNotUnderstood(const FrameView& frame) const;
  void beginActive(const FrameView& base);  // under indexMutex_
  void poison(int error);
  [[noreturn]] void throwPoisoned() const;
  void refuseWithinTransaction() const;
  void throttle();
  void slowDown();
  void writeMark(FrameKind kind);
  void runThread();
  void runQueue();
  void settleQueue();
  void wakeThread();
  void waitFor(const std::atomic<std::uint64_t>& reached, std::uint64_t seen,
               std::chrono::milliseconds timeout);
  [[nodiscard]] bool restingOnMark();
  void wakeAll();

  // journal_clean.cpp
  void runCleaner();
  void cleanWhatIsDue(std::size_t& sealedSeen);
  void scrub(const std::vector<std::shared_ptr<StoreState>>& stores, std::int64_t now);
  bool snapshotDue(const StoreState& store);
  void snapshotStoreLocked(StoreId id);
  struct MadeBase {
    SnapshotEntry entry;
    std::shared_ptr<const StoreBase> base;
  };
  MadeBase writeBase(const StoreState& store, StoreImage&& image, Engine engine,
                     std::uint64_t covers);
  void removeBase(const SnapshotEntry& entry);
  void publishFile(const std::string& temporary, const std::string& finalName, File& file);
  std::string retentionChanges();
  [[nodiscard]] bool activeIsOld() const;
  std::set<std::uint32_t> pinning();
  void cleanerWrote(std::uint64_t bytes);
  void snapshotPinning(std::uint32_t id);
  bool takeOtherSnapshot(StoreState& store);
  [[nodiscard]] bool isLive(const SealedFile& file) const;
  std::uint64_t removeDead();
  std::vector<SealedFile> thin();
  [[nodiscard]] bool allOlder(std::uint32_t log, std::uint64_t before, std::int64_t timeMs) const;
  [[nodiscard]] bool storeNeeds(const SealedFile& file, std::uint32_t id) const;
  [[nodiscard]] bool logNeeds(const LogRange& range) const;
  std::uint64_t unlinkSealed(const SealedFile& file);
  std::uint64_t rewriteThin(const SealedFile& file);

  // journal_backup.cpp

  // journal_read.cpp
  std::shared_ptr<const SegmentIndex> sealedIndex(const SealedFile& file);
  /// Runs `read` again when a file was gone that another process has cleaned away since we
  /// looked: what is still wanted is elsewhere by then.
  template <typename Read>
  auto retryCleaned(Read&& read) {
    for (int attempt = 0;; ++attempt) {
      try {
        return read();
      } catch (const IoError& error) {
        if (error.osError() != ENOENT || attempt == 3) throw;
        takeInOthers();
      }
    }
  }
  std::shared_ptr<File> fileOf(std::uint64_t number, FileKind kind);
  std::shared_ptr<StoreState> loadStore(std::uint32_t id);
  std::shared_ptr<const StoreBase> openBase(std::uint32_t id, const SnapshotEntry& entry);
  void keepIndex(std::uint64_t number, std::shared_ptr<const SegmentIndex> index);
  SegmentIndex rebuildIndex(const SealedFile& sealed, File& file, const std::string& name) const;
  static FoundSection collectPieces(const SegmentIndex& index, std::uint32_t at);
  void placePieces(FoundSection& found, std::uint64_t number, FileKind kind);
  std::optional<std::uint64_t> offsetForTimeOnce(LogId log, std::int64_t timestampMs);
  bool findSectionOnce(LogId log, std::uint64_t offset, ReadLimit limit, FoundSection& out);

  [[nodiscard]] JournalPage& page() const noexcept {
    return *reinterpret_cast<JournalPage*>(page_->data());
  }
  [[nodiscard]] bool shared() const noexcept { return options_.sharing == Sharing::Shared; }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  [[nodiscard]] std::string segmentPath(std::uint64_t number) const;
  [[nodiscard]] std::string filePath(std::uint64_t number, FileKind kind) const;
  FileSystem& files() const noexcept { return *environment_.files; }

  const std::string directory_;
  const JournalOptions options_;
  const Environment environment_;
  const ProcessMark process_;
  JournalId id_;
  std::string idText_;
  std::unique_ptr<File> presence_;
  std::unique_ptr<File> appendFile_;
  std::shared_ptr<SharedPage> page_;
  bool opened_ = false;
  std::exception_ptr failedWithoutMemory_;  // made while there was some; constant once opened
  std::vector<std::string> warnings_;       // constant once opened

  std::mutex appendMutex_;
  Tail tail_;
  std::vector<SectionEntry> entries_;  // scratch of appendLocked
  std::string head_;
  std::vector<std::span<const std::byte>> pieces_;
  std::vector<std::string_view> bodies_;
  FrameView frame_;
  struct Wanted {  // a section of a frame that is applied here, its pieces joined
    SectionKind kind;
    StoreState* store;
    std::string_view whole;
  };
  std::vector<Wanted> wanted_;  // scratch of applyFrame
  std::vector<const StoreState*> touched_;
  // Handles point to these; they are read in again before anything else, see skipCleanedAway.
  std::map<std::uint32_t, std::shared_ptr<StoreState>> stale_;
  bool halfTaken_ = false;  // a frame of another process was; guarded by appendMutex_

  std::mutex syncMutex_;
  std::condition_variable syncDone_;
  bool syncing_ = false;
  std::mutex segmentSyncMutex_;

  mutable std::shared_mutex indexMutex_;
  Catalog catalog_;
  SegmentIndex active_;
  std::uint64_t activeSegment_ = 0;
  std::uint64_t activeFirst_ = 0;   // sequence of its base frame
  std::uint64_t activeLast_ = 0;    // sequence of the last frame in active_
  std::int64_t activeSinceUs_ = 0;  // when this process began it, or opened the journal
  std::map<std::uint32_t, std::shared_ptr<StoreState>> stores_;
  std::map<std::uint64_t, std::shared_ptr<const SegmentIndex>> sealedIndexes_;

  OpenFiles openFiles_;
  std::atomic<bool> claimsFolder_{false};  // it is there

  std::mutex cleanMutex_;
  std::unique_ptr<File> cleanerFile_;
  std::uint64_t cleanRounds_ = 0;  // of the cleaner thread; guarded by queueMutex_
  std::int64_t lastCleanUs_ = 0;   // the cleaner thread's
  std::int64_t retryUs_ = 0;       // the cleaner thread's; not before, after a failure
  // The cleaner thread's:
  std::int64_t nextScrubUs_ = 0;
  std::int64_t scrubPassUs_ = 0;  // when the pass began
  std::uint64_t scrubPass_ = 0;
  std::size_t scrubTurn_ = 0;

  struct Pending {
    Commit commit;
    Durability durability;
    Done done;
    // What became of it. In here, so that no memory is needed once it is taken from the queue.
    CommitResult result;
    std::exception_ptr error;
    std::uint64_t blob = 0;
  };
  std::mutex queueMutex_;
  std::condition_variable queueWake_;
  std::condition_variable queueMoved_;
  std::deque<Pending> queue_;
  std::deque<Pending> taken_;    // from the queue, by the one who runs it
  std::uint64_t queued_ = 0;     // commits ever put into the queue
  std::uint64_t appended_ = 0;   // of them, written
  std::uint64_t completed_ = 0;  // of them, told how it ended
  std::uint64_t queuedBytes_ = 0;
  std::map<std::thread::id, std::uint64_t> lastQueued_;  // by thread: queued_ then
  std::atomic<std::uint64_t> unappended_{0};             // with changes, not written yet
  bool stopping_ = false;
  std::thread thread_;
  std::thread cleanThread_;
  std::condition_variable cleanWake_;
  std::condition_variable cleaned_;             // with queueMutex_: a round began, got on, ended
  std::atomic<std::uint64_t> storeBytes_{0};    // of changes written
  std::atomic<std::uint64_t> roundBegan_{0};    // storeBytes_ when the cleaner's last round began
  std::atomic<std::uint64_t> roundWritten_{0};  // bytes of new files, by that round
  std::atomic<std::uint64_t> unpaidBytes_{0};   // of changes that nobody was slowed for

  std::atomic<std::uint64_t> unsyncedBytes_{0};
  std::atomic<std::int64_t> lastFrameUs_{0};
  std::atomic<std::int64_t> lastSyncUs_{0};
  std::atomic<std::uint32_t> interrupts_{0};
  std::atomic<bool> threadIdle_{false};
  // Packed end up to which frames are applied here; 0 while stores are read in anew.
  std::atomic<std::uint64_t> takenIn_{0};
  std::atomic<std::thread::id> appendOwner_{};

  class Counts {  // a Histogram that threads count in
   public:
    void add(std::uint64_t value) noexcept {
      ++counts_[Histogram::bucketOf(value)];
      sum_ += value;
    }
    [[nodiscard]] Histogram now() const noexcept {
      Histogram histogram;
      for (std::size_t i = 0; i < counts_.size(); ++i) histogram.counts[i] = counts_[i];
      histogram.sum = sum_;
      return histogram;
    }

   private:
    std::array<std::atomic<std::uint64_t>, Histogram::bucketCount> counts_{};
    std::atomic<std::uint64_t> sum_{0};
  };
  struct Counters {
    std::atomic<std::uint64_t> frames{0}, bytesWritten{0}, rollovers{0}, snapshots{0}, rewrites{0},
        cleanedBytes{0}, cleanFailures{0}, slowedMicros{0}, scrubbedBytes{0}, damagedBlocks{0},
        tornTails{0}, tornBytes{0};
    Counts commitEntries, syncMicros;
  };
  mutable Counters counters_;
};

inline std::uint64_t packEnd(std::uint64_t segment, std::uint64_t offset) noexcept {
  return (segment << 40) | (offset >> 3);
}
inline std::uint64_t packedSegment(std::uint64_t packed) noexcept { return packed >> 40; }
inline std::uint64_t packedOffset(std::uint64_t packed) noexcept {
  return (packed & ((std::uint64_t{1} << 40) - 1)) << 3;
}

}  // namespace penstock::state
