// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_position.h"

#include <gtest/gtest.h>

#include <limits>

namespace penstock::streams {
namespace {

LocalPosition sample() {
  return {{0x0123456789abcdef, 42, EventTime{1'700'000'000'123}, {{0}, {120}}},
          1'700'000'001'000,
          3,
          {{"clicks", {17}}, {"with spaces", {0}}}};
}

TEST(KafkaPosition, RoundTrips) {
  EXPECT_EQ(decodeStamp(encodeStamp(sample().stamp)), sample().stamp);
  EXPECT_EQ(decodeLocal(encodeLocal(sample())), sample());
  EXPECT_EQ(decodeStamp(encodeStamp({})), CommitStamp{});
  EXPECT_EQ(decodeLocal(encodeLocal({})), LocalPosition{});
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  const CommitStamp widest{~std::uint64_t{0}, ~std::uint64_t{0}, {most}, {{most}, {most}}};
  EXPECT_EQ(decodeStamp(encodeStamp(widest)), widest);
}

TEST(KafkaPosition, KeepsItsText) {
  EXPECT_EQ(encodeStamp({1, 2, EventTime{1'700'000'000'123}, {{120}}}),
            "1 0000000000000001 2 1700000000123 120");
  EXPECT_EQ(encodeLocal(sample()),
            "2 1700000001000 3\n"
            "1 0123456789abcdef 42 1700000000123 0 120\n"
            "17 clicks\n"
            "0 with spaces\n");
}

TEST(KafkaPosition, WhatIsNoneIsRefused) {
  for (const char* text :
       {"", "1", "1 ", "2 0000000000000001 2 3", "1 0000000000000001 2", "1 x 2 3",
        "1 0000000000000001 2 3 ", "1 0000000000000001 2 3 -1", "1 0000000000000001 2 3  4",
        "1 0000000000000001 2 3x", "1 0000000000000001 -2 3",
        "1 0000000000000001 2 3 9223372036854775808"}) {
    EXPECT_FALSE(decodeStamp(text)) << text;
  }
  const std::string whole = encodeLocal(sample());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto decoded = decodeLocal(whole.substr(0, length));
    // Whole lines are whole inputs: whoever reads it knows how many there have to be.
    if (decoded) {
      EXPECT_EQ(whole[length - 1], '\n') << length;
    }
  }
  for (const char* text :
       {"1 5 0\n1 0000000000000001 2 3\n", "2 5 0\n2 x\n",
        "2 5 0\n1 0000000000000001 2 3\n-1 topic\n", "2 5 0\n1 0000000000000001 2 3\n1 \n",
        "2 5 -1\n1 0000000000000001 2 3\n"}) {
    EXPECT_FALSE(decodeLocal(text)) << text;
  }
}

}  // namespace
}  // namespace penstock::streams
