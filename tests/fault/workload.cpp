// SPDX-License-Identifier: Apache-2.0
#include "fault/workload.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

namespace penstock::fault {

using state::Commit;
using state::Durability;
using state::Journal;
using state::LogId;
using state::Sequence;
using state::StoreId;

enum class Workload::Act : std::uint8_t {
  CommitSynced,
  CommitBuffered,
  CommitAsync,
  TransactSynced,
  TransactBuffered,
  Flush,
  Tick,
  Snapshot,
  Clean,
  TrimLog,
  DeclareStore,
  DeclareLog,
  RemoveStore,
  Claim,
  Reopen,
};

state::JournalOptions smallJournal() {
  state::JournalOptions options;
  options.segmentBytes = 16 << 10;
  options.snapshotAfterBytes = 12 << 10;
  options.unsyncedBytesMax = 1 << 20;
  options.blobBytes = 3 << 10;  // larger commits are files of their own
  return options;
}

Workload::Workload(testsupport::SimFs& machine, WorkloadOptions options)
    : machine_(machine), options_(std::move(options)), random_(options_.seed) {
  versions_.emplace_back();  // nothing at all
}

Workload::~Workload() = default;

void Workload::open() {
  process_ = machine_.startProcess();
  journal_ = Journal::open(options_.directory, options_.journal, process_->environment());
}

void Workload::kill() {
  if (process_) process_->kill();
  journal_.reset();
}

void Workload::run() {
  open();
  for (int i = 0; i < options_.steps; ++i) step();
}

namespace {

std::string randomKey(testsupport::SimRandom& random) {
  std::string key = "key-" + std::to_string(random.below(40));
  if (random.oneIn(20)) key += std::string("/\0..", 4);
  return key;
}

/// Unlike any other of the run: it begins with `number`.
std::string randomValue(testsupport::SimRandom& random, std::uint64_t number) {
  const std::uint64_t kind = random.below(40);
  if (kind == 0) return "";
  const std::uint64_t length = kind == 1 ? 3000 + random.below(3000) : random.below(200);
  std::string value = std::to_string(number) + ":";
  value.append(static_cast<std::size_t>(length), static_cast<char>('a' + random.below(26)));
  return value;
}

}  // namespace

void Workload::fill(Commit& commit, Content& content, std::uint64_t number) {
  testsupport::SimRandom random(options_.seed * 1'000'003 + number);
  // The position tells versions apart, and proves that it and the state stay together.
  const std::string position = std::to_string(number);
  commit.put(*journal_->findStore("positions"), "position", position);
  content.stores["positions"]["position"] = position;

  std::vector<std::string> names;
  for (const auto& [name, keys] : content.stores) {
    if (name != "positions") names.push_back(name);
  }
  std::uint64_t value = number * 100;
  const std::uint64_t changes = random.below(6);
  for (std::uint64_t i = 0; i < changes && !names.empty(); ++i) {
    const std::string& name = names[static_cast<std::size_t>(random.below(names.size()))];
    const StoreId id = *journal_->findStore(name);
    auto& keys = content.stores[name];
    const std::uint64_t kind = random.below(100);
    if (kind < 70) {
      const std::string key = randomKey(random);
      commit.put(id, key, keys[key] = randomValue(random, ++value));
    } else if (kind < 94) {
      const std::string key = randomKey(random);
      commit.erase(id, key);
      keys.erase(key);
    } else if (kind < 98) {
      const std::string prefix = "key-" + std::to_string(random.below(4));
      commit.erasePrefix(id, prefix);
      std::erase_if(keys, [&](const auto& entry) { return entry.first.starts_with(prefix); });
    } else {
      commit.clear(id);
      keys.clear();
    }
  }
  for (auto& [name, log] : content.logs) {
    if (random.oneIn(2)) continue;
    const LogId id = *journal_->findLog(name);
    const std::uint64_t records = 1 + random.below(4);
    for (std::uint64_t i = 0; i < records; ++i) {
      log.records.push_back(randomValue(random, ++value));
      appendRecord(commit.recordBuffer(id), log.records.back());
      commit.recordAdded(id, static_cast<std::int64_t>(value));
    }
  }
}

void Workload::noteSynced() {
  const std::uint64_t synced = journal_->synced().value;
  for (std::size_t i = versions_.size(); i-- > acknowledged_;) {
    if (versions_[i].sequence != 0 && versions_[i].sequence <= synced) {
      acknowledge(i);
      break;
    }
  }
}

void Workload::acknowledge(std::size_t version) {
  acknowledged_ = version;
  std::erase_if(maybe_, [&](const Maybe& maybe) { return maybe.next <= version; });
}

void Workload::change(Content next, const std::function<Sequence()>& call, bool synced) {
  if (next.stores == current().stores && next.logs == current().logs) {
    static_cast<void>(call());  // declares what is there: no frame, nothing is settled by it
    return;
  }
  versions_.push_back({std::move(next), 0});
  try {
    versions_.back().sequence = call().value;
    returned_ = versions_.size() - 1;
    if (synced) {
      acknowledge(returned_);
      ++acknowledgedSteps_;
    }
  } catch (const Error& error) {
    // Was it written though the call failed? Only the journal can say, and only a failed sync may
    // leave it readable: after any other error the caller would do it again.
    const bool poisoned = dynamic_cast<const state::JournalFailed*>(&error) != nullptr;
    const bool rejected = dynamic_cast<const state::DiskFull*>(&error) != nullptr;
    Version failed = std::move(versions_.back());
    versions_.pop_back();
    bool there = false;
    try {
      there = difference(failed.content, readContent(journal_)).empty();
    } catch (const std::exception&) {  // not readable any more: may or may not be there
    }
    const bool changed = !difference(failed.content, current()).empty();
    if (there && changed && !poisoned) {
      throw std::logic_error(std::string("told that it failed, but it was done: ") + error.what());
    }
    if (there) {
      versions_.push_back(std::move(failed));
      versions_.back().sequence = journal_->written().value;
    } else {
      maybe_.push_back({std::move(failed.content), rejected, versions_.size()});
    }
    throw;
  }
}

void Workload::commitSomething(Durability durability, bool transact) {
  const Content before = current();
  const std::uint64_t number = ++counter_;
  Content next = before;
  Commit commit;
  fill(commit, next, number);
  change(
      std::move(next),
      [&] {
        if (!transact) return journal_->commit(commit, durability).sequence;
        Content again = before;
        return journal_->transact([&](Commit& inside) { fill(inside, again, number); }, durability)
            .sequence;
      },
      durability == Durability::Synced);
}

void Workload::reopen() {
  journal_.reset();
  if (process_) process_->kill();
  const bool sound = machine_.faultsHit() == 0 && errors_ == 0;  // closing included
  if (sound) acknowledged_ = versions_.size() - 1;               // closing syncs
  open();
  // A close cannot report what it failed to sync, so after faults any later version may be it.
  std::size_t which = versions_.size();
  const Content found = readContent(journal_);
  const std::string problem = judge(found, &which);
  if (!problem.empty()) throw std::logic_error("after closing and opening again: " + problem);
  if (which == versions_.size()) {
    versions_.push_back({found, journal_->written().value});
  } else {
    versions_.resize(which + 1);
  }
  returned_ = acknowledged_ = versions_.size() - 1;
  maybe_.clear();
}

void Workload::act(Act act) {
  switch (act) {
    case Act::CommitSynced:
      commitSomething(Durability::Synced, false);
      break;
    case Act::CommitBuffered:
      commitSomething(Durability::Buffered, false);
      break;
    case Act::CommitAsync: {
      Content next = current();
      Commit commit;
      fill(commit, next, ++counter_);
      change(
          std::move(next),
          [&] {
            return journal_->commitAsync(std::move(commit), Durability::Synced).get().sequence;
          },
          true);
      break;
    }
    case Act::TransactSynced:
      commitSomething(Durability::Synced, true);
      break;
    case Act::TransactBuffered:
      commitSomething(Durability::Buffered, true);
      break;
    case Act::Flush:
      journal_->flush();
      acknowledge(versions_.size() - 1);
      break;
    case Act::Tick:
      machine_.clock().advanceMs(static_cast<std::int64_t>(random_.below(250)));
      journal_->testingTick();
      break;
    case Act::Snapshot: {
      const auto stores = journal_->stores();
      if (stores.empty()) break;
      journal_->snapshotStore(stores[static_cast<std::size_t>(random_.below(stores.size()))].id);
      break;
    }
    case Act::Clean:
      static_cast<void>(journal_->clean());
      break;
    case Act::TrimLog: {
      Content next = current();
      if (next.logs.empty()) break;
      auto& [name, log] = *next.logs.begin();
      const std::uint64_t count = random_.below(log.records.size() + 1);
      log.start += count;
      log.records.erase(log.records.begin(),
                        log.records.begin() + static_cast<std::ptrdiff_t>(count));
      const LogId id = *journal_->findLog(name);
      const std::uint64_t offset = log.start;
      change(
          std::move(next),
          [&] {
            journal_->trimLog(id, offset);
            return journal_->written();
          },
          false);
      break;
    }
    case Act::DeclareStore: {
      Content next = current();
      const std::string name =
          next.stores.empty() ? "positions" : "store-" + std::to_string(random_.below(5));
      next.stores[name];
      change(
          std::move(next),
          [&] {
            static_cast<void>(journal_->declareStore(name));
            return journal_->written();
          },
          false);
      break;
    }
    case Act::DeclareLog: {
      Content next = current();
      const std::string name = "log-" + std::to_string(random_.below(3));
      next.logs[name];
      change(
          std::move(next),
          [&] {
            static_cast<void>(journal_->declareLog(name));
            return journal_->written();
          },
          false);
      break;
    }
    case Act::RemoveStore: {
      Content next = current();
      const std::string name = "store-" + std::to_string(random_.below(5));
      const std::optional<StoreId> id = journal_->findStore(name);
      if (!id) break;
      next.stores.erase(name);
      change(
          std::move(next),
          [&] {
            journal_->removeStore(*id);
            return journal_->written();
          },
          false);
      break;
    }
    case Act::Claim:
      if (!journal_->tryClaim("task")) throw std::logic_error("tryClaim: nobody else is here");
      break;
    case Act::Reopen:
      reopen();
      break;
  }
}

void Workload::step() {
  lastError_.clear();
  // In thousandths. The first calls make something to work with.
  static constexpr std::pair<Act, int> kOdds[] = {{Act::CommitSynced, 300},
                                                  {Act::CommitBuffered, 250},
                                                  {Act::CommitAsync, 60},
                                                  {Act::TransactSynced, 60},
                                                  {Act::TransactBuffered, 60},
                                                  {Act::Flush, 40},
                                                  {Act::Tick, 70},
                                                  {Act::Snapshot, 30},
                                                  {Act::Clean, 30},
                                                  {Act::TrimLog, 20},
                                                  {Act::DeclareStore, 30},
                                                  {Act::DeclareLog, 20},
                                                  {Act::RemoveStore, 8},
                                                  {Act::Claim, 7},
                                                  {Act::Reopen, 15}};
  Act chosen = Act::CommitSynced;
  auto at = static_cast<int>(random_.below(1000));
  for (const auto& [act, odds] : kOdds) {
    if (at < odds) {
      chosen = act;
      break;
    }
    at -= odds;
  }
  if (current().stores.size() < 3) chosen = Act::DeclareStore;
  if (current().stores.size() >= 3 && current().logs.empty()) chosen = Act::DeclareLog;
  if (options_.onlyBuffered) {
    if (chosen == Act::CommitSynced || chosen == Act::CommitAsync || chosen == Act::Flush) {
      chosen = Act::CommitBuffered;
    }
    if (chosen == Act::TransactSynced) chosen = Act::TransactBuffered;
  }
  if (!options_.housekeeping || options_.onlyBuffered) {
    if (chosen == Act::Tick || chosen == Act::Snapshot || chosen == Act::Clean ||
        chosen == Act::Reopen || chosen == Act::Claim || chosen == Act::TrimLog) {
      chosen = options_.onlyBuffered ? Act::CommitBuffered : Act::CommitSynced;
    }
  }
  try {
    if (!journal_) reopen();  // opening failed in the step before
    act(chosen);
    noteSynced();
  } catch (const state::JournalFailed& error) {
    lastError_ = std::string("JournalFailed: ") + error.what();
    failedForGood_ = true;
    ++errors_;
  } catch (const Error& error) {
    lastError_ = error.what();
    ++errors_;
  }
  trace(chosen);
}

void Workload::trace(Act chosen) const {
  static const bool wanted = std::getenv("PENSTOCK_FAULT_TRACE") != nullptr;
  if (!wanted) return;
  std::printf(
      "seed %llu: act %d, version %zu, acknowledged %zu, written %llu, synced %llu, "
      "%llu syncs, %llu faults; %s\n",
      static_cast<unsigned long long>(options_.seed), static_cast<int>(chosen),
      versions_.size() - 1, acknowledged_,
      static_cast<unsigned long long>(journal_ ? journal_->written().value : 0),
      static_cast<unsigned long long>(journal_ ? journal_->synced().value : 0),
      static_cast<unsigned long long>(machine_.calls(testsupport::SimCall::Sync)),
      static_cast<unsigned long long>(machine_.faultsHit()), lastError_.c_str());
}

std::string Workload::judge(const Content& found, std::size_t* which) const {
  std::string reason;
  for (std::size_t i = versions_.size(); i-- > acknowledged_;) {
    const std::string different = difference(versions_[i].content, found);
    if (different.empty()) {
      if (which != nullptr) *which = i;
      return "";
    }
    if (i == acknowledged_ || i + 1 == versions_.size()) {
      reason += "not version " + std::to_string(i) + " (" + different + "); ";
    }
  }
  for (const Maybe& maybe : maybe_) {
    if (difference(maybe.content, found).empty()) return "";
  }
  const auto positionOf = [](const Content& content) {
    const auto store = content.stores.find("positions");
    if (store == content.stores.end() || store->second.empty()) return std::string("none");
    return store->second.begin()->second;
  };
  for (std::size_t i = 0; i < acknowledged_; ++i) {
    if (difference(versions_[i].content, found).empty()) {
      return "it is version " + std::to_string(i) + ", but " + std::to_string(acknowledged_) +
             " was acknowledged";
    }
  }
  return reason + "position " + positionOf(found) + ", acknowledged " +
         positionOf(versions_[acknowledged_].content) + ", newest " + positionOf(current());
}

std::string Workload::judgeKill(const Content& found) const {
  for (std::size_t i = versions_.size(); i-- > returned_;) {
    if (difference(versions_[i].content, found).empty()) return "";
  }
  for (const Maybe& maybe : maybe_) {
    if (!difference(maybe.content, found).empty()) continue;
    return maybe.rejected ? "a commit that a full disk rejected is there" : "";
  }
  std::string failed;
  for (const Maybe& maybe : maybe_)
    failed = "; nor a failed one: " + difference(maybe.content, found);
  return "a returned commit is missing: " + difference(versions_[returned_].content, found) +
         failed;
}

}  // namespace penstock::fault
