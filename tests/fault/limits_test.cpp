// SPDX-License-Identifier: Apache-2.0

// Row 15 of the scoreboard: random keys and values of any bytes, and of every length next to a
// limit, come back as they were, before and after the storage is opened again; what is beyond a
// limit is refused and changes nothing.

#include <gtest/gtest.h>

#include <penstock/state/local_file_storage.h>
#include <sys/mman.h>
#include <cstring>
#include <map>
#include <optional>

#include "fault/figures.h"
#include "fault/violations.h"
#include "frame.h"
#include "support/sim_environment.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

using state::Commit;
using state::LocalFileStorage;
using testsupport::SimRandom;

std::string randomBytes(SimRandom& random, std::size_t length) {
  std::string bytes(length, '\0');
  for (std::size_t i = 0; i < length; i += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes.data() + i, &word, std::min(sizeof word, length - i));
  }
  return bytes;
}

/// Mostly short; now and then within one of a power of two.
std::size_t lengthBelow(SimRandom& random, std::size_t most) {
  if (!random.oneIn(50)) return static_cast<std::size_t>(random.below(64));
  std::size_t power = 1;
  while (power < most && !random.oneIn(12)) power *= 2;
  return std::min(most, power + static_cast<std::size_t>(random.below(3)) - 1);
}

class Limits {
 public:
  explicit Limits(const std::string& directory) : directory_(directory) { open(); }

  void open() {
    storage_.reset();
    state::LocalFileStorageOptions options;
    options.durability = state::Durability::Buffered;
    storage_.emplace(directory_, options);
  }
  void set(const std::string& key, const std::string& value) {
    storage_->set(key, value);
    hashes_[key] = {value.size(), state::hash64(value)};
  }
  void check(Violations& violations, const std::string& when) const {
    if (storage_->size() != hashes_.size()) violations.add(when, "size() is wrong");
    for (const auto& [key, expected] : hashes_) {
      const auto found = storage_->find<std::string>(key);
      const std::string where = when + ", a key of " + std::to_string(key.size()) + " bytes";
      if (!found) {
        violations.add(where, "is absent");
      } else if (found->size() != expected.first || state::hash64(*found) != expected.second) {
        violations.add(where, "has another value");
      }
    }
  }
  /// Refused, and nothing has changed.
  void refused(Violations& violations, const std::string& key, const std::string& value) {
    const std::uint64_t before = storage_->size();
    try {
      storage_->set(key, value);
      violations.add("a key of " + std::to_string(key.size()) + " bytes, a value of " +
                         std::to_string(value.size()),
                     "was taken");
    } catch (const state::InvalidArgument&) {
    }
    if (storage_->size() != before) violations.add("a refused pair", "left something");
  }

 private:
  const std::string directory_;
  std::optional<LocalFileStorage> storage_;
  std::map<std::string, std::pair<std::size_t, std::uint64_t>> hashes_;
};

TEST(KeysAndValues, OfAnyBytesAndLengthComeBack) {
  Figures figures("15");
  Violations violations("row 15");
  const std::uint64_t pairs = scaled<std::uint64_t>(20'000, 1'000'000, 1'000'000);
  const std::size_t valueMost = scaled<std::size_t>(1 << 20, 256 << 20, std::size_t{1} << 30);
  const testing::TemporaryDirectory place;
  SimRandom random(firstSeed());
  Limits limits(place / "state");
  for (std::uint64_t i = 0; i < pairs; ++i) {
    violations.state();
    const std::string key =
        randomBytes(random, std::max<std::size_t>(1, lengthBelow(random, 64 << 10)));
    limits.set(key, randomBytes(random, lengthBelow(random, 1 << 16)));
  }
  constexpr std::size_t keyMost = LocalFileStorage::keyBytesMax;
  for (const std::size_t length : {std::size_t{1}, std::size_t{2}, keyMost - 1, keyMost}) {
    violations.state();
    limits.set(randomBytes(random, length), "at the limit");
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, valueMost - 1, valueMost}) {
    violations.state();
    limits.set("value of " + std::to_string(length), randomBytes(random, length));
  }
  limits.refused(violations, "", "no key");
  limits.refused(violations, std::string(keyMost + 1, 'k'), "too long a key");
  if (valueMost == LocalFileStorage::valueBytesMax) {
    limits.refused(violations, "too long a value", std::string(valueMost + 1, 'v'));
  }
  limits.check(violations, "at once");
  limits.open();
  limits.check(violations, "opened again");
  figures.print(std::to_string(pairs) + " pairs, keys to " + std::to_string(keyMost) +
                " bytes, values to " + std::to_string(valueMost) + ", " +
                std::to_string(violations.count()) + " wrong");
}

TEST(KeysAndValues, BeyondALimitAreRefusedByACommitBeforeTheyAreLookedAt) {
  // Memory that nobody touches costs nothing, so the largest value is tried at any scale.
  constexpr std::size_t most = Commit::valueBytesMax;
  void* memory = ::mmap(nullptr, most + 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const std::string_view value(static_cast<const char*>(memory), most + 1);
  Commit commit;
  commit.put(state::StoreId{1}, "k", "v");
  const std::size_t before = commit.bytes();
  EXPECT_THROW(commit.put(state::StoreId{1}, "k", value), state::InvalidArgument);
  EXPECT_THROW(commit.put(state::StoreId{1}, "", "v"), state::InvalidArgument);
  const std::string longKey(Commit::keyBytesMax + 1, 'k');
  EXPECT_THROW(commit.put(state::StoreId{1}, longKey, "v"), state::InvalidArgument);
  EXPECT_THROW(commit.erase(state::StoreId{1}, longKey), state::InvalidArgument);
  EXPECT_THROW(commit.erasePrefix(state::StoreId{1}, longKey), state::InvalidArgument);
  EXPECT_EQ(commit.bytes(), before);
  ::munmap(memory, most + 1);
}

}  // namespace
}  // namespace penstock::fault
