// SPDX-License-Identifier: Apache-2.0
//
// Goal: a sub-storage's name has one spelling in the journal, and what is spelled otherwise is no
// storage.
#include "storage_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/errors.h>

#include "penstock/state/detail/storage_names.h"
#include "support/message_of.h"

namespace penstock::state {
namespace {

using detail::subStoragesOf;
using penstock::testing::messageOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(StoragePathTest, NamesComeBackFromTheirPath) {
  const std::string path = pathBelow(pathBelow("", "azAZ09_-."), std::string("/%\0\xff", 4));
  EXPECT_EQ(path, "azAZ09_-./%2F%25%00%FF");
  EXPECT_THAT(namesInPath(path).value(), ElementsAre("azAZ09_-.", std::string("/%\0\xff", 4)));
  EXPECT_THAT(namesInPath("").value(), IsEmpty());
}

TEST(StoragePathTest, WhatIsSpelledOtherwiseIsNoPath) {
  const std::string tooLong(256, 'a');
  for (const std::string& path :
       {std::string("/"), std::string("a/"), std::string("/a"), std::string("a//b"),
        std::string("a b"), std::string("%"), std::string("%2"), std::string("%2x"),
        std::string("%x2"), std::string("%2f"), std::string("%61"), tooLong}) {
    EXPECT_FALSE(namesInPath(path).has_value()) << path;
  }
}

TEST(StoragePathTest, OnlyStoresBelowTheRootAreStorages) {
  EXPECT_THAT(subStoragesOf("storage").value(), IsEmpty());
  EXPECT_THAT(subStoragesOf("storage/a/%2F").value(), ElementsAre("a", "/"));
  for (const char* store : {"storage/", "storages", "other", "stor", "storage/a//b", ""}) {
    EXPECT_FALSE(subStoragesOf(store).has_value()) << store;
  }
}

TEST(StoragePathTest, NamesOfNoLengthOrTooMuchAreRefused) {
  EXPECT_THAT(messageOf<InvalidArgument>([] { (void)pathBelow("", ""); }), HasSubstr("0 bytes"));
  EXPECT_THAT(messageOf<InvalidArgument>([] { (void)pathBelow("", std::string(256, 'a')); }),
              HasSubstr("256 bytes"));
  EXPECT_EQ(pathBelow("", std::string(255, 'a')).size(), 255U);
}

TEST(StoragePathTest, ALongKeyIsShownByItsBeginningAndLength) {
  EXPECT_EQ(shownKey("a\n"), "\"a\\n\"");
  EXPECT_EQ(shownKey(std::string(81, 'k')), "\"" + std::string(80, 'k') + "\"... (81 bytes)");
}

}  // namespace
}  // namespace penstock::state
