// SPDX-License-Identifier: Apache-2.0
//
//   directory ──> update { what is new, what is gone } ──> output
//                   │
//                   └── what was seen, in the Datastore, with the length of the output
//
// Says which files came to a directory and which went since it was looked at last: "added NAME",
// "removed NAME", each once, whoever is killed when. What was seen is kept by `update`, together
// with how much was written, so that the two never disagree. Both begin together: with a store that
// knows nothing, an output that is there already is refused.
#include <penstock/exit_code.h>
#include <penstock/state/datastore.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "output_file.h"
#include "program.h"

namespace {

using penstock::state::Datastore;
using penstock::state::Value;
using penstock::state::ValueMap;

std::set<std::string> filesOf(const std::string& directory) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file()) names.insert(entry.path().filename().string());
  }
  return names;
}

/// One line for each name that is in `these` and not in `those`.
std::string lines(const char* what, const std::set<std::string>& these,
                  const std::set<std::string>& those) {
  std::string text;
  for (const std::string& name : these) {
    if (!those.contains(name)) text += what + (" " + name) + '\n';
  }
  return text;
}

}  // namespace

int main(int count, char** arguments) {
  std::string address;
  std::string directory;
  std::string output;
  std::int64_t looks = 1;
  std::int64_t everyMs = 1000;
  CLI::App app("Says which files came to a directory and which went.", "directory_watch");
  app.add_option("--store", address, "where it is kept what was seen: a Datastore's address")
      ->required();
  app.add_option("--directory", directory, "the directory")->required();
  app.add_option("--output", output, "gets a line per file that came or went")->required();
  app.add_option("--looks", looks, "how often to look")->check(oneOrMore());
  app.add_option("--every", everyMs, "milliseconds between looks")->check(CLI::NonNegativeNumber);
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    Datastore store = Datastore::open(address);
    const std::string key = "files of " + directory;
    (void)store.update(key, [&](const std::optional<Value>& seen) -> std::optional<Value> {
      if (seen) return std::nullopt;
      refuseTaken(output);
      return ValueMap{{"files", Value::List()}, {"length", 0}};
    });
    const auto look = [&](const std::optional<Value>& seen) -> std::optional<Value> {
      std::set<std::string> before;
      const std::int64_t length = readStored(key, [&] {
        const ValueMap& members = seen.value().asMap();
        for (const Value& name : members.at("files").asList()) before.insert(name.asString());
        return members.at("length").asInt64();
      });
      const std::set<std::string> now = filesOf(directory);
      const std::string text = lines("added", now, before) + lines("removed", before, now);
      if (text.empty()) return std::nullopt;
      return ValueMap{{"files", Value::List(now.begin(), now.end())},
                      {"length", appendAt(output, length, text)}};
    };
    for (std::int64_t i = 0; i < looks; ++i) {
      if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(everyMs));
      store.update(key, look);
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "directory_watch: " << error.what() << '\n';
    return penstock::exitCode(error);
  }
}
