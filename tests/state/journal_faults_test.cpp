// SPDX-License-Identifier: Apache-2.0
// The journal on a simulated machine: sharers that lag behind, pages of before, full disks,
// failed calls. Each test is one thing that went wrong, or could.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <penstock/state/backup.h>
#include <penstock/state/inspect.h>
#include <penstock/state/journal.h>
#include <penstock/state/repair.h>
#include <penstock/state/verify.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/frames.h"
#include "support/hooked_files.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/sim_journal.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using ::testing::HasSubstr;
using testsupport::addRecords;
using testsupport::filesWith;
using testsupport::firstSegment;
using testsupport::flip;
using testsupport::get;
using testsupport::HookedFiles;
using testsupport::kDirectory;
using testsupport::placeOf;
using testsupport::Process;
using testsupport::put;
using testsupport::recordsIn;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::smallSegments;

std::uint64_t usedBytes(SimFs& machine) {
  std::uint64_t bytes = 0;
  for (const std::string& file : machine.files()) bytes += machine.image(file).size();
  return bytes;
}

/// Changes a byte of the value of the first segment that is made of `letter`.
void damageValue(SimFs& machine, char letter) {
  flip(machine, firstSegment, placeOf(machine, firstSegment, std::string(100, letter)));
}

// The idle member has not taken in what was written since; by now it lies in files that are gone.
TEST(SharedJournalTest, AMemberThatLagsBehindTheCleanerBeginsWhereThereIsSomething) {
  SimFs machine(1);
  Process idle(machine);
  Process busy(machine);
  auto behind = idle.open(smallSegments(Sharing::Shared));
  const StoreId kept = behind->declareStore("kept");
  const StoreId removed = behind->declareStore("removed");
  const LogId log = behind->declareLog("log");
  put(*behind, kept, "old", "1");
  put(*behind, removed, "old", "1");
  const auto store = behind->store(kept);
  LogReader reader(behind, log, 0);

  auto ahead = busy.open(smallSegments(Sharing::Shared));
  for (int i = 0; i < 1000; ++i) put(*ahead, kept, "n", std::to_string(i) + std::string(200, 'x'));
  addRecords(*ahead, log, 200);
  ahead->removeStore(removed);
  ahead->snapshotStore(kept);
  ahead->trimLog(log, 150);
  EXPECT_GT(ahead->clean(), 0U);

  EXPECT_EQ(get(*store, "old"), "1");
  EXPECT_EQ(get(*store, "n"), "999" + std::string(200, 'x'));
  EXPECT_EQ(store->size(), 2U);
  EXPECT_FALSE(behind->findStore("removed"));
  reader.seek(150);
  LogChunk chunk;
  while (reader.next(chunk, ReadLimit::Written)) {
  }
  EXPECT_EQ(reader.offset(), 200U);
  put(*behind, kept, "mine", "2");
  EXPECT_EQ(get(*ahead->store(kept), "mine"), "2");
  EXPECT_EQ(behind->log(log).start, 150U);
}

/// A member that has store and log open, and has not taken in what a cleaner has removed since.
struct LaggingMember {
  explicit LaggingMember(SimFs& machine)
      : process(machine), busy(machine), behind(process.open(smallSegments(Sharing::Shared))) {
    kept = behind->declareStore("kept");
    other = behind->declareStore("other");
    log = behind->declareLog("log");
    put(*behind, kept, "old", "1");
    put(*behind, other, "old", "1");
    keptStore = behind->store(kept);
    otherStore = behind->store(other);
    ahead = busy.open(smallSegments(Sharing::Shared));
  }
  void moveOn(const std::string& value) const {
    put(*ahead, kept, "n", value);
    addRecords(*ahead, log, 300);
    ahead->snapshotStore(kept);
    ahead->trimLog(log, ahead->log(log).end - 10);
    try {
      (void)ahead->clean();
    } catch (const Corruption&) {
    }
  }
  Process process;
  Process busy;
  std::shared_ptr<Journal> behind;
  std::shared_ptr<Journal> ahead;
  StoreId kept;
  StoreId other;
  LogId log;
  std::shared_ptr<Store> keptStore;
  std::shared_ptr<Store> otherStore;
};

TEST(SharedJournalTest, AMemberThatFailsWhileItBeginsAgainDoesSoLater) {
  for (const SimCall call : {SimCall::Open, SimCall::Read, SimCall::Size}) {
    for (std::uint64_t nth = 1; nth <= 12; ++nth) {
      SCOPED_TRACE(std::string(nameOf(call)) + " " + std::to_string(nth));
      SimFs machine(nth);
      LaggingMember member(machine);
      member.moveOn("2");
      machine.fail({call, nth, EMFILE, false, ""});
      try {
        (void)get(*member.keptStore, "n");
      } catch (const IoError&) {
      }
      machine.clearFaults();
      EXPECT_EQ(get(*member.keptStore, "n"), "2");
      member.moveOn("3");  // and the cleaner goes on meanwhile
      EXPECT_EQ(get(*member.keptStore, "n"), "3");
      EXPECT_EQ(get(*member.otherStore, "old"), "1");
      put(*member.behind, member.kept, "n", "4");
      EXPECT_EQ(get(*member.ahead->store(member.kept), "n"), "4");
    }
  }
}

// Each time that it begins anew, what it began with was cleaned away meanwhile.
TEST(SharedJournalTest, AMemberThatTheCleanerOutrunsTriesAgainAndThenSaysSo) {
  for (const bool always : {false, true}) {
    SimFs machine(1);
    LaggingMember member(machine);
    const StoreId removed = member.behind->declareStore("removed");
    put(*member.behind, removed, "k", "v");
    const auto removedStore = member.behind->store(removed);
    member.ahead->removeStore(removed);
    member.moveOn("2");
    machine.fail({SimCall::Open, 2, ENOENT, always, "segment-"});
    if (always) {
      EXPECT_THROW((void)get(*member.keptStore, "n"), IoError);
      machine.clearFaults();
    }
    EXPECT_EQ(get(*member.keptStore, "n"), "2");
    EXPECT_FALSE(member.behind->findStore("removed"));
    EXPECT_THROW((void)member.behind->store(removed), InvalidArgument);
  }
}

// What it has of a store of which a part is damaged is not the whole: no snapshot may say so.
TEST(SharedJournalTest, AStoreThatCannotBeReadInAnewIsNotSnapshotted) {
  SimFs machine(1);
  LaggingMember member(machine);
  put(*member.ahead, member.other, "new", std::string(500, 'B'));
  addRecords(*member.ahead, member.log, 100);
  damageValue(machine, 'B');
  member.moveOn("2");
  member.moveOn("3");
  EXPECT_EQ(get(*member.keptStore, "n"), "3");
  EXPECT_THROW((void)get(*member.otherStore, "old"), Corruption);
  EXPECT_THROW(member.behind->snapshotStore(member.other), Corruption);
  EXPECT_EQ(filesWith(machine, "segment-0000000001.log"), 1U);
}

// Once more and once more, at every distance from the cleaner, with a snapshot half made.
TEST(SharedJournalTest, MembersThatLagSeeTheSameAsTheOthers) {
  SimFs machine(2);
  Process one(machine);
  Process two(machine);
  auto writer = one.open(smallSegments(Sharing::Shared));
  auto reader = two.open(smallSegments(Sharing::Shared));
  const StoreId id = writer->declareStore("s");
  const auto seen = reader->store(id);
  const auto truth = writer->store(id);
  for (int round = 1; round <= 30; ++round) {
    for (int i = 0; i < 20 * round; ++i) {
      put(*writer, id, "key " + std::to_string(i % 50),
          std::string(300, static_cast<char>('a' + round % 26)));
    }
    if (round % 3 == 0) writer->snapshotStore(id);
    if (round % 5 == 0) reader->snapshotStore(id);
    if (round % 2 == 0) (void)writer->clean();
    for (int i = 0; i < 50; ++i) {
      const std::string key = "key " + std::to_string(i);
      ASSERT_EQ(get(*seen, key), get(*truth, key)) << "round " << round;
    }
    ASSERT_EQ(seen->size(), truth->size());
  }
}

// Small buffered commits, so that a synced one never waits for a large backlog of others.
TEST(BufferedCommitsTest, AreHandedToTheDiskEvery4MiBAndSyncedBeyondTheCap) {
  constexpr std::uint64_t kMiB = 1U << 20U;
  SimFs machine(1);
  Process process(machine);
  JournalOptions options;
  options.unsyncedBytesMax = 16 * kMiB;
  auto journal = process.open(options);
  const StoreId id = journal->declareStore("s");
  auto commitMiB = [&, n = 0]() mutable {
    Commit commit;
    commit.put(id, "k" + std::to_string(n++), std::string(kMiB, 'x'));
    return journal->commit(commit, Durability::Buffered).sequence;
  };
  journal->flush();
  const Sequence before = journal->synced();
  for (std::uint64_t written = 1; written <= 15; ++written) {
    (void)commitMiB();
    EXPECT_GE(machine.writebackBytes() + 5 * kMiB, written * kMiB);
  }
  EXPECT_EQ(journal->synced().value, before.value);
  (void)commitMiB();
  (void)commitMiB();
  EXPECT_GE(journal->synced().value, before.value + 16);
}

TEST(CommitTest, ThatIsBeyondItsLargestSizeIsRefusedWholeOnEveryWay) {
  SimFs machine(1);
  Process process(machine);
  JournalOptions options;
  options.commitBytesMax = 1U << 20U;
  auto journal = process.open(options);
  const StoreId id = journal->declareStore("s");
  const auto fill = [&](Commit& commit, std::size_t bytes) {
    commit.put(id, "a", std::string(bytes / 2, 'x'));
    commit.put(id, "b", std::string(bytes / 2, 'x'));
  };
  Commit large;
  fill(large, 1U << 20U);
  const Sequence before = journal->written();
  EXPECT_THAT(testing::messageOf<InvalidArgument>([&] { (void)journal->commit(large); }),
              HasSubstr("1048576"));
  EXPECT_THROW((void)journal->transact([&](Commit& commit) { fill(commit, 1U << 20U); }),
               InvalidArgument);
  EXPECT_FALSE(large.empty()) << "it is the caller's still";
  EXPECT_THROW(journal->commitAsync(std::move(large)).get(), InvalidArgument);
  EXPECT_EQ(journal->written(), before);
  EXPECT_EQ(journal->store(id)->size(), 0U);
  Commit fitting;
  fill(fitting, (1U << 20U) - 100);
  EXPECT_GT(journal->commit(fitting).sequence, before);
}

// A snapshot writes all of a store again: how often depends on how large it is.
TEST(PinnedSegmentsTest, ALargeStoreIsWrittenAgainWhenAThirdOfItsSizeHasChanged) {
  SimFs machine(1);
  machine.makeSyncedDirectory(kDirectory);
  Process process(machine);
  const auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  const auto write = [&](int keys) {
    for (int i = 0; i < keys; ++i) {
      put(*journal, id, "k" + std::to_string(i), std::string(16 << 10, 'x'));
    }
    (void)journal->clean();
    return journal->metrics().snapshots;
  };
  EXPECT_EQ(write(192), 1U);  // 3 MiB, and two segments of 64 KiB may be kept by what is small
  journal->snapshotStore(id);
  EXPECT_EQ(write(48), 2U);  // a quarter
  EXPECT_GE(filesWith(machine, "segment-"), 12U);
  EXPECT_EQ(write(32), 3U);
  EXPECT_LE(filesWith(machine, "segment-"), 3U);
}

// The disk holds a bounded amount more than snapshots: who is quicker than the cleaner waits, but
// never until it is done.
TEST(SlowedWritersTest, WaitALittleWhileCleaningIsBehind) {
  const testing::TemporaryDirectory directory;
  std::atomic<bool> cleaning{false};
  std::atomic<bool> release{false};
  HookedFiles files(*Environment::real().files, {}, [&](const std::string& path) {
    if (!path.ends_with(".snap.tmp")) return;
    cleaning = true;
    release.wait(false);
  });
  Environment environment = Environment::real();
  environment.files = &files;
  JournalOptions options = smallSegments();
  options.snapshotAfterBytes = 64 << 10;
  auto journal = Journal::open(directory.path(), options, environment);
  const StoreId id = journal->declareStore("s");
  const auto write = [&] {
    Commit commit;
    commit.put(id, "k", std::string(16 << 10, 'x'));
    (void)journal->commit(commit, Durability::Buffered);
  };
  EXPECT_TRUE(testing::eventually([&] {
    if (!cleaning) write();
    return cleaning.load();
  }));
  for (int i = 0; i < 64; ++i) write();  // 1 MiB; it comes back though nothing is cleaned
  EXPECT_GT(journal->metrics().slowedMicros, 10'000U);
  EXPECT_EQ(journal->metrics().snapshots, 0U);
  release = true;
  release.notify_all();
  EXPECT_TRUE(testing::eventually([&] {
    const std::uint64_t before = journal->metrics().slowedMicros;
    write();
    return journal->metrics().slowedMicros == before;
  }));
  EXPECT_GT(journal->metrics().snapshots, 0U);
}

// Sharers were killed, so their page stays. One that does not share writes and closes just when a
// sharer looks for others: the page's end is not the journal's.
TEST(SharedJournalTest, NobodyJoinsThroughThePageOfBefore) {
  SimFs machine(1);
  StoreId id;
  {
    Process killed(machine);
    auto journal = killed.open(smallSegments(Sharing::Shared));
    id = journal->declareStore("s");
    put(*journal, id, "a", "1");
    killed.process->kill();
  }
  Process alone(machine);
  machine.fail({SimCall::Write, 1, ENOSPC, false, "PRESENCE"});  // its name is not to be read
  auto exclusive = alone.open(smallSegments());
  machine.clearFaults();
  for (int i = 0; i < 5; ++i) put(*exclusive, id, "x" + std::to_string(i), "synced");

  Process late(machine);
  HookedFiles hooked(*late.process, [&](File&) { exclusive.reset(); });
  Environment environment = late.process->environment();
  environment.files = &hooked;
  {
    auto journal = Journal::open(kDirectory, smallSegments(Sharing::Shared), environment);
    EXPECT_FALSE(exclusive);  // the hook ran
    EXPECT_EQ(get(*journal->store(id), "x4"), "synced");
    put(*journal, id, "late", "2");
    late.process->kill();
  }
  Process last(machine);
  auto journal = last.open(smallSegments());
  const auto store = journal->store(id);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get(*store, "x" + std::to_string(i)), "synced");
  EXPECT_EQ(get(*journal->store(id), "late"), "2");
}

TEST(SharedJournalTest, AJoinerOfAFailedJournalIsToldWithoutAnotherSync) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  auto journal = one.open(smallSegments(Sharing::Shared));
  const StoreId id = journal->declareStore("s");
  journal->flush();
  machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_THROW(put(*journal, id, "k", "v"), JournalFailed);
  const auto syncs = machine.calls(SimCall::Sync);
  EXPECT_THROW((void)two.open(smallSegments(Sharing::Shared)), JournalFailed);
  EXPECT_EQ(machine.calls(SimCall::Sync), syncs);
}

TEST(SharedJournalTest, AReadThatFailsOnceCostsTheReaderNothingLater) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  auto writer = one.open(smallSegments(Sharing::Shared));
  auto reader = two.open(smallSegments(Sharing::Shared));
  const StoreId id = writer->declareStore("s");
  const LogId log = writer->declareLog("l");
  const auto store = reader->store(id);
  EXPECT_EQ(get(*store, "k"), "<absent>");
  for (std::uint64_t nth = 1; nth <= 3; ++nth) {
    Commit commit;
    commit.put(id, "k", std::to_string(nth));
    commit.recordBuffer(log) += "record";
    commit.recordAdded(log, 1);
    (void)writer->commit(commit);
    machine.fail({SimCall::Read, nth, EIO, false, ""});
    try {
      (void)get(*store, "k");
    } catch (const IoError&) {
    }
    machine.clearFaults();
    EXPECT_EQ(get(*store, "k"), std::to_string(nth));
    EXPECT_EQ(reader->log(log).end, nth);
  }
}

TEST(FullDiskTest, CleaningWorksAndMakesRoom) {
  SimFs machine(1);
  Process process(machine);
  auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l");
  const StoreId id = journal->declareStore("pins the oldest segment");
  put(*journal, id, "k", "v");
  addRecords(*journal, log, 1000);
  journal->trimLog(log, 990);
  journal->flush();
  machine.setCapacity(usedBytes(machine));
  EXPECT_THROW(addRecords(*journal, log, 100'000), DiskFull);
  try {
    EXPECT_GT(journal->clean(), 0U);
  } catch (const DiskFull&) {  // no room for a snapshot at first
    EXPECT_GT(journal->metrics().cleanedBytes, 0U);
  }
  EXPECT_NO_THROW(addRecords(*journal, log, 1));
  EXPECT_EQ(get(*journal->store(id), "k"), "v");
}

TEST(FullDiskTest, WhatFitsIsWritten) {
  SimFs machine(1);
  Process process(machine);
  auto journal = process.open({});
  const LogId log = journal->declareLog("l");
  addRecords(*journal, log, 9000);
  machine.setCapacity(usedBytes(machine) + (6 << 20));
  EXPECT_THROW(addRecords(*journal, log, 100'000), DiskFull);
  EXPECT_LT(process.process->freeBytes("/").value, 1U << 20);
}

// A write that failed may be there all the same when its bytes could not be cut off: nobody may
// be told that nothing was written.
TEST(FullDiskTest, AFailedCutIsNoFullDisk) {
  int there = 0;
  for (std::uint64_t seed = 1; seed < 40; ++seed) {
    SimFs machine(seed);
    {
      Process process(machine);
      auto journal = process.open({});
      const StoreId id = journal->declareStore("s");
      journal->flush();
      machine.fail({SimCall::Write, 1, ENOSPC, false, ""});
      machine.fail({SimCall::Truncate, 1, EIO, false, ""});
      EXPECT_THROW(put(*journal, id, "k", "v"), JournalFailed);
      process.process->kill();
    }
    Process next(machine);
    auto journal = next.open({});
    if (get(*journal->store(*journal->findStore("s")), "k") == "v") ++there;
  }
  EXPECT_GT(there, 0);  // else this tests nothing
}

TEST(FullDiskTest, OpeningAgainAndAgainKeepsOneTornTail) {
  SimFs machine(3);
  {
    Process process(machine);
    auto journal = process.open({});
    addRecords(*journal, journal->declareLog("l"), 3000);
    journal->flush();
    process.process->kill();
  }
  auto image = machine.image(firstSegment);
  std::size_t end = image.size();
  while (end > 0 && image[end - 1] == std::byte{0}) --end;
  image.resize(std::max(image.size(), end + 200'000));
  std::fill_n(image.begin() + static_cast<std::ptrdiff_t>(end), 200'000, std::byte{7});
  machine.setImage(firstSegment, image);
  machine.setCapacity(usedBytes(machine) + (2 << 20));  // the tail fits, the copy of R2 does not
  for (int i = 0; i < 5; ++i) {
    Process process(machine);
    EXPECT_THROW((void)process.open({}), DiskFull);
  }
  EXPECT_EQ(filesWith(machine, ".torn-"), 1U);
  EXPECT_EQ(filesWith(machine, ".tmp"), 0U);
  machine.setCapacity(usedBytes(machine) + (64 << 20));
  Process process(machine);
  auto journal = process.open({});
  EXPECT_EQ(journal->log(*journal->findLog("l")).end, 3000U);
  EXPECT_EQ(filesWith(machine, ".torn-"), 1U);
  ASSERT_EQ(journal->warnings().size(), 1U);  // also of a tail that was set aside before
  EXPECT_NE(journal->warnings()[0].find("segment-0000000001.log.torn-"), std::string::npos)
      << journal->warnings()[0];
  EXPECT_EQ(journal->metrics().tornTails, 1U);
}

/// What is done with a journal in a life of it, each time on a machine of its own.
struct Undertaking {
  const char* name;
  std::function<void(SimFs&, Process&)> prepare;
  std::function<void(Process&)> act;
};

void fillJournal(Journal& journal) {
  const StoreId store = journal.declareStore("s");
  const LogId kept = journal.declareLog("kept");
  const LogId trimmed = journal.declareLog("trimmed");
  for (int i = 0; i < 40; ++i) {
    put(journal, store, "k" + std::to_string(i % 10), std::to_string(i));
    addRecords(journal, trimmed, 5);
    addRecords(journal, kept, 1);
  }
  journal.flush();
  journal.trimLog(trimmed, 190);
}

const std::vector<Undertaking>& undertakings() {
  static const auto filled = [](SimFs&, Process& process) {
    fillJournal(*process.open(smallSegments()));
  };
  // Killed with a frame half written, and a handle that never closed.
  static const auto killed = [](SimFs& machine, Process&) {
    Process other(machine);
    const auto journal = other.open(smallSegments(Sharing::Shared));
    fillJournal(*journal);
    other.process->kill();
    for (const std::string& name : machine.files()) {
      if (name.find("segment-") == std::string::npos) continue;
      auto image = machine.image(name);
      std::size_t end = image.size();
      while (end > 0 && image[end - 1] == std::byte{0}) --end;
      if (filesWith(machine, "segment-") == 1) image.resize(end + 500, std::byte{7});
      machine.setImage(name, image);
    }
  };
  static const std::vector<Undertaking> all{
      {"creates", [](SimFs&, Process&) {},
       [](Process& process) { fillJournal(*process.open(smallSegments(Sharing::Shared))); }},
      {"opens", filled,
       [](Process& process) {
         const auto journal = process.open(smallSegments());
         put(*journal, *journal->findStore("s"), "k", "v");
       }},
      {"recovers", killed,
       [](Process& process) {
         const auto journal = process.open(smallSegments());
         put(*journal, *journal->findStore("s"), "k", "v");
       }},
      {"cleans", filled,
       [](Process& process) {
         const auto journal = process.open(smallSegments());
         journal->snapshotStore(*journal->findStore("s"));
         (void)journal->clean();
         journal->snapshotStore(*journal->findStore("s"));
       }},
      {"reads", filled,
       [](Process& process) {
         const auto journal = process.open(smallSegments());
         LogReader reader(journal, *journal->findLog("kept"), 0);
         LogChunk chunk;
         while (reader.next(chunk, ReadLimit::Written)) {
         }
         EXPECT_EQ(get(*journal->store(*journal->findStore("s")), "k9"), "39");
       }},
      {"backs up", filled,
       [](Process& process) {
         (void)backup(kDirectory, "/copy", {}, process.process->environment());
       }},
      {"repairs", filled,
       [](Process& process) {
         const Environment& environment = process.process->environment();
         repairInto(planRepair(kDirectory, environment), "/copy", environment);
       }},
      {"verifies", filled,
       [](Process& process) {
         const auto report = verifyJournal(kDirectory, {}, process.process->environment());
         for (const Damage& damage : report.damages) EXPECT_FALSE(damage.text.empty());
       }},
      {"inspects", filled,
       [](Process& process) { (void)inspectJournal(kDirectory, process.process->environment()); }},
  };
  return all;
}

// Every call, at each of its first uses: an error of ours, and afterwards all is there that was.
TEST(EveryFailedCallTest, IsAnErrorOfOursAndHarmsNothing) {
  constexpr std::array errors{EIO, ENOSPC, EMFILE};
  std::uint64_t failures = 0;
  for (const Undertaking& undertaking : undertakings()) {
    SimFs prepared(1);
    {
      Process process(prepared);
      undertaking.prepare(prepared, process);
    }
    for (std::size_t call = 0; call < testsupport::kSimCalls; ++call) {
      for (std::uint64_t nth = 1; nth <= 12; ++nth) {
        SCOPED_TRACE(std::string(undertaking.name) + ", " +
                     std::string(nameOf(static_cast<SimCall>(call))) + " " + std::to_string(nth));
        const auto machine = prepared.clone(nth);
        const int error = errors[(call + nth) % errors.size()];
        machine->fail({static_cast<SimCall>(call), nth, error, false, ""});
        {
          Process process(*machine);
          try {
            undertaking.act(process);
          } catch (const Error& failed) {
            EXPECT_STRNE(failed.what(), "");
            ++failures;
          }
        }
        if (machine->faultsHit() == 0) break;
        machine->clearFaults();
        Process next(*machine);
        const auto journal = next.open(smallSegments());
        if (undertaking.name == std::string("creates")) continue;
        ASSERT_EQ(get(*journal->store(*journal->findStore("s")), "k9"), "39");
        ASSERT_EQ(journal->log(*journal->findLog("kept")).end, 40U);
      }
    }
  }
  EXPECT_GT(failures, 150U);
}

TEST(FileSystemKindTest, ANetworkFileSystemIsRefusedUnlessAskedFor) {
  SimFs machine(4);
  machine.setKinds("nfs", "");
  Process process(machine);
  const std::string message =
      penstock::testing::messageOf<ConfigurationError>([&] { (void)process.open({}); });
  EXPECT_NE(message.find("/state: is on a network file system (nfs)"), std::string::npos)
      << message;
  EXPECT_NE(message.find("allowNetworkFileSystem"), std::string::npos) << message;
  EXPECT_EQ(machine.files().size(), 0U);
  JournalOptions options;
  options.allowNetworkFileSystem = true;
  EXPECT_TRUE(process.open(options)->warnings().empty());
}

TEST(FileSystemKindTest, AFileSystemOverAnotherIsWarnedOf) {
  SimFs machine(5);
  Process process(machine);
  EXPECT_TRUE(process.open({})->warnings().empty());
  machine.setKinds("", "overlay");
  auto journal = process.open({});
  ASSERT_EQ(journal->warnings().size(), 1U);
  EXPECT_NE(journal->warnings()[0].find("/state: is on overlay"), std::string::npos)
      << journal->warnings()[0];
}

TEST(CleaningTest, ADamagedStoreDoesNotStopIt) {
  SimFs machine(1);
  LogId log;
  {
    Process process(machine);
    auto journal = process.open(smallSegments());
    const StoreId id = journal->declareStore("damaged");
    log = journal->declareLog("l");
    put(*journal, id, "k", std::string(1000, 'B'));
    addRecords(*journal, log, 1000);
    process.process->kill();
  }
  damageValue(machine, 'B');
  Process process(machine);
  auto journal = process.open(smallSegments());
  const std::size_t before = filesWith(machine, ".log");
  journal->trimLog(log, 990);
  EXPECT_THROW((void)journal->clean(), Corruption);
  EXPECT_GT(before, 10U);
  EXPECT_LE(filesWith(machine, ".log"), 3U);  // the damaged one, the one of record 990, the newest
  EXPECT_EQ(journal->metrics().cleanFailures, 1U);
}

TEST(CleaningTest, RecordsBeyondTheirAgeGoAlsoWhenNothingIsWrittenAnyMore) {
  SimFs machine(1);
  Process process(machine);
  auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l", {.maxAgeMs = 60'000});
  const std::int64_t now = machine.clock().wallMs();
  Commit commit;
  commit.recordBuffer(log) += "record";
  commit.recordAdded(log, now);
  (void)journal->commit(commit);
  (void)journal->clean();
  EXPECT_EQ(journal->log(log).start, 0U);
  machine.clock().advanceMs(120'000);
  (void)journal->clean();
  EXPECT_EQ(journal->log(log).start, 1U);
  EXPECT_EQ(journal->log(log).end, 1U);
}

TEST(CleaningTest, RecordsBeyondTheSizeGoOldestFirst) {
  SimFs machine(1);
  Process process(machine);
  auto journal = process.open(smallSegments());
  const LogId log = journal->declareLog("l", {.maxBytes = 200'000});
  addRecords(*journal, log, 1000);
  (void)journal->clean();
  const LogInfo info = journal->log(log);
  EXPECT_EQ(info.end, 1000U);
  EXPECT_LE(info.start, 800U);  // never less than asked for
  EXPECT_GE(info.start, 600U);  // and not much more: whole segments
}

TEST(CleaningTest, ARemovedStoreTakesItsSnapshotAlong) {
  SimFs machine(1);
  Process process(machine);
  auto journal = process.open(smallSegments());
  const StoreId id = journal->declareStore("s");
  put(*journal, id, "k", "v");
  journal->snapshotStore(id);
  EXPECT_EQ(filesWith(machine, ".snap"), 1U);
  journal->removeStore(id);
  EXPECT_EQ(filesWith(machine, ".snap"), 0U);
}

TEST(CleaningTest, AnArchiveHoldsWhatIsStillWanted) {
  SimFs machine(1);
  LogId kept;
  {
    Process process(machine);
    auto journal = process.open(smallSegments());
    kept = journal->declareLog("kept");
    const LogId trimmed = journal->declareLog("trimmed");
    for (int i = 0; i < 500; ++i) {
      addRecords(*journal, trimmed, 3);
      addRecords(*journal, kept, 1);
    }
    journal->trimLog(trimmed, 1500);
    EXPECT_GT(journal->clean(), 0U);
    EXPECT_GT(filesWith(machine, ".arch"), 0U);
    process.process->kill();
  }
  Process process(machine);
  auto journal = process.open(smallSegments());
  EXPECT_EQ(recordsIn(journal, kept, ReadLimit::Synced), 500U);
}

TEST(EpochTest, AnOrderlyRestartBeginsOneWithItsFirstCommit) {
  SimFs machine(1);
  LogId log;
  std::uint64_t first = 0;
  {
    Process process(machine);
    auto journal = process.open({});
    log = journal->declareLog("l");
    addRecords(*journal, log, 100);
    first = journal->position(log, 100).epoch;
    journal.reset();  // closed in order
  }
  for (int i = 0; i < 3; ++i) {  // who only looks leaves no trace
    Process process(machine);
    auto journal = process.open({});
    EXPECT_EQ(journal->position(log, 100).epoch, first);
    journal.reset();
  }
  Process process(machine);
  auto journal = process.open({});
  addRecords(*journal, log, 100);
  const LogPosition now = journal->position(log, 200);
  EXPECT_NE(now.epoch, first);
  EXPECT_NO_THROW(journal->checkPosition(log, now));
  EXPECT_NO_THROW(journal->checkPosition(log, {first, 100}));
  EXPECT_THROW(journal->checkPosition(log, {first, 101}), PositionOutOfRange);
}

}  // namespace
}  // namespace penstock::state
