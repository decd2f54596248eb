// SPDX-License-Identifier: Apache-2.0
#include "shared_autosave.h"

#include <algorithm>
#include <utility>

#include "penstock/state/errors.h"

namespace penstock::state {

namespace {

using std::chrono::microseconds;

// Before a save that failed is tried again because of what it did not save.
constexpr std::chrono::milliseconds pause = std::chrono::seconds(1);
// The wall clock may jump: who waits for a minute of it looks again so often.
constexpr microseconds lookAgain = std::chrono::seconds(10);

std::int64_t usOf(std::chrono::milliseconds time) { return microseconds(time).count(); }

std::optional<CronSchedule> cronOf(const std::string& line) {
  if (line.empty()) return std::nullopt;
  return CronSchedule(line);
}

void check(const AutosaveOptions& options) {
  if (options.path.empty()) throw InvalidArgument("autosave: the path is empty; name a file");
  const auto zero = std::chrono::milliseconds(0);
  if (options.interval < zero || options.interval > std::chrono::years(100)) {
    throw InvalidArgument("autosave: the interval must be 0, for none, or up to 100 years");
  }
  if (options.afterChange &&
      (*options.afterChange < zero || *options.afterChange > std::chrono::years(100))) {
    throw InvalidArgument("autosave: afterChange must be from 0 up to 100 years");
  }
  if (options.interval == zero && options.cron.empty() && !options.afterChange &&
      !options.atShutdown) {
    throw InvalidArgument(
        "autosave: there is no occasion; give an interval, a cron line, afterChange or atShutdown");
  }
}

}  // namespace

SharedAutosave::SharedAutosave(const AutosaveOptions& options, const Environment& environment,
                               ChangeSignal& changes, std::function<void()> save)
    : options_((check(options), options)),
      environment_(environment),
      changes_(changes),
      save_(std::move(save)),
      cron_(cronOf(options.cron)) {
  intervalDueUs_ = environment_.clock->monotonicUs() + usOf(options_.interval);
  if (cron_) cronDueMs_ = cron_->next(environment_.clock->wallMs());
  const bool any = options_.interval.count() > 0 || cron_ || options_.afterChange;
  if (any && environment_.threads) thread_ = std::thread([this] { run(); });
}

void SharedAutosave::stop() {
  stopping_ = true;
  changes_.wake();
  if (thread_.joinable()) thread_.join();
}

AutosaveStatus SharedAutosave::status() const {
  const std::lock_guard guard(mutex_);
  return status_;
}

void SharedAutosave::run() {
  while (!stopping_) {
    changes_.waitFor(untilDue(), [&] {
      return stopping_ || (options_.afterChange && !changeDueUs_ && changes_.raised());
    });
    if (!stopping_) tick();
  }
}

microseconds SharedAutosave::untilDue() const {
  microseconds wait = std::chrono::hours(24);  // nothing but changes and the end to wait for
  const std::int64_t now = environment_.clock->monotonicUs();
  const auto until = [&](std::int64_t dueUs) {
    wait = std::min(wait, std::max(microseconds(dueUs - now), microseconds(0)));
  };
  if (options_.interval.count() > 0) until(intervalDueUs_);
  if (changeDueUs_) until(*changeDueUs_);
  if (cron_) {
    until(now + std::min(usOf(std::chrono::milliseconds(cronDueMs_ - environment_.clock->wallMs())),
                         lookAgain.count()));
  }
  return wait;
}

bool SharedAutosave::isDue() {
  const std::int64_t now = environment_.clock->monotonicUs();
  bool due = false;
  if (options_.interval.count() > 0 && now >= intervalDueUs_) {
    intervalDueUs_ = now + usOf(options_.interval);
    due = true;
  }
  if (cron_) {
    const std::int64_t wall = environment_.clock->wallMs();
    const std::int64_t next = cron_->next(wall);
    if (wall >= cronDueMs_) due = true;
    if (wall >= cronDueMs_ || next < cronDueMs_) cronDueMs_ = next;  // or the clock went back
  }
  if (options_.afterChange && changes_.raised()) {
    if (!changeDueUs_) changeDueUs_ = now + usOf(*options_.afterChange);
    if (now >= *changeDueUs_) due = true;
  }
  if (due) changeDueUs_.reset();
  return due;
}

void SharedAutosave::tick() {
  if (!isDue()) return;
  try {
    saveNow(save_);
  } catch (const std::exception& error) {
    changeDueUs_ = environment_.clock->monotonicUs() +
                   usOf(std::max(options_.afterChange.value_or(pause), pause));
    if (!options_.onFailure) return;
    try {
      options_.onFailure(error);
    } catch (const std::exception&) {  // the status has what it was told
    }
  }
}

void SharedAutosave::saveNow(const std::function<void()>& save) {
  if (!changes_.take() && savedOnce_) return;
  try {
    save();
    savedOnce_ = true;
    const std::lock_guard guard(mutex_);
    ++status_.saves;
    status_.lastFailure.clear();
  } catch (const std::exception& error) {
    changes_.raise();
    const std::lock_guard guard(mutex_);
    ++status_.failures;
    status_.lastFailure = error.what();
    throw;
  }
}

}  // namespace penstock::state
