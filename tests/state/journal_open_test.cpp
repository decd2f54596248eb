// SPDX-License-Identifier: Apache-2.0
//
// Goal: who may open a directory, and who is told what when it may not: holders that have not
// written their name yet, died, or let go for a moment; files of others; tails set aside; segments
// that another process began. Method: processes of one simulated machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/journal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bytes.h"
#include "catalog.h"
#include "frame.h"
#include "journal_core.h"
#include "support/frames.h"
#include "support/hooked_files.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/sim_journal.h"
#include "support/subprocess.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testsupport::addRecords;
using testsupport::filesWith;
using testsupport::firstSegment;
using testsupport::framesOf;
using testsupport::get;
using testsupport::HookedFiles;
using testsupport::kDirectory;
using testsupport::Process;
using testsupport::put;
using testsupport::rehash;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::smallSegments;

const std::string secondSegment = "/state/segment-0000000002.log";

std::string hostName() {
  std::array<char, 256> host{};
  EXPECT_EQ(::gethostname(host.data(), host.size() - 1), 0);
  return host.data();
}

/// A process that has the lock of PRESENCE, with any text in it.
class Holder {
 public:
  Holder(SimFs& machine, LockKind kind, const std::string& text) : process_(machine) {
    machine.makeSyncedDirectory(kDirectory);
    file_ = std::move(process_.process->open("/state/PRESENCE", OpenMode::ReadWriteCreate).value);
    write(text);
    EXPECT_TRUE(file_->tryLock(kind).value);
  }
  void write(const std::string& text) const {
    EXPECT_TRUE(file_->truncate(0).ok());
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
    EXPECT_TRUE(file_->write(0, pieces).ok());
  }
  void letGo() { EXPECT_TRUE(file_->unlock().ok()); }

 private:
  Process process_;
  std::unique_ptr<File> file_;
};

JournalOptions impatient(Sharing sharing = Sharing::Exclusive) {
  JournalOptions options = smallSegments(sharing);
  options.openTimeout = std::chrono::milliseconds(40);
  return options;
}

pid_t deadProcess() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return child;
}

TEST(OpeningTest, AHolderThatIsNamedIsRefusedAtOnceAndOneThatIsNotYetAfterAWhile) {
  const std::string host = hostName();
  const auto exclusive = [](pid_t pid, const std::string& where) {
    return "pid " + std::to_string(pid) + " on " + where + " (exclusive)\n";
  };
  const std::tuple<std::string, bool, std::string> cases[] = {
      {"", true, "is in use by another process"},
      {exclusive(::getpid(), host), true, "is in use by pid"},     // of before, and ours by chance
      {exclusive(deadProcess(), host), true, "is in use by pid"},  // killed, and not yet replaced
      {exclusive(::getppid(), host), false, "is in use by pid"},
      {exclusive(deadProcess(), "elsewhere"), false, "on elsewhere"},
      {"pid ? on ? (exclusive)\n", false, "pid ?"},
      {"pid 1 on somewhere (shared)\n", false, "(shared)"},
  };
  for (const auto& [text, waits, said] : cases) {
    SCOPED_TRACE(text);
    SimFs machine(1);
    const Holder holder(machine, LockKind::Exclusive, text);
    Process process(machine);
    JournalOptions options = smallSegments();
    options.openTimeout = waits ? std::chrono::milliseconds(40) : std::chrono::minutes(2);
    const auto began = std::chrono::steady_clock::now();
    EXPECT_THAT(messageOf<OwnedElsewhere>([&] { (void)process.open(options); }),
                AllOf(HasSubstr(said), HasSubstr("end that process")));
    const auto took = std::chrono::steady_clock::now() - began;
    if (waits) {
      EXPECT_GE(took, options.openTimeout);
    } else {
      EXPECT_LT(took, options.openTimeout);
    }
  }
}

TEST(OpeningTest, AHolderThatIsNotNamedYetAndLetsGoIsFollowed) {
  SimFs machine(1);
  Holder holder(machine, LockKind::Exclusive, "");
  const std::uint64_t tries = machine.calls(SimCall::Lock);
  std::thread ends([&] {
    EXPECT_TRUE(testing::eventually([&] { return machine.calls(SimCall::Lock) > tries + 2; }));
    holder.letGo();
  });
  Process process(machine);
  JournalOptions options = smallSegments();
  options.openTimeout = std::chrono::minutes(1);
  EXPECT_NO_THROW((void)process.open(options));
  ends.join();
}

// It holds the lock shared, but the page does not say that its recovery is over.
TEST(OpeningTest, ARecoveryOfAnotherOneIsWaitedForSoLong) {
  SimFs machine(1);
  const Holder holder(machine, LockKind::Shared, "pid 7 on somewhere (shared)");
  Process process(machine);
  EXPECT_THAT(
      messageOf<OwnedElsewhere>([&] { (void)process.open(impatient(Sharing::Shared)); }),
      AllOf(HasSubstr("pid 7"), HasSubstr("has been recovering it for 40 ms; try again later")));
}

// A lock becomes another kind by letting go of it: somebody may come in between, and may have gone
// again when the lock is had.
TEST(OpeningTest, WhoLosesTheLockWhileItBecomesSharedBeginsAnew) {
  enum class Other { Stays, Closes, IsKilled };
  for (const Other way : {Other::Stays, Other::Closes, Other::IsKilled}) {
    SimFs machine(1);
    Process between(machine);
    std::shared_ptr<Journal> other;
    Process process(machine);
    HookedFiles hooked(*process.process, [&](File& presence) {
      EXPECT_TRUE(presence.unlock().ok());
      other = between.open(smallSegments());
      put(*other, other->declareStore("s"), "k", "theirs");
      if (way == Other::Closes) other.reset();
      if (way == Other::IsKilled) between.process->kill();
    });
    Environment environment = process.process->environment();
    environment.files = &hooked;
    const auto open = [&] {
      return Journal::open(kDirectory, impatient(Sharing::Shared), environment);
    };
    if (way == Other::Stays) {
      EXPECT_THAT(messageOf<OwnedElsewhere>([&] { (void)open(); }), HasSubstr("(exclusive)"));
      continue;
    }
    {
      const auto journal = open();
      const StoreId id = journal->declareStore("s");
      EXPECT_EQ(get(*journal->store(id), "k"), "theirs");
      put(*journal, id, "mine", "1");
      process.process->kill();
    }
    Process next(machine);
    const auto journal = next.open(smallSegments());
    const auto store = journal->store(journal->findStore("s").value());
    EXPECT_EQ(get(*store, "k"), "theirs");
    EXPECT_EQ(get(*store, "mine"), "1");
  }
}

TEST(OpeningTest, WhatIsNotOursIsRefusedByItsNameAndKept) {
  const std::vector<std::byte> page(SharedPage::kSize, std::byte{7});
  {
    SimFs machine(1);
    machine.makeSyncedDirectory(kDirectory);
    machine.setImage("/state/PAGE", page);  // a creation that was killed left it behind
    Process process(machine);
    EXPECT_NO_THROW((void)process.open(smallSegments()));
  }
  SimFs machine(1);
  machine.makeSyncedDirectory(kDirectory);
  machine.setImage("/state/PAGE", std::span(page).first(100));
  Process process(machine);
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)process.open(smallSegments()); }),
              AllOf(HasSubstr("/state/PAGE: is not Penstock's"), HasSubstr("it begins")));
  machine.removeSynced("/state/PAGE");
  machine.makeSyncedDirectory("/state/CLEANER");
  EXPECT_THAT(messageOf<ConfigurationError>([&] { (void)process.open(smallSegments()); }),
              AllOf(HasSubstr("/state/CLEANER: is not Penstock's"), Not(HasSubstr("it begins"))));
}

TEST(OpeningTest, WhatIsNoNameOfADirectoryIsRefused) {
  SimFs machine(1);
  Process process(machine);
  const Environment& environment = process.process->environment();
  EXPECT_THROW((void)Journal::open("", {}, environment), ConfigurationError);
  machine.setImage("/file", std::vector<std::byte>(1));
  for (const bool create : {true, false}) {
    JournalOptions options;
    options.createDirectory = create;
    EXPECT_THAT(messageOf<IoError>([&] { (void)Journal::open("/file", options, environment); }),
                HasSubstr("/file: is a file; give a directory"));
  }
  machine.fail({SimCall::MakeDirectories, 1, EACCES, false, ""});
  EXPECT_THAT(messageOf<IoError>([&] { (void)process.open({}); }),
              HasSubstr("creating the state directory"));
  const auto journal = process.open(smallSegments());
  EXPECT_THAT(
      messageOf<ConfigurationError>([&] { (void)process.open(smallSegments(Sharing::Shared)); }),
      HasSubstr("with another sharing mode"));
}

TEST(OpeningTest, ThreadsThatOpenAndCloseAtOnceHaveOneJournal) {
  SimFs machine(1);
  Process process(machine);
  Environment environment = process.process->environment();
  environment.threads = true;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto journal = Journal::open(kDirectory, smallSegments(), environment);
        const StoreId id = journal->declareStore("s");
        (void)journal->transact([&](Commit& commit) {
          std::string count = "0";
          (void)journal->store(id)->get("n", count);
          commit.put(id, "n", std::to_string(std::stoi(count) + 1));
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto journal = process.open(smallSegments());
  EXPECT_EQ(get(*journal->store(journal->findStore("s").value()), "n"), "200");
}

TEST(OpeningTest, ATornTailIsSetAsideUnderANameThatIsFree) {
  SimFs prepared(1);
  std::uint64_t end = 0;
  {
    Process process(prepared);
    const auto journal = process.open(smallSegments());
    put(*journal, journal->declareStore("s"), "k", "v");
    process.process->kill();
    const auto last = framesOf(prepared, firstSegment).back();
    end = last.offset + last.view.header.frameBytes;
    auto bytes = prepared.image(firstSegment);
    bytes.resize(std::max<std::size_t>(bytes.size(), end + 100));
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(end), 100, std::byte{7});
    prepared.setImage(firstSegment, bytes);
  }
  const std::string aside =
      firstSegment + ".torn-" +
      std::to_string(framesOf(prepared, firstSegment).back().view.header.sequence + 1);
  const std::pair<std::vector<std::byte>, bool> cases[] = {
      {std::vector<std::byte>(100, std::byte{7}), true},  // it is the tail, of an attempt before
      {std::vector<std::byte>(100, std::byte{8}), false},
      {std::vector<std::byte>(99, std::byte{7}), false},
      {std::vector<std::byte>(200, std::byte{7}), false},
  };
  for (const auto& [there, same] : cases) {
    const auto machine = prepared.clone(1);
    machine->setImage(aside, there);
    Process process(*machine);
    const auto journal = process.open(smallSegments());
    EXPECT_EQ(machine->image(aside), there);
    EXPECT_EQ(filesWith(*machine, ".torn-"), same ? 1U : 2U);
    if (!same) {
      EXPECT_EQ(machine->image(aside + "-2"), std::vector<std::byte>(100, std::byte{7}));
    }
    EXPECT_EQ(journal->metrics().tornBytes, 100U);
  }
  for (const SimCall call : {SimCall::Open, SimCall::Read, SimCall::Sync, SimCall::Write}) {
    const auto machine = prepared.clone(1);
    if (call != SimCall::Write) machine->setImage(aside, cases[0].first);
    machine->fail({call, 1, EIO, false, ".torn-"});
    Process process(*machine);
    if (call == SimCall::Write) {
      EXPECT_THAT(messageOf<IoError>([&] { (void)process.open(smallSegments()); }),
                  HasSubstr("keeping the torn tail as"));
      EXPECT_EQ(filesWith(*machine, ".torn-"), 0U);
    } else {  // what cannot be read is not known to be the tail
      (void)process.open(smallSegments());
      EXPECT_EQ(filesWith(*machine, ".torn-"), 2U);
    }
  }
}

TEST(JoiningTest, WhatAKilledProcessDidNotPublishIsAdopted) {
  SimFs machine(1);
  Process one(machine);
  Process two(machine);
  const auto stays = one.open(smallSegments(Sharing::Shared));
  const StoreId id = stays->declareStore("s");
  auto& page = *reinterpret_cast<JournalPage*>(one.process->mapShared("/state/PAGE").value->data());
  const auto killed = two.open(smallSegments(Sharing::Shared));
  const std::uint64_t end = page.end.load();
  const std::uint64_t written = page.written.load();
  put(*killed, id, "k", "v");
  two.process->kill();
  page.end.store(end);
  page.written.store(written);
  page.writing.store(1);
  Process three(machine);
  const auto joined = three.open(smallSegments(Sharing::Shared));
  EXPECT_EQ(get(*joined->store(id), "k"), "v");
  EXPECT_EQ(get(*stays->store(id), "k"), "v");
}

// A member that lags finds the end of a segment in the base frame of the next one.
TEST(FollowingTest, ABaseFrameOfTheNextSegmentThatIsDamagedIsNamed) {
  const auto withCatalog = [](const std::function<void(Catalog&)>& change) {
    return [change](SimFs& machine) {
      testsupport::reseal(machine, secondSegment, framesOf(machine, secondSegment).front(),
                          [&](auto&, auto& sections, auto& body) {
                            Catalog catalog;
                            ASSERT_TRUE(catalog.decode(body.substr(0, sections[0].length)));
                            change(catalog);
                            std::string bytes;
                            catalog.encode(bytes);
                            ASSERT_EQ(bytes.size(), sections[0].length);
                            body.replace(0, bytes.size(), bytes);
                            rehash(sections[0], body);
                          });
    };
  };
  const auto cutAt = [](std::uint64_t behind) {
    return [behind](SimFs& machine) {
      auto bytes = machine.image(secondSegment);
      bytes.resize(sizeof(FileHeader) + behind);
      machine.setImage(secondSegment, bytes);
    };
  };
  const std::tuple<const char*, const char*, std::function<void(SimFs&)>> cases[] = {
      {"magic", "does not say where segment 1 ends",
       [](SimFs& machine) { testsupport::flip(machine, secondSegment, sizeof(FileHeader)); }},
      {"checksum", "does not say where segment 1 ends",
       [](SimFs& machine) {
         testsupport::flip(machine, secondSegment,
                           sizeof(FileHeader) + offsetof(FrameHeader, checksum));
       }},
      {"cut in its head", "does not say where segment 1 ends", cutAt(10)},
      {"cut in its body", "does not say where segment 1 ends",
       cutAt(sizeof(FrameHeader) + sizeof(SectionEntry) + 3)},
      {"a catalog that cannot be read", "does not say where segment 1 ends",
       [](SimFs& machine) {
         testsupport::reseal(machine, secondSegment, framesOf(machine, secondSegment).front(),
                             [](auto&, auto& sections, auto& body) {
                               body[2] = 0x7f;  // stores
                               rehash(sections[0], body);
                             });
       }},
      {"a catalog without that segment", "does not say where segment 1 ends",
       withCatalog([](Catalog& catalog) { catalog.sealed.front().number = 9; })},
      {"another sequence", "its base frame cannot be read",
       [](SimFs& machine) {
         testsupport::reseal(machine, secondSegment, framesOf(machine, secondSegment).front(),
                             [](auto& header, auto&, auto&) { ++header.sequence; });
       }},
  };
  for (const auto& [what, said, damage] : cases) {
    SCOPED_TRACE(what);
    SimFs machine(1);
    Process one(machine);
    Process two(machine);
    const auto behind = one.open(smallSegments(Sharing::Shared));
    const StoreId id = behind->declareStore("s");
    const auto store = behind->store(id);
    const auto ahead = two.open(smallSegments(Sharing::Shared));
    put(*ahead, id, "k", std::string(70'000, 'x'));  // and rolls
    damage(machine);
    for (int again = 0; again < 2; ++again) {
      EXPECT_THAT(messageOf<Corruption>([&] { (void)get(*store, "k"); }),
                  AllOf(HasSubstr(secondSegment), HasSubstr(said)));
    }
  }
}

}  // namespace
}  // namespace penstock::state
