// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>

#include <atomic>
#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "file/claim_wait.h"
#include "file/groups.h"
#include "file/partition_reader.h"
#include "file/topic_catalog.h"
#include "topics/transport.h"

namespace penstock::file {

/// A consumer on files: alone, or a member of a group.
///
/// In a group, every poll looks after the group at most every kBalanceInterval: gives up what is
/// beyond its share, takes what is free within it. A partition is read only under its claim.
class FileConsumer final : public topics::ConsumerBackend {
 public:
  FileConsumer(std::shared_ptr<state::Journal> journal, std::shared_ptr<TopicCatalog> catalog,
               const ConsumerOptions& options);
  ~FileConsumer() override;

  void subscribe(const std::vector<std::string>& topics, RebalanceListener listener) override;
  void assign(const std::vector<TopicPartition>& partitions) override;
  std::vector<TopicPartition> assignment() override;
  bool poll(RecordBatch& batch, std::chrono::milliseconds timeout) override;
  void wakeup() override;
  void seek(const TopicPartition& partition, const SeekTarget& target) override;
  Offset position(const TopicPartition& partition) override;
  std::string bookmark(const TopicPartition& partition) override;
  void seekBookmark(const TopicPartition& partition, const std::string& bookmark) override;
  void pause(const std::vector<TopicPartition>& partitions) override;
  void resume(const std::vector<TopicPartition>& partitions) override;
  void commit(const std::map<TopicPartition, Offset>& positions) override;
  std::map<TopicPartition, Offset> committed(const std::vector<TopicPartition>& partitions,
                                             std::chrono::milliseconds timeout) override;
  void close() override;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kBalanceInterval{50};

  struct Owned {
    PartitionReader reader;
    std::unique_ptr<state::Claim> claim;  // null: assigned by hand
    bool paused = false;
  };

  [[nodiscard]] Group& group(const char* what) const;
  [[nodiscard]] Owned& owned(const TopicPartition& partition);
  void balance();
  void giveUp(std::vector<TopicPartition> partitions);
  [[nodiscard]] std::vector<TopicPartition> beyondShare(const std::vector<std::int32_t>& shares);
  [[nodiscard]] std::vector<TopicPartition> takeShare(const std::vector<std::int32_t>& shares);
  /// Where the group left off, else where offsetReset says.
  void start(Owned& owned);
  void startGroupAtEnd(Owned& owned);
  bool fillNext(RecordBatch& batch);

  std::shared_ptr<state::Journal> journal_;
  std::shared_ptr<TopicCatalog> catalog_;
  const ConsumerOptions options_;
  std::unique_ptr<Group> group_;         // null without
  std::unique_ptr<GroupMember> member_;  // while subscribed
  std::vector<Topic> topics_;            // subscribed to
  RebalanceListener listener_;
  std::map<TopicPartition, Owned> owned_;
  TopicPartition last_;  // whose turn was last
  Clock::time_point balanced_{};
  ClaimWait claimWait_;
  std::atomic<bool> woken_{false};
};

}  // namespace penstock::file
