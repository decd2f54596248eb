// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <penstock/application_options.h>
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "topics/transport.h"

namespace penstock {
namespace detail {
namespace {

/// Null when the variable is not set. An empty one counts as set: it is a mistake worth naming.
const char* variableOrNull(const char* variable) { return std::getenv(variable); }

[[noreturn]] void bad(const char* variable, std::string_view value, std::string_view expected) {
  throw ConfigurationError(
      fmt::format("environment variable {}=\"{}\": expected {}", variable, value, expected));
}

}  // namespace

std::string environmentText(const char* variable, const char* otherwise) {
  const char* value = variableOrNull(variable);
  return value != nullptr ? value : otherwise;
}

std::int64_t environmentNumber(const char* variable, std::int64_t otherwise, std::int64_t least,
                               std::int64_t most) {
  const char* text = variableOrNull(variable);
  if (text == nullptr) return otherwise;
  const std::string_view value(text);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size() || number < least ||
      number > most) {
    bad(variable, value,
        most == INT64_MAX ? fmt::format("a whole number of at least {}", least)
                          : fmt::format("a whole number from {} to {}", least, most));
  }
  return number;
}

bool environmentBool(const char* variable, bool otherwise) {
  const char* text = variableOrNull(variable);
  if (text == nullptr) return otherwise;
  const std::string_view value(text);
  if (value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  bad(variable, value, "true, 1, false or 0");
}

std::size_t environmentChoice(const char* variable, const char* choices, std::size_t otherwise) {
  const char* text = variableOrNull(variable);
  if (text == nullptr) return otherwise;
  std::string_view left(choices);
  for (std::size_t index = 0;; ++index) {
    const std::size_t bar = left.find('|');
    if (left.substr(0, bar) == text) return index;
    if (bar == std::string_view::npos) break;
    left.remove_prefix(bar + 1);
  }
  std::string expected(choices);
  std::replace(expected.begin(), expected.end(), '|', '/');
  bad(variable, text, "one of " + expected);
}

std::map<std::string, std::string> environmentPairs(const char* variable) {
  std::map<std::string, std::string> pairs;
  const char* text = variableOrNull(variable);
  if (text == nullptr) return pairs;
  for (std::string_view left(text); !left.empty();) {
    const std::string_view pair = left.substr(0, left.find(';'));
    left.remove_prefix(std::min(left.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string_view::npos) {
      // Not its value: there may be a password in it.
      throw ConfigurationError(fmt::format(
          "environment variable {}: expected name=value;name=value, but {} has no {}", variable,
          pairs.empty() ? std::string("its first part")
                        : fmt::format("what follows {}", pairs.rbegin()->first),
          equals == 0 ? "name" : "'='"));
    }
    pairs[std::string(pair.substr(0, equals))] = pair.substr(equals + 1);
  }
  return pairs;
}

}  // namespace detail

namespace {

[[noreturn]] void refuse(std::string_view option, std::string_view message) {
  throw ConfigurationError(fmt::format("ApplicationOptions::{}: {}", option, message));
}

void checkRange(std::string_view option, std::int64_t value, std::int64_t least,
                std::int64_t most) {
  if (value < least || value > most) {
    refuse(option, fmt::format("{} is not in {} .. {}", value, least, most));
  }
}

}  // namespace

void checkOptions(const ApplicationOptions& options) {
  constexpr std::int64_t dayMs = 86'400'000;
  // No options of ours, but a mistake in them is worth as much: the log itself may only warn.
  (void)detail::environmentChoice("PENSTOCK_LOG_LEVEL", "debug|info|warning|error", 0);
  (void)detail::environmentChoice("PENSTOCK_LOG_FORMAT", "text|json", 0);
  if (options.id.empty()) {
    refuse("id",
           "an application needs an id, the name of its group and of its internal topics "
           "(or set PENSTOCK_APPLICATION_ID)");
  }
  if (options.id.size() > 100) refuse("id", "longer than 100 bytes");
  try {
    topics::checkTopicName(options.id);
  } catch (const ConfigurationError& error) {
    refuse("id", error.what());
  }
  if (options.id == "group") {
    refuse("id", "\"group\" is taken: names of what consumer groups keep begin with it");
  }
  if (options.stateDirectory.empty()) {
    refuse("stateDirectory",
           "empty, which would be the root directory (PENSTOCK_STATE_DIR set to nothing?); \".\" "
           "is the working directory");
  }
  if (options.broker.empty()) {
    refuse("broker",
           "where are the topics? Give file:///dir or kafka://host:port (or set "
           "PENSTOCK_BROKER)");
  }
  checkRange("workers", options.workers, 1, 1024);
  checkRange("commitInterval", options.commitInterval.count(), 0, dayMs);
  checkRange("stopTimeout", options.stopTimeout.count(), 0, dayMs);
  checkRange("maxTaskIdle", options.maxTaskIdle.count(), 0, dayMs);
  checkRange("commitRecordsMax", options.commitRecordsMax, 0, INT64_MAX);
  checkRange("commitBytesMax", options.commitBytesMax, 1, INT64_MAX);
  if (options.errorPolicy == ErrorPolicy::DeadLetter) {
    if (options.deadLetterTopic.empty()) {
      refuse("deadLetterTopic",
             "needed by ErrorPolicy::DeadLetter (or set "
             "PENSTOCK_DEAD_LETTER_TOPIC)");
    }
    topics::checkTopicName(options.deadLetterTopic);
  }
}

}  // namespace penstock
