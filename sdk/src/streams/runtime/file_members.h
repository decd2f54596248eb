// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// Who else runs this application on this journal, and which share of the tasks is whose.
///
/// A member is one worker. It holds a claim `<application>/member/<number>`, which the kernel
/// takes from it when it dies, and a key of the same name in the group's store, by which the
/// others find it. The claim is taken before the key is written and given up after it is erased:
/// a key whose claim can be taken is that of a dead member.
namespace penstock::streams {

class FileMembers {
 public:
  /// Joins under the lowest free number.
  FileMembers(std::shared_ptr<state::Journal> journal, std::string application,
              state::StoreId groupStore);
  ~FileMembers();  // leaves
  FileMembers(const FileMembers&) = delete;
  FileMembers& operator=(const FileMembers&) = delete;

  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// Numbers of the members that live, ascending, with this one. Forgets the dead ones.
  std::vector<std::uint64_t> living();

 private:
  [[nodiscard]] std::string claimName(std::uint64_t number) const;

  std::shared_ptr<state::Journal> journal_;
  std::string application_;
  state::StoreId groupStore_;
  std::shared_ptr<state::Store> group_;
  std::unique_ptr<state::Claim> claim_;
  std::uint64_t number_ = 0;
};

/// How many of `partitions` tasks of a sub-topology the member of rank `rank` (among `members`,
/// by number) is to own. Sums up to `partitions` over all ranks; no two differ by more than one;
/// who gets one more goes round with the sub-topology, so that the sums are even as well.
std::int32_t taskQuota(std::size_t rank, std::size_t members, std::int32_t subtopology,
                       std::int32_t partitions);

}  // namespace penstock::streams
