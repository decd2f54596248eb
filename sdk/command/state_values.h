// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/local_file_storage.h>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::command {

/// Which values of which directory.
struct ValueArguments {
  std::string directory;
  std::vector<std::string> sub;  // names of sub-storages, from the outside in
  std::string prefix;
  std::string key;
  std::string value;
  std::string type = "string";
  bool json = false;
};

/// The types that `set` takes.
inline const std::vector<std::string> valueTypes{"string", "int64", "double", "bool",
                                                 "binary", "null",  "json"};

// `penstock state ls`, `get` and `set`: the values of a LocalFileStorage. The directory is opened
// Shared, so it may be in use by processes that share it, and never created.
void listValues(const ValueArguments& arguments);
void getValue(const ValueArguments& arguments);
void setValue(const ValueArguments& arguments);

/// Whether a directory that is not there is made.
enum class MakeDirectory : std::uint8_t { No, Yes };

// The storage that was asked for, opened Shared: one that is there, or else a
// ConfigurationError; or made where there is none.
state::LocalFileStorage findStorage(const ValueArguments& arguments);
state::LocalFileStorage makeStorage(const ValueArguments& arguments, MakeDirectory directory);

}  // namespace penstock::command
