// SPDX-License-Identifier: Apache-2.0
// Claims, and the small changes of the catalog that need its present content.
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "append_lock.h"
#include "database.h"
#include "io_errors.h"
#include "journal_core.h"

namespace penstock::state {

std::string JournalCore::declareStoreChange(std::string_view name, std::optional<Engine> engine) {
  const bool inMemory = environment_.files == Environment::memory().files;
  if (engine == Engine::Memory && !inMemory) {
    throw ConfigurationError(fmt::format(
        "store '{}' cannot be kept in memory in a journal of files ({}); open the journal with "
        "Environment::memory()",
        name, directory_));
  }
  if (engine == Engine::RocksDb && environment_.files != Environment::real().files) {
    throw ConfigurationError(
        fmt::format("store '{}' cannot be kept by RocksDB here: it needs real files", name));
  }
  if (engine == Engine::RocksDb && shared()) {
    throw ConfigurationError(fmt::format(
        "store '{}' cannot be kept by RocksDB in a journal that processes share ({}): only one of "
        "them could open the database",
        name, directory_));
  }
  if (engine == Engine::RocksDb) database::checkAvailable();
  std::string changes;
  const auto found = catalog_.storeByName(name);  // another process may have been first
  const std::uint32_t id = found ? *found : catalog_.nextStore;
  const Engine before = found ? catalog_.stores.at(id).engine : Engine::File;
  if (!found) Catalog::declareStore(changes, id, name);
  if (engine && *engine != Engine::Memory && *engine != before) {
    Catalog::setEngine(changes, id, *engine);
  }
  return changes;
}

std::string JournalCore::declareLogChange(std::string_view name, const LogRetention& retention) {
  std::string changes;
  if (!catalog_.logByName(name)) {
    Catalog::declareLog(changes, catalog_.nextLog, name, retention);
  }
  return changes;
}

std::unique_ptr<File> JournalCore::lockClaim(std::string_view name, std::string* holder,
                                             std::uint64_t& incarnation) {
  checkUsable();
  if (name.empty()) throw InvalidArgument("the name of a claim is empty");
  const std::string folder = path("claims");
  if (!claimsFolder_.load()) {
    throwUnlessOk(files().makeDirectories(folder), "creating", folder);
    claimsFolder_ = true;
  }
  const std::string file = fmt::format("{}/{:016x}", folder, hash64(name));
  auto opened = files().open(file, OpenMode::ReadWriteCreate);
  throwUnlessOk(opened, "opening", file);
  const auto locked = opened.value->tryLock(LockKind::Exclusive);
  throwUnlessOk(locked, "locking", file);
  std::array<char, 512> found{};
  const auto got = opened.value->read(0, std::as_writable_bytes(std::span(found)));
  std::string_view before(found.data(), got.ok() ? got.value : 0);
  while (!before.empty() && (before.back() == '\n' || before.back() == '\0')) {
    before.remove_suffix(1);
  }
  const bool ours = before.starts_with("pid ");
  if (!locked.value) {
    if (holder != nullptr) *holder = ours ? before : "another process";
    return nullptr;
  }
  if (ours || before.empty()) {  // somebody else's text stays; the lock is what counts
    std::array<char, 256> host{};
    (void)::gethostname(host.data(), host.size() - 1);
    const std::string text = fmt::format("pid {} on {} ({})\n", ::getpid(), host.data(), name);
    (void)opened.value->truncate(0);
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
    (void)opened.value->write(0, pieces);
  }
  (void)changeCatalog(
      [&] {
        const auto at = catalog_.claims.find(name);
        incarnation = (at == catalog_.claims.end() ? 0 : at->second) + 1;
        std::string changes;
        Catalog::claim(changes, name, incarnation);
        return changes;
      },
      Durability::Buffered);
  return std::move(opened.value);
}

JournalMetrics JournalCore::metrics() const {
  JournalMetrics metrics;
  metrics.frames = counters_.frames;
  metrics.bytesWritten = counters_.bytesWritten;
  metrics.commitEntries = counters_.commitEntries.now();
  metrics.syncMicros = counters_.syncMicros.now();
  metrics.rollovers = counters_.rollovers;
  metrics.snapshots = counters_.snapshots;
  metrics.rewrites = counters_.rewrites;
  metrics.cleanedBytes = counters_.cleanedBytes;
  metrics.cleanFailures = counters_.cleanFailures;
  metrics.slowedMicros = counters_.slowedMicros;
  metrics.scrubbedBytes = counters_.scrubbedBytes;
  metrics.damagedBlocks = counters_.damagedBlocks;
  metrics.tornTails = counters_.tornTails;
  metrics.tornBytes = counters_.tornBytes;
  return metrics;
}

}  // namespace penstock::state
