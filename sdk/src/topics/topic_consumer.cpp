// SPDX-License-Identifier: Apache-2.0
#include <penstock/log.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <exception>

#include "topics/topic_consumer_impl.h"
#include "topics/wait_time.h"

namespace penstock {

namespace {

std::string placeOf(const TopicPartition& source, Offset offset) {
  return "topic '" + source.topic + "' partition " + std::to_string(source.partition.value) +
         " offset " + std::to_string(offset.value);
}

}  // namespace

ProcessingError::ProcessingError(const TopicPartition& source, Offset offset,
                                 const std::string& cause)
    : Error(ErrorCode::FixData,
            "processing the record of " + placeOf(source, offset) + ": " + cause),
      source_(source),
      offset_(offset) {}

TopicConsumer::Impl::Impl(std::shared_ptr<topics::Transport> where, const ConsumerOptions& how)
    : transport(std::move(where)), options(how), backend(transport->consumer(how)) {}

topics::ConsumerBackend& TopicConsumer::Impl::open() {
  if (closed) throw state::Closed("using a TopicConsumer: it was closed; make a new one");
  return *backend;
}

void TopicConsumer::Impl::subscribe(const std::vector<std::string>& names) {
  topics = names;
  RebalanceListener forward;
  forward.assigned = [this](const std::vector<TopicPartition>& partitions) {
    forget(partitions);
    if (listener.assigned) listener.assigned(partitions);
  };
  forward.revoked = [this](const std::vector<TopicPartition>& partitions) {
    // Also after a commit that failed: what is somebody else's now is not committed later.
    struct Forgetting {
      Impl& impl;
      const std::vector<TopicPartition>& partitions;
      ~Forgetting() { impl.forget(partitions); }
    } const forgetting{*this, partitions};
    if (running != nullptr) commitDone();
    if (listener.revoked) listener.revoked(partitions);
  };
  forward.lost = [this](const std::vector<TopicPartition>& partitions) {
    forget(partitions);
    if (listener.lost) listener.lost(partitions);
  };
  backend->subscribe(names, std::move(forward));
}

std::vector<TopicPartition> TopicConsumer::Impl::partitionsOf(
    const std::vector<std::string>& names) {
  std::vector<TopicPartition> partitions;
  for (const std::string& name : names) {
    const auto count = transport->partitionCount(name);
    if (!count) topics::throwUnknownTopic(name, transport->address());
    for (std::int32_t i = 0; i < *count; ++i) partitions.push_back({name, {i}});
  }
  return partitions;
}

void TopicConsumer::Impl::assignAll(const std::vector<std::string>& names) {
  backend->assign(partitionsOf(names));
}

void TopicConsumer::Impl::forget(const std::vector<TopicPartition>& partitions) {
  for (const TopicPartition& partition : partitions) {
    done.erase(partition);
    ends.erase(partition);
  }
}

void TopicConsumer::Impl::commitDone() {
  if (done.empty() || options.group.empty()) return;
  open().commit(done);
  done.clear();
}

void TopicConsumer::Impl::stopAt(const TopicPartition& source, Offset offset) noexcept {
  const auto complain = [&](const char* what) {
    log(LogLevel::Warning, "consumer", "committing what was processed failed",
        {{"group", options.group}, {"error", what}});
  };
  try {
    done[source] = offset;
    backend->seek(source, offset);
    commitDone();
  } catch (const std::exception& error) {
    complain(error.what());
  } catch (...) {
    complain("not a std::exception");
  }
}

std::map<TopicPartition, Offset> TopicConsumer::Impl::endsOf(
    const std::vector<TopicPartition>& partitions) {
  std::map<TopicPartition, Offset> result;
  std::map<std::string, std::optional<std::vector<PartitionDescription>>> offsets;
  for (const TopicPartition& partition : partitions) {
    auto found = offsets.find(partition.topic);
    if (found == offsets.end()) {
      found = offsets.emplace(partition.topic, transport->partitionOffsets(partition.topic)).first;
    }
    if (!found->second) topics::throwUnknownTopic(partition.topic, transport->address());
    for (const PartitionDescription& description : *found->second) {
      if (description.partition != partition.partition) continue;
      // nothing to read: whoever has not begun is done, too
      const bool empty = description.start == description.end;
      result[partition] = empty ? Offset{0} : description.end;
    }
  }
  return result;
}

/// Partitions won while the loop runs are read to the end they have when they are first seen.
/// A member without a share is done when the others have committed everything.
bool TopicConsumer::Impl::atEnds() {
  std::vector<TopicPartition> owned = open().assignment();
  const bool none = owned.empty();
  if (none && !topics.empty()) owned = partitionsOf(topics);
  std::vector<TopicPartition> unknown;
  for (const TopicPartition& partition : owned) {
    if (!ends.contains(partition)) unknown.push_back(partition);
  }
  if (!unknown.empty()) ends.merge(endsOf(unknown));
  if (!none) {
    return std::all_of(owned.begin(), owned.end(), [&](const TopicPartition& partition) {
      return backend->position(partition) >= ends.at(partition);
    });
  }
  const auto stored = backend->committed(owned, std::chrono::seconds(30));
  return std::all_of(owned.begin(), owned.end(), [&](const TopicPartition& partition) {
    const auto found = stored.find(partition);
    return (found == stored.end() ? Offset{0} : found->second) >= ends.at(partition);
  });
}

void TopicConsumer::Impl::process(const RecordBatch& batch, const Callback& callback) {
  Offset next = batch.next;
  for (const RecordView& record : batch.records) {
    const bool stopped = stopping.load(std::memory_order_relaxed);
    if (stopped) {
      next = record.offset;
      break;
    }
    try {
      callback(batch.source, record);
    } catch (...) {
      stopAt(batch.source, record.offset);
      const std::exception_ptr cause = std::current_exception();
      std::string what = "not a std::exception";
      try {
        std::rethrow_exception(cause);
      } catch (const std::exception& error) {
        what = error.what();
      } catch (...) {
      }
      std::throw_with_nested(ProcessingError(batch.source, record.offset, what));
    }
  }
  if (next != batch.next) backend->seek(batch.source, next);
  done[batch.source] = next;
}

void TopicConsumer::Impl::loop(const Callback& callback, bool toEnd) {
  constexpr std::chrono::milliseconds idle{100};
  open();
  struct Running {
    Impl& impl;
    ~Running() {
      impl.running = nullptr;
      impl.stopping = false;
      impl.ends.clear();
    }
  } const guard{*this};
  running = &callback;
  ends.clear();
  const auto commitInterval = topics::waitTime(options.commitInterval);
  RecordBatch batch;
  Clock::time_point committed = Clock::now();
  // without a group, what is there when called is known at once
  bool ended = toEnd && options.group.empty() && atEnds();
  while (!stopping && !ended) {
    if (backend->poll(batch, idle)) process(batch, callback);
    if (Clock::now() - committed >= commitInterval) {
      commitDone();
      committed = Clock::now();
    }
    ended = toEnd && atEnds();
  }
  commitDone();
}

TopicConsumer::TopicConsumer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TopicConsumer::TopicConsumer(TopicConsumer&&) noexcept = default;

TopicConsumer& TopicConsumer::operator=(TopicConsumer&& other) noexcept {
  TopicConsumer old(std::move(*this));  // leaves its group
  impl_ = std::move(other.impl_);
  return *this;
}

TopicConsumer::~TopicConsumer() {
  if (!impl_ || impl_->closed) return;
  impl_->listener = {};  // what it refers to may be gone already
  try {
    close();
  } catch (const std::exception& error) {
    log(LogLevel::Warning, "consumer", "closing failed", {{"error", error.what()}});
  } catch (...) {
    log(LogLevel::Warning, "consumer", "closing failed");
  }
}

void TopicConsumer::onRebalance(RebalanceListener listener) {
  impl_->listener = std::move(listener);
}

bool TopicConsumer::poll(RecordBatch& batch, std::chrono::milliseconds timeout) {
  if (!impl_->open().poll(batch, timeout)) return false;
  impl_->done[batch.source] = batch.next;
  return true;
}

RecordBatch TopicConsumer::poll(std::chrono::milliseconds timeout) {
  RecordBatch batch;
  if (!poll(batch, timeout)) batch.clear();
  return batch;
}

void TopicConsumer::wakeup() { impl_->backend->wakeup(); }

void TopicConsumer::run(const Callback& callback) { impl_->loop(callback, false); }

void TopicConsumer::forEach(const Callback& callback) { impl_->loop(callback, true); }

void TopicConsumer::stop() {
  impl_->stopping = true;
  wakeup();
}

void TopicConsumer::commit() {
  impl_->open();
  if (impl_->options.group.empty()) {
    throw ConfigurationError("committing positions: this consumer has no group to store them in");
  }
  impl_->commitDone();
}

void TopicConsumer::commit(const std::map<TopicPartition, Offset>& positions) {
  impl_->open().commit(positions);
}

std::map<TopicPartition, Offset> TopicConsumer::committed(
    const std::vector<TopicPartition>& partitions, std::chrono::milliseconds timeout) {
  return impl_->open().committed(partitions, timeout);
}

Offset TopicConsumer::position(const TopicPartition& partition) {
  return impl_->open().position(partition);
}

void TopicConsumer::seek(const TopicPartition& partition, const SeekTarget& target) {
  impl_->open().seek(partition, target);
  impl_->done.erase(partition);
}

void TopicConsumer::seek(const SeekTarget& target) {
  for (const TopicPartition& partition : impl_->open().assignment()) seek(partition, target);
}

std::string TopicConsumer::bookmark(const TopicPartition& partition) {
  return impl_->open().bookmark(partition);
}

void TopicConsumer::seekBookmark(const TopicPartition& partition, const std::string& bookmark) {
  impl_->open().seekBookmark(partition, bookmark);
  impl_->done.erase(partition);
}

void TopicConsumer::assign(const std::vector<TopicPartition>& partitions) {
  impl_->open().assign(partitions);
  impl_->done.clear();
}

std::vector<TopicPartition> TopicConsumer::assignment() { return impl_->open().assignment(); }

void TopicConsumer::pause(const std::vector<TopicPartition>& partitions) {
  impl_->open().pause(partitions);
}

void TopicConsumer::resume(const std::vector<TopicPartition>& partitions) {
  impl_->open().resume(partitions);
}

void TopicConsumer::close() {
  if (impl_->closed) return;
  // closed even when the farewell fails; until then give-ups may still commit
  struct Closing {
    Impl& impl;
    ~Closing() { impl.closed = true; }
  } const closing{*impl_};
  impl_->backend->close();
}

}  // namespace penstock
