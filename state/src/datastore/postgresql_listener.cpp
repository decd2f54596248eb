// SPDX-License-Identifier: Apache-2.0
#include "datastore/postgresql_listener.h"

#include <penstock/state/errors.h>

#include <algorithm>
#include <chrono>

namespace penstock::state::datastore {

namespace {

constexpr std::chrono::seconds unnoticedMost{1};

}  // namespace

class PostgresqlListener::ChannelWatch final : public Adapter::Watch {
 public:
  ChannelWatch(PostgresqlListener& listener, std::uint64_t seen)
      : listener_(listener), seen_(seen) {}

  ~ChannelWatch() override {
    const std::lock_guard guard(listener_.mutex_);
    if (--listener_.watches_ > 0) return;
    if (listener_.lease_) listener_.lease_->discard();
    listener_.lease_.reset();
  }

  void wait(Deadline deadline) override {
    deadline = std::min(deadline, std::chrono::steady_clock::now() + unnoticedMost);
    std::unique_lock guard(listener_.mutex_);
    while (listener_.changes_ == seen_ && std::chrono::steady_clock::now() < deadline) {
      if (listener_.attended_) {
        listener_.changed_.wait_until(guard, deadline);
        continue;
      }
      listener_.attended_ = true;
      guard.unlock();
      const bool told = listener_.awaitNotification(deadline);
      guard.lock();
      listener_.attended_ = false;
      if (told) ++listener_.changes_;
      listener_.changed_.notify_all();  // also for the next one to sit down
    }
    seen_ = listener_.changes_;
  }

 private:
  PostgresqlListener& listener_;
  std::uint64_t seen_;
};

std::unique_ptr<Adapter::Watch> PostgresqlListener::watch(Deadline deadline) {
  const std::lock_guard guard(mutex_);
  if (watches_ == 0) listen(deadline);
  auto made = std::make_unique<ChannelWatch>(*this, changes_);
  ++watches_;
  return made;
}

void PostgresqlListener::listen(Deadline deadline) {
  using Lease = PostgresqlSessions::Lease;
  sessions_.with(PostgresqlSessions::Use::Briefly, deadline, [&](Lease& lease) {
    lease.run(PostgresqlSessions::Doing::Reading, [&](pqxx::connection& connection) {
      pqxx::nontransaction(connection).exec("LISTEN " + connection.quote_name(channel_));
    });
    lease_.emplace(std::move(lease));
  });
}

bool PostgresqlListener::awaitNotification(Deadline deadline) {
  try {
    if (!lease_ || !lease_->whole()) {
      lease_.reset();
      listen(deadline);
      return true;  // nobody knows what was told meanwhile
    }
    return lease_->run(PostgresqlSessions::Doing::Reading, [&](pqxx::connection& connection) {
      const auto left =
          std::max<std::chrono::microseconds>(std::chrono::duration_cast<std::chrono::microseconds>(
                                                  deadline - std::chrono::steady_clock::now()),
                                              std::chrono::microseconds(0));
      return connection.await_notification(left.count() / 1'000'000, left.count() % 1'000'000) > 0;
    });
  } catch (const Unavailable&) {
    return true;  // the watch reads, and meets what is wrong
  }
}

}  // namespace penstock::state::datastore
