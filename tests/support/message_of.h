// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace penstock::testing {

/// What the `Expected` that a call throws says. Nothing thrown is a failure; whatever else is
/// thrown ends the test.
template <typename Expected, typename Call>
std::string messageOf(Call&& call) {
  try {
    call();
  } catch (const Expected& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing of the expected kind was thrown";
  return {};
}

}  // namespace penstock::testing
