// SPDX-License-Identifier: Apache-2.0
#include <penstock/state/inspect.h>
#include <array>
#include <utility>

#include "directory_scan.h"
#include "file_names.h"

namespace penstock::state {

namespace {

std::uint64_t bytesIn(const std::string& directory, const Environment& environment) {
  std::uint64_t bytes = 0;
  const auto names = environment.files->list(directory);
  for (const std::string& name : names.value) {
    const auto info = environment.files->info(directory + "/" + name);
    if (info.ok() && info.value.exists) bytes += info.value.size;
  }
  return bytes;
}

std::vector<FileTotal> totalsOf(const DirectoryScan& scan, const Environment& environment) {
  constexpr std::array<std::pair<FileKind, const char*>, 5> kinds{
      {{FileKind::Segment, "segments"},
       {FileKind::Snapshot, "snapshots"},
       {FileKind::Blob, "blobs"},
       {FileKind::Archive, "archives"},
       {FileKind::Database, "databases"}}};
  std::vector<FileTotal> totals;
  for (const auto& [kind, name] : kinds) totals.push_back({name, 0, 0});
  FileTotal torn{"torn tails", 0, 0};
  const auto add = [&](FileTotal& total, const std::string& path) {
    const auto info = environment.files->info(path);
    if (!info.ok() || !info.value.exists) return;  // cleaned away meanwhile
    ++total.files;
    total.bytes += info.value.directory ? bytesIn(path, environment) : info.value.size;
  };
  for (const std::string& name : scan.names()) {
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      if (fileNumber(name, kinds[i].first)) add(totals[i], scan.report.directory + "/" + name);
    }
  }
  for (const std::string& path : scan.report.keptAside) add(torn, path);
  totals.push_back(torn);
  return totals;
}

}  // namespace

JournalDescription inspectJournal(const std::string& directory, const Environment& environment) {
  DirectoryScan::Options options;
  options.contents = false;
  DirectoryScan scan(directory, environment, options);
  scan.run();
  if (!scan.readable()) {
    const Damage& damage = scan.report.damages.front();
    throw Corruption(damage.file, damage.offset, damage.text);
  }
  JournalDescription found;
  found.directory = directory;
  found.journalId = scan.report.journalId;
  found.use = scan.report.use;
  found.holder = scan.report.holder;
  found.files = totalsOf(scan, environment);
  found.last = scan.report.last;
  found.synced = scan.report.synced;
  found.epoch = scan.catalog.epoch();
  found.epochs = scan.catalog.epochs.size();
  for (const auto& [id, entry] : scan.catalog.stores) {
    StoreDescription store;
    store.name = entry.name;
    store.engine = entry.engine;
    store.snapshotBytes = entry.snapshot.bytes;
    if (entry.snapshot.kind == FileKind::Database) {
      store.snapshotBytes =
          bytesIn(scan.path(entry.snapshot.file, FileKind::Database), environment);
    }
    const AssembledStore assembled = scan.assemble(id);
    if (assembled.whole && assembled.state) {
      try {
        store.changedBytes = assembled.state->changedBytes();
        store.keys = assembled.state->size();
      } catch (const Corruption& damage) {  // a block of its snapshot
        found.damages.emplace_back(damage.damage());
      }
    }
    found.stores.push_back(std::move(store));
  }
  for (const auto& [id, entry] : scan.catalog.logs) {
    LogDescription log{entry.name, entry.start, entry.end, 0, entry.retention};
    for (const SealedFile& file : scan.catalog.sealed) {
      for (const LogRange& range : file.logs) {
        if (range.log == id && range.end > entry.start) log.bytes += range.bytes;
      }
    }
    for (const SectionRef& ref : scan.active.index.refs()) {
      if (ref.kind == SectionKind::Log && ref.id == id) log.bytes += ref.length;
    }
    found.logs.push_back(std::move(log));
  }
  for (const Damage& damage : scan.report.damages) found.damages.push_back(damage.text);
  return found;
}

}  // namespace penstock::state
