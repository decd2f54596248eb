// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/stream_errors.h>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace penstock {

/// A key or value that is not wanted: read from anything, written as absent.
struct None {
  bool operator==(const None&) const = default;
};

/// How a type becomes bytes in topics and stores. Specialise it for a type of your own, or pass
/// another serde in an operator's options:
///
///     struct OrderSerde {
///       static std::string name() { return "order/1"; }  // durable: part of the fingerprint
///       void encode(const Order& order, std::string& out) const;      // appends
///       void decode(std::string_view bytes, Order& order) const;      // throws SerdeError
///     };
///
/// There for: std::string and std::string_view (the bytes as they are), int32, int64, uint32,
/// uint64, float and double (big-endian, as Kafka's own), bool (one byte), bytes
/// (std::vector<std::byte>), None, std::optional of any of them (absent and present).
/// <penstock/serde_json.h> and <penstock/serde_cereal.h> add JSON values and cereal structs.
///
/// A std::string_view in a stream is valid during the call it is passed to; operators that keep
/// it (stores, repartitioning) copy it.
///
/// Threads: immutable after construction; each task has a copy.
/// Errors: SerdeError from decode; what encode throws counts as an error of the record too.
/// An absent key or value is an error unless the serde has `decodeAbsent(T&)`; it is written as
/// absent when the serde has `isAbsent(const T&)` and that returns true.
template <typename T>
struct Serde {
  static_assert(!std::same_as<T, T>,
                "penstock::Serde: no serde for this type: include <penstock/serde_cereal.h> or "
                "<penstock/serde_json.h>, specialise penstock::Serde, or pass one in the options");
};

/// What an operator takes as serde of T.
template <typename S, typename T>
concept SerdeFor = std::copy_constructible<S> && std::default_initializable<T> &&
                   requires(const S& serde, const T& value, T& into, std::string& out) {
                     { serde.name() } -> std::convertible_to<std::string>;
                     serde.encode(value, out);
                     serde.decode(std::string_view{}, into);
                   };

/// What a store keeps of a type that travels: std::string of std::string_view, else the same.
template <typename T>
struct OwnedType {
  using type = T;
};
/// Views do not outlive a record.
template <>
struct OwnedType<std::string_view> {
  using type = std::string;
};
template <typename T>
using Owned = typename OwnedType<T>::type;

namespace detail {

[[noreturn]] void throwSize(std::string_view type, std::size_t expected, std::size_t found);
[[noreturn]] void throwAbsent(const std::string& serde);

/// Fixed size, big-endian, as Kafka's own serdes.
template <typename T>
struct NumberSerde {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  static constexpr bool neverEmpty = true;

  static void encode(T value, std::string& out) {
    const Bits bits = swapped(std::bit_cast<Bits>(value));
    char bytes[sizeof bits];
    std::memcpy(bytes, &bits, sizeof bits);
    out.append(bytes, sizeof bytes);
  }
  static T read(std::string_view name, std::string_view bytes) {
    if (bytes.size() != sizeof(T)) throwSize(name, sizeof(T), bytes.size());
    Bits bits = 0;
    std::memcpy(&bits, bytes.data(), sizeof bits);
    return std::bit_cast<T>(swapped(bits));
  }

 private:
  static Bits swapped(Bits bits) noexcept {
    if constexpr (std::endian::native == std::endian::big) return bits;
    if constexpr (sizeof(Bits) == 4) return __builtin_bswap32(bits);
    return static_cast<Bits>(__builtin_bswap64(bits));
  }
};

}  // namespace detail

/// The bytes as they are.
template <>
struct Serde<std::string> {
  static std::string name() { return "string"; }
  static void encode(const std::string& value, std::string& out) { out += value; }
  static void decode(std::string_view bytes, std::string& value) { value = bytes; }
};

/// The bytes as they are; valid as long as the record.
template <>
struct Serde<std::string_view> {
  static std::string name() { return "string"; }
  static void encode(std::string_view value, std::string& out) { out += value; }
  static void decode(std::string_view bytes, std::string_view& value) { value = bytes; }
};

/// 4 bytes, big-endian.
template <>
struct Serde<std::int32_t> : detail::NumberSerde<std::int32_t> {
  static std::string name() { return "int32"; }
  static void decode(std::string_view bytes, std::int32_t& value) { value = read("int32", bytes); }
};
/// 8 bytes, big-endian.
template <>
struct Serde<std::int64_t> : detail::NumberSerde<std::int64_t> {
  static std::string name() { return "int64"; }
  static void decode(std::string_view bytes, std::int64_t& value) { value = read("int64", bytes); }
};
/// 4 bytes, big-endian.
template <>
struct Serde<std::uint32_t> : detail::NumberSerde<std::uint32_t> {
  static std::string name() { return "uint32"; }
  static void decode(std::string_view bytes, std::uint32_t& value) {
    value = read("uint32", bytes);
  }
};
/// 8 bytes, big-endian.
template <>
struct Serde<std::uint64_t> : detail::NumberSerde<std::uint64_t> {
  static std::string name() { return "uint64"; }
  static void decode(std::string_view bytes, std::uint64_t& value) {
    value = read("uint64", bytes);
  }
};
/// 4 bytes, IEEE 754, big-endian; every NaN keeps its bits.
template <>
struct Serde<float> : detail::NumberSerde<float> {
  static std::string name() { return "float"; }
  static void decode(std::string_view bytes, float& value) { value = read("float", bytes); }
};
/// 8 bytes, IEEE 754, big-endian; every NaN keeps its bits.
template <>
struct Serde<double> : detail::NumberSerde<double> {
  static std::string name() { return "double"; }
  static void decode(std::string_view bytes, double& value) { value = read("double", bytes); }
};

/// One byte, 0 or 1.
template <>
struct Serde<bool> {
  static constexpr bool neverEmpty = true;
  static std::string name() { return "bool"; }
  static void encode(bool value, std::string& out) { out += value ? '\1' : '\0'; }
  static void decode(std::string_view bytes, bool& value) {
    if (bytes.size() != 1) detail::throwSize("bool", 1, bytes.size());
    if (bytes[0] != '\0' && bytes[0] != '\1') throw SerdeError("bool: a byte that is not 0 or 1");
    value = bytes[0] == '\1';
  }
};

/// The bytes as they are.
template <>
struct Serde<std::vector<std::byte>> {
  static std::string name() { return "bytes"; }
  static void encode(const std::vector<std::byte>& value, std::string& out) {
    out.append(reinterpret_cast<const char*>(value.data()), value.size());
  }
  static void decode(std::string_view bytes, std::vector<std::byte>& value) {
    const auto view = std::as_bytes(std::span(bytes));
    value.assign(view.begin(), view.end());
  }
};

/// Read from anything, written as absent.
template <>
struct Serde<None> {
  static std::string name() { return "none"; }
  static void encode(const None&, std::string&) {}
  static void decode(std::string_view, None&) {}
  static void decodeAbsent(None&) {}
  static bool isAbsent(const None&) { return true; }
};

/// Absent or what T has.
template <typename T>
struct Serde<std::optional<T>> : Serde<T> {
  std::string name() const { return Serde<T>::name() + "?"; }
  void encode(const std::optional<T>& value, std::string& out) const {
    Serde<T>::encode(*value, out);  // isAbsent is asked first
  }
  void decode(std::string_view bytes, std::optional<T>& value) const {
    if (!value) value.emplace();
    Serde<T>::decode(bytes, *value);
  }
  static void decodeAbsent(std::optional<T>& value) { value.reset(); }
  static bool isAbsent(const std::optional<T>& value) { return !value; }
};

namespace detail {

/// A key or value of a record, absence included.
template <typename S, typename T>
void decodeField(const S& serde, const std::optional<std::string_view>& bytes, T& value) {
  if (bytes) {
    serde.decode(*bytes, value);
  } else if constexpr (requires { serde.decodeAbsent(value); }) {
    serde.decodeAbsent(value);
  } else {
    throwAbsent(serde.name());
  }
}

/// The result points into `buffer`, which is overwritten.
template <typename S, typename T>
std::optional<std::string_view> encodeField(const S& serde, const T& value, std::string& buffer) {
  if constexpr (requires { serde.isAbsent(value); }) {
    if (serde.isAbsent(value)) return std::nullopt;
  }
  buffer.clear();
  serde.encode(value, buffer);
  return buffer;
}

template <typename T>
inline constexpr bool canBeAbsent =
    requires(Serde<T>& serde, T& value) { serde.decodeAbsent(value); };

}  // namespace detail
}  // namespace penstock
