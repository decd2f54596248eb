// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cereal/types/memory.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "penstock/state/cereal.h"
#include "penstock/state/errors.h"
#include "tests/support/test_seed.h"

namespace shop {

struct Order {
  std::int64_t id = 0;
  std::vector<std::string> lines;
  std::vector<double> prices;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(id, lines, prices);
  }
  bool operator==(const Order&) const = default;
};

// The same bytes by another name.
struct Renamed {
  static constexpr std::string_view storedName = "shop::Order";
  Order order;
  template <typename Archive>
  void serialize(Archive& archive) {
    order.serialize(archive);
  }
};

struct Smaller {
  static constexpr std::string_view storedName = "shop::Order";
  std::int64_t id = 0;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(id);
  }
};

struct Versioned {
  int version = 0;
  template <typename Archive>
  void serialize(Archive& archive, std::uint32_t seen) {
    archive(version);
    version += static_cast<int>(seen) * 100;
  }
};

struct GrownBefore {
  static constexpr std::string_view storedName = "shop::Grown";
  int count = 0;
  template <typename Archive>
  void serialize(Archive& archive, std::uint32_t) {
    archive(count);
  }
};

struct Grown {
  int count = 0;
  std::string note = "none";
  template <typename Archive>
  void serialize(Archive& archive, std::uint32_t version) {
    archive(count);
    if (version >= 2) archive(note);
  }
};

template <typename Item>
struct HolderOf {
  static constexpr std::string_view storedName = "shop::HolderOf";
  std::vector<Item> items;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(cereal::make_nvp("items", items));
  }
};

}  // namespace shop
CEREAL_CLASS_VERSION(shop::Versioned, 3)
CEREAL_CLASS_VERSION(shop::GrownBefore, 1)
CEREAL_CLASS_VERSION(shop::Grown, 2)

namespace penstock::state::detail {
namespace {

template <typename T>
std::string encoded(const T& value) {
  std::string out;
  Stored<T>::encode(value, out);
  return out;
}

template <typename T>
Decoded decode(std::string bytes, T& value) {
  return Stored<T>::decode(bytes, value);
}

template <typename T>
Decoded decodedAs(std::string bytes) {
  T value{};
  return decode(std::move(bytes), value);
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    constexpr const char* digits = "0123456789abcdef";
    out += digits[static_cast<unsigned char>(c) >> 4];
    out += digits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

Value nested(std::size_t depth) {
  Value value = 1;
  for (std::size_t i = 1; i < depth; ++i) value = Value::List{std::move(value)};
  return value;
}

// Bytes that are on users' disks: docs/formats/values.md shows them, and they never change.
TEST(ValueCodec, WritesTheseBytes) {
  EXPECT_EQ(hex(encoded(Value())), "01");
  EXPECT_EQ(hex(encoded(true)), "0201");
  EXPECT_EQ(hex(encoded(std::int64_t{123})), "037b00000000000000");
  EXPECT_EQ(hex(encoded(std::int32_t{-2})), "03feffffffffffffff");
  EXPECT_EQ(hex(encoded(1.23)), "04ae47e17a14aef33f");
  EXPECT_EQ(hex(encoded(std::string("abc"))), "05616263");
  EXPECT_EQ(hex(encoded(Binary{std::byte{7}})), "0607");
  EXPECT_EQ(hex(encoded(Value(Value::List{true, "a"}))),
            "07020000000201"
            "020000000561");
  EXPECT_EQ(hex(encoded(Value(ValueMap{{"k", nullptr}}))),
            "08"
            "010000006b"
            "0100000001");
  EXPECT_EQ(hex(encoded(shop::Smaller{5})),
            "0901"
            "0b00"
            "73686f703a3a4f72646572"
            "0500000000000000");
}

TEST(ValueCodec, WritesTheseBytesAroundAValue) {
  std::string bytes = encoded(true);
  expireAt(1000, bytes);
  EXPECT_EQ(hex(bytes), "0ae803000000000000" + hex(encoded(true)));
  EXPECT_EQ(expiryOf(bytes), 1000);
  EXPECT_EQ(expiryOf(bytes.substr(0, expiryBytes)), 1000);
  EXPECT_EQ(expiryOf(encoded(true)), std::nullopt);
  unwrap(bytes);
  EXPECT_EQ(bytes, encoded(true));

  const std::string text = encoded(std::string(1000, 'a'));
  std::string packed = text;
  compress(packed);
  EXPECT_EQ(hex(packed.substr(0, 6)), "0b01e9030000");
  EXPECT_LT(packed.size(), 60U);
  expireAt(1000, packed);
  unwrap(packed);
  EXPECT_EQ(packed, text);
  std::string small = encoded(7);
  compress(small);
  EXPECT_EQ(small, encoded(7));
}

TEST(ValueCodec, WhatCannotBeDecompressedIsLeftAndNamed) {
  std::string packed = encoded(std::string(1000, 'a'));
  compress(packed);
  for (std::size_t at = 1; at < packed.size(); ++at) {
    std::string damaged = packed;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    unwrap(damaged);
    if (damaged.size() < 1001) {
      EXPECT_EQ(describeStored(damaged), "something compressed that cannot be read") << at;
      EXPECT_EQ(decodedAs<std::string>(damaged), Decoded::OtherType);
    }
    std::string cut = packed.substr(0, at);
    unwrap(cut);
    EXPECT_EQ(cut, packed.substr(0, at));
  }
  std::string huge("\x0b\x01\xff\xff\xff\xff", 6);  // a length that nothing backs
  huge += packed.substr(6);
  unwrap(huge);
  EXPECT_EQ(describeStored(huge), "something compressed that cannot be read");
}

TEST(ValueCodec, ValueAndTypedFormsAreTheSameBytes) {
  EXPECT_EQ(encoded(Value(7)), encoded(7));
  EXPECT_EQ(encoded(Value(false)), encoded(false));
  EXPECT_EQ(encoded(Value(0.5)), encoded(0.5));
  EXPECT_EQ(encoded(Value("text")), encoded(std::string("text")));
  EXPECT_EQ(encoded(Value(Binary(3))), encoded(Binary(3)));
}

TEST(ValueCodec, RoundTripsValues) {
  const std::vector<Value> values = {
      nullptr,      true,
      -1,           std::nextafter(1.0, 2.0),
      "",           std::string("\0\xFF", 2),
      Binary(1000), Value::List{},
      ValueMap{},   Value::List{nullptr, Value::List{ValueMap{{"", 1}, {"b", 2.5}}}}};
  for (const Value& value : values) {
    Value read = "other";
    EXPECT_EQ(decode(encoded(value), read), Decoded::Ok) << value.toJson();
    EXPECT_EQ(read, value) << value.toJson();
  }
}

TEST(ValueCodec, BoundsDepthBothWays) {
  Value read;
  EXPECT_EQ(decode(encoded(nested(Value::depthMax)), read), Decoded::Ok);
  EXPECT_THROW(encoded(nested(Value::depthMax + 1)), InvalidArgument);
  std::string deep = encoded(nested(Value::depthMax));
  std::string deeper(1, '\x07');  // one list more around it
  const auto length = static_cast<std::uint32_t>(deep.size());
  deeper.append(reinterpret_cast<const char*>(&length), sizeof(length)).append(deep);
  EXPECT_EQ(decode(deeper, read), Decoded::Unreadable);
}

TEST(ValueCodec, NarrowTypesTakeOnlyWhatFits) {
  EXPECT_EQ(decodedAs<std::int8_t>(encoded(127)), Decoded::Ok);
  EXPECT_EQ(decodedAs<std::int8_t>(encoded(128)), Decoded::OutOfRange);
  EXPECT_EQ(decodedAs<std::uint64_t>(encoded(-1)), Decoded::OutOfRange);
  EXPECT_EQ(decodedAs<float>(encoded(0.5)), Decoded::Ok);
  EXPECT_EQ(decodedAs<float>(encoded(0.1)), Decoded::OutOfRange);
  EXPECT_EQ(decodedAs<float>(encoded(1e300)), Decoded::OutOfRange);
  EXPECT_EQ(decodedAs<float>(encoded(-1e300)), Decoded::OutOfRange);
  EXPECT_EQ(decodedAs<float>(encoded(std::numeric_limits<double>::infinity())), Decoded::Ok);
  EXPECT_EQ(decodedAs<float>(encoded(std::nan(""))), Decoded::Ok);
  EXPECT_THROW(encoded(std::uint64_t{1} << 63), InvalidArgument);
}

TEST(ValueCodec, OtherTypesAreToldApart) {
  EXPECT_EQ(decodedAs<double>(encoded(1)), Decoded::OtherType);
  EXPECT_EQ(decodedAs<std::int64_t>(encoded(true)), Decoded::OtherType);
  EXPECT_EQ(decodedAs<bool>(encoded(1)), Decoded::OtherType);
  EXPECT_EQ(decodedAs<Binary>(encoded(std::string("x"))), Decoded::OtherType);
  EXPECT_EQ(decodedAs<std::string>(encoded(Value())), Decoded::OtherType);
  EXPECT_EQ(decodedAs<Value>(encoded(shop::Order{})), Decoded::OtherType);
  EXPECT_EQ(decodedAs<shop::Order>(encoded(1)), Decoded::OtherType);
  EXPECT_EQ(decodedAs<shop::Order>(encoded(shop::Versioned{})), Decoded::OtherType);
}

TEST(ValueCodec, NoBytesAreOfNoType) {
  EXPECT_EQ(decodedAs<bool>(""), Decoded::OtherType);
  EXPECT_EQ(decodedAs<std::int64_t>(""), Decoded::OtherType);
  EXPECT_EQ(decodedAs<double>(""), Decoded::OtherType);
  EXPECT_EQ(decodedAs<std::string>(""), Decoded::OtherType);
  EXPECT_EQ(decodedAs<Binary>(""), Decoded::OtherType);
  EXPECT_EQ(decodedAs<shop::Order>(""), Decoded::OtherType);
  EXPECT_EQ(decodedAs<bool>(encoded(true).substr(0, 1) + '\2'), Decoded::Unreadable);
}

TEST(ValueCodec, SaysWhatIsStored) {
  EXPECT_EQ(describeStored(encoded(1.5)), "double");
  EXPECT_EQ(describeStored(encoded(shop::Order{})), "struct shop::Order");
  EXPECT_EQ(describeStored("\x2A"), "something unknown (tag 42)");
  EXPECT_EQ(describeStored(""), "nothing");
  EXPECT_EQ(describeStored(std::string_view("\x09\x01\xFF\xFF\x07", 5)), "struct \\x07");
}

TEST(CerealCodec, RoundTripsStructs) {
  const shop::Order order{17, {"nut", "", "bolt"}, {0.1, -0.0}};
  shop::Order read;
  EXPECT_EQ(decode(encoded(order), read), Decoded::Ok);
  EXPECT_EQ(read, order);
  shop::Renamed renamed;
  EXPECT_EQ(decode(encoded(order), renamed), Decoded::Ok);
  EXPECT_EQ(renamed.order, order);
  shop::Versioned versioned{1};
  EXPECT_EQ(decode(encoded(shop::Versioned{2}), versioned), Decoded::Ok);
  EXPECT_EQ(versioned.version, 302);
}

// What another version of the program calls by the same name.
TEST(CerealCodec, OlderVersionsAreReadAndNewerOnesRefused) {
  shop::Grown grown;
  EXPECT_EQ(decode(encoded(shop::GrownBefore{7}), grown), Decoded::Ok);
  EXPECT_EQ(grown.count, 7);
  EXPECT_EQ(grown.note, "none");
  shop::GrownBefore before;
  EXPECT_EQ(decode(encoded(shop::Grown{8, "new"}), before), Decoded::Newer);

  shop::HolderOf<shop::Grown> holder;
  const shop::HolderOf<shop::GrownBefore> old{{{1}, {2}}};
  EXPECT_EQ(decode(encoded(old), holder), Decoded::Ok);
  ASSERT_EQ(holder.items.size(), 2U);
  EXPECT_EQ(holder.items[1].count, 2);
  EXPECT_EQ(holder.items[1].note, "none");
  shop::HolderOf<shop::GrownBefore> tooOld;
  EXPECT_EQ(decode(encoded(holder), tooOld), Decoded::Newer);
}

// The name's length reaches beyond the end, and what is there is the name.
TEST(CerealCodec, NameLongerThanTheBytesIsRefused) {
  std::string bytes("\x09\x01\xFF\x00", 4);
  bytes += "shop::Order";
  EXPECT_EQ(decodedAs<shop::Order>(bytes), Decoded::OtherType);
}

TEST(CerealCodec, OtherMembersThanStoredAreUnreadable) {
  shop::Order order;
  EXPECT_EQ(decode(encoded(shop::Smaller{5}), order), Decoded::Unreadable);
  EXPECT_EQ(decodedAs<shop::Smaller>(encoded(shop::Order{})), Decoded::Unreadable);
}

// What would lose or dangle does not compile; what is asked for in the message does.
enum class Colour { Red };
static_assert(!Storable<char> && !Storable<wchar_t> && !Storable<char8_t>);
static_assert(!Storable<long double> && !Storable<Colour> && !Storable<int*> && !Storable<void*>);
static_assert(Storable<const char*> && !Readable<const char*>);
static_assert(Storable<std::string_view> && !Readable<std::string_view>);
static_assert(Storable<std::span<const std::byte>> && !Readable<std::span<const std::byte>>);
static_assert(Readable<unsigned long long> && Readable<signed char> && Readable<std::uint8_t>);
static_assert(Readable<shop::Order> && Readable<Value> && Storable<Value::Map>);

// Whatever the bytes, decoding ends, and takes memory in proportion to them.
TEST(ValueCodec, AnyBytesAreReadOrRefused) {
  std::mt19937_64 random(penstock::testing::testSeed());
  std::string compressed = encoded(std::string(300, 'a'));
  compress(compressed);
  const std::vector<std::string> good = {
      encoded(Value(Value::List{1, "a", ValueMap{{"k", 2.5}, {"l", Value::List{true}}}})),
      encoded(shop::Order{17, {"nut", "bolt"}, {1.5, 2.5}}), compressed};
  int readable = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good[random() % good.size()];
    for (std::size_t changes = 1 + random() % 3; changes != 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
      if (random() % 8 == 0) bytes.resize(1 + random() % bytes.size());
    }
    Value value;
    if (decode(bytes, value) == Decoded::Ok) {
      ++readable;
      EXPECT_EQ(encoded(value), bytes);
    }
    shop::Order order;
    if (decode(bytes, order) == Decoded::Ok) ++readable;
    EXPECT_NE(describeStored(bytes), "");
    unwrap(bytes);
  }
  EXPECT_GT(readable, 0);
}

}  // namespace
}  // namespace penstock::state::detail
