// SPDX-License-Identifier: Apache-2.0
//
// Writing. Version 2 says the type of everything, and what was imported comes out as it came in;
// version 1 has no types, so that what carries one comes out as plain JSON.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "penstock/state/errors.h"
#include "pode_file.h"
#include "shared_state_file.h"
#include "value_json.h"

namespace penstock::state {

namespace {

/// A map that stands for something of Pode's that a Value has not.
struct Marked {
  std::string_view type;           // empty: it stands for itself
  const Value* content = nullptr;  // of a scalar or a list; null: the members are a map's
};

Marked markedOf(const ValueMap& map) {
  if (const Value* type = map.find(podeMark)) {
    if (type->type() == ValueType::String) return {type->asString(), nullptr};
  }
  if (map.size() != 1) return {};
  const auto& [name, content] = *map.begin();
  if (name.size() <= podeMark.size() + 1 || !name.starts_with(podeMark) ||
      name[podeMark.size()] != '.') {
    return {};
  }
  return {std::string_view(name).substr(podeMark.size() + 1), &content};
}

/// Writes an entry's value. What it refuses names the entry.
class Writer {
 public:
  Writer(bool compress, std::string& out) : compress_(compress), out_(out) {}

  void entry(const std::string& name) { entry_ = name; }
  /// Objects and lists; `item` begins each of their items or members.
  void begin(char bracket) {
    out_ += bracket;
    indent_ += 2;
    first_ = true;
  }
  void end(char bracket) {
    indent_ -= 2;
    if (!first_) breakLine();
    first_ = false;
    out_ += bracket;
  }
  void item() {
    if (!first_) out_ += ',';
    first_ = false;
    breakLine();
  }
  void member(std::string_view name) {
    item();
    string(name);
    out_ += compress_ ? ":" : ": ";
  }
  void string(std::string_view text) {
    const auto json = jsonString(text);
    if (!json) refuse("holds a string that is not UTF-8; exclude it");
    out_ += *json;
  }

  // Version 1.
  void plain(const Value& value) {
    if (value.type() == ValueType::List) {
      begin('[');
      for (const Value& one : value.asList()) {
        item();
        plain(one);
      }
      end(']');
    } else if (value.type() == ValueType::Map) {
      plainMap(value.asMap());
    } else {
      scalar(value);
    }
  }

  // Version 2.
  void typed(const Value& value) {
    switch (value.type()) {
      case ValueType::Null:
        out_ += "null";
        return;
      case ValueType::Bool:
        return typedScalar("Boolean", value);
      case ValueType::Int64:
        return typedScalar(fits32(value.asInt64()) ? "Int32" : "Int64", value);
      case ValueType::Double:
        return typedScalar("Double", value);
      case ValueType::String:
        return typedScalar("String", value);
      case ValueType::List:
        return typedList(value.asList());
      case ValueType::Map:
        return typedMap(value.asMap());
      case ValueType::Binary:
        return scalar(value);  // refused
    }
  }
  void typedList(const Value::List& list) {
    begin('[');
    for (const Value& one : list) {
      item();
      typed(one);
    }
    end(']');
  }
  /// `{"Type": type, "Items": [` … `]}`
  void beginItems(std::string_view type) {
    begin('{');
    member("Type");
    string(type);
    member("Items");
    begin('[');
  }
  void endItems() {
    end(']');
    end('}');
  }
  /// `{"Key": key, "Value":` … `}`
  void beginPair(std::string_view key) {
    item();
    begin('{');
    member("Key");
    string(key);
    member("Value");
  }
  void endPair() { end('}'); }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw InvalidArgument(fmt::format("shared state: {:?}: for a file of Pode it {}", entry_, why));
  }
  void breakLine() {
    if (!compress_) appendJsonBreak(indent_, out_);
  }
  static bool fits32(std::int64_t value) { return std::in_range<std::int32_t>(value); }

  /// Of a type that is not marked. `special`: what JSON has no number for may be a string.
  void scalar(const Value& value, bool special = false) {
    if (value.type() == ValueType::Binary) {
      refuse("holds bytes, which Pode has not: exclude it, or store it as text");
    }
    if (value.type() == ValueType::String) return string(value.asString());
    if (value.type() == ValueType::Double && !std::isfinite(value.asDouble())) {
      if (!special) refuse("holds a number that is not finite, which version 1 cannot say");
      const double number = value.asDouble();
      return string(std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
    }
    appendJson(value, std::nullopt, out_);
  }
  /// The content of a scalar of a type that only Pode has.
  void markedScalar(std::string_view type, const Value& value) {
    if (value.type() == ValueType::Map) refuse(fmt::format("holds a {} that is a map", type));
    const bool number = type == "UInt64" || type == "Decimal" || type == "BigInteger";
    if (!number || value.type() != ValueType::String) return scalar(value);
    if (!isNumber(value.asString())) {
      refuse(fmt::format("holds a {} that is no number: {:?}", type, value.asString()));
    }
    out_ += value.asString();
  }
  static bool isNumber(const std::string& text) {
    try {
      const Value value = parseJson(text, JsonDialect::Foreign, 1);
      return value.type() == ValueType::Int64 || value.type() == ValueType::Binary;
    } catch (const JsonError&) {
      return false;
    }
  }

  void plainMap(const ValueMap& map) {
    const Marked marked = markedOf(map);
    if (marked.content != nullptr) {
      if (marked.content->type() == ValueType::List) return plain(*marked.content);
      return markedScalar(marked.type, *marked.content);
    }
    begin('{');
    for (const auto& [name, value] : map) {
      if (!marked.type.empty() && name == podeMark) continue;
      member(toPodeKey(name));
      plain(value);
    }
    end('}');
  }

  void typedScalar(std::string_view type, const Value& value) {
    begin('{');
    member("Type");
    string(type);
    member("Value");
    scalar(value, true);
    end('}');
  }
  void typedMap(const ValueMap& map) {
    const Marked marked = markedOf(map);
    if (marked.content == nullptr) {
      beginItems(marked.type.empty() ? "OrderedDictionary" : marked.type);
      for (const auto& [name, value] : map) {
        if (!marked.type.empty() && name == podeMark) continue;
        beginPair(toPodeKey(name));
        typed(value);
        endPair();
      }
      return endItems();
    }
    begin('{');
    member("Type");
    string(marked.type);
    if (marked.content->type() == ValueType::List) {
      member("Items");
      typedList(marked.content->asList());
    } else {
      member("Value");
      markedScalar(marked.type, *marked.content);
    }
    end('}');
  }

  const bool compress_;
  std::string& out_;
  std::string entry_;
  std::size_t indent_ = 0;
  bool first_ = true;
};

Value scopesOf(const SharedContent& content) {
  return Value::List(content.scopes.begin(), content.scopes.end());
}

void check(const SharedContent& content, int version) {
  if (version == 1 && content.name == podeMetadataKey) {
    throw InvalidArgument(fmt::format(
        "shared state: {:?}: the name says that a file of Pode is of version 2; exclude it",
        content.name));
  }
  if (depthOf(content.value) <= Value::depthMax) return;
  throw InvalidArgument(
      fmt::format("shared state: {:?}: the value is nested more than {} deep; flatten it",
                  content.name, Value::depthMax));
}

}  // namespace

std::string formatPodeFile(const std::vector<SharedContentPtr>& contents, int version,
                           std::int64_t savedMs, bool compress) {
  std::string out;
  Writer writer(compress, out);
  writer.begin('{');
  if (version == 2) {
    writer.member(podeMetadataKey);
    writer.begin('{');
    writer.member("Version");
    out += '2';
    writer.member("Timestamp");
    writer.string(isoTime(savedMs));
    writer.end('}');
    writer.member(podeDataKey);
    writer.beginItems("ConcurrentDictionary");
  }
  for (const SharedContentPtr& content : contents) {
    check(*content, version);
    writer.entry(content->name);
    if (version == 2) {
      writer.beginPair(content->name);
      writer.beginItems("ConcurrentDictionary");
      writer.beginPair("Value");
      writer.typed(content->value);
      writer.endPair();
      writer.beginPair("Scope");
      writer.typed(scopesOf(*content));
      writer.endPair();
      writer.endItems();
      writer.endPair();
    } else {
      writer.member(content->name);
      writer.begin('{');
      writer.member("Value");
      writer.plain(content->value);
      writer.member("Scope");
      writer.plain(scopesOf(*content));
      writer.end('}');
    }
  }
  if (version == 2) writer.endItems();
  writer.end('}');
  out += '\n';
  return out;
}

}  // namespace penstock::state
