// SPDX-License-Identifier: Apache-2.0
// A copy of what can be proven of a damaged journal.
//
// 1. The old active segment becomes a sealed one; a new one begins with the catalog of the copy.
// 2. Sealed files that are whole are copied. Of others, the sections that are whole and wanted
//    become an archive.
// 3. A store that is not as its files say gets a snapshot that covers everything, so that none of
//    its changes is read again.
#include <fmt/format.h>
#include <penstock/state/repair.h>
#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <utility>

#include "bytes.h"
#include "copy_target.h"
#include "directory_scan.h"
#include "file_names.h"
#include "io_errors.h"
#include "snapshot.h"

namespace penstock::state {

namespace {

/// When reading twice gives two things.
constexpr const char* retryAdvice = "the disk may be failing; plan the repair again";

/// Nobody opens the directory while this lives.
std::unique_ptr<File> lockSource(const std::string& directory, const Environment& environment) {
  auto presence = environment.files->open(directory + "/PRESENCE", OpenMode::Read);
  if (presence.error == ENOENT || presence.error == ENOTDIR) {
    return nullptr;  // a copy, or no directory at all: the scan says
  }
  throwUnlessOk(presence, "opening", directory + "/PRESENCE");
  const auto alone = presence.value->tryLock(LockKind::Exclusive);
  throwUnlessOk(alone, "locking", directory + "/PRESENCE");
  if (alone.value) return std::move(presence.value);
  const std::string holder = readSmall(*presence.value);
  throw OwnedElsewhere(fmt::format("{}: is in use by {}; end that process before it is repaired",
                                   directory, holder.empty() ? "another process" : holder));
}

class Repair {
 public:
  Repair(const std::string& directory, const Environment& environment)
      : environment_(environment),
        lock_(lockSource(directory, environment)),
        scan_(directory, environment, {.prefix = true, .locked = true, .progress = {}}) {}

  RepairPlan makePlan();
  /// REQUIRES: makePlan() was called, and refuses nothing.
  void write(const std::string& directory);

 private:
  struct Section {  // the first piece of one
    const SealedScan* file;
    std::uint32_t at;
  };
  [[nodiscard]] static bool whole(const SealedScan& file, std::uint32_t at);
  [[nodiscard]] bool storeIsTouched(std::uint32_t id) const;
  void planStore(std::uint32_t id, const StoreEntry& entry);
  void planLog(std::uint32_t id, const LogEntry& entry);
  void writeSnapshot(CopyTarget& target, std::uint32_t id);
  [[nodiscard]] bool wants(const SectionRef& ref) const;
  [[nodiscard]] bool isLive(const SealedFile& file) const;
  void copySealed(CopyTarget& target, const SealedScan& file);
  void writeArchive(CopyTarget& target, const SealedScan& file);
  void copyFile(CopyTarget& target, std::uint64_t number, FileKind kind);

  const Environment environment_;
  std::unique_ptr<File> lock_;
  DirectoryScan scan_;
  RepairPlan plan_;
  std::vector<SealedScan> files_;  // the sealed ones, and the active one as if it were
  std::map<std::uint32_t, StoreFate> fates_;
  Catalog catalog_;  // of the copy
};

bool Repair::whole(const SealedScan& file, std::uint32_t at) {
  for (std::size_t i = at;; ++i) {
    if (file.bad[i]) return false;
    if ((file.index.refs()[i].flags & sectionMore) == 0) return true;
  }
}

bool Repair::storeIsTouched(std::uint32_t id) const {
  if (scan_.badSnapshots.contains(id)) return true;
  const std::uint64_t covers = scan_.catalog.stores.at(id).snapshot.covers;
  return std::any_of(files_.begin(), files_.end(), [&](const SealedScan& file) {
    const auto& stores = file.listed.stores;
    const bool listed = std::find(stores.begin(), stores.end(), id) != stores.end();
    if (listed && std::any_of(file.gaps.begin(), file.gaps.end(),
                              [&](const SealedScan::Gap& gap) { return gap.last > covers; })) {
      return true;
    }
    const auto* sections = file.index.store(id);
    return sections != nullptr &&
           std::any_of(sections->begin(), sections->end(), [&](std::uint32_t at) {
             return file.index.refs()[at].sequence > covers && !whole(file, at);
           });
  });
}

void Repair::planStore(std::uint32_t id, const StoreEntry& entry) {
  RepairedStore store;
  store.name = entry.name;
  store.endsAt = plan_.last;
  const AssembledStore assembled = scan_.assemble(id);
  if (!assembled.state) {
    store.fate = StoreFate::Lost;
    store.endsAt = {};
  } else if (!assembled.whole) {
    store.fate = StoreFate::Ended;
    store.endsAt = Sequence{assembled.endsAt};
  } else if (storeIsTouched(id)) {
    store.fate = StoreFate::Rebuilt;
  }
  if (assembled.state) store.keys = assembled.state->size();
  fates_[id] = store.fate;
  plan_.stores.push_back(std::move(store));
}

void Repair::planLog(std::uint32_t id, const LogEntry& entry) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;  // that can be read
  for (const SealedScan& file : files_) {
    const auto* sections = file.index.log(id);
    if (sections == nullptr) continue;
    for (const std::uint32_t at : *sections) {
      const SectionRef& ref = file.index.refs()[at];
      if (whole(file, at)) spans.emplace_back(ref.base, ref.base + ref.count);
    }
  }
  std::sort(spans.begin(), spans.end());
  RepairedLog log;
  log.name = entry.name;
  log.start = entry.start;
  log.end = entry.end;
  std::vector<LogSpan> readable;
  std::uint64_t reached = entry.start;
  const auto missing = [&](std::uint64_t to) {
    if (to <= reached) return;
    log.damaged.push_back({entry.name, reached, to});
    log.start = to;
  };
  for (const auto& [start, end] : spans) {
    missing(std::min(start, entry.end));
    if (end <= reached) continue;
    readable.push_back({entry.name, std::max(start, reached), end});
    reached = end;
  }
  missing(entry.end);
  for (const LogSpan& span : readable) {
    if (span.end > log.start) break;
    if (!log.dropped.empty() && log.dropped.back().end == span.start) {
      log.dropped.back().end = span.end;
    } else {
      log.dropped.push_back(span);
    }
  }
  plan_.logs.push_back(std::move(log));
}

RepairPlan Repair::makePlan() {
  scan_.run();
  plan_.directory = scan_.report.directory;
  plan_.damages = scan_.report.damages;
  plan_.needed = !scan_.report.sound();
  if (!scan_.readable()) {
    plan_.refusal =
        "the newest segment does not say what the directory holds, and the segment before it, from "
        "which that could be derived, is not there or not whole; restore the directory from a "
        "backup";
    return plan_;
  }
  plan_.last = scan_.report.last;
  plan_.lostFrames = scan_.active.lostFrames;
  plan_.lostBytes = scan_.active.lostBytes;
  if (scan_.report.torn) plan_.tornBytes = scan_.report.torn->bytes;
  for (const auto& [id, entry] : scan_.catalog.stores) {
    if (entry.snapshot.covers > plan_.last.value) scan_.badSnapshots.insert(id);
  }
  files_ = scan_.sealed;
  SealedScan& active = files_.emplace_back();
  active.listed = describeSegment(scan_.active.index, scan_.active.end);
  active.index = scan_.active.index;
  active.bad = scan_.active.bad;
  active.footer = true;
  active.whole = !scan_.active.derived &&
                 std::find(active.bad.begin(), active.bad.end(), true) == active.bad.end();
  for (const auto& [id, entry] : scan_.catalog.stores) planStore(id, entry);
  for (const auto& [id, entry] : scan_.catalog.logs) planLog(id, entry);
  return plan_;
}

void Repair::copyFile(CopyTarget& target, std::uint64_t number, FileKind kind) {
  const std::string from = scan_.path(number, kind);
  auto file = environment_.files->open(from, OpenMode::Read);
  throwUnlessOk(file, "opening", from);
  const auto size = file.value->size();
  throwUnlessOk(size, "reading the size of", from);
  target.copy(fileName(number, kind), *file.value, from, size.value, {}, [](std::uint64_t) {});
}

void Repair::writeSnapshot(CopyTarget& target, std::uint32_t id) {
  const AssembledStore assembled = scan_.assemble(id);
  const auto planned = std::find_if(
      plan_.stores.begin(), plan_.stores.end(),
      [&](const RepairedStore& store) { return store.name == catalog_.stores.at(id).name; });
  const bool ended = planned->fate == StoreFate::Ended;
  if (!assembled.state || assembled.whole == ended ||
      (ended && assembled.endsAt != planned->endsAt.value)) {
    throw Corruption(
        scan_.path(scan_.active.end.number, FileKind::Segment), 0,
        fmt::format("store '{}' cannot be read any more as it was for the plan", planned->name),
        retryAdvice);
  }
  SnapshotEntry entry;
  entry.covers = plan_.last.value;
  entry.file = environment_.random->next() | (std::uint64_t{1} << 63);
  const std::string name = fileName(entry.file, FileKind::Snapshot);
  const auto file = target.create(name);
  SnapshotWriter writer(*file, target.path(name), scan_.id, entry.file, id, entry.covers,
                        environment_.clock->wallMs());
  for (ImageCursor at(assembled.state->image(), {}); at.valid(); at.next()) {
    writer.add(at.key(), at.value());
  }
  entry.hash = writer.finish().checksum;
  entry.bytes = writer.bytes();
  target.written(name, *file);
  catalog_.stores.at(id).snapshot = entry;
}

bool Repair::wants(const SectionRef& ref) const {
  const auto id = static_cast<std::uint32_t>(ref.id);
  if (ref.kind == SectionKind::Log) {
    const auto log = catalog_.logs.find(id);
    return log != catalog_.logs.end() && ref.base + ref.count > log->second.start;
  }
  const auto store = catalog_.stores.find(id);
  return store != catalog_.stores.end() && ref.sequence > store->second.snapshot.covers;
}

bool Repair::isLive(const SealedFile& file) const {
  return std::any_of(file.logs.begin(), file.logs.end(),
                     [&](const LogRange& range) {
                       const auto log = catalog_.logs.find(range.log);
                       return log != catalog_.logs.end() && range.end > log->second.start;
                     }) ||
         std::any_of(file.stores.begin(), file.stores.end(), [&](std::uint32_t id) {
           const auto store = catalog_.stores.find(id);
           return store != catalog_.stores.end() &&
                  file.lastSequence > store->second.snapshot.covers;
         });
}

void Repair::copySealed(CopyTarget& target, const SealedScan& file) {
  const SealedFile& listed = file.listed;
  if (!isLive(listed)) return;
  if (!file.whole) return writeArchive(target, file);
  const FileKind kind = DirectoryScan::kindOf(listed);
  const std::string from = scan_.path(listed.number, kind);
  auto source = environment_.files->open(from, OpenMode::Read);
  throwUnlessOk(source, "opening", from);
  target.copy(fileName(listed.number, kind), *source.value, from, listed.endOffset,
              file.index.encodeFooter(scan_.id.low, listed.number, listed.endOffset),
              [](std::uint64_t) {});
  for (const std::uint64_t blob : listed.blobs) copyFile(target, blob, FileKind::Blob);
  catalog_.sealed.push_back(listed);
}

void Repair::writeArchive(CopyTarget& target, const SealedScan& file) {
  std::map<std::pair<SectionKind, std::uint64_t>, std::vector<std::uint32_t>> wanted;
  for (const auto* lists : {&file.index.logs(), &file.index.stores()}) {
    for (const auto& [id, sections] : *lists) {
      for (const std::uint32_t at : sections) {
        const SectionRef& ref = file.index.refs()[at];
        if (wants(ref) && whole(file, at)) wanted[{ref.kind, id}].push_back(at);
      }
    }
  }
  if (wanted.empty()) return;
  SealedFile archive;
  archive.number = environment_.random->next() | (std::uint64_t{1} << 63);
  archive.archive = true;
  archive.firstSequence = file.listed.firstSequence;
  archive.lastSequence = file.listed.lastSequence;
  const FileHeader header = makeFileHeader(FileKind::Archive, scan_.id, archive.number, 0,
                                           environment_.clock->wallMs(), archive.firstSequence);
  const std::string name = fileName(archive.number, FileKind::Archive);
  const auto out = target.create(name);
  std::uint64_t offset = 0;
  const auto put = [&](std::string_view bytes) {
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(bytes)};
    throwUnlessOk(out->write(offset, pieces), "writing", target.path(name));
    offset += bytes.size();
  };
  put({reinterpret_cast<const char*>(&header), sizeof(header)});
  SegmentIndex index;
  for (const auto& [key, sections] : wanted) {
    LogRange range;
    range.log = static_cast<std::uint32_t>(key.second);
    range.start = file.index.refs()[sections.front()].base;
    range.maxTimeMs = std::numeric_limits<std::int64_t>::min();
    for (const std::uint32_t at : sections) {
      const auto bytes = scan_.sectionBytes(file.index, at, file.listed.number,
                                            DirectoryScan::kindOf(file.listed));
      if (!bytes) {
        throw Corruption(scan_.path(file.listed.number, DirectoryScan::kindOf(file.listed)), 0,
                         plan_.directory + ": a section that was whole a moment ago is not",
                         retryAdvice);
      }
      const SectionRef& first = file.index.refs()[at];
      range.end = first.base + first.count;
      range.bytes += bytes->size();
      range.maxTimeMs = std::max(range.maxTimeMs, first.maxTimeMs);
      std::uint64_t piece = offset;
      for (std::size_t i = at;; ++i) {
        SectionRef ref = file.index.refs()[i];
        ref.blob = 0;
        ref.flags &= static_cast<std::uint8_t>(~sectionExternal);
        ref.offset = piece;
        piece += ref.length;
        index.add(ref);
        if ((ref.flags & sectionMore) == 0) break;
      }
      put(*bytes);
    }
    if (key.first == SectionKind::Log) {
      archive.logs.push_back(range);
    } else {
      archive.stores.push_back(range.log);
    }
  }
  archive.endOffset = offset;
  const std::string footer = index.encodeFooter(scan_.id.low, archive.number, offset);
  archive.lastChecksum = hash64(footer);
  put(footer);
  target.written(name, *out);
  catalog_.sealed.push_back(archive);
}

void Repair::write(const std::string& directory) {
  CopyTarget target(directory, environment_, scan_.id);
  try {
    catalog_ = scan_.catalog;
    catalog_.sealed.clear();
    for (const RepairedLog& log : plan_.logs) {
      catalog_.logs.at(catalog_.logByName(log.name).value()).start = log.start;
    }
    for (const auto& [id, fate] : fates_) {
      if (fate == StoreFate::Lost) catalog_.stores.erase(id);
      const SnapshotEntry& base = scan_.catalog.stores.at(id).snapshot;
      const bool database = base.kind == FileKind::Database;  // becomes a snapshot in the copy
      if (fate == StoreFate::Rebuilt || fate == StoreFate::Ended ||
          (fate == StoreFate::Kept && database)) {
        writeSnapshot(target, id);
      } else if (fate == StoreFate::Kept && base.file != 0) {
        copyFile(target, base.file, FileKind::Snapshot);
      }
    }
    for (const SealedScan& file : files_) copySealed(target, file);
    SegmentEnd end = scan_.active.end;
    const std::uint64_t sequence = end.lastSequence + 1;
    std::string epoch;
    Catalog::newEpoch(epoch, environment_.random->next());
    if (!catalog_.apply(epoch, sequence)) throw ConfigurationError("an epoch cannot be begun");
    const std::int64_t now = environment_.clock->wallMs();
    const SegmentStart start = encodeSegmentStart(scan_.id, end.number + 1, sequence,
                                                  end.lastChecksum, catalog_, sequence - 1, now);
    end = {end.number + 1, sequence, sequence, start.bytes.size(), start.checksum};
    const std::string newest = fileName(end.number, FileKind::Segment);
    target.write(newest, start.bytes + encodeClose(scan_.id, catalog_.epoch(), end, now));
    target.publish(newest);
    const VerifyReport report = verifyJournal(directory, {}, environment_);
    if (!report.sound() || report.torn) {
      throw Corruption(directory, 0,
                       fmt::format("{}: the copy is damaged: {}", directory,
                                   report.damages.empty() ? std::string("it ends in a torn frame")
                                                          : report.damages.front().text),
                       retryAdvice);
    }
  } catch (...) {  // also what a progress callback throws
    target.abandon();
    throw;
  }
}

}  // namespace

std::vector<std::string> RepairPlan::losses() const {
  std::vector<std::string> sentences;
  if (lostBytes != 0) {
    sentences.push_back(fmt::format(
        "all that was committed behind frame {}: {} bytes, with {} frames that are whole",
        last.value, lostBytes, lostFrames));
  }
  for (const Damage& damage : damages) {
    if (damage.kind != DamageKind::MissingFile || damage.sequence.value == 0) continue;
    sentences.push_back(fmt::format(
        "all that was committed behind frame {}: {} was the newest segment, and is missing",
        last.value, damage.file));
  }
  for (const RepairedStore& store : stores) {
    if (store.fate == StoreFate::Lost) {
      sentences.push_back(fmt::format("store '{}': nothing of it can be proven", store.name));
    } else if (store.fate == StoreFate::Ended) {
      sentences.push_back(fmt::format(
          "store '{}' ends at frame {} of {}, with {} keys: what it was changed to later is lost, "
          "and it no longer belongs together with the others",
          store.name, store.endsAt.value, last.value, store.keys));
    }
  }
  for (const RepairedLog& log : logs) {
    for (const LogSpan& span : log.damaged) {
      sentences.push_back(fmt::format("log '{}': the records from {} to {} are damaged", log.name,
                                      span.start, span.end));
    }
    for (const LogSpan& span : log.dropped) {
      sentences.push_back(fmt::format("log '{}': the records from {} to {}, before damaged ones",
                                      log.name, span.start, span.end));
    }
  }
  return sentences;
}

RepairPlan planRepair(const std::string& directory, const Environment& environment) {
  return Repair(directory, environment).makePlan();
}

void repairInto(const RepairPlan& plan, const std::string& target, const Environment& environment) {
  Repair repair(plan.directory, environment);
  const RepairPlan now = repair.makePlan();
  if (!now.refusal.empty()) throw ConfigurationError(plan.directory + ": " + now.refusal);
  if (now.last != plan.last || now.stores != plan.stores || now.logs != plan.logs) {
    throw Error(ErrorCode::Retry,
                plan.directory + ": is not what it was when the repair was planned; plan it again");
  }
  repair.write(target);
}

}  // namespace penstock::state
