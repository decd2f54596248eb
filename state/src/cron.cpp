// SPDX-License-Identifier: Apache-2.0
#include "penstock/state/cron.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "penstock/state/errors.h"

namespace penstock::state {

namespace {

using std::chrono::days;
using std::chrono::sys_days;

constexpr std::int64_t minutesPerDay = 24 * 60;
constexpr std::int64_t msPerMinute = 60'000;
// The calendar repeats itself after 400 years: what has not come by then never does.
constexpr std::int64_t daysMax = 146'097;

constexpr std::array<std::string_view, 12> monthNames{"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                                      "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr std::array<std::string_view, 7> weekdayNames{"SUN", "MON", "TUE", "WED",
                                                       "THU", "FRI", "SAT"};
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> macros{{
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
    {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"},
}};

struct Field {
  std::string_view name;
  unsigned first;
  unsigned last;
  std::span<const std::string_view> names;  // of `first` and those behind it
};

char upper(char letter) {
  return letter >= 'a' && letter <= 'z' ? static_cast<char>(letter - 'a' + 'A') : letter;
}

/// Parses one field into the numbers that it names.
class FieldParser {
 public:
  FieldParser(const Field& field, std::string_view text) : field_(field), text_(text) {}

  template <typename Numbers>
  void parse(Numbers& numbers) const {
    std::string_view left = text_;
    for (;;) {
      const std::size_t comma = std::min(left.find(','), left.size());
      for (const unsigned number : part(left.substr(0, comma))) numbers.set(number);
      if (comma == left.size()) return;
      left.remove_prefix(comma + 1);
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw InvalidArgument(fmt::format("cron: {} {:?}: {}", field_.name, text_, why));
  }
  std::vector<unsigned> part(std::string_view text) const {
    const std::size_t slash = text.find('/');
    unsigned step = 1;
    if (slash != std::string_view::npos) {
      step = number(text.substr(slash + 1));
      if (step == 0) refuse("a step is at least 1");
    }
    const std::string_view range = text.substr(0, slash);
    const std::size_t dash = range.find('-');
    unsigned first = field_.first;
    unsigned last = field_.last;
    if (range != "*") {
      first = value(range.substr(0, dash));
      if (dash != std::string_view::npos) {
        last = value(range.substr(dash + 1));
      } else if (slash == std::string_view::npos) {
        last = first;
      }
    }
    if (last == 0 && first > 0 && field_.last == 7) last = 7;  // SAT-SUN
    if (first > last) refuse(fmt::format("a range ends before it begins: {}", range));
    std::vector<unsigned> numbers;
    for (unsigned one = first; one <= last; one += step) numbers.push_back(one);
    return numbers;
  }
  unsigned value(std::string_view text) const {
    const auto same = [&](std::string_view name) {
      return std::equal(text.begin(), text.end(), name.begin(), name.end(),
                        [](char left, char right) { return upper(left) == right; });
    };
    const auto named = std::find_if(field_.names.begin(), field_.names.end(), same);
    const unsigned found = named == field_.names.end()
                               ? number(text)
                               : field_.first + static_cast<unsigned>(named - field_.names.begin());
    if (found < field_.first || found > field_.last) {
      refuse(fmt::format("{} is not within {} to {}", text, field_.first, field_.last));
    }
    return found;
  }
  unsigned number(std::string_view text) const {
    unsigned found = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), found);
    if (error != std::errc() || end != text.data() + text.size() || found > 1000) {
      refuse(text.empty() ? "a number is missing" : fmt::format("{:?} is no number", text));
    }
    return found;
  }

  const Field& field_;
  const std::string_view text_;
};

std::vector<std::string_view> words(std::string_view line) {
  constexpr std::string_view blanks = " \t";
  std::vector<std::string_view> found;
  for (std::size_t at = line.find_first_not_of(blanks); at != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(blanks, at), line.size());
    found.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(blanks, end);
  }
  return found;
}

}  // namespace

CronSchedule::CronSchedule(std::string_view line) {
  std::vector<std::string_view> fields = words(line);
  if (fields.size() == 1) {
    const auto* macro = std::find_if(macros.begin(), macros.end(),
                                     [&](const auto& one) { return one.first == fields[0]; });
    if (macro != macros.end()) fields = words(macro->second);
  }
  if (fields.size() != 5) {
    throw InvalidArgument(fmt::format(
        "cron: {:?} has {} fields; it takes minute, hour, day of month, month and day of week, or "
        "@hourly, @daily, @weekly, @monthly or @yearly",
        line, fields.size()));
  }
  std::bitset<8> weekdays;
  FieldParser({"minute", 0, 59, {}}, fields[0]).parse(minutes_);
  FieldParser({"hour", 0, 23, {}}, fields[1]).parse(hours_);
  FieldParser({"day of month", 1, 31, {}}, fields[2]).parse(days_);
  FieldParser({"month", 1, 12, monthNames}, fields[3]).parse(months_);
  FieldParser({"day of week", 0, 7, weekdayNames}, fields[4]).parse(weekdays);
  for (std::size_t day = 0; day < weekdays.size(); ++day) {
    if (weekdays[day]) weekdays_.set(day % 7);
  }
  eitherDay_ = fields[2][0] != '*' && fields[4][0] != '*';
  if (!find(0)) {
    throw InvalidArgument(fmt::format("cron: {:?} names a day that never comes", line));
  }
}

bool CronSchedule::hasDay(std::int64_t day) const {
  const sys_days date{days(day)};
  const std::chrono::year_month_day calendar(date);
  if (!months_[static_cast<unsigned>(calendar.month())]) return false;
  const bool ofMonth = days_[static_cast<unsigned>(calendar.day())];
  const bool ofWeek = weekdays_[std::chrono::weekday(date).c_encoding()];
  return eitherDay_ ? ofMonth || ofWeek : ofMonth && ofWeek;
}

// The first one at or behind `minute`, in minutes since 1970-01-01.
std::optional<std::int64_t> CronSchedule::find(std::int64_t minute) const {
  const std::int64_t firstDay = std::chrono::floor<days>(std::chrono::minutes(minute)).count();
  auto from = static_cast<std::size_t>(minute - firstDay * minutesPerDay);
  for (std::int64_t day = firstDay; day <= firstDay + daysMax; ++day, from = 0) {
    if (!hasDay(day)) continue;
    for (std::size_t hour = from / 60; hour < hours_.size(); ++hour) {
      if (!hours_[hour]) continue;
      for (std::size_t at = hour == from / 60 ? from % 60 : 0; at < minutes_.size(); ++at) {
        if (minutes_[at]) {
          return day * minutesPerDay + static_cast<std::int64_t>(hour * 60 + at);
        }
      }
    }
  }
  return std::nullopt;
}

std::int64_t CronSchedule::next(std::int64_t wallMs) const {
  using std::chrono::milliseconds;
  const auto minute = std::chrono::floor<std::chrono::minutes>(milliseconds(wallMs)).count();
  return find(minute + 1).value() * msPerMinute;  // the constructor found one
}

}  // namespace penstock::state
