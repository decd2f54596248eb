// SPDX-License-Identifier: Apache-2.0
#include "record_lines.h"

#include <fmt/format.h>
#include <penstock/state/detail/base64.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

namespace penstock::command {

namespace {

using Json = nlohmann::ordered_json;

/// A string, null, or {"base64": "..."}; false when it is none of them.
bool bytesOf(const Json& json, std::optional<std::string>& bytes) {
  if (json.is_null()) {
    bytes.reset();
  } else if (json.is_string()) {
    bytes = json.get<std::string>();
  } else if (json.is_object() && json.size() == 1 && json.contains("base64") &&
             json["base64"].is_string()) {
    bytes = state::detail::base64Decoded(json["base64"].get<std::string>());
    return bytes.has_value();
  } else {
    return false;
  }
  return true;
}

Json jsonOf(const std::optional<std::string_view>& bytes) {
  if (!bytes) return nullptr;
  Json text = *bytes;
  try {
    (void)text.dump();
    return text;
  } catch (const Json::type_error&) {  // no UTF-8
    return Json{{"base64", state::detail::base64Encoded(*bytes)}};
  }
}

void appendCsvField(const std::optional<std::string_view>& field, std::string& out) {
  if (!field) return;
  if (!field->empty() && field->find_first_of(",\"\r\n") == std::string_view::npos) {
    out += *field;
    return;
  }
  out += '"';
  for (const char c : *field) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

template <typename Number>
bool parseNumber(std::string_view text, Number& number) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  return parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
}

}  // namespace

void RecordLineReader::refuse(const std::string& why) const {
  throw Error(ErrorCode::FixData, fmt::format("input line {}: {}", line_, why));
}

bool RecordLineReader::readLine(std::string& line) {
  if (!std::getline(input_, line)) {
    if (input_.bad()) throw Error(ErrorCode::Retry, "reading standard input failed");
    return false;
  }
  ++line_;
  return true;
}

std::optional<ParsedRecord> RecordLineReader::next() {
  std::string line;
  while (readLine(line)) {
    if (format_ == LineFormat::Lines) {
      ParsedRecord record;
      record.value = std::move(line);
      return record;
    }
    if (line.empty() || line == "\r") continue;
    return format_ == LineFormat::Csv ? parseCsv(std::move(line)) : parseJson(line);
  }
  return std::nullopt;
}

ParsedRecord RecordLineReader::parseCsv(std::string line) {
  std::vector<std::optional<std::string>> fields;
  std::size_t at = 0;
  const auto endOfLine = [&] {
    return at == line.size() || (at + 1 == line.size() && line[at] == '\r');
  };
  while (true) {
    std::optional<std::string>& field = fields.emplace_back();
    if (at < line.size() && line[at] == '"') {
      field.emplace();
      for (++at;; ++at) {
        if (at == line.size()) {  // a quoted field may go on in the next line
          std::string more;
          if (!readLine(more)) refuse("a quoted field is never closed");
          line += '\n' + more;
        }
        if (line[at] != '"') {
          *field += line[at];
        } else if (at + 1 < line.size() && line[at + 1] == '"') {
          *field += line[at++];
        } else {
          break;
        }
      }
      ++at;
      if (!endOfLine() && line[at] != ',') refuse("text stands behind the closing quote");
    } else {
      std::size_t end = line.find(',', at);
      if (end == std::string::npos) end = line.ends_with('\r') ? line.size() - 1 : line.size();
      const std::string text = line.substr(at, end - at);
      if (text.find('"') != std::string::npos) refuse("a quote inside a field without quotes");
      if (!text.empty()) field = text;
      at = end;
    }
    if (endOfLine()) break;
    ++at;  // the comma
  }
  if (fields.size() < 2 || fields.size() > 3) {
    refuse(fmt::format("{} fields, expected key,value or key,value,timestamp", fields.size()));
  }
  ParsedRecord record;
  record.key = std::move(fields[0]);
  record.value = std::move(fields[1]);
  if (fields.size() == 3 && fields[2]) {
    std::int64_t ms = 0;
    if (!parseNumber(*fields[2], ms)) {
      refuse(fmt::format("'{}' is not a timestamp (milliseconds since 1970)", *fields[2]));
    }
    record.timestamp = EventTime{ms};
  }
  return record;
}

ParsedRecord RecordLineReader::parseJson(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded()) refuse("not JSON");
  if (!json.is_object()) refuse("not a JSON object");
  ParsedRecord record;
  for (const auto& [name, value] : json.items()) {
    if (name == "key") {
      if (!bytesOf(value, record.key)) refuse("key must be a string, null or {\"base64\":...}");
    } else if (name == "value") {
      if (!bytesOf(value, record.value)) refuse("value must be a string, null or {\"base64\":...}");
    } else if (name == "timestamp") {
      const bool fits = value.is_number_integer() &&
                        !(value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX);
      if (!fits) refuse("timestamp must be a whole number of milliseconds");
      record.timestamp = EventTime{value.get<std::int64_t>()};
    } else if (name == "partition") {
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT32_MAX) {
        refuse("partition must be a whole number from 0");
      }
      record.partition = PartitionIndex{value.get<std::int32_t>()};
    } else if (name == "headers") {
      for (const auto& [headerName, header] : value.items()) {
        Header parsed{headerName, std::nullopt};
        bool good = value.is_object() && bytesOf(header, parsed.value);
        if (value.is_array() && header.is_object() && header.size() == 2 &&
            header.contains("name") && header.contains("value") && header["name"].is_string()) {
          parsed.name = header["name"].get<std::string>();
          good = bytesOf(header["value"], parsed.value);
        }
        if (!good) {
          refuse("headers must be {\"name\":\"value\",...} or [{\"name\":...,\"value\":...},...]");
        }
        record.headers.push_back(std::move(parsed));
      }
      if (!value.is_structured()) refuse("headers must be an object or an array");
    } else if (name != "offset" && name != "topic") {  // where `consume` found it
      refuse("unknown field '" + name +
             "'; key, value, timestamp, headers and partition are known");
    }
  }
  return record;
}

void appendRecordLine(const TopicPartition& source, const RecordView& record, LineFormat format,
                      std::string& out) {
  switch (format) {
    case LineFormat::Lines:
      if (record.value) out += *record.value;
      break;
    case LineFormat::Csv:
      appendCsvField(record.key, out);
      out += ',';
      appendCsvField(record.value, out);
      out += fmt::format(",{}", record.timestamp.ms);
      break;
    case LineFormat::Json: {
      Json json;
      json["key"] = jsonOf(record.key);
      json["value"] = jsonOf(record.value);
      json["timestamp"] = record.timestamp.ms;
      if (!record.headers.empty()) {
        Json& headers = json["headers"] = Json::array();
        for (const HeaderView& header : record.headers) {
          headers.push_back({{"name", header.name}, {"value", jsonOf(header.value)}});
        }
      }
      json["partition"] = source.partition.value;
      json["offset"] = record.offset.value;
      out += json.dump(-1, ' ', false, Json::error_handler_t::replace);
      break;
    }
  }
  out += '\n';
}

}  // namespace penstock::command
