// SPDX-License-Identifier: Apache-2.0
// The journal on the real file system: what is committed comes back, in every way to stop.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <penstock/state/journal.h>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <map>
#include <thread>

#include "posix_file_system.h"

namespace penstock::state {
namespace {

class JournalTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "journal-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    directory_ = (root_ / "state").string();
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static void put(Journal& journal, StoreId store, const std::string& key, const std::string& value,
                  Durability durability = Durability::Buffered) {
    Commit commit;
    commit.put(store, key, value);
    (void)journal.commit(commit, durability);
  }
  static std::string get(Store& store, const std::string& key) {
    std::string value = "<absent>";
    (void)store.get(key, value);
    return value;
  }
  static std::map<std::string, std::string> all(Store& store) {
    std::map<std::string, std::string> content;
    store.scan({}, {}, [&](std::string_view key, std::string_view value) {
      content.emplace(key, value);
      return true;
    });
    return content;
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  }

  std::filesystem::path root_;
  std::string directory_;
};

JournalOptions smallSegments() {
  JournalOptions options;
  options.segmentBytes = 64 * 1024;
  options.snapshotAfterBytes = 1ULL << 40;  // only when a test asks
  return options;
}

TEST_F(JournalTest, CommitsComeBackAfterClose) {
  {
    auto journal = Journal::open(directory_);
    const StoreId store = journal->declareStore("s");
    put(*journal, store, "a", "1");
    put(*journal, store, "b", "2", Durability::Synced);
    EXPECT_GE(journal->synced(), Sequence{1});
    EXPECT_EQ(get(*journal->store(store), "a"), "1");
  }
  auto journal = Journal::open(directory_);
  auto store = journal->store(journal->findStore("s").value());
  EXPECT_EQ(get(*store, "a"), "1");
  EXPECT_EQ(get(*store, "b"), "2");
  EXPECT_EQ(store->size(), 2U);
  EXPECT_EQ(journal->metrics().tornTails, 0U);
}

TEST_F(JournalTest, LogsGetOffsetsAndComeBackInOrder) {
  constexpr int records = 5000;
  {
    auto journal = Journal::open(directory_, smallSegments());
    const LogId log = journal->declareLog("l");
    Commit commit;
    for (int i = 0; i < records; ++i) {
      commit.recordBuffer(log) += "record " + std::to_string(i) + ";";
      commit.recordAdded(log, i);
      if (i % 7 == 0) {
        const auto result = journal->commit(commit, Durability::Buffered);
        ASSERT_EQ(result.baseOffsets.size(), 1U);
      }
    }
    (void)journal->commit(commit, Durability::Synced);
    EXPECT_GT(journal->metrics().rollovers, 0U);
    EXPECT_EQ(journal->log(log).syncedEnd, static_cast<std::uint64_t>(records));
  }
  auto journal = Journal::open(directory_, smallSegments());
  const LogId log = journal->findLog("l").value();
  LogReader reader(journal, log, 0);
  LogChunk chunk;
  std::string text;
  std::uint64_t next = 0;
  while (reader.next(chunk, ReadLimit::Synced)) {
    EXPECT_EQ(chunk.baseOffset, next);
    next += chunk.count;
    text += std::string(reinterpret_cast<const char*>(chunk.bytes.data()), chunk.bytes.size());
  }
  EXPECT_EQ(next, static_cast<std::uint64_t>(records));
  std::string expected;
  for (int i = 0; i < records; ++i) expected += "record " + std::to_string(i) + ";";
  EXPECT_EQ(text, expected);
  const auto at = journal->offsetForTime(log, 2500);
  ASSERT_TRUE(at.has_value());
  EXPECT_LE(*at, 2500U);
  EXPECT_GT(*at, 2490U);
}

TEST_F(JournalTest, CommitsBeyondEightMegabytesGoToAFileOfTheirOwn) {
  const std::string large(20 << 20, 'x');
  const std::string piece(3 << 20, 'y');
  {
    auto journal = Journal::open(directory_);
    const StoreId store = journal->declareStore("s");
    const LogId log = journal->declareLog("l");
    Commit commit;
    commit.put(store, "large", large);
    commit.recordBuffer(log) += piece;
    commit.recordAdded(log, 1);
    (void)journal->commit(commit, Durability::Synced);
    put(*journal, store, "inline", piece);
  }
  auto journal = Journal::open(directory_);
  auto store = journal->store(journal->findStore("s").value());
  EXPECT_EQ(get(*store, "large"), large);
  EXPECT_EQ(get(*store, "inline"), piece);
  LogReader reader(journal, journal->findLog("l").value(), 0);
  LogChunk chunk;
  ASSERT_TRUE(reader.next(chunk, ReadLimit::Synced));
  EXPECT_EQ(chunk.bytes.size(), piece.size());
}

TEST_F(JournalTest, SnapshotsAndCleaningKeepTheContentAndFreeTheDisk) {
  std::map<std::string, std::string> model;
  {
    auto journal = Journal::open(directory_, smallSegments());
    const StoreId id = journal->declareStore("s");
    const LogId log = journal->declareLog("l");
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 3000; ++i) {
        const std::string key = "key-" + std::to_string(i * 7 % 2000);
        Commit commit;
        if (i % 11 == 0) {
          commit.erase(id, key);
          model.erase(key);
        } else {
          const std::string value = std::to_string(round) + "/" + std::to_string(i);
          commit.put(id, key, value);
          model[key] = value;
        }
        commit.recordBuffer(log) += std::string(100, 'r');
        commit.recordAdded(log, i);
        (void)journal->commit(commit, Durability::Buffered);
      }
      journal->snapshotStore(id);
      journal->trimLog(log, journal->log(log).end - 10);
      (void)journal->clean();
      EXPECT_EQ(all(*journal->store(id)), model);
    }
    EXPECT_GT(journal->metrics().cleanedBytes, 100'000U);
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      if (entry.is_regular_file()) bytes += entry.file_size();
    }
    EXPECT_LT(bytes, 4U << 20);
  }
  auto journal = Journal::open(directory_, smallSegments());
  auto store = journal->store(journal->findStore("s").value());
  EXPECT_EQ(all(*store), model);
  EXPECT_EQ(store->size(), model.size());
  const LogInfo info = journal->log(journal->findLog("l").value());
  EXPECT_EQ(info.end, 12000U);
  LogReader reader(journal, info.id, info.start);
  LogChunk chunk;
  std::uint64_t next = info.start;
  while (reader.next(chunk, ReadLimit::Written)) next = chunk.baseOffset + chunk.count;
  EXPECT_EQ(next, info.end);
  LogReader below(journal, info.id, 0);
  EXPECT_THROW((void)below.next(chunk, ReadLimit::Written), PositionOutOfRange);
}

TEST_F(JournalTest, BlocksThatNobodyReadsAreVerifiedInTheBackground) {
  StoreId id;
  {
    auto journal = Journal::open(directory_);
    id = journal->declareStore("s");
    for (int i = 0; i < 300; ++i) {
      put(*journal, id, "key" + std::to_string(1000 + i), std::string(1000, 'v'));
    }
    journal->snapshotStore(id);
  }
  std::string file;
  for (const std::string& name : names()) {
    if (name.starts_with("snapshot-")) file = directory_ + "/" + name;
  }
  {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(100'000);
    bytes.put('x');
  }
  auto journal = Journal::open(directory_);
  auto store = journal->store(id);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (journal->metrics().damagedBlocks == 0 || journal->metrics().scrubbedBytes < 250'000) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    journal->waitForWritten(journal->written(), std::chrono::milliseconds(20));
  }
  EXPECT_EQ(journal->metrics().damagedBlocks, 1U);
  EXPECT_EQ(get(*store, "key1000"), std::string(1000, 'v')) << "what is sound is served";
}

TEST_F(JournalTest, ClearAndErasePrefixAreExact) {
  auto journal = Journal::open(directory_);
  const StoreId id = journal->declareStore("s");
  auto store = journal->store(id);
  for (const char* key : {"a", "a/1", "a/2", "b", "b/1"}) put(*journal, id, key, key);
  journal->snapshotStore(id);
  Commit commit;
  commit.erasePrefix(id, "a/");
  commit.put(id, "a/3", "new");
  (void)journal->commit(commit);
  EXPECT_EQ(all(*store), (std::map<std::string, std::string>{
                             {"a", "a"}, {"a/3", "new"}, {"b", "b"}, {"b/1", "b/1"}}));
  commit.clear(id);
  commit.put(id, "z", "z");
  (void)journal->commit(commit);
  EXPECT_EQ(all(*store), (std::map<std::string, std::string>{{"z", "z"}}));
  EXPECT_EQ(store->size(), 1U);
}

TEST_F(JournalTest, AKilledWriterLosesNothingItAcknowledged) {
  for (int round = 0; round < 5; ++round) {
    int acks[2];
    ASSERT_EQ(pipe(acks), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(acks[0]);
      auto journal = Journal::open(directory_, smallSegments());
      const StoreId id = journal->declareStore("s");
      for (std::uint32_t i = 0;; ++i) {
        put(*journal, id, "n" + std::to_string(round), std::to_string(i), Durability::Synced);
        if (write(acks[1], &i, sizeof(i)) != sizeof(i)) _exit(1);
      }
    }
    close(acks[1]);
    std::uint32_t last = 0;
    for (int i = 0; i < 200; ++i) {
      ASSERT_EQ(read(acks[0], &last, sizeof(last)), static_cast<ssize_t>(sizeof(last)));
    }
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    std::uint32_t more = 0;
    while (read(acks[0], &more, sizeof(more)) == sizeof(more)) last = more;
    close(acks[0]);
    auto journal = Journal::open(directory_, smallSegments());
    auto store = journal->store(journal->findStore("s").value());
    EXPECT_GE(std::stoul(get(*store, "n" + std::to_string(round))), last);
  }
}

TEST_F(JournalTest, ASecondExclusiveProcessIsRefusedByTheNameOfTheHolder) {
  auto journal = Journal::open(directory_);
  const pid_t self = getpid();
  const pid_t child = fork();
  if (child == 0) {
    try {
      (void)Journal::open(directory_);
    } catch (const OwnedElsewhere& error) {
      const bool named = std::string(error.what()).find(std::to_string(self)) != std::string::npos;
      _exit(named ? 0 : 2);
    } catch (...) {
      _exit(3);
    }
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(JournalTest, SharedProcessesSeeEachOthersCommitsAndSurviveAKill) {
  JournalOptions options = smallSegments();
  options.sharing = Sharing::Shared;
  auto journal = Journal::open(directory_, options);
  const StoreId id = journal->declareStore("s");
  const LogId log = journal->declareLog("l");
  constexpr int each = 2000;
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    const pid_t pid = fork();
    if (pid == 0) {
      try {
        auto own = Journal::open(directory_, options);
        auto store = own->store(id);
        for (int i = 0; i < each; ++i) {
          (void)own->transact(
              [&](Commit& commit) {
                std::string value = "0";
                (void)store->get("n", value);
                commit.put(id, "n", std::to_string(std::stol(value) + 1));
                commit.recordBuffer(log) += "r";
                commit.recordAdded(log, i);
              },
              Durability::Buffered);
        }
        if (child == 2) kill(getpid(), SIGKILL);
        own.reset();
        store.reset();
        _exit(0);
      } catch (const std::exception& error) {
        fprintf(stderr, "child: %s\n", error.what());
        _exit(1);
      }
    }
    children.push_back(pid);
  }
  auto store = journal->store(id);
  for (int i = 0; i < each; ++i) {
    (void)journal->transact(
        [&](Commit& commit) {
          std::string value = "0";
          (void)store->get("n", value);
          commit.put(id, "n", std::to_string(std::stol(value) + 1));
        },
        Durability::Buffered);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  }
  EXPECT_EQ(get(*store, "n"), std::to_string(4 * each));
  EXPECT_EQ(journal->log(log).end, 3U * each);
}

TEST_F(JournalTest, ACommitUnderAnOldClaimIsFencedAlsoByAnotherProcess) {
  JournalOptions options;
  options.sharing = Sharing::Shared;
  auto journal = Journal::open(directory_, options);
  const StoreId id = journal->declareStore("s");
  auto first = journal->tryClaim("task");
  ASSERT_NE(first, nullptr);
  std::string holder;
  EXPECT_EQ(journal->tryClaim("task", &holder), nullptr);
  EXPECT_NE(holder.find(std::to_string(getpid())), std::string::npos);
  Commit commit;
  commit.require(*first);
  commit.put(id, "k", "v");
  (void)journal->commit(commit);
  const std::uint64_t old = first->incarnation();
  commit.require(*first);
  commit.put(id, "k", "stale");
  first.reset();
  auto second = journal->tryClaim("task");
  ASSERT_NE(second, nullptr);
  EXPECT_GT(second->incarnation(), old);
  EXPECT_THROW((void)journal->commit(commit), Fenced);
  EXPECT_EQ(get(*journal->store(id), "k"), "v");
  // Also by a process that has not heard of it yet.
  commit.reset();
  commit.require(*second);
  commit.put(id, "k", "stale");
  second.reset();
  const pid_t other = fork();
  if (other == 0) {
    auto own = Journal::open(directory_, options);
    _exit(own->tryClaim("task") ? 0 : 1);
  }
  int status = 1;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  ASSERT_EQ(status, 0);
  EXPECT_THROW((void)journal->commit(commit), Fenced);
  EXPECT_EQ(get(*journal->store(id), "k"), "v");
}

TEST_F(JournalTest, AForkedChildIsRefusedButMayOpenItself) {
  JournalOptions options;
  options.sharing = Sharing::Shared;
  auto journal = Journal::open(directory_, options);
  const StoreId id = journal->declareStore("s");
  const pid_t child = fork();
  if (child == 0) {
    try {
      put(*journal, id, "k", "v");
    } catch (const Closed&) {
      try {
        auto own = Journal::open(directory_, options);
        put(*own, id, "k", "child", Durability::Synced);
        own.reset();
        _exit(0);
      } catch (...) {
        _exit(3);
      }
    } catch (...) {
      _exit(2);
    }
    _exit(1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(get(*journal->store(id), "k"), "child");
}

TEST_F(JournalTest, AMissingSegmentIsDamageNotANewJournal) {
  { auto journal = Journal::open(directory_); }
  for (const std::string& name : names()) {
    if (name.starts_with("segment-")) std::filesystem::remove(directory_ + "/" + name);
  }
  EXPECT_THROW((void)Journal::open(directory_), Corruption);
}

TEST_F(JournalTest, AsyncCommitsKeepTheirOrderAndDroppedFuturesDoNotBlock) {
  auto journal = Journal::open(directory_);
  const StoreId id = journal->declareStore("s");
  std::vector<std::future<CommitResult>> futures;
  for (int i = 0; i < 1000; ++i) {
    Commit commit;
    commit.put(id, "k", std::to_string(i));
    auto future = journal->commitAsync(std::move(commit), Durability::Synced);
    if (i % 2 == 0) futures.push_back(std::move(future));
  }
  Sequence last;
  for (auto& future : futures) {
    const Sequence now = future.get().sequence;
    EXPECT_GT(now, last);
    last = now;
  }
  journal->flush();
  EXPECT_LT(journal->metrics().syncMicros.count(), 600U);
}

/// Reads every log to offset `end` while others write; nothing but records may be met.
void readToEnd(const std::shared_ptr<Journal>& journal, const std::vector<LogId>& logs,
               std::uint64_t end) try {
  std::vector<LogReader> readers;
  readers.reserve(logs.size());
  for (const LogId log : logs) readers.emplace_back(journal, log, 0);
  LogChunk chunk;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (bool more = true; more && std::chrono::steady_clock::now() < deadline;) {
    const Sequence seen = journal->written();
    more = false;
    for (LogReader& reader : readers) {
      while (reader.next(chunk, ReadLimit::Written)) {
      }
      more = more || reader.offset() < end;
    }
    if (more) journal->waitForWritten(seen, std::chrono::milliseconds(10));
  }
  for (const LogReader& reader : readers) EXPECT_EQ(reader.offset(), end);
} catch (const Error& error) {
  ADD_FAILURE() << error.what();
}

void writeToAll(Journal& journal, const std::vector<LogId>& logs, std::uint64_t commits) {
  Commit commit;
  for (std::uint64_t i = 0; i < commits; ++i) {
    for (const LogId log : logs) {
      commit.recordBuffer(log) += "a record of some length, so that segments are filled";
      commit.recordAdded(log, 1);
    }
    (void)journal.commit(commit, Durability::Buffered);
  }
}

// The end of a log, the section that ends there and the segment that holds it are seen together,
// also while segments are sealed.
TEST_F(JournalTest, AReaderThatSeesTheEndOfALogFindsItsLastRecord) {
  constexpr std::uint64_t commits = 5000;
  auto journal = Journal::open(directory_, smallSegments());
  std::vector<LogId> logs;
  for (const char* name : {"a", "b", "c", "d"}) logs.push_back(journal->declareLog(name));
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) readers.emplace_back([&] { readToEnd(journal, logs, commits); });
  writeToAll(*journal, logs, commits);
  for (auto& reader : readers) reader.join();
  EXPECT_GT(journal->metrics().rollovers, 10U);
}

TEST_F(JournalTest, ReadersOfAnotherProcessFindWhatTheySeeTheEndOf) {
  constexpr std::uint64_t commits = 5000;
  JournalOptions options = smallSegments();
  options.sharing = Sharing::Shared;
  const pid_t writer = fork();
  if (writer == 0) {
    try {
      auto own = Journal::open(directory_, options);
      std::vector<LogId> logs;
      for (const char* name : {"a", "b", "c", "d"}) logs.push_back(own->declareLog(name));
      writeToAll(*own, logs, commits);
      own.reset();
      _exit(0);
    } catch (const std::exception& error) {
      fprintf(stderr, "child: %s\n", error.what());
      _exit(1);
    }
  }
  {
    auto journal = Journal::open(directory_, options);
    std::vector<LogId> logs;
    for (const char* name : {"a", "b", "c", "d"}) logs.push_back(journal->declareLog(name));
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) readers.emplace_back([&] { readToEnd(journal, logs, commits); });
    for (auto& reader : readers) reader.join();
  }
  int status = 0;
  ASSERT_EQ(waitpid(writer, &status, 0), writer);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST_F(JournalTest, RecordsWithoutBytesAreRecords) {
  for (const std::uint64_t blobBytes : {std::uint64_t{1} << 20, std::uint64_t{1}}) {
    JournalOptions options;
    options.blobBytes = blobBytes;
    const std::string name = "l" + std::to_string(blobBytes);
    {
      auto journal = Journal::open(directory_, options);
      const LogId log = journal->declareLog(name);
      Commit commit;
      for (int i = 0; i < 3; ++i) {
        (void)commit.recordBuffer(log);
        commit.recordAdded(log, i);
      }
      commit.put(journal->declareStore("s"), "k", "beside them");
      (void)journal->commit(commit);
      EXPECT_EQ(journal->log(log).end, 3U);
    }
    auto journal = Journal::open(directory_, options);
    LogReader reader(journal, journal->findLog(name).value(), 0);
    LogChunk chunk;
    ASSERT_TRUE(reader.next(chunk, ReadLimit::Synced));
    EXPECT_EQ(chunk.count, 3U);
    EXPECT_TRUE(chunk.bytes.empty());
    EXPECT_FALSE(reader.next(chunk, ReadLimit::Synced));
  }
}

TEST_F(JournalTest, ARecordWhoseEncodingFailedLeavesNothing) {
  auto journal = Journal::open(directory_);
  const LogId log = journal->declareLog("l");
  const StoreId store = journal->declareStore("s");
  Commit commit;
  commit.recordBuffer(log) += "half a rec";  // and then something throws
  commit.put(store, "k", "v");
  (void)journal->commit(commit);
  EXPECT_EQ(journal->log(log).end, 0U);
  commit.recordBuffer(log) += "half a rec";
  commit.recordBuffer(log) += "whole";
  commit.recordAdded(log, 1);
  commit.recordBuffer(log) += std::string(9 << 20, 'h');
  (void)journal->commit(commit);
  LogReader reader(journal, log, 0);
  LogChunk chunk;
  ASSERT_TRUE(reader.next(chunk, ReadLimit::Written));
  EXPECT_EQ(chunk.bytes.size(), 5U);
  EXPECT_EQ(get(*journal->store(store), "k"), "v");
}

TEST_F(JournalTest, FewDescriptorsServeManySegments) {
  JournalOptions options = smallSegments();
  options.segmentBytes = 4096;
  auto journal = Journal::open(directory_, options);
  const LogId log = journal->declareLog("l");
  for (int i = 0; i < 300; ++i) {
    Commit commit;
    commit.recordBuffer(log) += std::string(5000, 'r');
    commit.recordAdded(log, i);
    (void)journal->commit(commit, Durability::Buffered);
  }
  LogReader reader(journal, log, 0);
  LogChunk chunk;
  while (reader.next(chunk, ReadLimit::Written)) {
  }
  EXPECT_EQ(reader.offset(), 300U);
  EXPECT_GT(journal->metrics().rollovers, 250U);
  const auto open = std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  EXPECT_LT(open, 120);
}

TEST_F(JournalTest, AsyncCommitsWaitWhenTooMuchIsQueued) {
  JournalOptions options;
  options.unsyncedBytesMax = 1 << 20;
  auto journal = Journal::open(directory_, options);
  const StoreId id = journal->declareStore("s");
  const auto large = [&] {
    Commit commit;
    commit.put(id, "k", std::string(1 << 20, 'x'));
    return commit;
  };
  std::promise<void> release;
  std::promise<void> held;
  journal->commitAsync(large(), Durability::Buffered,
                       [&](const CommitResult&, const std::exception_ptr&) {
                         held.set_value();
                         release.get_future().wait();
                       });
  held.get_future().wait();  // the committing thread stands in that callback
  std::atomic<int> queued{0};
  auto writer = std::async(std::launch::async, [&] {
    for (; queued < 5; ++queued) {
      journal->commitAsync(large(), Durability::Buffered,
                           [](const CommitResult&, const std::exception_ptr&) {});
    }
  });
  EXPECT_EQ(writer.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  EXPECT_LE(queued, 2);
  release.set_value();
  writer.get();
  journal->flush();
  EXPECT_EQ(queued, 5);
}

TEST_F(JournalTest, AnEmptyAsyncCommitWaitsForTheSyncAndWritesNothing) {
  auto journal = Journal::open(directory_);
  const StoreId id = journal->declareStore("s");
  put(*journal, id, "k", "v", Durability::Buffered);
  const std::uint64_t frames = journal->metrics().frames;
  const Sequence written = journal->written();
  for (int i = 0; i < 10; ++i) {
    EXPECT_GE(journal->commitAsync(Commit(), Durability::Synced).get().sequence, written);
    EXPECT_GE(journal->synced(), written);
  }
  EXPECT_LE(journal->metrics().frames, frames + 1);  // a mark, after 100 ms of rest
}

TEST_F(JournalTest, SixteenThreadsShareSyncs) {
  auto journal = Journal::open(directory_);
  const StoreId id = journal->declareStore("s");
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        put(*journal, id, std::to_string(t) + "/" + std::to_string(i), "v", Durability::Synced);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(journal->store(id)->size(), 800U);
  EXPECT_LT(journal->metrics().syncMicros.count(), 800U);
}

TEST_F(JournalTest, PositionsOfAnotherEpochAreOnlyGoodAsFarAsItReached) {
  LogPosition position;
  LogId log;
  {
    auto journal = Journal::open(directory_);
    log = journal->declareLog("l");
    Commit commit;
    for (int i = 0; i < 10; ++i) {
      commit.recordBuffer(log) += "r";
      commit.recordAdded(log, i);
    }
    (void)journal->commit(commit);
    position = journal->position(log, 10);
    journal->checkPosition(log, position);
    EXPECT_THROW(journal->checkPosition(log, {position.epoch, 11}), PositionOutOfRange);
    EXPECT_THROW(journal->checkPosition(log, {position.epoch + 1, 5}), PositionOutOfRange);
  }
  auto journal = Journal::open(directory_);
  journal->checkPosition(log, position);
}

}  // namespace
}  // namespace penstock::state
