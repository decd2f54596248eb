// SPDX-License-Identifier: Apache-2.0
#include "penstock/state/value.h"

#include <fmt/format.h>

#include <algorithm>

#include "penstock/state/errors.h"

namespace penstock::state {
namespace {

// The entries by name, so that comparing and checking large maps is not quadratic.
std::vector<const ValueMap::Entry*> byName(std::span<const ValueMap::Entry> entries) {
  std::vector<const ValueMap::Entry*> sorted;
  sorted.reserve(entries.size());
  for (const ValueMap::Entry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* left, const auto* right) { return left->first < right->first; });
  return sorted;
}

}  // namespace

ValueMap::ValueMap() = default;
ValueMap::ValueMap(std::initializer_list<Entry> entries) : ValueMap(std::vector<Entry>(entries)) {}
ValueMap::ValueMap(std::vector<Entry> entries) : entries_(std::move(entries)) {
  const auto sorted = byName(entries_);
  const auto twice = std::adjacent_find(
      sorted.begin(), sorted.end(),
      [](const auto* left, const auto* right) { return left->first == right->first; });
  if (twice != sorted.end()) {
    throw InvalidArgument(fmt::format("map value: the name '{}' is there twice", (*twice)->first));
  }
}
ValueMap::ValueMap(const ValueMap& other) = default;
ValueMap::ValueMap(ValueMap&& other) noexcept = default;
ValueMap& ValueMap::operator=(const ValueMap& other) = default;
ValueMap& ValueMap::operator=(ValueMap&& other) noexcept = default;
ValueMap::~ValueMap() = default;

std::size_t ValueMap::size() const noexcept { return entries_.size(); }
const ValueMap::Entry* ValueMap::begin() const noexcept { return entries_.data(); }
const ValueMap::Entry* ValueMap::end() const noexcept { return entries_.data() + entries_.size(); }

const Value* ValueMap::find(std::string_view name) const noexcept {
  for (const Entry& entry : entries_) {
    if (entry.first == name) return &entry.second;
  }
  return nullptr;
}

Value* ValueMap::find(std::string_view name) noexcept {
  return const_cast<Value*>(std::as_const(*this).find(name));
}

const Value& ValueMap::at(std::string_view name) const {
  if (const Value* value = find(name)) return *value;
  throw KeyNotFound(fmt::format("map value: there is no member '{}'", name));
}

Value& ValueMap::operator[](std::string_view name) {
  if (Value* value = find(name)) return *value;
  return entries_.emplace_back(std::string(name), Value()).second;
}

bool ValueMap::erase(std::string_view name) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.first == name; }) != 0;
}

bool operator==(const ValueMap& left, const ValueMap& right) {
  if (left.size() != right.size()) return false;
  const auto leftSorted = byName(left.entries_);
  const auto rightSorted = byName(right.entries_);
  return std::equal(leftSorted.begin(), leftSorted.end(), rightSorted.begin(),
                    [](const auto* one, const auto* other) { return *one == *other; });
}

std::string_view Value::typeName(Type type) noexcept {
  switch (type) {
    case Type::Null:
      return "null";
    case Type::Bool:
      return "bool";
    case Type::Int64:
      return "int64";
    case Type::Double:
      return "double";
    case Type::String:
      return "string";
    case Type::Binary:
      return "binary";
    case Type::List:
      return "list";
    case Type::Map:
      return "map";
  }
  return "unknown";
}

void Value::throwBeyondInt64(std::uint64_t value) {
  throw InvalidArgument(fmt::format(
      "{} does not fit an int64 (at most 9223372036854775807); store it as a string or bytes",
      value));
}

void Value::throwMismatch(Type stored, Type asked) {
  throw TypeMismatch(
      fmt::format("the value is of type {}, it was read as {}", typeName(stored), typeName(asked)));
}

}  // namespace penstock::state
