// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace penstock::state {

/// What a Value holds, in the order of its variant. What is persisted has numbers of its own.
enum class ValueType : std::uint8_t {
  Null = 0,
  Bool = 1,
  Int64 = 2,
  Double = 3,
  String = 4,
  Binary = 5,
  List = 6,
  Map = 7,
};

/// Bytes that are no text.
using Binary = std::vector<std::byte>;

class Value;

/// The members of a map value, in the order in which they were added; names are unique.
///
/// Use it for records with tens of members: a look-up compares one name after the other.
/// Threads: thread-compatible: one writer or many readers.
/// Errors: KeyNotFound from `at`, InvalidArgument for a name given twice.
class ValueMap {
 public:
  using Entry = std::pair<std::string, Value>;

  ValueMap();
  ValueMap(std::initializer_list<Entry> entries);
  explicit ValueMap(std::vector<Entry> entries);
  ValueMap(const ValueMap& other);
  ValueMap(ValueMap&& other) noexcept;
  ValueMap& operator=(const ValueMap& other);
  ValueMap& operator=(ValueMap&& other) noexcept;
  ~ValueMap();

  [[nodiscard]] std::size_t size() const noexcept;
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] const Entry* begin() const noexcept;
  [[nodiscard]] const Entry* end() const noexcept;

  /// Null when absent; valid until a member is added or erased.
  [[nodiscard]] const Value* find(std::string_view name) const noexcept;
  [[nodiscard]] Value* find(std::string_view name) noexcept;
  [[nodiscard]] const Value& at(std::string_view name) const;
  /// Adds a null member at the end when absent.
  Value& operator[](std::string_view name);
  /// False when absent.
  bool erase(std::string_view name);

  /// Order does not count.
  friend bool operator==(const ValueMap& left, const ValueMap& right);

 private:
  std::vector<Entry> entries_;
};

/// A value whose type is known at run time: null, bool, int64, double, string, binary, list, map.
///
/// Use it where the types come from outside (JSON, Python, a generic tool); a program that knows
/// its types stores them directly.
///
/// Threads: thread-compatible: one writer or many readers.
/// Errors: TypeMismatch when read as another type, there is no conversion (an int64 is no
/// double); InvalidArgument for an integer beyond int64, for JSON that is malformed or has no
/// exact counterpart, and, when it is stored, for one nested more than `depthMax` deep.
///
///     Value order = ValueMap{{"id", 17}, {"lines", Value::List{"nut", "bolt"}}};
///     order.asMap().at("id").asInt64();
class Value {
 public:
  using Type = ValueType;
  using List = std::vector<Value>;
  using Map = ValueMap;

  /// A scalar has depth 1, a list of scalars 2. Limits recursion when stored, read or parsed.
  static constexpr std::size_t depthMax = 128;

  Value() noexcept = default;
  Value(std::nullptr_t) noexcept {}
  template <std::same_as<bool> T>
  Value(T value) noexcept : data_(value) {}
  template <std::integral T>
    requires(!std::same_as<T, bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> &&
             !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>)
  Value(T value) : data_(toInt64(value)) {}
  Value(float value) noexcept : data_(static_cast<double>(value)) {}
  Value(double value) noexcept : data_(value) {}
  Value(std::string value) noexcept : data_(std::move(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(Binary value) noexcept : data_(std::move(value)) {}
  Value(std::span<const std::byte> value) : data_(Binary(value.begin(), value.end())) {}
  Value(List value) noexcept : data_(std::move(value)) {}
  Value(Map value) noexcept : data_(std::move(value)) {}

  [[nodiscard]] Type type() const noexcept { return static_cast<Type>(data_.index()); }
  [[nodiscard]] bool isNull() const noexcept { return type() == Type::Null; }
  /// "int64", "map", ...
  [[nodiscard]] static std::string_view typeName(Type type) noexcept;

  [[nodiscard]] bool asBool() const { return as<bool>(Type::Bool); }
  [[nodiscard]] std::int64_t asInt64() const { return as<std::int64_t>(Type::Int64); }
  [[nodiscard]] double asDouble() const { return as<double>(Type::Double); }
  [[nodiscard]] const std::string& asString() const { return as<std::string>(Type::String); }
  [[nodiscard]] const Binary& asBinary() const { return as<Binary>(Type::Binary); }
  [[nodiscard]] const List& asList() const { return as<List>(Type::List); }
  [[nodiscard]] List& asList() { return const_cast<List&>(std::as_const(*this).asList()); }
  [[nodiscard]] const Map& asMap() const { return as<Map>(Type::Map); }
  [[nodiscard]] Map& asMap() { return const_cast<Map&>(std::as_const(*this).asMap()); }

  /// Same type and content; doubles compare as doubles do (NaN differs from itself).
  friend bool operator==(const Value& left, const Value& right) = default;

  /// One line of JSON. What JSON lacks is an object with one member: {"$binary": base64},
  /// {"$double": "NaN" | "Infinity" | "-Infinity"}, {"$string": base64} for a string that is not
  /// UTF-8. A member that only happens to have such a name gets one more "$".
  [[nodiscard]] std::string toJson() const;
  /// The inverse of toJson.
  [[nodiscard]] static Value fromJson(std::string_view json);

  /// InvalidArgument beyond int64.
  template <typename T>
  [[nodiscard]] static std::int64_t toInt64(T value) {
    if (!std::in_range<std::int64_t>(value)) throwBeyondInt64(static_cast<std::uint64_t>(value));
    return static_cast<std::int64_t>(value);
  }

 private:
  template <typename T>
  const T& as(Type asked) const {
    if (const T* value = std::get_if<T>(&data_)) return *value;
    throwMismatch(type(), asked);
  }
  [[noreturn]] static void throwBeyondInt64(std::uint64_t value);
  [[noreturn]] static void throwMismatch(Type stored, Type asked);

  std::variant<std::monostate, bool, std::int64_t, double, std::string, Binary, List, Map> data_;
};

}  // namespace penstock::state
