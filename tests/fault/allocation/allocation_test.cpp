// SPDX-License-Identifier: Apache-2.0

// Row 12 of the scoreboard: the n-th allocation fails, once or with all later ones, anywhere in a
// run of opening, committing, reading, snapshots, cleaning and closing. Each call does its work or
// says that it did not: nothing is lost, doubled or half there, and the process lives. With the
// directory to itself, and beside a process with memory that shares it, commits in between, and
// never sees anything else.

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <new>
#include <set>

#include "fault/allocation/exempt_files.h"
#include "fault/allocation/failing_new.h"
#include "fault/content.h"
#include "fault/figures.h"
#include "fault/violations.h"
#include "fault/workload.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

using state::Commit;
using state::Durability;
using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimRandom;

const char* const kDirectory = "/state";

/// What a call may leave behind when it says that it failed.
enum class Failed : std::uint8_t {
  NotDone,  // else the caller, who does it again, does it twice
  Either,   // doing it again changes nothing
};

/// One run of every kind of call, with what must be there after each.
class ShortOfMemory {
 public:
  ShortOfMemory(std::uint64_t nth, bool always, state::Sharing sharing)
      : nth_(nth), always_(always), machine_(nth), random_(nth) {
    options_ = smallJournal();
    options_.segmentBytes = 4 << 10;
    options_.sharing = sharing;
    if (sharing == state::Sharing::Shared) otherProcess_ = machine_.startProcess();
    process_ = machine_.startProcess();
    files_ = std::make_unique<ExemptFiles>(*process_);
    environment_ = process_->environment();
    environment_.files = files_.get();
    versions_.emplace_back();
  }
  ~ShortOfMemory() { end(); }
  ShortOfMemory(const ShortOfMemory&) = delete;
  ShortOfMemory& operator=(const ShortOfMemory&) = delete;

  /// Whether the allocation came at all. `problem` gets what was wrong.
  bool run(std::string& problem) {
    FailingNew::arm(nth_, always_);
    steps();
    FailingNew::disarm();
    const bool hit = FailingNew::hit();
    if (hit && problem_.empty()) judgeEnds();
    problem = problem_;
    return hit;
  }
  [[nodiscard]] bool poisoned() const { return poisoned_; }

 private:
  void wrong(const std::string& what) {
    if (problem_.empty()) problem_ = "step " + std::to_string(step_) + " " + doing_ + ": " + what;
  }
  [[nodiscard]] const Content& current() const { return versions_.back(); }
  [[nodiscard]] bool over() const {
    return !problem_.empty() || poisoned_ || (always_ && failures_ > 2);
  }

  /// Runs `call` with failing allocations. False: it said that it failed.
  bool attempt(const std::string& doing, const std::function<void()>& call) {
    ++step_;
    doing_ = doing;
    try {
      const FailingNew::Counted counted;
      call();
      return true;
    } catch (const state::JournalFailed&) {
      poisoned_ = true;
    } catch (const std::bad_alloc&) {
    } catch (const Error& error) {
      said_ = error.what();
      if (dynamic_cast<const state::Corruption*>(&error) != nullptr) wrong("Corruption: " + said_);
    } catch (const std::exception& error) {
      wrong(std::string("neither bad_alloc nor an Error: ") + error.what());
    }
    ++failures_;
    if (!FailingNew::hit()) wrong("failed without reason: " + said_);
    return false;
  }

  /// `call` turns the current content into `next`.
  void change(const std::string& doing, Content next, bool synced, Failed failed,
              const std::function<void()>& call) {
    if (over() || !opened()) return;
    if (attempt(doing, call)) {
      versions_.push_back(std::move(next));
      if (synced) acknowledged_ = versions_.size() - 1;
      return;
    }
    Content found;
    try {
      found = readContent(journal_);
    } catch (const std::exception& error) {
      if (!poisoned_) wrong(std::string("cannot be read any more: ") + error.what());
      maybe_.push_back(std::move(next));
      return;
    }
    if (difference(current(), found).empty()) {
      if (poisoned_) maybe_.push_back(std::move(next));
    } else if (difference(next, found).empty()) {
      if (!poisoned_ && failed == Failed::NotDone) wrong("told that it failed, but it was done");
      versions_.push_back(std::move(next));
    } else {
      wrong("half done: " + difference(current(), found) + "; " + difference(next, found));
    }
    otherReads();
  }

  /// `call` changes nothing that anybody reads.
  void keep(const std::string& doing, const std::function<void()>& call) {
    if (over() || !opened()) return;
    if (attempt(doing, call)) return;
    try {
      const std::string lost = difference(current(), readContent(journal_));
      if (!lost.empty()) wrong(lost);
    } catch (const std::exception& error) {
      if (!poisoned_) wrong(std::string("cannot be read any more: ") + error.what());
    }
    otherReads();
  }

  /// What the other process does must go well, unless the journal has failed for both.
  void asOther(const std::function<void()>& call) {
    if (poisoned_ || !problem_.empty()) return;
    try {
      call();
    } catch (const state::JournalFailed&) {
      if (failures_ == 0) wrong("the other process: JournalFailed");
      poisoned_ = true;
    } catch (const std::exception& error) {
      wrong(std::string("the other process: ") + error.what());
    }
  }
  void otherReads() {
    if (!other_) return;
    asOther([&] {
      const std::string different = difference(current(), readContent(other_));
      if (!different.empty()) wrong("the other process reads: " + different);
    });
  }
  /// So that there is something to take in.
  void otherCommits() {
    if (!otherProcess_ || over() || !journal_) return;
    Content next = current();
    const std::string text = std::to_string(++number_);
    next.stores["data"]["other"] = text + std::string(300, 'o');
    next.logs["log"].records.push_back("record " + text);
    asOther([&] {
      if (!other_) {
        other_ = state::Journal::open(kDirectory, options_, otherProcess_->environment());
      }
      maybe_.push_back(next);
      Commit commit;
      commit.put(*other_->findStore("data"), "other", next.stores["data"]["other"]);
      const state::LogId log = *other_->findLog("log");
      appendRecord(commit.recordBuffer(log), next.logs["log"].records.back());
      commit.recordAdded(log, static_cast<std::int64_t>(number_));
      static_cast<void>(other_->commit(commit));
      maybe_.pop_back();
      versions_.push_back(std::move(next));
      acknowledged_ = versions_.size() - 1;
    });
    if (number_ % 8 == 0) otherReads();
  }

  /// Opens it where it is not; a failed opening is tried again, by whoever needs it.
  bool opened() {
    if (journal_) return true;
    for (int attempts = 0; attempts < 2 && !journal_; ++attempts) {
      static_cast<void>(attempt(
          "open", [&] { journal_ = state::Journal::open(kDirectory, options_, environment_); }));
      if (over()) return false;
    }
    if (!journal_) return false;
    const std::string lost = difference(current(), readContent(journal_));
    if (!lost.empty()) wrong("after opening: " + lost);
    if (!other_) acknowledged_ = versions_.size() - 1;  // recovered, so synced
    return problem_.empty();
  }

  void close() {
    ++step_;
    doing_ = "close";
    const FailingNew::Counted counted;  // what it cannot do, recovery does
    journal_.reset();
  }

  void fill(Commit& commit, std::uint64_t number, std::size_t bytes) {
    commit.put(*journal_->findStore("positions"), "position", std::to_string(number));
    commit.put(*journal_->findStore("data"), "key-" + std::to_string(number % 11),
               std::to_string(number) + std::string(bytes, 'v'));
    const state::LogId log = *journal_->findLog("log");
    appendRecord(commit.recordBuffer(log), "record " + std::to_string(number));
    commit.recordAdded(log, static_cast<std::int64_t>(number));
  }

  void commit(const std::string& doing, std::size_t bytes, Durability durability, int way) {
    if (number_ % 3 == 1) otherCommits();
    if (over() || !opened()) return;
    const std::uint64_t number = ++number_;
    Content next = current();
    next.stores["positions"]["position"] = std::to_string(number);
    next.stores["data"]["key-" + std::to_string(number % 11)] =
        std::to_string(number) + std::string(bytes, 'v');
    next.logs["log"].records.push_back("record " + std::to_string(number));
    change(doing, std::move(next), durability == Durability::Synced, Failed::NotDone, [&] {
      Commit commit;
      if (way == 1) {
        static_cast<void>(
            journal_->transact([&](Commit& inside) { fill(inside, number, bytes); }, durability));
        return;
      }
      fill(commit, number, bytes);
      if (way == 2) {
        static_cast<void>(journal_->commitAsync(std::move(commit), durability).get());
      } else {
        static_cast<void>(journal_->commit(commit, durability));
      }
    });
  }

  void declare(const std::string& name) {
    Content next = current();
    next.stores[name];
    change("declareStore", std::move(next), false, Failed::Either,
           [&] { static_cast<void>(journal_->declareStore(name)); });
  }

  void steps() {
    declare("positions");
    declare("data");
    Content withLog = current();
    withLog.logs["log"];
    change("declareLog", std::move(withLog), false, Failed::Either,
           [&] { static_cast<void>(journal_->declareLog("log")); });
    if (current().stores.size() < 2 || current().logs.empty()) return;  // nothing to work with
    for (int round = 0; round < 4 && !over(); ++round) {
      commit("commit", 50, Durability::Synced, 0);
      commit("buffered commit", 120, Durability::Buffered, 0);
      commit("transact", 30, Durability::Synced, 1);
      commit("commitAsync", 80, Durability::Synced, 2);
      keep("flush", [&] { journal_->flush(); });
      commit("commit as blob", 4000, Durability::Synced, 0);
      commit("transact as blob", 3500, Durability::Buffered, 1);
      commit("commitAsync as blob", 3200, Durability::Buffered, 2);
      reads();
      keep("snapshot", [&] { journal_->snapshotStore(*journal_->findStore("data")); });
      Content erased = current();
      erased.stores["data"].erase("key-3");
      std::erase_if(erased.stores["data"],
                    [](const auto& entry) { return entry.first.starts_with("key-1"); });
      change("erase", std::move(erased), true, Failed::Either, [&] {
        Commit commit;
        const state::StoreId data = *journal_->findStore("data");
        commit.erase(data, "key-3");
        commit.erasePrefix(data, "key-1");
        static_cast<void>(journal_->commit(commit));
      });
      commit("commit", 900, Durability::Synced, 0);
      commit("commit", 1500, Durability::Buffered, 0);
      keep("snapshot", [&] { journal_->snapshotStore(*journal_->findStore("positions")); });
      if (current().logs.at("log").records.size() >= 3) {
        Content trimmed = current();
        trimmed.logs["log"].start += 3;
        auto& records = trimmed.logs["log"].records;
        records.erase(records.begin(), records.begin() + 3);
        const std::uint64_t start = trimmed.logs["log"].start;
        change("trimLog", std::move(trimmed), false, Failed::Either,
               [&] { journal_->trimLog(*journal_->findLog("log"), start); });
      }
      keep("clean", [&] { static_cast<void>(journal_->clean()); });
      machine_.clock().advanceMs(150);
      keep("tick", [&] { journal_->testingTick(); });
      keep("tryClaim", [&] { static_cast<void>(journal_->tryClaim("task")); });
      declare("gone");
      Content without = current();
      without.stores.erase("gone");
      change("removeStore", std::move(without), true, Failed::Either, [&] {
        if (const auto gone = journal_->findStore("gone")) journal_->removeStore(*gone);
      });
      if (round % 2 == 1 && !over()) {
        close();
        static_cast<void>(opened());
      }
    }
    if (!over() && journal_) close();
  }

  void reads() {
    keep("read", [&] {
      const auto data = journal_->store(*journal_->findStore("data"));
      std::size_t seen = 0;
      data->scan("", "", [&](std::string_view, std::string_view) { return ++seen > 0; });
      std::string value;
      for (const auto& [key, expected] : current().stores.at("data")) {
        if (!data->get(key, value) || value != expected) throw std::logic_error("wrong " + key);
      }
      if (data->size() != seen) throw std::logic_error("wrong size");
      const state::LogInfo info = journal_->log(*journal_->findLog("log"));
      state::LogReader reader(journal_, info.id, info.start);
      for (state::LogChunk chunk; reader.next(chunk, state::ReadLimit::Written);) {
      }
      if (reader.offset() != info.end) throw std::logic_error("the log ends early");
    });
  }

  /// Empty when `found` may be there: a version from `from` on, or what a failed call left.
  std::string judge(const Content& found, std::size_t from) const {
    for (std::size_t i = from; i < versions_.size(); ++i) {
      if (difference(versions_[i], found).empty()) return "";
    }
    for (const Content& maybe : maybe_) {
      if (difference(maybe, found).empty()) return "";
    }
    return difference(current(), found);
  }

  void judgeEnds() {
    doing_ = "afterwards";
    for (int i = 0; i < 3; ++i) {
      const auto copy = machine_.clone(random_.next());
      const auto damage = kAllDamages[random_.below(kAllDamages.size())];
      if (i > 0) copy->crash(random_.next(), damage);
      Opened killed = openAndRead(*copy, kDirectory, options_);
      const std::size_t from = i > 0 ? acknowledged_ : versions_.size() - 1;
      const std::string lost =
          killed.problem.empty() ? judge(killed.content, from) : killed.problem;
      if (!lost.empty()) {
        wrong(i == 0 ? "killed: " + lost : std::string(nameOf(damage)) + ": " + lost);
      }
      killed.kill();
    }
    if (journal_ && !poisoned_) {  // with memory again it goes on
      try {
        const state::StoreId store = journal_->declareStore("after");
        for (int i = 0; i < 8; ++i) {
          Commit commit;
          commit.put(store, std::to_string(i), std::string(900, 'a'));
          static_cast<void>(journal_->commit(commit));
          versions_.push_back(current());
          versions_.back().stores["after"][std::to_string(i)] = std::string(900, 'a');
        }
        const std::uint64_t snapshots = journal_->metrics().snapshots;
        journal_->snapshotStore(store);
        if (current().stores.count("data") != 0) {
          Commit commit;
          commit.put(*journal_->findStore("data"), "last", "one");
          static_cast<void>(journal_->commit(commit));
          versions_.push_back(current());
          versions_.back().stores["data"]["last"] = "one";
          journal_->snapshotStore(*journal_->findStore("data"));
          if (journal_->metrics().snapshots != snapshots + 2) wrong("makes no snapshots any more");
        }
        static_cast<void>(journal_->clean());
        const std::string lost = difference(current(), readContent(journal_));
        if (!lost.empty()) wrong("going on: " + lost);
      } catch (const std::exception& error) {
        wrong(std::string("does not go on: ") + error.what());
      }
    }
    otherReads();
    journal_.reset();
    end();
    Opened last = openAndRead(machine_, kDirectory, options_);
    const std::string lost =
        last.problem.empty() ? judge(last.content, versions_.size() - 1) : last.problem;
    if (!lost.empty()) wrong("opened again: " + lost);
    last.kill();
  }

  void end() {
    process_->kill();
    if (otherProcess_) otherProcess_->kill();
    journal_.reset();
    other_.reset();
  }

  const std::uint64_t nth_;
  const bool always_;
  SimFs machine_;
  SimRandom random_;
  state::JournalOptions options_;
  std::shared_ptr<testsupport::SimProcess> process_;
  std::unique_ptr<ExemptFiles> files_;
  state::Environment environment_;
  std::shared_ptr<state::Journal> journal_;
  std::shared_ptr<testsupport::SimProcess> otherProcess_;  // null: nobody shares it
  std::shared_ptr<state::Journal> other_;
  std::vector<Content> versions_;
  std::size_t acknowledged_ = 0;
  std::vector<Content> maybe_;
  std::uint64_t number_ = 0;
  int step_ = 0;
  int failures_ = 0;
  bool poisoned_ = false;
  std::string doing_;
  std::string said_;
  std::string problem_;
};

void failEachAllocation(state::Sharing sharing, const std::string& row) {
  Figures figures(row);
  Violations violations("row " + row);
  const std::uint64_t most = scaled<std::uint64_t>(5000, 5000, 50'000);
  const std::uint64_t step = scaled<std::uint64_t>(97, 1, 1);
  std::uint64_t poisoned = 0;
  std::uint64_t last = 0;
  for (const bool always : {false, true}) {
    for (std::uint64_t n = firstSeed(); n <= most && !violations.enough(); n += step) {
      ShortOfMemory run(n, always, sharing);
      std::string problem;
      if (!run.run(problem) && problem.empty()) break;  // it makes fewer
      violations.state();
      last = std::max(last, n);
      poisoned += run.poisoned() ? 1 : 0;
      if (!problem.empty()) {
        violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(n) + " allocation " +
                           std::to_string(n) + (always ? " and later" : ""),
                       problem);
      }
    }
  }
  figures.print(std::to_string(violations.states()) + " failures among the first " +
                std::to_string(last) + " allocations, " + std::to_string(poisoned) +
                " ended the journal, " + std::to_string(violations.count()) + " wrong");
}

TEST(AllocationFailure, IsACleanErrorAndLosesNothing) {
  failEachAllocation(state::Sharing::Exclusive, "12");
}

TEST(AllocationFailure, IsNotSeenByAProcessThatSharesTheJournal) {
  failEachAllocation(state::Sharing::Shared, "12, shared");
}

/// With the journal's own threads, on a real file system: they live, and nobody waits for ever.
TEST(AllocationFailure, InAnyThreadEndsNeitherTheProcessNorAWait) {
  Figures figures("12, threads");
  const std::uint64_t most = scaled<std::uint64_t>(300, 3000, 5000);
  const std::uint64_t step = scaled<std::uint64_t>(11, 1, 1);
  std::uint64_t runs = 0;
  const testing::TemporaryDirectory place;
  state::JournalOptions options;
  options.segmentBytes = 16 << 10;
  options.snapshotAfterBytes = 8 << 10;
  options.blobBytes = 16 << 10;
  options.syncInterval = std::chrono::milliseconds(1);
  for (const bool always : {false, true}) {
    for (std::uint64_t n = firstSeed(); n <= most; n += step) {
      ++runs;
      const std::string directory = place / (std::to_string(n) + (always ? "-always" : ""));
      std::set<std::string> acknowledged;
      std::set<std::string> failed;
      std::shared_ptr<state::Journal> journal;
      try {
        journal = state::Journal::open(directory, options);
        const state::StoreId store = journal->declareStore("s");
        journal->flush();
        FailingNew::arm(n, always, true);
        const FailingNew::Exempt exempt;
        std::vector<std::pair<std::string, std::future<state::CommitResult>>> futures;
        for (int i = 0; i < 40; ++i) {
          const std::string key = "key-" + std::to_string(i);
          Commit commit;
          commit.put(store, key, std::string(i % 10 == 9 ? 20'000 : 300, 'x'));
          try {
            futures.emplace_back(key, journal->commitAsync(std::move(commit), Durability::Synced));
          } catch (const std::exception&) {
            failed.insert(key);
          }
        }
        for (auto& [key, future] : futures) {
          ASSERT_EQ(future.wait_for(std::chrono::minutes(1)), std::future_status::ready)
              << "allocation " << n << ": " << key << " is never answered";
          try {
            static_cast<void>(future.get());
            acknowledged.insert(key);
          } catch (const std::bad_alloc&) {
            failed.insert(key);
          } catch (const state::JournalFailed&) {  // may be there
          } catch (const std::exception& error) {
            FAIL() << "allocation " << n << ": " << error.what();
          }
        }
        if (!always) {
          try {
            journal->flush();
          } catch (const state::JournalFailed&) {
          }
        }
      } catch (const std::exception& error) {
        FAIL() << "allocation " << n << ": " << error.what();
      }
      journal.reset();
      FailingNew::disarm();
      journal = state::Journal::open(directory, options);
      const Content content = readContent(journal);
      for (const std::string& key : acknowledged) {
        ASSERT_EQ(content.stores.at("s").count(key), 1U) << "allocation " << n << " lost " << key;
      }
      for (const std::string& key : failed) {
        ASSERT_EQ(content.stores.at("s").count(key), 0U) << "allocation " << n << " did " << key;
      }
      journal.reset();
      std::filesystem::remove_all(directory);
    }
  }
  figures.print(std::to_string(runs) + " runs, 0 ended, 0 hanging");
}

}  // namespace
}  // namespace penstock::fault
