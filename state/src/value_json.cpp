// SPDX-License-Identifier: Apache-2.0

// Value to JSON and back, exactly. Reading drives the parser's events instead of its document,
// because only there an integer that is too large can still be told from a double, and because
// depth is bounded before anything is built.

#include "value_json.h"

#include <fmt/format.h>
#include <penstock/state/detail/base64.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "bytes.h"

namespace penstock::state {
namespace {

using Json = nlohmann::json;

constexpr std::string_view binaryMark = "$binary";
constexpr std::string_view doubleMark = "$double";
constexpr std::string_view stringMark = "$string";

// Beyond it, doubles leave integers out.
constexpr std::int64_t plainMost = std::int64_t{1} << 53;

bool isMark(std::string_view name) {
  return name == binaryMark || name == doubleMark || name == stringMark;
}

// A member that only happens to be called like a mark gets one more '$', and so does one that
// is called like that.
bool isEscapable(std::string_view name) {
  const std::size_t dollars = std::min(name.find_first_not_of('$'), name.size());
  return dollars != 0 && isMark(name.substr(dollars - 1));
}

JsonIndent deeper(JsonIndent indent) {
  if (indent) *indent += 2;
  return indent;
}

[[noreturn]] void refusePlain(const std::string& what) {
  throw InvalidArgument(fmt::format("plain JSON cannot say {}; it is not rounded", what));
}

/// `plain`: as toPlainJson.
void append(const Value& value, std::size_t depth, bool plain, JsonIndent indent,
            std::string& out) {
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
      fmt::format_to(std::back_inserter(out), "{}", value.asInt64());
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
      if (const auto text = jsonString(value.asString())) {
        out += *text;
      } else if (plain) {
        refusePlain("a string that is not UTF-8");
      } else {
        out += fmt::format(R"({{"{}":"{}"}})", stringMark, detail::base64Encoded(value.asString()));
      }
      return;
    case ValueType::Binary: {
      if (plain) refusePlain("binary");
      const Binary& bytes = value.asBinary();
      out += fmt::format(R"({{"{}":"{}"}})", binaryMark,
                         detail::base64Encoded(std::string_view(
                             reinterpret_cast<const char*>(bytes.data()), bytes.size())));
      return;
    }
    case ValueType::List: {
      out += '[';
      const char* separator = "";
      for (const Value& item : value.asList()) {
        out += std::exchange(separator, ",");
        appendJsonBreak(deeper(indent), out);
        append(item, depth + 1, plain, deeper(indent), out);
      }
      if (*separator != '\0') appendJsonBreak(indent, out);
      out += ']';
      return;
    }
    case ValueType::Map: {
      out += '{';
      const char* separator = "";
      for (const auto& [name, member] : value.asMap()) {
        const auto text = jsonString(!plain && isEscapable(name) ? "$" + name : name);
        if (!text) {
          throw InvalidArgument("a member's name is not UTF-8, which JSON cannot say");
        }
        out += std::exchange(separator, ",");
        appendJsonBreak(deeper(indent), out);
        out += *text;
        out += indent ? ": " : ":";
        append(member, depth + 1, plain, deeper(indent), out);
      }
      if (*separator != '\0') appendJsonBreak(indent, out);
      out += '}';
      return;
    }
  }
}

/// Where in a text its parser is.
struct Place {
  const char* begin = nullptr;
  const char* at = nullptr;  // behind what it has taken
};

/// Lets a Place follow a parser.
class Characters {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Characters(const char* at, Place* place) : at_(at), place_(place) {}
  const char& operator*() const { return *at_; }
  Characters& operator++() {
    place_->at = ++at_;
    return *this;
  }
  Characters operator++(int) {
    Characters before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const Characters& left, const Characters& right) {
    return left.at_ == right.at_;
  }

 private:
  const char* at_;
  Place* place_;
};

[[noreturn]] void refuse(const Place& place, const std::string& why) {
  throw JsonError(why, static_cast<std::uint64_t>(place.at - place.begin));
}

ValueMap mapOf(const Place& place, std::vector<ValueMap::Entry> entries) {
  try {
    return ValueMap(std::move(entries));
  } catch (const InvalidArgument& error) {  // a name that is there twice
    refuse(place, error.what());
  }
}

// A closed object as the value it stands for.
Value objectValue(const Place& place, std::vector<ValueMap::Entry> entries) {
  if (entries.size() != 1 || !isMark(entries[0].first)) {
    for (auto& [name, member] : entries) {
      if (!isMark(name) && isEscapable(name)) name.erase(0, 1);
    }
    return mapOf(place, std::move(entries));
  }
  const auto& [mark, content] = entries[0];
  if (content.type() != ValueType::String) {
    refuse(place, fmt::format("the member of \"{}\" must be a string", mark));
  }
  const std::string& text = content.asString();
  if (mark == doubleMark) {
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    refuse(place,
           fmt::format("\"$double\" is \"NaN\", \"Infinity\" or \"-Infinity\", not \"{}\"", text));
  }
  auto bytes = detail::base64Decoded(text);
  if (!bytes) refuse(place, fmt::format("the member of \"{}\" is no base64", mark));
  if (mark == stringMark) return std::move(*bytes);
  return std::as_bytes(std::span(*bytes));
}

class Reader : public nlohmann::json_sax<Json> {
 public:
  Reader(const Place& place, JsonDialect dialect, std::size_t depthMax)
      : place_(place), dialect_(dialect), depthMax_(depthMax) {}
  Value take() { return std::move(root_); }

  bool null() override { return add(Value()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override {
    if (dialect_ == JsonDialect::Plain && value < -plainMost) {
      return add(static_cast<double>(value));
    }
    return add(value);
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (dialect_ == JsonDialect::Plain && value > std::uint64_t{plainMost}) {
      return add(static_cast<double>(value));
    }
    if (std::in_range<std::int64_t>(value)) return add(Value(value));
    return beyondInt64(fmt::format("{}", value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // The parser falls back to double for an integer beyond 64 bits.
    if (dialect_ != JsonDialect::Plain && text.find_first_of(".eE") == string_t::npos) {
      return beyondInt64(text);
    }
    return dialect_ == JsonDialect::Foreign ? add(Value(asBytes(text))) : add(value);
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
    if (dialect_ == JsonDialect::Exact) return add(objectValue(place_, std::move(object.entries)));
    return add(mapOf(place_, std::move(object.entries)));
  }
  bool end_array() override {
    Value list = std::move(open_.back().items);
    open_.pop_back();
    return add(std::move(list));
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    refuse(place_, error.what());
  }

 private:
  struct Open {
    bool object = false;
    std::string name;
    std::vector<ValueMap::Entry> entries;
    Value::List items;
  };

  bool open(bool object) {
    if (open_.size() >= depthMax_) {
      refuse(place_, fmt::format("nested more than {} deep", depthMax_));
    }
    open_.emplace_back().object = object;
    return true;
  }
  bool beyondInt64(const std::string& text) {
    if (dialect_ == JsonDialect::Exact)
      refuse(place_, fmt::format("{} does not fit an int64", text));
    return add(Value(asBytes(text)));
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

  const Place& place_;
  const JsonDialect dialect_;
  const std::size_t depthMax_;
  std::vector<Open> open_;
  Value root_;
};

}  // namespace

Value parseJson(std::string_view json, JsonDialect dialect, std::size_t depthMax) {
  Place place{json.data(), json.data()};
  Reader reader(place, dialect, depthMax);
  Json::sax_parse(Characters(json.data(), &place), Characters(json.data() + json.size(), &place),
                  &reader);
  return reader.take();
}

void appendJson(const Value& value, JsonIndent indent, std::string& out) {
  append(value, 1, false, indent, out);
}

void appendJsonBreak(JsonIndent indent, std::string& out) {
  if (!indent) return;
  out += '\n';
  out.append(*indent, ' ');
}

std::optional<std::string> jsonString(std::string_view text) {
  const auto plain = [](char one) { return one >= ' ' && one <= '~' && one != '"' && one != '\\'; };
  if (std::all_of(text.begin(), text.end(), plain)) return fmt::format("\"{}\"", text);
  try {
    return Json(text).dump();
  } catch (const Json::type_error&) {  // not UTF-8
    return std::nullopt;
  }
}

std::string Value::toJson() const {
  std::string out;
  appendJson(*this, std::nullopt, out);
  return out;
}

std::string toPlainJson(const Value& value) {
  std::string out;
  append(value, 1, true, std::nullopt, out);
  return out;
}

Value fromPlainJson(std::string_view json) {
  return parseJson(json, JsonDialect::Plain, Value::depthMax);
}

Value Value::fromJson(std::string_view json) {
  return parseJson(json, JsonDialect::Exact, depthMax);
}

}  // namespace penstock::state
