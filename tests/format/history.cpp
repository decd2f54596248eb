// SPDX-License-Identifier: Apache-2.0
#include "history.h"

#include <filesystem>

namespace penstock::format {

using namespace state;
using testsupport::CrashStyle;
using testsupport::kAllDamages;

namespace {

const std::string directory = "/written";
constexpr int stepsPerSession = 50;  // arbitrary; some rollovers at the sizes below

}  // namespace

History::History(std::uint32_t seed) : random_(seed), machine_(seed) {}

std::string History::bytes(std::uint64_t count) {
  std::string out;
  while (out.size() < count) out += static_cast<char>(random_());
  return out;
}

StoreId History::anyStore(Journal& journal) {
  // Names as sub-storages have them, and one of bytes that are no text.
  static const std::vector<std::string> names{"storage", "storage/a%20b", "storage/a%20b/c",
                                              std::string("\0\xFF % x", 6)};
  return journal.declareStore(names[below(names.size())]);
}

LogId History::anyLog(Journal& journal) {
  const std::string name = "topic/orders/" + std::to_string(below(3));
  const auto bound = static_cast<std::int64_t>(below(2) == 0 ? 1 << 14 : -1);
  return journal.declareLog(name, {.maxAgeMs = -1, .maxBytes = bound});
}

void History::fill(Journal& journal, Commit& commit, std::uint64_t changes,
                   std::uint64_t valueBytes) {
  const std::int64_t now = machine_.clock().wallMs();
  for (std::uint64_t i = 0; i < changes; ++i) {
    if (below(2) == 0) {
      const LogId log = anyLog(journal);
      commit.recordBuffer(log) += bytes(below(valueBytes));
      commit.recordAdded(log, now - static_cast<std::int64_t>(below(1000)));
      continue;
    }
    const StoreId store = anyStore(journal);
    const std::string key = "k" + std::to_string(below(60));
    switch (below(20)) {
      case 0:
        commit.clear(store);
        break;
      case 1:
      case 2:
        commit.erasePrefix(store, key.substr(0, 2));
        break;
      case 3:
      case 4:
      case 5:
        commit.erase(store, key);
        break;
      case 6:
        commit.put(store, bytes(1 + below(300)), bytes(below(valueBytes)));
        break;
      default:
        commit.put(store, key, bytes(below(valueBytes)));
        break;
    }
  }
}

/// A segment of which next to nothing is wanted any more, which cleaning rewrites.
void History::makeArchive(Journal& journal) {
  const LogId bulk = journal.declareLog("bulk");
  Commit commit;
  commit.recordBuffer(bulk) += std::string(40'000, 'b');
  commit.recordAdded(bulk, 0);
  const LogId kept = anyLog(journal);
  commit.recordBuffer(kept) += "in the archive";
  commit.recordAdded(kept, machine_.clock().wallMs());
  commit.put(anyStore(journal), "in the archive", "too");
  (void)journal.commit(commit);
  fill(journal, commit, 4, 50);
  (void)journal.commit(commit);
  journal.removeLog(bulk);
  (void)journal.clean();
}

void History::step(Journal& journal) {
  Commit commit;
  switch (below(24)) {
    case 0:
      journal.snapshotStore(anyStore(journal));
      break;
    case 1:
      (void)journal.clean();
      break;
    case 2: {
      const LogInfo log = journal.log(anyLog(journal));
      // Also to where it begins already, and beyond its end.
      journal.trimLog(log.id, log.start / 2 + below(log.end - log.start / 2 + 10));
      break;
    }
    case 3:
      journal.setRetention(anyLog(journal), {.maxAgeMs = 1000, .maxBytes = -1});
      break;
    case 4:
      if (below(4) == 0) journal.removeLog(anyLog(journal));
      break;
    case 5:
      if (below(4) == 0) journal.removeStore(anyStore(journal));
      break;
    case 6:
      (void)journal.tryClaim("task/" + std::to_string(below(3)) + " %");
      break;
    case 7:
      fill(journal, commit, 8, 1500);  // most are files of their own
      (void)journal.commit(commit);
      break;
    case 8:
      if (below(6) == 0) makeArchive(journal);
      break;
    case 9:
      machine_.clock().advanceMs(400);
      journal.testingTick();
      break;
    default:
      fill(journal, commit, 1 + below(5), 200);
      (void)journal.commit(commit, below(3) == 0 ? Durability::Synced : Durability::Buffered);
      machine_.clock().advanceMs(3);
      break;
  }
}

void History::session() {
  JournalOptions options;
  options.segmentBytes = 8192 << below(3);
  options.snapshotAfterBytes = 4096 << below(3);
  options.blobBytes = 4096;
  const auto process = machine_.startProcess();
  const std::uint64_t how = below(4);
  bool cut = false;
  try {
    const auto journal = Journal::open(directory, options, process->environment());
    if (sessions_++ == 0) {  // every history has one of each
      makeArchive(*journal);
      const StoreId store = journal->declareStore("storage");
      Commit commit;
      for (int i = 0; i < 400; ++i) {
        commit.put(store, "row " + std::to_string(i), bytes(100));
      }
      (void)journal->commit(commit);
      journal->snapshotStore(store);
      (void)journal->tryClaim("task/0 %");
    }
    const auto steps = below(stepsPerSession);
    for (std::uint64_t i = 0; i < stepsPerSession; ++i) {
      if (how == 0 && i == steps) machine_.crashAfterOperation(1 + below(30));
      step(*journal);
    }
    end_ = "closed";
    if (how == 1) {
      process->kill();
      end_ = "killed";
    }
  } catch (const Error&) {
    if (!machine_.crashed()) throw;
    cut = true;
  }
  if (!cut && !machine_.crashed()) return;
  const auto damage = kAllDamages[below(kAllDamages.size())];
  machine_.crash(random_(), damage);
  end_ = "power cut, " + std::string(nameOf(damage));
}

Files History::files() const {
  Files files;
  for (const std::string& path : machine_.files()) {
    if (std::filesystem::path(path).parent_path() != directory) continue;  // claims/
    const std::vector<std::byte> image = machine_.image(path);
    files[std::filesystem::path(path).filename()] = {
        reinterpret_cast<const char*>(image.data()), image.size()};
  }
  return files;
}

}  // namespace penstock::format
