// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <penstock/topics.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "file/topic_catalog.h"

/// Consumer groups of a journal. A group GROUP is
///
///   store `group/GROUP`   key `position/TOPIC/NUMBER`: where it reads on
///                         key `member/ID`: the topics that a member reads
///   claims                `group/GROUP/member/ID`: that member lives
///                         `group/GROUP/TOPIC/NUMBER`: who reads the partition
///
/// Claims are locks that the kernel frees with the process. So:
/// 1. Two members never read a partition at the same time, and a position is stored only under
///    the partition's claim.
/// 2. A member takes its claim before it writes its entry, and erases the entry before it frees
///    the claim. So a member whose claim can be had is dead: whoever notices erases the entry.
/// 3. Each member works out its share from the entries alone. All see the same entries, so the
///    shares add up; until then somebody yields, or waits for a claim to come free.
namespace penstock::file {

/// A stored place in a partition: valid only for the topic, and the epoch, it was read in.
struct StoredPosition {
  std::string topicId;
  state::LogPosition at;

  /// 33 bytes: version 1, topic id, epoch and offset little-endian.
  [[nodiscard]] std::string encode() const;
  /// Nullopt when the bytes are none.
  static std::optional<StoredPosition> decode(std::string_view bytes);
};

/// Adds to `commit` that every group forgets its positions in `topic`.
void forgetPositions(state::Journal& journal, std::string_view topic, state::Commit& commit);

/// The store of a group and what it says.
///
/// Threads: safe from any thread.
class Group {
 public:
  Group(std::shared_ptr<state::Journal> journal, std::string name);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::optional<StoredPosition> position(const TopicPartition& partition) const;
  void putPosition(const TopicPartition& partition, const StoredPosition& position,
                   state::Commit& commit) const;
  /// Null when somebody else has it: `holder`.
  [[nodiscard]] std::unique_ptr<state::Claim> tryClaim(const TopicPartition& partition,
                                                       std::string& holder) const;

 private:
  friend class GroupMember;
  std::shared_ptr<state::Journal> journal_;
  std::string name_;
  std::shared_ptr<state::Store> store_;
};

/// A member of a group: announces itself and says what its share is.
///
/// Threads: owned by one thread.
class GroupMember {
 public:
  /// Joins. `topics`: what it reads.
  GroupMember(const Group& group, std::vector<std::string> topics);
  /// Leaves; a failure only delays until others notice.
  ~GroupMember();
  GroupMember(const GroupMember&) = delete;
  GroupMember& operator=(const GroupMember&) = delete;

  /// How many partitions of each topic are this member's, for topics of these sizes. Buries dead
  /// members.
  [[nodiscard]] std::vector<std::int32_t> shares(const std::vector<Topic>& topics);

 private:
  [[nodiscard]] std::map<std::string, std::vector<std::string>> liveMembers();
  [[nodiscard]] std::string memberClaim(const std::string& id) const;

  const Group& group_;
  std::string id_;
  std::unique_ptr<state::Claim> claim_;
};

}  // namespace penstock::file
