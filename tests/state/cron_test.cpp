// SPDX-License-Identifier: Apache-2.0
//
// Goal: a line of cron names the minutes that its fields say, and no others. Method: known dates,
// and random fields against a walk over every minute by the C library's calendar.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/cron.h>
#include <penstock/state/errors.h>

#include <ctime>
#include <random>
#include <set>

#include "support/message_of.h"
#include "support/test_seed.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::testSeed;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::int64_t msOf(const std::string& time) {
  std::tm parts{};
  EXPECT_NE(::strptime(time.c_str(), "%Y-%m-%d %H:%M:%S", &parts), nullptr) << time;
  return std::int64_t{::timegm(&parts)} * 1000;
}

std::string textOf(std::int64_t ms) {
  const std::time_t seconds = ms / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  EXPECT_NE(std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts), 0U);
  return text;
}

std::vector<std::string> after(const std::string& time, const std::string& line, int count = 3) {
  const CronSchedule schedule(line);
  std::vector<std::string> found;
  std::int64_t at = msOf(time);
  for (int i = 0; i < count; ++i) {
    at = schedule.next(at);
    EXPECT_EQ(at % 60'000, 0);
    found.push_back(textOf(at));
  }
  return found;
}

TEST(CronSchedule, NamesTheMinutesThatItsFieldsSay) {
  const std::string start = "2026-01-01 00:00:00";  // a Thursday
  EXPECT_THAT(after(start, "* * * * *"),
              ElementsAre("2026-01-01 00:01", "2026-01-01 00:02", "2026-01-01 00:03"));
  EXPECT_THAT(after(start, "*/25 * * * *"),
              ElementsAre("2026-01-01 00:25", "2026-01-01 00:50", "2026-01-01 01:00"));
  EXPECT_THAT(after(start, "5,10-11 3 * * *"),
              ElementsAre("2026-01-01 03:05", "2026-01-01 03:10", "2026-01-01 03:11"));
  EXPECT_THAT(after(start, "40/10 8-20/6 * * *"),
              ElementsAre("2026-01-01 08:40", "2026-01-01 08:50", "2026-01-01 14:40"));
  EXPECT_THAT(after(start, "0 0 * * MON-wed"),
              ElementsAre("2026-01-05 00:00", "2026-01-06 00:00", "2026-01-07 00:00"));
  EXPECT_THAT(after(start, "0 0 * * 7"),
              ElementsAre("2026-01-04 00:00", "2026-01-11 00:00", "2026-01-18 00:00"));
  EXPECT_EQ(after(start, "0 0 * * sat-SUN"), after(start, "0 0 * * 6,0"));
  EXPECT_THAT(after(start, "0 12 1 feb,Apr *"),
              ElementsAre("2026-02-01 12:00", "2026-04-01 12:00", "2027-02-01 12:00"));
}

TEST(CronSchedule, EitherDayWillDoWhenBothAreNamed) {
  const std::string start = "2026-01-01 00:00:00";
  EXPECT_THAT(
      after(start, "0 0 5,20 * FRI", 4),
      ElementsAre("2026-01-02 00:00", "2026-01-05 00:00", "2026-01-09 00:00", "2026-01-16 00:00"));
  // A star, stepped or not, restricts nothing by itself: both must hold.
  EXPECT_THAT(after(start, "0 0 */2 * FRI"),
              ElementsAre("2026-01-09 00:00", "2026-01-23 00:00", "2026-02-13 00:00"));
}

TEST(CronSchedule, GoesOverTheEndsOfMonthsAndYears) {
  EXPECT_THAT(after("2026-01-30 23:59:30", "0 0 31 * *"),
              ElementsAre("2026-01-31 00:00", "2026-03-31 00:00", "2026-05-31 00:00"));
  EXPECT_THAT(after("2026-12-31 23:59:59", "* * * * *", 1), ElementsAre("2027-01-01 00:00"));
  EXPECT_THAT(after("2026-02-28 23:59:00", "30 4 1 * *", 1), ElementsAre("2026-03-01 04:30"));
}

TEST(CronSchedule, FindsLeapDays) {
  EXPECT_THAT(after("2026-01-01 00:00:00", "0 0 29 2 *"),
              ElementsAre("2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"));
  EXPECT_THAT(after("2096-03-01 00:00:00", "0 0 29 2 *", 1), ElementsAre("2104-02-29 00:00"));
  // 29 February on a Sunday
  EXPECT_THAT(after("2026-01-01 00:00:00", "0 0 29 2 */7", 2),
              ElementsAre("2032-02-29 00:00", "2060-02-29 00:00"));
}

TEST(CronSchedule, IsStrictlyLaterAndMayBeAskedForAnyTime) {
  const CronSchedule hourly("@hourly");
  const std::int64_t hour = msOf("2026-01-01 05:00:00");
  EXPECT_EQ(hourly.next(hour - 1), hour);
  EXPECT_EQ(hourly.next(hour), hour + 3'600'000);
  EXPECT_EQ(hourly.next(hour + 1), hour + 3'600'000);
  EXPECT_EQ(hourly.next(hour + 59'999), hour + 3'600'000);
  EXPECT_THAT(after("1969-07-20 20:17:40", "0 0 1 1 *", 1), ElementsAre("1970-01-01 00:00"));
}

TEST(CronSchedule, HasShortFormsForWhatIsCommon) {
  const std::string start = "2026-01-01 00:00:00";
  EXPECT_EQ(after(start, "@hourly"), after(start, "0 * * * *"));
  EXPECT_EQ(after(start, "@daily"), after(start, "0 0 * * *"));
  EXPECT_EQ(after(start, "@midnight"), after(start, "\t0 0  * * *  "));
  EXPECT_EQ(after(start, "@weekly"), after(start, "0 0 * * SUN"));
  EXPECT_EQ(after(start, "@monthly"), after(start, "0 0 1 * *"));
  EXPECT_EQ(after(start, "@yearly"), after(start, "0 0 1 JAN *"));
  EXPECT_EQ(after(start, "@annually"), after(start, "@yearly"));
}

TEST(CronSchedule, WhatItCannotReadIsRefusedByItsField) {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"", "0 fields"},
      {"* * * *", "4 fields"},
      {"* * * * * *", "6 fields"},
      {"@reboot", "1 fields"},
      {"60 * * * *", "minute \"60\": 60 is not within 0 to 59"},
      {"-1 * * * *", "minute \"-1\": a number is missing"},
      {"* 24 * * *", "hour"},
      {"* * 0 * *", "day of month"},
      {"* * 32 * *", "day of month"},
      {"* * * 13 *", "month"},
      {"* * * * 8", "day of week"},
      {"* * * MON *", "month \"MON\": \"MON\" is no number"},
      {"5-1 * * * *", "a range ends before it begins: 5-1"},
      {"*/0 * * * *", "a step is at least 1"},
      {"*/ * * * *", "a number is missing"},
      {"1,,2 * * * *", "a number is missing"},
      {"1-2-3 * * * *", "\"2-3\" is no number"},
      {"1/2/3 * * * *", "\"2/3\" is no number"},
      {"99999999999999999999 * * * *", "is no number"},
      {"+1 * * * *", "is no number"},
      {"0 0 30 2 *", "a day that never comes"},
      {"0 0 31 4,6,9,11 *", "a day that never comes"},
  };
  for (const auto& [line, says] : wrong) {
    EXPECT_THAT(messageOf<InvalidArgument>([&] { const CronSchedule schedule(line); }),
                HasSubstr(says))
        << line;
  }
}

TEST(CronSchedule, AgreesWithAWalkOverEveryMinute) {
  std::mt19937 random(testSeed());
  const auto pick = [&](int first, int last) {
    return std::uniform_int_distribution<int>(first, last)(random);
  };
  for (int round = 0; round < 200; ++round) {
    // A field: all of it, or some numbers.
    const auto field = [&](int first, int last, std::set<int>& numbers) -> std::string {
      if (pick(0, 2) == 0) {
        for (int i = first; i <= last; ++i) numbers.insert(i);
        return "*";
      }
      std::string text;
      for (int i = pick(1, 4); i > 0; --i) {
        const int number = pick(first, last);
        numbers.insert(number);
        text += (text.empty() ? "" : ",") + std::to_string(number);
      }
      return text;
    };
    std::set<int> minutes, hours, days, months, weekdays;
    const std::string dayField = field(1, 28, days);
    if (dayField == "*") days.insert({29, 30, 31});
    const std::string weekdayField = field(0, 6, weekdays);
    const std::string line = field(0, 59, minutes) + ' ' + field(0, 23, hours) + ' ' + dayField +
                             ' ' + field(1, 12, months) + ' ' + weekdayField;
    const CronSchedule schedule(line);
    const bool either = dayField != "*" && weekdayField != "*";
    const std::int64_t start = msOf("2024-01-01 00:00:00") + pick(0, 3 * 365 * 24 * 60) * 60'000LL;
    std::int64_t expected = start;
    for (;;) {
      expected += 60'000;
      const std::time_t seconds = expected / 1000;
      std::tm parts{};
      ::gmtime_r(&seconds, &parts);
      const bool day = days.contains(parts.tm_mday);
      const bool weekday = weekdays.contains(parts.tm_wday);
      if (months.contains(parts.tm_mon + 1) && (either ? day || weekday : day && weekday) &&
          hours.contains(parts.tm_hour) && minutes.contains(parts.tm_min)) {
        break;
      }
    }
    ASSERT_EQ(textOf(schedule.next(start)), textOf(expected)) << line << " after " << textOf(start);
  }
}

}  // namespace
}  // namespace penstock::state
