// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/streaming_client.h>
#include <stdlib.h>

#include <filesystem>

#include "support/temporary_directory.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryDirectory;

std::string refusal(const std::string& address,
                    const std::map<std::string, std::string>& settings = {}) {
  try {
    const StreamingClient client(address, settings);
  } catch (const ConfigurationError& error) {
    return error.what();
  }
  return "not refused";
}

TEST(Address, EveryFormOfADirectoryIsTheSamePlace) {
  const TemporaryDirectory directory;
  StreamingClient("file://" + directory.path() + "/a b").createTopic("t");
  for (const std::string& address :
       {directory / "a b", "file://" + directory.path() + "/a%20b",
        "file:" + directory.path() + "/a b", "FILE://localhost" + directory.path() + "/a b"}) {
    EXPECT_EQ(StreamingClient(address).listTopics(), std::vector<std::string>{"t"}) << address;
  }
}

TEST(Address, AnUnknownSchemeIsRefusedWithTheKnownOnes) {
  for (const char* address : {"http://a", "kafak://a:1", "localhost:9092", "C:\\state"}) {
    EXPECT_THAT(refusal(address), HasSubstr("the scheme '")) << address;
    EXPECT_THAT(refusal(address), HasSubstr("kafka://host:port[,host:port]")) << address;
  }
}

TEST(Address, MalformedOnesSayWhatIsWrong) {
  EXPECT_THAT(refusal("kafka:a:1"), HasSubstr("followed by //"));
  EXPECT_THAT(refusal("kafka://"), HasSubstr("names no broker"));
  EXPECT_THAT(refusal("kafka://a:1,,b:2"), HasSubstr("without a host"));
  EXPECT_THAT(refusal("kafka://a:0"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("kafka://a:65536"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("kafka://a:99999999999999999999"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("kafka://a:x"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("kafka://a:"), HasSubstr("not a port"));
  EXPECT_THAT(refusal("kafka://[::1:9092"), HasSubstr("never closed"));
  EXPECT_THAT(refusal("kafka://u:p@a:1"), HasSubstr("not a"));
  EXPECT_THAT(refusal("kafka://a/b"), HasSubstr("not host:port"));
  EXPECT_THAT(refusal("file:"), HasSubstr("names no directory"));
  EXPECT_THAT(refusal("file://"), HasSubstr("names no directory"));
  EXPECT_THAT(refusal("file://host/dir"), HasSubstr("three slashes"));
  EXPECT_THAT(refusal("file:///a%2"), HasSubstr("two digits"));
  EXPECT_THAT(refusal("file:///a%zz"), HasSubstr("two digits"));
  EXPECT_THAT(refusal("file:///a%00"), HasSubstr("two digits"));
  EXPECT_THAT(refusal(std::string("/tmp/a\0b", 8)), HasSubstr("NUL"));
}

TEST(Address, ComesFromTheEnvironmentWhenNotGiven) {
  const TemporaryDirectory directory;
  ::setenv("PENSTOCK_BROKER", (directory / "there").c_str(), 1);
  EXPECT_EQ(StreamingClient().address(), directory / "there");
  ::unsetenv("PENSTOCK_BROKER");
  EXPECT_THAT(refusal(""), HasSubstr("PENSTOCK_BROKER"));
}

TEST(Address, SettingsOfFilesAreCheckedAndThoseOfKafkaLeftAlone) {
  const TemporaryDirectory directory;
  EXPECT_THAT(refusal(directory.path(), {{"file.segmentbytes", "1"}}),
              HasSubstr("file.segmentBytes"));
  EXPECT_THAT(refusal(directory.path(), {{"file.segmentBytes", "-1"}}), HasSubstr("number"));
  EXPECT_THAT(refusal(directory.path(), {{"file.createDirectory", "yes"}}), HasSubstr("true"));
  EXPECT_NO_THROW(StreamingClient(directory.path(), {{"security.protocol", "ssl"}}));
}

TEST(Address, AMissingDirectoryIsMadeUnlessSaidOtherwise) {
  const TemporaryDirectory directory;
  EXPECT_THROW(StreamingClient(directory / "a/b", {{"file.createDirectory", "false"}}), Error);
  EXPECT_FALSE(std::filesystem::exists(directory / "a"));
  StreamingClient(directory / "a/b").createTopic("t");
  EXPECT_TRUE(std::filesystem::exists(directory / "a/b"));
}

}  // namespace
}  // namespace penstock
