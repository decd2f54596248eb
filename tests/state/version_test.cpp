// SPDX-License-Identifier: Apache-2.0
#include "penstock/version.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#include "tests/support/build_paths.h"

namespace penstock {
namespace {

// The version has one home, CMakeLists.txt; what is linked must say the same.
TEST(Version, IsTheProjects) {
  std::ifstream file(testing::sourceDirectory() + "/CMakeLists.txt");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::smatch match;
  ASSERT_TRUE(std::regex_search(text, match, std::regex("project\\(penstock VERSION ([0-9.]+)")));
  EXPECT_EQ(version(), match[1].str());
}

}  // namespace
}  // namespace penstock
