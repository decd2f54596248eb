// SPDX-License-Identifier: Apache-2.0
//
// Reading. Versions 0 and 1 are plain JSON, one member for each name; an entry of version 1 is one
// that has exactly `Value` and `Scope`, the others are of version 0, which may be mixed in. Version
// 2 says the type of everything.
#include "pode_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "bytes.h"
#include "penstock/state/errors.h"
#include "pode_text.h"
#include "shared_state_file.h"
#include "value_json.h"

namespace penstock::state {

namespace {

constexpr std::int64_t newestVersion = 2;
// A level of a value is up to three of version 2's JSON; some more lie around a value.
constexpr std::size_t depthMax = 3 * Value::depthMax + 8;

// What becomes a map without a mark: it keeps its order, as ours do.
constexpr std::string_view plainMap = "OrderedDictionary";
constexpr std::array<std::string_view, 7> maps{
    "Hashtable",     "SyncHashtable",        "OrderedHashtable",
    "Dictionary",    "ConcurrentDictionary", "PodeConcurrentOrderedDictionary",
    "PSCustomObject"};
constexpr std::array<std::string_view, 7> integers{"SByte", "Byte",   "Int16", "UInt16",
                                                   "Int32", "UInt32", "Int64"};

template <typename Names>
bool isOneOf(std::string_view name, const Names& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool isMap(const Value& value) { return value.type() == ValueType::Map; }

std::string markOf(std::string_view type) { return fmt::format("{}.{}", podeMark, type); }

Value marked(std::string_view type, Value value) {
  return ValueMap{{markOf(type), std::move(value)}};
}

// How many '$' it begins with when it reads "$…$pode" or "$…$pode.…", else 0.
std::size_t dollarsOfMark(std::string_view name) {
  const std::size_t dollars = std::min(name.find_first_not_of('$'), name.size());
  if (dollars == 0) return 0;
  const std::string_view word = name.substr(dollars - 1);
  return word == podeMark || word.starts_with(markOf("")) ? dollars : 0;
}

// A number that is no int64: `text` as it stands in the file.
double toDouble(std::string_view text) {
  double value = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), value);  // JSON's form is C's
  return value;
}

bool isWhole(std::string_view text) { return text.find_first_of(".eE") == std::string_view::npos; }

// A plain number: what is beyond int64 keeps its text, by the type that PowerShell gives it.
Value numberOf(const Value& text) {
  const std::string_view digits = asText(text.asBinary());
  if (!isWhole(digits)) return toDouble(digits);
  std::uint64_t value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return marked(read.ec == std::errc() ? "UInt64" : "BigInteger", digits);
}

// JSON as version 0 and 1 have it.
Value plainOf(const Value& json) {
  if (json.type() == ValueType::Binary) return numberOf(json);
  if (json.type() == ValueType::List) {
    Value::List list;
    for (const Value& item : json.asList()) list.push_back(plainOf(item));
    return list;
  }
  if (!isMap(json)) return json;
  std::vector<ValueMap::Entry> members;
  for (const auto& [key, member] : json.asMap()) {
    members.emplace_back(fromPodeKey(key), plainOf(member));
  }
  return ValueMap(std::move(members));
}

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  std::vector<SharedContentPtr> read(const Value& root) {
    if (!isMap(root)) refuse("the file", "is no object");
    const ValueMap& members = root.asMap();
    if (const Value* metadata = members.find(podeMetadataKey)) {
      checkVersion(*metadata);
      const Value* data = members.find(podeDataKey);
      if (data == nullptr) refuse("the file", fmt::format("has no \"{}\"", podeDataKey));
      for (const auto& [key, node] : itemsOf(*data, std::string(podeDataKey))) {
        addTyped(key, *node, fmt::format("{:?}", key));
      }
    } else {
      refuseUnreleased(members);
      for (const auto& [key, member] : members) addPlain(key, member);
    }
    return std::move(contents_);
  }

 private:
  struct Item {
    std::string key;
    const Value* value;
  };

  [[noreturn]] void refuse(std::string_view where, const std::string& what) const {
    throwPodeDamaged(file_, 0, fmt::format("{} {}", where, what));
  }

  void checkVersion(const Value& metadata) const {
    const Value* version = isMap(metadata) ? metadata.asMap().find("Version") : nullptr;
    if (version == nullptr || version->type() != ValueType::Int64) {
      refuse(podeMetadataKey, "has no \"Version\"");
    }
    const std::int64_t number = version->asInt64();
    if (number > newestVersion) {
      throw FormatTooNew(fmt::format(
          "{}: it is of version {} of Pode's files; this Penstock reads versions 0 to {}: use a "
          "newer one",
          file_, number, newestVersion));
    }
    if (number != newestVersion) refuse(podeMetadataKey, fmt::format("says version {}", number));
  }

  void refuseUnreleased(const ValueMap& members) const {
    const Value* metadata = members.find("Metadata");
    if (members.size() != 2 || metadata == nullptr || !isMap(*metadata) ||
        members.find("Data") == nullptr) {
      return;
    }
    const Value* product = metadata->asMap().find("Product");
    if (product == nullptr || !(*product == Value("Pode"))) return;
    throw ForeignFile(fmt::format(
        "{}: it has \"Metadata\" and \"Data\", a form of a Pode that was never released: let a "
        "released one save it",
        file_));
  }

  void add(const std::string& name, Value value, std::vector<std::string> scopes) {
    const std::string where = fmt::format("{:?}", name);
    if (name.empty() || name.size() > SharedState::nameBytesMax) {
      refuse("a name", fmt::format("has {} bytes; 1 to {} are possible", name.size(),
                                   SharedState::nameBytesMax));
    }
    if (depthOf(value) > Value::depthMax) {
      refuse(where, fmt::format("is nested more than {} deep", Value::depthMax));
    }
    contents_.push_back(std::make_shared<const SharedContent>(
        SharedContent{name, std::move(value), std::move(scopes)}));
  }

  void addPlain(const std::string& name, const Value& member) {
    if (isMap(member) && member.asMap().size() == 2) {
      const Value* value = member.asMap().find("Value");
      const Value* scope = member.asMap().find("Scope");
      auto scopes = scope == nullptr ? std::nullopt : scopesOf(*scope);
      if (value != nullptr && scopes) return add(name, plainOf(*value), *std::move(scopes));
    }
    add(name, plainOf(member), {});
  }

  void addTyped(const std::string& name, const Value& node, const std::string& where) {
    const Value* value = nullptr;
    const Value* scope = nullptr;
    const std::vector<Item> items = itemsOf(node, where);
    for (const Item& item : items) {
      if (item.key == "Value") value = item.value;
      if (item.key == "Scope") scope = item.value;
    }
    if (items.size() != 2 || value == nullptr || scope == nullptr) {
      refuse(where, "must have \"Value\" and \"Scope\", and nothing else");
    }
    auto scopes = scopesOf(typedOf(*scope, where + ".Scope"));
    if (!scopes) refuse(where, "has a \"Scope\" that is no list of strings");
    add(name, typedOf(*value, where), *std::move(scopes));
  }

  /// nullopt: it is none.
  static std::optional<std::vector<std::string>> scopesOf(const Value& value) {
    if (value.isNull()) return std::vector<std::string>();
    if (value.type() == ValueType::String) return std::vector{value.asString()};
    if (isMap(value) && value.asMap().size() == 1) {
      const auto& [name, list] = *value.asMap().begin();
      return name.starts_with(markOf("")) ? scopesOf(list) : std::nullopt;
    }
    if (value.type() != ValueType::List) return std::nullopt;
    std::vector<std::string> scopes;
    for (const Value& scope : value.asList()) {
      if (scope.type() != ValueType::String) return std::nullopt;
      scopes.push_back(scope.asString());
    }
    return scopes;
  }

  /// The members of a map of version 2.
  std::vector<Item> itemsOf(const Value& node, const std::string& where) const {
    const Value* items = isMap(node) ? node.asMap().find("Items") : nullptr;
    if (items == nullptr || items->type() != ValueType::List)
      refuse(where, "has no list \"Items\"");
    std::vector<Item> result;
    for (const Value& item : items->asList()) {
      const Value* key = isMap(item) ? item.asMap().find("Key") : nullptr;
      const Value* value = isMap(item) ? item.asMap().find("Value") : nullptr;
      if (key == nullptr || value == nullptr || item.asMap().size() != 2) {
        refuse(fmt::format("{}.Items[{}]", where, result.size()),
               "must have \"Key\" and \"Value\", and nothing else");
      }
      if (key->type() != ValueType::String) {
        refuse(fmt::format("{}.Items[{}]", where, result.size()), "has a key that is no string");
      }
      result.push_back({key->asString(), value});
    }
    std::vector<std::string_view> keys;
    for (const Item& item : result) keys.push_back(item.key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end()) refuse(where, fmt::format("has the key {:?} twice", *twice));
    return result;
  }

  /// What a node of version 2 stands for.
  Value typedOf(const Value& node, const std::string& where) const {
    if (node.isNull()) return nullptr;
    if (node.type() == ValueType::List) return listOf(node.asList(), where);
    const Value* type = isMap(node) ? node.asMap().find("Type") : nullptr;
    if (type == nullptr || type->type() != ValueType::String || type->asString().empty() ||
        node.asMap().size() != 2) {
      refuse(where, "must have \"Type\", \"Value\" or \"Items\", and nothing else");
    }
    if (const Value* value = node.asMap().find("Value")) {
      return scalarOf(type->asString(), *value, where);
    }
    const Value* items = node.asMap().find("Items");
    if (items == nullptr || items->type() != ValueType::List) {
      refuse(where, "has neither a \"Value\" nor a list \"Items\"");
    }
    return containerOf(type->asString(), node, items->asList(), where);
  }

  Value::List listOf(const Value::List& items, const std::string& where) const {
    Value::List list;
    for (const Value& item : items) {
      list.push_back(typedOf(item, fmt::format("{}[{}]", where, list.size())));
    }
    return list;
  }

  Value containerOf(const std::string& type, const Value& node, const Value::List& items,
                    const std::string& where) const {
    const bool pairs = !items.empty() && isMap(items[0]) && items[0].asMap().find("Key") != nullptr;
    if (type != plainMap && !isOneOf(type, maps) && !pairs) {
      return marked(type, listOf(items, where));
    }
    std::vector<ValueMap::Entry> members;
    if (type != plainMap) members.emplace_back(podeMark, type);
    for (const Item& item : itemsOf(node, where)) {
      members.emplace_back(fromPodeKey(item.key),
                           typedOf(*item.value, fmt::format("{}.{}", where, item.key)));
    }
    return ValueMap(std::move(members));
  }

  Value scalarOf(const std::string& type, const Value& value, const std::string& where) const {
    const auto wrong = [&](std::string_view than) {
      refuse(where, fmt::format("is of type {}, but its value is no {}", type, than));
    };
    const auto check = [&](ValueType expected) {
      if (value.type() != expected) wrong(Value::typeName(expected));
    };
    const bool number = value.type() == ValueType::Int64 || value.type() == ValueType::Binary;
    if (type == "String") {
      check(ValueType::String);
      return value;
    }
    if (type == "Boolean") {
      check(ValueType::Bool);
      return value;
    }
    if (isOneOf(type, integers)) {
      check(ValueType::Int64);
      return value;
    }
    if (type == "UInt64" || type == "BigInteger") {
      if (value.type() == ValueType::Int64 && type == "UInt64") return value;
      if (!number) wrong("number");
      return marked(type, textOf(value));
    }
    if (type == "Decimal") {  // its text says how many digits are behind the point
      if (!number) wrong("number");
      return marked(type, textOf(value));
    }
    if (type == "Single" || type == "Double") {
      if (value.type() == ValueType::String) return specialOf(type, value.asString(), where);
      if (!number) wrong("number");
      return toDouble(textOf(value));
    }
    if (type == "DateTime" || type == "Guid" || type == "Char") check(ValueType::String);
    if (type == "TimeSpan") check(ValueType::Int64);
    if (value.type() == ValueType::List || isMap(value)) wrong("scalar");
    return marked(type, value.type() == ValueType::Binary ? Value(toDouble(textOf(value))) : value);
  }

  Value specialOf(const std::string& type, const std::string& text,
                  const std::string& where) const {
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    refuse(where, fmt::format("is of type {}, but its value is no number", type));
  }

  static std::string textOf(const Value& number) {
    return number.type() == ValueType::Int64 ? fmt::format("{}", number.asInt64())
                                             : std::string(asText(number.asBinary()));
  }

  const std::string& file_;
  std::vector<SharedContentPtr> contents_;
};

}  // namespace

std::string fromPodeKey(const std::string& key) {
  return dollarsOfMark(key) != 0 ? "$" + key : key;
}

std::string toPodeKey(const std::string& name) {
  return dollarsOfMark(name) > 1 ? name.substr(1) : name;
}

void throwPodeDamaged(const std::string& file, std::uint64_t offset, const std::string& what) {
  throw Corruption(file, offset, fmt::format("{}: offset {}: {}", file, offset, what),
                   "nothing was imported: let Pode save it again, or mend it");
}

std::vector<SharedContentPtr> parsePodeFile(std::string_view bytes, const std::string& file) {
  const PodeText text(bytes, file);
  if (text.utf8().find_first_not_of(" \t\r\n") == std::string::npos) {
    throwPodeDamaged(file, 0, "it is empty");
  }
  if (looksLikeSharedFile(text.utf8())) {
    throw ForeignFile(file +
                      ": it is a file that save of a shared state writes, none of Pode's: "
                      "read it with restore");
  }
  Value root;
  try {
    root = parseJson(text.utf8(), JsonDialect::Foreign, depthMax);
  } catch (const JsonError& error) {
    throwPodeDamaged(file, text.offsetInFile(error.offset()), error.what());
  }
  if (root.isNull()) throwPodeDamaged(file, 0, "it holds null instead of a state");
  return Reader(file).read(root);
}

}  // namespace penstock::state
