// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fault/content.h"
#include "support/sim_fs.h"

namespace penstock::fault {

struct WorkloadOptions {
  std::uint64_t seed = 1;
  int steps = 200;
  state::JournalOptions journal;
  std::string directory = "/state";
  bool onlyBuffered = false;  // no call that asks for a sync
  bool housekeeping = true;   // snapshots, cleaning, ticks, closing and opening again
};

/// Uses one journal as an application would, and knows after each call what must be in it: all
/// content that was ever current, in order, and which of it was promised to survive power loss.
/// Same seed, same calls.
///
/// The ACK rule (reliability section 8) in these words: what a crash leaves behind is one of the
/// versions from `acknowledged()` on.
class Workload {
 public:
  Workload(testsupport::SimFs& machine, WorkloadOptions options);
  ~Workload();
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  void open();
  /// One step. An exception of the journal is kept as `lastError`, and what is true then is found
  /// by asking the journal.
  void step();
  void run();
  void close() { journal_.reset(); }
  void kill();

  [[nodiscard]] const std::shared_ptr<state::Journal>& journal() const { return journal_; }
  [[nodiscard]] const std::string& lastError() const { return lastError_; }
  [[nodiscard]] int errors() const { return errors_; }
  [[nodiscard]] bool failedForGood() const { return failedForGood_; }
  [[nodiscard]] std::uint64_t acknowledgedSteps() const { return acknowledgedSteps_; }
  [[nodiscard]] std::size_t acknowledged() const { return acknowledged_; }
  [[nodiscard]] std::size_t versions() const { return versions_.size(); }
  [[nodiscard]] const Content& version(std::size_t index) const { return versions_[index].content; }
  [[nodiscard]] const Content& current() const { return versions_.back().content; }

  /// Empty when `found` is one of the versions that may be there after power loss now; else why
  /// not. `which` (may be null) gets the version.
  [[nodiscard]] std::string judge(const Content& found, std::size_t* which = nullptr) const;
  /// The same for a kill without power loss: nothing that was returned from may be missing, and
  /// nothing may be there that a full disk rejected (power loss can bring it back, as the cut of
  /// its bytes was not synced).
  [[nodiscard]] std::string judgeKill(const Content& found) const;

 private:
  struct Version {
    Content content;
    std::uint64_t sequence = 0;  // 0: not known yet
  };

  enum class Act : std::uint8_t;
  void act(Act act);
  void commitSomething(state::Durability durability, bool transact);
  void fill(state::Commit& commit, Content& content, std::uint64_t number);
  void reopen();
  /// Runs `call`, which should turn the current version into `next`.
  void change(Content next, const std::function<state::Sequence()>& call, bool synced);
  void noteSynced();
  void trace(Act chosen) const;  // to standard output when PENSTOCK_FAULT_TRACE is set

  testsupport::SimFs& machine_;
  const WorkloadOptions options_;
  testsupport::SimRandom random_;
  std::shared_ptr<testsupport::SimProcess> process_;
  std::shared_ptr<state::Journal> journal_;
  std::vector<Version> versions_;
  std::size_t acknowledged_ = 0;  // index into versions_: it or a later one survives
  std::size_t returned_ = 0;      // index of the last version whose call has returned
  struct Maybe {
    Content content;
    bool rejected = false;  // DiskFull: "nothing was written"
    std::size_t next = 0;   // the version that was written behind it, or will be
  };
  /// All up to that version is on disk, and what calls that failed before it became of is settled.
  void acknowledge(std::size_t version);
  std::vector<Maybe> maybe_;  // of failed calls, until something newer is synced
  std::uint64_t counter_ = 0;
  std::uint64_t acknowledgedSteps_ = 0;
  std::string lastError_;
  int errors_ = 0;
  bool failedForGood_ = false;
};

/// Journal options with which a few hundred small commits see rollovers, snapshots, cleaning.
state::JournalOptions smallJournal();

}  // namespace penstock::fault
