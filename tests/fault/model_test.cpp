// SPDX-License-Identifier: Apache-2.0

// Row 16 of the scoreboard: random operations on stores and logs against a map and a vector, by
// one process or two that share, with a power cut every ten thousand operations or so. What is
// read is what the model holds; what a power cut leaves is what the model held at some moment
// since the last sync.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "fault/figures.h"
#include "fault/violations.h"
#include "fault/workload.h"

namespace penstock::fault {
namespace {

using state::Commit;
using state::Durability;
using testsupport::Damage;
using testsupport::kAllDamages;
using testsupport::SimFs;
using testsupport::SimRandom;

const char* const kDirectory = "/state";

/// What a call does to the model.
using Effect = std::function<void(Content&)>;

class Model {
 public:
  explicit Model(std::uint64_t seed) : seed_(seed), machine_(seed), random_(seed) {
    current_.stores["positions"];
    base_ = current_;
  }
  ~Model() {
    for (Member& member : members_) {
      if (member.process) member.process->kill();
    }
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Runs until about `operations` are done and the power was cut. Empty, or what was wrong.
  std::string run(std::uint64_t operations) {
    for (Member& member : members_) {  // all is synced; the others share or do not
      if (member.process) member.process->kill();
      member = {};
    }
    options_ = smallJournal();
    options_.sharing = random_.oneIn(2) ? state::Sharing::Shared : state::Sharing::Exclusive;
    const std::uint64_t until = done_ + operations;
    while (problem_.empty() && done_ < until) step();
    if (problem_.empty()) cutPower();
    return problem_;
  }
  [[nodiscard]] std::uint64_t done() const { return done_; }

 private:
  struct Member {
    std::shared_ptr<testsupport::SimProcess> process;
    std::shared_ptr<state::Journal> journal;
  };

  void wrong(const std::string& what) {
    if (problem_.empty()) {
      problem_ = "PENSTOCK_FAULT_SEED=" + std::to_string(seed_) + " operation " +
                 std::to_string(done_) + " (" + doing_ + "): " + what;
    }
  }

  state::Journal& journal() {
    Member& member = members_[at_];
    if (!member.journal) {
      if (!member.process) member.process = machine_.startProcess();
      member.journal = state::Journal::open(kDirectory, options_, member.process->environment());
      static_cast<void>(member.journal->declareStore("positions"));
    }
    return *member.journal;
  }
  std::shared_ptr<state::Journal> handle() {
    static_cast<void>(journal());
    return members_[at_].journal;
  }

  /// The call was made and did `effect`; synced says that nothing before it can be lost now.
  void happened(const Effect& effect, bool synced) {
    effect(current_);
    unsynced_.push_back(effect);
    if (synced) settle();
  }
  void settle() {
    for (const Effect& effect : unsynced_) effect(base_);
    unsynced_.clear();
  }

  std::string anyKey() { return "key-" + std::to_string(random_.below(60)); }
  std::string anyStore() {
    const std::uint64_t which = random_.below(current_.stores.size());
    return std::next(current_.stores.begin(), static_cast<std::ptrdiff_t>(which))->first;
  }
  std::optional<std::string> anyLog() {
    if (current_.logs.empty()) return std::nullopt;
    const std::uint64_t which = random_.below(current_.logs.size());
    return std::next(current_.logs.begin(), static_cast<std::ptrdiff_t>(which))->first;
  }

  void step() {
    ++done_;
    at_ = options_.sharing == state::Sharing::Shared ? random_.below(2) : 0;
    const std::uint64_t kind = random_.below(1000);
    inFlight_ = nullptr;
    try {
      if (kind < 520) {
        commit();
      } else if (kind < 700) {
        readKey();
      } else if (kind < 800) {
        scan();
      } else if (kind < 880) {
        readLog();
      } else if (kind < 900) {
        declare();
      } else if (kind < 908) {
        remove();
      } else if (kind < 930) {
        trim();
      } else if (kind < 936) {
        retain();
      } else if (kind < 950) {
        doing_ = "snapshot";
        journal().snapshotStore(*journal().findStore(anyStore()));
      } else if (kind < 962) {
        clean();
      } else if (kind < 972) {
        doing_ = "flush";
        journal().flush();
        settle();
      } else if (kind < 988) {
        doing_ = "tick";
        machine_.clock().advanceMs(static_cast<std::int64_t>(random_.below(250)));
        journal().testingTick();
      } else if (kind < 992) {
        doing_ = "claim";
        const auto claim = journal().tryClaim("task");
        if (!claim) wrong("nobody else has it");
      } else if (kind < 996) {
        doing_ = "reopen";
        members_[at_].journal.reset();
        static_cast<void>(journal());
      } else if (kind < 998) {
        doing_ = "kill";
        if (members_[at_].process) members_[at_].process->kill();
        members_[at_] = {};
        static_cast<void>(journal());
      } else {
        compareAll();
      }
    } catch (const Error& error) {
      if (!machine_.crashed()) wrong(error.what());
    } catch (const std::exception& error) {
      if (!machine_.crashed()) wrong(error.what());
    }
  }

  void commit() {
    doing_ = "commit";
    const std::uint64_t number = ++number_;
    struct Change {
      int kind;
      std::string name, key, value;
    };
    std::vector<Change> changes{{0, "positions", "position", std::to_string(number)}};
    const std::uint64_t count = random_.below(6);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t kind = random_.below(100);
      const std::string value =
          std::to_string(number) +
          std::string(static_cast<std::size_t>(random_.below(random_.oneIn(200) ? 6000 : 80)), 'v');
      if (const auto log = anyLog(); log && kind < 25) {
        changes.push_back({4, *log, "", value});
      } else if (std::string store = anyStore(); store != "positions") {
        changes.push_back({kind < 75   ? 0
                           : kind < 95 ? 1
                           : kind < 99 ? 2
                                       : 3,
                           std::move(store),
                           kind < 95 ? anyKey() : "key-" + std::to_string(random_.below(6)),
                           value});
      }
    }
    const std::int64_t time = machine_.clock().wallMs();
    const auto fill = [&](Commit& into) {
      for (const Change& change : changes) {
        if (change.kind == 4) {
          const state::LogId log = *journal().findLog(change.name);
          appendRecord(into.recordBuffer(log), change.value);
          into.recordAdded(log, time);
          continue;
        }
        const state::StoreId store = *journal().findStore(change.name);
        if (change.kind == 0) into.put(store, change.key, change.value);
        if (change.kind == 1) into.erase(store, change.key);
        if (change.kind == 2) into.erasePrefix(store, change.key);
        if (change.kind == 3) into.clear(store);
      }
    };
    const Effect effect = [changes](Content& content) {
      for (const Change& change : changes) {
        if (change.kind == 4) {
          content.logs[change.name].records.push_back(change.value);
          continue;
        }
        auto& keys = content.stores[change.name];
        if (change.kind == 0) keys[change.key] = change.value;
        if (change.kind == 1) keys.erase(change.key);
        if (change.kind == 3) keys.clear();
        if (change.kind != 2) continue;
        std::erase_if(keys, [&](const auto& item) { return item.first.starts_with(change.key); });
      }
    };
    inFlight_ = effect;
    const auto durability = random_.oneIn(25) ? Durability::Synced : Durability::Buffered;
    Commit commit;
    switch (random_.below(4)) {
      case 0:
        static_cast<void>(journal().transact(fill, durability));
        break;
      case 1:
        fill(commit);
        static_cast<void>(journal().commitAsync(std::move(commit), durability).get());
        break;
      default:
        fill(commit);
        static_cast<void>(journal().commit(commit, durability));
        break;
    }
    happened(effect, durability == Durability::Synced);
  }

  void readKey() {
    doing_ = "read";
    const std::string name = anyStore();
    const auto& keys = current_.stores.at(name);
    const auto store = journal().store(*journal().findStore(name));
    const std::string key = name == "positions" ? "position" : anyKey();
    std::string value;
    const bool there = store->get(key, value);
    const auto expected = keys.find(key);
    if (there != (expected != keys.end()) || (there && value != expected->second)) {
      wrong(name + " " + key + " is " + (there ? value.substr(0, 20) : "absent"));
    }
    if (store->contains(key) != there) wrong("contains() is wrong");
    if (store->size() != keys.size()) wrong("size() is " + std::to_string(store->size()));
  }

  void scan() {
    doing_ = "scan";
    const std::string name = anyStore();
    const auto& keys = current_.stores.at(name);
    std::string from = random_.oneIn(3) ? "" : anyKey();
    std::string to = random_.oneIn(3) ? "" : anyKey();
    const auto store = journal().store(*journal().findStore(name));
    auto expected = keys.lower_bound(from);
    const auto end = to.empty() ? keys.end() : keys.lower_bound(std::max(from, to));
    if (!to.empty() && to < from) to = from;
    store->scan(from, to, [&](std::string_view key, std::string_view value) {
      if (expected == end || key != expected->first || value != expected->second) {
        wrong(name + " [" + from + ", " + to + ") shows " + std::string(key));
        return false;
      }
      ++expected;
      return true;
    });
    if (expected != end) wrong(name + " [" + from + ", " + to + ") lacks " + expected->first);
  }

  void readLog() {
    doing_ = "read log";
    const auto name = anyLog();
    if (!name) return;
    const LogContent& log = current_.logs.at(*name);
    const state::LogInfo info = journal().log(*journal().findLog(*name));
    if (info.start != log.start || info.end != log.start + log.records.size()) {
      wrong(*name + " is [" + std::to_string(info.start) + ", " + std::to_string(info.end) + ")");
      return;
    }
    if (log.records.empty()) return;
    const std::uint64_t offset = log.start + random_.below(log.records.size());
    state::LogReader reader(handle(), info.id, offset);
    state::LogChunk chunk;
    if (!reader.next(chunk, state::ReadLimit::Written)) return wrong("there is no such record");
    std::string bytes;
    for (std::uint64_t i = chunk.baseOffset; i < chunk.baseOffset + chunk.count; ++i) {
      // Below the start the model has forgotten what a section still holds.
      if (i < log.start) return;
      appendRecord(bytes, log.records[static_cast<std::size_t>(i - log.start)]);
    }
    const std::string_view found(reinterpret_cast<const char*>(chunk.bytes.data()),
                                 chunk.bytes.size());
    if (found != bytes) wrong(*name + " offset " + std::to_string(offset) + " has other bytes");
  }

  void declare() {
    doing_ = "declare";
    if (random_.oneIn(2)) {
      const std::string name = "store-" + std::to_string(random_.below(5));
      const Effect effect = [name](Content& content) { content.stores[name]; };
      inFlight_ = effect;
      static_cast<void>(journal().declareStore(name));
      happened(effect, false);
    } else {
      const std::string name = "log-" + std::to_string(random_.below(3));
      const Effect effect = [name](Content& content) { content.logs[name]; };
      inFlight_ = effect;
      static_cast<void>(journal().declareLog(name));
      happened(effect, false);
    }
  }

  void remove() {
    doing_ = "remove";
    if (const auto log = anyLog(); log && random_.oneIn(3)) {
      const Effect effect = [name = *log](Content& content) { content.logs.erase(name); };
      inFlight_ = effect;
      journal().removeLog(*journal().findLog(*log));
      retention_.erase(*log);
      happened(effect, false);
    } else if (const std::string store = anyStore(); store != "positions") {
      const Effect effect = [store](Content& content) { content.stores.erase(store); };
      inFlight_ = effect;
      journal().removeStore(*journal().findStore(store));
      happened(effect, true);
    }
  }

  static Effect trimTo(const std::string& name, std::uint64_t start) {
    return [name, start](Content& content) {
      LogContent& log = content.logs[name];
      const std::uint64_t count =
          std::min<std::uint64_t>(start > log.start ? start - log.start : 0, log.records.size());
      log.start += count;
      log.records.erase(log.records.begin(),
                        log.records.begin() + static_cast<std::ptrdiff_t>(count));
    };
  }

  void trim() {
    doing_ = "trim";
    const auto name = anyLog();
    if (!name) return;
    const LogContent& log = current_.logs.at(*name);
    const std::uint64_t start = log.start + random_.below(log.records.size() + 1);
    const Effect effect = trimTo(*name, start);
    inFlight_ = effect;
    journal().trimLog(*journal().findLog(*name), start);
    happened(effect, false);
  }

  void retain() {
    doing_ = "retention";
    const auto name = anyLog();
    if (!name) return;
    const std::int64_t bytes =
        random_.oneIn(3) ? -1 : static_cast<std::int64_t>(random_.below(20'000));
    journal().setRetention(*journal().findLog(*name), {.maxAgeMs = -1, .maxBytes = bytes});
    retention_[*name] = bytes;
  }

  void clean() {
    doing_ = "clean";
    cleaning_ = true;
    static_cast<void>(journal().clean());
    cleaning_ = false;
    const Content before = current_;
    for (const auto& [name, log] : before.logs) {
      const state::LogInfo info = journal().log(*journal().findLog(name));
      if (info.start <= log.start) continue;
      if (!mayStartAt(info.start, name, log)) {
        wrong(name + ": cleaning went to " + std::to_string(info.start) + ", which is too far");
      }
      happened(trimTo(name, info.start), false);
    }
  }

  /// Whether its retention lets a log begin there.
  [[nodiscard]] bool mayStartAt(std::uint64_t start, const std::string& name,
                                const LogContent& log) const {
    std::uint64_t kept = 0;
    for (std::uint64_t i = start - log.start; i < log.records.size(); ++i) {
      kept += log.records[static_cast<std::size_t>(i)].size() + sizeof(std::uint32_t);
    }
    const auto allowed = retention_.find(name);
    const std::int64_t most = allowed == retention_.end() ? -1 : allowed->second;
    return most >= 0 && kept >= static_cast<std::uint64_t>(most);
  }

  /// What a cleaning that was cut off may have done to logs, seen by where they start.
  Effect cleanedTo(const Content& found) {
    return [this, starts = found.logs](Content& content) {
      for (const auto& [name, log] : starts) {
        const auto before = content.logs.find(name);
        if (before == content.logs.end() || log.start <= before->second.start) continue;
        if (mayStartAt(log.start, name, before->second)) trimTo(name, log.start)(content);
      }
    };
  }

  void compareAll() {
    doing_ = "compare";
    const std::string different = difference(current_, readContent(handle()));
    if (!different.empty()) wrong(different);
  }

  /// Within an operation as often as between two.
  void cutPower() {
    if (random_.oneIn(2)) {
      machine_.crashAfterOperation(1 + random_.below(80));
      for (int i = 0; i < 2000 && problem_.empty() && !machine_.crashed(); ++i) step();
    } else {
      inFlight_ = nullptr;
    }
    if (!problem_.empty()) return;
    doing_ = "power cut";
    for (Member& member : members_) {
      if (member.process) member.process->kill();
      member = {};
    }
    const Damage damage = kAllDamages[random_.below(kAllDamages.size())];
    machine_.crash(random_.next(), damage);
    at_ = 0;
    Content found;
    try {
      found = readContent(handle());
    } catch (const std::exception& error) {
      return wrong(std::string(nameOf(damage)) + ": " + error.what());
    }
    if (inFlight_) unsynced_.push_back(inFlight_);  // it may be there, as the last
    if (cleaning_) unsynced_.push_back(cleanedTo(found));
    cleaning_ = false;
    std::string reason;
    std::size_t at = 0;
    for (;; ++at) {
      reason = difference(base_, found);
      if (reason.empty() && sameStarts(base_, found)) break;
      if (at == unsynced_.size()) {
        return wrong(std::string(nameOf(damage)) +
                     ": nothing since the last sync was so: " + reason);
      }
      unsynced_[at](base_);
    }
    unsynced_.clear();
    current_ = base_;
    // What retention a log has may be lost with the frame that set it.
    for (const state::LogInfo& info : journal().logs()) {
      retention_[info.name] = info.retention.maxBytes;
    }
  }

  static bool sameStarts(const Content& one, const Content& other) {
    return std::all_of(one.logs.begin(), one.logs.end(), [&](const auto& item) {
      const auto at = other.logs.find(item.first);
      return at != other.logs.end() && at->second.start == item.second.start;
    });
  }

  const std::uint64_t seed_;
  SimFs machine_;
  SimRandom random_;
  state::JournalOptions options_;
  std::array<Member, 2> members_;
  std::size_t at_ = 0;
  Content base_;                  // at the last sync
  std::vector<Effect> unsynced_;  // since then
  Content current_;
  std::map<std::string, std::int64_t> retention_;
  Effect inFlight_;  // of the call that is being made
  bool cleaning_ = false;
  std::uint64_t number_ = 0;
  std::uint64_t done_ = 0;
  std::string doing_;
  std::string problem_;
};

TEST(ModelBasedOperations, AgreeWithTheModelThroughPowerCuts) {
  Figures figures("16");
  Violations violations("row 16");
  const std::uint64_t wanted =
      scaled<std::uint64_t>(50'000, 10'000'000, std::uint64_t{1'000'000'000});
  std::uint64_t done = 0;
  std::uint64_t cuts = 0;
  for (std::uint64_t seed = firstSeed(); done < wanted && !violations.enough(); ++seed) {
    Model model(seed);
    SimRandom lengths(seed);
    // A new machine now and then, so that a seed is enough to come to any place soon.
    for (int i = 0; i < 5 && done + model.done() < wanted; ++i) {
      violations.state();
      ++cuts;
      const std::string problem = model.run(5000 + lengths.below(10'000));
      if (!problem.empty()) {
        violations.add("", problem);
        break;
      }
    }
    done += model.done();
  }
  figures.print(std::to_string(done) + " operations, " + std::to_string(cuts) + " power cuts, " +
                std::to_string(violations.count()) + " differences");
}

}  // namespace
}  // namespace penstock::fault
