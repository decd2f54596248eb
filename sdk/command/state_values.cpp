// SPDX-License-Identifier: Apache-2.0
#include "state_values.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/state/detail/base64.h>
#include <penstock/state/detail/storage_names.h>
#include <penstock/state/local_file_storage.h>

#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "output.h"

namespace penstock::command {

namespace {

using Json = nlohmann::ordered_json;
using state::Value;
using state::detail::subStoragesOf;

constexpr std::size_t shownBytesMax = 60;  // of a value in a list; arbitrary

std::shared_ptr<state::Journal> open(const std::string& directory) {
  state::JournalOptions options;
  options.sharing = state::Sharing::Shared;
  options.createDirectory = false;
  return state::Journal::open(directory, options);
}

/// As it is when it can be read as that, else in quotes with escapes.
std::string shownName(std::string_view name) {
  const std::string quoted = fmt::format("{:?}", name);
  return quoted.size() == name.size() + 2 && name.find(' ') == std::string_view::npos
             ? std::string(name)
             : quoted;
}

std::string shownPath(const std::vector<std::string>& sub) {
  std::string path;
  for (const std::string& name : sub) path += (path.empty() ? "" : "/") + shownName(name);
  return path;
}

/// The value itself, of one that is kept compressed or with a time; nullopt when that is over.
std::optional<std::string> present(std::string_view kept) {
  const auto expires = state::detail::expiryOf(kept);
  if (expires && *expires <= state::Environment::real().clock->wallMs()) return std::nullopt;
  std::string stored(kept);
  state::detail::unwrap(stored);
  return stored;
}

/// One line of JSON; nullopt for what only its program can read.
std::optional<std::string> jsonOfStored(std::string_view stored) {
  Value value;
  if (state::detail::decodeValue(stored, value) != state::detail::Decoded::Ok) return std::nullopt;
  return value.toJson();
}

std::string shortened(std::string text) {
  if (text.size() <= shownBytesMax) return text;
  std::size_t end = shownBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;  // UTF-8
  text.resize(end);
  return text + "...";
}

/// The store of the storage that was asked for; nullopt when it was never made.
std::optional<state::StoreInfo> storeOf(state::Journal& journal,
                                        const std::vector<std::string>& sub) {
  for (const state::StoreInfo& info : journal.stores()) {
    if (const auto names = subStoragesOf(info.name); names && *names == sub) return info;
  }
  return std::nullopt;
}

[[noreturn]] void throwNoStorage(const ValueArguments& arguments) {
  throw ConfigurationError(
      arguments.sub.empty()
          ? fmt::format("{}: holds no storage; what else it holds says penstock state stat",
                        arguments.directory)
          : fmt::format("{}: there is no sub-storage {}", arguments.directory,
                        shownPath(arguments.sub)));
}

template <typename Number>
Number numberOf(const ValueArguments& arguments) {
  const std::string& text = arguments.value;
  Number number{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) {
    throw ConfigurationError(fmt::format("'{}' is no {}", text, arguments.type));
  }
  return number;
}

Value valueOf(const ValueArguments& arguments) {
  const std::string& text = arguments.value;
  if (arguments.type == "string") return Value(text);
  if (arguments.type == "int64") return Value(numberOf<std::int64_t>(arguments));
  if (arguments.type == "double") return Value(numberOf<double>(arguments));
  if (arguments.type == "bool") {
    if (text == "true" || text == "false") return Value(text == "true");
    throw ConfigurationError(fmt::format("'{}' is no bool; say true or false", text));
  }
  if (arguments.type == "binary") {
    const auto bytes = state::detail::base64Decoded(text);
    if (!bytes) throw ConfigurationError(fmt::format("'{}' is not base64", text));
    const auto* first = reinterpret_cast<const std::byte*>(bytes->data());
    return Value(state::Binary(first, first + bytes->size()));
  }
  if (arguments.type == "null") {
    if (text.empty()) return Value();
    throw ConfigurationError(fmt::format("'{}': a null has no value; leave it out", text));
  }
  try {
    return Value::fromJson(text);
  } catch (const Error& error) {
    throw ConfigurationError(error.what());
  }
}

}  // namespace

void listValues(const ValueArguments& arguments) {
  const auto journal = open(arguments.directory);
  bool found = false;
  Json json = Json::array();
  std::string text = fmt::format("{:<20} {:<24} {:<10} {}\n", "storage", "key", "type", "value");
  for (const state::StoreInfo& info : journal->stores()) {
    const auto sub = subStoragesOf(info.name);
    if (!sub || sub->size() < arguments.sub.size() ||
        !std::equal(arguments.sub.begin(), arguments.sub.end(), sub->begin())) {
      continue;
    }
    found = true;
    journal->store(info.id)->scanPrefix(
        arguments.prefix, [&](std::string_view key, std::string_view kept) {
          const auto stored = present(kept);
          if (!stored) return true;
          const std::string type = state::detail::describeStored(*stored);
          const auto value = jsonOfStored(*stored);
          if (arguments.json) {
            json.push_back({{"storage", *sub}, {"key", key}, {"type", type}});
            json.back()["value"] = value ? Json::parse(*value) : Json();
          } else {
            text += fmt::format(
                "{:<20} {:<24} {:<10} {}\n", sub->empty() ? "-" : shownPath(*sub), shownName(key),
                type, value ? shortened(*value) : fmt::format("({} bytes)", stored->size() - 1));
          }
          return true;
        });
  }
  if (!found) throwNoStorage(arguments);
  print(arguments.json ? dumped(json) : text);
}

void getValue(const ValueArguments& arguments) {
  if (arguments.key.empty()) throw ConfigurationError("the key is empty");
  const auto journal = open(arguments.directory);
  const auto info = storeOf(*journal, arguments.sub);
  if (!info) throwNoStorage(arguments);
  std::string kept;
  const auto stored =
      journal->store(info->id)->get(arguments.key, kept) ? present(kept) : std::nullopt;
  if (!stored) {
    throw state::KeyNotFound(fmt::format(
        "{}: there is no key {:?}{}", arguments.directory, arguments.key,
        arguments.sub.empty() ? std::string{} : " in sub-storage " + shownPath(arguments.sub)));
  }
  const std::string type = state::detail::describeStored(*stored);
  Value value;
  if (state::detail::decodeValue(*stored, value) != state::detail::Decoded::Ok) {
    throw state::TypeMismatch(fmt::format("{}: key {:?} holds {}, which only its program can read",
                                          arguments.directory, arguments.key, type));
  }
  if (arguments.json) {
    Json json{{"key", arguments.key}, {"type", type}};
    json["value"] = Json::parse(value.toJson());
    return print(dumped(json));
  }
  print((value.type() == state::ValueType::String ? value.asString() : value.toJson()) + '\n');
}

void setValue(const ValueArguments& arguments) {
  const Value value = valueOf(arguments);  // what is wrong with it is said first
  try {
    makeStorage(arguments, MakeDirectory::No).set(arguments.key, value);
  } catch (const state::InvalidArgument& error) {  // a name or key that was typed
    throw ConfigurationError(error.what());
  }
}

state::LocalFileStorage findStorage(const ValueArguments& arguments) {
  const auto journal = open(arguments.directory);
  if (!storeOf(*journal, arguments.sub)) throwNoStorage(arguments);
  return makeStorage(arguments, MakeDirectory::No);
}

state::LocalFileStorage makeStorage(const ValueArguments& arguments, MakeDirectory directory) {
  state::LocalFileStorageOptions options;
  options.sharing = state::Sharing::Shared;
  options.createDirectory = directory == MakeDirectory::Yes;
  state::LocalFileStorage storage(arguments.directory, options);
  for (const std::string& name : arguments.sub) storage = storage.subStorage(name);
  return storage;
}

}  // namespace penstock::command
