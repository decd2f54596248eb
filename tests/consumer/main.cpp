// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>
#include <penstock/version.h>

#include <iostream>

int main() {
  try {
    throw penstock::ConfigurationError("an error that crosses the library's border");
  } catch (const penstock::Error& error) {
    if (error.code() != penstock::ErrorCode::FixConfiguration) return 1;
  }
  std::cout << "penstock " << penstock::version() << '\n';
}
