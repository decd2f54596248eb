// SPDX-License-Identifier: Apache-2.0
//
// Reading a journal's directory from outside. The rules are those of journal_open.cpp and
// docs/formats.md; what differs is that nothing stops it:
//   a bad frame            reading goes on at the next frame that is valid at its place
//   a bad newest base      the catalog is derived from the segment before, when that is whole
//   a read that fails      counts as bytes that are damaged
// In a directory that is in use the end of the active segment moves and a cleaner removes files;
// see verify.h for what is then told apart.
#include "directory_scan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>
#include <utility>

#include "bytes.h"
#include "commit_content.h"
#include "database.h"
#include "file_names.h"
#include "io_errors.h"
#include "snapshot.h"

namespace penstock::state {

namespace {

constexpr std::uint64_t windowBytes = 1U << 20;

std::string plural(std::uint64_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

ScannedFile::ScannedFile(std::unique_ptr<File> file, std::string path,
                         std::function<void(const std::string& path, std::uint64_t bytes)> read)
    : file_(std::move(file)), path_(std::move(path)), read_(std::move(read)) {
  const auto size = file_->size();
  size_ = size.ok() ? size.value : 0;
  error_ = size.error;
  (void)file_->dropCache(0, 0);  // so that the disk is read, as far as pages are clean
}

bool ScannedFile::fill(std::uint64_t offset, std::uint64_t length) {
  buffer_.resize(length);
  start_ = offset;
  const auto got = file_->read(offset, std::as_writable_bytes(std::span(buffer_)));
  failed_ = !got.ok();
  if (failed_) {
    error_ = got.error;
    buffer_.clear();
    return false;
  }
  buffer_.resize(got.value);
  if (offset + got.value > told_) {
    read_(path_, offset + got.value - std::max(told_, offset));
    told_ = offset + got.value;
  }
  return true;
}

std::string_view ScannedFile::at(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_) return {};
  length = std::min(length, size_ - offset);
  if (offset < start_ || offset + length > start_ + buffer_.size()) {
    // When a bad sector is in the window, what is asked for may still be read.
    if (!fill(offset, std::min(std::max(length, windowBytes), size_ - offset)) &&
        !fill(offset, length)) {
      return {};
    }
  }
  return std::string_view(buffer_).substr(offset - start_, length);
}

std::uint64_t ScannedFile::usedEnd(std::uint64_t from) {
  std::uint64_t end = from;
  for (std::uint64_t at = from; at < size_;) {
    const auto bytes = this->at(at, std::uint64_t{1} << 16);
    if (bytes.empty()) return size_;  // cannot be read: as good as used
    if (const std::size_t used = usedLength(bytes); used > 0) end = at + used;
    at += bytes.size();
  }
  return end;
}

std::string ScannedFile::errorText() const {
  return error_ == 0 ? std::string{} : ": " + std::generic_category().message(error_);
}

DirectoryScan::DirectoryScan(std::string directory, const Environment& environment, Options options)
    : directory_(std::move(directory)), environment_(environment), options_(std::move(options)) {
  report.directory = directory_;
  read_ = [this](const std::string& path, std::uint64_t bytes) {
    report.bytes += bytes;
    if (options_.progress) {
      options_.progress({report.bytes, std::max(bytesTotal_, report.bytes), path});
    }
  };
}

std::string DirectoryScan::path(std::uint64_t number, FileKind kind) const {
  return directory_ + "/" + fileName(number, kind);
}

void DirectoryScan::readNewest() {
  lookAtUse();
  constexpr int rollsMax = 100;  // each meets a writer that began another segment meanwhile
  for (int rolls = 0;; ++rolls) {
    listFiles();
    const VerifyReport before = report;
    sealedMeanwhile_ = false;
    readActive(segments_.back());
    if (!sealedMeanwhile_ || rolls == rollsMax) return;
    report = before;
    catalog = {};
    active = {};
    seen_.clear();  // what was read as the newest is read again as a sealed one
  }
}

void DirectoryScan::run() {
  readNewest();
  if (!readable_) return;
  constexpr int roundsMax = 10;  // each meets a cleaner that was faster once more
  for (int round = 0; round < roundsMax; ++round) {
    changed_ = false;
    readListed();
    if (!changed_) break;
    DirectoryScan again(directory_, environment_, Options{.contents = false, .progress = {}});
    again.readNewest();
    if (!again.readable_) break;
    catalog = std::move(again.catalog);
    active = std::move(again.active);
  }
  if (options_.contents) {
    readIdentity();
    if (report.use == DirectoryUse::Nobody && !active.cut) lookForLeftovers();
  }
}

void DirectoryScan::lookAtUse() {
  if (options_.locked) return;
  const auto presence = environment_.files->open(directory_ + "/PRESENCE", OpenMode::Read);
  if (!presence.ok()) return;
  const std::string text = readSmall(*presence.value);
  const auto joined = presence.value->tryLock(LockKind::Shared);
  if (!joined.ok()) return;
  if (!joined.value) {
    // Who shares holds it exclusively while it recovers.
    report.use =
        text.find("(shared)") == std::string::npos ? DirectoryUse::Exclusive : DirectoryUse::Shared;
  } else {
    const auto alone = presence.value->tryLock(LockKind::Exclusive);
    report.use = alone.ok() && alone.value ? DirectoryUse::Nobody : DirectoryUse::Shared;
  }
  if (report.use != DirectoryUse::Nobody) {
    report.holder = text.empty() ? "another process" : text;
  }
}

void DirectoryScan::listFiles() {
  const auto info = environment_.files->info(directory_);
  throwUnlessOk(info, "looking at the state directory", directory_);
  if (!info.value.exists || !info.value.directory) {
    throw ConfigurationError(directory_ + (info.value.exists ? ": is a file" : ": is not there") +
                             "; name the directory of a journal");
  }
  const auto listed = environment_.files->list(directory_);
  throwUnlessOk(listed, "listing", directory_);
  names_ = listed.value;
  std::sort(names_.begin(), names_.end());
  segments_.clear();
  bytesTotal_ = 0;
  report.keptAside.clear();
  bool parts = false;
  for (const std::string& name : names_) {
    if (const auto number = fileNumber(name, FileKind::Segment)) segments_.push_back(*number);
    parts = parts || name == "JOURNAL" || isDurableFile(name);
    if (isDurableFile(name)) {
      const auto file = environment_.files->info(directory_ + "/" + name);
      if (file.ok()) bytesTotal_ += file.value.size;
    }
    if (const auto torn = name.find(".torn-");
        torn != std::string::npos && isDurableFile(name.substr(0, torn))) {
      report.keptAside.push_back(directory_ + "/" + name);
    }
  }
  std::sort(segments_.begin(), segments_.end());
  if (!segments_.empty()) return;
  if (!parts) {
    throw ConfigurationError(directory_ +
                             ": holds no journal (no JOURNAL, no segment-*.log); name the "
                             "directory of one");
  }
  throw Corruption(directory_, 0,
                   directory_ +
                       ": holds parts of a journal but not its segments (segment-*.log): they were "
                       "removed, or a backup into it was interrupted");
}

std::unique_ptr<ScannedFile> DirectoryScan::open(std::uint64_t number, FileKind kind, int* error) {
  const std::string name = path(number, kind);
  auto file = environment_.files->open(name, OpenMode::Read);
  if (error != nullptr) *error = file.error;
  if (!file.ok()) return nullptr;
  return std::make_unique<ScannedFile>(std::move(file.value), name, read_);
}

Damage& DirectoryScan::damaged(DamageKind kind, const std::string& file, std::uint64_t offset,
                               std::uint64_t bytes, std::uint64_t sequence, std::string text) {
  Damage& damage = report.damages.emplace_back();
  damage.kind = kind;
  damage.file = file;
  damage.offset = offset;
  damage.bytes = bytes;
  damage.sequence = Sequence{sequence};
  damage.text = std::move(text);
  return damage;
}

void DirectoryScan::addStore(std::uint32_t store, std::uint64_t sequence, Damage& damage) const {
  const auto at = catalog.stores.find(store);
  if (at == catalog.stores.end() || sequence <= at->second.snapshot.covers) return;
  auto& names = damage.stores;
  if (std::find(names.begin(), names.end(), at->second.name) == names.end()) {
    names.push_back(at->second.name);
  }
}

void DirectoryScan::addLog(std::uint32_t log, std::uint64_t start, std::uint64_t end,
                           Damage& damage) const {
  const auto at = catalog.logs.find(log);
  if (at == catalog.logs.end()) return;
  start = std::max(start, at->second.start);
  if (start >= end) return;
  for (LogSpan& span : damage.logs) {
    if (span.log == at->second.name && span.end == start) {
      span.end = end;
      return;
    }
  }
  damage.logs.push_back({at->second.name, start, end});
}

void DirectoryScan::addDependents(const SegmentIndex& index, std::size_t ref,
                                  Damage& damage) const {
  const auto& refs = index.refs();
  while (ref > 0 && (refs[ref - 1].flags & sectionMore) != 0) --ref;  // its first piece
  const SectionRef& first = refs[ref];
  if (first.kind == SectionKind::Log) {
    addLog(static_cast<std::uint32_t>(first.id), first.base, first.base + first.count, damage);
  } else {
    addStore(static_cast<std::uint32_t>(first.id), first.sequence, damage);
  }
}

void DirectoryScan::addDependents(const SealedFile& file, Damage& damage) const {
  for (const std::uint32_t store : file.stores) addStore(store, file.lastSequence, damage);
  for (const LogRange& range : file.logs) addLog(range.log, range.start, range.end, damage);
}

void DirectoryScan::addDeclared(std::string_view changes, std::uint64_t sequence) {
  Catalog scratch;
  if (!scratch.apply(changes, sequence)) return;
  for (const auto& [store, entry] : scratch.stores) declared.emplace(store, sequence);
}

DirectoryScan::Found DirectoryScan::frameAt(ScannedFile& file, std::uint64_t segment,
                                            std::uint64_t at, std::uint64_t limit) {
  Found found;
  auto bytes = file.at(at, sizeof(FrameHeader));
  FrameHeader header{};
  if (bytes.size() < sizeof(header)) return found;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != frameMagic || header.sectionCount > sectionCountMax ||
      header.frameBytes > limit - at) {
    return found;
  }
  bytes = file.at(at, sizeof(header) + std::uint64_t{header.sectionCount} * sizeof(SectionEntry));
  found.valid = parseFrame(bytes, {id, segment, at}, found.frame) == FrameCheck::Valid &&
                found.frame.header.frameBytes <= limit - at;
  return found;
}

std::uint64_t DirectoryScan::nextFrame(ScannedFile& file, std::uint64_t segment, std::uint64_t from,
                                       std::uint64_t limit, std::uint64_t sequence,
                                       const std::function<bool(const FrameHeader&)>& wanted) {
  const std::string_view magic(reinterpret_cast<const char*>(&frameMagic), sizeof(frameMagic));
  for (std::uint64_t at = padded(from); at + sizeof(FrameHeader) <= limit;) {
    const auto bytes = file.at(at, std::min(std::uint64_t{1} << 16, limit - at));
    const auto place = bytes.find(magic);
    if (bytes.empty()) {  // cannot be read
      at += 4096;
      continue;
    }
    if (place == std::string_view::npos || place % 8 != 0) {  // frames begin at multiples of 8
      at += place == std::string_view::npos ? padded(bytes.size()) : padded(place);
      continue;
    }
    at += place;
    const Found found = frameAt(file, segment, at, limit);
    if (found.valid && found.frame.header.sequence > sequence && wanted(found.frame.header)) {
      return at;
    }
    at += 8;
  }
  return limit;
}

// The active segment

std::optional<DirectoryScan::Previous> DirectoryScan::readPrevious(std::uint64_t number) {
  const auto file = open(number, FileKind::Segment);
  if (!file) return std::nullopt;
  Previous previous;
  const JournalId before = std::exchange(id, {});
  struct Restore {
    JournalId& id;
    JournalId before;
    ~Restore() { id = before; }
  } restore{id, before};
  FileHeader header{};
  try {
    header = readFileHeader(file->at(0, sizeof(header)), file->path(), FileKind::Segment);
  } catch (const Corruption&) {
    return std::nullopt;
  }
  if (header.number != number) return std::nullopt;
  id = {header.journalLow, header.journalHigh};
  previous.id = id;
  previous.end = {number, header.firstSequence, header.firstSequence - 1, sizeof(FileHeader), 0};
  SegmentIndex index;
  for (;;) {
    SegmentEnd& end = previous.end;
    const Found found = frameAt(*file, number, end.endOffset, file->size());
    const FrameHeader& frame = found.frame.header;
    const bool first = end.endOffset == sizeof(FileHeader);
    if (!found.valid || frame.sequence != end.lastSequence + 1 ||
        (!first && frame.previousChecksum != end.lastChecksum) ||
        first != (frame.kind == FrameKind::Base)) {
      break;
    }
    std::string catalogBytes;
    std::uint64_t at = found.frame.bodyOffset;
    for (const SectionEntry& entry : found.frame.sections) {
      if ((entry.flags & sectionExternal) != 0) continue;
      if (entry.kind == SectionKind::Catalog) {
        const auto bytes = file->at(at, entry.length);
        if (bytes.size() != entry.length || hash64(bytes) != entry.hash) return std::nullopt;
        catalogBytes += bytes;
      }
      at += entry.length;
    }
    if (first ? !previous.catalog.decode(catalogBytes)
              : !previous.catalog.apply(catalogBytes, frame.sequence)) {
      return std::nullopt;
    }
    for (const SectionEntry& entry : found.frame.sections) {
      if (entry.kind == SectionKind::Log && entry.count != 0) {
        (void)previous.catalog.logAppended(static_cast<std::uint32_t>(entry.id), entry.baseOffset,
                                           entry.count);
      }
    }
    index.add(found.frame);
    end.endOffset += frame.frameBytes;
    end.lastSequence = frame.sequence;
    end.lastChecksum = frame.checksum;
  }
  // What follows the frames of a sealed segment is its footer, or nothing: else a frame is lost.
  const std::uint64_t behind = previous.end.endOffset;
  if (behind == sizeof(FileHeader)) return std::nullopt;
  const auto rest = file->at(behind, file->size() - std::min(behind, file->size()));
  if (!SegmentIndex::decodeFooter(rest, id.low, number, behind) &&
      file->usedEnd(behind) != behind) {
    return std::nullopt;
  }
  previous.catalog.sealed.push_back(describeSegment(index, previous.end));
  return previous;
}

bool DirectoryScan::beginActive(ScannedFile& file, std::uint64_t number, std::uint64_t& at,
                                std::optional<std::uint64_t>& chain) {
  std::string wrong;
  FileHeader header{};
  try {
    header = readFileHeader(file.at(0, sizeof(header)), file.path(), FileKind::Segment);
    id = {header.journalLow, header.journalHigh};
    checkFileHeader(file.at(0, sizeof(header)), file.path(), FileKind::Segment, id, number);
  } catch (const Corruption& error) {
    damaged(DamageKind::File, file.path(), error.offset(), sizeof(FileHeader), 0, error.damage())
        .refusesDirectory = true;
    wrong = "its file header";
  }
  Found base;
  if (wrong.empty()) {
    base = frameAt(file, number, at, file.size());
    if (base.valid && base.frame.header.kind == FrameKind::Base &&
        base.frame.header.sequence == header.firstSequence) {
      std::string whole;
      std::uint64_t offset = base.frame.bodyOffset;
      bool good = true;
      for (const SectionEntry& entry : base.frame.sections) {
        const auto bytes = file.at(offset, entry.length);
        ++report.sections;
        good = good && bytes.size() == entry.length && hash64(bytes) == entry.hash;
        whole += bytes;
        offset += entry.length;
      }
      if (good && understood(base.frame) && catalog.decode(whole)) {
        ++report.frames;
        active.end = {number, header.firstSequence, header.firstSequence,
                      at + base.frame.header.frameBytes, base.frame.header.checksum};
        report.synced = Sequence{base.frame.header.syncedUpTo};
        chain = base.frame.header.checksum;
        at = active.end.endOffset;
        return true;
      }
    }
    damaged(DamageKind::Frame, file.path(), at, base.valid ? base.frame.header.frameBytes : 0,
            header.firstSequence,
            fmt::format("{}: the base frame at offset {} (sequence {}) is damaged{}; every store "
                        "and log of the directory depends on it",
                        file.path(), at, header.firstSequence, file.errorText()))
        .refusesDirectory = true;
  }
  const auto previous = readPrevious(number - 1);
  if (!previous) return false;
  // A base frame is what the segment before leads to, so nothing is lost with it.
  id = previous->id;
  catalog = previous->catalog;
  active.derived = true;
  const SegmentStart start =
      encodeSegmentStart(id, number, previous->end.lastSequence + 1, previous->end.lastChecksum,
                         catalog, previous->end.lastSequence, 0);
  active.end = {number, previous->end.lastSequence + 1, previous->end.lastSequence + 1,
                start.bytes.size(), 0};
  if (base.valid) {
    active.end.lastChecksum = base.frame.header.checksum;
    chain = active.end.lastChecksum;
  }
  at = active.end.endOffset;
  report.synced = Sequence{previous->end.lastSequence};
  return true;
}

void DirectoryScan::takeActive(ScannedFile& file, const Found& found, Catalog& to,
                               SegmentIndex& index) {
  const FrameHeader& header = found.frame.header;
  std::uint64_t at = found.frame.bodyOffset;
  std::string changes;
  for (const SectionEntry& entry : found.frame.sections) {
    if ((entry.flags & sectionExternal) != 0) continue;
    if (entry.kind == SectionKind::Catalog) changes += file.at(at, entry.length);
    at += entry.length;
  }
  if (!understood(found.frame) || !to.apply(changes, header.sequence)) {
    damaged(DamageKind::Frame, file.path(), header.fileOffset, header.frameBytes, header.sequence,
            fmt::format("{}: frame {} at offset {} holds what this version does not understand",
                        file.path(), header.sequence, header.fileOffset))
        .refusesDirectory = true;
  }
  addDeclared(changes, header.sequence);
  for (const SectionEntry& entry : found.frame.sections) {
    if (entry.kind == SectionKind::Log && entry.count != 0) {
      (void)to.logAppended(static_cast<std::uint32_t>(entry.id), entry.baseOffset, entry.count);
    }
  }
  index.add(found.frame);
  report.synced = Sequence{std::max(report.synced.value, header.syncedUpTo)};
}

void DirectoryScan::readActive(std::uint64_t number) {
  int error = 0;
  const auto file = open(number, FileKind::Segment, &error);
  if (!file) {
    damaged(DamageKind::File, path(number, FileKind::Segment), 0, 0, 0,
            fmt::format("{}: the newest segment cannot be opened: {}",
                        path(number, FileKind::Segment), std::generic_category().message(error)))
        .refusesDirectory = true;
    return;
  }
  ++report.files;
  seen_.insert(number);
  std::uint64_t at = sizeof(FileHeader);
  std::optional<std::uint64_t> chain;
  readable_ = beginActive(*file, number, at, chain);
  report.journalId = id == JournalId{} ? std::string{} : id.text();
  if (!readable_) {
    report.notices.push_back(
        "what the other files should hold is not known, so they were not looked at");
    return;
  }
  std::uint64_t sequence = active.end.lastSequence;
  bool lookedAgain = false;
  SegmentIndex behind;             // what whole frames behind damage hold
  std::vector<std::size_t> first;  // of report.damages: what the cut is blamed on
  Catalog listing = catalog;       // with what lies behind damage, as far as it can be read
  while (at < file->size()) {
    Found found = frameAt(*file, number, at, file->size());
    const FrameHeader& header = found.frame.header;
    const bool inOrder = found.valid && header.sequence == sequence + 1 &&
                         header.kind != FrameKind::Base &&
                         (!chain || header.previousChecksum == *chain);
    std::vector<std::uint64_t> badSections;
    if (inOrder) {
      std::uint64_t body = found.frame.bodyOffset;
      for (const SectionEntry& entry : found.frame.sections) {
        if ((entry.flags & sectionExternal) != 0) continue;
        const auto bytes = file->at(body, entry.length);
        ++report.sections;
        if (bytes.size() != entry.length || hash64(bytes) != entry.hash) {
          badSections.push_back(body);
        }
        body += entry.length;
      }
    }
    if (inOrder && badSections.empty()) {
      lookedAgain = false;
      ++report.frames;
      at += header.frameBytes;
      sequence = header.sequence;
      chain = header.checksum;
      takeActive(*file, found, listing, active.cut ? behind : active.index);
      if (active.cut) {
        ++active.lostFrames;
        active.lostBytes = at - active.end.endOffset;
      } else {
        catalog = listing;
        active.end.endOffset = at;
        active.end.lastSequence = sequence;
        active.end.lastChecksum = header.checksum;
        active.lastKind = header.kind;
      }
      continue;
    }
    const std::uint64_t used = file->usedEnd(at);
    const bool unreadable = file->failed();
    if (used == at) break;
    const std::uint64_t expected = sequence + 1;
    const std::uint64_t proof =
        nextFrame(*file, number, at + 8, file->size(), expected,
                  [&](const FrameHeader& later) { return later.syncedUpTo >= expected; });
    if (proof >= file->size()) {
      if (unreadable) {  // not torn: what is there is not known
        active.lostBytes = used - at;
        damaged(DamageKind::File, file->path(), at, used - at, expected,
                fmt::format("{}: cannot be read from offset {} (sequence {}) on{}", file->path(),
                            at, expected, file->errorText()))
            .refusesDirectory = true;
      } else {
        judgeTail(*file, at, expected, used);
      }
      break;
    }
    if (report.use != DirectoryUse::Nobody && !lookedAgain) {
      lookedAgain = true;  // it may have been written while it was read
      file->forget();
      continue;
    }
    lookedAgain = false;
    const std::uint64_t next = nextFrame(*file, number, at + 8, file->size(), sequence,
                                         [](const FrameHeader&) { return true; });
    const Found following = frameAt(*file, number, next, file->size());
    const std::uint64_t nextSequence = following.frame.header.sequence;
    if (badSections.empty()) {
      first.push_back(report.damages.size());
      damaged(
          DamageKind::Frame, file->path(), at, next - at, expected,
          fmt::format(
              "{}: the frame at offset {} (sequence {}{}) is damaged{}", file->path(), at, expected,
              nextSequence > expected + 1 ? fmt::format(" to {}", nextSequence - 1) : std::string{},
              file->errorText()))
          .refusesDirectory = true;
    }
    for (const std::uint64_t section : badSections) {
      first.push_back(report.damages.size());
      damaged(DamageKind::Section, file->path(), section, 0, expected,
              fmt::format("{}: the section at offset {} (frame {}) is damaged{}", file->path(),
                          section, expected, file->errorText()))
          .refusesDirectory = true;
    }
    if (!badSections.empty()) behind.add(found.frame);
    active.cut = true;
    at = next;
    active.lostBytes = at - active.end.endOffset;
    sequence = nextSequence - 1;
    chain.reset();
  }
  report.last = Sequence{active.end.lastSequence};
  if (active.cut) {
    Damage& blamed = report.damages[first.front()];
    for (std::size_t ref = 0; ref < behind.refs().size(); ++ref) {
      addDependents(behind, ref, blamed);
    }
    blamed.text += fmt::format(
        ", and a later one says that it was on disk: the directory is refused. Repair keeps frames "
        "up to {} and loses {} bytes behind them, {} among them",
        active.end.lastSequence, active.lostBytes, plural(active.lostFrames, "whole frame"));
    if (!options_.prefix) catalog = listing;
  }
}

void DirectoryScan::judgeTail(ScannedFile& file, std::uint64_t at, std::uint64_t sequence,
                              std::uint64_t end) {
  const auto rest = file.at(at, file.size() - at);
  if (SegmentIndex::decodeFooter(rest, id.low, active.end.number, at)) {
    // A footer is written once the next segment is there, and on disk.
    const std::string missing = path(active.end.number + 1, FileKind::Segment);
    const auto now = environment_.files->list(directory_);
    sealedMeanwhile_ =
        now.ok() && std::any_of(now.value.begin(), now.value.end(), [&](const std::string& name) {
          return fileNumber(name, FileKind::Segment).value_or(0) > active.end.number;
        });
    damaged(DamageKind::MissingFile, missing, 0, 0, sequence,
            fmt::format("{}: is missing: {} was sealed, so a later segment was there. What it held "
                        "is lost, from frame {} on",
                        missing, file.path(), sequence))
        .refusesDirectory = true;
    return;
  }
  TornTail torn;
  torn.file = file.path();
  torn.offset = at;
  torn.bytes = end - at;
  torn.sequence = Sequence{sequence};
  torn.underWay = report.use != DirectoryUse::Nobody;
  report.torn = torn;
}

// Files that the catalog lists

void DirectoryScan::readListed() {
  sealed.clear();
  for (const SealedFile& listed : catalog.sealed) {
    SealedScan& scan = sealed.emplace_back();
    scan.listed = listed;
    // Immutable: what was read in an earlier round need not be read again.
    const bool fresh = seen_.insert(listed.number).second;
    if (!fresh && options_.contents) continue;
    readSealed(scan);
    if (options_.contents && !options_.prefix) {  // all is said; there may be thousands
      scan.index = SegmentIndex{};
      scan.bad.clear();
    }
  }
  active.bad.assign(active.index.refs().size(), false);
  if (options_.contents) {
    checkRefs(active.index, active.bad, active.end.number, FileKind::Segment,
              [](const SectionRef& ref) { return ref.blob != 0; });
    for (const auto& [store, entry] : catalog.stores) {
      if (entry.snapshot.file == 0) continue;
      if (!seen_.insert(entry.snapshot.file).second) continue;
      readSnapshot(store, entry);
    }
  }
}

bool DirectoryScan::stillListed(std::uint64_t number) {
  if (report.use == DirectoryUse::Nobody || options_.prefix) return true;
  DirectoryScan again(directory_, environment_, Options{.contents = false, .progress = {}});
  again.readNewest();
  std::set<std::uint64_t> numbers;
  for (const SealedFile& file : again.catalog.sealed) {
    numbers.insert(file.number);
    numbers.insert(file.blobs.begin(), file.blobs.end());
  }
  for (const std::uint64_t blob : again.active.index.blobs()) numbers.insert(blob);
  for (const auto& [store, entry] : again.catalog.stores) numbers.insert(entry.snapshot.file);
  if (numbers.contains(number)) return true;
  changed_ = true;
  return false;
}

std::unique_ptr<ScannedFile> DirectoryScan::openListed(
    std::uint64_t number, FileKind kind, Size size,
    const std::function<void(Damage&)>& dependents) {
  const std::string name = path(number, kind);
  int error = 0;
  auto file = open(number, kind, &error);
  if (!file) {
    if (error == ENOENT && !stillListed(number)) return nullptr;
    Damage& damage =
        damaged(error == ENOENT ? DamageKind::MissingFile : DamageKind::File, name, 0, 0, 0,
                error == ENOENT ? name + ": is missing, but the journal lists it"
                                : fmt::format("{}: cannot be opened: {}", name,
                                              std::generic_category().message(error)));
    damage.refusesDirectory = error == ENOENT;
    dependents(damage);
    return nullptr;
  }
  ++report.files;
  if (file->size() < size.bytes || (size.exact && file->size() != size.bytes)) {
    Damage& damage = damaged(DamageKind::File, name, file->size(), 0, 0,
                             fmt::format("{}: has {} bytes, but the journal lists {}{}", name,
                                         file->size(), size.bytes, file->errorText()));
    damage.refusesDirectory = true;
    dependents(damage);
  }
  try {
    checkFileHeader(file->at(0, sizeof(FileHeader)), name, kind, id, number, size.store);
  } catch (const Corruption& wrong) {
    dependents(damaged(DamageKind::File, name, wrong.offset(), sizeof(FileHeader), 0,
                       wrong.damage() + file->errorText()));
    return nullptr;
  }
  return file;
}

void DirectoryScan::readSealed(SealedScan& scan) {
  const SealedFile& listed = scan.listed;
  const auto file = openListed(listed.number, kindOf(listed), {listed.endOffset, false},
                               [&](Damage& damage) { addDependents(listed, damage); });
  if (!file) {
    scan.whole = false;
    scan.indexed = false;
    scan.gaps.push_back({listed.firstSequence, listed.lastSequence});
    return;
  }
  if (file->size() < listed.endOffset) scan.whole = false;
  SegmentIndex walked;
  std::vector<std::size_t> badRefs;
  if (!listed.archive) {
    const std::uint64_t end = std::min(listed.endOffset, file->size());
    const auto behind = file->at(end, file->size() - end);
    if (options_.contents ||
        !SegmentIndex::decodeFooter(behind, id.low, listed.number, listed.endOffset)) {
      walkSegment(scan, *file, walked, badRefs);
    }
  }
  readFooter(scan, *file, walked, badRefs);
  if (!options_.contents) return;
  const auto unknown = [&](std::uint64_t sequence) {
    return std::any_of(scan.gaps.begin(), scan.gaps.end(), [&](const SealedScan::Gap& gap) {
      return gap.first <= sequence && sequence <= gap.last;
    });
  };
  // Of a segment the rest was read with its frames.
  checkRefs(scan.index, scan.bad, listed.number, kindOf(listed), [&](const SectionRef& ref) {
    return listed.archive || ref.blob != 0 || (scan.footer && unknown(ref.sequence));
  });
  if (scan.footer && !listed.archive) scan.gaps.clear();  // the footer knows what is in them
  if (std::find(scan.bad.begin(), scan.bad.end(), true) != scan.bad.end()) scan.whole = false;
}

void DirectoryScan::walkSegment(SealedScan& scan, ScannedFile& file, SegmentIndex& walked,
                                std::vector<std::size_t>& badRefs) {
  const SealedFile& listed = scan.listed;
  const std::uint64_t limit = std::min(listed.endOffset, file.size());
  std::uint64_t at = sizeof(FileHeader);
  std::uint64_t sequence = listed.firstSequence - 1;
  std::optional<std::uint64_t> chain;
  const auto lost = [&](std::uint64_t to, std::uint64_t nextSequence) {
    scan.whole = false;
    scan.gaps.push_back({sequence + 1, nextSequence - 1});
    damaged(DamageKind::Frame, file.path(), at, to - at, sequence + 1,
            fmt::format("{}: the frame at offset {} (sequence {}{}) of a sealed segment is "
                        "damaged{}",
                        file.path(), at, sequence + 1,
                        nextSequence > sequence + 2 ? fmt::format(" to {}", nextSequence - 1)
                                                    : std::string{},
                        file.errorText()));
  };
  while (at < limit) {
    const Found found = frameAt(file, listed.number, at, limit);
    const FrameHeader& header = found.frame.header;
    const bool first = at == sizeof(FileHeader);
    if (!found.valid || header.sequence != sequence + 1 ||
        (chain && header.previousChecksum != *chain) || first != (header.kind == FrameKind::Base)) {
      const std::uint64_t next = nextFrame(
          file, listed.number, at + 8, limit, sequence + 1,
          [&](const FrameHeader& later) { return later.sequence <= listed.lastSequence; });
      const Found following = frameAt(file, listed.number, next, limit);
      const std::uint64_t nextSequence =
          following.valid ? following.frame.header.sequence : listed.lastSequence + 1;
      lost(next, nextSequence);
      at = next;
      sequence = nextSequence - 1;
      chain.reset();
      continue;
    }
    ++report.frames;
    std::uint64_t body = found.frame.bodyOffset;
    std::size_t ref = walked.refs().size();
    std::string changes;
    for (const SectionEntry& entry : found.frame.sections) {
      const bool known = entry.kind != SectionKind::Catalog;
      if ((entry.flags & sectionExternal) == 0) {
        const auto bytes = file.at(body, entry.length);
        ++report.sections;
        const bool good = bytes.size() == entry.length && hash64(bytes) == entry.hash;
        if (!good && known) badRefs.push_back(ref);
        if (good && !known && header.kind != FrameKind::Base) changes += bytes;
        if (!good && !known) {  // nobody reads it again, but something is rotting
          scan.whole = false;
          damaged(DamageKind::Section, file.path(), body, entry.length, header.sequence,
                  fmt::format("{}: the catalog's section at offset {} (frame {}) is damaged{}; "
                              "nothing needs it any more",
                              file.path(), body, header.sequence, file.errorText()));
        }
        body += entry.length;
      }
      ref += known ? 1 : 0;
    }
    addDeclared(changes, header.sequence);
    walked.add(found.frame);
    at += header.frameBytes;
    sequence = header.sequence;
    chain = header.checksum;
  }
  if (sequence != listed.lastSequence || (chain && *chain != listed.lastChecksum)) {
    lost(at, std::max(listed.lastSequence, sequence + 1) + 1);
  }
}

void DirectoryScan::readFooter(SealedScan& scan, ScannedFile& file, const SegmentIndex& walked,
                               const std::vector<std::size_t>& badRefs) {
  const SealedFile& listed = scan.listed;
  const std::uint64_t end = listed.endOffset;
  const auto bytes = file.at(end, file.size() - std::min(end, file.size()));
  auto footer = SegmentIndex::decodeFooter(bytes, id.low, listed.number, end);
  const auto same = [](const SectionRef& left, const SectionRef& right) {
    return std::memcmp(&left, &right, sizeof(left)) == 0;
  };
  if (listed.archive) {
    if (footer) {
      scan.index = std::move(*footer);
    } else {
      scan.whole = false;
      scan.indexed = false;
      scan.gaps.push_back({listed.firstSequence, listed.lastSequence});
      addDependents(listed, damaged(DamageKind::Index, file.path(), end, bytes.size(), 0,
                                    fmt::format("{}: its index at offset {} is damaged{}; it is "
                                                "the only one",
                                                file.path(), end, file.errorText())));
    }
  } else if (footer && (!options_.contents || !scan.gaps.empty() ||
                        std::equal(footer->refs().begin(), footer->refs().end(),
                                   walked.refs().begin(), walked.refs().end(), same))) {
    scan.footer = true;
    scan.index = std::move(*footer);
  } else {
    scan.index = walked;
    if (footer || file.usedEnd(end) != end) {
      damaged(DamageKind::Index, file.path(), end, bytes.size(), 0,
              fmt::format("{}: its index at offset {} is damaged{}; it is rebuilt from the frames "
                          "when it is needed",
                          file.path(), end, file.errorText()));
    } else if (options_.contents) {
      report.notices.push_back(fmt::format(
          "{}: has no index; it is rebuilt from the frames when it is needed", file.path()));
    }
    if (!scan.gaps.empty()) {  // the engine refuses to rebuild it
      scan.indexed = false;
      for (Damage& damage : report.damages) {
        if (damage.kind == DamageKind::Frame && damage.file == file.path()) {
          addDependents(listed, damage);
        }
      }
    }
  }
  scan.bad.assign(scan.index.refs().size(), false);
  // Named by the frames that were walked; the footer may know more sections.
  for (const std::size_t bad : badRefs) {
    const SectionRef& ref = walked.refs()[bad];
    for (std::size_t i = 0; i < scan.index.refs().size(); ++i) {
      if (same(scan.index.refs()[i], ref)) scan.bad[i] = true;
    }
    Damage& damage =
        damaged(DamageKind::Section, file.path(), ref.offset, ref.length, ref.sequence,
                fmt::format("{}: the section at offset {} ({} bytes, frame {}) is damaged",
                            file.path(), ref.offset, ref.length, ref.sequence));
    addDependents(walked, bad, damage);
  }
}

/// Reads the wanted sections where the index says that they are, blobs file by file.
void DirectoryScan::checkRefs(const SegmentIndex& index, std::vector<bool>& bad,
                              std::uint64_t number, FileKind kind,
                              const std::function<bool(const SectionRef&)>& wanted) {
  std::map<std::uint64_t, std::vector<std::size_t>> byFile;
  for (std::size_t i = 0; i < index.refs().size(); ++i) {
    if (wanted(index.refs()[i])) byFile[index.refs()[i].blob].push_back(i);
  }
  for (const auto& [blob, refs] : byFile) {
    const auto all = [&, list = &refs](Damage& damage) {
      for (const std::size_t ref : *list) addDependents(index, ref, damage);
    };
    const auto file = blob == 0 ? open(number, kind) : openListed(blob, FileKind::Blob, {}, all);
    if (blob != 0) seen_.insert(blob);
    for (const std::size_t i : refs) {
      const SectionRef& ref = index.refs()[i];
      const auto bytes = file ? file->at(ref.offset, ref.length) : std::string_view{};
      ++report.sections;
      if (bytes.size() == ref.length && hash64(bytes) == ref.hash) continue;
      bad[i] = true;
      if (!file) continue;  // said above
      Damage& damage = damaged(
          DamageKind::Section, file->path(), ref.offset, ref.length, ref.sequence,
          fmt::format("{}: the section at offset {} ({} bytes, frame {}) is damaged{}",
                      file->path(), ref.offset, ref.length, ref.sequence, file->errorText()));
      addDependents(index, i, damage);
    }
  }
}

void DirectoryScan::readSnapshot(std::uint32_t store, const StoreEntry& entry) {
  const SnapshotEntry& snapshot = entry.snapshot;
  const auto needed = [&](Damage& damage) { damage.stores.push_back(entry.name); };
  const std::size_t before = report.damages.size();
  struct Mark {
    DirectoryScan& scan;
    std::uint32_t store;
    std::size_t before;
    ~Mark() {
      if (scan.report.damages.size() > before) scan.badSnapshots.insert(store);
    }
  } mark{*this, store, before};
  if (snapshot.kind == FileKind::Database) return readDatabase(store, entry);
  const auto file =
      openListed(snapshot.file, FileKind::Snapshot, {snapshot.bytes, true, store}, needed);
  if (!file) return;
  if (file->size() != snapshot.bytes) return;
  if (snapshot.covers > active.end.lastSequence && !active.cut) {
    Damage& damage = damaged(DamageKind::File, file->path(), 0, 0, snapshot.covers,
                             fmt::format("{}: reaches frame {}, but the journal ends at frame {}",
                                         file->path(), snapshot.covers, active.end.lastSequence));
    damage.refusesDirectory = true;
    needed(damage);
  }
  readBlocks(entry, *file);
}

std::shared_ptr<const StoreBase> DirectoryScan::openBase(std::uint32_t store,
                                                         const SnapshotEntry& entry) const {
  const std::string name = path(entry.file, entry.kind);
  if (entry.kind == FileKind::Database) {
    // Of one that is in use, neither the end read here nor the files are the last ones.
    const std::uint64_t end =
        report.use == DirectoryUse::Nobody ? active.end.lastSequence : ~std::uint64_t{0};
    return database::open(name, {id, entry.file, store}, entry.covers, end, true);
  }
  auto file = environment_.files->open(name, OpenMode::Read);
  throwUnlessOk(file, "opening", name);
  return std::make_shared<SnapshotReader>(std::move(file.value), name, id, entry.file, store,
                                          entry.covers, entry.hash);
}

void DirectoryScan::readDatabase(std::uint32_t store, const StoreEntry& entry) {
  const std::string name = path(entry.snapshot.file, FileKind::Database);
  constexpr int attempts = 3;  // while it is in use RocksDB replaces files
  for (int attempt = 1;; ++attempt) {
    try {
      return database::verify(*openBase(store, entry.snapshot));
    } catch (const Error& error) {
      if (report.use != DirectoryUse::Nobody) {
        if (!stillListed(entry.snapshot.file)) return;
        if (attempt < attempts) continue;
      }
      const auto* damage = dynamic_cast<const Corruption*>(&error);
      damaged(DamageKind::File, name, 0, 0, 0, damage != nullptr ? damage->damage() : error.what())
          .stores.push_back(entry.name);
      return;
    }
  }
}

void DirectoryScan::readBlocks(const StoreEntry& entry, ScannedFile& file) {
  const SnapshotEntry& snapshot = entry.snapshot;
  const auto wrong = [&](DamageKind kind, std::uint64_t offset, std::uint64_t bytes,
                         std::string_view what) {
    damaged(kind, file.path(), offset, bytes, 0,
            fmt::format("{}: the {} at offset {} is damaged{}", file.path(), what, offset,
                        file.errorText()))
        .stores.push_back(entry.name);
  };
  if (file.size() < sizeof(FileHeader) + sizeof(SnapshotFooter)) {
    return wrong(DamageKind::Index, file.size(), 0, "footer");
  }
  SnapshotFooter footer{};
  const std::uint64_t footerAt = file.size() - sizeof(footer);
  const auto footerBytes = file.at(footerAt, sizeof(footer));
  if (footerBytes.size() == sizeof(footer)) {
    std::memcpy(&footer, footerBytes.data(), sizeof(footer));
  }
  const auto sum =
      hash64({reinterpret_cast<const char*>(&footer), offsetof(SnapshotFooter, checksum)});
  // The journal lists the footer by its checksum: with that, all that it says is what was written.
  if (footer.checksum != sum || sum != snapshot.hash) {
    return wrong(DamageKind::Index, footerAt, sizeof(footer), "footer");
  }
  const std::string index(file.at(footer.indexOffset, footer.indexBytes));
  if (index.size() != footer.indexBytes || hash64(index) != footer.indexHash) {
    return wrong(DamageKind::Index, footer.indexOffset, footer.indexBytes, "index");
  }
  ByteReader in(index);
  while (in.ok() && !in.atEnd()) {
    const BlockRef ref = takeBlockRef(in);
    ++report.blocks;
    if (!isBlock(file.at(ref.offset, ref.length), ref, snapshot.file)) {
      wrong(DamageKind::Block, ref.offset, ref.length, "block");
    }
  }
}

void DirectoryScan::readIdentity() {
  const std::string name = directory_ + "/JOURNAL";
  const auto file = environment_.files->open(name, OpenMode::Read);
  if (file.error == ENOENT) {
    report.notices.push_back(name + ": is missing; the next opening writes it");
    return;
  }
  std::string text(512, '\0');
  const auto got = file.ok() ? file.value->read(0, std::as_writable_bytes(std::span(text)))
                             : IoResult<std::size_t>{0, file.error};
  text.resize(got.ok() ? got.value : 0);
  const std::string expected = fmt::format("penstock journal {} format ", id.text());
  if (text.starts_with(expected)) return;
  damaged(DamageKind::File, name, 0, text.size(), 0,
          fmt::format("{}: does not say that this is journal {}. If files of two directories are "
                      "mixed, no more than one has to be here; if only this one is damaged, "
                      "remove it, and the next opening writes it anew",
                      name, id.text()))
      .refusesDirectory = text.starts_with("penstock journal ");
}

void DirectoryScan::lookForLeftovers() {
  std::set<std::string> wanted{fileName(active.end.number, FileKind::Segment)};
  const auto want = [&](std::uint64_t number, FileKind kind) {
    wanted.insert(fileName(number, kind));
  };
  for (const SealedFile& file : catalog.sealed) {
    want(file.number, kindOf(file));
    for (const std::uint64_t blob : file.blobs) want(blob, FileKind::Blob);
  }
  for (const std::uint64_t blob : active.index.blobs()) want(blob, FileKind::Blob);
  for (const auto& [store, entry] : catalog.stores) {
    if (entry.snapshot.file != 0) want(entry.snapshot.file, entry.snapshot.kind);
  }
  for (const std::string& name : names_) {
    const bool unfinished = name.ends_with(temporarySuffix);
    const std::string finished =
        unfinished ? name.substr(0, name.size() - temporarySuffix.size()) : name;
    const bool ours = isDurableFile(finished) || (unfinished && finished == "JOURNAL");
    if (ours && !wanted.contains(name)) report.leftovers.push_back(directory_ + "/" + name);
  }
}

// Stores

std::optional<std::string> DirectoryScan::sectionBytes(const SegmentIndex& index, std::uint32_t at,
                                                       std::uint64_t number, FileKind kind) {
  std::string whole;
  std::unique_ptr<ScannedFile> file;
  for (std::size_t i = at;; ++i) {
    const SectionRef& piece = index.refs()[i];
    if (!file) file = piece.blob != 0 ? open(piece.blob, FileKind::Blob) : open(number, kind);
    if (!file) return std::nullopt;
    const auto bytes = file->at(piece.offset, piece.length);
    if (bytes.size() != piece.length || hash64(bytes) != piece.hash) return std::nullopt;
    whole += bytes;
    if ((piece.flags & sectionMore) == 0) return whole;
  }
}

AssembledStore DirectoryScan::assemble(std::uint32_t store) {
  const StoreEntry& entry = catalog.stores.at(store);
  const SnapshotEntry& snapshot = entry.snapshot;
  AssembledStore assembled;
  std::uint64_t covers = 0;
  std::uint64_t begun = 0;  // the base may have a part of the changes up to here
  std::shared_ptr<const StoreBase> base;
  bool known = snapshot.file == 0;
  if (snapshot.file != 0 && !badSnapshots.contains(store)) {
    try {
      auto opened = openBase(store, snapshot);
      database::Extent extent{snapshot.covers, snapshot.covers};
      if (snapshot.kind == FileKind::Database) extent = database::extentOf(*opened);
      covers = extent.whole;
      begun = extent.begun;
      base = std::move(opened);
      known = true;
    } catch (const IoError&) {  // a file that is missing, or cleaned away meanwhile
    } catch (const Error&) {
      badSnapshots.insert(store);
    }
  }
  if (!known) {
    // Without its snapshot the store is what its changes make, if none of them was cleaned away:
    // all segments since it was declared are there, none of them an archive.
    const auto at = declared.find(store);
    std::uint64_t unbroken = active.end.firstSequence;
    for (auto scan = sealed.rbegin(); scan != sealed.rend(); ++scan) {
      if (scan->listed.archive || scan->listed.lastSequence + 1 != unbroken) break;
      unbroken = scan->listed.firstSequence;
    }
    known = at != declared.end() && at->second >= unbroken;
  }
  bool fromBase = false;
  const auto fresh = [&] {
    fromBase = base != nullptr;
    return std::make_shared<StoreState>(StoreId{store}, entry.name, std::exchange(base, {}));
  };
  if (known) assembled.state = fresh();
  std::shared_ptr<StoreState> ended;  // what was known before a change that is lost
  const auto lose = [&](std::uint64_t sequence) {
    if (sequence <= covers || !assembled.state) return;
    const bool oneMoment = !fromBase || sequence > begun;
    if (!ended && oneMoment) {
      assembled.endsAt = sequence - 1;
      ended = assembled.state;
    }
    assembled.state.reset();
  };
  const auto replay = [&](const SegmentIndex& index, std::uint64_t number, FileKind kind,
                          const std::vector<SealedScan::Gap>& gaps) {
    auto gap = gaps.begin();
    const auto* sections = index.store(store);
    if (sections != nullptr) {
      for (const std::uint32_t at : *sections) {
        const std::uint64_t sequence = index.refs()[at].sequence;
        for (; gap != gaps.end() && gap->first < sequence; ++gap) {
          lose(std::max(gap->first, std::min(gap->last, covers + 1)));
        }
        if (sequence <= covers) continue;
        const auto bytes = sectionBytes(index, at, number, kind);
        bool cleared = false;
        const bool changes =
            bytes && forEachChange(*bytes, [&](StoreOp op, std::string_view, std::string_view) {
              cleared = cleared || op == StoreOp::Clear;
            });
        if (!changes) {
          lose(sequence);
          continue;
        }
        // A cleared store owes nothing to what was before.
        if (!assembled.state && cleared) assembled.state = fresh();
        if (!assembled.state) continue;
        if (!assembled.state->apply(*bytes)) lose(sequence);
      }
    }
    for (; gap != gaps.end(); ++gap) lose(std::max(gap->first, std::min(gap->last, covers + 1)));
  };
  for (const SealedScan& scan : sealed) {
    const auto& stores = scan.listed.stores;
    if (scan.listed.lastSequence <= covers ||
        std::find(stores.begin(), stores.end(), store) == stores.end()) {
      continue;
    }
    replay(scan.index, scan.listed.number, kindOf(scan.listed), scan.gaps);
  }
  replay(active.index, active.end.number, FileKind::Segment, {});
  assembled.whole = assembled.state != nullptr;
  if (!assembled.whole) assembled.state = ended;
  return assembled;
}

}  // namespace penstock::state
