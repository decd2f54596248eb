// SPDX-License-Identifier: Apache-2.0
// Writing: one frame per commit, group sync, taking in what other processes wrote, rollover.
//
// Trusted after each step of an append:
//   writing = 1     whoever gets the lock next looks behind the published end
//   bytes written   nothing yet; a whole frame found there is adopted, a torn one is cut
//   applied         this process reads it
//   published       every process reads it (page: end, written; writing = 0)
//   synced          power loss cannot take it back
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "append_lock.h"
#include "bytes.h"
#include "io_errors.h"
#include "journal_core.h"
#include "planted.h"

namespace penstock::state {

namespace {

constexpr std::uint64_t allocateStep = 1U << 20;    // arbitrary; doubles up to a segment
constexpr std::uint64_t reservedBytes = 64U << 10;  // so that cleaning works on a full disk
constexpr std::int64_t markIdleUs = 100'000;        // R4: the window in which rot looks torn

void raiseTo(std::atomic<std::uint64_t>& value, std::uint64_t to) noexcept {
  std::uint64_t now = value.load();
  while (now < to && !value.compare_exchange_weak(now, to)) {
  }
}

}  // namespace

std::string_view FileWindow::at(std::uint64_t offset, std::uint64_t length) {
  if (offset >= limit_) return {};
  length = std::min(length, limit_ - offset);
  if (offset < start_ || offset + length > start_ + buffer_.size()) {
    constexpr std::uint64_t readAhead = 1U << 20;
    buffer_.resize(std::min(std::max(length, readAhead), limit_ - offset));
    const auto got = file_.read(offset, std::as_writable_bytes(std::span(buffer_)));
    throwUnlessOk(got, "reading", path_);
    buffer_.resize(got.value);
    start_ = offset;
  }
  return std::string_view(buffer_).substr(offset - start_, length);
}

JournalCore::AppendLock::AppendLock(JournalCore& core)
    : core_(core), guard_(core.appendMutex_, std::defer_lock) {
  core.refuseWithinTransaction();
  guard_.lock();
  core.appendOwner_ = std::this_thread::get_id();
  if (!core.shared()) return;
  try {
    throwUnlessOk(core.appendFile_->lock(LockKind::Exclusive), "locking", core.path("APPEND"));
    core.followTo(core.page().end.load());
    if (core.page().poisoned.load() != 0) core.throwPoisoned();
    if (core.page().writing.load() != 0) core.adoptUnpublished();
    core.vouch();
  } catch (...) {
    release();
    throw;
  }
}

void JournalCore::AppendLock::release() noexcept {
  if (!guard_.owns_lock()) return;
  if (core_.shared()) (void)core_.appendFile_->unlock();
  core_.appendOwner_ = std::thread::id{};
  guard_.unlock();
}

void JournalCore::checkUsable() const {
  if (process_.forkedChild()) {
    throw Closed(directory_ +
                 ": opened before fork(); a forked child has to open the directory itself");
  }
  if (!opened_) throw Closed(directory_ + ": the journal is closed");
}

void JournalCore::refuseWithinTransaction() const {
  if (appendOwner_.load() != std::this_thread::get_id()) return;
  throw InvalidArgument(directory_ +
                        ": the function that an update or a transaction calls may read, but not "
                        "write to the same directory: the commit that it is part of is open");
}

void JournalCore::throwPoisoned() const {
  try {
    throw JournalFailed(fmt::format(
        "{}: an earlier sync failed ({}), so what was written since may be lost; nothing more is "
        "accepted. Close every handle and open again: recovery reads what the disk really holds",
        directory_, std::generic_category().message(static_cast<int>(page().poisoned.load()))));
  } catch (const std::bad_alloc&) {
    std::rethrow_exception(failedWithoutMemory_);  // "not done" would be a lie
  }
}

void JournalCore::poison(int error) {
  page().poisoned.store(static_cast<std::uint32_t>(error));
  wakeAll();
}

void JournalCore::wakeAll() {
  page().word.fetch_add(1);
  if (page().waiters.load() != 0) page_->wake(offsetof(JournalPage, word));
}

CommitResult JournalCore::commit(Commit& commit, Durability durability) {
  checkUsable();
  refuseWithinTransaction();
  settleQueue();  // commits of one thread keep their order, async or not
  throttle();
  Commit::Content& content = *commit.content_;
  CommitResult result;
  const std::uint64_t blob = writeBlob(content);
  try {
    AppendLock lock(*this);
    result = appendLocked(content, blob);
  } catch (...) {
    dropBlob(blob);
    throw;
  }
  content.reset();
  finishCommit(result.sequence.value, durability);
  slowDown();
  return result;
}

void JournalCore::finishCommit(std::uint64_t sequence, Durability durability) {
  try {
    rollIfLarge();
  } catch (const JournalFailed&) {
    throw;
  } catch (const std::exception&) {
    // The frame is written all the same; whoever comes next tries to roll again.
  }
  if (durability == Durability::Synced) {
    if (!planted(Planted::AcknowledgedBeforeSync)) syncTo(sequence);
  } else {
    wakeThread();
  }
}

CommitResult JournalCore::transact(const std::function<void(Commit&)>& fill,
                                   Durability durability) {
  checkUsable();
  refuseWithinTransaction();
  settleQueue();
  throttle();
  CommitResult result;
  {
    AppendLock lock(*this);
    Commit commit;
    fill(commit);
    if (commit.empty()) return {Sequence{tail_.sequence}, {}};
    // Within the lock: nobody may write between what `fill` read and this.
    const std::uint64_t blob = writeBlob(*commit.content_);
    try {
      result = appendLocked(*commit.content_, blob);
    } catch (...) {
      dropBlob(blob);
      throw;
    }
  }
  finishCommit(result.sequence.value, durability);
  slowDown();
  return result;
}

CommitResult JournalCore::changeCatalog(const std::function<std::string()>& changes,
                                        Durability durability, Space space) {
  checkUsable();
  CommitResult result;
  {
    AppendLock lock(*this);
    const std::string bytes = changes();
    if (bytes.empty()) return {Sequence{tail_.sequence}, {}};
    result = appendCatalog(bytes, space);
  }
  finishCommit(result.sequence.value, durability);
  return result;
}

CommitResult JournalCore::appendCatalog(const std::string& changes, Space space) {
  Commit commit;
  auto& section = commit.content_->section(SectionKind::Catalog, 0);
  section.bytes = changes;
  section.chunks.push_back({.begin = 0, .end = changes.size(), .count = 1});
  return appendLocked(*commit.content_, 0, space);
}

void JournalCore::throttle() {
  if (unsyncedBytes_.load() > options_.unsyncedBytesMax) syncTo(written());
  if (MemoryBudget::process().exceeded() && cleanThread_.joinable()) {
    std::unique_lock guard(queueMutex_);
    const std::uint64_t helped = cleanRounds_ + 2;  // one that begins now is over
    cleanWake_.notify_one();
    cleaned_.wait_for(guard, std::chrono::seconds(60), [&] {
      return stopping_ || !MemoryBudget::process().exceeded() || cleanRounds_ >= helped;
    });
  }
}

/// Refuses what is too large, or needs memory that is not there.
void JournalCore::admit(const Commit::Content& content) {
  if (content.bytes() > options_.commitBytesMax) {
    throw InvalidArgument(
        fmt::format("{}: a commit of {} bytes, and one may have {}; nothing was written. Cut it "
                    "into several (JournalOptions::commitBytesMax)",
                    directory_, content.bytes(), options_.commitBytesMax));
  }
  const MemoryBudget& budget = MemoryBudget::process();
  if (!budget.exceeded()) return;
  const std::shared_lock lock(indexMutex_);
  for (std::size_t i = 0; i < content.used; ++i) {
    const auto& section = content.sections[i];
    if (section.kind != SectionKind::Store) continue;
    const auto store = stores_.find(section.id);
    if (store == stores_.end()) continue;
    throw MemoryExceeded(fmt::format(
        "{}: the stores of this process hold {} bytes in memory, and may hold {}; nothing was "
        "written to store '{}' ({} bytes). Raise the limit (setStoreMemoryLimit), or keep large "
        "stores with Engine::RocksDb",
        directory_, budget.used(), budget.limit(), store->second->name(),
        store->second->memoryBytes()));
  }
}

/// Who writes changes of stores faster than snapshots are made of them waits a little, so that the
/// disk holds not much more than two snapshots and half of one: a third may have changed before a
/// new one is begun (`snapshotDue`), a sixth while it is written. Called with no lock held.
void JournalCore::slowDown() {
  std::uint64_t unpaid = unpaidBytes_.exchange(0);
  if (unpaid == 0 || !cleanThread_.joinable()) return;
  constexpr std::uint64_t pace = 6;  // bytes of new snapshots for one of changes
  const auto mayGoOn = [&] {
    return storeBytes_ - roundBegan_ <= options_.segmentBytes + roundWritten_ / pace;
  };
  if (mayGoOn()) return;
  cleanWake_.notify_one();
  constexpr std::uint64_t slowedRate = 8;    // bytes in a microsecond; arbitrary, and never zero
  constexpr std::uint64_t waitMinUs = 1000;  // what a wait costs
  constexpr std::uint64_t waitMaxUs = 1'000'000;
  if (unpaid < waitMinUs * slowedRate) {
    unpaidBytes_ += unpaid;
    return;
  }
  const std::int64_t began = environment_.clock->monotonicUs();
  {
    std::unique_lock guard(queueMutex_);
    cleaned_.wait_for(guard, std::chrono::microseconds(std::min(unpaid / slowedRate, waitMaxUs)),
                      [&] { return stopping_ || mayGoOn(); });
  }
  counters_.slowedMicros += static_cast<std::uint64_t>(environment_.clock->monotonicUs() - began);
}

/// 0: it is small enough to be written with its frame.
std::uint64_t JournalCore::writeBlob(const Commit::Content& content) {
  admit(content);
  if (content.bytes() < options_.blobBytes) return 0;
  if (page().poisoned.load() != 0) throwPoisoned();
  const std::uint64_t number = environment_.random->next() | (std::uint64_t{1} << 63);
  const std::string name = filePath(number, FileKind::Blob);
  auto file = files().open(name, OpenMode::CreateNew);
  throwUnlessOk(file, "creating", name);
  const FileHeader header =
      makeFileHeader(FileKind::Blob, id_, number, 0, environment_.clock->wallMs(), 0);
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(&header, 1))};
  for (std::size_t i = 0; i < content.used; ++i) {
    const auto& section = content.sections[i];
    pieces.push_back(asBytes(std::string_view(section.bytes).substr(0, section.whole())));
  }
  try {
    throwUnlessOk(file.value->write(0, pieces), "writing", name);
    if (const auto sync = file.value->sync(); !sync.ok()) {
      poison(sync.error);
      throwPoisoned();
    }
    if (const auto sync = files().syncDirectory(directory_); !sync.ok()) {
      poison(sync.error);
      throwPoisoned();
    }
  } catch (const Error&) {
    (void)files().remove(name);
    throw;
  }
  return number;
}

/// Of a commit that was not written. A failed sync may have kept it for a frame that is there.
void JournalCore::dropBlob(std::uint64_t blob) noexcept {
  if (blob == 0 || page().poisoned.load() != 0) return;
  try {
    (void)files().remove(filePath(blob, FileKind::Blob));
  } catch (const std::bad_alloc&) {  // the next recovery removes it
  }
}

CommitResult JournalCore::appendLocked(Commit::Content& content, std::uint64_t blob, Space space) {
  if (page().poisoned.load() != 0) throwPoisoned();
  if (planted(Planted::PositionsOutsideBatch) && blob == 0 && content.used > 1) {
    const std::size_t used = std::exchange(content.used, 1);
    static_cast<void>(appendLocked(content, 0, space));
    content.used = used;
    content.sections[0].chunks.clear();
  }
  if (content.kind == FrameKind::Commit && page().epochDue.load() == 1) {
    std::string changes;
    Catalog::newEpoch(changes, environment_.random->next());
    page().epochDue.store(2);  // written just now; 0 only when it is there
    try {
      (void)appendCatalog(changes, space);
    } catch (...) {
      page().epochDue.store(1);
      throw;
    }
    page().epochDue.store(0);
  }
  for (const auto& requirement : content.requirements) {
    const auto at = catalog_.claims.find(requirement.name);
    if (at == catalog_.claims.end() || at->second != requirement.incarnation) {
      throw Fenced(fmt::format(
          "{}: task '{}' was taken over (incarnation {} by now, this is {}); nothing was written. "
          "Drop its state and claim it again",
          directory_, requirement.name, at == catalog_.claims.end() ? 0 : at->second,
          requirement.incarnation));
    }
  }
  CommitResult result;
  std::uint64_t counted = 0;  // changes and records
  std::uint64_t storeBytes = 0;
  entries_.clear();
  pieces_.assign(1, {});
  bodies_.clear();
  for (std::size_t i = 0; i < content.used; ++i) {
    const auto& section = content.sections[i];
    std::uint64_t base = 0;
    if (section.kind == SectionKind::Log) {
      const auto at = catalog_.logs.find(section.id);
      if (at == catalog_.logs.end()) {
        throw InvalidArgument(
            fmt::format("{}: log {} was removed or never declared", directory_, section.id));
      }
      base = at->second.end;
      result.baseOffsets.emplace_back(LogId{section.id}, base);
    } else if (section.kind == SectionKind::Store && !catalog_.stores.contains(section.id)) {
      throw InvalidArgument(
          fmt::format("{}: store {} was removed or never declared", directory_, section.id));
    }
    for (const auto& chunk : section.chunks) {
      if (section.kind != SectionKind::Catalog) counted += chunk.count;
      if (section.kind == SectionKind::Store) storeBytes += chunk.end - chunk.begin;
      // Once at least: records may be without bytes.
      for (std::size_t begin = chunk.begin; begin == chunk.begin || begin < chunk.end;
           begin += sectionBytesMax) {
        const std::size_t end = std::min(chunk.end, begin + sectionBytesMax);
        const std::string_view body = std::string_view(section.bytes).substr(begin, end - begin);
        SectionEntry entry{};
        entry.kind = section.kind;
        entry.flags = static_cast<std::uint8_t>((end < chunk.end ? sectionMore : 0) |
                                                (blob != 0 ? sectionExternal : 0));
        entry.length = static_cast<std::uint32_t>(body.size());
        entry.id = section.id;
        entry.hash = hash64(body);
        if (begin == chunk.begin) {
          entry.count = chunk.count;
          entry.baseOffset = base;
          entry.minTimeMs = chunk.minTimeMs;
          entry.maxTimeMs = chunk.maxTimeMs;
          if (section.kind == SectionKind::Log) base += chunk.count;
        }
        entries_.push_back(entry);
        bodies_.push_back(body);
        if (blob == 0) pieces_.push_back(asBytes(body));
      }
    }
  }

  FrameHeader& header = frame_.header;
  header = FrameHeader{};
  header.kind = content.kind;
  header.sequence = tail_.sequence + 1;
  header.syncedUpTo = synced();
  header.segment = tail_.segment;
  header.fileOffset = tail_.end;
  header.previousChecksum = tail_.lastChecksum;
  header.wallMs = environment_.clock->wallMs();
  header.journalLow = id_.low;
  header.epoch = catalog_.epoch();
  header.blob = blob;
  head_.clear();
  encodeFrame(header, entries_, head_);
  frame_.sections.assign(entries_.begin(), entries_.end());
  frame_.bodyOffset = tail_.end + head_.size();
  pieces_[0] = asBytes(head_);
  std::uint64_t bytes = head_.size();
  if (blob == 0) {
    for (const std::string_view body : bodies_) bytes += body.size();
  }
  static constexpr std::array<std::byte, 8> zeros{};
  if (header.frameBytes != bytes) {
    pieces_.push_back(std::span(zeros).first(header.frameBytes - bytes));
  }

  writeFrame(header.frameBytes, space);
  try {
    applyFrame(frame_, bodies_, nullptr, {});
  } catch (const std::exception& error) {
    // Out of memory, or a snapshot that could not be read for an erased prefix. The frame is
    // written, so nothing may be put in its place, and nobody may take it for not done.
    poison(dynamic_cast<const Error*>(&error) == nullptr ? ENOMEM : EIO);
    try {
      throwPoisoned();
    } catch (...) {
      for (const Wanted& section : wanted_) {  // may have half of it
        if (section.store != nullptr) section.store->fail(std::current_exception());
      }
      throw;
    }
  }
  tail_.end += header.frameBytes;
  tail_.sequence = header.sequence;
  tail_.lastChecksum = header.checksum;
  tail_.lastKind = header.kind;
  unsyncedBytes_ += header.frameBytes;
  lastFrameUs_ = environment_.clock->monotonicUs();
  ++counters_.frames;
  storeBytes_ += storeBytes;
  unpaidBytes_ += storeBytes;
  if (counted > 0) counters_.commitEntries.add(counted);
  counters_.bytesWritten += header.frameBytes;
  publish();
  if (tail_.end - tail_.writebackAt >= writebackStep) {
    tail_.file->startWriteback(tail_.writebackAt, tail_.end - tail_.writebackAt);
    tail_.writebackAt = tail_.end;
  }
  result.sequence = Sequence{header.sequence};
  return result;
}

void JournalCore::writeFrame(std::uint64_t bytes, Space space) {
  reserve(bytes, space);
  page().writing.store(1);
  if (const auto status = tail_.file->write(tail_.end, pieces_); !status.ok()) {
    cutBack();
    if (page().poisoned.load() != 0) throwPoisoned();  // the frame may be there after all
    throwIoError(status.error, "appending to", segmentPath(tail_.segment));
  }
}

void JournalCore::reserve(std::uint64_t bytes, Space space) {
  // Everybody but the cleaner leaves it room for the frames that let files go.
  const std::uint64_t needed = tail_.end + bytes + (space == Space::Reserved ? 0 : reservedBytes);
  if (needed <= tail_.allocated) return;
  const std::uint64_t wanted = std::max(
      needed + allocateStep, std::min(2 * tail_.allocated, options_.segmentBytes + allocateStep));
  std::uint64_t got = wanted;
  auto status = tail_.file->allocate(wanted);
  if (isDiskFull(status.error)) status = tail_.file->allocate(got = needed);
  if (status.ok()) {
    tail_.allocated = got;
  } else if (status.error != EOPNOTSUPP) {
    throwIoError(status.error, "reserving space in", segmentPath(tail_.segment));
  }
}

void JournalCore::cutBack() {
  // R6: the journal must end at its last whole frame before anybody else appends.
  const auto status =
      planted(Planted::TornTailNotCut) ? IoStatus{} : tail_.file->truncate(tail_.end);
  if (!status.ok()) {
    poison(status.error);
    return;  // `writing` stays 1: nobody takes the bytes behind the end for an empty tail
  }
  tail_.allocated = tail_.end;
  page().writing.store(0);
}

void JournalCore::publish() {
  JournalPage& shared = page();
  takenIn_ = packEnd(tail_.segment, tail_.end);
  shared.end.store(takenIn_);  // first: who is woken by `written` has to find it
  shared.written.store(tail_.sequence);
  shared.writing.store(0);
  wakeAll();
}

void JournalCore::applyFrame(const FrameView& frame, std::span<const std::string_view> bodies,
                             File* file, const std::string& filePathName) {
  if (!understood(frame)) throwNotUnderstood(frame);
  // All of it is read before any of it is applied: a read may fail.
  std::vector<std::unique_ptr<std::string>> owned;
  const auto own = [&](std::size_t bytes) -> std::string& {
    return *owned.emplace_back(std::make_unique<std::string>(bytes, '\0'));
  };
  wanted_.clear();
  const auto body = [&](std::size_t i, std::uint64_t at) -> std::string_view {
    if (!bodies.empty()) return bodies[i];
    const SectionEntry& entry = frame.sections[i];
    File* from = file;
    std::string name = filePathName;
    std::shared_ptr<File> blobFile;
    if ((entry.flags & sectionExternal) != 0) {
      blobFile = fileOf(frame.header.blob, FileKind::Blob);
      from = blobFile.get();
      name = filePath(frame.header.blob, FileKind::Blob);
    }
    std::string& buffer = own(entry.length);
    const auto got = from->read(at, std::as_writable_bytes(std::span(buffer)));
    throwUnlessOk(got, "reading", name);
    if (got.value != entry.length || hash64(buffer) != entry.hash) {
      throw Corruption(name, at,
                       fmt::format("{}: damaged section at offset {} of frame {}", name, at,
                                   frame.header.sequence));
    }
    return buffer;
  };
  std::uint64_t inlineAt = frame.bodyOffset;
  std::uint64_t blobAt = sizeof(FileHeader);
  for (std::size_t i = 0; i < frame.sections.size(); ++i) {
    const SectionEntry& entry = frame.sections[i];
    Wanted section{entry.kind, nullptr, {}};
    if (entry.kind == SectionKind::Store) {
      const auto at = stores_.find(static_cast<std::uint32_t>(entry.id));
      if (at != stores_.end()) section.store = at->second.get();
    }
    const bool apply = entry.kind == SectionKind::Catalog || section.store != nullptr;
    std::string* joined = nullptr;
    for (;; ++i) {
      const SectionEntry& piece = frame.sections[i];
      std::uint64_t& at = (piece.flags & sectionExternal) != 0 ? blobAt : inlineAt;
      const bool more = (piece.flags & sectionMore) != 0;  // understood(): not of the last one
      if (apply) {
        section.whole = body(i, at);
        if (more && joined == nullptr) joined = &own(0);
        if (joined != nullptr) section.whole = joined->append(section.whole);
      }
      at += piece.length;
      if (!more) break;
    }
    if (apply) wanted_.push_back(section);
  }

  {
    // A reader sees all that the frame does to the stores, or nothing.
    touched_.clear();
    for (const Wanted& section : wanted_) {
      if (section.store != nullptr) touched_.push_back(section.store);
    }
    const StoreState::Together locked(touched_);
    for (const Wanted& section : wanted_) {
      if (section.store != nullptr && !section.store->apply(section.whole)) {
        throwNotUnderstood(frame);
      }
    }
  }

  // A reader that sees the end of a log finds the section that holds its last record.
  const std::unique_lock lock(indexMutex_);
  for (const Wanted& section : wanted_) {
    if (section.kind != SectionKind::Catalog) continue;
    const bool base = frame.header.kind == FrameKind::Base;
    if (!(base ? catalog_.decode(section.whole)
               : catalog_.apply(section.whole, frame.header.sequence))) {
      throwNotUnderstood(frame);
    }
    if (base) beginActive(frame);
    std::erase_if(stores_, [&](const auto& item) { return !catalog_.stores.contains(item.first); });
  }
  for (const SectionEntry& entry : frame.sections) {
    if (entry.kind != SectionKind::Log || entry.count == 0) continue;  // 0: a further piece
    const auto log = static_cast<std::uint32_t>(entry.id);
    if (!catalog_.logAppended(log, entry.baseOffset, entry.count) && catalog_.logs.contains(log)) {
      throwNotUnderstood(frame);
    }
  }
  active_.add(frame);
  activeLast_ = frame.header.sequence;
}

void JournalCore::throwNotUnderstood(const FrameView& frame) const {
  const std::string name = segmentPath(frame.header.segment);
  throw Corruption(name, frame.header.fileOffset,
                   fmt::format("{}: frame {} at offset {} holds what this version does not "
                               "understand",
                               name, frame.header.sequence, frame.header.fileOffset));
}

void JournalCore::beginActive(const FrameView& base) {
  const bool whole = activeLast_ + 1 == base.header.sequence;  // what is known of the one before
  if (whole && activeSegment_ != 0 && activeSegment_ != base.header.segment) {
    auto sealed = std::make_shared<SegmentIndex>();
    activeLast_ = 0;  // an attempt that ends in here must not be taken for whole by the next
    *sealed = std::move(active_);
    keepIndex(activeSegment_, std::move(sealed));
  }
  active_ = SegmentIndex{};
  activeSegment_ = base.header.segment;
}

void JournalCore::takeInOthers() {
  if (!shared() || takenIn_.load() == page().end.load()) return;
  if (appendOwner_.load() == std::this_thread::get_id()) return;  // inside transact: up to date
  const std::lock_guard guard(appendMutex_);
  followTo(page().end.load());
}

void JournalCore::followTo(std::uint64_t packedEnd) {
  if (!stale_.empty() || halfTaken_) {  // an attempt failed half-way
    skipCleanedAway();
    halfTaken_ = false;
  } else {
    try {
      followFrames(packedEnd);
    } catch (const IoError& error) {
      if (error.osError() != ENOENT) throw;
      skipCleanedAway();
    } catch (const Error&) {
      throw;  // before anything of the frame was taken
    } catch (...) {
      halfTaken_ = true;  // for want of memory, and a frame is not to be taken twice
      throw;
    }
  }
  takenIn_ = packEnd(tail_.segment, tail_.end);
}

void JournalCore::followFrames(std::uint64_t packedEnd) {
  const std::uint64_t segment = packedSegment(packedEnd);
  while (packEnd(tail_.segment, tail_.end) != packedEnd) {
    std::uint64_t limit = packedOffset(packedEnd);
    std::shared_ptr<File> next;
    if (segment != tail_.segment) {
      const std::string name = segmentPath(tail_.segment + 1);
      auto opened = files().open(name, OpenMode::ReadWrite);
      throwUnlessOk(opened, "opening", name);
      next = std::move(opened.value);
      limit = sealedEnd(*next, tail_.segment);
    }
    const std::string name = segmentPath(tail_.segment);
    FileWindow window(*tail_.file, limit, name);
    while (tail_.end < limit) {
      if (!takeFrame(window, name)) {
        throw Corruption(name, tail_.end,
                         fmt::format("{}: the frame at offset {} (sequence {}), published by "
                                     "another process, cannot be read",
                                     name, tail_.end, tail_.sequence + 1));
      }
    }
    if (next) enterSegment(tail_.segment + 1, std::move(next));
  }
}

/// What this process has not taken in yet was removed or rewritten by another one's cleaner. So
/// it begins where a joiner begins, at the newest segment, whose base frame lists what there is,
/// and reads its stores in anew.
void JournalCore::skipCleanedAway() {
  constexpr int attemptsMax = 5;  // each meets a cleaner that was faster once more
  for (int attempt = 1;; ++attempt) {
    try {
      {
        const std::unique_lock lock(indexMutex_);
        stale_.merge(stores_);
        stores_.clear();
      }
      takenIn_ = 0;  // readers wait for the stores
      beginAt(page().end.load());
      reloadStale();
      return;
    } catch (const IoError& error) {
      if (error.osError() != ENOENT || attempt == attemptsMax) throw;
    }
  }
}

void JournalCore::reloadStale() {
  while (!stale_.empty()) {
    const auto at = stale_.begin();
    const auto state = at->second;
    if (catalog_.stores.contains(at->first)) {
      try {
        state->replaceWith(std::move(*loadStore(at->first)));
      } catch (const Corruption&) {  // the others can still be read
        state->fail(std::current_exception());
      } catch (const OwnedElsewhere&) {  // a database that another process has open
        state->fail(std::current_exception());
      }
      const std::unique_lock lock(indexMutex_);
      stores_[at->first] = state;
    }
    stale_.erase(at);
  }
}

bool JournalCore::takeFrame(FileWindow& window, const std::string& name) {
  FrameView frame;
  const FramePlace place{id_, tail_.segment, tail_.end};
  auto bytes = window.at(tail_.end, sizeof(FrameHeader));
  if (bytes.size() < sizeof(FrameHeader)) return false;
  FrameHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != frameMagic || header.sectionCount > sectionCountMax) return false;
  bytes = window.at(tail_.end, sizeof(header) + header.sectionCount * sizeof(SectionEntry));
  if (parseFrame(bytes, place, frame) != FrameCheck::Valid ||
      frame.header.sequence != tail_.sequence + 1 ||
      frame.header.previousChecksum != tail_.lastChecksum ||
      tail_.end + frame.header.frameBytes > window.limit()) {
    return false;
  }
  applyFrame(frame, {}, tail_.file.get(), name);
  tail_.end += frame.header.frameBytes;
  tail_.sequence = frame.header.sequence;
  tail_.lastChecksum = frame.header.checksum;
  tail_.lastKind = frame.header.kind;
  return true;
}

void JournalCore::adoptUnpublished() {
  // The last holder of the append lock died between its first byte and publishing.
  const auto nextInfo = files().info(segmentPath(tail_.segment + 1));
  throwUnlessOk(nextInfo, "looking at", segmentPath(tail_.segment + 1));
  if (nextInfo.value.exists) {
    const std::string name = segmentPath(tail_.segment + 1);
    auto next = files().open(name, OpenMode::ReadWrite);
    throwUnlessOk(next, "opening", name);
    if (const auto status = files().syncDirectory(directory_); !status.ok()) {
      poison(status.error);
      throwPoisoned();
    }
    enterSegment(tail_.segment + 1, std::move(next.value));
  }
  const std::string name = segmentPath(tail_.segment);
  const auto size = tail_.file->size();
  throwUnlessOk(size, "reading the size of", name);
  std::uint64_t end = tail_.end;
  {
    FileWindow window(*tail_.file, size.value, name);
    while (wholeFrameAt(window, tail_.end) && takeFrame(window, name)) {
    }
    end = lastNonZero(window, tail_.end);
  }
  if (end > tail_.end) {
    std::string torn(end - tail_.end, '\0');
    const auto got = tail_.file->read(tail_.end, std::as_writable_bytes(std::span(torn)));
    throwUnlessOk(got, "reading", name);
    setTornAside(name, torn, tail_.sequence + 1);
  }
  if (const auto status = tail_.file->truncate(tail_.end); !status.ok()) {
    poison(status.error);
    throwPoisoned();
  }
  tail_.allocated = tail_.end;
  publish();
}

bool JournalCore::wholeFrameAt(FileWindow& window, std::uint64_t offset) const {
  auto bytes = window.at(offset, sizeof(FrameHeader));
  if (bytes.size() < sizeof(FrameHeader)) return false;
  FrameHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != frameMagic || header.sectionCount > sectionCountMax) return false;
  FrameView frame;
  bytes = window.at(offset, sizeof(header) + header.sectionCount * sizeof(SectionEntry));
  if (parseFrame(bytes, {id_, tail_.segment, offset}, frame) != FrameCheck::Valid) return false;
  if (offset + frame.header.frameBytes > window.limit()) return false;
  std::uint64_t at = frame.bodyOffset;
  for (const SectionEntry& entry : frame.sections) {
    if ((entry.flags & sectionExternal) != 0) continue;  // synced before it was linked
    const auto body = window.at(at, entry.length);
    if (body.size() != entry.length || hash64(body) != entry.hash) return false;
    at += entry.length;
  }
  return true;
}

std::uint64_t JournalCore::lastNonZero(FileWindow& window, std::uint64_t from) {
  std::uint64_t last = from;
  for (std::uint64_t at = from; at < window.limit();) {
    const auto bytes = window.at(at, 65536);
    if (bytes.empty()) break;
    if (const std::size_t used = usedLength(bytes); used > 0) last = at + used;
    at += bytes.size();
  }
  return last;
}

void JournalCore::vouch() {
  if (tail_.vouched) return;
  // Another process may have met a failed write-back of this file before we opened it; our own
  // sync would then succeed over pages that never reached the disk. So: sync, drop what is
  // clean, and look at what the disk gives back.
  const std::string name = segmentPath(tail_.segment);
  syncSegment(*tail_.file);
  (void)tail_.file->dropCache(0, 0);
  FileWindow window(*tail_.file, tail_.end, name);
  std::uint64_t at = planted(Planted::JoinerVouchesUnread) ? tail_.end : sizeof(FileHeader);
  while (at < tail_.end) {
    FrameView frame;
    if (!wholeFrameAt(window, at)) {
      poison(EIO);
      throwPoisoned();
    }
    FrameHeader header{};
    std::memcpy(&header, window.at(at, sizeof(header)).data(), sizeof(header));
    at += header.frameBytes;
  }
  raiseTo(page().synced, tail_.sequence);
  tail_.vouched = true;
}

void JournalCore::syncTo(std::uint64_t sequence) {
  checkUsable();
  std::unique_lock lock(syncMutex_);
  while (synced() < sequence) {
    if (page().poisoned.load() != 0) throwPoisoned();
    if (syncing_) {
      syncDone_.wait(lock);
      continue;
    }
    syncing_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      syncNow(sequence);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    syncing_ = false;
    syncDone_.notify_all();
    if (failure) std::rethrow_exception(failure);
  }
}

/// The kernel tells a descriptor of a failed write-back once, so a sync that comes behind a failed
/// one succeeds. One at a time, and what failed is known to all before the next.
void JournalCore::syncSegment(File& file) {
  const std::lock_guard guard(segmentSyncMutex_);
  if (page().poisoned.load() != 0) throwPoisoned();
  auto status = planted(Planted::NoDataSync) ? IoStatus{} : file.sync();
  if (!status.ok() && planted(Planted::FailedSyncRetried)) status = file.sync();
  if (status.ok()) return;
  poison(status.error);
  throwPoisoned();
}

void JournalCore::syncNow(std::uint64_t wanted) {
  std::shared_ptr<File> file;
  std::uint64_t target = 0;
  std::uint64_t bytes = 0;
  const auto look = [&] {
    file = tail_.file;
    target = tail_.sequence;
    bytes = unsyncedBytes_.exchange(0);
  };
  {
    const std::lock_guard guard(appendMutex_);
    try {
      if (shared()) followTo(page().end.load());
    } catch (const Error&) {
      // What is asked for is in the file that is open; that others went on is another matter.
      if (!tail_.vouched || tail_.sequence < wanted) throw;
    }
    if (tail_.vouched) look();
  }
  if (!file) {  // in a segment that another process began
    AppendLock guard(*this);
    look();
  }
  const std::int64_t began = environment_.clock->monotonicUs();
  syncSegment(*file);
  if (page().poisoned.load() != 0) throwPoisoned();  // by another process
  const std::int64_t ended = environment_.clock->monotonicUs();
  lastSyncUs_ = ended;
  counters_.syncMicros.add(static_cast<std::uint64_t>(ended - began));
  raiseTo(page().synced, target);
  wakeAll();
}

void JournalCore::rollIfLarge() {
  {
    const std::lock_guard guard(appendMutex_);
    if (tail_.end < options_.segmentBytes) return;
  }
  syncTo(written());  // most of it outside the append lock
  AppendLock lock(*this);
  if (tail_.end >= options_.segmentBytes) roll();
}

void JournalCore::roll() {
  const std::uint64_t oldSegment = tail_.segment;
  syncSegment(*tail_.file);
  raiseTo(page().synced, tail_.sequence);
  unsyncedBytes_ = 0;
  const std::uint64_t number = oldSegment + 1;
  const std::string finalName = segmentPath(number);
  const std::string temporary = finalName + ".tmp";
  const std::uint64_t oldEnd = tail_.end;
  std::shared_ptr<File> file;
  Catalog sealedCatalog;
  Tail next;
  std::string footer;
  auto sealedIndex = std::make_shared<SegmentIndex>();  // all memory that is needed further down
  try {
    sealedCatalog = catalog_;
    sealedCatalog.sealed.push_back(describeActive());
    footer = active_.encodeFooter(id_.low, oldSegment, oldEnd);
    file = writeSegment(temporary, number, tail_.sequence + 1, tail_.lastChecksum, sealedCatalog,
                        tail_.sequence, next);
  } catch (const JournalFailed&) {
    throw;
  } catch (const Error&) {
    // Goes on in the old segment; the next append tries again. Not an error of the commit that
    // came here: it is written, and told otherwise its caller would do it twice.
    (void)files().remove(temporary);
    return;
  }
  page().writing.store(1);
  if (const auto status = files().rename(temporary, finalName); !status.ok()) {
    // Done or not? A segment that is there after all would hide what follows in the old one.
    poison(status.error);
    throwPoisoned();
  }
  if (const auto status = planted(Planted::NoDirectorySyncAfterCreate)
                              ? IoStatus{}
                              : files().syncDirectory(directory_);
      !status.ok()) {
    poison(status.error);
    throwPoisoned();
  }
  const auto oldFile = tail_.file;
  {
    const std::unique_lock lock(indexMutex_);
    catalog_ = std::move(sealedCatalog);
    *sealedIndex = std::exchange(active_, SegmentIndex{});
    activeSegment_ = number;
    activeLast_ = next.sequence;
  }
  activeFirst_ = next.sequence;
  activeSinceUs_ = environment_.clock->monotonicUs();
  tail_ = std::move(next);
  ++counters_.rollovers;
  publish();
  try {  // read again where they are wanted and not kept
    openFiles_.keep(oldSegment, oldFile);
    openFiles_.keep(number, file);
    const std::unique_lock lock(indexMutex_);
    keepIndex(oldSegment, std::move(sealedIndex));
  } catch (const std::bad_alloc&) {
  }
  // Derived, so unsynced and unchecked: it is rebuilt where it is missing.
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(footer)};
  if (oldFile->write(oldEnd, pieces).ok()) (void)oldFile->truncate(oldEnd + footer.size());
  cleanWake_.notify_one();
}

void JournalCore::writeMark(FrameKind kind) {
  AppendLock lock(*this);
  if (tail_.lastKind == kind) return;
  Commit commit;
  commit.content_->kind = kind;
  (void)appendLocked(*commit.content_, 0, Space::Reserved);
}

void JournalCore::commitAsync(Commit commit, Durability durability, Done done) {
  checkUsable();
  refuseWithinTransaction();
  {
    std::unique_lock guard(queueMutex_);
    const auto self = std::this_thread::get_id();
    if (environment_.threads && self != thread_.get_id()) {
      queueMoved_.wait(guard, [&] { return queuedBytes_ <= options_.unsyncedBytesMax; });
    }
    const std::size_t bytes = commit.bytes();
    std::uint64_t unused = 0;
    const bool empty = commit.empty();  // only waits for a sync: it has no place in the order
    std::uint64_t& last = empty ? unused : lastQueued_[self];
    queue_.push_back({std::move(commit), durability, std::move(done), {}, nullptr, 0});
    queuedBytes_ += bytes;  // nothing is counted before all that may fail for want of memory
    last = ++queued_;
    unappended_ += empty ? 0 : 1;
  }
  if (environment_.threads) {
    queueWake_.notify_one();
  } else {
    runQueue();
  }
}

/// Waits until what this thread has put into the queue is written.
void JournalCore::settleQueue() {
  if (unappended_.load() == 0 || !environment_.threads) return;
  const auto self = std::this_thread::get_id();
  if (self == thread_.get_id()) return;
  std::unique_lock guard(queueMutex_);
  const auto mine = lastQueued_.find(self);
  if (mine == lastQueued_.end()) return;
  const std::uint64_t wanted = mine->second;
  queueMoved_.wait(guard, [&] { return appended_ >= wanted; });
}

void JournalCore::flush() {
  checkUsable();
  refuseWithinTransaction();
  if (environment_.threads && std::this_thread::get_id() != thread_.get_id()) {
    std::unique_lock guard(queueMutex_);
    const std::uint64_t wanted = queued_;
    queueMoved_.wait(guard, [&] { return completed_ >= wanted; });
  }
  syncTo(written());
}

void JournalCore::runQueue() {
  std::unique_lock taking(queueMutex_);
  if (queue_.empty() || !taken_.empty()) return;  // what a callback adds is for the next round
  std::deque<Pending>& batch = taken_;
  batch.swap(queue_);
  taking.unlock();
  std::uint64_t wanted = 0;
  for (std::size_t begin = 0; begin < batch.size();) {
    // One lock and one sync for many; small groups, so that other writers get their turn.
    const std::size_t end = std::min(batch.size(), begin + 256);
    std::uint64_t bytes = 0;
    std::uint64_t changing = 0;
    for (std::size_t i = begin; i < end; ++i) {
      bytes += batch[i].commit.bytes();
      changing += batch[i].commit.empty() ? 0 : 1;
      try {
        batch[i].blob = writeBlob(*batch[i].commit.content_);
      } catch (...) {
        batch[i].error = std::current_exception();
      }
    }
    try {
      if (changing > 0) throttle();
      std::optional<AppendLock> lock;
      if (changing > 0) lock.emplace(*this);
      for (std::size_t i = begin; i < end; ++i) {
        if (batch[i].error) continue;
        if (batch[i].commit.empty()) {
          batch[i].result.sequence = Sequence{written()};
          if (batch[i].durability == Durability::Synced) {
            wanted = std::max(wanted, batch[i].result.sequence.value);
          }
          continue;
        }
        try {
          batch[i].result = appendLocked(*batch[i].commit.content_, batch[i].blob);
          if (batch[i].durability == Durability::Synced) {
            wanted = std::max(wanted, batch[i].result.sequence.value);
          }
        } catch (...) {
          batch[i].error = std::current_exception();
          dropBlob(batch[i].blob);
        }
      }
    } catch (...) {
      for (std::size_t i = begin; i < end; ++i) {
        if (batch[i].error || batch[i].result.sequence.value != 0) continue;
        batch[i].error = std::current_exception();
        dropBlob(batch[i].blob);
      }
    }
    {
      const std::lock_guard guard(queueMutex_);
      appended_ += end - begin;
      queuedBytes_ -= bytes;
      unappended_ -= changing;
      if (unappended_.load() == 0) lastQueued_.clear();
    }
    queueMoved_.notify_all();
    begin = end;
  }
  std::exception_ptr syncFailure;
  try {
    if (wanted != 0) syncTo(wanted);
    rollIfLarge();
  } catch (...) {
    syncFailure = std::current_exception();
  }
  for (std::size_t i = 0; i < batch.size(); ++i) {
    Pending& one = batch[i];
    if (!one.error && one.durability == Durability::Synced &&
        synced() < one.result.sequence.value && !planted(Planted::WaiterToldSuccess)) {
      one.error = syncFailure;
    }
    if (one.done) one.done(std::move(one.result), one.error);
  }
  {
    const std::lock_guard guard(queueMutex_);
    completed_ += batch.size();
  }
  batch.clear();
  queueMoved_.notify_all();
  slowDown();
}

void JournalCore::wakeThread() {
  if (!threadIdle_.load() || !threadIdle_.exchange(false)) return;
  const std::lock_guard guard(queueMutex_);  // it is either before its look at us, or waits
  queueWake_.notify_one();
}

void JournalCore::tick() {
  const std::int64_t now = environment_.clock->monotonicUs();
  if (page().poisoned.load() != 0) return;
  const auto interval =
      std::chrono::duration_cast<std::chrono::microseconds>(options_.syncInterval).count();
  if (written() > synced() && now - lastSyncUs_.load() >= interval) syncTo(written());
  if (now - lastFrameUs_.load() < markIdleUs) return;
  {
    const std::lock_guard guard(appendMutex_);
    if (tail_.lastKind == FrameKind::Mark || tail_.lastKind == FrameKind::Close) return;
  }
  syncTo(written());
  writeMark(FrameKind::Mark);
  syncTo(written());
}

void JournalCore::runThread() {
  std::unique_lock lock(queueMutex_);
  while (!stopping_) {
    if (queue_.empty()) {
      threadIdle_ = true;
      const bool busy = written() > synced() || !restingOnMark();
      if (busy) {
        threadIdle_ = false;  // who writes without a sync need not wake it: it looks again soon
        queueWake_.wait_for(lock, std::clamp(options_.syncInterval, std::chrono::milliseconds(1),
                                             std::chrono::milliseconds(20)));
      } else {
        queueWake_.wait_for(lock, std::chrono::seconds(1));
      }
      threadIdle_ = false;
    }
    lock.unlock();
    runQueue();
    try {
      if (!process_.forkedChild()) tick();
    } catch (const std::exception&) {
      // Poisoned by now, or passing (disk full): the next writer gets the error by its own call.
    }
    lock.lock();
  }
}

bool JournalCore::restingOnMark() {
  const std::unique_lock guard(appendMutex_, std::try_to_lock);
  return guard.owns_lock() &&
         (tail_.lastKind == FrameKind::Mark || tail_.lastKind == FrameKind::Close);
}

void JournalCore::waitFor(const std::atomic<std::uint64_t>& reached, std::uint64_t seen,
                          std::chrono::milliseconds timeout) {
  checkUsable();
  // Clocks count in 64 bits of nanoseconds: "for ever" must not wrap round.
  constexpr std::chrono::milliseconds longest = std::chrono::hours(24 * 365);
  const auto deadline =
      std::chrono::steady_clock::now() + std::clamp(timeout, std::chrono::milliseconds(0), longest);
  const std::uint32_t interruptsBefore = interrupts_.load();
  JournalPage& shared = page();
  while (reached.load() <= seen && interrupts_.load() == interruptsBefore) {
    const std::uint32_t word = shared.word.load();
    if (reached.load() > seen) return;
    if (shared.poisoned.load() != 0) throwPoisoned();
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !environment_.threads) return;
    shared.waiters.fetch_add(1);
    page_->wait(offsetof(JournalPage, word), word, left);
    shared.waiters.fetch_sub(1);
  }
}

void JournalCore::interruptWaits() {
  interrupts_.fetch_add(1);
  wakeAll();
}

}  // namespace penstock::state
