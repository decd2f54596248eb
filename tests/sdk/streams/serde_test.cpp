// SPDX-License-Identifier: Apache-2.0
#include "penstock/serde.h"

#include <gtest/gtest.h>

#include <bit>
#include <cereal/types/vector.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "penstock/serde_cereal.h"
#include "penstock/serde_json.h"

namespace penstock {
namespace {

template <typename T>
std::string encoded(const T& value) {
  std::string buffer;
  const auto bytes = detail::encodeField(Serde<T>{}, value, buffer);
  return bytes ? std::string(*bytes) : "(absent)";
}

template <typename T>
T decoded(const std::optional<std::string_view>& bytes) {
  T value{};
  detail::decodeField(Serde<T>{}, bytes, value);
  return value;
}

TEST(SerdeTest, NumbersAreBigEndianAsInKafka) {
  EXPECT_EQ(encoded<std::int64_t>(258), std::string("\0\0\0\0\0\0\1\2", 8));
  EXPECT_EQ(encoded<std::int64_t>(-1), std::string(8, '\xff'));
  EXPECT_EQ(encoded<std::int32_t>(258), std::string("\0\0\1\2", 4));
  EXPECT_EQ(encoded(1.0), std::string("\x3f\xf0\0\0\0\0\0\0", 8));
  EXPECT_EQ(encoded(1.0F), std::string("\x3f\x80\0\0", 4));
}

TEST(SerdeTest, ExtremesRoundTrip) {
  for (const std::int64_t value : {std::numeric_limits<std::int64_t>::min(), std::int64_t{0},
                                   std::numeric_limits<std::int64_t>::max()}) {
    EXPECT_EQ(decoded<std::int64_t>(encoded(value)), value);
  }
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(decoded<double>(encoded(-infinity)), -infinity);
  const auto nan = std::bit_cast<double>(0x7ff8000000000123ULL);
  EXPECT_EQ(std::bit_cast<std::uint64_t>(decoded<double>(encoded(nan))), 0x7ff8000000000123ULL);
  EXPECT_TRUE(decoded<bool>(encoded(true)));
  const std::string text("\0\xff", 2);
  EXPECT_EQ(decoded<std::string>(text), text);
  const std::vector<std::byte> bytes{std::byte{0}, std::byte{255}};
  EXPECT_EQ(decoded<std::vector<std::byte>>(encoded(bytes)), bytes);
}

TEST(SerdeTest, WrongSizeNamesTypeAndBothSizes) {
  try {
    static_cast<void>(decoded<std::int64_t>("abc"));
    FAIL();
  } catch (const SerdeError& error) {
    EXPECT_STREQ(error.what(), "int64: expected 8 bytes, found 3");
    EXPECT_EQ(error.code(), ErrorCode::FixData);
  }
  EXPECT_THROW(static_cast<void>(decoded<bool>("\2")), SerdeError);
  EXPECT_THROW(static_cast<void>(decoded<bool>("")), SerdeError);
}

TEST(SerdeTest, AbsentIsNotEmpty) {
  EXPECT_THROW(static_cast<void>(decoded<std::string>(std::nullopt)), SerdeError);
  EXPECT_EQ(decoded<std::optional<std::string>>(std::nullopt), std::nullopt);
  EXPECT_EQ(decoded<std::optional<std::string>>(""), "");
  EXPECT_EQ(encoded(std::optional<std::string>()), "(absent)");
  EXPECT_EQ(encoded(std::optional<std::string>("")), "");
  EXPECT_EQ(encoded(None{}), "(absent)");
  EXPECT_EQ(decoded<None>("whatever"), None{});
}

TEST(SerdeTest, JsonKeepsTypes) {
  const state::Value order = state::ValueMap{{"id", 17}, {"price", 1.5}};
  EXPECT_EQ(decoded<state::Value>(encoded(order)), order);
  EXPECT_THROW(static_cast<void>(decoded<state::Value>("{\"a\":")), SerdeError);
}

struct Order {
  std::int64_t id = 0;
  std::vector<std::int32_t> lines;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(id, lines);
  }
  bool operator==(const Order&) const = default;
};

TEST(SerdeTest, CerealStructsRoundTripAndRefuseOtherBytes) {
  const Order order{.id = 7, .lines = {1, 2, 3}};
  const std::string bytes = encoded(order);
  EXPECT_EQ(decoded<Order>(bytes), order);
  EXPECT_THROW(static_cast<void>(decoded<Order>(bytes + "x")), SerdeError);
  EXPECT_THROW(static_cast<void>(decoded<Order>(bytes.substr(0, bytes.size() - 1))), SerdeError);
  EXPECT_NE(Serde<Order>::name().find("Order"), std::string::npos);
}

}  // namespace
}  // namespace penstock
