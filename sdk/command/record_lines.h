// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.h>
#include <penstock/record.h>

#include <cstdint>
#include <istream>
#include <optional>
#include <string>

/// Records as text, one per line, as `penstock topics produce` reads and `consume` writes them.
namespace penstock::command {

enum class LineFormat : std::uint8_t {
  Lines,  // the value alone; an absent one is an empty line
  Csv,    // RFC 4180: key,value[,timestamp]; an empty field is absent, a quoted empty one is empty
  Json,   // {"key":…,"value":…,"timestamp":ms,"headers":[…],"partition":n}
};

/// A record read from text. What is absent was not said.
struct ParsedRecord {
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::optional<EventTime> timestamp;
  std::optional<PartitionIndex> partition;
  std::vector<Header> headers;
};

/// Reads records one after the other.
///
/// Threads: owned by one thread.
/// Errors: Error with code FixData, naming the line.
class RecordLineReader {
 public:
  RecordLineReader(std::istream& input, LineFormat format) : input_(input), format_(format) {}
  /// Nullopt at the end.
  std::optional<ParsedRecord> next();

 private:
  [[noreturn]] void refuse(const std::string& why) const;
  ParsedRecord parseCsv(std::string line);
  ParsedRecord parseJson(const std::string& line);
  bool readLine(std::string& line);

  std::istream& input_;
  const LineFormat format_;
  std::uint64_t line_ = 0;
};

/// Appends the record with its newline. Bytes that are no UTF-8 become {"base64":"…"} in JSON,
/// and go out as they are otherwise.
void appendRecordLine(const TopicPartition& source, const RecordView& record, LineFormat format,
                      std::string& out);

}  // namespace penstock::command
