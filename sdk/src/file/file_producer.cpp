// SPDX-License-Identifier: Apache-2.0
#include "file/file_producer.h"

#include <fmt/format.h>
#include <penstock/log.h>
#include <pthread.h>

#include <atomic>
#include <utility>

#include "file/record_codec.h"
#include "topics/wait_time.h"

namespace penstock::file {

namespace {

// Grows in a forked child: a load per record instead of a call of the system.
std::atomic<std::uint32_t> forks{0};

std::uint32_t forkCount() {
  static const int counting = ::pthread_atfork(nullptr, nullptr, [] { ++forks; });
  if (counting != 0) throw std::bad_alloc();
  return forks;
}

}  // namespace

FileProducer::FileProducer(std::shared_ptr<state::Journal> journal,
                           std::shared_ptr<TopicCatalog> catalog, const ProducerOptions& options)
    : journal_(std::move(journal)),
      catalog_(std::move(catalog)),
      timeout_(topics::waitTime(options.deliveryTimeout)),
      forks_(forkCount()),
      worker_([this] { work(); }) {}

FileProducer::~FileProducer() {
  try {
    close();
  } catch (const std::exception& error) {
    log(LogLevel::Error, "file", "records were not written", {{"error", error.what()}});
  }
}

/// The thread that commits does not exist in a forked child.
bool FileProducer::forked() const noexcept { return forks != forks_; }

FileProducer::Route& FileProducer::route(std::string_view topic) {
  const auto known = routes_.find(topic);
  if (known != routes_.end()) return known->second;
  const Topic found = catalog_->get(topic);
  Route& route = routes_[std::string(topic)];
  for (const state::LogId log : found.logs) route.targets.push_back(Target{log});
  return route;
}

std::size_t FileProducer::choose(std::string_view topic, Route& route,
                                 std::optional<PartitionIndex> partition,
                                 const RecordView& record) {
  const auto count = static_cast<std::int32_t>(route.targets.size());
  if (partition) {
    if (partition->value < 0 || partition->value >= count) {
      throw ConfigurationError(
          fmt::format("producing to topic '{}': there is no partition {}, it has 0 to {}", topic,
                      partition->value, count - 1));
    }
    return static_cast<std::size_t>(partition->value);
  }
  if (record.key) {
    return static_cast<std::size_t>(topics::partitionForKey(*record.key, count).value);
  }
  return route.turn++ % route.targets.size();
}

void FileProducer::send(std::string_view topic, std::optional<PartitionIndex> partition,
                        const RecordView& record, Done done) {
  if (forked()) {
    throw state::Closed(fmt::format(
        "producing to topic '{}': the producer was made by the parent process; make one here",
        topic));
  }
  std::unique_lock lock(mutex_);
  const auto room = [&] { return pending_.bytes < kPendingBytesMax || closed_; };
  if (!delivered_.wait_for(lock, timeout_, room)) {
    throw Error(ErrorCode::Retry,
                fmt::format("producing to topic '{}' of {}: no record got to disk for {} ms", topic,
                            journal_->directory(), timeout_.count()));
  }
  if (closed_) {
    throw state::Closed(fmt::format("producing to topic '{}': the producer was closed", topic));
  }
  Route& routed = route(topic);
  const std::size_t number = choose(topic, routed, partition, record);
  Target& target = routed.targets[number];
  std::string& buffer = pending_.commit.recordBuffer(target.log);
  const std::size_t before = buffer.size();
  try {
    encodeRecord(record, buffer);
  } catch (...) {
    buffer.resize(before);
    throw;
  }
  pending_.bytes += buffer.size() - before;
  pending_.commit.recordAdded(target.log, record.timestamp.ms);
  if (target.batch != batchNumber_) {
    target.batch = batchNumber_;
    target.slot = pending_.logs++;
    target.count = 0;
  }
  const std::uint64_t index = target.count++;
  if (done) {
    pending_.waiters.push_back(
        {PartitionIndex{static_cast<std::int32_t>(number)}, target.slot, index, std::move(done)});
  }
  ++sent_;
  const bool first = pending_.records++ == 0;
  lock.unlock();
  if (first) filled_.notify_one();
}

void FileProducer::work() {
  Batch batch;
  std::unique_lock lock(mutex_);
  while (true) {
    filled_.wait(lock, [&] { return pending_.records > 0 || closed_; });
    if (pending_.records == 0) return;
    std::swap(batch, pending_);
    ++batchNumber_;
    // only now, when no route counts records of a pending batch
    if (std::exchange(routesStale_, false)) routes_.clear();
    lock.unlock();
    delivered_.notify_all();  // there is room again
    deliver(batch);
    lock.lock();
    settled_ += batch.records;
    batch.commit.reset();
    batch.waiters.clear();
    batch.logs = batch.bytes = 0;
    batch.records = 0;
    delivered_.notify_all();
  }
}

void FileProducer::deliver(Batch& batch) {
  state::CommitResult result;
  std::exception_ptr error;
  try {
    result = journal_->commit(batch.commit);
  } catch (...) {
    error = std::current_exception();
    const std::lock_guard guard(mutex_);
    if (!failure_) failure_ = error;
    routesStale_ = true;
  }
  for (const Waiter& waiter : batch.waiters) {
    Delivery delivery{waiter.partition, Offset{-1}};
    if (!error) {
      delivery.offset.value =
          static_cast<std::int64_t>(result.baseOffsets.at(waiter.slot).second + waiter.index);
    }
    waiter.done(delivery, error);
  }
}

void FileProducer::flush(std::chrono::milliseconds timeout) {
  if (forked()) throw state::Closed("flushing a producer that the parent process made");
  std::unique_lock lock(mutex_);
  const std::uint64_t upTo = sent_;
  if (!delivered_.wait_for(lock, topics::waitTime(timeout), [&] { return settled_ >= upTo; })) {
    throw Error(ErrorCode::Retry,
                fmt::format("flushing a producer of {}: {} records are not on disk after {} ms",
                            journal_->directory(), upTo - settled_, timeout.count()));
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void FileProducer::close() {
  if (forked()) {
    if (worker_.joinable()) worker_.detach();
    return;
  }
  {
    const std::lock_guard guard(mutex_);
    closed_ = true;
  }
  filled_.notify_one();
  delivered_.notify_all();                 // a send that waits for room is refused
  if (worker_.joinable()) worker_.join();  // commits what is pending
  const std::lock_guard guard(mutex_);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace penstock::file
