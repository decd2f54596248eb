// SPDX-License-Identifier: Apache-2.0
// Reading: sections by place, logs by offset, stores from snapshot and journal.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "database.h"
#include "io_errors.h"
#include "journal_core.h"
#include "snapshot.h"

namespace penstock::state {

std::shared_ptr<File> JournalCore::fileOf(std::uint64_t number, FileKind kind) {
  if (auto file = openFiles_.find(number)) return file;
  const std::string name = filePath(number, kind);
  auto opened = files().open(name, OpenMode::Read);
  throwUnlessOk(opened, "opening", name);
  std::array<char, sizeof(FileHeader)> head{};
  const auto got = opened.value->read(0, std::as_writable_bytes(std::span(head)));
  throwUnlessOk(got, "reading", name);
  checkFileHeader({head.data(), got.value}, name, kind, id_, number);
  std::shared_ptr<File> file(std::move(opened.value));
  openFiles_.keep(number, file);
  return file;
}

std::shared_ptr<const SegmentIndex> JournalCore::sealedIndex(const SealedFile& sealed) {
  {
    const std::shared_lock lock(indexMutex_);
    if (const auto at = sealedIndexes_.find(sealed.number); at != sealedIndexes_.end()) {
      return at->second;
    }
  }
  const FileKind kind = sealed.archive ? FileKind::Archive : FileKind::Segment;
  const std::string name = filePath(sealed.number, kind);
  const auto file = fileOf(sealed.number, kind);
  const auto size = file->size();
  throwUnlessOk(size, "reading the size of", name);
  std::string bytes(size.value > sealed.endOffset ? size.value - sealed.endOffset : 0, '\0');
  const auto got = file->read(sealed.endOffset, std::as_writable_bytes(std::span(bytes)));
  throwUnlessOk(got, "reading", name);
  bytes.resize(got.value);
  std::shared_ptr<const SegmentIndex> index;
  if (auto decoded = SegmentIndex::decodeFooter(bytes, id_.low, sealed.number, sealed.endOffset)) {
    index = std::make_shared<SegmentIndex>(std::move(*decoded));
  } else if (sealed.archive) {
    throw Corruption(name, sealed.endOffset,
                     fmt::format("{}: its index at offset {} is damaged", name, sealed.endOffset));
  } else {
    index = std::make_shared<SegmentIndex>(rebuildIndex(sealed, *file, name));
  }
  const std::unique_lock lock(indexMutex_);
  keepIndex(sealed.number, index);
  return index;
}

void JournalCore::keepIndex(std::uint64_t number, std::shared_ptr<const SegmentIndex> index) {
  // Small frames make large indexes; those of old segments are read again when they are wanted.
  constexpr std::size_t entriesMax = 500'000;  // 40 MB
  sealedIndexes_[number] = std::move(index);
  std::size_t entries = 0;
  for (const auto& item : sealedIndexes_) entries += item.second->refs().size();
  for (auto at = sealedIndexes_.begin(); entries > entriesMax && at != sealedIndexes_.end();) {
    if (at->first == number) {
      ++at;
      continue;
    }
    entries -= at->second->refs().size();
    at = sealedIndexes_.erase(at);
  }
}

SegmentIndex JournalCore::rebuildIndex(const SealedFile& sealed, File& file,
                                       const std::string& name) const {
  SegmentIndex index;
  FileWindow window(file, sealed.endOffset, name);
  std::uint64_t at = sizeof(FileHeader);
  std::uint64_t sequence = sealed.firstSequence;
  std::uint64_t chain = 0;
  while (at < sealed.endOffset) {
    FrameHeader header{};
    auto bytes = window.at(at, sizeof(header));
    if (bytes.size() == sizeof(header)) std::memcpy(&header, bytes.data(), sizeof(header));
    FrameView frame;
    if (header.magic == frameMagic && header.sectionCount <= sectionCountMax) {
      bytes = window.at(at, sizeof(header) + header.sectionCount * sizeof(SectionEntry));
    }
    if (header.magic != frameMagic ||
        parseFrame(bytes, {id_, sealed.number, at}, frame) != FrameCheck::Valid ||
        !understood(frame) || frame.header.sequence != sequence ||
        (sequence != sealed.firstSequence && frame.header.previousChecksum != chain)) {
      throw Corruption(name, at,
                       fmt::format("{}: the frame at offset {} (sequence {}) of a sealed segment "
                                   "is damaged; what stores and logs have only there cannot be "
                                   "read",
                                   name, at, sequence));
    }
    index.add(frame);
    chain = frame.header.checksum;
    at += frame.header.frameBytes;
    ++sequence;
  }
  if (sequence != sealed.lastSequence + 1 || chain != sealed.lastChecksum) {
    throw Corruption(name, at,
                     fmt::format("{}: a sealed segment ends with frame {}, expected {}", name,
                                 sequence - 1, sealed.lastSequence));
  }
  return index;
}

JournalCore::FoundSection JournalCore::collectPieces(const SegmentIndex& index, std::uint32_t at) {
  FoundSection found;
  for (std::size_t piece = at;; ++piece) {
    found.pieces.push_back(index.refs()[piece]);
    if ((index.refs()[piece].flags & sectionMore) == 0) break;
  }
  return found;
}

void JournalCore::placePieces(FoundSection& found, std::uint64_t number, FileKind kind) {
  const std::uint64_t blob = found.pieces.front().blob;
  if (blob != 0) {
    found.file = fileOf(blob, FileKind::Blob);
    found.path = filePath(blob, FileKind::Blob);
  } else {
    found.file = fileOf(number, kind);
    found.path = filePath(number, kind);
  }
}

bool JournalCore::findSection(LogId log, std::uint64_t offset, ReadLimit limit, FoundSection& out) {
  checkUsable();
  takeInOthers();
  return retryCleaned([&] { return findSectionOnce(log, offset, limit, out); });
}

bool JournalCore::findSectionOnce(LogId log, std::uint64_t offset, ReadLimit limit,
                                  FoundSection& out) {
  std::optional<SealedFile> sealed;
  std::uint64_t number = 0;
  {
    const std::shared_lock lock(indexMutex_);
    const auto at = catalog_.logs.find(log.value);
    if (at == catalog_.logs.end()) {
      throw InvalidArgument(fmt::format("{}: log {} was removed", directory_, log.value));
    }
    const LogEntry& entry = at->second;
    if (offset < entry.start || offset > entry.end) {
      throw PositionOutOfRange(fmt::format(
          "{}: position {} of '{}' is outside what is kept, [{}, {}); it is never reset by itself. "
          "Start from another position on purpose, or restore what was removed",
          directory_, offset, entry.name, entry.start, entry.end));
    }
    if (offset == entry.end) return false;
    if (const auto found = active_.find(log.value, offset)) {
      out = collectPieces(active_, *found);
      number = activeSegment_;
    } else {
      for (auto file = catalog_.sealed.rbegin(); file != catalog_.sealed.rend(); ++file) {
        for (const LogRange& range : file->logs) {
          if (range.log == log.value && range.start <= offset && offset < range.end) sealed = *file;
        }
        if (sealed) break;
      }
      if (!sealed) {
        throw Corruption(
            directory_, 0,
            fmt::format("{}: no file holds offset {} of '{}'", directory_, offset, entry.name));
      }
    }
  }
  FileKind kind = FileKind::Segment;
  if (sealed) {
    const auto index = sealedIndex(*sealed);
    const auto found = index->find(log.value, offset);
    if (!found) {
      throw Corruption(filePath(sealed->number, FileKind::Segment), 0,
                       fmt::format("{}: segment {} lacks offset {} of log {}", directory_,
                                   sealed->number, offset, log.value));
    }
    out = collectPieces(*index, *found);
    number = sealed->number;
    kind = sealed->archive ? FileKind::Archive : FileKind::Segment;
  }
  if (limit == ReadLimit::Synced && out.pieces.front().sequence > synced()) return false;
  placePieces(out, number, kind);
  return true;
}

void JournalCore::readPieces(const FoundSection& section, std::span<char> into) {
  std::size_t at = 0;
  for (const SectionRef& piece : section.pieces) {
    const auto target = into.subspan(at, piece.length);
    const auto got = section.file->read(piece.offset, std::as_writable_bytes(target));
    throwUnlessOk(got, "reading", section.path);
    if (got.value != piece.length || hash64({target.data(), target.size()}) != piece.hash) {
      throw Corruption(
          section.path, piece.offset,
          fmt::format(
              "{}: the section at offset {} ({} bytes, frame {}, {} {}, records {} to {}) is "
              "damaged; it is not skipped",
              section.path, piece.offset, piece.length, piece.sequence,
              piece.kind == SectionKind::Log ? "log" : "store", piece.id, piece.base,
              piece.base + piece.count));
    }
    at += piece.length;
  }
}

std::optional<std::uint64_t> JournalCore::offsetForTime(LogId log, std::int64_t timestampMs) {
  checkUsable();
  takeInOthers();
  return retryCleaned([&] { return offsetForTimeOnce(log, timestampMs); });
}

std::optional<std::uint64_t> JournalCore::offsetForTimeOnce(LogId log, std::int64_t timestampMs) {
  std::vector<SealedFile> sealed;
  std::uint64_t start = 0;
  {
    const std::shared_lock lock(indexMutex_);
    const auto at = catalog_.logs.find(log.value);
    if (at == catalog_.logs.end()) {
      throw InvalidArgument(fmt::format("{}: log {} was removed", directory_, log.value));
    }
    start = at->second.start;
    for (const SealedFile& file : catalog_.sealed) {
      for (const LogRange& range : file.logs) {
        if (range.log == log.value && range.maxTimeMs >= timestampMs && range.end > start) {
          sealed.push_back(file);
        }
      }
    }
  }
  const auto firstIn = [&](const SegmentIndex& index) -> std::optional<std::uint64_t> {
    const auto* sections = index.log(log.value);
    if (sections == nullptr) return std::nullopt;
    for (const std::uint32_t at : *sections) {
      const SectionRef& ref = index.refs()[at];
      if (ref.maxTimeMs >= timestampMs && ref.base + ref.count > start) {
        return std::max(ref.base, start);
      }
    }
    return std::nullopt;
  };
  for (const SealedFile& file : sealed) {
    if (const auto found = firstIn(*sealedIndex(file))) return found;
  }
  const std::shared_lock lock(indexMutex_);
  return firstIn(active_);
}

LogInfo JournalCore::logInfo(LogId log) {
  checkUsable();
  takeInOthers();
  LogInfo info;
  std::vector<std::uint32_t> unsynced;
  const std::shared_lock lock(indexMutex_);
  const auto at = catalog_.logs.find(log.value);
  if (at == catalog_.logs.end()) {
    throw InvalidArgument(
        fmt::format("{}: log {} was removed or never declared", directory_, log.value));
  }
  info.name = at->second.name;
  info.id = log;
  info.start = at->second.start;
  info.end = at->second.end;
  info.syncedEnd = info.end;
  info.retention = at->second.retention;
  if (const auto* sections = active_.log(log.value)) {
    const std::uint64_t reached = synced();
    for (auto section = sections->rbegin(); section != sections->rend(); ++section) {
      const SectionRef& ref = active_.refs()[*section];
      if (ref.sequence <= reached) break;
      info.syncedEnd = ref.base;
    }
  }
  return info;
}

std::shared_ptr<StoreState> JournalCore::openStore(StoreId id) {
  checkUsable();
  return retryCleaned([&] {
    std::unique_lock guard(appendMutex_, std::defer_lock);
    if (appendOwner_.load() != std::this_thread::get_id()) {  // else in a transaction
      guard.lock();
      if (shared()) followTo(page().end.load());
    }
    if (const auto at = stores_.find(id.value); at != stores_.end()) return at->second;
    auto store = loadStore(id.value);
    const std::unique_lock lock(indexMutex_);
    stores_[id.value] = store;
    return store;
  });
}

std::vector<StoreImage> JournalCore::images(std::span<const std::shared_ptr<StoreState>> states) {
  checkUsable();
  std::unique_lock guard(appendMutex_, std::defer_lock);  // no frame is applied meanwhile
  if (appendOwner_.load() != std::this_thread::get_id()) {
    guard.lock();
    if (shared()) followTo(page().end.load());
  }
  std::vector<StoreImage> images;
  for (const auto& state : states) images.push_back(state->image());
  return images;
}

void JournalCore::removeStore(StoreId id) {
  SnapshotEntry snapshot;
  (void)changeCatalog(
      [&] {
        const auto at = catalog_.stores.find(id.value);
        std::string changes;
        if (at == catalog_.stores.end()) return changes;
        snapshot = at->second.snapshot;
        Catalog::removeStore(changes, id.value);
        return changes;
      },
      Durability::Synced);  // before its snapshot goes
  removeBase(snapshot);
}

/// Null when there is none.
std::shared_ptr<const StoreBase> JournalCore::openBase(std::uint32_t id,
                                                       const SnapshotEntry& entry) {
  if (entry.file == 0) return nullptr;
  const std::string name = filePath(entry.file, entry.kind);
  if (entry.kind == FileKind::Database) {
    return database::open(name, {id_, entry.file, id}, entry.covers, tail_.sequence, false);
  }
  auto file = files().open(name, OpenMode::Read);
  throwUnlessOk(file, "opening", name);
  return std::make_shared<SnapshotReader>(std::move(file.value), name, id_, entry.file, id,
                                          entry.covers, entry.hash);
}

std::shared_ptr<StoreState> JournalCore::loadStore(std::uint32_t id) {
  const auto at = catalog_.stores.find(id);
  if (at == catalog_.stores.end()) {
    throw InvalidArgument(
        fmt::format("{}: store {} was removed or never declared", directory_, id));
  }
  const StoreEntry& entry = at->second;
  const SnapshotEntry& snapshot = entry.snapshot;
  try {
    auto store = std::make_shared<StoreState>(StoreId{id}, entry.name, openBase(id, snapshot));
    std::string buffer;
    const auto replay = [&](const SegmentIndex& index, std::uint64_t number, FileKind kind) {
      const auto* sections = index.store(id);
      if (sections == nullptr) return;
      std::size_t changes = 0;
      for (const std::uint32_t section : *sections) {
        const SectionRef& ref = index.refs()[section];
        if (ref.sequence > snapshot.covers) changes += ref.count;
      }
      store->expect(changes);
      for (const std::uint32_t section : *sections) {
        if (index.refs()[section].sequence <= snapshot.covers) continue;
        FoundSection found = collectPieces(index, section);
        placePieces(found, number, kind);
        std::size_t bytes = 0;
        for (const SectionRef& piece : found.pieces) bytes += piece.length;
        buffer.resize(bytes);
        readPieces(found, buffer);
        if (!store->apply(buffer)) {
          throw Corruption(found.path, found.pieces.front().offset,
                           fmt::format("{}: the section at offset {} is not a list of changes",
                                       found.path, found.pieces.front().offset));
        }
      }
    };
    for (const SealedFile& file : catalog_.sealed) {
      if (file.lastSequence <= snapshot.covers ||
          std::find(file.stores.begin(), file.stores.end(), id) == file.stores.end()) {
        continue;
      }
      replay(*sealedIndex(file), file.number, file.archive ? FileKind::Archive : FileKind::Segment);
    }
    replay(active_, activeSegment_, FileKind::Segment);
    return store;
  } catch (const Corruption& damage) {
    throw Corruption(damage.file(), damage.offset(),
                     fmt::format("store '{}' cannot be opened: {}", entry.name, damage.damage()));
  }
}

struct LogReader::Impl {
  std::shared_ptr<JournalCore> core;
  LogId log;
  std::uint64_t offset = 0;
  JournalCore::FoundSection found;
  // Buffers that callers may still point into; one is used again when nobody does.
  std::vector<std::shared_ptr<std::vector<char>>> buffers;

  std::shared_ptr<std::vector<char>> buffer(std::size_t bytes) {
    for (auto& candidate : buffers) {
      if (candidate.use_count() == 1) {
        if (candidate->size() < bytes) candidate->resize(bytes);
        return candidate;
      }
    }
    auto fresh = std::make_shared<std::vector<char>>(std::max(bytes, std::size_t{4096}));
    if (buffers.size() < 8) buffers.push_back(fresh);
    return fresh;
  }
};

LogReader::LogReader(std::shared_ptr<Journal> journal, LogId log, std::uint64_t offset)
    : impl_(std::make_unique<Impl>()) {
  impl_->core = journal->core_;
  impl_->log = log;
  impl_->offset = offset;
}
LogReader::~LogReader() = default;
LogReader::LogReader(LogReader&&) noexcept = default;
LogReader& LogReader::operator=(LogReader&&) noexcept = default;

bool LogReader::next(LogChunk& chunk, ReadLimit limit) {
  chunk.owner.reset();
  Impl& impl = *impl_;
  if (!impl.core->findSection(impl.log, impl.offset, limit, impl.found)) return false;
  std::size_t bytes = 0;
  for (const SectionRef& piece : impl.found.pieces) bytes += piece.length;
  auto buffer = impl.buffer(bytes);
  JournalCore::readPieces(impl.found, std::span(*buffer).first(bytes));
  const SectionRef& first = impl.found.pieces.front();
  chunk.baseOffset = first.base;
  chunk.count = first.count;
  chunk.bytes = std::as_bytes(std::span(*buffer).first(bytes));
  chunk.sequence = Sequence{first.sequence};
  chunk.owner = std::move(buffer);
  impl.offset = first.base + first.count;
  return true;
}

void LogReader::seek(std::uint64_t offset) { impl_->offset = offset; }
std::uint64_t LogReader::offset() const noexcept { return impl_->offset; }

}  // namespace penstock::state
