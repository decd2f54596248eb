// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/error.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>

/// What the programs here have in common.

/// Of an option that counts something.
inline CLI::Validator oneOrMore() {
  return {[](const std::string& text) -> std::string {
            std::int64_t value = 0;
            const char* end = text.data() + text.size();
            const auto [read, error] = std::from_chars(text.data(), end, value);
            if (error == std::errc::result_out_of_range) return text + " is too large";
            if (error == std::errc() && read == end && value >= 1) return "";
            return text + " is not possible: give 1 or more";
          },
          "1 or more"};
}

/// `read()`, which reads what a store has under `key`; if that is of another program, it is told.
template <typename Read>
auto readStored(const std::string& key, Read read) try {
  return read();
} catch (const penstock::Error& error) {
  throw penstock::ConfigurationError("what the --store has under \"" + key +
                                     "\" is not of this program: " + error.what());
}
