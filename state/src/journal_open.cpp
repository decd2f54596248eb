// SPDX-License-Identifier: Apache-2.0
// Opening: who may, creation, recovery, joining others, closing.
//
// Recovery of the newest segment, X being the sequence expected at the first invalid frame:
//   zeros to the end of the file                          normal end
//   a later valid frame says that X was synced            Corruption: refuse, change nothing
//   otherwise                                             torn tail: copied to *.torn-X, cut off
// Older segments are not read here: their damage is found when what they hold is needed. A
// listed file that is missing or too short is Corruption.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <limits>
#include <set>
#include <thread>

#include "append_lock.h"
#include "database.h"
#include "file_names.h"
#include "heap_page.h"
#include "io_errors.h"
#include "journal_core.h"
#include "planted.h"
#include "segment_build.h"

namespace penstock::state {

namespace {

std::string hostName() {
  std::array<char, 256> host{};
  (void)::gethostname(host.data(), host.size() - 1);
  return host.data();
}

/// Whether PRESENCE does not name who holds it: that one has not written it yet, and what stands
/// there is nothing, or a process of before that was killed. Of those that share, any may be gone.
bool unnamed(const std::string& holder) {
  long pid = 0;
  std::array<char, 256> host{};
  if (holder.empty()) return true;
  if (holder.find("(exclusive)") == std::string::npos) return false;
  return std::sscanf(holder.c_str(), "pid %ld on %255s", &pid, host.data()) == 2 &&
         hostName() == host.data() &&
         (pid == ::getpid() || (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH));
}

}  // namespace

JournalCore::JournalCore(std::string directory, const JournalOptions& options,
                         const Environment& environment)
    : directory_(std::move(directory)), options_(options), environment_(environment) {
  const auto check = [&](const char* name, auto value, auto least, auto most, const char* unit) {
    if (value >= least && value <= most) return;
    throw ConfigurationError(fmt::format("{}: {} is {} {}; it may be {} to {}", directory_, name,
                                         value, unit, least, most));
  };
  constexpr std::uint64_t bytesMin = 4096;  // of a segment: room for its base frame
  constexpr std::uint64_t bytesMax = std::uint64_t{1} << 36;
  constexpr std::uint64_t noBound = std::numeric_limits<std::uint64_t>::max();
  constexpr std::int64_t dayMs = 86'400'000;  // arbitrary; more is a slip, and far from overflow
  check("segmentBytes", options_.segmentBytes, bytesMin, bytesMax, "bytes");
  check("snapshotAfterBytes", options_.snapshotAfterBytes, bytesMin, noBound, "bytes");
  check("blobBytes", options_.blobBytes, std::uint64_t{1}, noBound, "bytes");
  check("commitBytesMax", options_.commitBytesMax, bytesMin, noBound, "bytes");
  check("unsyncedBytesMax", options_.unsyncedBytesMax, bytesMin, noBound, "bytes");
  check("syncInterval", std::int64_t{options_.syncInterval.count()}, std::int64_t{0}, dayMs, "ms");
  check("openTimeout", std::int64_t{options_.openTimeout.count()}, std::int64_t{0}, dayMs, "ms");
}

JournalCore::~JournalCore() { close(); }

std::string JournalCore::segmentPath(std::uint64_t number) const {
  return filePath(number, FileKind::Segment);
}

std::string JournalCore::filePath(std::uint64_t number, FileKind kind) const {
  return path(fileName(number, kind));
}

/// Without a journal, whatever has one of its names is somebody else's: nothing of it may be
/// written to. With one it is the journal's, whatever a power cut made of it.
void JournalCore::refuseForeignFiles() {
  const auto names = files().list(directory_);
  throwUnlessOk(names, "listing", directory_);
  for (const std::string& name : names.value) {
    if (fileNumber(name, FileKind::Segment)) return;
  }
  const auto check = [&](const char* name, std::string_view begins) {
    const auto info = files().info(path(name));
    throwUnlessOk(info, "looking at", path(name));
    if (!info.value.exists) return;
    std::string text;
    if (!info.value.directory) {
      auto file = files().open(path(name), OpenMode::Read);
      throwUnlessOk(file, "opening", path(name));
      text = readSmall(*file.value);
      if (text.empty() || (!begins.empty() && text.starts_with(begins))) return;
      // A page that a creation left behind: its bytes are of no use to anybody.
      if (std::string_view(name) == "PAGE" && info.value.size == SharedPage::kSize) return;
    }
    throw ConfigurationError(fmt::format(
        "{}: is not Penstock's, though a state directory has a file of this name{}; choose "
        "another directory, or move it away",
        path(name), text.empty() ? "" : fmt::format(" (it begins {:?})", text.substr(0, 40))));
  };
  check("PRESENCE", "pid ");
  check("APPEND", "");
  check("PAGE", "");
  check("CLEANER", "");
  check("JOURNAL", "penstock journal ");
}

void JournalCore::writePresence(const char* mode) {
  const std::string text = fmt::format("pid {} on {} ({})\n", ::getpid(), hostName(), mode);
  (void)presence_->truncate(0);
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
  (void)presence_->write(0, pieces);  // for people; the lock is what counts
}

void JournalCore::open() {
  failedWithoutMemory_ =
      std::make_exception_ptr(JournalFailed(
          directory_ + ": failed earlier, and there is no memory to say why; nothing more is "
                       "accepted. Close every handle and open again"));
  const auto info = files().info(directory_);
  throwUnlessOk(info, "looking at the state directory", directory_);
  if (!info.value.networkKind.empty() && !options_.allowNetworkFileSystem) {
    throw ConfigurationError(fmt::format(
        "{}: is on a network file system ({}), where locks and syncs cannot be relied on; choose "
        "a local directory, or set allowNetworkFileSystem",
        directory_, info.value.networkKind));
  }
  if (!info.value.layeredKind.empty()) {
    warnings_.push_back(fmt::format(
        "{}: is on {}, and what survives a power cut is up to the file system below it; a "
        "directory of a local file system (a volume, in a container) is safe",
        directory_, info.value.layeredKind));
  }
  refuseForeignFiles();
  auto presence = files().open(path("PRESENCE"), OpenMode::ReadWriteCreate);
  throwUnlessOk(presence, "opening", path("PRESENCE"));
  presence_ = std::move(presence.value);
  if (shared()) {
    auto append = files().open(path("APPEND"), OpenMode::ReadWriteCreate);
    throwUnlessOk(append, "opening", path("APPEND"));
    appendFile_ = std::move(append.value);
    auto mapped = files().mapShared(path("PAGE"));
    throwUnlessOk(mapped, "mapping", path("PAGE"));
    page_ = std::move(mapped.value);
  } else {
    page_ = std::make_shared<HeapPage>();
  }
  lockPresence();
  activeSinceUs_ = environment_.clock->monotonicUs();
  opened_ = true;
}

void JournalCore::lockPresence() {
  const auto deadline = std::chrono::steady_clock::now() + options_.openTimeout;
  const std::uint64_t boot = hash64(files().bootId());
  int exclusiveSeen = 0;
  for (;;) {
    const auto alone = presence_->tryLock(LockKind::Exclusive);
    throwUnlessOk(alone, "locking", path("PRESENCE"));
    if (alone.value) {
      if (shared()) {
        throwUnlessOk(appendFile_->lock(LockKind::Exclusive), "locking", path("APPEND"));
      }
      page().bootHash.store(0);  // nobody joins a recovery that did not end
      if (!shared()) forgetPage();
      const char* mode = shared() ? "shared" : "exclusive";
      bool others = false;
      const auto segments = listSegments(others);
      if (segments.empty()) {
        create();
        writePresence(mode);  // not before: refuseForeignFiles
      } else {
        writePresence(mode);
        recover(segments.back());
      }
      page().bootHash.store(boot);
      if (!shared()) return;
      const auto kept = presence_->tryLock(LockKind::Shared);
      (void)appendFile_->unlock();
      throwUnlessOk(kept, "locking", path("PRESENCE"));
      // flock converts by letting go: somebody else may have come in between, and even have gone
      // again; who shares has to wait for APPEND, who does not has reset the hash.
      if (kept.value && page().bootHash.load() == boot) return;
      tail_ = Tail{};
      catalog_ = Catalog{};
      active_ = SegmentIndex{};
      openFiles_.clear();
      continue;
    }
    const std::string holder = readSmall(*presence_);
    if (!shared() && unnamed(holder) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      continue;
    }
    if (!shared() || heldExclusively(holder, exclusiveSeen)) {
      throw OwnedElsewhere(fmt::format(
          "{}: is in use by {}; end that process, or open the directory as shared in both",
          directory_, holder.empty() ? "another process" : holder));
    }
    const auto joined = presence_->tryLock(LockKind::Shared);
    throwUnlessOk(joined, "locking", path("PRESENCE"));
    if (joined.value) {
      if (page().bootHash.load() == boot) {
        join();
        writePresence("shared");
        return;
      }
      (void)presence_->unlock();
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      throw OwnedElsewhere(fmt::format("{}: {} has been recovering it for {} ms; try again later",
                                       directory_, holder, options_.openTimeout.count()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// What sharing processes of before left there is not true any more once we write.
void JournalCore::forgetPage() {
  const std::string name = path("PAGE");
  const auto info = files().info(name);
  throwUnlessOk(info, "looking at", name);
  if (!info.value.exists) return;
  const auto mapped = files().mapShared(name);
  throwUnlessOk(mapped, "mapping", name);
  reinterpret_cast<JournalPage*>(mapped.value->data())->bootHash.store(0);
}

/// Whether the holder is one that does not share. Its text is written only after its lock is
/// taken: until then that of a dead one stands there, so it has to be seen a few times.
bool JournalCore::heldExclusively(const std::string& holder, int& seen) const {
  constexpr int enough = 10;  // arbitrary; 20 ms
  if (holder.find("(exclusive)") == std::string::npos) {
    seen = 0;
    return false;
  }
  return ++seen >= enough;
}

std::vector<std::uint64_t> JournalCore::listSegments(bool& others) {
  const auto names = files().list(directory_);
  throwUnlessOk(names, "listing", directory_);
  std::vector<std::uint64_t> segments;
  others = false;
  for (const std::string& name : names.value) {
    if (const auto number = fileNumber(name, FileKind::Segment)) {
      segments.push_back(*number);
    } else if (name == "JOURNAL" || isDurableFile(name)) {
      others = true;
    }
  }
  std::sort(segments.begin(), segments.end());
  if (segments.empty() && others) {
    throw Corruption(directory_, 0,
                     directory_ +
                         ": holds parts of a journal but not its segments (segment-*.log); "
                         "they were removed");
  }
  return segments;
}

std::shared_ptr<File> JournalCore::writeSegment(const std::string& name, std::uint64_t number,
                                                std::uint64_t sequence,
                                                std::uint64_t previousChecksum,
                                                const Catalog& catalog, std::uint64_t syncedUpTo,
                                                Tail& next) {
  (void)files().remove(name);
  auto file = files().open(name, OpenMode::CreateNew);
  throwUnlessOk(file, "creating", name);
  const std::int64_t now = environment_.clock->wallMs();
  const SegmentStart start =
      encodeSegmentStart(id_, number, sequence, previousChecksum, catalog, syncedUpTo, now);
  const std::string& bytes = start.bytes;
  const std::uint64_t wanted = padded(bytes.size()) + (std::uint64_t{1} << 20);
  const auto reserved = file.value->allocate(wanted);
  try {
    if (!reserved.ok() && reserved.error != EOPNOTSUPP) {
      throwIoError(reserved.error, "reserving space in", name);
    }
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(bytes)};
    throwUnlessOk(file.value->write(0, pieces), "writing", name);
  } catch (const Error&) {
    (void)files().remove(name);
    throw;
  }
  if (const auto status = file.value->sync(); !status.ok()) {
    poison(status.error);
    throwPoisoned();
  }
  next = Tail{};
  next.segment = number;
  next.end = bytes.size();
  next.sequence = sequence;
  next.lastChecksum = start.checksum;
  next.allocated = reserved.ok() ? wanted : bytes.size();
  next.writebackAt = next.end;
  next.lastKind = FrameKind::Base;
  next.file = std::shared_ptr<File>(std::move(file.value));
  return next.file;
}

void JournalCore::create() {
  id_.low = environment_.random->next();
  id_.high = environment_.random->next();
  idText_ = id_.text();
  catalog_ = Catalog{};
  catalog_.epochs.push_back({environment_.random->next(), 1});
  const std::string finalName = segmentPath(1);
  const std::string temporary = finalName + ".tmp";
  Tail first;
  (void)writeSegment(temporary, 1, 1, 0, catalog_, 0, first);
  throwUnlessOk(files().rename(temporary, finalName), "renaming", temporary);
  throwUnlessOk(files().syncDirectory(directory_), "syncing", directory_);
  tail_ = std::move(first);
  activeSegment_ = 1;
  activeFirst_ = 1;
  activeLast_ = 1;
  publishRecovered();
  writeIdentity();
}

/// The newest segment says which journal it is: one of another directory would be taken for it.
void JournalCore::checkIdentity(const std::string& segment) {
  const std::string name = path("JOURNAL");
  const auto file = files().open(name, OpenMode::Read);
  if (file.error == ENOENT) return;  // written anew
  throwUnlessOk(file, "opening", name);
  const std::string text = readSmall(*file.value);
  const std::string begins = "penstock journal ";
  if (!text.starts_with(begins) || text.starts_with(begins + idText_ + ' ')) return;
  throw Corruption(name, 0,
                   fmt::format("{}: says '{}', but {} is of journal {}: files of two directories "
                               "are mixed",
                               name, text, segment, idText_));
}

/// JOURNAL exists from the moment that segments do: a directory that has it but no segment is
/// one whose segments somebody removed.
void JournalCore::writeIdentity() {
  const std::string name = path("JOURNAL");
  const auto info = files().info(name);
  throwUnlessOk(info, "looking at", name);
  if (info.value.exists) return;
  auto file = files().open(name + ".tmp", OpenMode::ReadWriteCreate);
  throwUnlessOk(file, "creating", name);
  const std::string text = fmt::format("penstock journal {} format {}\n", idText_, formatVersion);
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
  throwUnlessOk(file.value->write(0, pieces), "writing", name);
  throwUnlessOk(file.value->sync(), "syncing", name);
  throwUnlessOk(files().rename(name + ".tmp", name), "renaming", name);
  throwUnlessOk(files().syncDirectory(directory_), "syncing", directory_);
}

void JournalCore::publishRecovered() {
  openFiles_.keep(tail_.segment, tail_.file);
  JournalPage& shared = page();
  shared.epochDue.store(0);
  shared.journalLow.store(id_.low);
  shared.poisoned.store(0);
  shared.synced.store(tail_.sequence);
  shared.waiters.store(0);
  publish();
}

void JournalCore::recover(std::uint64_t newest) {
  const std::string name = segmentPath(newest);
  auto opened = files().open(name, OpenMode::ReadWrite);
  throwUnlessOk(opened, "opening", name);
  std::shared_ptr<File> file(std::move(opened.value));
  // R2: what is read below is what the disk holds, or it was never there.
  if (!planted(Planted::NotMadeDurable)) {
    throwUnlessOk(file->sync(), "syncing before recovery", name);
    (void)file->dropCache(0, 0);
  }
  const auto size = file->size();
  throwUnlessOk(size, "reading the size of", name);
  const auto bytes = std::make_unique_for_overwrite<char[]>(size.value);
  const auto got = file->read(0, std::as_writable_bytes(std::span(bytes.get(), size.value)));
  throwUnlessOk(got, "reading", name);
  const std::string_view content(bytes.get(), got.value);
  const FileHeader header = readFileHeader(content, name, FileKind::Segment);
  id_ = {header.journalLow, header.journalHigh};
  idText_ = id_.text();
  checkFileHeader(content, name, FileKind::Segment, id_, newest);
  checkIdentity(name);

  catalog_ = Catalog{};
  active_ = SegmentIndex{};
  activeSegment_ = newest;
  activeFirst_ = header.firstSequence;
  tail_ = Tail{};
  tail_.segment = newest;
  tail_.end = sizeof(FileHeader);
  tail_.sequence = header.firstSequence - 1;
  tail_.file = file;
  const bool damaged = !takeFramesFrom(content, name);
  if (tail_.lastKind == FrameKind::Commit && tail_.end == sizeof(FileHeader)) {
    throw Corruption(name, tail_.end,
                     fmt::format("{}: the base frame at offset {} (sequence {}) is damaged; every "
                                 "store and log of the directory depends on it",
                                 name, tail_.end, header.firstSequence));
  }
  const std::uint64_t end = tail_.end;
  const std::uint64_t expected = tail_.sequence + 1;
  const bool clean = !damaged && tail_.lastKind == FrameKind::Close;
  if (damaged) {
    const std::string_view tail = content.substr(end);
    const std::size_t used = usedLength(tail);
    if (const auto proof = proofOfSync(content, end + 8, expected)) {
      throw Corruption(
          name, end,
          fmt::format("{}: the frame at offset {} (sequence {}) is damaged, and the frame at "
                      "offset {} says it was on disk: this is no torn write. Cutting here would "
                      "lose {} bytes of acknowledged data",
                      name, end, expected, *proof, used));
    }
    if (SegmentIndex::decodeFooter(tail, id_.low, newest, end)) {
      // It is written once the next segment is on disk.
      const std::string missing = segmentPath(newest + 1);
      throw Corruption(missing, 0,
                       fmt::format("{}: is missing: {} was sealed, so there was a later segment. "
                                   "What it held, from frame {} on, was acknowledged",
                                   missing, name, expected));
    }
    setTornAside(name, tail.substr(0, used), expected);
  }
  checkListedFiles();
  if (!clean && !planted(Planted::NotMadeDurable)) {
    // R2: rewrite what is trusted, so that it does not rest on pages of unknown history.
    const std::string temporary = name + ".tmp";
    (void)files().remove(temporary);
    auto copy = files().open(temporary, OpenMode::CreateNew);
    throwUnlessOk(copy, "creating", temporary);
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(content.substr(0, end))};
    try {
      throwUnlessOk(copy.value->write(0, pieces), "writing", temporary);
      throwUnlessOk(copy.value->sync(), "syncing", temporary);
      throwUnlessOk(files().rename(temporary, name), "renaming", temporary);
    } catch (const Error&) {
      (void)files().remove(temporary);
      throw;
    }
    throwUnlessOk(files().syncDirectory(directory_), "syncing", directory_);
    tail_.file = std::shared_ptr<File>(std::move(copy.value));
    tail_.allocated = end;
  } else {
    tail_.allocated = size.value;
  }
  tail_.writebackAt = end;
  publishRecovered();
  if (clean) {
    page().epochDue.store(1);  // with the first commit: who only looks leaves no trace
  } else {
    std::string changes;
    Catalog::newEpoch(changes, environment_.random->next());
    (void)appendCatalog(changes, Space::Reserved);
    if (const auto status = tail_.file->sync(); !status.ok()) {
      poison(status.error);
      throwPoisoned();
    }
    page().synced.store(tail_.sequence);
  }
  unsyncedBytes_ = 0;
  removeLeftovers();
  writeIdentity();
}

bool JournalCore::takeFramesFrom(std::string_view content, const std::string& name) {
  std::vector<std::string_view> bodies;
  while (tail_.end < content.size()) {
    FrameView frame;
    const std::string_view rest = content.substr(tail_.end);
    const bool first = tail_.end == sizeof(FileHeader);
    const bool valid =
        parseFrame(rest, {id_, tail_.segment, tail_.end}, frame) == FrameCheck::Valid &&
        frame.header.frameBytes <= rest.size() && first == (frame.header.kind == FrameKind::Base);
    if (planted(Planted::BadFrameSkipped) && !valid && !first) {
      tail_.end += 8;
      continue;
    }
    const bool next = valid && frame.header.sequence == tail_.sequence + 1 &&
                      (first || frame.header.previousChecksum == tail_.lastChecksum);
    const bool anyOrder = planted(Planted::OrderNotChecked) || planted(Planted::BadFrameSkipped);
    if (!valid || (!next && !anyOrder)) break;
    bodies.clear();
    std::uint64_t at = frame.bodyOffset;
    bool whole = true;
    for (const SectionEntry& entry : frame.sections) {
      if ((entry.flags & sectionExternal) != 0) {
        bodies.emplace_back();
        continue;
      }
      bodies.push_back(content.substr(at, entry.length));
      whole =
          whole && (hash64(bodies.back()) == entry.hash || planted(Planted::ChecksumNotChecked));
      at += entry.length;
    }
    if (!whole && planted(Planted::BadFrameSkipped)) {
      tail_.end += frame.header.frameBytes;
      continue;
    }
    if (!whole) break;
    applyFrame(frame, bodies, nullptr, name);
    tail_.end += frame.header.frameBytes;
    tail_.sequence = frame.header.sequence;
    tail_.lastChecksum = frame.header.checksum;
    tail_.lastKind = frame.header.kind;
  }
  return usedLength(content.substr(tail_.end)) == 0;
}

std::optional<std::uint64_t> JournalCore::proofOfSync(std::string_view content, std::uint64_t from,
                                                      std::uint64_t sequence) const {
  FrameView frame;
  for (std::uint64_t at = padded(from); at + sizeof(FrameHeader) <= content.size(); at += 8) {
    std::uint32_t magic = 0;
    std::memcpy(&magic, content.data() + at, sizeof(magic));
    if (magic == frameMagic &&
        parseFrame(content.substr(at), {id_, tail_.segment, at}, frame) == FrameCheck::Valid &&
        frame.header.sequence > sequence && frame.header.syncedUpTo >= sequence) {
      return at;
    }
  }
  return std::nullopt;
}

bool JournalCore::holds(const std::string& name, std::string_view bytes) const {
  auto file = files().open(name, OpenMode::Read);
  if (!file.ok()) return false;
  std::string content(bytes.size() + 1, '\0');
  const auto got = file.value->read(0, std::as_writable_bytes(std::span(content)));
  return got.ok() && got.value == bytes.size() && content.compare(0, bytes.size(), bytes) == 0 &&
         file.value->sync().ok();
}

void JournalCore::setTornAside(const std::string& name, std::string_view tail,
                               std::uint64_t sequence) {
  std::string aside = fmt::format("{}.torn-{}", name, sequence);
  bool kept = false;  // by an attempt that failed later
  for (int i = 2; files().info(aside).value.exists && !kept; ++i) {
    kept = holds(aside, tail);
    if (!kept) aside = fmt::format("{}.torn-{}-{}", name, sequence, i);
  }
  if (!kept) {
    auto file = files().open(aside, OpenMode::CreateNew);
    throwUnlessOk(file, "keeping the torn tail as", aside);
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(tail)};
    if (const auto status = file.value->write(0, pieces); !status.ok()) {
      (void)files().remove(aside);
      throwIoError(status.error, "keeping the torn tail as", aside);
    }
    throwUnlessOk(file.value->sync(), "syncing", aside);
    throwUnlessOk(files().syncDirectory(directory_), "syncing", directory_);
  }
  ++counters_.tornTails;
  counters_.tornBytes += tail.size();
  if (!opened_) {
    warnings_.push_back(fmt::format(
        "{}: a torn tail of {} bytes was cut off: writes that were under way at a crash, none of "
        "them acknowledged as synced; its bytes are kept in {}",
        directory_, tail.size(), aside));
  }
}

void JournalCore::checkListedFiles() {
  const auto check = [&](std::uint64_t number, FileKind kind, std::uint64_t bytes, bool exact) {
    const std::string name = filePath(number, kind);
    const auto info = files().info(name);
    throwUnlessOk(info, "looking at", name);
    if (!info.value.exists) {
      throw Corruption(name, 0,
                       name +
                           ": is missing, but the journal lists it. Somebody removed it, or the "
                           "directory was copied while in use");
    }
    if (info.value.size < bytes || (exact && info.value.size != bytes)) {
      throw Corruption(
          name, info.value.size,
          fmt::format("{}: has {} bytes, but the journal lists {}", name, info.value.size, bytes));
    }
  };
  for (const SealedFile& file : catalog_.sealed) {
    check(file.number, file.archive ? FileKind::Archive : FileKind::Segment, file.endOffset, false);
    for (const std::uint64_t blob : file.blobs) check(blob, FileKind::Blob, 0, false);
  }
  for (const std::uint64_t blob : active_.blobs()) check(blob, FileKind::Blob, 0, false);
  for (const auto& [id, store] : catalog_.stores) {
    if (store.snapshot.file == 0) continue;
    check(store.snapshot.file, store.snapshot.kind, store.snapshot.bytes,
          store.snapshot.kind == FileKind::Snapshot);
    if (store.snapshot.covers > tail_.sequence) {
      throw Corruption(filePath(store.snapshot.file, store.snapshot.kind), 0,
                       fmt::format("store '{}': its snapshot reaches frame {}, the journal ends at "
                                   "frame {}; the directory was put together from different times",
                                   store.name, store.snapshot.covers, tail_.sequence));
    }
  }
}

void JournalCore::removeLeftovers() {
  std::set<std::string> wanted;
  for (const SealedFile& file : catalog_.sealed) {
    wanted.insert(filePath(file.number, file.archive ? FileKind::Archive : FileKind::Segment));
    for (const std::uint64_t blob : file.blobs) wanted.insert(filePath(blob, FileKind::Blob));
  }
  for (const std::uint64_t blob : active_.blobs()) wanted.insert(filePath(blob, FileKind::Blob));
  for (const auto& [id, store] : catalog_.stores) {
    if (store.snapshot.file != 0) {
      wanted.insert(filePath(store.snapshot.file, store.snapshot.kind));
    }
  }
  wanted.insert(segmentPath(tail_.segment));
  const auto names = files().list(directory_);
  if (!names.ok()) return;
  for (const std::string& name : names.value) {
    const bool unfinished = name.ends_with(temporarySuffix);
    const std::string finished =
        unfinished ? name.substr(0, name.size() - temporarySuffix.size()) : name;
    const bool ours = isDurableFile(finished) || (unfinished && finished == "JOURNAL");
    if (!ours || wanted.contains(path(name))) continue;
    if (fileNumber(name, FileKind::Database)) {
      database::remove(path(name));
    } else {
      (void)files().remove(path(name));
    }
  }
}

void JournalCore::join() {
  throwUnlessOk(appendFile_->lock(LockKind::Exclusive), "locking", path("APPEND"));
  struct Unlock {
    File* file;
    ~Unlock() { (void)file->unlock(); }
  } unlock{appendFile_.get()};
  if (page().poisoned.load() != 0) throwPoisoned();
  beginAt(page().end.load());
  if (page().writing.load() != 0) adoptUnpublished();
  vouch();
}

/// Reads the newest segment from its start, as one who knows nothing.
void JournalCore::beginAt(std::uint64_t packedEnd) {
  const std::uint64_t newest = packedSegment(packedEnd);
  const std::string name = segmentPath(newest);
  auto opened = files().open(name, OpenMode::ReadWrite);
  throwUnlessOk(opened, "opening", name);
  std::array<char, sizeof(FileHeader) + sizeof(FrameHeader)> head{};
  const auto got = opened.value->read(0, std::as_writable_bytes(std::span(head)));
  throwUnlessOk(got, "reading", name);
  const auto size = opened.value->size();
  throwUnlessOk(size, "reading the size of", name);
  const FileHeader header = readFileHeader({head.data(), got.value}, name, FileKind::Segment);
  if (idText_.empty()) {
    id_ = {header.journalLow, header.journalHigh};
    idText_ = id_.text();
  }
  checkFileHeader({head.data(), got.value}, name, FileKind::Segment, id_, newest);
  FrameHeader base{};
  std::memcpy(&base, head.data() + sizeof(FileHeader), sizeof(base));
  tail_ = Tail{};
  tail_.segment = newest;
  tail_.end = sizeof(FileHeader);
  tail_.sequence = header.firstSequence - 1;
  tail_.lastChecksum = base.previousChecksum;
  tail_.vouched = false;
  tail_.allocated = size.value;
  tail_.file = std::shared_ptr<File>(std::move(opened.value));
  activeFirst_ = header.firstSequence;
  activeLast_ = 0;
  openFiles_.keep(newest, tail_.file);
  followFrames(packedEnd);
  tail_.writebackAt = tail_.end;
}

std::uint64_t JournalCore::sealedEnd(File& next, std::uint64_t segment) {
  const std::string name = segmentPath(segment + 1);
  const auto size = next.size();
  throwUnlessOk(size, "reading the size of", name);
  FileWindow window(next, size.value, name);
  FrameHeader header{};
  const auto head = window.at(sizeof(FileHeader), sizeof(header));
  if (head.size() == sizeof(header)) std::memcpy(&header, head.data(), sizeof(header));
  FrameView frame;
  const auto bytes = window.at(sizeof(FileHeader), header.frameBytes);
  Catalog catalog;
  if (header.magic == frameMagic &&
      parseFrame(bytes, {id_, segment + 1, sizeof(FileHeader)}, frame) == FrameCheck::Valid &&
      bytes.size() == frame.header.frameBytes) {
    std::uint64_t length = 0;
    for (const SectionEntry& entry : frame.sections) length += entry.length;
    if (catalog.decode(bytes.substr(frame.bodyOffset - sizeof(FileHeader), length))) {
      for (const SealedFile& file : catalog.sealed) {
        if (file.number == segment) return file.endOffset;
      }
    }
  }
  throw Corruption(
      name, sizeof(FileHeader),
      fmt::format("{}: its base frame does not say where segment {} ends", name, segment));
}

void JournalCore::enterSegment(std::uint64_t number, std::shared_ptr<File> file) {
  const std::string name = segmentPath(number);
  const auto size = file->size();
  throwUnlessOk(size, "reading the size of", name);
  FileWindow window(*file, size.value, name);
  checkFileHeader(window.at(0, sizeof(FileHeader)), name, FileKind::Segment, id_, number);
  openFiles_.keep(number, file);
  const Tail before = tail_;
  tail_.segment = number;
  tail_.end = sizeof(FileHeader);
  tail_.file = std::move(file);
  tail_.vouched = false;
  tail_.writebackAt = 0;
  tail_.allocated = size.value;
  try {
    if (!takeFrame(window, name)) {
      throw Corruption(name, sizeof(FileHeader), name + ": its base frame cannot be read");
    }
  } catch (...) {
    tail_ = before;
    throw;
  }
  activeFirst_ = tail_.sequence;
}

SealedFile JournalCore::describeActive() const {
  return describeSegment(
      active_, {tail_.segment, activeFirst_, tail_.sequence, tail_.end, tail_.lastChecksum});
}

void JournalCore::startThread() {
  lastFrameUs_ = lastSyncUs_ = environment_.clock->monotonicUs();
  if (!environment_.threads) return;
  thread_ = std::thread([this] { runThread(); });
  cleanThread_ = std::thread([this] { runCleaner(); });
}

void JournalCore::close() noexcept {
  {
    const std::lock_guard guard(queueMutex_);
    stopping_ = true;
  }
  queueWake_.notify_all();
  cleanWake_.notify_all();
  cleaned_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (cleanThread_.joinable()) cleanThread_.join();
  for (const auto& [id, store] : stores_) database::leaveNothingOut(store->base().get());
  if (!opened_) return;
  try {
    runQueue();
    syncTo(written());
    bool last = true;
    if (shared()) {
      const auto alone = presence_->tryLock(LockKind::Exclusive);
      last = alone.ok() && alone.value;
    }
    if (last) {
      if (shared()) page().bootHash.store(0);
      writeMark(FrameKind::Close);
      syncTo(written());
      (void)presence_->truncate(0);  // the next holder is not taken for this process
    }
  } catch (...) {
    // What a failed close leaves is what a crash leaves: the next open recovers it.
  }
  opened_ = false;
}

}  // namespace penstock::state
