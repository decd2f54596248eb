// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "engine_reader.h"
#include "tests/support/sim_fs.h"

namespace penstock::format {

/// A journal that is written at random, session after session, and ends each of them in another
/// way: closed, killed, or by a power cut within a write. The same seed gives the same bytes.
class History {
 public:
  explicit History(std::uint32_t seed);

  /// Opens, writes and ends. What was written before is still there, as far as it survived.
  void session();
  /// How the last session ended, for messages.
  [[nodiscard]] const std::string& end() const { return end_; }
  /// The directory as it lies on the disk now.
  [[nodiscard]] Files files() const;

 private:
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : random_() % bound; }
  std::string bytes(std::uint64_t count);
  state::StoreId anyStore(state::Journal& journal);
  state::LogId anyLog(state::Journal& journal);
  void fill(state::Journal& journal, state::Commit& commit, std::uint64_t changes,
            std::uint64_t valueBytes);
  void makeArchive(state::Journal& journal);
  void step(state::Journal& journal);

  std::mt19937_64 random_;
  testsupport::SimFs machine_;
  int sessions_ = 0;
  std::string end_;
};

}  // namespace penstock::format
