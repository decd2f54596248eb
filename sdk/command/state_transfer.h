// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/transfer.h>

#include <cstdint>
#include <string>
#include <vector>

#include "state_values.h"

namespace penstock::command {

/// What goes out of a storage or into one.
struct TransferArguments : ValueArguments {
  std::string path;  // of the export, or of what is imported; "-": standard output or input
  std::string format = "jsonl";
  std::uint64_t batchBytes = state::ImportOptions().batchBytes;
  bool replace = false;      // a file that is there
  bool overwrite = false;    // keys that are there
  bool incomplete = false;   // JSON lines without first and last line
  bool skipDamaged = false;  // of a Quix directory
  bool rawFiles = false;     // of a Quix directory
};

inline const std::vector<std::string> exportFormats{"jsonl", "snapshot"};
inline const std::vector<std::string> importFormats{"jsonl", "snapshot", "quix"};

// `penstock state export` and `import`: <penstock/state/transfer.h> and quix_import.h. The
// directory is opened Shared, as by `ls`; an import makes it when it is not there.
void exportStorage(const TransferArguments& arguments);
void importStorage(const TransferArguments& arguments);

}  // namespace penstock::command
