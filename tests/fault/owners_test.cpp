// SPDX-License-Identifier: Apache-2.0

// Row 13 of the scoreboard: a directory has one owner. Real processes race for it, fork, are
// killed; and where nothing may be written, nothing is.

#include <gtest/gtest.h>

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "fault/figures.h"
#include "fault/violations.h"
#include "fault/writers.h"
#include "support/temporary_directory.h"
#include "support/unprivileged.h"

namespace penstock::fault {
namespace {

constexpr int kProcesses = 8;

/// How one process fared in one round.
struct Attempt {
  std::atomic<int> won;
  std::array<char, 512> problem;  // empty: none
  std::array<char, 512> told;     // why a loser was refused
};

/// What the racing processes share.
struct Race {
  std::atomic<std::uint64_t> round;    // that may begin
  std::atomic<std::uint64_t> tried;    // attempts made, of all rounds
  std::atomic<std::uint64_t> settled;  // attempts whose journal is closed again
  std::atomic<int> owners;             // now
  std::array<Attempt, kProcesses> attempts;
};

/// Waits for others, a minute at most: nothing here takes that long unless it hangs.
template <typename Reached>
bool await(const Reached& reached) {
  const auto give = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!reached()) {
    if (std::chrono::steady_clock::now() > give) return false;
    const timespec instant{0, 50'000};
    ::nanosleep(&instant, nullptr);
  }
  return true;
}

void keep(std::array<char, 512>& into, const std::string& text) {
  into.fill('\0');
  std::memcpy(into.data(), text.data(), std::min(text.size(), into.size() - 1));
}

std::uint64_t countIn(const std::shared_ptr<state::Journal>& journal) {
  std::string text;
  const auto store = journal->store(journal->declareStore("rounds"));
  return store->get("count", text) ? std::stoull(text) : 0;
}

/// Tries to open; the winner stays until all others have tried.
void attempt(Race& race, int self, const std::string& directory, std::uint64_t round) {
  Attempt& mine = race.attempts[static_cast<std::size_t>(self)];
  mine.won = 0;
  keep(mine.problem, "");
  keep(mine.told, "");
  const auto all = [&] { return race.tried.load() >= round * kProcesses; };
  try {
    const auto journal = state::Journal::open(directory);
    mine.won = 1;
    if (race.owners.fetch_add(1) != 0) keep(mine.problem, "a second owner");
    const auto again = state::Journal::open(directory);
    if (!again->sameAs(*journal)) keep(mine.problem, "a second open made a second engine");
    const std::uint64_t count = countIn(journal);
    if (count != round - 1) keep(mine.problem, "it finds round " + std::to_string(count));
    state::Commit commit;
    commit.put(*journal->findStore("rounds"), "count", std::to_string(round));
    static_cast<void>(again->commit(commit, state::Durability::Buffered));
    race.tried.fetch_add(1);
    if (!await(all)) keep(mine.problem, "the others never tried");
    race.owners.fetch_sub(1);
  } catch (const state::OwnedElsewhere& refused) {
    keep(mine.told, refused.what());
    race.tried.fetch_add(1);
  } catch (const std::exception& error) {
    keep(mine.problem, error.what());
    race.tried.fetch_add(1);
  }
  race.settled.fetch_add(1);
}

TEST(TwoOwners, OfAllThatRaceOneWinsAndTheOthersAreToldWho) {
  Figures figures("13");
  Violations violations("row 13, race");
  const std::uint64_t rounds = scaled<std::uint64_t>(100, 1000, 1000);
  const testing::TemporaryDirectory place;
  const std::string directory = place / "state";
  void* memory = ::mmap(nullptr, sizeof(Race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                        -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Race& race = *new (memory) Race{};
  std::array<pid_t, kProcesses> children{};
  for (int i = 0; i < kProcesses; ++i) {
    children[static_cast<std::size_t>(i)] = ::fork();
    if (children[static_cast<std::size_t>(i)] != 0) continue;
    for (std::uint64_t round = 1; round <= rounds; ++round) {
      if (!await([&] { return race.round.load() >= round; })) ::_exit(1);
      attempt(race, i, directory, round);
    }
    ::_exit(0);
  }
  std::uint64_t winners = 0;
  for (std::uint64_t round = 1; round <= rounds && !violations.enough(); ++round) {
    violations.state();
    const std::string where = "round " + std::to_string(round);
    race.round = round;
    if (!await([&] { return race.settled.load() >= round * kProcesses; })) {
      violations.add(where, "a process hangs");
      break;
    }
    std::uint64_t won = 0;
    std::string holder;
    for (int i = 0; i < kProcesses; ++i) {
      const Attempt& one = race.attempts[static_cast<std::size_t>(i)];
      if (one.problem[0] != '\0') violations.add(where, one.problem.data());
      if (one.won == 0) continue;
      ++won;
      holder = "pid " + std::to_string(children[static_cast<std::size_t>(i)]) + " ";
    }
    if (won != 1) violations.add(where, std::to_string(won) + " winners");
    winners += won;
    for (const Attempt& one : race.attempts) {
      const std::string told = one.told.data();
      if (one.won == 0 && told.find(holder) == std::string::npos) {
        violations.add(where, "held by " + holder + ", but a loser was told: " + told);
      }
    }
  }
  for (const pid_t child : children) ::kill(child, SIGKILL);
  for (const pid_t child : children) ::waitpid(child, nullptr, 0);
  ::munmap(memory, sizeof(Race));
  figures.print(std::to_string(kProcesses) + " processes x " + std::to_string(rounds) +
                " opens, " + std::to_string(winners) + " winners, " +
                std::to_string(violations.count()) + " wrong");
}

TEST(TwoOwners, AKillFreesTheLockAtOnce) {
  Figures figures("13, kills");
  const std::uint64_t kills = scaled<std::uint64_t>(20, 200, 2000);
  for (const state::Sharing sharing : {state::Sharing::Exclusive, state::Sharing::Shared}) {
    const testing::TemporaryDirectory place;
    testsupport::SimRandom random(firstSeed());
    Acknowledged acked;
    for (std::uint64_t i = 0; i < kills; ++i) {
      Writers writers(place / "state", sharing);
      writers.letWrite(1 + random.below(5), random, acked);
      ASSERT_EQ(writers.kill(acked), "");
      // Exclusive, so that any lock left would refuse.
      ASSERT_EQ(checkWritten(place / "state", state::Sharing::Exclusive, acked.written, false), "");
    }
  }
  figures.print(std::to_string(2 * kills) + " kills, 0 locks left");
}

/// The text of the Closed that `call` throws, else what it did instead.
template <typename Call>
std::string refusal(const char* name, const Call& call) {
  try {
    call();
  } catch (const state::Closed&) {
    return "";
  } catch (const std::exception& error) {
    return std::string(name) + " threw " + error.what() + "; ";
  }
  return std::string(name) + " worked; ";
}

TEST(TwoOwners, EveryUseAfterAForkIsRefusedAndTheChildHoldsNoLock) {
  const testing::TemporaryDirectory place;
  std::array<int, 2> said{};
  std::array<int, 2> leave{};
  ASSERT_EQ(::pipe(said.data()), 0);
  ASSERT_EQ(::pipe(leave.data()), 0);
  auto journal = state::Journal::open(place / "state");
  const state::StoreId store = journal->declareStore("s");
  const state::LogId log = journal->declareLog("l");
  auto view = journal->store(store);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(said[0]);
    ::close(leave[1]);
    std::string text;
    state::Commit commit;
    commit.put(store, "k", "child");
    std::string wrong;
    wrong += refusal("commit", [&] { static_cast<void>(journal->commit(commit)); });
    wrong += refusal("commitAsync", [&] {
      state::Commit other;
      other.put(store, "k", "child");
      static_cast<void>(journal->commitAsync(std::move(other)));
    });
    wrong += refusal("transact", [&] {
      static_cast<void>(journal->transact([&](state::Commit& c) { c.put(store, "k", "child"); }));
    });
    wrong += refusal("get", [&] { view->get("k", text); });
    wrong += refusal("size", [&] { static_cast<void>(view->size()); });
    wrong += refusal("flush", [&] { journal->flush(); });
    wrong += refusal("declareStore", [&] { journal->declareStore("t"); });
    wrong += refusal("declareLog", [&] { journal->declareLog("m"); });
    wrong += refusal("trimLog", [&] { journal->trimLog(log, 0); });
    wrong += refusal("log", [&] { static_cast<void>(journal->log(log)); });
    wrong += refusal("removeStore", [&] { journal->removeStore(store); });
    wrong += refusal("snapshotStore", [&] { journal->snapshotStore(store); });
    wrong += refusal("clean", [&] { static_cast<void>(journal->clean()); });
    wrong += refusal("tryClaim", [&] { static_cast<void>(journal->tryClaim("task")); });
    if (wrong.empty()) wrong = "refused";
    static_cast<void>(!::write(said[1], wrong.data(), wrong.size()));
    ::close(said[1]);
    char byte = 0;
    static_cast<void>(!::read(leave[0], &byte, 1));  // lives until the parent has opened again
    ::_exit(0);
  }
  ::close(said[1]);
  ::close(leave[0]);
  std::string heard;
  std::array<char, 1024> bytes{};
  for (ssize_t got = 0; (got = ::read(said[0], bytes.data(), bytes.size())) > 0;) {
    heard.append(bytes.data(), static_cast<std::size_t>(got));
  }
  EXPECT_EQ(heard, "refused");
  view.reset();
  journal.reset();
  EXPECT_NO_THROW(journal = state::Journal::open(place / "state")) << "the child holds the lock";
  ::close(leave[1]);
  ::close(said[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

/// Every file below `directory` with its bytes and times.
std::map<std::string, std::string> everythingIn(const std::string& directory) {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    std::ostringstream text;
    text << entry.last_write_time().time_since_epoch().count() << ' ';
    if (entry.is_regular_file()) text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    all[entry.path().string()] = text.str();
  }
  return all;
}

/// A directory with segments, a snapshot and a claim, closed.
void fillDirectory(const std::string& directory) {
  const auto journal = state::Journal::open(directory);
  const state::StoreId store = journal->declareStore("s");
  for (int i = 0; i < 20; ++i) {
    state::Commit commit;
    commit.put(store, "key-" + std::to_string(i), std::string(500, 'x'));
    static_cast<void>(journal->commit(commit));
  }
  journal->snapshotStore(store);
  static_cast<void>(journal->tryClaim("task"));
}

/// Opens it in every way; each has to be refused by an error that names the directory.
std::string openingIsRefused(const std::string& directory, const std::string& because) {
  std::string wrong;
  for (const state::Sharing sharing : {state::Sharing::Exclusive, state::Sharing::Shared}) {
    for (int attempts = 0; attempts < 3; ++attempts) {
      try {
        state::JournalOptions options;
        options.sharing = sharing;
        static_cast<void>(state::Journal::open(directory, options));
        wrong += "it opened; ";
      } catch (const Error& error) {
        const std::string text = error.what();
        if (text.find(directory) == std::string::npos || text.find(because) == std::string::npos) {
          wrong += "not clear: " + text + "; ";
        }
      }
    }
  }
  return wrong;
}

TEST(TwoOwners, AReadOnlyDirectoryIsRefusedClearlyAndNotChanged) {
  Figures figures("13, read-only");
  const testing::TemporaryDirectory place;
  const std::string directory = place / "state";
  fillDirectory(directory);
  std::filesystem::permissions(place.path(), std::filesystem::perms(0755));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    std::filesystem::permissions(entry.path(),
                                 std::filesystem::perms(entry.is_directory() ? 0555 : 0444));
  }
  std::filesystem::permissions(directory, std::filesystem::perms(0555));
  const auto before = everythingIn(directory);
  EXPECT_EQ(testing::asUnprivileged([&] {
              return openingIsRefused(directory, "Permission denied");
            }),
            "");
  EXPECT_TRUE(everythingIn(directory) == before) << "something was changed";
  std::string mounts = "1 way";
  if (::geteuid() == 0) {  // root ignores permissions, so it needs a mount; one of its own
    mounts = "2 ways";
    const pid_t child = ::fork();
    if (child == 0) {
      const char* at = directory.c_str();
      if (::unshare(CLONE_NEWNS) != 0) ::_exit(errno == EPERM ? 3 : 2);  // 3: a container's root
      // Fails where "/" is no mount, as in a chroot; then the mount below is seen outside too.
      static_cast<void>(::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr));
      if (::mount(at, at, nullptr, MS_BIND, nullptr) != 0) ::_exit(errno == EPERM ? 3 : 2);
      std::string wrong = "could not remount";
      if (::mount(nullptr, at, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0) {
        wrong = openingIsRefused(directory, "Read-only file system");
      }
      if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
      if (::umount2(at, MNT_DETACH) != 0) ::_exit(2);
      ::_exit(wrong.empty() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 3) {
      mounts = "1 way (this root may not mount)";
    } else {
      EXPECT_EQ(WEXITSTATUS(status), 0) << "2: could not mount";
    }
    EXPECT_TRUE(everythingIn(directory) == before) << "something was changed";
  }
  std::filesystem::permissions(directory, std::filesystem::perms(0755));
  figures.print(mounts + " x 6 opens refused, 0 bytes changed");
}

}  // namespace
}  // namespace penstock::fault
