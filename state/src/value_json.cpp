// SPDX-License-Identifier: Apache-2.0

// Value to JSON and back, exactly. Reading drives the parser's events instead of its document,
// because only there an integer that is too large can still be told from a double, and because
// depth is bounded before anything is built. Plain JSON (plain_json.h) goes the same way.

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "penstock/state/errors.h"
#include "penstock/state/value.h"
#include "plain_json.h"

namespace penstock::state {
namespace {

using Json = nlohmann::json;

constexpr std::string_view binaryMark = "$binary";
constexpr std::string_view doubleMark = "$double";
constexpr std::string_view stringMark = "$string";

constexpr std::int64_t plainMost = std::int64_t{1} << 53;  // JavaScript's numbers are doubles

enum class Dialect : std::uint8_t { Exact, Plain };

constexpr std::string_view base64Digits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string toBase64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      group = group << 8 | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    }
    for (std::size_t i = 0; i < 4; ++i) {
      text.push_back(i <= count ? base64Digits[group >> (18 - 6 * i) & 63] : '=');
    }
  }
  return text;
}

std::optional<std::string> fromBase64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    std::uint32_t group = 0;
    std::size_t count = 3;
    for (std::size_t i = 0; i < 4; ++i) {
      const char digit = text[at + i];
      if (digit == '=' && at + 4 == text.size() && i >= 2 && text.back() == '=') {
        count = std::min(count, i - 1);
        group <<= 6;
        continue;
      }
      const std::size_t bits = base64Digits.find(digit);
      if (bits == std::string_view::npos) return std::nullopt;
      group = group << 6 | static_cast<std::uint32_t>(bits);
    }
    for (std::size_t i = 0; i < count; ++i) {
      bytes.push_back(static_cast<char>(group >> (16 - 8 * i) & 255));
    }
  }
  return bytes;
}

bool isMark(std::string_view name) {
  return name == binaryMark || name == doubleMark || name == stringMark;
}

// A member that only happens to be called like a mark gets one more '$', and so does one that
// is called like that.
bool isEscapable(std::string_view name) {
  const std::size_t dollars = std::min(name.find_first_not_of('$'), name.size());
  return dollars != 0 && isMark(name.substr(dollars - 1));
}

std::optional<std::string> quoted(const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::type_error&) {  // not UTF-8
    return std::nullopt;
  }
}

[[noreturn]] void refusePlain(const std::string& what) {
  throw InvalidArgument(fmt::format("plain JSON cannot say {}; it is not rounded", what));
}

void append(const Value& value, std::size_t depth, Dialect dialect, std::string& out) {
  const bool plain = dialect == Dialect::Plain;
  if (depth > Value::depthMax) {
    throw InvalidArgument(
        fmt::format("the value is nested more than {} deep; flatten it", Value::depthMax));
  }
  switch (value.type()) {
    case ValueType::Null:
      out += "null";
      return;
    case ValueType::Bool:
      out += value.asBool() ? "true" : "false";
      return;
    case ValueType::Int64:
      if (plain && (value.asInt64() > plainMost || value.asInt64() < -plainMost)) {
        refusePlain(fmt::format("the integer {}, which is beyond 2^53", value.asInt64()));
      }
      out += fmt::format("{}", value.asInt64());
      return;
    case ValueType::Double: {
      const double number = value.asDouble();
      if (std::isfinite(number)) {
        out += Json(number).dump();
      } else if (plain) {
        refusePlain(std::isnan(number) ? "NaN" : "an infinity");
      } else {
        out += fmt::format(R"({{"{}":"{}"}})", doubleMark,
                           std::isnan(number) ? "NaN"
                           : number > 0       ? "Infinity"
                                              : "-Infinity");
      }
      return;
    }
    case ValueType::String:
      if (const auto text = quoted(value.asString())) {
        out += *text;
      } else if (plain) {
        refusePlain("a string that is not UTF-8");
      } else {
        out += fmt::format(R"({{"{}":"{}"}})", stringMark, toBase64(value.asString()));
      }
      return;
    case ValueType::Binary: {
      if (plain) refusePlain("binary");
      const Binary& bytes = value.asBinary();
      out += fmt::format(
          R"({{"{}":"{}"}})", binaryMark,
          toBase64(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())));
      return;
    }
    case ValueType::List: {
      out += '[';
      const char* separator = "";
      for (const Value& item : value.asList()) {
        out += std::exchange(separator, ",");
        append(item, depth + 1, dialect, out);
      }
      out += ']';
      return;
    }
    case ValueType::Map: {
      out += '{';
      const char* separator = "";
      for (const auto& [name, member] : value.asMap()) {
        const auto text = quoted(!plain && isEscapable(name) ? "$" + name : name);
        if (!text) {
          throw InvalidArgument("a member's name is not UTF-8, which JSON cannot say");
        }
        out += std::exchange(separator, ",");
        out += *text;
        out += ':';
        append(member, depth + 1, dialect, out);
      }
      out += '}';
      return;
    }
  }
}

[[noreturn]] void refuse(const std::string& why) {
  throw InvalidArgument(fmt::format("JSON: {}", why));
}

// A closed object as the value it stands for.
Value objectValue(std::vector<ValueMap::Entry> entries) {
  if (entries.size() != 1 || !isMark(entries[0].first)) {
    for (auto& [name, member] : entries) {
      if (!isMark(name) && isEscapable(name)) name.erase(0, 1);
    }
    return ValueMap(std::move(entries));
  }
  const auto& [mark, content] = entries[0];
  if (content.type() != ValueType::String) {
    refuse(fmt::format("the member of \"{}\" must be a string", mark));
  }
  const std::string& text = content.asString();
  if (mark == doubleMark) {
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    refuse(fmt::format("\"$double\" is \"NaN\", \"Infinity\" or \"-Infinity\", not \"{}\"", text));
  }
  auto bytes = fromBase64(text);
  if (!bytes) refuse(fmt::format("the member of \"{}\" is no base64", mark));
  if (mark == stringMark) return std::move(*bytes);
  return std::as_bytes(std::span(*bytes));
}

class Reader : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(Dialect dialect) : plain_(dialect == Dialect::Plain) {}

  Value take() { return std::move(root_); }

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override {
    if (plain_ && value < -plainMost) return add(static_cast<double>(value));
    return add(value);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (plain_ && value > std::uint64_t{plainMost}) return add(static_cast<double>(value));
    return add(Value(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // The parser falls back to double for an integer beyond 64 bits.
    if (!plain_ && text.find_first_of(".eE") == string_t::npos) {
      refuse(fmt::format("{} does not fit an int64", text));
    }
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // never in JSON text
  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(string_t& name) override {
    open_.back().name = std::move(name);
    return true;
  }
  bool end_object() override {
    Open object = std::move(open_.back());
    open_.pop_back();
    if (plain_) return add(ValueMap(std::move(object.entries)));
    return add(objectValue(std::move(object.entries)));
  }
  bool end_array() override {
    Value list = std::move(open_.back().items);
    open_.pop_back();
    return add(std::move(list));
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    refuse(error.what());
  }

 private:
  struct Open {
    bool object = false;
    std::string name;
    std::vector<ValueMap::Entry> entries;
    Value::List items;
  };

  bool open(bool object) {
    if (open_.size() >= Value::depthMax) {
      refuse(fmt::format("nested more than {} deep", Value::depthMax));
    }
    open_.emplace_back().object = object;
    return true;
  }
  bool add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().object) {
      open_.back().entries.emplace_back(std::move(open_.back().name), std::move(value));
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  const bool plain_;
  std::vector<Open> open_;
  Value root_;
};

std::string written(const Value& value, Dialect dialect) {
  std::string out;
  append(value, 1, dialect, out);
  return out;
}

Value parsed(std::string_view json, Dialect dialect) {
  Reader reader(dialect);
  Json::sax_parse(json, &reader);
  return reader.take();
}

}  // namespace

std::string Value::toJson() const { return written(*this, Dialect::Exact); }
Value Value::fromJson(std::string_view json) { return parsed(json, Dialect::Exact); }

std::string toPlainJson(const Value& value) { return written(value, Dialect::Plain); }
Value fromPlainJson(std::string_view json) { return parsed(json, Dialect::Plain); }

}  // namespace penstock::state
