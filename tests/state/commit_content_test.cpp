// SPDX-License-Identifier: Apache-2.0
//
// Goal: a commit takes no key or value beyond the limits, and changes that cannot be read are told
// from those that can.
#include "commit_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/message_of.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::HasSubstr;

TEST(CommitTest, KeysOfNoLengthOrTooMuchAreRefusedAndLeaveNothing) {
  Commit commit;
  const StoreId store{1};
  EXPECT_THAT(messageOf<InvalidArgument>([&] { commit.put(store, "", "v"); }),
              HasSubstr("the key is empty; keys are 1 B to 64 KiB"));
  EXPECT_THAT(messageOf<InvalidArgument>(
                  [&] { commit.put(store, std::string(Commit::keyBytesMax + 1, 'k'), "v"); }),
              HasSubstr("the key has 65537 bytes; keys are 1 B to 64 KiB"));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { commit.erase(store, ""); }),
              HasSubstr("the key is empty"));
  // Only looked at by its length.
  const char byte = 'v';
  EXPECT_THAT(messageOf<InvalidArgument>([&] {
                commit.put(store, "k", std::string_view(&byte, Commit::valueBytesMax + 1));
              }),
              HasSubstr("at most 1 GiB can be stored"));
  EXPECT_TRUE(commit.empty());
  commit.put(store, std::string(Commit::keyBytesMax, 'k'), "v");
  EXPECT_FALSE(commit.empty());
}

TEST(ChangesTest, ThatWereCutOrAreOfANewerVersionAreRefused) {
  std::string bytes;
  bytes += static_cast<char>(StoreOp::Put);
  putText(bytes, std::string(200, 'k'));
  putText(bytes, "value");
  bytes += static_cast<char>(StoreOp::Clear);
  bytes += static_cast<char>(StoreOp::Erase);
  putText(bytes, "key");
  const std::size_t put = 1 + 2 + 200 + 1 + 5;
  int changes = 0;
  const auto count = [&](StoreOp, std::string_view, std::string_view) { ++changes; };
  EXPECT_TRUE(forEachChange(bytes, count));
  EXPECT_EQ(changes, 3);
  for (std::size_t length = 0; length <= bytes.size(); ++length) {
    const bool whole = length == 0 || length == put || length == put + 1 || length == bytes.size();
    EXPECT_EQ(forEachChange(std::string_view(bytes).substr(0, length), count), whole) << length;
  }
  for (const char op : {'\0', '\x05', '\xff'}) {
    EXPECT_FALSE(forEachChange(std::string(1, op) + "\x01k", count)) << int{op};
  }
}

TEST(ByteReaderTest, AVarintBeyond64BitsIsNone) {
  const auto read = [](const std::string& bytes) {
    ByteReader in(bytes);
    const std::uint64_t value = in.varint();
    return in.ok() ? std::to_string(value) : "none";
  };
  const std::string nine(9, '\xff');
  EXPECT_EQ(read(nine + '\x01'), "18446744073709551615");
  EXPECT_EQ(read(nine + '\x02'), "none");
  EXPECT_EQ(read(nine + '\x81'), "none");
  EXPECT_EQ(read(nine), "none");
  EXPECT_EQ(read(""), "none");
  EXPECT_EQ(read("\x7f"), "127");
}

}  // namespace
}  // namespace penstock::state
