// SPDX-License-Identifier: Apache-2.0
// Snapshots of stores, and removing or rewriting what nobody needs any more.
//
// Order, so that a crash at any point loses nothing (R5): new file written and synced, renamed,
// directory synced; the frame that lists it synced; only then the old file unlinked.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "append_lock.h"
#include "database.h"
#include "file_names.h"
#include "io_errors.h"
#include "journal_core.h"
#include "planted.h"
#include "snapshot.h"

namespace penstock::state {

namespace {

// A smaller sealed file (of small segments: than a quarter of one) is not worth a rewrite;
// arbitrary.
constexpr std::uint64_t archiveMinBytes = 1U << 20;
constexpr std::int64_t scrubEveryUs = 500'000;
constexpr std::uint64_t scrubBytes = 1U << 20;  // each time: 2 MiB/s, which no disk feels
constexpr std::int64_t scrubPassesUs = 86'400'000'000;
constexpr std::int64_t retentionUs = 30'000'000;  // by age, files are looked through this often
constexpr std::size_t sealedKept = 2;     // sealed segments that stores may pin before a snapshot,
constexpr std::uint64_t pinnedShare = 3;  // or this share of the snapshots, where that is more,
constexpr std::uint64_t pinnedBytesMax = 1ULL << 30;  // but not what takes seconds to apply at open
constexpr std::uint64_t pressedShare = 16;  // of the memory: what all may hold that are not due
constexpr std::size_t layersMax = 12;  // of a store that is viewed often; a look-up visits each

}  // namespace

bool JournalCore::snapshotDue(const StoreState& store) {
  std::uint64_t snapshotBytes = 0;
  std::size_t stores = 0;
  {
    const std::shared_lock lock(indexMutex_);
    const auto at = catalog_.stores.find(store.id().value);
    if (at == catalog_.stores.end()) return false;
    snapshotBytes = at->second.snapshot.bytes;
    stores = stores_.size();
  }
  if (store.layers() > layersMax) return true;
  const MemoryBudget& budget = MemoryBudget::process();
  if (budget.pressed() && store.changesMemoryBytes() * stores >= budget.limit() / pressedShare) {
    return true;
  }
  // A share of the old one at least, so that not much more is written than what changes.
  return store.changedBytes() >= std::max(options_.snapshotAfterBytes, snapshotBytes / pinnedShare);
}

void JournalCore::publishFile(const std::string& temporary, const std::string& finalName,
                              File& file) {
  if (page().poisoned.load() != 0) throwPoisoned();  // R1: no sync after a failed one
  if (const auto status = file.sync(); !status.ok()) {
    poison(status.error);
    throwPoisoned();
  }
  throwUnlessOk(files().rename(temporary, finalName), "renaming", temporary);
  if (const auto status = planted(Planted::NoDirectorySyncAfterRename)
                              ? IoStatus{}
                              : files().syncDirectory(directory_);
      !status.ok()) {
    poison(status.error);
    throwPoisoned();
  }
}

void JournalCore::snapshotStore(StoreId id) {
  refuseWithinTransaction();
  const std::lock_guard cleanGuard(cleanMutex_);
  snapshotStoreLocked(id);
}

/// A snapshot that another process has made since is as good as one of our own.
bool JournalCore::takeOtherSnapshot(StoreState& store) {
  return retryCleaned([&] {
    const std::lock_guard guard(appendMutex_);
    if (shared()) followTo(page().end.load());
    const auto at = catalog_.stores.find(store.id().value);
    if (at == catalog_.stores.end() || at->second.snapshot.covers <= store.covers()) return false;
    store.replaceWith(std::move(*loadStore(store.id().value)));
    return true;
  });
}

/// Writes `image`, of which `covers` is the last change, to what a store of that engine lies over.
JournalCore::MadeBase JournalCore::writeBase(const StoreState& store, StoreImage&& image,
                                             Engine engine, std::uint64_t covers) {
  const StoreState::IsGone isGone = store.leftOut();
  const std::uint64_t number = environment_.random->next() | (std::uint64_t{1} << 63);
  MadeBase made;
  made.entry.covers = covers;
  if (engine == Engine::RocksDb) {
    made.entry.kind = FileKind::Database;
    made.base = database::write(image, filePath(number, FileKind::Database),
                                {id_, number, store.id().value}, covers, isGone);
    made.entry.file = database::numberOf(made.base.get());
    if (made.entry.file == number) {
      if (const auto status = files().syncDirectory(directory_); !status.ok()) {
        poison(status.error);
        throwPoisoned();
      }
    }
    return made;
  }
  made.entry.file = number;
  const std::string finalName = filePath(number, FileKind::Snapshot);
  const std::string temporary = finalName + std::string(temporarySuffix);
  try {
    auto file = files().open(temporary, OpenMode::CreateNew);
    throwUnlessOk(file, "creating", temporary);
    SnapshotWriter writer(*file.value, temporary, id_, number, store.id().value, covers,
                          environment_.clock->wallMs());
    std::uint64_t told = 0;
    for (ImageCursor at(std::move(image), {}); at.valid(); at.next()) {
      if (!isGone || !isGone(at.value())) writer.add(at.key(), at.value());
      if (writer.bytes() == told) continue;
      cleanerWrote(writer.bytes() - told);
      told = writer.bytes();
    }
    made.entry.hash = writer.finish().checksum;
    made.entry.bytes = writer.bytes();
    publishFile(temporary, finalName, *file.value);
    auto reader = std::make_shared<SnapshotReader>(std::move(file.value), finalName, id_, number,
                                                   store.id().value, covers, made.entry.hash);
    reader->makeTable();  // before anybody waits for a block of it
    made.base = std::move(reader);
  } catch (...) {
    (void)files().remove(temporary);
    (void)files().remove(finalName);
    throw;
  }
  return made;
}

/// Of a store that does not lie over it any more, or never did.
void JournalCore::removeBase(const SnapshotEntry& entry) {
  if (entry.file == 0) return;
  const std::string name = filePath(entry.file, entry.kind);
  if (entry.kind == FileKind::Database) {
    database::remove(name);
  } else {
    (void)files().remove(name);
  }
}

void JournalCore::snapshotStoreLocked(StoreId id) {
  const auto store = openStore(id);
  store->giveUpSnapshot();  // one that had no memory to end
  if (takeOtherSnapshot(*store)) return;
  std::optional<StoreImage> image;
  std::uint64_t covers = 0;
  std::uint64_t before = 0;  // the database it lies over
  Engine engine = Engine::File;
  {
    AppendLock lock(*this);
    image = store->beginSnapshot();
    if (!image) return;
    covers = tail_.sequence;
    before = database::numberOf(image->base.get());
    const auto at = catalog_.stores.find(id.value);
    // No new database where another process could not open it; one that is open here is kept.
    if (at != catalog_.stores.end() && (!shared() || before != 0)) engine = at->second.engine;
  }
  MadeBase made;
  SnapshotEntry old;
  bool installed = false;
  CommitResult listed;
  // A database that was brought up to date stays, listed or not: it is no worse for it.
  const auto removeMade = [&] {
    if (made.base && made.entry.file != before) removeBase(made.entry);
  };
  try {
    syncTo(covers);
    made = writeBase(*store, *std::move(image), engine, covers);
    // Not synced in here: once a frame lists it, no error may take it away.
    listed = changeCatalog(
        [&] {
          const auto at = catalog_.stores.find(id.value);
          std::string changes;
          if (at == catalog_.stores.end() || at->second.snapshot.covers >= covers) {
            return changes;  // removed meanwhile, or another process was further
          }
          old = at->second.snapshot;
          installed = true;
          Catalog::installSnapshot(changes, id.value, made.entry);
          return changes;
        },
        Durability::Buffered, Space::Reserved);
  } catch (const JournalFailed&) {
    store->giveUpSnapshot();
    throw;  // the frame may be there or not; recovery removes the file if it is not
  } catch (...) {
    removeMade();
    store->giveUpSnapshot();
    throw;
  }
  if (!installed) {
    removeMade();
    store->giveUpSnapshot();
    return;
  }
  store->installSnapshot(std::move(made.base));
  ++counters_.snapshots;
  if (!planted(Planted::UnlinkedBeforeSync)) syncTo(listed.sequence.value);
  if (old.file != made.entry.file) removeBase(old);
}

std::string JournalCore::retentionChanges() {
  const std::int64_t now = environment_.clock->wallMs();
  std::string changes;
  for (const auto& [id, log] : catalog_.logs) {
    const std::int64_t age =
        log.retention.maxAgeMs / (planted(Planted::DropsWithinRetention) ? 2 : 1);
    std::uint64_t start = log.start;
    std::uint64_t kept = 0;  // bytes of what comes later
    if (log.retention.maxBytes >= 0) {
      if (const auto* sections = active_.log(id)) {
        for (const std::uint32_t at : *sections) kept += active_.refs()[at].length;
      }
    }
    for (auto file = catalog_.sealed.rbegin(); file != catalog_.sealed.rend(); ++file) {
      for (const LogRange& range : file->logs) {
        if (range.log != id) continue;
        const bool old = log.retention.maxAgeMs >= 0 && range.maxTimeMs < now - age;
        const bool over = log.retention.maxBytes >= 0 &&
                          kept >= static_cast<std::uint64_t>(log.retention.maxBytes);
        kept += range.bytes;
        // A younger segment may hold older records: only a whole tail of old ones goes.
        if (over || (old && allOlder(id, range.end, now - age))) {
          start = std::max(start, range.end);
        }
      }
    }
    if (start > log.start) Catalog::trimLog(changes, id, start);
  }
  return changes;
}

/// Whether a log with an age has nothing but older records in the segment that is written now:
/// only sealed ones can be dropped.
bool JournalCore::activeIsOld() const {
  const std::int64_t now = environment_.clock->wallMs();
  const std::int64_t writtenMs = (environment_.clock->monotonicUs() - activeSinceUs_) / 1000;
  return std::any_of(catalog_.logs.begin(), catalog_.logs.end(), [&](const auto& item) {
    const auto* sections = active_.log(item.first);
    const std::int64_t age = item.second.retention.maxAgeMs;
    // Records may come with any age; ten small segments in that time are enough.
    if (sections == nullptr || age < 0 || writtenMs < age / 10) return false;
    return std::all_of(sections->begin(), sections->end(),
                       [&](std::uint32_t at) { return active_.refs()[at].maxTimeMs < now - age; });
  });
}

bool JournalCore::allOlder(std::uint32_t log, std::uint64_t before, std::int64_t timeMs) const {
  for (const SealedFile& file : catalog_.sealed) {
    for (const LogRange& range : file.logs) {
      if (range.log == log && range.end <= before && range.maxTimeMs >= timeMs) return false;
    }
  }
  return true;
}

bool JournalCore::storeNeeds(const SealedFile& file, std::uint32_t id) const {
  const auto at = catalog_.stores.find(id);
  return at != catalog_.stores.end() && file.lastSequence > at->second.snapshot.covers;
}

bool JournalCore::logNeeds(const LogRange& range) const {
  const auto at = catalog_.logs.find(range.log);
  return at != catalog_.logs.end() && range.end > at->second.start;
}

std::uint64_t JournalCore::clean() {
  checkUsable();
  refuseWithinTransaction();
  const std::lock_guard cleanGuard(cleanMutex_);
  if (shared()) {
    if (!cleanerFile_) {
      auto file = files().open(path("CLEANER"), OpenMode::ReadWriteCreate);
      throwUnlessOk(file, "opening", path("CLEANER"));
      cleanerFile_ = std::move(file.value);
    }
    const auto mine = cleanerFile_->tryLock(LockKind::Exclusive);
    if (!mine.ok() || !mine.value) return 0;  // another process is at it
  }
  struct Unlock {
    File* file;
    ~Unlock() {
      if (file != nullptr) (void)file->unlock();
    }
  } unlock{cleanerFile_.get()};

  std::exception_ptr failure;  // the last; what does not depend on it is done all the same
  const auto attempt = [&](const auto& step) {
    try {
      step();
    } catch (const JournalFailed&) {
      throw;
    } catch (const Error&) {
      failure = std::current_exception();
    }
  };
  attempt([&] {
    AppendLock lock(*this);
    if (activeIsOld()) roll();
  });
  attempt([&] {
    (void)changeCatalog([&] { return retentionChanges(); }, Durability::Buffered, Space::Reserved);
  });
  // First what costs no space, so that a full disk can be cleaned.
  std::uint64_t freed = 0;
  attempt([&] { freed += removeDead(); });
  for (const std::uint32_t id : pinning()) attempt([&] { snapshotPinning(id); });
  attempt([&] { freed += removeDead(); });
  for (const SealedFile& file : thin()) attempt([&] { freed += rewriteThin(file); });
  counters_.cleanedBytes += freed;
  if (failure) {
    ++counters_.cleanFailures;
    std::rethrow_exception(failure);
  }
  return freed;
}

/// Stores that keep old segments alive, whether somebody works on them or not.
std::set<std::uint32_t> JournalCore::pinning() {
  std::set<std::uint32_t> ids;
  const std::lock_guard guard(appendMutex_);
  std::uint64_t snapshots = 0;
  for (const auto& [id, store] : catalog_.stores) snapshots += store.snapshot.bytes;
  const std::uint64_t pinnedMax = std::max(sealedKept * options_.segmentBytes,
                                           std::min(snapshots / pinnedShare, pinnedBytesMax));
  std::uint64_t pinned = 0;
  for (auto file = catalog_.sealed.rbegin(); file != catalog_.sealed.rend(); ++file) {
    if (pinned >= pinnedMax) {
      for (const std::uint32_t id : file->stores) {
        if (storeNeeds(*file, id)) ids.insert(id);
      }
    }
    std::uint64_t ofLogs = 0;
    for (const LogRange& range : file->logs) {
      if (logNeeds(range)) ofLogs += range.bytes;
    }
    pinned += file->endOffset - std::min(file->endOffset, ofLogs);
  }
  return ids;
}

void JournalCore::snapshotPinning(std::uint32_t id) {
  const bool materialized = [&] {
    const std::shared_lock lock(indexMutex_);
    return stores_.contains(id);
  }();
  snapshotStoreLocked(StoreId{id});
  if (materialized) return;
  const std::lock_guard guard(appendMutex_);
  const std::unique_lock lock(indexMutex_);
  if (const auto at = stores_.find(id); at != stores_.end() && at->second.use_count() == 1) {
    stores_.erase(at);
  }
}

bool JournalCore::isLive(const SealedFile& file) const {
  return std::any_of(file.logs.begin(), file.logs.end(),
                     [&](const LogRange& range) { return logNeeds(range); }) ||
         std::any_of(file.stores.begin(), file.stores.end(),
                     [&](std::uint32_t id) { return storeNeeds(file, id); });
}

std::uint64_t JournalCore::removeDead() {
  std::vector<SealedFile> dead;
  {
    const std::lock_guard guard(appendMutex_);
    for (const SealedFile& file : catalog_.sealed) {
      if (!isLive(file)) dead.push_back(file);
    }
  }
  if (dead.empty()) return 0;
  std::vector<std::uint64_t> numbers;
  for (const SealedFile& file : dead) numbers.push_back(file.number);
  (void)changeCatalog(
      [&] {
        std::string changes;
        Catalog::removeFiles(changes, numbers);
        return changes;
      },
      Durability::Synced, Space::Reserved);
  std::uint64_t freed = 0;
  for (const SealedFile& file : dead) freed += unlinkSealed(file);
  return freed;
}

/// Live files of which more than half may be of no use, as far as the catalog tells: it does not
/// know what stores have in them.
std::vector<SealedFile> JournalCore::thin() {
  const std::uint64_t bytesMin = std::min(archiveMinBytes, options_.segmentBytes / 4);
  std::vector<SealedFile> files;
  const std::lock_guard guard(appendMutex_);
  for (const SealedFile& file : catalog_.sealed) {
    if (!isLive(file) || (file.endOffset < bytesMin && file.blobs.empty())) continue;
    std::uint64_t whole = 0;  // bytes of logs and stores of which everything here is wanted
    std::uint64_t ofLogs = 0;
    for (const LogRange& range : file.logs) {
      const auto at = catalog_.logs.find(range.log);
      if (at != catalog_.logs.end() && range.start >= at->second.start) whole += range.bytes;
      ofLogs += range.bytes;
    }
    if (std::all_of(file.stores.begin(), file.stores.end(), [&](std::uint32_t id) {
          const auto at = catalog_.stores.find(id);
          return at != catalog_.stores.end() && at->second.snapshot.covers < file.firstSequence;
        })) {
      whole += file.endOffset - std::min(file.endOffset, ofLogs);
    }
    if (whole * 2 <= file.endOffset) files.push_back(file);
  }
  return files;
}

std::uint64_t JournalCore::unlinkSealed(const SealedFile& file) {
  std::uint64_t freed = 0;
  const auto drop = [&](std::uint64_t number, FileKind kind) {
    {
      const std::unique_lock lock(indexMutex_);
      sealedIndexes_.erase(number);
    }
    openFiles_.drop(number);
    const std::string name = filePath(number, kind);
    if (const auto info = files().info(name); info.ok()) freed += info.value.size;
    (void)files().remove(name);
  };
  drop(file.number, file.archive ? FileKind::Archive : FileKind::Segment);
  for (const std::uint64_t blob : file.blobs) drop(blob, FileKind::Blob);
  return freed;
}

std::uint64_t JournalCore::rewriteThin(const SealedFile& file) {
  const FileKind kind = file.archive ? FileKind::Archive : FileKind::Segment;
  const auto index = sealedIndex(file);
  std::map<std::pair<SectionKind, std::uint64_t>, std::vector<std::uint32_t>> live;
  std::uint64_t liveBytes = 0;
  std::uint64_t allBytes = file.endOffset;
  {
    const std::lock_guard guard(appendMutex_);
    const auto take = [&](std::uint32_t at) {
      const SectionRef& ref = index->refs()[at];
      live[{ref.kind, ref.id}].push_back(at);
      for (const SectionRef& piece : collectPieces(*index, at).pieces) liveBytes += piece.length;
    };
    for (const auto& [id, sections] : index->logs()) {
      const auto log = catalog_.logs.find(static_cast<std::uint32_t>(id));
      if (log == catalog_.logs.end()) continue;
      for (const std::uint32_t at : sections) {
        const SectionRef& ref = index->refs()[at];
        if (ref.base + ref.count > log->second.start) take(at);
      }
    }
    for (const auto& [id, sections] : index->stores()) {
      const auto store = catalog_.stores.find(static_cast<std::uint32_t>(id));
      if (store == catalog_.stores.end()) continue;
      for (const std::uint32_t at : sections) {
        if (index->refs()[at].sequence > store->second.snapshot.covers) take(at);
      }
    }
  }
  for (const SectionRef& ref : index->refs()) {
    if (ref.blob != 0) allBytes += ref.length;
  }
  if (liveBytes * 2 > allBytes) return 0;
  const bool known = std::all_of(file.stores.begin(), file.stores.end(),
                                 [&](std::uint32_t id) { return index->stores().contains(id); }) &&
                     std::all_of(file.logs.begin(), file.logs.end(), [&](const LogRange& range) {
                       return index->logs().contains(range.log);
                     });
  if (!known) return 0;  // an index that lacks what the catalog lists decides on nothing

  SealedFile archive;
  archive.number = environment_.random->next() | (std::uint64_t{1} << 63);
  archive.archive = true;
  archive.firstSequence = file.firstSequence;
  archive.lastSequence = file.lastSequence;
  const std::string finalName = filePath(archive.number, FileKind::Archive);
  const std::string temporary = finalName + ".tmp";
  auto opened = files().open(temporary, OpenMode::CreateNew);
  throwUnlessOk(opened, "creating", temporary);
  File& out = *opened.value;
  try {
    // Space first (R6): nothing is deleted before all of this is on disk.
    const auto reserved = out.allocate(sizeof(FileHeader) + liveBytes);
    if (!reserved.ok() && isDiskFull(reserved.error)) {
      throwIoError(reserved.error, "reserving space for", temporary);
    }
    const FileHeader header = makeFileHeader(FileKind::Archive, id_, archive.number, 0,
                                             environment_.clock->wallMs(), archive.firstSequence);
    const std::array<std::span<const std::byte>, 1> first{std::as_bytes(std::span(&header, 1))};
    throwUnlessOk(out.write(0, first), "writing", temporary);
    std::uint64_t offset = sizeof(header);
    SegmentIndex archived;
    std::string buffer;
    for (const auto& [key, sections] : live) {
      LogRange range;
      range.log = static_cast<std::uint32_t>(key.second);
      range.start = index->refs()[sections.front()].base;
      range.maxTimeMs = std::numeric_limits<std::int64_t>::min();
      for (const std::uint32_t at : sections) {
        FoundSection found = collectPieces(*index, at);
        placePieces(found, file.number, kind);
        std::size_t bytes = 0;
        for (const SectionRef& piece : found.pieces) bytes += piece.length;
        buffer.resize(bytes);
        readPieces(found, buffer);
        const std::array<std::span<const std::byte>, 1> pieces{asBytes(buffer)};
        throwUnlessOk(out.write(offset, pieces), "writing", temporary);
        cleanerWrote(bytes);
        range.end = found.pieces.front().base + found.pieces.front().count;
        range.bytes += bytes;
        range.maxTimeMs = std::max(range.maxTimeMs, found.pieces.front().maxTimeMs);
        for (SectionRef piece : found.pieces) {
          piece.blob = 0;
          piece.flags &= static_cast<std::uint8_t>(~sectionExternal);
          piece.offset = offset;
          offset += piece.length;
          archived.add(piece);
        }
      }
      if (key.first == SectionKind::Log) {
        archive.logs.push_back(range);
      } else {
        archive.stores.push_back(static_cast<std::uint32_t>(key.second));
      }
    }
    archive.endOffset = offset;
    const std::string footer = archived.encodeFooter(id_.low, archive.number, offset);
    archive.lastChecksum = hash64(footer);
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(footer)};
    throwUnlessOk(out.write(offset, pieces), "writing", temporary);
    throwUnlessOk(out.truncate(offset + footer.size()), "writing", temporary);
    publishFile(temporary, finalName, out);
  } catch (...) {
    (void)files().remove(temporary);
    throw;
  }
  bool installed = false;
  CommitResult listed;
  try {  // not synced in here: once a frame lists the file, no error may take it away
    listed = changeCatalog(
        [&] {
          std::string changes;
          const bool there =
              std::any_of(catalog_.sealed.begin(), catalog_.sealed.end(),
                          [&](const SealedFile& other) { return other.number == file.number; });
          if (there) {
            installed = true;
            Catalog::installArchive(changes, archive, {file.number});
          }
          return changes;
        },
        Durability::Buffered, Space::Reserved);
  } catch (const JournalFailed&) {
    throw;  // the frame may be there or not; recovery removes the file if it is not
  } catch (...) {
    (void)files().remove(finalName);
    throw;
  }
  if (!installed) {
    (void)files().remove(finalName);
    return 0;
  }
  ++counters_.rewrites;
  syncTo(listed.sequence.value);
  const std::uint64_t freed = unlinkSealed(file);
  return freed > liveBytes ? freed - liveBytes : 0;
}

void JournalCore::runCleaner() {
  lastCleanUs_ = environment_.clock->monotonicUs();
  std::unique_lock lock(queueMutex_);
  std::size_t sealedSeen = 0;
  while (!stopping_) {
    cleanWake_.wait_for(lock, std::chrono::milliseconds(500));
    if (stopping_) return;
    roundBegan_ = storeBytes_.load();
    roundWritten_ = 0;
    cleaned_.notify_all();
    lock.unlock();
    try {
      if (page().poisoned.load() == 0 && !process_.forkedChild()) cleanWhatIsDue(sealedSeen);
    } catch (const std::exception&) {
      // Disk full or damage: nothing was removed; tried again later, and readers of what is
      // damaged get the error themselves.
    }
    lock.lock();
    ++cleanRounds_;
    cleaned_.notify_all();
  }
}

/// Says that a new file has got on, to writers that wait for it.
void JournalCore::cleanerWrote(std::uint64_t bytes) {
  constexpr std::uint64_t step = 1U << 20;
  const std::uint64_t before = roundWritten_.fetch_add(bytes);
  if (before / step != (before + bytes) / step) cleaned_.notify_all();
}

/// A little at a time, so that nobody waits for the disk because of it, of one store after the
/// other; from the beginning once a day.
void JournalCore::scrub(const std::vector<std::shared_ptr<StoreState>>& stores, std::int64_t now) {
  if (now - scrubPassUs_ >= scrubPassesUs || scrubPass_ == 0) {
    ++scrubPass_;
    scrubPassUs_ = now;
  }
  ++scrubTurn_;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < stores.size() && bytes < scrubBytes; ++i) {
    const auto& store = stores[(scrubTurn_ + i) % stores.size()];
    const StoreBase::Scrubbed done = store->scrub(scrubBytes - bytes, scrubPass_);
    counters_.scrubbedBytes += done.bytes;
    counters_.damagedBlocks += done.damaged;
    bytes += done.bytes;
  }
  const auto turns = static_cast<std::int64_t>(1 + bytes / scrubBytes);
  nextScrubUs_ = now + turns * scrubEveryUs;
}

void JournalCore::cleanWhatIsDue(std::size_t& sealedSeen) {
  std::vector<std::shared_ptr<StoreState>> stores;
  std::size_t sealedNow = 0;
  {
    const std::shared_lock lock(indexMutex_);
    for (const auto& [id, store] : stores_) stores.push_back(store);
    sealedNow = catalog_.sealed.size();
  }
  const std::int64_t now = environment_.clock->monotonicUs();
  if (now >= nextScrubUs_) scrub(stores, now);
  if (now < retryUs_) return;
  bool due = sealedNow != sealedSeen || now - lastCleanUs_ >= retentionUs;
  for (const auto& store : stores) {
    try {
      if (snapshotDue(*store)) {
        due = true;
        snapshotStore(store->id());
      } else {
        store->quicken();
      }
    } catch (const std::exception&) {  // the others, and cleaning, do not wait for this one
      retryUs_ = now + retentionUs;
    }
  }
  if (!due) return;
  lastCleanUs_ = now;
  try {
    (void)clean();
  } catch (const Error&) {  // counted; a damaged file is not read again at once
    retryUs_ = now + retentionUs;
  }
  const std::shared_lock lock(indexMutex_);
  sealedSeen = catalog_.sealed.size();
}

}  // namespace penstock::state
