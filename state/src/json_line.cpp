// SPDX-License-Identifier: Apache-2.0
#include "json_line.h"

#include <fmt/format.h>

#include <cstring>
#include <span>

#include "bytes.h"
#include "penstock/state/detail/stored.h"
#include "penstock/state/errors.h"
#include "penstock/state/value.h"
#include "storage_path.h"

namespace penstock::state {

namespace {

constexpr std::string_view mark = "penstock storage";
constexpr char structVersion = 1;  // of the envelope, docs/formats/values.md

using detail::ValueTag;

Value binary(std::string_view bytes) { return asBytes(bytes); }

// A struct as its type's name and cereal's bytes; nullopt when its envelope is another.
std::optional<Value> structValue(std::string_view stored) {
  ByteReader in(stored);
  (void)in.fixed<char>();
  const char version = in.fixed<char>();
  const std::string_view name = in.take(in.fixed<std::uint16_t>());
  if (!in.ok() || version != structVersion) return std::nullopt;
  return ValueMap{{"type", std::string(name)}, {"bytes", binary(in.take(in.left()))}};
}

std::string storedStruct(const ValueMap& members) {
  const Value* type = members.find("type");
  const Value* bytes = members.find("bytes");
  if (members.size() != 2 || type == nullptr || type->type() != ValueType::String ||
      bytes == nullptr || bytes->type() != ValueType::Binary || type->asString().size() > 0xffff) {
    throw InvalidArgument(R"("struct" must have a "type" and its "bytes", nothing else)");
  }
  std::string stored{static_cast<char>(ValueTag::Struct), structVersion};
  putFixed(stored, static_cast<std::uint16_t>(type->asString().size()));
  stored += type->asString();
  stored += asText(bytes->asBinary());
  return stored;
}

std::string withMember(const JsonLine& line, const char* name, Value value, const Value& expires) {
  ValueMap members;
  Value::List names;
  const auto parts = namesInPath(line.path);
  for (const std::string& part : parts.value()) names.emplace_back(part);
  if (!names.empty()) members["storage"] = std::move(names);
  if (line.key) {
    members["key"] = *line.key;
    members[name] = std::move(value);
    if (expires.type() != ValueType::Null) members["expires"] = expires;
  }
  return Value(std::move(members)).toJson();
}

bool readsBack(const std::string& text, const JsonLine& line) {
  if (text.size() > jsonLineBytesMax) return false;
  JsonLine again;
  std::uint64_t keys = 0;
  try {
    return parseJsonLine(text, again, keys) == JsonLineKind::Record && again == line;
  } catch (const InvalidArgument&) {  // nested deeper than a reader follows
    return false;
  }
}

std::int64_t versionIn(const ValueMap& members, const char* name) {
  const Value* value = members.find(name);
  if (value == nullptr || value->type() != ValueType::Int64) {
    throw InvalidArgument(fmt::format("the first line lacks the number \"{}\"", name));
  }
  return value->asInt64();
}

std::string pathOf(const Value& names) {
  if (names.type() != ValueType::List) throw InvalidArgument(R"("storage" must be a list)");
  std::string path;
  for (const Value& name : names.asList()) {
    if (name.type() != ValueType::String) {
      throw InvalidArgument(R"("storage" must be a list of strings)");
    }
    path = pathBelow(path, name.asString());
  }
  return path;
}

}  // namespace

std::string firstJsonLine() {
  return Value(ValueMap{{"export", mark}, {"version", jsonLinesVersion}, {"reader", 1}}).toJson();
}

std::string lastJsonLine(std::uint64_t keys) { return Value(ValueMap{{"end", keys}}).toJson(); }

std::string formatJsonLine(JsonLine line) {
  if (!line.key) return withMember(line, "", {}, {});
  Value expires;  // null: never
  const std::string_view stored = line.stored;
  const std::size_t head = detail::expiryOf(stored) ? detail::expiryBytes : 0;
  if (!detail::expiryOf(stored.substr(head))) {  // else none that we write; it goes as its bytes
    if (const auto timeMs = detail::expiryOf(stored)) expires = *timeMs;
    detail::unwrap(line.stored);
  }
  std::string text;
  Value value;
  if (!line.stored.empty() && line.stored[0] == static_cast<char>(ValueTag::Struct)) {
    if (auto members = structValue(line.stored)) {
      text = withMember(line, "struct", *std::move(members), expires);
    }
  } else if (detail::decodeValue(line.stored, value) == detail::Decoded::Ok) {
    try {
      text = withMember(line, "value", std::move(value), expires);
    } catch (const InvalidArgument&) {  // nested too deeply, or a name that is not UTF-8
    }
  }
  // What JSON cannot say exactly (a NaN of other bits, say) goes as the bytes that are stored.
  const Value bytes = binary(line.stored);
  if (expires.type() != ValueType::Null) detail::expireAt(expires.asInt64(), line.stored);
  return readsBack(text, line) ? text : withMember(line, "stored", bytes, expires);
}

JsonLineKind parseJsonLine(std::string_view text, JsonLine& record, std::uint64_t& keys) {
  const Value parsed = Value::fromJson(text);
  if (parsed.type() != ValueType::Map) throw InvalidArgument("it must be a JSON object");
  const ValueMap& members = parsed.asMap();
  if (const Value* is = members.find("export")) {
    if (!(*is == Value(mark))) throw InvalidArgument("it is the first line of another export");
    if (const auto reader = versionIn(members, "reader"); reader > jsonLinesVersion) {
      throw FormatTooNew(fmt::format(
          "it needs a Penstock that reads version {} of the export; this one reads version {}. Use "
          "a newer one",
          reader, jsonLinesVersion));
    }
    (void)versionIn(members, "version");
    return JsonLineKind::First;
  }
  if (const Value* end = members.find("end")) {
    if (members.size() != 1 || end->type() != ValueType::Int64 || end->asInt64() < 0) {
      throw InvalidArgument(R"("end" must be the number of keys, and stand alone)");
    }
    keys = static_cast<std::uint64_t>(end->asInt64());
    return JsonLineKind::Last;
  }
  record = {};
  std::size_t values = 0;
  std::optional<std::int64_t> expires;
  for (const auto& [name, value] : members) {
    if (name == "storage") {
      record.path = pathOf(value);
      continue;
    }
    if (name == "key") {
      if (value.type() != ValueType::String) throw InvalidArgument(R"("key" must be a string)");
      record.key = value.asString();
      continue;
    }
    if (name == "expires") {
      if (value.type() != ValueType::Int64) {
        throw InvalidArgument(R"("expires" must be a whole number: ms since 1970)");
      }
      expires = value.asInt64();
      continue;
    }
    ++values;
    if (name == "value") {
      detail::encodeValue(value, record.stored);
    } else if (name == "struct") {
      if (value.type() != ValueType::Map) throw InvalidArgument(R"("struct" must be an object)");
      record.stored = storedStruct(value.asMap());
    } else if (name == "stored") {
      if (value.type() != ValueType::Binary || value.asBinary().empty()) {
        throw InvalidArgument(R"("stored" must be binary, and hold something)");
      }
      record.stored = asText(value.asBinary());
    } else {
      throw InvalidArgument(fmt::format("the member {:?} is none of an export's", name));
    }
  }
  if (values != (record.key ? 1U : 0U) || (!record.key && members.find("storage") == nullptr)) {
    throw InvalidArgument(
        R"(it must have a "key" and one of "value", "struct" and "stored", or a "storage" alone)");
  }
  if (expires) {
    if (!record.key || detail::expiryOf(record.stored)) {
      throw InvalidArgument(R"("expires" must stand beside a value that does not expire itself)");
    }
    detail::expireAt(*expires, record.stored);
  }
  return JsonLineKind::Record;
}

}  // namespace penstock::state
