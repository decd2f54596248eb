// SPDX-License-Identifier: Apache-2.0
#include "catalog.h"

#include <algorithm>

#include "bytes.h"

namespace penstock::state {

namespace {

void putRetention(std::string& out, const LogRetention& retention) {
  putFixed(out, retention.maxAgeMs);
  putFixed(out, retention.maxBytes);
}

LogRetention readRetention(ByteReader& in) {
  LogRetention retention;
  retention.maxAgeMs = in.fixed<std::int64_t>();
  retention.maxBytes = in.fixed<std::int64_t>();
  return retention;
}

void putSnapshot(std::string& out, const SnapshotEntry& entry) {
  putFixed(out, entry.file);
  putVarint(out, entry.covers);
  putVarint(out, entry.bytes);
  putFixed(out, entry.hash);
}

SnapshotEntry readSnapshot(ByteReader& in) {
  SnapshotEntry entry;
  entry.file = in.fixed<std::uint64_t>();
  entry.covers = in.varint();
  entry.bytes = in.varint();
  entry.hash = in.fixed<std::uint64_t>();
  return entry;
}

void putSealed(std::string& out, const SealedFile& file) {
  putFixed(out, file.number);
  out.push_back(file.archive ? 1 : 0);
  putVarint(out, file.firstSequence);
  putVarint(out, file.lastSequence);
  putVarint(out, file.endOffset);
  putFixed(out, file.lastChecksum);
  putVarint(out, file.logs.size());
  for (const LogRange& range : file.logs) {
    putVarint(out, range.log);
    putVarint(out, range.start);
    putVarint(out, range.end);
    putVarint(out, range.bytes);
    putFixed(out, range.maxTimeMs);
  }
  putVarint(out, file.stores.size());
  for (const std::uint32_t store : file.stores) putVarint(out, store);
  putVarint(out, file.blobs.size());
  for (const std::uint64_t blob : file.blobs) putFixed(out, blob);
}

SealedFile readSealed(ByteReader& in) {
  SealedFile file;
  file.number = in.fixed<std::uint64_t>();
  file.archive = in.fixed<std::uint8_t>() != 0;
  file.firstSequence = in.varint();
  file.lastSequence = in.varint();
  file.endOffset = in.varint();
  file.lastChecksum = in.fixed<std::uint64_t>();
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    LogRange range;
    range.log = static_cast<std::uint32_t>(in.varint());
    range.start = in.varint();
    range.end = in.varint();
    range.bytes = in.varint();
    range.maxTimeMs = in.fixed<std::int64_t>();
    file.logs.push_back(range);
  }
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    file.stores.push_back(static_cast<std::uint32_t>(in.varint()));
  }
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    file.blobs.push_back(in.fixed<std::uint64_t>());
  }
  return file;
}

// Do not renumber: on disk.
constexpr std::uint8_t engineFile = 0;
constexpr std::uint8_t engineRocksDb = 2;

void putEngine(std::string& out, Engine engine) {
  out.push_back(static_cast<char>(engine == Engine::RocksDb ? engineRocksDb : engineFile));
}

/// False when it is none that this version knows.
bool readEngine(ByteReader& in, Engine& engine) {
  const auto number = in.fixed<std::uint8_t>();
  engine = number == engineRocksDb ? Engine::RocksDb : Engine::File;
  return number == engineRocksDb || number == engineFile;
}

void putOp(std::string& out, CatalogOp op) { out.push_back(static_cast<char>(op)); }

}  // namespace

bool Catalog::hasEngines() const {
  return std::any_of(stores.begin(), stores.end(), [](const auto& item) {
    return item.second.engine != Engine::File || item.second.snapshot.kind != FileKind::Snapshot;
  });
}

std::optional<std::uint32_t> Catalog::storeByName(std::string_view name) const {
  for (const auto& [id, entry] : stores) {
    if (entry.name == name) return id;
  }
  return std::nullopt;
}

std::optional<std::uint32_t> Catalog::logByName(std::string_view name) const {
  for (const auto& [id, entry] : logs) {
    if (entry.name == name) return id;
  }
  return std::nullopt;
}

void Catalog::encode(std::string& out) const {
  putVarint(out, nextStore);
  putVarint(out, nextLog);
  putVarint(out, stores.size());
  for (const auto& [id, entry] : stores) {
    putVarint(out, id);
    putText(out, entry.name);
    putSnapshot(out, entry.snapshot);
  }
  putVarint(out, logs.size());
  for (const auto& [id, entry] : logs) {
    putVarint(out, id);
    putText(out, entry.name);
    putRetention(out, entry.retention);
    putVarint(out, entry.start);
    putVarint(out, entry.end);
    putVarint(out, entry.history.size());
    for (const EpochStart& start : entry.history) {
      putVarint(out, start.epoch);
      putVarint(out, start.start);
    }
  }
  putVarint(out, claims.size());
  for (const auto& [name, incarnation] : claims) {
    putText(out, name);
    putVarint(out, incarnation);
  }
  putVarint(out, firstEpochIndex);
  putVarint(out, epochs.size());
  for (const EpochEntry& entry : epochs) {
    putFixed(out, entry.id);
    putVarint(out, entry.sequence);
  }
  putVarint(out, sealed.size());
  for (const SealedFile& file : sealed) putSealed(out, file);
  if (!hasEngines()) return;
  for (const auto& [id, entry] : stores) {
    putEngine(out, entry.engine);
    out.push_back(entry.snapshot.kind == FileKind::Database ? 1 : 0);
  }
}

bool Catalog::decode(std::string_view bytes) {
  *this = Catalog{};
  ByteReader in(bytes);
  nextStore = static_cast<std::uint32_t>(in.varint());
  nextLog = static_cast<std::uint32_t>(in.varint());
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    const auto id = static_cast<std::uint32_t>(in.varint());
    StoreEntry entry;
    entry.name = in.text();
    entry.snapshot = readSnapshot(in);
    stores.emplace(id, std::move(entry));
  }
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    const auto id = static_cast<std::uint32_t>(in.varint());
    LogEntry entry;
    entry.name = in.text();
    entry.retention = readRetention(in);
    entry.start = in.varint();
    entry.end = in.varint();
    for (auto m = in.varint(); m > 0 && in.ok(); --m) {
      const auto epochIndex = in.varint();
      entry.history.push_back({epochIndex, in.varint()});
    }
    logs.emplace(id, std::move(entry));
  }
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    std::string name(in.text());
    claims.emplace(std::move(name), in.varint());
  }
  firstEpochIndex = in.varint();
  for (auto n = in.varint(); n > 0 && in.ok(); --n) {
    const auto id = in.fixed<std::uint64_t>();
    epochs.push_back({id, in.varint()});
  }
  for (auto n = in.varint(); n > 0 && in.ok(); --n) sealed.push_back(readSealed(in));
  if (in.ok() && !in.atEnd()) {
    for (auto& [id, entry] : stores) {
      if (!readEngine(in, entry.engine)) return false;
      if (in.fixed<std::uint8_t>() != 0) entry.snapshot.kind = FileKind::Database;
    }
  }
  return in.ok() && in.atEnd();
}

bool Catalog::apply(std::string_view changes, std::uint64_t sequence) {
  ByteReader in(changes);
  while (in.ok() && !in.atEnd()) {
    switch (static_cast<CatalogOp>(in.fixed<std::uint8_t>())) {
      case CatalogOp::DeclareStore: {
        const auto id = static_cast<std::uint32_t>(in.varint());
        stores[id].name = in.text();
        nextStore = std::max(nextStore, id + 1);
        break;
      }
      case CatalogOp::RemoveStore:
        stores.erase(static_cast<std::uint32_t>(in.varint()));
        break;
      case CatalogOp::DeclareLog: {
        const auto id = static_cast<std::uint32_t>(in.varint());
        LogEntry& entry = logs[id];
        entry.name = in.text();
        entry.retention = readRetention(in);
        nextLog = std::max(nextLog, id + 1);
        break;
      }
      case CatalogOp::RemoveLog:
        logs.erase(static_cast<std::uint32_t>(in.varint()));
        break;
      case CatalogOp::SetRetention: {
        const auto id = static_cast<std::uint32_t>(in.varint());
        const LogRetention retention = readRetention(in);
        if (const auto at = logs.find(id); at != logs.end()) at->second.retention = retention;
        break;
      }
      case CatalogOp::TrimLog: {
        const auto id = static_cast<std::uint32_t>(in.varint());
        const auto offset = in.varint();
        if (const auto at = logs.find(id); at != logs.end()) {
          at->second.start = std::max(at->second.start, std::min(offset, at->second.end));
        }
        break;
      }
      case CatalogOp::Claim: {
        std::string name(in.text());
        claims[std::move(name)] = in.varint();
        break;
      }
      case CatalogOp::Epoch: {
        epochs.push_back({in.fixed<std::uint64_t>(), sequence});
        if (epochs.size() > epochsKept) {
          epochs.erase(epochs.begin());
          ++firstEpochIndex;
          for (auto& [id, entry] : logs) {
            std::erase_if(entry.history,
                          [&](const EpochStart& start) { return start.epoch < firstEpochIndex; });
          }
        }
        break;
      }
      case CatalogOp::InstallSnapshot: {
        const auto id = static_cast<std::uint32_t>(in.varint());
        const SnapshotEntry entry = readSnapshot(in);
        const auto at = stores.find(id);
        // Two processes may have made one; the further one stays.
        if (at != stores.end() && entry.covers > at->second.snapshot.covers) {
          at->second.snapshot = entry;
        }
        break;
      }
      case CatalogOp::SetEngine: {
        const auto at = stores.find(static_cast<std::uint32_t>(in.varint()));
        Engine engine = Engine::File;
        if (!readEngine(in, engine)) return false;
        if (at != stores.end()) at->second.engine = engine;
        break;
      }
      case CatalogOp::InstallDatabase: {
        const auto at = stores.find(static_cast<std::uint32_t>(in.varint()));
        SnapshotEntry entry;
        entry.file = in.fixed<std::uint64_t>();
        entry.covers = in.varint();
        entry.kind = FileKind::Database;
        if (at != stores.end() && entry.covers > at->second.snapshot.covers) {
          at->second.snapshot = entry;
        }
        break;
      }
      case CatalogOp::RemoveFiles:
        for (auto n = in.varint(); n > 0 && in.ok(); --n) {
          const auto number = in.fixed<std::uint64_t>();
          std::erase_if(sealed, [&](const SealedFile& file) { return file.number == number; });
        }
        break;
      case CatalogOp::InstallArchive: {
        SealedFile archive = readSealed(in);
        for (auto n = in.varint(); n > 0 && in.ok(); --n) {
          const auto number = in.fixed<std::uint64_t>();
          std::erase_if(sealed, [&](const SealedFile& file) { return file.number == number; });
        }
        const auto place = std::lower_bound(
            sealed.begin(), sealed.end(), archive.firstSequence,
            [](const SealedFile& file, std::uint64_t first) { return file.firstSequence < first; });
        sealed.insert(place, std::move(archive));
        break;
      }
      default:
        return false;
    }
  }
  return in.ok();
}

bool Catalog::logAppended(std::uint32_t log, std::uint64_t base, std::uint32_t count) {
  const auto at = logs.find(log);
  if (at == logs.end() || at->second.end != base) return false;
  LogEntry& entry = at->second;
  const std::uint64_t index =
      firstEpochIndex + (epochs.empty() ? std::uint64_t{0} : epochs.size() - 1);
  if (entry.history.empty() || entry.history.back().epoch != index) {
    entry.history.push_back({index, base});
  }
  entry.end += count;
  return true;
}

void Catalog::declareStore(std::string& out, std::uint32_t id, std::string_view name) {
  putOp(out, CatalogOp::DeclareStore);
  putVarint(out, id);
  putText(out, name);
}

void Catalog::setEngine(std::string& out, std::uint32_t id, Engine engine) {
  putOp(out, CatalogOp::SetEngine);
  putVarint(out, id);
  putEngine(out, engine);
}

void Catalog::removeStore(std::string& out, std::uint32_t id) {
  putOp(out, CatalogOp::RemoveStore);
  putVarint(out, id);
}

void Catalog::declareLog(std::string& out, std::uint32_t id, std::string_view name,
                         const LogRetention& retention) {
  putOp(out, CatalogOp::DeclareLog);
  putVarint(out, id);
  putText(out, name);
  putRetention(out, retention);
}

void Catalog::removeLog(std::string& out, std::uint32_t id) {
  putOp(out, CatalogOp::RemoveLog);
  putVarint(out, id);
}

void Catalog::setRetention(std::string& out, std::uint32_t id, const LogRetention& retention) {
  putOp(out, CatalogOp::SetRetention);
  putVarint(out, id);
  putRetention(out, retention);
}

void Catalog::trimLog(std::string& out, std::uint32_t id, std::uint64_t offset) {
  putOp(out, CatalogOp::TrimLog);
  putVarint(out, id);
  putVarint(out, offset);
}

void Catalog::claim(std::string& out, std::string_view name, std::uint64_t incarnation) {
  putOp(out, CatalogOp::Claim);
  putText(out, name);
  putVarint(out, incarnation);
}

void Catalog::newEpoch(std::string& out, std::uint64_t id) {
  putOp(out, CatalogOp::Epoch);
  putFixed(out, id);
}

void Catalog::installSnapshot(std::string& out, std::uint32_t store, const SnapshotEntry& entry) {
  if (entry.kind == FileKind::Database) {
    putOp(out, CatalogOp::InstallDatabase);
    putVarint(out, store);
    putFixed(out, entry.file);
    putVarint(out, entry.covers);
    return;
  }
  putOp(out, CatalogOp::InstallSnapshot);
  putVarint(out, store);
  putSnapshot(out, entry);
}

void Catalog::removeFiles(std::string& out, const std::vector<std::uint64_t>& numbers) {
  putOp(out, CatalogOp::RemoveFiles);
  putVarint(out, numbers.size());
  for (const std::uint64_t number : numbers) putFixed(out, number);
}

void Catalog::installArchive(std::string& out, const SealedFile& archive,
                             const std::vector<std::uint64_t>& replaced) {
  putOp(out, CatalogOp::InstallArchive);
  putSealed(out, archive);
  putVarint(out, replaced.size());
  for (const std::uint64_t number : replaced) putFixed(out, number);
}

}  // namespace penstock::state
