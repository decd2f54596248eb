// SPDX-License-Identifier: Apache-2.0

// Rows 7 and 8 of the scoreboard: bits that flip and blocks that land in the wrong place, in every
// kind of file of a journal that was closed in order. The right content or a Corruption that
// names a file and says what to do: never anything else, and never a crash.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "fault/scale.h"
#include "fault/violations.h"
#include "fault/workload.h"
#include "frame.h"

namespace penstock::fault {
namespace {

using testsupport::SimFs;
using testsupport::SimRandom;

/// A closed journal with sealed segments, snapshots, an archive, and what it held.
struct Specimen {
  explicit Specimen(std::uint64_t seed, int steps = 260) : machine(seed) {
    options.seed = seed;
    options.steps = steps;
    options.journal = smallJournal();
    Workload workload(machine, options);
    workload.run();
    EXPECT_EQ(workload.errors(), 0) << workload.lastError();
    content = workload.current();
    workload.close();
    workload.kill();
  }

  /// What opening says when `change` has been done to the disk; empty: nothing wrong with that.
  std::string verdict(const std::map<std::string, std::vector<std::byte>>& changed,
                      std::uint64_t seed, bool* detected = nullptr) {
    const auto copy = machine.clone(seed);
    for (const auto& [path, bytes] : changed) copy->setImage(path, bytes);
    Opened opened = openAndRead(*copy, options.directory, options.journal);
    std::string problem;
    if (opened.corruption) {
      if (opened.file.empty()) problem = "refused without naming a file: " + opened.problem;
      if (!opened.problem.ends_with(state::Corruption::journalAdvice)) {
        problem = "refused without saying what to do: " + opened.problem;
      }
    } else if (!opened.problem.empty()) {
      problem = "neither content nor Corruption: " + opened.problem;
    } else {
      problem = difference(content, opened.content);
    }
    if (detected != nullptr) *detected = opened.corruption;
    opened.kill();
    return problem;
  }

  SimFs machine;
  WorkloadOptions options;
  Content content;
};

TEST(BitFlips, AreRefusedOrDoNoHarm) {
  Violations violations("row 7");
  const std::uint64_t seed = firstSeed();
  Specimen specimen(seed);
  SimRandom random(seed);
  std::uint64_t total = 0;
  std::uint64_t detected = 0;
  std::map<std::string, std::uint64_t> kinds;
  std::vector<std::pair<std::string, std::vector<std::byte>>> files;
  for (const std::string& path : specimen.machine.files()) {
    files.emplace_back(path, specimen.machine.image(path));
    // Preallocated zeros behind the last frame are one place, not sixteen thousand.
    auto& bytes = files.back().second;
    const auto last = std::find_if(bytes.rbegin(), bytes.rend(),
                                   [](std::byte byte) { return byte != std::byte{0}; });
    const auto used = static_cast<std::uint64_t>(bytes.rend() - last);
    total += std::min<std::uint64_t>(used + 64, bytes.size());
  }
  const std::uint64_t wanted = scaled<std::uint64_t>(6000, 524'288, 524'288);
  for (const auto& [path, image] : files) {
    const auto last = std::find_if(image.rbegin(), image.rend(),
                                   [](std::byte byte) { return byte != std::byte{0}; });
    const auto used = static_cast<std::size_t>(image.rend() - last);
    const std::size_t places = std::min(used + 64, image.size());
    const std::uint64_t flips = places * wanted / std::max<std::uint64_t>(total, 1) + 1;
    for (std::uint64_t i = 0; i < flips && places > 0 && !violations.enough(); ++i) {
      violations.state();
      // Every byte in turn when there are flips enough, else spread evenly.
      const auto at = static_cast<std::size_t>(i * places / flips);
      const auto mask = static_cast<std::byte>(1U << random.below(8));
      std::vector<std::byte> bytes = image;
      bytes[at] ^= mask;
      bool refused = false;
      const std::string problem =
          specimen.verdict({{path, std::move(bytes)}}, random.next(), &refused);
      if (refused) ++detected;
      if (!problem.empty()) {
        violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed) + " " + path + " byte " +
                           std::to_string(at) + " of " + std::to_string(used) + " used, mask " +
                           std::to_string(static_cast<int>(mask)),
                       problem);
      }
    }
  }
  std::printf("row 7: %zu files, %llu bytes, %llu of %llu flips refused\n", files.size(),
              static_cast<unsigned long long>(total), static_cast<unsigned long long>(detected),
              static_cast<unsigned long long>(violations.states()));
  // Not all: old segments whose stores have a snapshot are read by nobody.
  EXPECT_GT(detected, violations.states() / 5);
}

class MisplacedBlocks : public ::testing::TestWithParam<std::size_t> {};

/// A block lost where the newest frames are cannot be told from a torn write (R4), which costs the
/// frames in it. So what begins in the last mark of a segment, or behind it, is left out, and of
/// other files the last block.
std::vector<std::pair<std::string, std::size_t>> blocksOf(const SimFs& machine, std::size_t grain) {
  std::vector<std::pair<std::string, std::size_t>> blocks;
  for (const std::string& path : machine.files()) {
    if (path.find(".torn-") != std::string::npos) continue;
    const std::vector<std::byte> image = machine.image(path);
    const auto last = std::find_if(image.rbegin(), image.rend(),
                                   [](std::byte byte) { return byte != std::byte{0}; });
    auto used = static_cast<std::size_t>(image.rend() - last);
    if (path.find("/segment-") != std::string::npos) {
      used = state::padded(used) - sizeof(state::FrameHeader);  // a mark has no sections
    }
    for (std::size_t at = 0; at + grain < used; at += grain) blocks.emplace_back(path, at);
  }
  return blocks;
}

TEST_P(MisplacedBlocks, AreDetectedWhereverTheyComeFrom) {
  const std::size_t grain = GetParam();
  Violations violations("row 8, " + std::to_string(grain));
  const std::uint64_t seed = firstSeed();
  Specimen specimen(seed);
  Specimen stranger(seed + 1000);  // another journal
  Specimen younger(seed, 130);     // the same one at an earlier time
  SimRandom random(seed);
  const auto blocks = blocksOf(specimen.machine, grain);
  ASSERT_GT(blocks.size(), 4U);
  std::map<std::string, std::vector<std::byte>> images;
  for (const auto& [path, at] : blocks) images[path] = specimen.machine.image(path);
  const auto put = [&](std::map<std::string, std::vector<std::byte>>& changed,
                       const std::string& path, std::size_t at, const std::vector<std::byte>& from,
                       std::size_t fromAt) {
    auto& image = changed.try_emplace(path, images[path]).first->second;
    const std::size_t count = std::min({grain, image.size() - at, from.size() - fromAt});
    std::memcpy(image.data() + at, from.data() + fromAt, count);
  };
  std::uint64_t changes = 0;
  std::uint64_t detected = 0;
  const auto judge = [&](const std::map<std::string, std::vector<std::byte>>& changed,
                         const std::string& what) {
    bool different = false;
    for (const auto& [path, bytes] : changed) different |= bytes != images[path];
    if (!different) return;
    violations.state();
    bool refused = false;
    const std::string problem = specimen.verdict(changed, random.next(), &refused);
    ++changes;
    if (refused) ++detected;
    if (!problem.empty()) {
      violations.add("PENSTOCK_FAULT_SEED=" + std::to_string(seed) + " " + what, problem);
    }
  };
  const auto name = [](const std::pair<std::string, std::size_t>& block) {
    return block.first + "+" + std::to_string(block.second);
  };
  const std::uint64_t most = scaled<std::uint64_t>(400, 16'000, 16'000);
  const std::uint64_t swaps = std::min<std::uint64_t>(most, blocks.size() * (blocks.size() - 1));
  for (std::uint64_t i = 0; i < swaps && !violations.enough(); ++i) {
    const auto& one = blocks[random.below(blocks.size())];
    const auto& two = blocks[random.below(blocks.size())];
    std::map<std::string, std::vector<std::byte>> swapped;
    put(swapped, one.first, one.second, images[two.first], two.second);
    put(swapped, two.first, two.second, images[one.first], one.second);
    judge(swapped, "swapped " + name(one) + " and " + name(two));
    std::map<std::string, std::vector<std::byte>> copied;
    put(copied, one.first, one.second, images[two.first], two.second);
    judge(copied, name(one) + " overwritten by " + name(two));
  }
  for (auto* other : {&stranger, &younger}) {
    const std::string kind = other == &stranger ? "another journal's " : "its own old ";
    const std::uint64_t every = std::max<std::uint64_t>(1, blocks.size() / most);
    for (std::size_t i = 0; i < blocks.size() && !violations.enough(); i += every) {
      const auto& block = blocks[i];
      const std::vector<std::byte> old = other->machine.image(block.first);
      if (old.size() <= block.second) continue;
      std::map<std::string, std::vector<std::byte>> changed;
      put(changed, block.first, block.second, old, block.second);
      judge(changed, name(block) + " replaced by " + kind);
    }
  }
  for (const auto& [path, image] : images) {  // whole files of another journal
    const std::vector<std::byte> other = stranger.machine.image(path);
    if (!other.empty()) judge({{path, other}}, path + " replaced by another journal's");
  }
  std::printf("row 8: %llu of %llu changes refused\n", static_cast<unsigned long long>(detected),
              static_cast<unsigned long long>(changes));
}

/// One journal of values of one size, closed: `mark` is in every value, so that what was written
/// elsewhere is seen.
class Marked {
 public:
  explicit Marked(std::uint64_t seed) : machine_(std::make_unique<SimFs>(seed)) {}
  Marked(const Marked& before, std::uint64_t seed) : machine_(before.machine_->clone(seed)) {}

  void write(char mark, int commits) {
    state::JournalOptions options = smallJournal();
    options.blobBytes = 1 << 20;
    const auto process = machine_->startProcess();
    auto journal = state::Journal::open("/state", options, process->environment());
    const state::StoreId store = journal->declareStore("marks");
    for (int i = 0; i < commits; ++i) {
      state::Commit commit;
      commit.put(store, std::to_string(1000 + written_++), std::string(200, mark));
      static_cast<void>(journal->commit(commit));
    }
    journal.reset();
    process->kill();
  }

  [[nodiscard]] const SimFs& machine() const { return *machine_; }
  /// Of a copy with `path` replaced: the marks that are read, in order of the commits; empty when
  /// refused as Corruption.
  [[nodiscard]] std::string marksWith(const std::string& path,
                                      const std::vector<std::byte>& bytes) const {
    const auto copy = machine_->clone(1);
    copy->setImage(path, bytes);
    Opened opened = openAndRead(*copy, "/state", smallJournal());
    std::string marks;
    for (const auto& [key, value] : opened.content.stores["marks"]) marks.push_back(value[0]);
    if (!opened.problem.empty() && !opened.corruption) marks = "? " + opened.problem;
    opened.kill();
    return opened.corruption ? "" : marks;
  }

 private:
  std::unique_ptr<SimFs> machine_;
  int written_ = 0;
};

/// A directory and its copy go on by themselves: same journal, sequences, places and sizes. Only
/// the chain of checksums tells their frames apart.
TEST(FramesOfAnotherHistory, AreNotReadOn) {
  Violations violations("row 8, histories");
  Marked before(firstSeed());
  before.write('0', 5);
  Marked one(before, firstSeed() + 1);
  Marked other(before, firstSeed() + 2);
  one.write('1', 20);
  other.write('2', 20);
  const std::string path = "/state/segment-0000000001.log";
  const auto image = one.machine().image(path);
  const auto stranger = other.machine().image(path);
  ASSERT_EQ(image.size(), stranger.size());
  const auto differs = std::mismatch(image.begin(), image.end(), stranger.begin()).first;
  for (auto at = static_cast<std::size_t>(differs - image.begin()) / 8 * 8; at < image.size();
       at += 8) {
    std::uint32_t magic = 0;
    if (at + sizeof magic <= image.size()) std::memcpy(&magic, image.data() + at, sizeof magic);
    if (magic != state::frameMagic) continue;
    violations.state();
    auto spliced = image;
    std::copy(stranger.begin() + static_cast<std::ptrdiff_t>(at), stranger.end(),
              spliced.begin() + static_cast<std::ptrdiff_t>(at));
    const std::string marks = one.marksWith(path, spliced);
    if (marks.find('2') != std::string::npos) {
      violations.add("other history from offset " + std::to_string(at), "read: " + marks);
    }
  }
  EXPECT_GT(violations.states(), 15U);
}

/// The same program in another directory: the same files, sequences, places and sizes. Only the
/// journal's id tells them apart.
TEST(FilesOfATwin, AreRefused) {
  Violations violations("row 8, twins");
  Marked one(firstSeed());
  Marked twin(firstSeed() + 1);
  one.write('1', 150);
  twin.write('2', 150);
  const std::string right(150, '1');
  int sealed = 0;
  for (const std::string& path : one.machine().files()) {
    const auto image = one.machine().image(path);
    const auto stranger = twin.machine().image(path);
    if (path.find("/segment-") == std::string::npos || stranger.empty()) continue;
    violations.state();
    ++sealed;
    const std::string marks = one.marksWith(path, stranger);
    if (!marks.empty() && marks != right) violations.add(path + " of a twin", "read: " + marks);
  }
  EXPECT_GT(sealed, 1);
}

INSTANTIATE_TEST_SUITE_P(Grains, MisplacedBlocks, ::testing::Values(512, 4096),
                         [](const auto& named) { return std::to_string(named.param); });

}  // namespace
}  // namespace penstock::fault
