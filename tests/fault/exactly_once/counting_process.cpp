// SPDX-License-Identifier: Apache-2.0
// A program to be killed: counting_topology.h over the directory in argv[1]; everything else comes
// from the environment.
#include <penstock/exit_code.h>

#include <exception>
#include <iostream>

#include "counting_topology.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    penstock::Application application({.id = "counting", .broker = argv[1]});
    penstock::fault::buildCounting(application);
    application.run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "counting: " << error.what() << '\n';
    return penstock::exitCode(error);
  }
}
