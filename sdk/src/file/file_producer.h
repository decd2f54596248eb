// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "file/topic_catalog.h"
#include "topics/transport.h"

namespace penstock::file {

/// A producer on files. Records are encoded into a commit by the caller; a thread commits it,
/// synced, while callers fill the next one: how many records share a sync follows from how fast
/// they come.
class FileProducer final : public topics::ProducerBackend {
 public:
  FileProducer(std::shared_ptr<state::Journal> journal, std::shared_ptr<TopicCatalog> catalog,
               const ProducerOptions& options);
  ~FileProducer() override;

  void send(std::string_view topic, std::optional<PartitionIndex> partition,
            const RecordView& record, Done done) override;
  void flush(std::chrono::milliseconds timeout) override;
  void close() override;

 private:
  static constexpr std::size_t kPendingBytesMax = 4U << 20U;  // below what a journal writes apart

  /// One partition, and what the pending batch holds of it.
  struct Target {
    state::LogId log;
    std::uint64_t batch = 0;  // the batch that `slot` and `count` are of
    std::size_t slot = 0;     // place among the logs of the batch, in order of first append
    std::uint64_t count = 0;  // records in it
  };
  struct Route {
    std::vector<Target> targets;
    std::size_t turn = 0;  // of records without a key
  };
  /// Somebody who wants to know where a record of a batch got to.
  struct Waiter {
    PartitionIndex partition;
    std::size_t slot;
    std::uint64_t index;
    Done done;
  };
  struct Batch {
    state::Commit commit;
    std::vector<Waiter> waiters;
    std::size_t logs = 0;
    std::size_t bytes = 0;
    std::uint64_t records = 0;
  };

  [[nodiscard]] Route& route(std::string_view topic);
  [[nodiscard]] static std::size_t choose(std::string_view topic, Route& route,
                                          std::optional<PartitionIndex> partition,
                                          const RecordView& record);
  void work();
  void deliver(Batch& batch);
  [[nodiscard]] bool forked() const noexcept;

  std::shared_ptr<state::Journal> journal_;
  std::shared_ptr<TopicCatalog> catalog_;
  const std::chrono::milliseconds timeout_;  // how long a send waits for room
  const std::uint32_t forks_;  // before it was made

  std::mutex mutex_;
  std::condition_variable filled_;     // there is something to commit, or to stop for
  std::condition_variable delivered_;  // there is room; flush looks again
  // Guarded by mutex_:
  std::map<std::string, Route, std::less<>> routes_;
  Batch pending_;
  std::uint64_t batchNumber_ = 1;
  std::uint64_t sent_ = 0;  // records
  std::uint64_t settled_ = 0;
  std::exception_ptr failure_;  // first since the last flush
  bool routesStale_ = false;    // a commit failed: a topic may have been deleted
  bool closed_ = false;

  std::thread worker_;  // last: uses the rest
};

}  // namespace penstock::file
