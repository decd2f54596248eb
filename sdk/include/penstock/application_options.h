// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace penstock {

/// What a crash may do to outputs and state.
enum class Guarantee : std::uint8_t {
  ExactlyOnce,  // each input record has its effect once, on state and outputs
  AtLeastOnce,  // state is exact per task; outputs may repeat (Kafka). On files: as ExactlyOnce
};

/// What becomes of a record that cannot be decoded or processed.
enum class ErrorPolicy : std::uint8_t {
  Fail,        // the application stops; run() throws RecordError
  Skip,        // counted (ApplicationMetrics::skipped), logged, passed over
  DeadLetter,  // written to `deadLetterTopic` with the reason in headers, in the same commit
};

namespace detail {
// Values of options that the program does not set; a variable that cannot be read throws
// ConfigurationError naming it, its value and what it may be.
std::string environmentText(const char* variable, const char* otherwise);
std::int64_t environmentNumber(const char* variable, std::int64_t otherwise, std::int64_t least,
                               std::int64_t most);
bool environmentBool(const char* variable, bool otherwise);
std::size_t environmentChoice(const char* variable, const char* choices, std::size_t otherwise);
/// "name=value;name=value": values may hold anything but a semicolon.
std::map<std::string, std::string> environmentPairs(const char* variable);
inline std::chrono::milliseconds environmentMs(const char* variable, std::int64_t otherwise) {
  return std::chrono::milliseconds(environmentNumber(variable, otherwise, 0, 86'400'000));
}
}  // namespace detail

/// How an Application runs.
///
/// What the program sets counts; what it does not set comes from the variable named behind each
/// field, read when the struct is made; else the default. Errors: ConfigurationError.
///
///     Application application({.id = "wordcount", .broker = "file:///var/lib/words"});
struct ApplicationOptions {
  // Changes behaviour.

  /// Consumer group and prefix of everything internal. Required; as topic names, at most 100
  /// bytes. PENSTOCK_APPLICATION_ID
  std::string id = detail::environmentText("PENSTOCK_APPLICATION_ID", "");
  /// Where the topics are: file:///dir, a path, or kafka://host:port[,host:port]. Required.
  /// PENSTOCK_BROKER
  std::string broker = detail::environmentText("PENSTOCK_BROKER", "");
  /// Inputs that are topics of another directory than `broker`: by topic, that directory's
  /// address. Such a topic is read up to what is on disk there. Files only.
  /// PENSTOCK_INPUT_ADDRESSES, as topic=address;topic=address
  std::map<std::string, std::string> inputAddresses =
      detail::environmentPairs("PENSTOCK_INPUT_ADDRESSES");
  /// Where stores live on Kafka. On files they live in the broker's directory.
  /// PENSTOCK_STATE_DIR
  std::string stateDirectory = detail::environmentText("PENSTOCK_STATE_DIR", "./state");
  /// exactly-once or at-least-once. PENSTOCK_GUARANTEE
  Guarantee guarantee = static_cast<Guarantee>(
      detail::environmentChoice("PENSTOCK_GUARANTEE", "exactly-once|at-least-once", 0));
  /// Of commits on files: synced (power loss takes back nothing that was committed) or buffered
  /// (it may take back the newest commits, whole, with what they came from).
  /// PENSTOCK_DURABILITY
  state::Durability durability = static_cast<state::Durability>(
      detail::environmentChoice("PENSTOCK_DURABILITY", "synced|buffered", 0));
  /// fail, skip or dead-letter. PENSTOCK_ERROR_POLICY
  ErrorPolicy errorPolicy = static_cast<ErrorPolicy>(
      detail::environmentChoice("PENSTOCK_ERROR_POLICY", "fail|skip|dead-letter", 0));
  /// Required for ErrorPolicy::DeadLetter. PENSTOCK_DEAD_LETTER_TOPIC
  std::string deadLetterTopic = detail::environmentText("PENSTOCK_DEAD_LETTER_TOPIC", "");
  /// End when all partitions were read to the end they had at start and everything derived from
  /// them is committed. PENSTOCK_UNTIL_END
  bool untilEnd = detail::environmentBool("PENSTOCK_UNTIL_END", false);
  /// SIGTERM and SIGINT commit and end run(). PENSTOCK_HANDLE_SIGNALS
  bool handleSignals = detail::environmentBool("PENSTOCK_HANDLE_SIGNALS", true);
  /// How long stopping may take before run() gives up on it; what was not committed by then is
  /// processed again at the next start. PENSTOCK_STOP_TIMEOUT_MS
  std::chrono::milliseconds stopTimeout = detail::environmentMs("PENSTOCK_STOP_TIMEOUT_MS", 10'000);
  /// How long a task with several inputs waits for the one that has nothing, before it goes on
  /// with the others out of order of time. PENSTOCK_MAX_TASK_IDLE_MS
  std::chrono::milliseconds maxTaskIdle = detail::environmentMs("PENSTOCK_MAX_TASK_IDLE_MS", 0);

  // Changes performance.

  /// Threads, each with tasks of its own. PENSTOCK_WORKERS
  std::int64_t workers = detail::environmentNumber("PENSTOCK_WORKERS", 1, 1, 1024);
  /// Time between commits; longer when syncs don't keep up. PENSTOCK_COMMIT_INTERVAL_MS
  std::chrono::milliseconds commitInterval =
      detail::environmentMs("PENSTOCK_COMMIT_INTERVAL_MS", 100);
  /// Commit also after so many records of a worker; 0: no bound. PENSTOCK_COMMIT_RECORDS_MAX
  std::int64_t commitRecordsMax =
      detail::environmentNumber("PENSTOCK_COMMIT_RECORDS_MAX", 0, 0, INT64_MAX);
  /// Commit also when outputs waiting for it reach so many bytes: what a commit may hold in
  /// memory. PENSTOCK_COMMIT_BYTES_MAX
  std::int64_t commitBytesMax =
      detail::environmentNumber("PENSTOCK_COMMIT_BYTES_MAX", 4 << 20, 1, INT64_MAX);
  /// librdkafka settings, passed through: security and all else by its names.
  /// PENSTOCK_KAFKA, as name=value;name=value
  std::map<std::string, std::string> kafka = detail::environmentPairs("PENSTOCK_KAFKA");
};

/// Throws ConfigurationError naming the option and what it may be.
void checkOptions(const ApplicationOptions& options);

}  // namespace penstock
