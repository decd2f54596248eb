// SPDX-License-Identifier: Apache-2.0
#include "shared_state_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <unordered_set>

#include "bytes.h"
#include "frame.h"
#include "penstock/state/detail/stored.h"
#include "penstock/state/errors.h"
#include "value_json.h"

namespace penstock::state {

namespace {

// The first bytes of a file of any version. Behind them the seal goes on: 16 digits of the hash of
// the rest of the file, ':', how many bytes that is, '"'.
constexpr std::string_view head = R"({"penstock":"shared state","seal":")";
constexpr std::size_t hashDigits = 16;
constexpr std::size_t countDigitsMax = 19;
// Containers around a value in the document: the file's, the list, the entry's.
constexpr std::size_t depthAround = 3;

// ---- writing

JsonIndent deeper(JsonIndent indent) {
  if (indent) *indent += 2;
  return indent;
}

void appendMember(std::string_view separator, std::string_view name, const Value& value,
                  JsonIndent indent, std::string& out) {
  out += separator;
  appendJsonBreak(indent, out);
  fmt::format_to(std::back_inserter(out), "\"{}\":{}", name, indent ? " " : "");
  appendJson(value, indent, out);
}

void appendEntry(const SharedContent& content, JsonIndent indent, std::string& out) {
  appendJsonBreak(indent, out);
  out += '{';
  const JsonIndent inner = deeper(indent);
  appendMember("", "name", content.name, inner, out);
  const std::size_t before = out.size();
  try {
    appendMember(",", "value", content.value, inner, out);
  } catch (const InvalidArgument& error) {  // nested too deeply, or a member's name not in UTF-8
    if (depthOf(content.value) > Value::depthMax) {
      throw InvalidArgument(fmt::format("shared state: {:?}: {}", content.name, error.what()));
    }
    std::string stored;
    detail::encodeValue(content.value, stored);
    out.resize(before);
    appendMember(",", "stored", asBytes(stored), inner, out);
  }
  if (!content.scopes.empty()) {
    const Value scopes = Value::List(content.scopes.begin(), content.scopes.end());
    appendMember(",", "scopes", scopes, inner, out);
  }
  appendJsonBreak(indent, out);
  out += '}';
}

// ---- reading

/// The file that is read, for what has to be said about it.
struct Source {
  const std::string& file;
  std::string_view text;
  std::string_view previous;  // "": there is none

  [[noreturn]] void damaged(std::uint64_t offset, const std::string& what) const {
    throw Corruption(
        file, offset, fmt::format("{}: offset {}: {}", file, offset, what),
        previous.empty()
            ? "there is no file of a save before it: move it away to begin anew"
            : fmt::format("the file that the save before it had written is kept as {}: restore "
                          "that, or move both away to begin anew",
                          previous));
  }
  [[noreturn]] void cutOff(const std::string& of) const {
    damaged(text.size(), fmt::format("it ends at byte {}{}: it was cut off", text.size(), of));
  }
};

/// What no save writes but what is found where a save or a disk went wrong; else another's file.
[[noreturn]] void throwNotOurs(const Source& source) {
  const std::string_view text = source.text;
  if (head.starts_with(text)) source.cutOff("");
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) source.damaged(0, "it holds nothing but blanks");
  const std::string_view core = text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
  if (core == "null") source.damaged(first, "it holds null instead of a state");
  if (core == "{}") source.damaged(first, "it holds {} instead of a state");
  throw ForeignFile(fmt::format(
      "{}: offset 0: it does not begin as the file of a shared state does; importPode reads what "
      "Pode has saved",
      source.file));
}

/// Checks the seal.
void checkSeal(const Source& source) {
  const std::string_view text = source.text;
  if (text.empty()) source.damaged(0, "it is empty");
  if (!looksLikeSharedFile(text)) throwNotOurs(source);
  const std::size_t countAt = head.size() + hashDigits + 1;
  const std::size_t end = text.find('"', head.size());
  const std::string_view seal = text.substr(head.size(), std::min(end, text.size()) - head.size());
  std::uint64_t hash = 0;
  std::uint64_t count = 0;
  // A part of a file is told from a damaged one as far as its bytes allow.
  for (std::size_t i = 0; i < seal.size(); ++i) {
    const bool fits = i < hashDigits ? std::string_view("0123456789abcdef").find(seal[i]) !=
                                           std::string_view::npos
                      : i == hashDigits ? seal[i] == ':'
                                        : seal[i] >= '0' && seal[i] <= '9';
    if (!fits || i > hashDigits + countDigitsMax) {
      source.damaged(head.size() + i, "the seal is damaged");
    }
  }
  if (end == std::string_view::npos) source.cutOff("");
  if (seal.size() <= hashDigits + 1) source.damaged(end, "the seal is damaged");
  (void)std::from_chars(seal.data(), seal.data() + hashDigits, hash, 16);
  (void)std::from_chars(text.data() + countAt, text.data() + end, count);
  const std::string_view rest = text.substr(end + 1);
  const std::uint64_t whole = end + 1 + count;
  if (rest.size() < count) source.cutOff(fmt::format(" of {}", whole));
  if (rest.size() > count) {
    source.damaged(whole, fmt::format("{} bytes follow its end", rest.size() - count));
  }
  if (hash64(rest) != hash) {
    source.damaged(end + 1,
                   fmt::format("bytes {} to {} are not what was written", end + 1, text.size()));
  }
}

/// The members of an object, each asked for once.
class Members {
 public:
  Members(const Source& source, std::string where, Value& value)
      : source_(source), where_(std::move(where)) {
    if (value.type() != ValueType::Map) refuse("is no object");
    members_ = &value.asMap();
  }
  /// Null when it is not there.
  Value* find(std::string_view name, ValueType type) {
    Value* value = members_->find(name);
    if (value == nullptr) return nullptr;
    if (value->type() != type) refuse(fmt::format("\"{}\" is no {}", name, Value::typeName(type)));
    ++taken_;
    return value;
  }
  Value& at(std::string_view name, ValueType type) {
    if (Value* value = find(name, type)) return *value;
    refuse(fmt::format("has no \"{}\"", name));
  }
  Value* findAny(std::string_view name) {
    Value* value = members_->find(name);
    if (value != nullptr) ++taken_;
    return value;
  }
  void checkAllTaken() const {
    if (taken_ != members_->size()) refuse("has members that do not belong there");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    source_.damaged(0, fmt::format("{} {}", where_, what));
  }

 private:
  const Source& source_;
  const std::string where_;
  ValueMap* members_ = nullptr;
  std::size_t taken_ = 0;
};

SharedContentPtr contentOf(const Source& source, Value& entry, std::size_t index) {
  Members members(source, fmt::format("values[{}]", index), entry);
  SharedContent content;
  content.name = std::move(members.at("name", ValueType::String).asString());
  Value* value = members.findAny("value");
  if (const Value* stored = members.find("stored", ValueType::Binary)) {
    if (value != nullptr) members.refuse("has both \"value\" and \"stored\"");
    if (detail::decodeValue(asText(stored->asBinary()), content.value) != detail::Decoded::Ok) {
      members.refuse("has a \"stored\" that is no value");
    }
  } else if (value != nullptr) {
    content.value = std::move(*value);
  } else {
    members.refuse("has no \"value\"");
  }
  if (const Value* scopes = members.find("scopes", ValueType::List)) {
    for (const Value& scope : scopes->asList()) {
      if (scope.type() != ValueType::String) members.refuse("has a scope that is no string");
      content.scopes.push_back(scope.asString());
    }
  }
  members.checkAllTaken();
  if (content.name.empty() || content.name.size() > SharedState::nameBytesMax) {
    members.refuse(fmt::format("has a name of {} bytes", content.name.size()));
  }
  if (depthOf(content.value) > Value::depthMax) {
    members.refuse(fmt::format("is nested more than {} deep", Value::depthMax));
  }
  return std::make_shared<const SharedContent>(std::move(content));
}

Value documentOf(const Source& source) {
  try {
    return parseJson(source.text, JsonDialect::Exact, Value::depthMax + depthAround);
  } catch (const JsonError& error) {
    source.damaged(error.offset(), error.what());
  }
}

}  // namespace

bool looksLikeSharedFile(std::string_view text) noexcept { return text.starts_with(head); }

void checkSharedFile(std::string_view text, const std::string& file) {
  checkSeal({file, text, {}});
}

std::string formatSharedFile(const std::vector<SharedContentPtr>& contents,
                             const std::string& application, std::int64_t savedMs, bool compress) {
  const JsonIndent indent = compress ? JsonIndent() : JsonIndent(2);
  std::string rest;
  appendMember(",", "version", sharedFileVersion, indent, rest);
  appendMember(",", "reader", sharedFileVersion, indent, rest);
  appendMember(",", "application", application, indent, rest);
  appendMember(",", "saved", isoTime(savedMs), indent, rest);
  appendMember(",", "values", Value::List(), indent, rest);
  rest.pop_back();  // the list goes on
  const char* separator = "";
  for (const SharedContentPtr& content : contents) {
    rest += std::exchange(separator, ",");
    appendEntry(*content, deeper(indent), rest);
  }
  if (!contents.empty()) appendJsonBreak(indent, rest);
  rest += compress ? "]}\n" : "]\n}\n";
  return fmt::format("{}{:016x}:{}\"{}", head, hash64(rest), rest.size(), rest);
}

std::vector<SharedContentPtr> parseSharedFile(std::string_view text, const std::string& file,
                                              const std::string& application,
                                              const std::string& previous) {
  const Source source{file, text, previous};
  checkSeal(source);
  Value document = documentOf(source);
  Members members(source, "the file", document);
  (void)members.at("penstock", ValueType::String);
  (void)members.at("seal", ValueType::String);
  const std::int64_t version = members.at("version", ValueType::Int64).asInt64();
  const std::int64_t reader = members.at("reader", ValueType::Int64).asInt64();
  if (reader > sharedFileVersion) {
    throw FormatTooNew(
        fmt::format("{}: offset {}: its format is version {}, which needs a reader of version {}; "
                    "this Penstock "
                    "reads version {}: use a newer one",
                    file, text.find("\"version\""), version, reader, sharedFileVersion));
  }
  const std::string& owner = members.at("application", ValueType::String).asString();
  if (!application.empty() && !owner.empty() && owner != application) {
    throw ForeignFile(
        fmt::format("{}: offset {}: it is the state of the application {:?}, not of {:?}; name "
                    "another file",
                    file, text.find("\"application\""), owner, application));
  }
  (void)members.at("saved", ValueType::String);
  std::vector<SharedContentPtr> contents;
  std::unordered_set<std::string_view> names;
  for (Value& entry : members.at("values", ValueType::List).asList()) {
    contents.push_back(contentOf(source, entry, contents.size()));
    if (!names.insert(contents.back()->name).second) {
      source.damaged(0, fmt::format("values[{}] has the name {:?}, which is there already",
                                    contents.size() - 1, contents.back()->name));
    }
  }
  members.checkAllTaken();
  return contents;
}

std::string isoTime(std::int64_t wallMs) {
  const std::chrono::sys_time<std::chrono::milliseconds> time{std::chrono::milliseconds(wallMs)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

std::size_t depthOf(const Value& value) noexcept {
  std::size_t inner = 0;
  if (value.type() == ValueType::List) {
    for (const Value& item : value.asList()) inner = std::max(inner, depthOf(item));
  } else if (value.type() == ValueType::Map) {
    for (const auto& [name, member] : value.asMap()) inner = std::max(inner, depthOf(member));
  }
  return inner + 1;
}

}  // namespace penstock::state
