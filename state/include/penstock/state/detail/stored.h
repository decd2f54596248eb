// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/value.h>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// How a C++ value becomes the bytes of a store, and back. The bytes are a tag and a payload that
/// reaches to their end; docs/formats/values.md.
namespace penstock::state::detail {

static_assert(std::endian::native == std::endian::little, "stored numbers are little-endian");

/// Of a stored value, without its tag.
inline constexpr std::size_t storedBytesMax = std::size_t{1} << 30;

/// First byte of every stored value. Persisted: do not renumber.
enum class ValueTag : std::uint8_t {
  Null = 1,    // no payload
  Bool = 2,    // one byte, 0 or 1
  Int64 = 3,   // 8 bytes, little-endian
  Double = 4,  // 8 bytes, little-endian IEEE 754
  String = 5,  // the bytes
  Bytes = 6,   // the bytes
  List = 7,    // per item: u32 length, a stored value
  Map = 8,     // per member: u32 length, the name; u32 length, a stored value. Names are unique
  Struct = 9,  // u8 envelope version (1); u16 length, the type's name; cereal's bytes
  Expiring = 10,    // i64 ms since 1970; a stored value that does not expire
  Compressed = 11,  // u8 method (1: zstd); u32 length of a stored value as in 1 to 9; its bytes
};

enum class Decoded : std::uint8_t {
  Ok,
  OtherType,   // stored as something else
  OutOfRange,  // the right kind of number, but it does not fit the type asked for
  Unreadable,  // the right tag, but the payload is none of it
  Newer,       // a struct, or one in it, of a version that this program does not know
};

template <ValueTag tag, typename T>
void encodeScalar(T value, std::string& out) {
  char bytes[1 + sizeof(T)];  // fits std::string's own buffer: no allocation
  bytes[0] = static_cast<char>(tag);
  std::memcpy(bytes + 1, &value, sizeof(T));
  out.assign(bytes, sizeof(bytes));
}

template <ValueTag tag, typename T>
Decoded decodeScalar(std::string_view bytes, T& value) noexcept {
  if (bytes.empty() || bytes[0] != static_cast<char>(tag)) return Decoded::OtherType;
  if (bytes.size() != 1 + sizeof(T)) return Decoded::Unreadable;
  std::memcpy(&value, bytes.data() + 1, sizeof(T));
  return Decoded::Ok;
}

void encodeBytes(ValueTag tag, std::string_view payload, std::string& out);
/// InvalidArgument when nested more than Value::depthMax deep.
void encodeValue(const Value& value, std::string& out);
/// Never throws on any bytes but for lack of memory; what it takes is bounded by their number.
Decoded decodeValue(std::string_view bytes, Value& value);
/// "int64", "struct shop::Order", "something unknown (tag 42)".
std::string describeStored(std::string_view bytes);

/// When a stored value is gone, ms since 1970; nullopt when never. A few bytes of it are enough.
[[nodiscard]] std::optional<std::int64_t> expiryOf(std::string_view bytes) noexcept;
inline constexpr std::size_t expiryBytes = 1 + sizeof(std::int64_t);
/// Makes a stored value of a type (tags 1 to 9) one that takes less, if compression makes it so.
void compress(std::string& bytes);
/// Makes it one that is gone at that time.
void expireAt(std::int64_t timeMs, std::string& bytes);
/// The stored value of a type again. What cannot be decompressed is left as it is.
void unwrap(std::string& bytes);

template <typename T>
concept Character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
                    std::same_as<T, char16_t> || std::same_as<T, char32_t>;
template <typename T>
concept Integer = std::integral<T> && !std::same_as<T, bool> && !Character<T>;
template <typename T>
concept Text = std::convertible_to<const T&, std::string_view> && !std::same_as<T, std::nullptr_t>;
template <typename T>
concept Octets = !Text<T> && (std::convertible_to<const T&, std::span<const std::byte>> ||
                              std::convertible_to<const T&, std::span<const unsigned char>>);
template <typename T>
concept ValueLike = std::same_as<T, Value> || std::same_as<T, Value::List> ||
                    std::same_as<T, Value::Map> || std::same_as<T, std::nullptr_t>;

/// A type that can be stored has a specialisation of this: `name` for messages, `encode`, and,
/// when it can be read as well, `decode`. `<penstock/state/cereal.h>` adds the structs.
template <typename T>
struct Stored;

template <>
struct Stored<bool> {
  static constexpr std::string_view name = "bool";
  static void encode(bool value, std::string& out) {
    encodeScalar<ValueTag::Bool>(static_cast<std::uint8_t>(value), out);
  }
  static Decoded decode(std::string& bytes, bool& value) noexcept {
    std::uint8_t byte = 0;
    const Decoded decoded = decodeScalar<ValueTag::Bool>(bytes, byte);
    if (decoded == Decoded::Ok && byte > 1) return Decoded::Unreadable;
    value = byte == 1;
    return decoded;
  }
};

template <Integer T>
struct Stored<T> {
  static constexpr std::string_view name = std::same_as<T, std::int64_t> ? "int64"
                                           : std::is_signed_v<T>         ? "a smaller integer"
                                                                         : "an unsigned integer";
  static void encode(T value, std::string& out) {
    encodeScalar<ValueTag::Int64>(Value::toInt64(value), out);
  }
  static Decoded decode(std::string& bytes, T& value) noexcept {
    std::int64_t wide = 0;
    const Decoded decoded = decodeScalar<ValueTag::Int64>(bytes, wide);
    if (decoded == Decoded::Ok && !std::in_range<T>(wide)) return Decoded::OutOfRange;
    value = static_cast<T>(wide);
    return decoded;
  }
};

template <typename T>
  requires std::same_as<T, float> || std::same_as<T, double>
struct Stored<T> {
  static constexpr std::string_view name = std::same_as<T, double> ? "double" : "float";
  static void encode(T value, std::string& out) {
    encodeScalar<ValueTag::Double>(static_cast<double>(value), out);
  }
  static Decoded decode(std::string& bytes, T& value) noexcept {
    double wide = 0;
    const Decoded decoded = decodeScalar<ValueTag::Double>(bytes, wide);
    if (decoded != Decoded::Ok) return decoded;
    // A double that is no float is refused, not rounded. (NaN is one; infinities are.)
    if constexpr (std::same_as<T, float>) {
      constexpr double largest = std::numeric_limits<float>::max();
      const bool finite = wide - wide == 0;
      if (finite && (wide > largest || wide < -largest)) return Decoded::OutOfRange;
      if (finite && static_cast<double>(static_cast<float>(wide)) != wide) {
        return Decoded::OutOfRange;
      }
    }
    value = static_cast<T>(wide);
    return Decoded::Ok;
  }
};

/// Anything that views as text can be stored; only std::string, which owns, can be read.
template <Text T>
struct Stored<T> {
  static constexpr std::string_view name = "string";
  static void encode(const T& value, std::string& out) {
    encodeBytes(ValueTag::String, std::string_view(value), out);
  }
  static Decoded decode(std::string& bytes, T& value)
    requires std::same_as<T, std::string>
  {
    if (bytes.empty() || bytes[0] != static_cast<char>(ValueTag::String)) {
      return Decoded::OtherType;
    }
    bytes.erase(0, 1);
    value = std::move(bytes);
    return Decoded::Ok;
  }
};

/// Anything that views as bytes can be stored; only vectors, which own, can be read.
template <Octets T>
struct Stored<T> {
  static constexpr std::string_view name = "binary";
  static void encode(const T& value, std::string& out) {
    if constexpr (std::convertible_to<const T&, std::span<const std::byte>>) {
      const std::span<const std::byte> view(value);
      encodeBytes(ValueTag::Bytes, {reinterpret_cast<const char*>(view.data()), view.size()}, out);
    } else {
      const std::span<const unsigned char> view(value);
      encodeBytes(ValueTag::Bytes, {reinterpret_cast<const char*>(view.data()), view.size()}, out);
    }
  }
  static Decoded decode(std::string& bytes, T& value)
    requires(std::same_as<T, Binary> || std::same_as<T, std::vector<unsigned char>>)
  {
    if (bytes.empty() || bytes[0] != static_cast<char>(ValueTag::Bytes)) {
      return Decoded::OtherType;
    }
    const auto* first = reinterpret_cast<const typename T::value_type*>(bytes.data());
    value.assign(first + 1, first + bytes.size());
    return Decoded::Ok;
  }
};

template <ValueLike T>
struct Stored<T> {
  static constexpr std::string_view name = "a Value";
  static void encode(const T& value, std::string& out) {
    if constexpr (std::same_as<T, Value>) {
      encodeValue(value, out);
    } else {
      encodeValue(Value(value), out);
    }
  }
  static Decoded decode(std::string& bytes, T& value)
    requires std::same_as<T, Value>
  {
    return decodeValue(bytes, value);
  }
};

/// What a `const T&` argument is stored as: a literal as `const char*`.
template <typename T>
using StoredAs = std::decay_t<const T&>;

template <typename T>
concept Storable = requires(const T& value, std::string& out) { Stored<T>::encode(value, out); };
template <typename T>
concept Readable = std::default_initializable<T> && requires(std::string& bytes, T& value) {
  { Stored<T>::decode(bytes, value) } -> std::same_as<Decoded>;
};

template <typename T>
constexpr void assertStorable() {
  static_assert(!Character<T>, "penstock: store a character as a string or as an integer");
  static_assert(!std::is_enum_v<T>, "penstock: cast the enumerator to an integer to store it");
  static_assert(!std::same_as<T, long double>, "penstock: long double is not stored; use double");
  static_assert(Storable<T>,
                "penstock: this type cannot be stored. Types: bool, integers up to 64 bits, float, "
                "double, strings, bytes, Value, and any struct with a cereal serialize function "
                "once <penstock/state/cereal.h> is included");
}

template <typename T>
constexpr void assertReadable() {
  static_assert(!Text<T> || std::same_as<T, std::string>,
                "penstock: ask for std::string; a view of the stored text would dangle");
  assertStorable<T>();
  static_assert(Readable<T>,
                "penstock: this type can be stored but not read back as it owns no memory (ask "
                "for std::string, Binary or Value) or has no default constructor");
}

}  // namespace penstock::state::detail
