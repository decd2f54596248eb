// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

/// What the library has to say while it works: through one sink that a program may replace. It
/// prints nowhere else.
namespace penstock {

/// How much a log event matters.
enum class LogLevel : std::uint8_t { Debug, Info, Warning, Error };

/// A named value of a log event.
struct LogField {
  std::string name;
  std::string value;
};

/// One thing that happened. The views are valid during the call of the sink.
struct LogEvent {
  LogLevel level = LogLevel::Info;
  EventTime time;
  std::string_view component;  // "kafka", "file", "runtime", ...
  std::string_view message;
  std::span<const LogField> fields;
};

/// How an event becomes a line.
enum class LogFormat : std::uint8_t {
  Text,       // 2026-01-31T12:00:00.000Z INFO  kafka: joined group=g members=2
  JsonLines,  // {"time":"...","level":"info","component":"kafka","message":"joined","group":"g"}
};

/// Gets every event at or above the log level, from any thread, several at a time. Must not
/// throw and must not call back into the library.
using LogSink = std::function<void(const LogEvent&)>;

/// Replaces the sink for the whole process; an empty one silences the library. Without a call
/// events go to standard error, at the level `$PENSTOCK_LOG_LEVEL` (debug, info, warning, error;
/// default info) in the format `$PENSTOCK_LOG_FORMAT` (text, json; default text). Other values are
/// refused by an Application; else they are said in the log and the defaults used.
///
/// Threads: safe from any thread. A call of the old sink may still be under way on return.
void setLogSink(LogSink sink);

/// Events below it are not made. Safe from any thread.
void setLogLevel(LogLevel level);
/// Cheap: for skipping the making of costly fields. Safe from any thread.
[[nodiscard]] bool logEnabled(LogLevel level) noexcept;

/// Writes each event to standard error as one line in one write.
[[nodiscard]] LogSink standardErrorSink(LogFormat format);
/// The line without its newline.
[[nodiscard]] std::string formatLogEvent(const LogEvent& event, LogFormat format);

/// Hands one event to the sink. Safe from any thread; never throws for what a sink does wrong.
void log(LogLevel level, std::string_view component, std::string_view message,
         std::initializer_list<LogField> fields = {});

/// "text" or "json"; "debug", "info", "warning" or "error". Else ConfigurationError.
[[nodiscard]] LogFormat parseLogFormat(std::string_view name);
[[nodiscard]] LogLevel parseLogLevel(std::string_view name);

}  // namespace penstock
