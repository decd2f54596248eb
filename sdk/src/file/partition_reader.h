// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <penstock/topics.h>

#include <memory>
#include <optional>
#include <vector>

#include "file/groups.h"
#include "file/record_codec.h"
#include "file/topic_catalog.h"

namespace penstock::file {

/// Reads the records of one partition into batches, as far as they are on disk.
///
/// Threads: owned by one thread.
/// Errors: state::PositionOutOfRange, state::Corruption.
class PartitionReader {
 public:
  PartitionReader(std::shared_ptr<state::Journal> journal, const Topic& topic,
                  PartitionIndex partition);

  [[nodiscard]] const TopicPartition& source() const noexcept { return source_; }
  [[nodiscard]] state::LogId log() const noexcept { return log_; }
  [[nodiscard]] const std::string& topicId() const noexcept { return topicId_; }

  /// Fills `batch` with at most `recordsMax` records, without copying them. False: none yet.
  bool fill(RecordBatch& batch, std::size_t recordsMax);
  /// Throws PositionOutOfRange for an offset outside of what the partition holds.
  void seek(const SeekTarget& target);
  /// Throws PositionOutOfRange when it cannot be relied on.
  void seek(const StoredPosition& position);
  [[nodiscard]] bool positioned() const noexcept { return positioned_; }
  [[nodiscard]] Offset position() const noexcept { return position_; }
  [[nodiscard]] StoredPosition storedPosition(Offset offset) const;

 private:
  /// Keeps the bytes of several chunks: small commits make small chunks.
  using Owners = std::vector<std::shared_ptr<const void>>;

  bool readChunk(RecordBatch& batch, std::shared_ptr<Owners>& owners, std::size_t recordsMax);
  void moveTo(std::int64_t offset);
  [[nodiscard]] state::LogInfo logInfo() const;
  [[noreturn]] void throwDeleted() const;
  [[nodiscard]] std::uint64_t offsetAt(EventTime time) const;

  std::shared_ptr<state::Journal> journal_;
  TopicPartition source_;
  std::string topicId_;
  state::LogId log_;
  state::LogReader reader_;
  state::LogChunk chunk_;
  RecordWalker walker_;
  Offset position_;          // behind the last record given out
  bool positioned_ = false;  // false until the first seek
};

}  // namespace penstock::file
