// SPDX-License-Identifier: Apache-2.0

// Stored values, penstock/state/detail/stored.h.
//
// 1. A stored value knows its end from outside: the entry of the store, or the u32 length in
//    front of it in a list or map. So nothing is allocated for a count that bytes do not back.
// 2. Recursion ends at Value::depthMax on both ways: what can be written can be read.
// 3. The decoder takes any bytes: they may come from another program's store.

#include <fmt/format.h>
#include <zstd.h>

#include <memory>
#include <new>

#include "penstock/state/detail/stored.h"
#include "penstock/state/errors.h"

namespace penstock::state::detail {
namespace {

void appendLength(std::size_t length, std::string& out) {
  if (length > std::numeric_limits<std::uint32_t>::max()) {
    throw InvalidArgument("a part of the value is longer than 4 GiB; values may have 1 GiB");
  }
  const auto narrow = static_cast<std::uint32_t>(length);
  out.append(reinterpret_cast<const char*>(&narrow), sizeof(narrow));
}

void patchLength(std::size_t at, std::string& out) {
  std::string length;
  appendLength(out.size() - at - sizeof(std::uint32_t), length);
  out.replace(at, length.size(), length);
}

template <typename T>
void appendScalar(ValueTag tag, T value, std::string& out) {
  out.push_back(static_cast<char>(tag));
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void append(const Value& value, std::size_t depth, std::string& out) {
  if (depth > Value::depthMax) {
    throw InvalidArgument(
        fmt::format("the value is nested more than {} deep; flatten it", Value::depthMax));
  }
  const auto appendNested = [&](const Value& nested) {
    const std::size_t at = out.size();
    out.append(sizeof(std::uint32_t), '\0');
    append(nested, depth + 1, out);
    patchLength(at, out);
  };
  switch (value.type()) {
    case ValueType::Null:
      out.push_back(static_cast<char>(ValueTag::Null));
      return;
    case ValueType::Bool:
      appendScalar(ValueTag::Bool, static_cast<std::uint8_t>(value.asBool()), out);
      return;
    case ValueType::Int64:
      appendScalar(ValueTag::Int64, value.asInt64(), out);
      return;
    case ValueType::Double:
      appendScalar(ValueTag::Double, value.asDouble(), out);
      return;
    case ValueType::String:
      out.push_back(static_cast<char>(ValueTag::String));
      out.append(value.asString());
      return;
    case ValueType::Binary:
      out.push_back(static_cast<char>(ValueTag::Bytes));
      out.append(reinterpret_cast<const char*>(value.asBinary().data()), value.asBinary().size());
      return;
    case ValueType::List:
      out.push_back(static_cast<char>(ValueTag::List));
      for (const Value& item : value.asList()) appendNested(item);
      return;
    case ValueType::Map:
      out.push_back(static_cast<char>(ValueTag::Map));
      for (const auto& [name, member] : value.asMap()) {
        appendLength(name.size(), out);
        out.append(name);
        appendNested(member);
      }
      return;
  }
}

// Cuts a length and that many bytes off the front. False when they are not there.
bool take(std::string_view& bytes, std::string_view& part) noexcept {
  std::uint32_t length = 0;
  if (bytes.size() < sizeof(length)) return false;
  std::memcpy(&length, bytes.data(), sizeof(length));
  bytes.remove_prefix(sizeof(length));
  if (bytes.size() < length) return false;
  part = bytes.substr(0, length);
  bytes.remove_prefix(length);
  return true;
}

template <ValueTag tag, typename Raw, typename T = Raw>
Decoded decodeInto(std::string_view bytes, Value& value) {
  Raw raw{};
  const Decoded decoded = decodeScalar<tag>(bytes, raw);
  if (decoded == Decoded::Ok) value = Value(static_cast<T>(raw));
  return decoded;
}

Decoded decode(std::string_view bytes, std::size_t depth, Value& value) {
  if (depth > Value::depthMax || bytes.empty()) return Decoded::Unreadable;
  std::string_view rest = bytes.substr(1);
  switch (static_cast<ValueTag>(bytes[0])) {
    case ValueTag::Null:
      value = Value();
      return rest.empty() ? Decoded::Ok : Decoded::Unreadable;
    case ValueTag::Bool:
      if (rest.size() != 1 || static_cast<unsigned char>(rest[0]) > 1) return Decoded::Unreadable;
      value = Value(rest[0] == 1);
      return Decoded::Ok;
    case ValueTag::Int64:
      return decodeInto<ValueTag::Int64, std::int64_t>(bytes, value);
    case ValueTag::Double:
      return decodeInto<ValueTag::Double, double>(bytes, value);
    case ValueTag::String:
      value = Value(rest);
      return Decoded::Ok;
    case ValueTag::Bytes:
      value = Value(std::as_bytes(std::span(rest)));
      return Decoded::Ok;
    case ValueTag::List: {
      Value::List items;
      for (std::string_view part; !rest.empty();) {
        if (!take(rest, part)) return Decoded::Unreadable;
        if (decode(part, depth + 1, items.emplace_back()) != Decoded::Ok) {
          return Decoded::Unreadable;
        }
      }
      value = Value(std::move(items));
      return Decoded::Ok;
    }
    case ValueTag::Map: {
      std::vector<ValueMap::Entry> entries;
      for (std::string_view name, part; !rest.empty();) {
        if (!take(rest, name) || !take(rest, part)) return Decoded::Unreadable;
        Value& member = entries.emplace_back(std::string(name), Value()).second;
        if (decode(part, depth + 1, member) != Decoded::Ok) return Decoded::Unreadable;
      }
      try {
        value = Value(ValueMap(std::move(entries)));
      } catch (const InvalidArgument&) {  // a name twice
        return Decoded::Unreadable;
      }
      return Decoded::Ok;
    }
    case ValueTag::Struct:
    case ValueTag::Expiring:
    case ValueTag::Compressed:
      return Decoded::OtherType;
  }
  return Decoded::OtherType;
}

constexpr char methodZstd = 1;
constexpr int zstdLevel = 1;  // 3 takes a third longer and saves a few per cent of JSON
constexpr std::size_t compressedHead = 2 + sizeof(std::uint32_t);

/// One per thread: making one takes longer than compressing a small value.
struct Zstd {
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> in{ZSTD_createCCtx(), &ZSTD_freeCCtx};
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> out{ZSTD_createDCtx(), &ZSTD_freeDCtx};
  static Zstd& mine() {
    thread_local Zstd zstd;
    if (!zstd.in || !zstd.out) throw std::bad_alloc();
    return zstd;
  }
};

bool decompress(std::string_view bytes, std::string& plain) {
  std::uint32_t length = 0;
  if (bytes.size() < compressedHead || bytes[1] != methodZstd) return false;
  std::memcpy(&length, bytes.data() + 2, sizeof(length));
  bytes.remove_prefix(compressedHead);
  // What the frame says comes first, and no frame holds more than that many times its own bytes:
  // a length that nothing backs is never allocated.
  constexpr std::size_t ratioMax = 40'000;  // a block of 128 KiB has 4 bytes at least
  if (length > storedBytesMax + 1 || length / ratioMax > bytes.size() ||
      ZSTD_getFrameContentSize(bytes.data(), bytes.size()) != length) {
    return false;
  }
  plain.resize(length);
  const std::size_t got = ZSTD_decompressDCtx(Zstd::mine().out.get(), plain.data(), plain.size(),
                                              bytes.data(), bytes.size());
  return !ZSTD_isError(got) && got == length;
}

}  // namespace

std::optional<std::int64_t> expiryOf(std::string_view bytes) noexcept {
  if (bytes.size() < expiryBytes || bytes[0] != static_cast<char>(ValueTag::Expiring)) {
    return std::nullopt;
  }
  std::int64_t timeMs = 0;
  std::memcpy(&timeMs, bytes.data() + 1, sizeof(timeMs));
  return timeMs;
}

void expireAt(std::int64_t timeMs, std::string& bytes) {
  std::string head;
  appendScalar(ValueTag::Expiring, timeMs, head);
  bytes.insert(0, head);
}

void compress(std::string& bytes) {
  std::string packed(compressedHead + ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size = ZSTD_compressCCtx(
      Zstd::mine().in.get(), packed.data() + compressedHead, packed.size() - compressedHead,
      bytes.data(), bytes.size(), zstdLevel);
  if (ZSTD_isError(size) || compressedHead + size >= bytes.size()) return;
  const auto length = static_cast<std::uint32_t>(bytes.size());
  packed[0] = static_cast<char>(ValueTag::Compressed);
  packed[1] = methodZstd;
  std::memcpy(packed.data() + 2, &length, sizeof(length));
  packed.resize(compressedHead + size);
  bytes = std::move(packed);
}

void unwrap(std::string& bytes) {
  if (expiryOf(bytes)) bytes.erase(0, expiryBytes);
  if (bytes.empty() || bytes[0] != static_cast<char>(ValueTag::Compressed)) return;
  std::string plain;
  if (decompress(bytes, plain)) bytes = std::move(plain);
}

void encodeBytes(ValueTag tag, std::string_view payload, std::string& out) {
  if (payload.size() > storedBytesMax) {  // before a copy of it is made
    throw InvalidArgument(
        fmt::format("the value has {} bytes; values have up to 1 GiB", payload.size()));
  }
  out.clear();
  out.reserve(1 + payload.size());
  out.push_back(static_cast<char>(tag));
  out.append(payload);
}

void encodeValue(const Value& value, std::string& out) {
  out.clear();
  append(value, 1, out);
}

Decoded decodeValue(std::string_view bytes, Value& value) { return decode(bytes, 1, value); }

std::string describeStored(std::string_view bytes) {
  if (bytes.empty()) return "nothing";
  switch (static_cast<ValueTag>(bytes[0])) {
    case ValueTag::Null:
      return "null";
    case ValueTag::Bool:
      return "bool";
    case ValueTag::Int64:
      return "int64";
    case ValueTag::Double:
      return "double";
    case ValueTag::String:
      return "string";
    case ValueTag::Bytes:
      return "binary";
    case ValueTag::List:
      return "list";
    case ValueTag::Map:
      return "map";
    case ValueTag::Struct: {
      std::uint16_t length = 0;
      if (bytes.size() >= 4) std::memcpy(&length, bytes.data() + 2, sizeof(length));
      const std::string quoted =
          fmt::format("{:?}", bytes.substr(std::min<std::size_t>(4, bytes.size()), length));
      return "struct " + quoted.substr(1, quoted.size() - 2);
    }
    case ValueTag::Expiring:
      return "something that expires";
    case ValueTag::Compressed:
      return "something compressed that cannot be read";
  }
  return fmt::format("something unknown (tag {})", static_cast<unsigned char>(bytes[0]));
}

}  // namespace penstock::state::detail
