// SPDX-License-Identifier: Apache-2.0
#include "file/file_consumer.h"

#include <fmt/format.h>
#include <penstock/log.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "topics/wait_time.h"

namespace penstock::file {

FileConsumer::FileConsumer(std::shared_ptr<state::Journal> journal,
                           std::shared_ptr<TopicCatalog> catalog, const ConsumerOptions& options)
    : journal_(std::move(journal)),
      catalog_(std::move(catalog)),
      options_(options),
      claimWait_("group " + options.group) {
  if (!options_.group.empty()) group_ = std::make_unique<Group>(journal_, options_.group);
}

FileConsumer::~FileConsumer() {
  owned_.clear();
  member_.reset();
}

Group& FileConsumer::group(const char* what) const {
  if (!group_) {
    throw ConfigurationError(
        fmt::format("{}: this consumer has no group (ConsumerOptions::group)", what));
  }
  return *group_;
}

FileConsumer::Owned& FileConsumer::owned(const TopicPartition& partition) {
  const auto found = owned_.find(partition);
  if (found == owned_.end()) {
    throw ConfigurationError(TopicCatalog::describe(partition) + " of " + journal_->directory() +
                             " is not assigned to this consumer");
  }
  return found->second;
}

void FileConsumer::subscribe(const std::vector<std::string>& topics, RebalanceListener listener) {
  Group& joined = group("subscribing");
  std::vector<Topic> found;
  const std::set<std::string> names(topics.begin(), topics.end());
  for (const std::string& name : names) found.push_back(catalog_->get(name));
  owned_.clear();
  member_.reset();
  topics_ = std::move(found);
  listener_ = std::move(listener);
  member_ =
      std::make_unique<GroupMember>(joined, std::vector<std::string>(names.begin(), names.end()));
  balanced_ = {};
}

void FileConsumer::assign(const std::vector<TopicPartition>& partitions) {
  std::map<TopicPartition, Owned> assigned;
  std::map<std::string, Topic> topics;
  for (const TopicPartition& partition : partitions) {
    auto topic = topics.find(partition.topic);
    if (topic == topics.end()) {
      topic = topics.emplace(partition.topic, catalog_->get(partition.topic)).first;
    }
    if (partition.partition.value < 0 || partition.partition.value >= topic->second.partitions()) {
      throw ConfigurationError(fmt::format("assigning {}: it has partitions 0 to {}",
                                           TopicCatalog::describe(partition),
                                           topic->second.partitions() - 1));
    }
    assigned.emplace(partition,
                     Owned{PartitionReader(journal_, topic->second, partition.partition), {}});
  }
  member_.reset();  // whoever assigns by hand leaves the sharing
  topics_.clear();
  owned_ = std::move(assigned);
  // "latest" means now, not when the first poll happens to come
  if (!group_ && options_.offsetReset == OffsetReset::Latest) {
    for (auto& [partition, owned] : owned_) start(owned);
  }
}

std::vector<TopicPartition> FileConsumer::assignment() {
  std::vector<TopicPartition> partitions;
  for (const auto& [partition, owned] : owned_) partitions.push_back(partition);
  return partitions;
}

void FileConsumer::start(Owned& owned) {
  PartitionReader& reader = owned.reader;
  if (reader.positioned()) return;
  if (group_) {
    if (const auto stored = group_->position(reader.source())) return reader.seek(*stored);
  }
  switch (options_.offsetReset) {
    case OffsetReset::Earliest:
      return reader.seek(SeekBegin{});
    case OffsetReset::Latest:
      return group_ ? startGroupAtEnd(owned) : reader.seek(SeekEnd{});
    case OffsetReset::Error:
      throw state::PositionOutOfRange(fmt::format(
          "reading {} of {}: group '{}' has no position there, and offsetReset is Error; commit "
          "one or seek",
          TopicCatalog::describe(reader.source()), journal_->directory(), options_.group));
  }
}

/// The group's position from now on: what is written until its first commit is missed by nobody,
/// whoever of the group dies meanwhile.
void FileConsumer::startGroupAtEnd(Owned& owned) {
  const auto end = Offset{static_cast<std::int64_t>(journal_->log(owned.reader.log()).syncedEnd)};
  const StoredPosition position = owned.reader.storedPosition(end);
  state::Commit commit;
  if (owned.claim) commit.require(*owned.claim);
  group_->putPosition(owned.reader.source(), position, commit);
  journal_->commit(commit);
  owned.reader.seek(position);
}

bool FileConsumer::fillNext(RecordBatch& batch) {
  // the one behind the last that had its turn, so that none waits for ever
  auto at = owned_.upper_bound(last_);
  for (std::size_t i = 0; i < owned_.size(); ++i, ++at) {
    if (at == owned_.end()) at = owned_.begin();
    Owned& owned = at->second;
    if (owned.paused) continue;
    start(owned);
    if (!owned.reader.fill(batch, options_.batchRecordsMax)) continue;
    last_ = at->first;
    return true;
  }
  return false;
}

bool FileConsumer::poll(RecordBatch& batch, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + topics::waitTime(timeout);
  while (true) {
    // before looking: what is synced while we look ends the wait below at once
    const state::Sequence seen = journal_->synced();
    if (woken_.exchange(false)) return false;
    if (member_ && Clock::now() - balanced_ >= kBalanceInterval) balance();
    if (fillNext(batch)) return true;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    // a wake-up between the look at woken_ and the wait is seen after one interval at the latest;
    // with no time left it only says whether the journal has failed
    journal_->waitForSynced(seen, std::min(left, kBalanceInterval));
    if (left.count() <= 0) {
      batch.clear();
      return false;
    }
  }
}

void FileConsumer::wakeup() {
  woken_ = true;
  journal_->interruptWaits();
}

std::vector<TopicPartition> FileConsumer::beyondShare(const std::vector<std::int32_t>& shares) {
  std::vector<TopicPartition> surplus;
  for (std::size_t i = 0; i < topics_.size(); ++i) {
    std::int32_t kept = 0;
    for (const auto& [partition, owned] : owned_) {
      if (partition.topic == topics_[i].name && ++kept > shares[i]) surplus.push_back(partition);
    }
  }
  return surplus;
}

std::vector<TopicPartition> FileConsumer::takeShare(const std::vector<std::int32_t>& shares) {
  std::vector<TopicPartition> taken;
  std::string holder;
  bool wanting = false;
  for (std::size_t i = 0; i < topics_.size(); ++i) {
    const Topic& topic = topics_[i];
    auto missing = shares[i] - std::count_if(owned_.begin(), owned_.end(), [&](const auto& entry) {
                     return entry.first.topic == topic.name;
                   });
    for (std::int32_t number = 0; number < topic.partitions() && missing > 0; ++number) {
      const TopicPartition partition{topic.name, PartitionIndex{number}};
      if (owned_.contains(partition)) continue;
      auto claim = group_->tryClaim(partition, holder);
      if (!claim) continue;
      owned_.emplace(partition, Owned{PartitionReader(journal_, topic, partition.partition),
                                      std::move(claim)});
      taken.push_back(partition);
      --missing;
    }
    wanting = wanting || missing > 0;
  }
  const auto now = Clock::now().time_since_epoch();
  claimWait_.look(wanting, holder,
                  std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  return taken;
}

void FileConsumer::giveUp(std::vector<TopicPartition> partitions) {
  if (partitions.empty()) return;
  if (listener_.revoked) listener_.revoked(partitions);
  for (const TopicPartition& partition : partitions) owned_.erase(partition);  // frees the claim
  log(LogLevel::Info, "file", "partitions given up",
      {{"group", options_.group}, {"partitions", std::to_string(partitions.size())}});
}

void FileConsumer::balance() {
  const std::vector<std::int32_t> shares = member_->shares(topics_);
  giveUp(beyondShare(shares));
  const std::vector<TopicPartition> taken = takeShare(shares);
  balanced_ = Clock::now();
  if (taken.empty()) return;
  log(LogLevel::Info, "file", "partitions taken",
      {{"group", options_.group}, {"partitions", std::to_string(taken.size())}});
  if (listener_.assigned) listener_.assigned(taken);
  if (options_.offsetReset != OffsetReset::Latest) return;
  // "latest" means now; unless the listener said where to begin
  for (const TopicPartition& partition : taken) {
    if (const auto found = owned_.find(partition); found != owned_.end()) start(found->second);
  }
}

void FileConsumer::seek(const TopicPartition& partition, const SeekTarget& target) {
  owned(partition).reader.seek(target);
}

Offset FileConsumer::position(const TopicPartition& partition) {
  Owned& asked = owned(partition);
  start(asked);
  return asked.reader.position();
}

/// TOPIC-ID:EPOCH:OFFSET, the id in 32 hexadecimal digits, the others decimal.
std::string FileConsumer::bookmark(const TopicPartition& partition) {
  Owned& asked = owned(partition);
  start(asked);
  const PartitionReader& reader = asked.reader;
  const StoredPosition stored = reader.storedPosition(reader.position());
  std::string text;
  for (const char c : stored.topicId) text += fmt::format("{:02x}", static_cast<std::uint8_t>(c));
  return fmt::format("{}:{}:{}", text, stored.at.epoch, stored.at.offset);
}

void FileConsumer::seekBookmark(const TopicPartition& partition, const std::string& bookmark) {
  constexpr std::size_t idDigits = 32;
  const char* at = bookmark.data();
  const char* const end = at + bookmark.size();
  bool good = bookmark.size() > idDigits;
  const auto number = [&](auto& into, const char* numberEnd, int base) {
    const auto parsed = std::from_chars(at, numberEnd, into, base);
    good = good && parsed.ec == std::errc{};
    at = parsed.ptr;
  };
  const auto colon = [&] { good = good && at != end && *at++ == ':'; };
  StoredPosition stored;
  for (std::size_t i = 0; good && i < idDigits; i += 2) {
    std::uint8_t byte = 0;
    const char* behind = at + 2;
    number(byte, behind, 16);
    good = good && at == behind;
    stored.topicId += static_cast<char>(byte);
  }
  colon();
  if (good) number(stored.at.epoch, end, 10);
  colon();
  if (good) number(stored.at.offset, end, 10);
  if (!good || at != end || stored.at.offset > INT64_MAX) {
    throw ConfigurationError(fmt::format("seeking {}: '{}' is not a bookmark of a file topic",
                                         TopicCatalog::describe(partition), bookmark));
  }
  owned(partition).reader.seek(stored);
}

void FileConsumer::pause(const std::vector<TopicPartition>& partitions) {
  for (const TopicPartition& partition : partitions) owned(partition).paused = true;
}

void FileConsumer::resume(const std::vector<TopicPartition>& partitions) {
  for (const TopicPartition& partition : partitions) owned(partition).paused = false;
}

void FileConsumer::commit(const std::map<TopicPartition, Offset>& positions) {
  Group& stored = group("committing positions");
  if (positions.empty()) return;
  state::Commit commit;
  for (const auto& [partition, offset] : positions) {
    const auto found = owned_.find(partition);
    if (found == owned_.end()) {
      throw state::Fenced(fmt::format(
          "committing {}: group '{}' gave it to another member, or it was never assigned",
          TopicCatalog::describe(partition), options_.group));
    }
    const PartitionReader& reader = found->second.reader;
    const state::LogInfo log = journal_->log(reader.log());
    if (offset.value < 0 || offset.value > static_cast<std::int64_t>(log.end)) {
      throw state::PositionOutOfRange(fmt::format("committing offset {} of {}: it holds {} to {}",
                                                  offset.value, TopicCatalog::describe(partition),
                                                  log.start, log.end));
    }
    if (found->second.claim) commit.require(*found->second.claim);
    stored.putPosition(partition, reader.storedPosition(offset), commit);
  }
  journal_->commit(commit);
}

std::map<TopicPartition, Offset> FileConsumer::committed(
    const std::vector<TopicPartition>& partitions, std::chrono::milliseconds /*timeout*/) {
  const Group& stored = group("asking for committed positions");
  std::map<TopicPartition, Offset> result;
  for (const TopicPartition& partition : partitions) {
    if (const auto position = stored.position(partition)) {
      result[partition] = Offset{static_cast<std::int64_t>(position->at.offset)};
    }
  }
  return result;
}

void FileConsumer::close() {
  if (member_) giveUp(assignment());
  owned_.clear();
  member_.reset();
}

}  // namespace penstock::file
