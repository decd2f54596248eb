// SPDX-License-Identifier: Apache-2.0
#include "penstock/state/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "penstock/state/errors.h"

namespace penstock::state {
namespace {

Binary bytes(std::string_view text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

Value nested(std::size_t depth) {
  Value value = 1;
  for (std::size_t i = 1; i < depth; ++i) value = Value::List{std::move(value)};
  return value;
}

TEST(Value, TakesItsTypeFromWhatItIsMadeOf) {
  EXPECT_EQ(Value().type(), ValueType::Null);
  EXPECT_EQ(Value(nullptr).type(), ValueType::Null);
  EXPECT_EQ(Value(true).type(), ValueType::Bool);
  EXPECT_EQ(Value(1).type(), ValueType::Int64);
  EXPECT_EQ(Value(std::uint8_t{1}).type(), ValueType::Int64);
  EXPECT_EQ(Value(1.0F).type(), ValueType::Double);
  EXPECT_EQ(Value("x").type(), ValueType::String);
  EXPECT_EQ(Value(std::string_view("x")).type(), ValueType::String);
  EXPECT_EQ(Value(bytes("x")).type(), ValueType::Binary);
  EXPECT_EQ(Value(Value::List{1, "a", nullptr}).type(), ValueType::List);
  EXPECT_EQ(Value(ValueMap{{"a", 1}}).type(), ValueType::Map);
}

TEST(Value, RefusesAnIntegerBeyondInt64) {
  EXPECT_EQ(Value(std::uint64_t{9223372036854775807U}).asInt64(),
            std::numeric_limits<std::int64_t>::max());
  EXPECT_THROW(Value(std::uint64_t{9223372036854775808U}), InvalidArgument);
}

TEST(Value, IsNotConverted) {
  EXPECT_THROW((void)Value(1).asDouble(), TypeMismatch);
  EXPECT_THROW((void)Value(true).asInt64(), TypeMismatch);
  EXPECT_THROW((void)Value("1").asBinary(), TypeMismatch);
  try {
    (void)Value(1).asString();
    FAIL();
  } catch (const TypeMismatch& error) {
    EXPECT_STREQ(error.what(), "the value is of type int64, it was read as string");
  }
}

TEST(Value, EachTypeHasAName) {
  const std::pair<Value, const char*> cases[] = {
      {Value(), "null"},
      {Value(true), "bool"},
      {Value(1), "int64"},
      {Value(0.5), "double"},
      {Value("text"), "string"},
      {Value(Binary{}), "binary"},
      {Value(Value::List{}), "list"},
      {Value(ValueMap{}), "map"},
  };
  for (const auto& [value, name] : cases) EXPECT_EQ(Value::typeName(value.type()), name);
}

TEST(Value, ComparesTypeAndContent) {
  EXPECT_EQ(Value(1), Value(std::int8_t{1}));
  EXPECT_NE(Value(1), Value(1.0));
  EXPECT_NE(Value(std::nan("")), Value(std::nan("")));
  EXPECT_EQ(Value(ValueMap({{"a", 1}, {"b", 2}})), Value(ValueMap({{"b", 2}, {"a", 1}})));
  EXPECT_NE(Value(ValueMap({{"a", 1}, {"b", 2}})), Value(ValueMap({{"a", 1}, {"b", 3}})));
  EXPECT_NE(Value(ValueMap({{"a", 1}, {"b", 2}})), Value(ValueMap({{"a", 1}})));
  EXPECT_NE(Value(ValueMap({{"a", 1}, {"b", 2}})), Value(ValueMap({{"a", 1}, {"c", 2}})));
  EXPECT_NE(Value(Value::List{1, 2}), Value(Value::List{2, 1}));
  EXPECT_EQ(Value(), Value());
  EXPECT_EQ(Value(true), Value(true));
  EXPECT_EQ(Value("a"), Value("a"));
  EXPECT_EQ(Value(bytes("a")), Value(bytes("a")));
}

TEST(ValueMap, KeepsTheOrderOfInsertion) {
  ValueMap map{{"z", 1}, {"a", 2}};
  map["m"] = 3;
  map["z"] = 4;
  std::string order;
  for (const auto& [name, value] : map) order += name;
  EXPECT_EQ(order, "zam");
  EXPECT_EQ(map.at("z").asInt64(), 4);
  EXPECT_TRUE(map.erase("a"));
  EXPECT_FALSE(map.erase("a"));
  EXPECT_EQ(map.find("a"), nullptr);
  EXPECT_THROW((void)map.at("a"), KeyNotFound);
}

TEST(ValueMap, RefusesANameTwice) {
  EXPECT_THROW((ValueMap{{"a", 1}, {"b", 2}, {"a", 3}}), InvalidArgument);
}

TEST(ValueJson, RoundTripsEveryValueExactly) {
  const std::vector<Value> values = {
      nullptr,
      true,
      false,
      0,
      std::numeric_limits<std::int64_t>::min(),
      std::numeric_limits<std::int64_t>::max(),
      0.1,
      1.0,
      std::numeric_limits<double>::denorm_min(),
      std::numeric_limits<double>::max(),
      std::numeric_limits<double>::infinity(),
      -std::numeric_limits<double>::infinity(),
      "",
      "quote \" slash \\ newline \n emoji \xF0\x9F\x98\x80",
      std::string("nul \0 inside", 12),
      std::string("\xFF not UTF-8"),
      bytes(""),
      bytes("f"),
      bytes("fo"),
      bytes("foo"),
      Value::List{},
      Value::List{1, Value::List{2, Value::List{}}, "x"},
      ValueMap{},
      ValueMap{{"z", 1}, {"a", ValueMap{{"b", nullptr}}}},
      ValueMap{{"$binary", "not base64"}},
      ValueMap{{"$double", bytes("x")}},
      ValueMap{{"$$string", 1}},
      ValueMap{{"$binary", 1}, {"$$binary", 2}, {"$other", 3}, {"$", 4}, {"", 5}},
      ValueMap{{"$binary", ValueMap{{"$double", "NaN"}}}},
  };
  for (const Value& value : values) {
    EXPECT_EQ(Value::fromJson(value.toJson()), value) << value.toJson();
  }
  EXPECT_TRUE(std::isnan(Value::fromJson(Value(std::nan("")).toJson()).asDouble()));
  EXPECT_TRUE(std::signbit(Value::fromJson(Value(-0.0).toJson()).asDouble()));
  EXPECT_EQ(Value(ValueMap{{"z", 1}, {"a", 2.0}}).toJson(), R"({"z":1,"a":2.0})");
}

TEST(ValueJson, RefusesWhatItCannotHoldExactly) {
  for (const char* json :
       {"", "{", "[1,]", "nul", "9223372036854775808", "18446744073709551616",
        "-9223372036854775809", "1e400", R"({"a":1,"a":2})", R"({"$binary":"x"})",
        R"({"$binary":"=AAA"})", R"({"$binary":"AA=A"})", R"({"$binary":"AA==AAAA"})",
        R"({"$double":"nan"})", R"({"$string":1})", "\"\xFF\"", "1 2"}) {
    EXPECT_THROW((void)Value::fromJson(json), InvalidArgument) << json;
  }
  EXPECT_THROW((void)Value(ValueMap{{"\xFF", 1}}).toJson(), InvalidArgument);
}

TEST(ValueJson, BoundsDepthBothWays) {
  const Value deepest = nested(Value::depthMax);
  EXPECT_EQ(Value::fromJson(deepest.toJson()), deepest);
  EXPECT_THROW((void)nested(Value::depthMax + 1).toJson(), InvalidArgument);
  EXPECT_THROW((void)Value::fromJson(std::string(1'000'000, '[')), InvalidArgument);
}

}  // namespace
}  // namespace penstock::state
