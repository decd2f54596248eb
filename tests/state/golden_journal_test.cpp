// SPDX-License-Identifier: Apache-2.0
//
// Goal: the bytes of a directory stay what docs/formats.md says. Method: one fixed history on the
// simulated file system, with its clock and a seed, must give the files in tests/state/golden to
// the byte; and those files, as any release wrote them, must be read. They hold a file header,
// frames of every kind, catalog, index footer, snapshot, archive and blob. What the active segment
// has reserved is not kept.
//
// A format may gain versions; then the files of the old one stay and are read for ever, and a new
// folder is written: PENSTOCK_WRITE_GOLDEN=1 penstock_state_tests --gtest_filter='GoldenJournal.*'
#include <gtest/gtest.h>
#include <penstock/state/journal.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "frame.h"
#include "tests/support/build_paths.h"
#include "tests/support/sim_fs.h"

namespace penstock::state {
namespace {

using testsupport::SimFs;

const std::string directory = "/golden";

std::string kept() {
  return penstock::testing::sourceDirectory() + "/tests/state/golden/format-" +
         std::to_string(formatVersion);
}

void addRecord(Commit& commit, LogId log, std::string_view text, std::int64_t timeMs) {
  commit.recordBuffer(log) += text;
  commit.recordAdded(log, timeMs);
}

/// The history. Whatever is added to it changes the kept bytes.
void write(SimFs& machine) {
  const auto process = machine.startProcess();
  const std::int64_t now = machine.clock().wallMs();  // retention drops what is old
  JournalOptions options;
  options.snapshotAfterBytes = 1ULL << 40;  // only when said below
  options.segmentBytes = 1U << 20;          // what is rewritten as an archive has that at least
  {
    const auto journal = Journal::open(directory, options, process->environment());
    const LogId log = journal->declareLog("log", {.maxAgeMs = 3'600'000'000, .maxBytes = 1 << 30});
    const LogId bulk = journal->declareLog("bulk");
    Commit commit;
    addRecord(commit, log, "zeroth", now + 999);
    addRecord(commit, log, "first", now + 1000);
    addRecord(commit, bulk, std::string((1U << 20) + 100, 'b'), now + 1001);
    (void)journal->commit(commit);
    addRecord(commit, log, "second", now + 2000);
    (void)journal->commit(commit);  // into the next segment
    journal->removeLog(bulk);
    EXPECT_GT(journal->clean(), 1U << 20);  // what is left of the first becomes an archive
  }
  options.segmentBytes = 4096;
  options.blobBytes = 2048;
  const auto journal = Journal::open(directory, options, process->environment());
  const StoreId store = journal->declareStore("storage");
  const StoreId other = journal->declareStore("storage/other");
  const LogId log = journal->findLog("log").value();
  Commit commit;
  for (int i = 0; i < 40; ++i) {
    const std::string value(100, static_cast<char>('a' + i % 26));
    commit.put(store, "key-" + std::to_string(i), value);
    addRecord(commit, log, "record " + std::to_string(i), now + 3000 + i);
    (void)journal->commit(commit, i % 8 == 0 ? Durability::Synced : Durability::Buffered);
    machine.clock().advanceMs(7);
  }
  journal->snapshotStore(store);
  commit.put(store, "key-1", "after the snapshot");
  commit.erase(store, "key-2");
  commit.erasePrefix(store, "key-3");
  commit.put(other, std::string("\0\xFF", 2), "");
  (void)journal->commit(commit);
  commit.put(other, "gone", "1");
  commit.clear(other);
  commit.put(other, "stays", "2");
  (void)journal->commit(commit);
  commit.put(other, "large", std::string(2048, 'L'));  // into a file of its own
  addRecord(commit, log, "beside the large", now + 5000);
  (void)journal->commit(commit);
  journal->trimLog(log, 1);
  EXPECT_NE(journal->tryClaim("task"), nullptr);
  machine.clock().advanceMs(1000);
  journal->testingTick();  // a mark
  commit.put(store, "last", "behind the mark");
  (void)journal->commit(commit);
}

/// What lies in the directory and has a format; of the active segment what is used.
std::map<std::string, std::string> filesOf(const SimFs& machine) {
  std::map<std::string, std::string> files;
  for (const std::string& path : machine.files()) {
    const std::string name = path.substr(directory.size() + 1);
    if (name == "PRESENCE" || name.starts_with("claims/")) continue;  // names the process
    const std::vector<std::byte> image = machine.image(path);
    std::string content(reinterpret_cast<const char*>(image.data()), image.size());
    files[name] = std::move(content);
  }
  std::string& active = std::prev(files.lower_bound("snapshot-"))->second;
  active.resize(padded(active.find_last_not_of('\0') + 1));  // its last frame ends in a checksum
  return files;
}

std::map<std::string, std::string> keptFiles() {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kept())) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename()] = {std::istreambuf_iterator<char>(file), {}};
  }
  return files;
}

TEST(GoldenJournal, TheBytesWrittenAreTheBytesKept) {
  SimFs machine(1);
  write(machine);
  const auto written = filesOf(machine);
  if (std::getenv("PENSTOCK_WRITE_GOLDEN") != nullptr) {
    std::filesystem::remove_all(kept());
    std::filesystem::create_directories(kept());
    for (const auto& [name, content] : written) {
      std::ofstream(kept() + "/" + name, std::ios::binary) << content;
    }
  }
  const auto expected = keptFiles();
  for (const auto& [name, content] : expected) {
    ASSERT_TRUE(written.contains(name)) << name << " is not written any more";
    const std::string& now = written.at(name);
    const auto differs = std::mismatch(now.begin(), now.end(), content.begin(), content.end());
    EXPECT_TRUE(now == content) << name << " differs at offset " << differs.first - now.begin()
                                << "; " << now.size() << " bytes, kept " << content.size();
  }
  for (const auto& [name, content] : written) EXPECT_TRUE(expected.contains(name)) << name;
}

TEST(GoldenJournal, TheFilesKeptHoldEveryKindOfStructure) {
  std::set<FrameKind> frames;
  std::set<FileKind> kinds;
  bool footer = false;
  for (const auto& [name, content] : keptFiles()) {
    EXPECT_LT(content.size(), 20'000U) << name;
    if (name == "JOURNAL") continue;
    FileHeader header{};
    std::memcpy(&header, content.data(), sizeof(header));
    kinds.insert(header.kind);
    footer = footer || content.find("PINDEX01") != std::string::npos;
    if (header.kind != FileKind::Segment) continue;
    FrameView frame;
    for (std::uint64_t at = sizeof(header);; at += frame.header.frameBytes) {
      const FramePlace place{{header.journalLow, header.journalHigh}, header.number, at};
      const std::string_view rest = std::string_view(content).substr(at);
      if (parseFrame(rest, place, frame) != FrameCheck::Valid) break;
      frames.insert(frame.header.kind);
    }
  }
  EXPECT_EQ(kinds,
            (std::set{FileKind::Segment, FileKind::Snapshot, FileKind::Blob, FileKind::Archive}));
  EXPECT_EQ(frames,
            (std::set{FrameKind::Commit, FrameKind::Base, FrameKind::Mark, FrameKind::Close}));
  EXPECT_TRUE(footer);
}

TEST(GoldenJournal, TheBytesKeptAreRead) {
  SimFs machine(2);
  machine.makeSyncedDirectory(directory);
  for (const auto& [name, content] : keptFiles()) {
    machine.setImage(directory + "/" + name, std::as_bytes(std::span(content)));
  }
  const auto process = machine.startProcess();
  const auto journal = Journal::open(directory, {}, process->environment());
  EXPECT_EQ(journal->metrics().tornTails, 0U);
  const auto store = journal->store(journal->findStore("storage").value());
  const auto other = journal->store(journal->findStore("storage/other").value());
  EXPECT_EQ(store->size(), 40U - 1 - 11 + 1);  // key-2; key-3, key-30 to key-39; last
  std::string value;
  EXPECT_TRUE(store->get("key-1", value));
  EXPECT_EQ(value, "after the snapshot");
  EXPECT_TRUE(store->get("key-29", value));
  EXPECT_EQ(value, std::string(100, 'd'));
  EXPECT_TRUE(store->get("last", value));
  EXPECT_FALSE(store->contains("key-2"));
  EXPECT_FALSE(store->contains("key-3"));
  EXPECT_EQ(other->size(), 2U);
  EXPECT_TRUE(other->contains("stays"));
  EXPECT_TRUE(other->get("large", value));
  EXPECT_EQ(value, std::string(2048, 'L'));

  const LogInfo log = journal->log(journal->findLog("log").value());
  EXPECT_FALSE(journal->findLog("bulk").has_value());
  EXPECT_EQ(log.start, 1U);
  EXPECT_EQ(log.end, 44U);
  EXPECT_EQ(log.retention, (LogRetention{.maxAgeMs = 3'600'000'000, .maxBytes = 1 << 30}));
  LogReader reader(journal, log.id, log.start);
  LogChunk chunk;
  std::string text;
  while (reader.next(chunk, ReadLimit::Written)) {
    text += std::string(reinterpret_cast<const char*>(chunk.bytes.data()), chunk.bytes.size());
  }
  std::string expected = "firstsecond";
  for (int i = 0; i < 40; ++i) expected += "record " + std::to_string(i);
  expected += "beside the large";
  EXPECT_TRUE(text.ends_with(expected)) << text;
  EXPECT_EQ(journal->tryClaim("task")->incarnation(), 2U);
}

}  // namespace
}  // namespace penstock::state
