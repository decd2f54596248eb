// SPDX-License-Identifier: Apache-2.0
//
// What can be wrong with a directory: somebody else's files, a newer format, permissions, no space,
// another process, absurd options. Each is a typed error that says what, where and what to do, and
// nothing of what was there is changed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/local_file_storage.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#include "frame.h"
#include "tests/support/full_disk.h"
#include "tests/support/message_of.h"
#include "tests/support/sim_fs.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/unprivileged.h"

namespace penstock::state {
namespace {

using penstock::testing::asUnprivileged;
using penstock::testing::FullDisk;
using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using testsupport::SimCall;
using testsupport::SimFs;

std::string contentOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

class StateDirectory : public ::testing::Test {
 protected:
  /// Every file by its name below the directory.
  [[nodiscard]] std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(state_)) {
      if (entry.is_regular_file()) {
        found[std::filesystem::relative(entry.path(), state_)] = contentOf(entry.path());
      }
    }
    return found;
  }
  void open(Sharing sharing = Sharing::Exclusive) const {
    LocalFileStorageOptions options;
    options.sharing = sharing;
    (void)LocalFileStorage(state_, options).containsKey("key");
  }
  /// A closed storage with a sealed segment and a snapshot of its store.
  void fill() const {
    JournalOptions options;
    options.segmentBytes = 4096;
    const auto journal = Journal::open(state_, options);
    const StoreId store = journal->declareStore("storage");
    Commit commit;
    for (int i = 0; i < 20; ++i) {
      commit.put(store, "key" + std::to_string(i), std::string(500, 'v'));
      (void)journal->commit(commit, Durability::Buffered);
    }
    journal->snapshotStore(store);
  }
  /// The path of the newest file of that kind.
  [[nodiscard]] std::string newest(std::string_view prefix) const {
    std::string found;
    for (const auto& [name, content] : files()) {
      if (name.starts_with(prefix)) found = name;
    }
    EXPECT_FALSE(found.empty()) << prefix;
    return state_ + "/" + found;
  }
  /// Changes the file header of `path` as a newer Penstock might have written it.
  static void writeHeader(const std::string& path,
                          const std::function<void(FileHeader& header)>& change) {
    std::string content = contentOf(path);
    FileHeader header{};
    std::memcpy(&header, content.data(), sizeof(header));
    change(header);
    header.checksum =
        hash64({reinterpret_cast<const char*>(&header), offsetof(FileHeader, checksum)});
    std::memcpy(content.data(), &header, sizeof(header));
    write(path, content);
  }

  TemporaryDirectory directory_;
  std::string state_ = directory_ / "state";
};

// Somebody else's files

TEST_F(StateDirectory, AForeignFileWithANameOfOursIsRefusedAndKept) {
  for (const char* name : {"PRESENCE", "APPEND", "PAGE", "CLEANER", "JOURNAL"}) {
    for (const Sharing sharing : {Sharing::Exclusive, Sharing::Shared}) {
      std::filesystem::remove_all(state_);
      std::filesystem::create_directory(state_);
      write(state_ + "/" + name, "my own notes\n");
      const auto before = files();
      EXPECT_THAT(messageOf<ConfigurationError>([&] { open(sharing); }),
                  AllOf(HasSubstr(state_ + "/" + name), HasSubstr("my own notes"),
                        HasSubstr("choose another directory")));
      EXPECT_EQ(files(), before);
    }
  }
}

TEST_F(StateDirectory, AForeignFileOfAClaimsNameIsKept) {
  std::filesystem::create_directories(state_ + "/claims");
  const std::string claim = fmt::format("{}/claims/{:016x}", state_, hash64("task"));
  write(claim, "my own notes\n");
  const auto journal = Journal::open(state_);
  const auto held = journal->tryClaim("task");
  ASSERT_NE(held, nullptr);
  std::string holder;
  EXPECT_EQ(journal->tryClaim("task", &holder), nullptr);
  EXPECT_EQ(holder, "another process");
  EXPECT_EQ(contentOf(claim), "my own notes\n");
}

TEST_F(StateDirectory, FilesThatOnlyLookLikeOursAreKept) {
  std::filesystem::create_directory(state_);
  std::map<std::string, std::string> mine;
  for (const char* name : {"notes.tmp", "segment-1.log", "segment-0000000001.log.bak",
                           "snapshot-1.snap", "blob-12.blob", "archive-.arch", "README"}) {
    mine[name] = "mine";
    write(state_ + "/" + name, "mine");
  }
  for (int times = 0; times < 3; ++times) open(times == 1 ? Sharing::Shared : Sharing::Exclusive);
  const auto after = files();
  for (const auto& [name, content] : mine) {
    ASSERT_TRUE(after.contains(name)) << name;
    EXPECT_EQ(after.at(name), content) << name;
  }
}

TEST_F(StateDirectory, AForeignFileInASegmentsPlaceIsRefusedAndKept) {
  std::filesystem::create_directory(state_);
  const std::string segment = state_ + "/segment-0000000001.log";
  write(segment, std::string(5000, 'x'));
  for (const Sharing sharing : {Sharing::Exclusive, Sharing::Shared}) {
    EXPECT_THAT(messageOf<Corruption>([&] { open(sharing); }),
                AllOf(HasSubstr(segment), HasSubstr("not a Penstock file")));
  }
  EXPECT_EQ(contentOf(segment), std::string(5000, 'x'));
}

TEST_F(StateDirectory, AForeignFileInASnapshotsPlaceIsRefusedAndKept) {
  fill();
  const std::string snapshot = newest("snapshot-");
  const std::string foreign(contentOf(snapshot).size(), 'x');
  write(snapshot, foreign);
  EXPECT_THAT(messageOf<Corruption>([&] { open(); }),
              AllOf(HasSubstr(snapshot), HasSubstr("not a Penstock file")));
  EXPECT_EQ(contentOf(snapshot), foreign);
}

TEST_F(StateDirectory, ANewerFormatIsRefusedByTheVersionItNeeds) {
  for (const char* kind : {"segment-", "snapshot-"}) {
    std::filesystem::remove_all(state_);
    fill();
    const std::string path = newest(kind);
    const std::string was = contentOf(path);
    writeHeader(path, [](FileHeader& header) { header.minimumReader = formatVersion + 1; });
    std::string newer = contentOf(path);
    EXPECT_THAT(messageOf<FormatTooNew>([&] { open(); }),
                AllOf(HasSubstr(path), HasSubstr("format version 2"), HasSubstr("newer Penstock")));
    EXPECT_EQ(contentOf(path), newer);

    write(path, was);
    writeHeader(path, [](FileHeader& header) { header.byteOrderMark = 0x04030201; });
    newer = contentOf(path);
    EXPECT_THAT(
        messageOf<FormatTooNew>([&] { open(); }),
        AllOf(HasSubstr(path), HasSubstr("byte order"), HasSubstr("`penstock state export`")));
    EXPECT_EQ(contentOf(path), newer);

    write(path, was);
    writeHeader(path, [](FileHeader& header) { header.incompatibleFeatures = 1ULL << 40; });
    newer = contentOf(path);
    EXPECT_THAT(messageOf<FormatTooNew>([&] { open(); }),
                AllOf(HasSubstr(path), HasSubstr("features 0x10000000000")));
    EXPECT_EQ(contentOf(path), newer);

    // What is newer, but says that it can be read, is read.
    write(path, was);
    writeHeader(path, [](FileHeader& header) {
      header.version = formatVersion + 1;
      header.compatibleFeatures = 1;
    });
    EXPECT_EQ(LocalFileStorage(state_).size(), 20U);
  }
}

// Permissions

std::string ioErrorOf(const std::function<void()>& call, int expected) {
  try {
    call();
  } catch (const IoError& error) {
    return error.osError() == expected ? error.what() : "errno " + std::to_string(error.osError());
  } catch (const std::exception& error) {
    return std::string("another error: ") + error.what();
  }
  return "no error";
}

TEST_F(StateDirectory, AProcessWithoutPermissionIsToldWhichAndWhatToDo) {
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  std::filesystem::create_directory(state_);
  const auto refused = [&](const std::string& path, Sharing sharing) {
    return asUnprivileged([&] {
      return ioErrorOf(
          [&] {
            LocalFileStorageOptions options;
            options.sharing = sharing;
            (void)LocalFileStorage(path, options);
          },
          EACCES);
    });
  };
  for (const Sharing sharing : {Sharing::Exclusive, Sharing::Shared}) {
    // not readable, not writable, not to be entered
    for (const mode_t mode : {0333U, 0555U, 0000U}) {
      ASSERT_EQ(::chmod(state_.c_str(), mode), 0);
      EXPECT_THAT(refused(state_, sharing),
                  AllOf(HasSubstr(state_), HasSubstr("Permission denied"),
                        HasSubstr("check the owner and permissions of the directory")))
          << mode;
    }
    // one that cannot be made, or looked at, inside it
    for (const mode_t mode : {0555U, 0000U}) {
      ASSERT_EQ(::chmod(state_.c_str(), mode), 0);
      EXPECT_THAT(refused(state_ + "/inner", sharing),
                  AllOf(HasSubstr(state_ + "/inner"), HasSubstr("check the owner")))
          << mode;
    }
  }
  ASSERT_EQ(::chmod(state_.c_str(), 0755), 0);
  EXPECT_TRUE(std::filesystem::is_empty(state_));
}

TEST_F(StateDirectory, AProcessThatMayNotReadOrWriteAFileIsToldWhich) {
  ASSERT_EQ(::chmod(directory_.path().c_str(), 0755), 0);
  fill();
  ASSERT_EQ(::chmod(state_.c_str(), 0777), 0);
  for (const auto& [name, content] : files()) {
    ASSERT_EQ(::chmod((state_ + "/" + name).c_str(), 0666), 0);
  }
  for (const std::string& path : {newest("segment-"), newest("snapshot-"), state_ + "/PRESENCE"}) {
    ASSERT_EQ(::chmod(path.c_str(), 0000), 0);
    EXPECT_THAT(asUnprivileged([&] { return ioErrorOf([&] { open(); }, EACCES); }),
                AllOf(HasSubstr(path), HasSubstr("check the owner and permissions")));
    ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
  }
  EXPECT_EQ(LocalFileStorage(state_).size(), 20U);
}

TEST_F(StateDirectory, AReadOnlyFileSystemIsSaidToBeOne) {
  for (const SimCall call : {SimCall::MakeDirectories, SimCall::Open}) {
    SimFs machine(1);
    const auto process = machine.startProcess();
    machine.fail({.call = call, .error = EROFS, .always = true, .path = "/state"});
    EXPECT_THAT(ioErrorOf([&] { LocalFileStorage("/state", {}, process->environment()); }, EROFS),
                AllOf(HasSubstr("/state"), HasSubstr("read-only, choose another directory")));
  }
}

// No space

TEST_F(StateDirectory, AFullDiskIsSaidAndGoneOnFromWithoutReopening) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  machine.setCapacity(3 << 20);
  LocalFileStorage storage("/state", {}, process->environment());
  int kept = 0;
  const auto setNext = [&] {
    storage.set("key" + std::to_string(kept), std::string(100'000, 'v'));
    ++kept;
  };
  const std::string message = messageOf<DiskFull>([&] {
    while (kept < 1000) setNext();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("/state/segment-"), HasSubstr("No space left"),
                             HasSubstr("works again once there is space")));
  EXPECT_THAT(messageOf<DiskFull>(setNext), HasSubstr("No space left"));
  EXPECT_EQ(storage.size(), static_cast<std::uint64_t>(kept));
  machine.setCapacity(100 << 20);
  setNext();
  process->kill();
  const auto next = machine.startProcess();
  const LocalFileStorage again("/state", {}, next->environment());
  EXPECT_EQ(again.size(), static_cast<std::uint64_t>(kept));
  EXPECT_EQ(again.getString("key0"), std::string(100'000, 'v'));
}

TEST_F(StateDirectory, AFullDiskFailsFuturesAndNothingElse) {
  LocalFileStorage storage(state_);
  storage.set("before", 1);
  const std::string large(3 << 20, 'v');  // beyond what the segment has reserved
  {
    const FullDisk full(2 << 20);
    EXPECT_THAT(messageOf<DiskFull>([&] { storage.set("large", large); }), HasSubstr(state_));
    EXPECT_THROW(storage.setAsync("large", large).get(), DiskFull);
    EXPECT_THROW(storage.update<std::string>("large", [&](auto) { return large; }), DiskFull);
    EXPECT_FALSE(storage.containsKey("large"));
    EXPECT_EQ(storage.getLong("before"), 1);
  }
  storage.set("large", large);
  storage.setAsync("after", 2).get();
  EXPECT_EQ(storage.getString("large"), large);
}

TEST_F(StateDirectory, AFullDiskAtCreationLeavesADirectoryThatOpensLater) {
  SimFs machine(1);
  const auto process = machine.startProcess();
  machine.setCapacity(100);
  EXPECT_THAT(messageOf<DiskFull>([&] { LocalFileStorage("/state", {}, process->environment()); }),
              HasSubstr("/state/"));
  machine.setCapacity(100 << 20);
  LocalFileStorage storage("/state", {}, process->environment());
  storage.set("key", 1);
  EXPECT_EQ(storage.getLong("key"), 1);
}

// Another process

TEST_F(StateDirectory, ASecondProcessOfTheOtherSharingModeIsRefusedByNameOfTheHolder) {
  for (const Sharing holding : {Sharing::Exclusive, Sharing::Shared}) {
    const Sharing asking = holding == Sharing::Shared ? Sharing::Exclusive : Sharing::Shared;
    int opened[2];
    ASSERT_EQ(::pipe(opened), 0);
    const pid_t holder = ::fork();
    if (holder == 0) {
      LocalFileStorageOptions options;
      options.sharing = holding;
      const LocalFileStorage storage(state_, options);
      (void)!::write(opened[1], "!", 1);
      for (;;) ::pause();
    }
    char ready = 0;
    EXPECT_EQ(::read(opened[0], &ready, 1), 1);
    EXPECT_THAT(messageOf<OwnedElsewhere>([&] { open(asking); }),
                AllOf(HasSubstr(state_), HasSubstr("pid " + std::to_string(holder) + " on"),
                      HasSubstr("open the directory as shared in both")));
    ::kill(holder, SIGKILL);
    EXPECT_EQ(::waitpid(holder, nullptr, 0), holder);
    ::close(opened[0]);
    ::close(opened[1]);
    open(asking);
  }
}

// Options

TEST_F(StateDirectory, AbsurdOptionsAreRefusedByNameValueAndBounds) {
  LocalFileStorageOptions options;
  options.syncInterval = std::chrono::milliseconds(-1);
  EXPECT_THAT(messageOf<ConfigurationError>([&] { LocalFileStorage(state_, options); }),
              AllOf(HasSubstr(state_), HasSubstr("syncInterval is -1 ms"),
                    HasSubstr("may be 0 to 86400000")));
  options.syncInterval = std::chrono::milliseconds::max();
  EXPECT_THAT(messageOf<ConfigurationError>([&] { LocalFileStorage(state_, options); }),
              HasSubstr("syncInterval is 9223372036854775807 ms"));
  options.syncInterval = std::chrono::hours(24);
  LocalFileStorage(state_, options).set("key", 1);

  const auto refused = [&](const std::function<void(JournalOptions&)>& change) {
    JournalOptions journal;
    change(journal);
    return messageOf<ConfigurationError>([&] { (void)Journal::open(state_, journal); });
  };
  EXPECT_THAT(refused([](auto& o) { o.openTimeout = std::chrono::milliseconds(-1); }),
              HasSubstr("openTimeout is -1 ms"));
  EXPECT_THAT(refused([](auto& o) { o.openTimeout = std::chrono::milliseconds::max(); }),
              HasSubstr("openTimeout is 9223372036854775807 ms"));
  EXPECT_THAT(refused([](auto& o) { o.segmentBytes = 0; }), HasSubstr("segmentBytes is 0 bytes"));
  EXPECT_THAT(refused([](auto& o) { o.blobBytes = 0; }), HasSubstr("blobBytes is 0 bytes"));
  EXPECT_THAT(refused([](auto& o) { o.segmentBytes = 1ULL << 40; }),
              HasSubstr("segmentBytes is 1099511627776 bytes; it may be 4096 to 68719476736"));
  EXPECT_THAT(refused([](auto& o) { o.snapshotAfterBytes = 0; }),
              HasSubstr("snapshotAfterBytes is 0 bytes"));
  EXPECT_THAT(refused([](auto& o) { o.unsyncedBytesMax = 0; }),
              HasSubstr("unsyncedBytesMax is 0 bytes"));
}

TEST_F(StateDirectory, AWaitForEverIsOne) {
  const auto journal = Journal::open(state_);
  const Sequence seen = journal->written();
  std::atomic<bool> returned = false;
  std::thread waiter([&] {
    journal->waitForWritten(seen, std::chrono::milliseconds::max());
    returned = true;
  });
  EXPECT_FALSE(returned);
  (void)journal->declareStore("s");
  waiter.join();
  EXPECT_GT(journal->written(), seen);
}

}  // namespace
}  // namespace penstock::state
