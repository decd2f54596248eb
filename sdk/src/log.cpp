// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/log.h>
#include <penstock/state/file_system.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>

namespace penstock {

namespace {

constexpr std::string_view levelNames[] = {"debug", "info", "warning", "error"};

std::string isoTime(EventTime time) {
  std::int64_t seconds = time.ms / 1000;
  std::int64_t ms = time.ms % 1000;
  if (ms < 0) {
    ms += 1000;
    --seconds;
  }
  const std::time_t whole = seconds;
  std::tm parts{};
  gmtime_r(&whole, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     ms);
}

std::string environmentOr(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : otherwise;
}

/// The sink in use and the level, for the life of the process: events may come from threads that
/// outlive main's statics.
class Registry {
 public:
  static Registry& instance() {
    static auto* registry = new Registry;
    return *registry;
  }

  void replace(LogSink sink) {
    const std::lock_guard guard(mutex_);
    sink_ = std::make_shared<const LogSink>(std::move(sink));
  }
  [[nodiscard]] std::shared_ptr<const LogSink> sink() {
    const std::lock_guard guard(mutex_);
    return sink_;
  }

  std::atomic<LogLevel> level{LogLevel::Info};

 private:
  Registry() {
    // A bad variable must not end the program from within a log call: the default is used, and
    // says so. An Application refuses to start with it.
    std::string complaint;
    const auto read = [&](const char* variable, const char* otherwise, auto parse) {
      try {
        return parse(environmentOr(variable, otherwise));
      } catch (const Error& error) {
        complaint += fmt::format("{}environment variable {}: {}; taken as {}",
                                 complaint.empty() ? "" : "; ", variable, error.what(), otherwise);
        return parse(otherwise);
      }
    };
    const LogFormat format = read("PENSTOCK_LOG_FORMAT", "text", parseLogFormat);
    level = read("PENSTOCK_LOG_LEVEL", "info", parseLogLevel);
    sink_ = std::make_shared<const LogSink>(standardErrorSink(format));
    if (!complaint.empty()) {
      (*sink_)(LogEvent{LogLevel::Warning,
                        EventTime{state::Environment::real().clock->wallMs()},
                        "log",
                        complaint,
                        {}});
    }
  }

  std::mutex mutex_;
  std::shared_ptr<const LogSink> sink_;
};

std::string textLine(const LogEvent& event) {
  std::string line = isoTime(event.time);
  std::string level(levelNames[static_cast<std::size_t>(event.level)]);
  for (char& c : level) c = static_cast<char>(c - 'a' + 'A');
  line += fmt::format(" {:<7} {}: {}", level, event.component, event.message);
  for (const LogField& field : event.fields) {
    const bool plain =
        !field.value.empty() && field.value.find_first_of(" \"\t\n\r=") == std::string::npos;
    line += ' ' + field.name + '=' +
            (plain ? field.value
                   : nlohmann::json(field.value)
                         .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  // one event, one line: a message may hold anything
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return line;
}

std::string jsonLine(const LogEvent& event) {
  nlohmann::ordered_json line;
  line["time"] = isoTime(event.time);
  line["level"] = levelNames[static_cast<std::size_t>(event.level)];
  line["component"] = event.component;
  line["message"] = event.message;
  for (const LogField& field : event.fields) line[field.name] = field.value;
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void setLogSink(LogSink sink) { Registry::instance().replace(std::move(sink)); }

void setLogLevel(LogLevel level) { Registry::instance().level = level; }

bool logEnabled(LogLevel level) noexcept {
  return level >= Registry::instance().level.load(std::memory_order_relaxed);
}

LogSink standardErrorSink(LogFormat format) {
  return [format](const LogEvent& event) {
    const std::string line = formatLogEvent(event, format) + '\n';
    std::fwrite(line.data(), 1, line.size(), stderr);  // unbuffered: one write
  };
}

std::string formatLogEvent(const LogEvent& event, LogFormat format) {
  return format == LogFormat::Text ? textLine(event) : jsonLine(event);
}

void log(LogLevel level, std::string_view component, std::string_view message,
         std::initializer_list<LogField> fields) {
  if (!logEnabled(level)) return;
  const auto sink = Registry::instance().sink();
  if (!*sink) return;
  const EventTime now{state::Environment::real().clock->wallMs()};
  try {
    (*sink)(LogEvent{level, now, component, message, {fields.begin(), fields.size()}});
  } catch (...) {  // the sink is the user's: its failure must not become the library's
  }
}

LogFormat parseLogFormat(std::string_view name) {
  if (name == "text") return LogFormat::Text;
  if (name == "json") return LogFormat::JsonLines;
  throw ConfigurationError(fmt::format("'{}' is no log format: text or json", name));
}

LogLevel parseLogLevel(std::string_view name) {
  for (std::size_t i = 0; i < std::size(levelNames); ++i) {
    if (name == levelNames[i]) return static_cast<LogLevel>(i);
  }
  throw ConfigurationError(
      fmt::format("'{}' is no log level: debug, info, warning or error", name));
}

}  // namespace penstock
