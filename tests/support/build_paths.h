// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace penstock::testing {

/// The build tree (build/PRESET): the command lies in sdk/, samples in samples/.
[[nodiscard]] std::string buildDirectory();

/// The repository's root.
[[nodiscard]] std::string sourceDirectory();

}  // namespace penstock::testing
