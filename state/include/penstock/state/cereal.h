// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/detail/stored.h>
#include <penstock/state/errors.h>
#include <algorithm>
#include <cereal/cereal.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>

/// Stores structs that have a cereal `serialize` function (or `save` and `load`). The one header
/// that needs cereal; include it before the struct is stored, and cereal's headers for the
/// standard types that are its members.
///
///     struct Order {
///       std::int64_t id = 0;
///       std::vector<std::string> lines;
///       template <typename Archive>
///       void serialize(Archive& archive) { archive(id, lines); }
///     };
///     storage.set("last", Order{17, {"nut"}});
///     storage.get<Order>("last");
///
/// A struct is stored with its type's name and read back only as the type of that name. The name
/// is what the compiler calls the type ("shop::Order"; types of unnamed namespaces and templates
/// are called differently by different compilers); a struct that was renamed, or that is to keep
/// its data under another compiler, says `static constexpr std::string_view storedName = "...";`.
///
/// A struct whose members come and go has a version: CEREAL_CLASS_VERSION(shop::Order, 2) and
/// `serialize(Archive&, std::uint32_t version)`, which reads what that version had and leaves
/// what came later at its default. Every older version is read, whichever wrote it; a newer one
/// than the program knows is refused by a TypeMismatch that says so, nested or not. The first
/// version has to be a versioned one (0) for that: give a struct its version before it is first
/// stored. Without versions, read with other members than it was stored with it is a
/// TypeMismatch, as far as the bytes tell.
namespace penstock::state {
namespace detail {

// cereal's own binary archives read from streams and resize a container to any length they meet;
// these two work on memory and never read a length that the bytes at hand could not fill. The
// format is that of cereal's PortableBinary on a little-endian machine, without its first byte.

/// Appends a struct's members to a string.
class StructWriter : public cereal::OutputArchive<StructWriter, cereal::AllowEmptyClassElision> {
 public:
  explicit StructWriter(std::string& out) : OutputArchive(this), out_(out) {}
  void write(const void* data, std::size_t size) {
    out_.append(static_cast<const char*>(data), size);
  }

 private:
  std::string& out_;
};

/// Of a struct in the bytes: a version that this program does not know.
struct NewerVersion : cereal::Exception {
  NewerVersion() : Exception("stored by a newer version of the type") {}
};

/// Reads a struct's members from bytes; a cereal::Exception when they don't fit.
class StructReader : public cereal::InputArchive<StructReader, cereal::AllowEmptyClassElision> {
 public:
  explicit StructReader(std::string_view bytes) : InputArchive(this), rest_(bytes) {}
  void read(void* data, std::size_t size) {
    if (size > rest_.size()) throw cereal::Exception("the bytes end within a member");
    if (size != 0) std::memcpy(data, rest_.data(), size);
    rest_.remove_prefix(size);
  }
  void checkCount(cereal::size_type count) const {
    // Members without bytes of their own (empty structs) are allowed in small numbers.
    constexpr std::size_t emptyItemsMax = 65536;
    if (count > std::max(rest_.size(), emptyItemsMax)) {
      throw cereal::Exception("a container is longer than the bytes");
    }
  }
  [[nodiscard]] bool atEnd() const noexcept { return rest_.empty(); }

  /// The versioned type that comes next; its version is read before its members.
  void versionKnown(std::uint32_t version) noexcept { versionKnown_ = version; }
  void checkVersion(std::uint32_t version) const {
    if (version > versionKnown_) throw NewerVersion();
  }

 private:
  std::string_view rest_;
  std::uint32_t versionKnown_ = 0;
};

template <typename T>
concept Versioned = cereal::traits::has_member_versioned_serialize<T, StructReader>::value ||
                    cereal::traits::has_non_member_versioned_serialize<T, StructReader>::value ||
                    cereal::traits::has_member_versioned_load<T, StructReader>::value ||
                    cereal::traits::has_non_member_versioned_load<T, StructReader>::value;

// cereal calls it before it reads a T; found by the archive's namespace.
template <Versioned T>
void prologue(StructReader& archive, const T&) {
  archive.versionKnown(cereal::detail::Version<T>::version);
}

template <typename T>
  requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(StructWriter& archive, const T& value) {
  static_assert(!std::same_as<T, long double>, "penstock: long double is not stored; use double");
  archive.write(&value, sizeof(value));
}
template <typename T>
  requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(StructReader& archive, T& value) {
  if constexpr (std::same_as<T, bool>) {
    std::uint8_t byte = 0;
    archive.read(&byte, sizeof(byte));
    if (byte > 1) throw cereal::Exception("a bool is neither 0 nor 1");
    value = byte == 1;
  } else {
    archive.read(&value, sizeof(value));
  }
}

template <typename T>
void CEREAL_SERIALIZE_FUNCTION_NAME(StructWriter& archive, cereal::NameValuePair<T>& pair) {
  archive(pair.value);
}
template <typename T>
void CEREAL_SERIALIZE_FUNCTION_NAME(StructReader& archive, cereal::NameValuePair<T>& pair) {
  archive(pair.value);
  if constexpr (std::same_as<T, std::uint32_t&>) {
    constexpr std::string_view ofCereal = "cereal_class_version";
    if (pair.name == ofCereal) archive.checkVersion(pair.value);
  }
}

template <typename T>
void CEREAL_SERIALIZE_FUNCTION_NAME(StructWriter& archive, cereal::SizeTag<T>& tag) {
  archive(tag.size);
}
template <typename T>
void CEREAL_SERIALIZE_FUNCTION_NAME(StructReader& archive, cereal::SizeTag<T>& tag) {
  archive(tag.size);
  archive.checkCount(tag.size);
}

template <typename T>
void CEREAL_SAVE_FUNCTION_NAME(StructWriter& archive, const cereal::BinaryData<T>& data) {
  archive.write(data.data, static_cast<std::size_t>(data.size));
}
template <typename T>
void CEREAL_LOAD_FUNCTION_NAME(StructReader& archive, cereal::BinaryData<T>& data) {
  archive.read(data.data, static_cast<std::size_t>(data.size));
}

/// "shop::Order"
template <typename T>
constexpr std::string_view storedName() {
  if constexpr (requires { std::string_view(T::storedName); }) {
    return T::storedName;
  } else {
    constexpr std::string_view text = __PRETTY_FUNCTION__;  // "... [with T = shop::Order; ...]"
    constexpr std::size_t begin = text.find("T = ") + 4;
    constexpr std::size_t end = std::min(text.find(';', begin), text.rfind(']'));
    return text.substr(begin, end - begin);
  }
}

template <typename T>
concept CerealStruct = std::is_class_v<T> && !Text<T> && !Octets<T> && !ValueLike<T> &&
                       cereal::traits::is_output_serializable<T, StructWriter>::value &&
                       cereal::traits::is_input_serializable<T, StructReader>::value;

constexpr char structEnvelopeVersion = 1;

/// A struct in its envelope: tag, version, the type's name, cereal's bytes.
template <CerealStruct T>
struct Stored<T> {
  static constexpr std::string_view name = storedName<T>();
  static_assert(!name.empty() && name.size() < 65536, "penstock: the type's name is too long");

  static void encode(const T& value, std::string& out) {
    const auto length = static_cast<std::uint16_t>(name.size());
    out.clear();
    out.push_back(static_cast<char>(ValueTag::Struct));
    out.push_back(structEnvelopeVersion);
    out.append(reinterpret_cast<const char*>(&length), sizeof(length));
    out.append(name);
    try {
      StructWriter archive(out);
      archive(value);
    } catch (const cereal::Exception& error) {
      throw InvalidArgument("struct " + std::string(name) + " cannot be stored: " + error.what());
    }
  }

  static Decoded decode(std::string& bytes, T& value) {
    std::string_view rest = bytes;
    std::uint16_t length = 0;
    if (rest.empty() || rest[0] != static_cast<char>(ValueTag::Struct)) return Decoded::OtherType;
    if (rest.size() < 2 + sizeof(length) || rest[1] != structEnvelopeVersion) {
      return Decoded::Unreadable;
    }
    std::memcpy(&length, rest.data() + 2, sizeof(length));
    rest.remove_prefix(2 + sizeof(length));
    if (length != name.size() || !rest.starts_with(name)) return Decoded::OtherType;
    rest.remove_prefix(length);
    try {
      StructReader archive(rest);
      archive(value);
      return archive.atEnd() ? Decoded::Ok : Decoded::Unreadable;
    } catch (const NewerVersion&) {
      return Decoded::Newer;
    } catch (const cereal::Exception&) {
      return Decoded::Unreadable;
    } catch (const std::length_error&) {  // of a container that is to hold what is not there
      return Decoded::Unreadable;
    }
  }
};

}  // namespace detail
}  // namespace penstock::state

CEREAL_REGISTER_ARCHIVE(penstock::state::detail::StructWriter)
CEREAL_REGISTER_ARCHIVE(penstock::state::detail::StructReader)
CEREAL_SETUP_ARCHIVE_TRAITS(penstock::state::detail::StructReader,
                            penstock::state::detail::StructWriter)
