// SPDX-License-Identifier: Apache-2.0

// What the simulated machine shows and hides. Every fault test believes it, so each promise of
// its header is tried here: above all that it can show each state that a real file system showed.

#include "support/sim_fs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <set>
#include <string>

namespace penstock::testsupport {
namespace {

using state::File;
using state::LockKind;
using state::OpenMode;
using state::SharedPage;

state::IoStatus write(File& file, std::uint64_t offset, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text));
  return file.write(offset, {&piece, 1});
}

std::string textOf(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string read(File& file) {
  std::string text(static_cast<std::size_t>(file.size().value), '?');
  const auto count = file.read(0, std::as_writable_bytes(std::span(text)));
  EXPECT_TRUE(count.ok());
  EXPECT_EQ(count.value, text.size());
  return text;
}

/// Runs `workload` on fresh machines and cuts the power after it, with every damage and 60 seeds
/// each. What became of `path`: its text, or "absent".
std::set<std::string> outcomes(const std::string& path,
                               const std::function<void(SimProcess&)>& workload) {
  std::set<std::string> seen;
  for (const Damage damage : kAllDamages) {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
      SimFs machine(seed);
      machine.makeSyncedDirectory("/d");
      workload(*machine.startProcess());
      machine.crash(seed, damage);
      const auto files = machine.files();
      const bool there = std::find(files.begin(), files.end(), path) != files.end();
      seen.insert(there ? textOf(machine.image(path)) : "absent");
    }
  }
  return seen;
}

std::unique_ptr<File> create(SimProcess& process, const std::string& path) {
  auto opened = process.open(path, OpenMode::CreateNew);
  EXPECT_EQ(opened.error, 0) << path;
  return std::move(opened.value);
}

/// /d/f holds "old", all synced.
void makeOld(SimProcess& process) {
  const auto file = create(process, "/d/f");
  EXPECT_TRUE(write(*file, 0, "old").ok());
  EXPECT_TRUE(file->sync().ok());
  EXPECT_TRUE(process.syncDirectory("/d").ok());
}

void replace(SimProcess& process, bool syncFile, bool syncDirectory) {
  makeOld(process);
  const auto file = create(process, "/d/f.tmp");
  EXPECT_TRUE(write(*file, 0, "new!").ok());
  if (syncFile) {
    EXPECT_TRUE(file->sync().ok());
  }
  EXPECT_TRUE(process.rename("/d/f.tmp", "/d/f").ok());
  if (syncDirectory) {
    EXPECT_TRUE(process.syncDirectory("/d").ok());
  }
}

bool hasGarbage(const std::set<std::string>& seen, const std::set<std::string>& expected) {
  for (const std::string& text : seen) {
    if (expected.count(text) == 0 && text.find_first_not_of('\0') != std::string::npos) return true;
  }
  return false;
}

// The table "which harness sees which bug": SimFs must see all of them.

TEST(SimFsSees, RenameBeforeContentIsSynced) {
  const auto seen = outcomes("/d/f", [](SimProcess& p) { replace(p, false, true); });
  EXPECT_EQ(seen.count("new!"), 1U);
  EXPECT_EQ(seen.count(""), 1U);                          // 0 bytes, as XFS
  EXPECT_EQ(seen.count(std::string("\0\0\0\0", 4)), 1U);  // size before content
  EXPECT_TRUE(hasGarbage(seen, {"new!", ""}));
  EXPECT_EQ(seen.count("old"), 0U);
}

TEST(SimFsSees, RenameWithoutDirectorySync) {
  EXPECT_EQ(outcomes("/d/f", [](SimProcess& p) { replace(p, true, false); }),
            (std::set<std::string>{"old", "new!"}));
  EXPECT_EQ(outcomes("/d/f.tmp", [](SimProcess& p) { replace(p, true, false); }),
            (std::set<std::string>{"new!", "absent"}));
}

TEST(SimFsSees, NothingWrongInTheCorrectOrder) {
  EXPECT_EQ(outcomes("/d/f", [](SimProcess& p) { replace(p, true, true); }),
            (std::set<std::string>{"new!"}));
  EXPECT_EQ(outcomes("/d/f.tmp", [](SimProcess& p) { replace(p, true, true); }),
            (std::set<std::string>{"absent"}));
}

TEST(SimFsSees, NewFileWithoutDirectorySync) {
  EXPECT_EQ(outcomes("/d/f",
                     [](SimProcess& p) {
                       const auto file = create(p, "/d/f");
                       EXPECT_TRUE(write(*file, 0, "text").ok());
                       EXPECT_TRUE(file->sync().ok());
                     }),
            (std::set<std::string>{"absent", "text"}));
}

TEST(SimFsSees, NewFileWithoutItsOwnSync) {
  const auto seen = outcomes("/d/f", [](SimProcess& p) {
    const auto file = create(p, "/d/f");
    EXPECT_TRUE(write(*file, 0, "text").ok());
    EXPECT_TRUE(p.syncDirectory("/d").ok());
  });
  EXPECT_EQ(seen.count(""), 1U);
  EXPECT_EQ(seen.count("text"), 1U);
  EXPECT_EQ(seen.count("absent"), 0U);
}

TEST(SimFsSees, RemovalWithoutDirectorySync) {
  EXPECT_EQ(outcomes("/d/f",
                     [](SimProcess& p) {
                       makeOld(p);
                       EXPECT_TRUE(p.remove("/d/f").ok());
                     }),
            (std::set<std::string>{"absent", "old"}));
}

TEST(SimFsSees, ADirectoryWhoseNameIsNotSynced) {
  // makeDirectories syncs names by itself; a kill between its steps must not fool the next one.
  std::set<std::string> seen;
  for (std::uint64_t n = 1; n <= 4; ++n) {
    SimFs machine(n);
    machine.onOperation([&](const SimFs::Operation& operation) {
      if (operation.number != n) return;
      auto copy = machine.clone(n);
      const auto process = copy->startProcess();
      ASSERT_TRUE(process->makeDirectories("/a/b").ok());
      copy->crash(n, Damage::NoneKept);
      seen.insert(copy->startProcess()->info("/a/b").value.directory ? "there" : "gone");
    });
    ASSERT_TRUE(machine.startProcess()->makeDirectories("/a/b").ok());
    EXPECT_EQ(machine.operations(), 4U);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"there"}));
}

// Data

TEST(SimFsCrash, SyncedBytesSurviveEveryDamage) {
  EXPECT_EQ(outcomes("/d/f", [](SimProcess& p) { makeOld(p); }), (std::set<std::string>{"old"}));
}

TEST(SimFsCrash, TearsAtSectorsAndAtPages) {
  const std::string old(16'384, 'o');
  bool insidePage = false;
  for (const Damage damage : {Damage::Torn512, Damage::Torn4096}) {
    const std::size_t grain = damage == Damage::Torn512 ? 512 : 4096;
    bool torn = false;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
      SimFs machine(seed);
      machine.setImage("/f", std::as_bytes(std::span(old)));
      const auto process = machine.startProcess();
      const auto file = std::move(process->open("/f", OpenMode::ReadWrite).value);
      ASSERT_TRUE(write(*file, 100, std::string(16'000, 'n')).ok());
      machine.crash(seed, damage);
      const std::string after = textOf(machine.image("/f"));
      ASSERT_EQ(after.size(), old.size());
      for (std::size_t at = 0; at < after.size(); ++at) {
        ASSERT_EQ(after[at] == 'n' && (at < 100 || at >= 16'100), false);
        if (at == 0 || at == 100 || at == 16'100 || after[at] == after[at - 1]) continue;
        ASSERT_EQ(at % grain, 0U) << "seed " << seed << " at " << at;
        torn = true;
        if (at % 4096 != 0) insidePage = true;
      }
    }
    EXPECT_TRUE(torn) << nameOf(damage);
  }
  EXPECT_TRUE(insidePage);
}

TEST(SimFsCrash, LaterWritesMaySurviveEarlierOnes) {
  const auto seen = outcomes("/d/f", [](SimProcess& p) {
    const auto file = create(p, "/d/f");
    EXPECT_TRUE(file->allocate(2).ok());
    EXPECT_TRUE(file->sync().ok());
    EXPECT_TRUE(p.syncDirectory("/d").ok());
    EXPECT_TRUE(write(*file, 0, "1").ok());
    EXPECT_TRUE(write(*file, 1, "2").ok());
  });
  using std::string;
  EXPECT_EQ(seen, (std::set<string>{"12", string("1\0", 2),
                                    string("\0"
                                           "2",
                                           2),
                                    string(2, '\0')}));
}

TEST(SimFsCrash, ANamedDamageDoesWhatItSays) {
  const auto after = [](Damage damage) {
    SimFs machine(1);
    machine.makeSyncedDirectory("/d");
    const auto process = machine.startProcess();
    makeOld(*process);
    const auto file = std::move(process->open("/d/f", OpenMode::ReadWrite).value);
    EXPECT_TRUE(write(*file, 0, "abcdef").ok());
    create(*process, "/d/g");
    machine.crash(1, damage);
    std::string result;
    for (const std::string& path : machine.files()) {
      result += path + "=" + textOf(machine.image(path)) + ";";
    }
    return result;
  };
  EXPECT_EQ(after(Damage::NoneKept), "/d/f=old;");
  EXPECT_EQ(after(Damage::AllKept), "/d/f=abcdef;/d/g=;");
  EXPECT_EQ(after(Damage::NamesOnly), "/d/f=old;/d/g=;");
  EXPECT_EQ(after(Damage::BytesOnly), "/d/f=abcdef;");
}

TEST(SimFsCrash, TruncationMayBeLostOrPrecedeOlderWrites) {
  const auto seen = outcomes("/d/f", [](SimProcess& p) {
    makeOld(p);
    const auto file = std::move(p.open("/d/f", OpenMode::ReadWrite).value);
    EXPECT_TRUE(file->truncate(1).ok());
    EXPECT_TRUE(write(*file, 1, "N").ok());
  });
  EXPECT_EQ(seen.count("old"), 1U);
  EXPECT_EQ(seen.count("oNd"), 1U);
  EXPECT_EQ(seen.count("o"), 1U);
  EXPECT_EQ(seen.count("oN"), 1U);
}

// Sync errors: fsyncgate

TEST(SimFsSync, AFailedSyncHidesTheLossUntilTheCacheIsDropped) {
  SimFs machine(1);
  machine.makeSyncedDirectory("/d");
  const auto process = machine.startProcess();
  makeOld(*process);
  const auto file = std::move(process->open("/d/f", OpenMode::ReadWrite).value);
  ASSERT_TRUE(write(*file, 0, "new").ok());
  machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_EQ(file->sync().error, EIO);
  EXPECT_EQ(machine.faultsHit(), 1U);
  EXPECT_EQ(file->sync().error, 0);  // says OK
  EXPECT_EQ(read(*file), "new");     // shows new bytes, here and through a new descriptor
  EXPECT_EQ(read(*process->open("/d/f", OpenMode::Read).value), "new");
  ASSERT_TRUE(file->dropCache(0, 0).ok());
  EXPECT_EQ(read(*file), "old");  // the truth
  machine.crash(1, Damage::AllKept);
  EXPECT_EQ(textOf(machine.image("/d/f")), "old");
}

TEST(SimFsSync, DropCacheKeepsDirtyPages) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto file = create(*process, "/f");
  ASSERT_TRUE(write(*file, 0, "text").ok());
  ASSERT_TRUE(file->dropCache(0, 0).ok());
  EXPECT_EQ(read(*file), "text");
}

TEST(SimFsSync, DropCacheOfARangeLeavesTheOtherPages) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto file = create(*process, "/f");
  ASSERT_TRUE(write(*file, 0, std::string(10'000, 'o')).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(write(*file, 0, std::string(10'000, 'n')).ok());
  machine.fail({SimCall::Sync, 1, EIO, false, ""});
  EXPECT_EQ(file->sync().error, EIO);
  ASSERT_TRUE(file->dropCache(5'000, 1).ok());
  EXPECT_EQ(read(*file),
            std::string(4'096, 'n') + std::string(4'096, 'o') + std::string(1'808, 'n'));
}

TEST(SimFsSync, AFailedDirectorySyncLosesTheNames) {
  SimFs machine(1);
  machine.makeSyncedDirectory("/d");
  const auto process = machine.startProcess();
  create(*process, "/d/f");
  machine.fail({SimCall::SyncDirectory, 1, EIO, false, ""});
  EXPECT_EQ(process->syncDirectory("/d").error, EIO);
  EXPECT_EQ(process->syncDirectory("/d").error, 0);
  EXPECT_TRUE(process->info("/d/f").value.exists);
  machine.crash(1, Damage::AllKept);
  EXPECT_TRUE(machine.files().empty());
}

// Faults

TEST(SimFsFaults, FailTheNthCallOnceOrForEver) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto first = create(*process, "/first");
  const auto second = create(*process, "/second");
  machine.fail({SimCall::Write, 2, ENOSPC, false, "/second"});
  machine.fail({SimCall::Truncate, 1, EIO, true, ""});
  EXPECT_TRUE(write(*first, 0, "a").ok());
  EXPECT_TRUE(write(*second, 0, "a").ok());
  EXPECT_TRUE(write(*first, 1, "b").ok());
  EXPECT_EQ(write(*second, 1, "b").error, ENOSPC);
  EXPECT_TRUE(write(*second, 1, "b").ok());
  EXPECT_EQ(first->truncate(0).error, EIO);
  EXPECT_EQ(first->truncate(0).error, EIO);
  machine.clearFaults();
  EXPECT_TRUE(first->truncate(0).ok());
  EXPECT_EQ(machine.calls(SimCall::Write), 5U);
}

TEST(SimFsFaults, EveryCallCanFail) {
  for (std::size_t i = 0; i < kSimCalls; ++i) {
    const auto call = static_cast<SimCall>(i);
    SimFs machine(1);
    machine.makeSyncedDirectory("/d");
    const auto p = machine.startProcess();
    makeOld(*p);
    const auto file = std::move(p->open("/d/f", OpenMode::ReadWrite).value);
    machine.fail({call, 1, EROFS, true, ""});
    std::byte byte{};
    const auto errors = std::vector<std::pair<SimCall, int>>{
        {SimCall::Open, p->open("/d/f", OpenMode::Read).error},
        {SimCall::Read, file->read(0, {&byte, 1}).error},
        {SimCall::Write, write(*file, 0, "x").error},
        {SimCall::Size, file->size().error},
        {SimCall::Truncate, file->truncate(1).error},
        {SimCall::Allocate, file->allocate(10).error},
        {SimCall::Sync, file->sync().error},
        {SimCall::DropCache, file->dropCache(0, 0).error},
        {SimCall::Lock, file->tryLock(LockKind::Shared).error},
        {SimCall::MakeDirectories, p->makeDirectories("/e").error},
        {SimCall::Rename, p->rename("/d/f", "/d/g").error},
        {SimCall::SyncDirectory, p->syncDirectory("/d").error},
        {SimCall::List, p->list("/d").error},
        {SimCall::Info, p->info("/d").error},
        {SimCall::MapShared, p->mapShared("/d/page").error},
        {SimCall::FreeBytes, p->freeBytes("/d").error},
        {SimCall::Remove, p->remove(call == SimCall::Rename ? "/d/f" : "/d/g").error}};
    EXPECT_EQ(errors.size(), kSimCalls);
    for (const auto& [made, error] : errors) {
      const bool viaDirectory =  // a new directory's name is synced by the same call
          call == SimCall::SyncDirectory && made == SimCall::MakeDirectories;
      EXPECT_EQ(error, made == call || viaDirectory ? EROFS : 0)
          << nameOf(call) << " failing, " << nameOf(made);
    }
  }
}

TEST(SimFsFaults, AFailedWriteLeavesSomePrefix) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SimFs machine(seed);
    const auto file = create(*machine.startProcess(), "/f");
    machine.fail({SimCall::Write, 1, EIO, false, ""});
    EXPECT_EQ(write(*file, 0, "abc").error, EIO);
    seen.insert(read(*file));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", "a", "ab", "abc"}));
}

TEST(SimFsFaults, AFullDiskTakesWhatFits) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const auto file = create(*process, "/f");
  machine.setCapacity(10);
  EXPECT_EQ(file->allocate(11).error, ENOSPC);
  EXPECT_EQ(write(*file, 0, "0123456789abc").error, ENOSPC);
  EXPECT_EQ(read(*file), "0123456789");
  EXPECT_EQ(process->freeBytes("/").value, 0U);
  ASSERT_TRUE(file->truncate(4).ok());
  EXPECT_EQ(process->freeBytes("/").value, 6U);
  EXPECT_TRUE(write(*file, 4, "45").ok());
}

// Processes

TEST(SimFsProcesses, LocksExcludeAndDieWithTheirProcess) {
  SimFs machine(1);
  const auto one = machine.startProcess();
  const auto two = machine.startProcess();
  const auto mine = std::move(one->open("/L", OpenMode::ReadWriteCreate).value);
  const auto theirs = std::move(two->open("/L", OpenMode::ReadWriteCreate).value);
  auto again = std::move(one->open("/L", OpenMode::ReadWriteCreate).value);
  EXPECT_TRUE(mine->tryLock(LockKind::Shared).value);
  EXPECT_TRUE(theirs->tryLock(LockKind::Shared).value);
  EXPECT_FALSE(mine->tryLock(LockKind::Exclusive).value);  // and has lost the shared one
  EXPECT_TRUE(theirs->tryLock(LockKind::Exclusive).value);
  EXPECT_FALSE(mine->tryLock(LockKind::Shared).value);
  EXPECT_EQ(mine->lock(LockKind::Shared).error, EDEADLK);
  two->kill();
  EXPECT_TRUE(mine->tryLock(LockKind::Exclusive).value);
  EXPECT_FALSE(again->tryLock(LockKind::Shared).value);  // by open file, not by process
  EXPECT_TRUE(mine->unlock().ok());
  EXPECT_TRUE(again->tryLock(LockKind::Exclusive).value);
  again.reset();
  EXPECT_TRUE(mine->tryLock(LockKind::Exclusive).value);
}

TEST(SimFsProcesses, LocksOfBytesExcludeEachByItselfAndDieWithTheirProcess) {
  SimFs machine(1);
  const auto one = machine.startProcess();
  const auto two = machine.startProcess();
  auto mine = std::move(one->open("/L", OpenMode::ReadWriteCreate).value);
  const auto theirs = std::move(two->open("/L", OpenMode::ReadWriteCreate).value);
  EXPECT_TRUE(mine->tryLockByte(7).value);
  EXPECT_TRUE(mine->tryLockByte(7).value) << "its own";
  EXPECT_FALSE(theirs->tryLockByte(7).value);
  EXPECT_TRUE(theirs->tryLockByte(8).value);
  EXPECT_TRUE(theirs->unlockByte(7).ok());
  EXPECT_FALSE(theirs->tryLockByte(7).value) << "was not theirs to unlock";
  mine.reset();
  EXPECT_TRUE(theirs->tryLockByte(7).value);
  two->kill();
  mine = std::move(one->open("/L", OpenMode::ReadWriteCreate).value);
  EXPECT_TRUE(mine->tryLockByte(7).value);
  EXPECT_TRUE(mine->tryLockByte(8).value);
}

TEST(SimFsProcesses, AKilledOneLeavesItsWritesInTheCache) {
  SimFs machine(1);
  const auto one = machine.startProcess();
  const auto file = create(*one, "/f");
  ASSERT_TRUE(write(*file, 0, "unsynced").ok());
  one->kill();
  EXPECT_FALSE(one->alive());
  EXPECT_EQ(write(*file, 0, "after").error, EIO);
  EXPECT_EQ(file->sync().error, EIO);
  EXPECT_EQ(one->list("/").error, EIO);
  const auto two = machine.startProcess();
  EXPECT_EQ(read(*two->open("/f", OpenMode::Read).value), "unsynced");
  EXPECT_NE(two->info("/f").value.device, machine.startProcess()->info("/f").value.device);
  machine.crash(1, Damage::NoneKept);
  EXPECT_TRUE(machine.files().empty());
}

TEST(SimFsProcesses, ShareAPageUntilKilledOrCutOff) {
  const auto word = [](SharedPage& page) {
    return reinterpret_cast<std::atomic<std::uint64_t>*>(page.data());
  };
  std::set<std::uint64_t> afterPowerCut;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SimFs machine(seed);
    const auto one = machine.startProcess();
    const auto two = machine.startProcess();
    const auto mine = one->mapShared("/page").value;
    const auto theirs = two->mapShared("/page").value;
    word(*mine)->store(7);
    EXPECT_EQ(word(*theirs)->load(), 7U);
    auto* cached = word(*mine);
    one->kill();
    cached->store(8);  // a destructor of a dead process's object
    EXPECT_EQ(word(*theirs)->load(), 7U);
    auto copy = machine.clone(seed);
    const auto cloned = copy->startProcess();
    EXPECT_EQ(word(*cloned->mapShared("/page").value)->load(), 7U);
    EXPECT_EQ(cloned->bootId(), two->bootId());
    const std::string boot = two->bootId();
    machine.crash(seed, Damage::AllKept);
    const auto rebooted = machine.startProcess();
    EXPECT_NE(rebooted->bootId(), boot);
    word(*theirs)->store(9);
    afterPowerCut.insert(word(*rebooted->mapShared("/page").value)->load());
  }
  EXPECT_EQ(afterPowerCut.count(9), 0U);
  EXPECT_EQ(afterPowerCut.count(7), 1U);
  EXPECT_EQ(afterPowerCut.count(0), 1U);
  EXPECT_GT(afterPowerCut.size(), 2U);  // garbage
}

// Operations

TEST(SimFsOperations, PowerCutAtTheNth) {
  for (const CrashStyle style : {CrashStyle::Fail, CrashStyle::Throw}) {
    SimFs machine(1);
    machine.makeSyncedDirectory("/d");
    const auto process = machine.startProcess();
    makeOld(*process);
    EXPECT_EQ(machine.operations(), 5U);  // create, write, write's part, sync, directory
    const auto file = std::move(process->open("/d/f", OpenMode::ReadWrite).value);
    machine.crashAfterOperation(1, style);
    if (style == CrashStyle::Throw) {
      EXPECT_THROW(static_cast<void>(file->truncate(0)), SimCrash);
    } else {
      EXPECT_EQ(file->truncate(0).error, EIO);
    }
    EXPECT_TRUE(machine.crashed());
    EXPECT_EQ(file->sync().error, EIO);
    EXPECT_EQ(process->open("/d/f", OpenMode::Read).error, EIO);
    machine.crash(1, Damage::AllKept);
    EXPECT_FALSE(machine.crashed());
    EXPECT_EQ(file->size().error, EIO);  // a dead descriptor stays dead
    EXPECT_EQ(read(*machine.startProcess()->open("/d/f", OpenMode::Read).value), "old");
  }
}

TEST(SimFsOperations, AKillMayCutAWriteInTwo) {
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SimFs machine(seed);
    machine.onOperation([&](const SimFs::Operation&) {
      const auto copy = machine.clone(1);
      seen.insert(textOf(copy->image("/f")));
    });
    const auto file = create(*machine.startProcess(), "/f");
    ASSERT_TRUE(write(*file, 0, "abc").ok());
    EXPECT_EQ(read(*file), "abc");
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", "a", "ab"}));
}

TEST(SimFsOperations, SameSeedSameBits) {
  const auto run = [](std::uint64_t seed, Damage damage) {
    SimFs machine(seed);
    const auto process = machine.startProcess();
    EXPECT_TRUE(process->makeDirectories("/a/b").ok());
    for (int i = 0; i < 20; ++i) {
      const auto file = create(*process, "/a/b/" + std::to_string(i));
      const std::string text(static_cast<std::size_t>(machine.random().below(9000)), 'x');
      EXPECT_TRUE(write(*file, machine.random().below(5000), text).ok());
      if (machine.random().oneIn(3)) {
        EXPECT_TRUE(file->sync().ok());
      }
      if (machine.random().oneIn(5)) {
        EXPECT_TRUE(process->syncDirectory("/a/b").ok());
      }
    }
    const auto copy = machine.clone(1);
    EXPECT_EQ(copy->digest(), machine.digest());
    machine.crash(seed + 1, damage);
    return machine.digest();
  };
  for (const Damage damage : kAllDamages) {
    EXPECT_EQ(run(5, damage), run(5, damage)) << nameOf(damage);
    EXPECT_NE(run(5, damage), run(6, damage)) << nameOf(damage);
  }
}

TEST(SimFsOperations, ClockMovesOnlyWhenTold) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  const state::Environment& environment = process->environment();
  EXPECT_FALSE(environment.threads);
  const std::int64_t wall = environment.clock->wallMs();
  const std::int64_t steady = environment.clock->monotonicUs();
  machine.clock().advanceMs(5);
  machine.clock().jumpWallMs(-1000);
  EXPECT_EQ(environment.clock->wallMs(), wall - 995);
  EXPECT_EQ(environment.clock->monotonicUs(), steady + 5000);
  const auto page = process->mapShared("/page").value;
  page->wait(0, 0, std::chrono::milliseconds(7));
  EXPECT_EQ(environment.clock->monotonicUs(), steady + 12'000);
  SimRandom same(3);
  SimRandom again(3);
  EXPECT_EQ(same.next(), again.next());
}

}  // namespace
}  // namespace penstock::testsupport
