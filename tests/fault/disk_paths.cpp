// SPDX-License-Identifier: Apache-2.0
#include "fault/disk_paths.h"

#include <stdexcept>

#include "support/sim_environment.h"

namespace penstock::fault {

using state::Durability;

namespace {

constexpr int kActs = 8;  // how often a path is taken on a full disk, and again with space

}  // namespace

std::string_view nameOf(DiskPath path) {
  constexpr std::array<std::string_view, kDiskPaths.size()> names{
      "frames", "rollover", "snapshot", "archive", "blob", "page", "claims"};
  return names[static_cast<std::size_t>(path)];
}

DiskPathTrial::DiskPathTrial(std::string directory, DiskPath path, std::uint64_t seed,
                             const state::Environment& environment)
    : directory_(std::move(directory)), path_(path), seed_(seed), environment_(environment) {
  const bool small = path == DiskPath::Rollover || path == DiskPath::Archive;
  options_.segmentBytes = small ? 16 << 10 : 4 << 20;
  options_.blobBytes = path == DiskPath::Blob ? 16 << 10 : 8 << 20;
  if (path == DiskPath::Page) options_.sharing = state::Sharing::Shared;
}

bool DiskPathTrial::attempt(const std::function<void()>& call) {
  try {
    call();
    ++done_;
    return true;
  } catch (const state::DiskFull&) {
    ++rejected_;
    return false;
  }
}

void DiskPathTrial::put(const std::string& key, std::size_t bytes, std::size_t recordBytes) {
  state::Commit commit;
  const std::string value = key + std::string(bytes, static_cast<char>('a' + acts_ % 26));
  commit.put(*journal_->findStore("s"), key, value);
  const std::string record = key + std::string(recordBytes, 'r');
  if (recordBytes > 0) {
    const state::LogId log = *journal_->findLog("l");
    appendRecord(commit.recordBuffer(log), record);
    commit.recordAdded(log, acts_);
  }
  static_cast<void>(
      journal_->commit(commit, acts_ % 2 == 0 ? Durability::Synced : Durability::Buffered));
  expected_.stores["s"][key] = value;
  if (recordBytes > 0) expected_.logs["l"].records.push_back(record);
}

void DiskPathTrial::prepare() {
  if (path_ == DiskPath::Page) return;  // it is the opening that asks for space
  journal_ = state::Journal::open(directory_, options_, environment_);
  static_cast<void>(journal_->declareStore("s"));
  static_cast<void>(journal_->declareLog("l"));
  expected_.stores["s"];
  expected_.logs["l"];
  switch (path_) {
    case DiskPath::Archive:
      // Segments in which a record is wanted and all else is not.
      for (int i = 0; i < 60; ++i) put("again", 1500, i % 10 == 0 ? 4000 : 0);
      journal_->snapshotStore(*journal_->findStore("s"));
      break;
    case DiskPath::Snapshot:
      for (int i = 0; i < 40; ++i) put("key-" + std::to_string(i), 2000, 0);
      break;
    case DiskPath::Claims:
      // What a segment reserves at first is all but used up: a claim is a frame too.
      for (int i = 0; i < 3; ++i) put("large", 327'300, 0);
      break;
    default:
      put("first", 100, 1);
      break;
  }
  journal_->flush();
}

void DiskPathTrial::act(int number) {
  const std::string key = "act-" + std::to_string(number);
  testsupport::SimRandom random(seed_ * 1000 + static_cast<std::uint64_t>(number));
  switch (path_) {
    case DiskPath::Frames:
      put(key, static_cast<std::size_t>(random.below(400'000)), 1);
      break;
    case DiskPath::Rollover: {
      // Each fills a segment. Without space for a new one it stays in the old one, and is no error.
      const std::uint64_t before = journal_->metrics().rollovers;
      put(key, 20'000, 1);
      if (journal_->metrics().rollovers == before) ++rejected_;
      break;
    }
    case DiskPath::Snapshot:
      put(key, 100, 0);
      journal_->snapshotStore(*journal_->findStore("s"));
      break;
    case DiskPath::Archive:
      static_cast<void>(journal_->clean());
      break;
    case DiskPath::Blob:
      put(key, 20'000 + static_cast<std::size_t>(random.below(200'000)), 1);
      break;
    case DiskPath::Page:
      if (!journal_) {
        journal_ = state::Journal::open(directory_, options_, environment_);
      }
      static_cast<void>(journal_->declareStore("s"));
      expected_.stores["s"];
      static_cast<void>(journal_->declareLog("l"));
      expected_.logs["l"];
      put(key, 100, 1);
      break;
    case DiskPath::Claims:
      if (!journal_->tryClaim(key)) throw std::runtime_error("a claim of nobody was refused");
      break;
  }
}

void DiskPathTrial::take() {
  for (int i = 0; i < kActs; ++i) {
    attempt([&] { act(acts_); });
    ++acts_;
  }
}

void DiskPathTrial::resume() {
  const int before = rejected_;
  for (int i = 0; i < kActs; ++i) {
    act(acts_);
    ++acts_;
  }
  if (rejected_ != before) throw std::runtime_error("does not roll over when there is space");
}

void DiskPathTrial::reopen() {
  journal_.reset();
  attempt([&] { journal_ = state::Journal::open(directory_, options_, environment_); });
}

std::string DiskPathTrial::wrong() const {
  return journal_ ? difference(expected_, readContent(journal_)) : "";
}

}  // namespace penstock::fault
