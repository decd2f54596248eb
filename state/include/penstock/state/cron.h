// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::state {

/// Minutes of the calendar, given as a line of cron: five fields, between blanks.
///
///     minute  hour  day-of-month  month  day-of-week
///     0-59    0-23  1-31          1-12   0-7 (0 and 7 are Sunday)
///
/// A field is a list of parts between commas; a part is `*`, a number, a range `1-5`, any of them
/// with a step (`*/15`, `8-18/2`; `5/15` is `5-59/15`). Months and days of the week also have names
/// of three letters, `JAN`, `mon`. When both day fields say something other than `*` or `*/step`, a
/// day that either of them names will do. Or, instead of all five: `@yearly` (`@annually`),
/// `@monthly`, `@weekly`, `@daily` (`@midnight`), `@hourly`.
///
/// The calendar is that of UTC, which knows no daylight saving: every hour comes once.
/// Threads: immutable after construction.
/// Errors: InvalidArgument, naming the field, for a text that is none of these, or that names no
/// day there ever is (30 February).
/// Cost: `next` goes from day to day; microseconds, and less than a millisecond for 29 February.
///
///     CronSchedule nights("30 2 * * MON-FRI");
///     std::int64_t due = nights.next(clock.wallMs());
class CronSchedule {
 public:
  explicit CronSchedule(std::string_view line);

  /// The first such minute that begins after `wallMs`. Both in ms since 1970-01-01 UTC.
  [[nodiscard]] std::int64_t next(std::int64_t wallMs) const;

 private:
  [[nodiscard]] bool hasDay(std::int64_t day) const;  // days since 1970-01-01
  [[nodiscard]] std::optional<std::int64_t> find(std::int64_t minute) const;

  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;    // 1 to 31
  std::bitset<13> months_;  // 1 to 12
  std::bitset<7> weekdays_;
  bool eitherDay_ = false;  // both day fields are restricted: one of them is enough
};

}  // namespace penstock::state
