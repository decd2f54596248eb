// SPDX-License-Identifier: Apache-2.0
// A program to be killed and stopped: keyed_count_program INPUT IDS COUNTS; everything else comes
// from the environment.
//
//   INPUT (key, id) ----> IDS                  each id once
//              `--count by key--> COUNTS       store "counts"; each count of a key once
#include <penstock/application.h>
#include <penstock/exit_code.h>

#include <exception>
#include <iostream>
#include <string_view>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    penstock::Application application(penstock::ApplicationOptions{});
    auto input = application.stream<std::string_view, std::string_view>(argv[1]);
    input.to(argv[2]);
    input.groupByKey().count({.name = "counts"}).toStream().to(argv[3]);
    application.run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "keyed_count: " << error.what() << '\n';
    return penstock::exitCode(error);
  }
}
