// SPDX-License-Identifier: Apache-2.0
//
//   process ──┐
//   process ──┼── update ──> [Datastore: memory, file, SQLite or PostgreSQL]
//   machine ──┘
//
// A counter that any number of programs share. Each of them reads, adds one and writes back, and
// none is lost, whoever comes between and whoever is killed. Prints what the last update found and
// left: [old, new], null for no counter.
#include <penstock/exit_code.h>
#include <penstock/state/datastore.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <string>

#include "program.h"

using penstock::state::Datastore;
using penstock::state::DatastoreUpdate;
using penstock::state::Value;

int main(int count, char** arguments) {
  std::string address;
  std::string key;
  std::int64_t times = 1;
  CLI::App app("Adds one to a counter that programs share.", "datastore_counter");
  app.add_option("--store", address,
                 "memory:, file:DIR, sqlite:FILE or postgresql://USER@HOST/DATABASE")
      ->required();
  app.add_option("--key", key, "the counter")->required();
  app.add_option("--times", times, "how often to add one")->check(oneOrMore());
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    Datastore store = Datastore::open(address);
    const auto addOne = [&](const std::optional<Value>& found) -> std::optional<Value> {
      return Value(found ? readStored(key, [&] { return found->asInt64(); }) + 1 : 1);
    };
    DatastoreUpdate last;
    for (std::int64_t i = 0; i < times; ++i) last = store.update(key, addOne);
    std::cout << '[' << last.previous.value_or(Value()).toJson() << ", " << last.current->toJson()
              << "]\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "datastore_counter: " << error.what() << '\n';
    return penstock::exitCode(error);
  }
}
