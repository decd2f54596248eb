// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/task_position_codec.h"

#include <gtest/gtest.h>

namespace penstock::streams {
namespace {

StoredPosition sample() {
  return {
      EventTime{1'700'000'000'123},
      {{"", state::LogId{7}, {0, 42}},
       {"00112233445566778899aabbccddeeff", state::LogId{9}, {0xfedcba9876543210, 1ULL << 40}}}};
}

TEST(TaskPositionCodecTest, RoundTrips) {
  std::string bytes;
  encodePosition(sample(), bytes);
  const auto decoded = decodePosition(bytes);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, sample());
}

TEST(TaskPositionCodecTest, KeepsItsBytes) {
  std::string bytes;
  encodePosition({EventTime{-1}, {{"", state::LogId{0x01020304}, {0, 0x0a}}}}, bytes);
  EXPECT_EQ(bytes, std::string("\x01"
                               "\xff\xff\xff\xff\xff\xff\xff\xff"
                               "\x01\0\0\0"
                               "\0"
                               "\x04\x03\x02\x01"
                               "\0\0\0\0\0\0\0\0"
                               "\x0a\0\0\0\0\0\0\0",
                               34));
}

TEST(TaskPositionCodecTest, EveryShorterOrLongerTextIsRefused) {
  std::string bytes;
  encodePosition(sample(), bytes);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(decodePosition(std::string_view(bytes).substr(0, length))) << length;
  }
  EXPECT_FALSE(decodePosition(bytes + "x"));
}

TEST(TaskPositionCodecTest, UnknownVersionIsRefused) {
  std::string bytes;
  encodePosition(sample(), bytes);
  bytes[0] = 2;
  EXPECT_FALSE(decodePosition(bytes));
}

}  // namespace
}  // namespace penstock::streams
