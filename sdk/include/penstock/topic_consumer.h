// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.h>
#include <penstock/topics.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock {

namespace topics {
class ConsumerBackend;
class Transport;
}  // namespace topics

/// What a callback of TopicConsumer::run or forEach threw, with the record's place. The cause is
/// nested (std::rethrow_if_nested).
///
/// Threads: immutable after construction.
class ProcessingError : public Error {
 public:
  ProcessingError(const TopicPartition& source, Offset offset, const std::string& cause);
  [[nodiscard]] const TopicPartition& source() const noexcept { return source_; }
  [[nodiscard]] Offset offset() const noexcept { return offset_; }

 private:
  TopicPartition source_;
  Offset offset_;
};

/// Reads the records of topics, alone or as a member of a consumer group.
///
/// Use it for programs that read records one after the other and keep what they make of them by
/// themselves; Application does more (state, exactly once, repartitioning).
///
/// Made by StreamingClient::consumer. With a group, the partitions of its topics are shared among
/// the group's members, in however many processes; each partition has one reader at a time, and
/// what a member leaves (close, or death: at once) the others take over where it last committed.
/// Without a group, all partitions of the topics are read, from where OffsetReset says.
///
/// Threads: owned by one thread; `stop` and `wakeup` are safe from any thread.
/// Errors: state::PositionOutOfRange when records at the position are gone (never skipped by
/// itself: `seek` decides); Error with code Retry when a broker stays out of reach;
/// ConfigurationError for topics and partitions that are not there. state::Closed after close.
/// Durability: `commit` returns when the positions would survive a power cut. On files, only
/// records are read that would, too.
/// Cost: `poll` blocks; keys and values are views into memory that the batch keeps alive.
///
///   auto consumer = client.consumer("clicks", {.group = "counters"});
///   consumer.run([&](const TopicPartition& from, const RecordView& record) { ... });
class TopicConsumer {
 public:
  using Callback = std::function<void(const TopicPartition&, const RecordView&)>;

  TopicConsumer(TopicConsumer&&) noexcept;
  TopicConsumer& operator=(TopicConsumer&&) noexcept;
  /// Leaves the group as close does, but throws nothing and calls no listener.
  ~TopicConsumer();

  /// Told of partitions won and given up from now on. Set it before the first poll.
  void onRebalance(RebalanceListener listener);

  // Reading, batch by batch.

  /// The next records of one partition into `batch`, which may be used again and again. False:
  /// none came within the time, or `wakeup` was called.
  bool poll(RecordBatch& batch, std::chrono::milliseconds timeout);
  /// The same into a new batch: empty when none came.
  [[nodiscard]] RecordBatch poll(std::chrono::milliseconds timeout);
  /// Makes a poll under way, or the next one, return at once.
  void wakeup();

  // Reading, record by record.

  /// Calls `callback` for each record until `stop`. In a group, positions are committed every
  /// commitInterval, when partitions are given up and at the end: a record whose callback
  /// returned may come again after a crash, but none is left out. When the callback throws,
  /// everything before the record is committed and ProcessingError is thrown; the consumer then
  /// stands at that record.
  void run(const Callback& callback);
  /// As `run`, but returns at the ends that the partitions owned by then have when called.
  void forEach(const Callback& callback);
  /// Ends `run` and `forEach` after the record under way, or the next call at once. Callable from
  /// a callback.
  void stop();

  // Positions.

  /// Stores in the group: everything that polls have given out so far is done.
  void commit();
  /// Stores these positions: offset of the next record to read.
  void commit(const std::map<TopicPartition, Offset>& positions);
  /// What the group has stored; partitions without are left out.
  [[nodiscard]] std::map<TopicPartition, Offset> committed(
      const std::vector<TopicPartition>& partitions,
      std::chrono::milliseconds timeout = std::chrono::seconds(30));
  [[nodiscard]] Offset position(const TopicPartition& partition);
  /// Moves one partition, or all that are assigned.
  void seek(const TopicPartition& partition, const SeekTarget& target);
  void seek(const SeekTarget& target);
  /// The position in a form to be kept elsewhere, in a LocalFileStorage beside what was made of
  /// the records, say: `seekBookmark` refuses with PositionOutOfRange when the topic is another
  /// one of that name by now, or does not hold what the bookmark stood behind.
  [[nodiscard]] std::string bookmark(const TopicPartition& partition);
  void seekBookmark(const TopicPartition& partition, const std::string& bookmark);

  // Partitions.

  /// Reads exactly these from now on, whatever the group does. What others read is not looked at.
  void assign(const std::vector<TopicPartition>& partitions);
  [[nodiscard]] std::vector<TopicPartition> assignment();
  /// Polls give nothing of these until `resume`; they stay owned.
  void pause(const std::vector<TopicPartition>& partitions);
  void resume(const std::vector<TopicPartition>& partitions);

  /// Leaves the group: others take the partitions over. Commits nothing by itself.
  void close();

 private:
  friend class StreamingClient;
  struct Impl;
  explicit TopicConsumer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
