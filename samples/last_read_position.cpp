// SPDX-License-Identifier: Apache-2.0
//
//   pages of a source ──> update { read a page, write its records } ──> output
//                           │
//                           └── position in the Datastore: next record, length of the output
//
// A poller of a source that gives out pages (here a text file, whose lines are the records). The
// last read position is kept by `update`, together with how much was written: whoever is killed at
// any instant, and started again, on this machine or another one with the same store, writes no
// record twice and leaves none out. Position and output begin together: with a store that has none,
// an output that is there already is refused. Ends when the source has no more.
#include <penstock/exit_code.h>
#include <penstock/state/datastore.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "output_file.h"
#include "program.h"

namespace {

using penstock::state::Datastore;
using penstock::state::Value;
using penstock::state::ValueMap;

/// The records [first, first + count) of the source, as far as there are any. A line without its
/// end is still being written: it is none yet.
std::vector<std::string> page(const std::string& source, std::int64_t first, std::int64_t count) {
  std::ifstream file(source);
  if (!file) throw std::runtime_error("cannot read " + source);
  std::vector<std::string> records;
  std::string line;
  for (std::int64_t i = 0; i < first + count && std::getline(file, line) && !file.eof(); ++i) {
    if (i >= first) records.push_back(line);
  }
  if (file.bad()) throw std::runtime_error("cannot read " + source + ": is it a text file?");
  return records;
}

}  // namespace

int main(int count, char** arguments) {
  std::string address;
  std::string source;
  std::string output;
  std::int64_t pageSize = 10;
  CLI::App app("Reads pages of a source and writes each record once.", "last_read_position");
  app.add_option("--store", address, "where the position is kept: a Datastore's address")
      ->required();
  app.add_option("--source", source, "a text file; its lines are the records")->required();
  app.add_option("--output", output, "gets the records")->required();
  app.add_option("--page", pageSize, "records of a page")->check(oneOrMore());
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    Datastore store = Datastore::open(address);
    const std::string key = "position of " + source;
    (void)store.update(key, [&](const std::optional<Value>& position) -> std::optional<Value> {
      if (position) return std::nullopt;
      refuseTaken(output);
      return ValueMap{{"next", 0}, {"length", 0}};
    });
    const auto readPage = [&](const std::optional<Value>& position) -> std::optional<Value> {
      const auto [next, length] = readStored(key, [&] {
        const ValueMap& members = position.value().asMap();
        return std::pair(members.at("next").asInt64(), members.at("length").asInt64());
      });
      const auto records = page(source, next, pageSize);
      if (records.empty()) return std::nullopt;
      std::string text;
      for (const std::string& record : records) text += record + '\n';
      return ValueMap{{"next", next + static_cast<std::int64_t>(records.size())},
                      {"length", appendAt(output, length, text)}};
    };
    while (store.update(key, readPage).changed) {
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "last_read_position: " << error.what() << '\n';
    return penstock::exitCode(error);
  }
}
