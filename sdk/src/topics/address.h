// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace penstock::topics {

/// Where topics live: a directory, or brokers.
struct Address {
  bool kafka = false;
  std::string place;  // the directory's path; or host[:port][,...], checked
};

/// `file:///dir`, `file:dir`, a plain path, or `kafka://host:port[,host:port]`. Any other scheme
/// is a ConfigurationError that lists these.
Address parseAddress(const std::string& address);

}  // namespace penstock::topics
