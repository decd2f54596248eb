// SPDX-License-Identifier: Apache-2.0
#include "file/partition_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace penstock::file {

PartitionReader::PartitionReader(std::shared_ptr<state::Journal> journal, const Topic& topic,
                                 PartitionIndex partition)
    : journal_(std::move(journal)),
      source_{topic.name, partition},
      topicId_(topic.id),
      log_(topic.logs.at(static_cast<std::size_t>(partition.value))),
      reader_(journal_, log_, 0),
      walker_(TopicCatalog::logName(topic.name, partition)) {}

bool PartitionReader::fill(RecordBatch& batch, std::size_t recordsMax) {
  batch.clear();
  std::shared_ptr<Owners> owners;
  try {
    while (batch.records.size() < recordsMax && readChunk(batch, owners, recordsMax)) {
    }
  } catch (const state::InvalidArgument&) {  // the log is not there
    throwDeleted();
  } catch (...) {
    // What stands before the damage is given out first. The next call comes to it again: moving
    // reads the chunk anew, so that nothing in it is passed over.
    moveTo(batch.records.empty() ? position_.value : batch.records.back().offset.value + 1);
    if (batch.records.empty()) throw;
  }
  if (batch.records.empty()) return false;
  if (!batch.headerViews.empty()) {  // they stand still only now
    const HeaderView* at = batch.headerViews.data();
    for (RecordView& record : batch.records) {
      record.headers = {at, record.headers.size()};
      at += record.headers.size();
    }
  }
  batch.source = source_;
  batch.next = position_;
  return true;
}

/// Adds records of one chunk. False when there is none yet.
bool PartitionReader::readChunk(RecordBatch& batch, std::shared_ptr<Owners>& owners,
                                std::size_t recordsMax) {
  if (walker_.left() == 0) {
    if (!reader_.next(chunk_, state::ReadLimit::Synced)) return false;
    const auto next = static_cast<std::uint64_t>(position_.value);
    if (chunk_.baseOffset > next) {  // never passed over in silence
      throw state::PositionOutOfRange(fmt::format(
          "reading {} of {} at offset {}: the next record kept is {}",
          TopicCatalog::describe(source_), journal_->directory(), next, chunk_.baseOffset));
    }
    walker_.start(chunk_.bytes, chunk_.baseOffset, chunk_.count);
    walker_.skipTo(next);
  }
  if (batch.owner == nullptr) {
    batch.owner = chunk_.owner;
  } else {
    if (owners == nullptr) {
      owners = std::make_shared<Owners>(1, std::move(batch.owner));
      batch.owner = owners;
    }
    owners->push_back(chunk_.owner);
  }
  RecordView record;
  while (batch.records.size() < recordsMax && walker_.next(record)) {
    batch.headerViews.insert(batch.headerViews.end(), record.headers.begin(), record.headers.end());
    batch.records.push_back(record);
  }
  position_.value = static_cast<std::int64_t>(walker_.nextOffset());
  return true;
}

void PartitionReader::moveTo(std::int64_t offset) {
  reader_.seek(static_cast<std::uint64_t>(offset));
  chunk_ = {};
  walker_.start({}, static_cast<std::uint64_t>(offset), 0);
  position_.value = offset;
  positioned_ = true;
}

void PartitionReader::throwDeleted() const {
  throw ConfigurationError(fmt::format("reading {} of {}: the topic was deleted",
                                       TopicCatalog::describe(source_), journal_->directory()));
}

state::LogInfo PartitionReader::logInfo() const {
  try {
    return journal_->log(log_);
  } catch (const state::InvalidArgument&) {
    throwDeleted();
  }
}

void PartitionReader::seek(const SeekTarget& target) {
  const state::LogInfo log = logInfo();
  if (std::holds_alternative<SeekBegin>(target))
    return moveTo(static_cast<std::int64_t>(log.start));
  if (std::holds_alternative<SeekEnd>(target))
    return moveTo(static_cast<std::int64_t>(log.syncedEnd));
  if (const auto* time = std::get_if<EventTime>(&target))
    return moveTo(static_cast<std::int64_t>(offsetAt(*time)));
  const std::int64_t offset = std::get<Offset>(target).value;
  if (offset < static_cast<std::int64_t>(log.start) ||
      offset > static_cast<std::int64_t>(log.syncedEnd)) {
    throw state::PositionOutOfRange(fmt::format(
        "seeking {} in {} to offset {}: it holds {} to {}; seek to the begin, to the "
        "end or to an offset in between",
        TopicCatalog::describe(source_), journal_->directory(), offset, log.start, log.syncedEnd));
  }
  moveTo(offset);
}

void PartitionReader::seek(const StoredPosition& position) {
  if (position.topicId != topicId_) {
    throw state::PositionOutOfRange(
        fmt::format("the position {} in {} of {} was taken in another topic of that name, which "
                    "was deleted since; seek to the begin or to the end",
                    position.at.offset, TopicCatalog::describe(source_), journal_->directory()));
  }
  journal_->checkPosition(log_, position.at);
  moveTo(static_cast<std::int64_t>(position.at.offset));
}

StoredPosition PartitionReader::storedPosition(Offset offset) const {
  return {topicId_, journal_->position(log_, static_cast<std::uint64_t>(offset.value))};
}

/// The journal knows the times of whole sections only: the rest is found by reading.
std::uint64_t PartitionReader::offsetAt(EventTime time) const {
  const auto near = journal_->offsetForTime(log_, time.ms);
  const std::uint64_t end = logInfo().syncedEnd;
  if (!near) return end;
  state::LogReader reader(journal_, log_, *near);
  RecordWalker walker(TopicCatalog::logName(source_.topic, source_.partition));
  state::LogChunk chunk;
  while (reader.next(chunk, state::ReadLimit::Synced)) {
    walker.start(chunk.bytes, chunk.baseOffset, chunk.count);
    walker.skipTo(*near);
    RecordView record;
    while (walker.next(record)) {
      if (record.timestamp >= time) return static_cast<std::uint64_t>(record.offset.value);
    }
  }
  return end;
}

}  // namespace penstock::file
