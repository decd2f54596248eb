// SPDX-License-Identifier: Apache-2.0
#include "file/groups.h"

#include <fmt/format.h>
#include <penstock/log.h>

#include <algorithm>
#include <cstring>

namespace penstock::file {

namespace {

constexpr std::string_view kStorePrefix = "group/";
constexpr std::string_view kMemberPrefix = "member/";
constexpr std::string_view kPositionPrefix = "position/";
constexpr char kPositionVersion = 1;
constexpr std::size_t kPositionBytes = 1 + 16 + 8 + 8;

std::string positionKey(const TopicPartition& partition) {
  return fmt::format("{}{}/{}", kPositionPrefix, partition.topic, partition.partition.value);
}

/// Topic names hold no newline.
std::string joined(const std::vector<std::string>& topics) {
  std::string text;
  for (const std::string& topic : topics) text += topic + '\n';
  return text;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> topics;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    topics.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return topics;
}

}  // namespace

std::string StoredPosition::encode() const {
  std::string bytes(1, kPositionVersion);
  bytes += topicId;
  bytes.append(reinterpret_cast<const char*>(&at.epoch), 8);
  bytes.append(reinterpret_cast<const char*>(&at.offset), 8);
  return bytes;
}

std::optional<StoredPosition> StoredPosition::decode(std::string_view bytes) {
  if (bytes.size() != kPositionBytes || bytes[0] != kPositionVersion) return std::nullopt;
  StoredPosition position;
  position.topicId = bytes.substr(1, 16);
  std::memcpy(&position.at.epoch, bytes.data() + 17, 8);
  std::memcpy(&position.at.offset, bytes.data() + 25, 8);
  return position;
}

void forgetPositions(state::Journal& journal, std::string_view topic, state::Commit& commit) {
  const std::string prefix = fmt::format("{}{}/", kPositionPrefix, topic);
  for (const state::StoreInfo& store : journal.stores()) {
    if (store.name.starts_with(kStorePrefix)) commit.erasePrefix(store.id, prefix);
  }
}

Group::Group(std::shared_ptr<state::Journal> journal, std::string name)
    : journal_(std::move(journal)),
      name_(std::move(name)),
      store_(journal_->store(journal_->declareStore(std::string(kStorePrefix) + name_))) {}

std::optional<StoredPosition> Group::position(const TopicPartition& partition) const {
  std::string bytes;
  if (!store_->get(positionKey(partition), bytes)) return std::nullopt;
  auto position = StoredPosition::decode(bytes);
  if (!position) {
    throw state::Corruption(
        journal_->directory(), 0,
        fmt::format("the position of group '{}' in {} is not readable ({} bytes); commit "
                    "another one by hand",
                    name_, TopicCatalog::describe(partition), bytes.size()));
  }
  return position;
}

void Group::putPosition(const TopicPartition& partition, const StoredPosition& position,
                        state::Commit& commit) const {
  commit.put(store_->id(), positionKey(partition), position.encode());
}

std::unique_ptr<state::Claim> Group::tryClaim(const TopicPartition& partition,
                                              std::string& holder) const {
  return journal_->tryClaim(
      fmt::format("group/{}/{}/{}", name_, partition.topic, partition.partition.value), &holder);
}

GroupMember::GroupMember(const Group& group, std::vector<std::string> topics) : group_(group) {
  // the lowest free number: a journal remembers every claim there ever was
  for (std::uint64_t number = 0; !claim_; ++number) {
    id_ = fmt::format("{:06}", number);
    claim_ = group_.journal_->tryClaim(memberClaim(id_));
  }
  state::Commit commit;
  commit.put(group_.store_->id(), std::string(kMemberPrefix) + id_, joined(topics));
  group_.journal_->commit(commit, state::Durability::Buffered);
}

std::string GroupMember::memberClaim(const std::string& id) const {
  return fmt::format("group/{}/member/{}", group_.name_, id);
}

GroupMember::~GroupMember() {
  try {
    state::Commit commit;
    commit.erase(group_.store_->id(), std::string(kMemberPrefix) + id_);
    group_.journal_->commit(commit, state::Durability::Buffered);
  } catch (const std::exception& error) {
    log(LogLevel::Warning, "file", "leaving a group: others will notice",
        {{"group", group_.name_}, {"error", error.what()}});
  }
}

std::map<std::string, std::vector<std::string>> GroupMember::liveMembers() {
  std::map<std::string, std::vector<std::string>> members;
  group_.store_->scanPrefix(kMemberPrefix, [&](std::string_view key, std::string_view topics) {
    members.emplace(key.substr(kMemberPrefix.size()), split(topics));
    return true;
  });
  for (auto member = members.begin(); member != members.end();) {
    if (member->first == id_) {
      ++member;
      continue;
    }
    const auto dead = group_.journal_->tryClaim(memberClaim(member->first));
    if (!dead) {
      ++member;
      continue;
    }
    state::Commit commit;
    commit.erase(group_.store_->id(), std::string(kMemberPrefix) + member->first);
    group_.journal_->commit(commit, state::Durability::Buffered);
    log(LogLevel::Info, "file", "a member of the group is gone",
        {{"group", group_.name_}, {"member", member->first}});
    member = members.erase(member);
  }
  return members;
}

std::vector<std::int32_t> GroupMember::shares(const std::vector<Topic>& topics) {
  const auto members = liveMembers();
  std::vector<std::int32_t> result;
  for (const Topic& topic : topics) {
    std::int32_t readers = 0;
    std::int32_t rank = -1;
    for (const auto& [id, reads] : members) {
      if (id == id_) rank = readers;
      if (std::find(reads.begin(), reads.end(), topic.name) != reads.end()) ++readers;
    }
    if (rank < 0) {  // somebody took a living member's entry away: it cannot have been one of us
      result.push_back(0);
      continue;
    }
    // what does not divide evenly goes to other members for each topic, the same for all to see
    const std::int32_t partitions = topic.partitions();
    std::uint32_t shift = 0;
    for (const char c : topic.name) shift = shift * 31 + static_cast<std::uint8_t>(c);
    const auto turn = static_cast<std::int32_t>((static_cast<std::uint32_t>(rank) + shift % 1000) %
                                                static_cast<std::uint32_t>(readers));
    result.push_back(partitions / readers + (turn < partitions % readers ? 1 : 0));
  }
  return result;
}

}  // namespace penstock::file
