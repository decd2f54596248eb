// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock::fault {

/// One record of topic `in`.
struct Fed {
  std::string id;
  std::string word;
};

/// Makes topic `in` and appends records to it; ids are numbered through, words drawn from `words`
/// of them.
class Feeder {
 public:
  Feeder(std::shared_ptr<state::Journal> journal, std::int32_t partitions, std::uint64_t words,
         std::uint64_t seed);
  void feed(std::uint64_t count, state::Durability durability);
  [[nodiscard]] std::uint64_t fed() const noexcept { return fed_; }
  [[nodiscard]] const std::map<std::string, std::int64_t>& counts() const noexcept {
    return counts_;
  }

 private:
  std::shared_ptr<state::Journal> journal_;
  std::vector<state::LogId> logs_;
  std::uint64_t words_;
  std::uint64_t random_;
  std::uint64_t fed_ = 0;
  std::map<std::string, std::int64_t> counts_;
};

/// Records in a topic, over all partitions; 0 when there is no such topic yet.
std::uint64_t recordsIn(const std::shared_ptr<state::Journal>& journal, const std::string& topic);

/// What is wrong with the application's topics `ids` and `counts` when `in` was counted to its
/// end; empty when nothing is: each id there once and no other, counts of a word only ever grow
/// and end at the expected number. `in` is read again from the `input` journal, which may be the
/// application's: what a power cut took back is not missed.
std::string problemsOf(const std::shared_ptr<state::Journal>& input,
                       const std::shared_ptr<state::Journal>& application);

}  // namespace penstock::fault
