// SPDX-License-Identifier: Apache-2.0
#include <penstock/state/verify.h>
#include <algorithm>

#include "directory_scan.h"

namespace penstock::state {

std::string_view nameOf(DamageKind kind) noexcept {
  switch (kind) {
    case DamageKind::File:
      return "file";
    case DamageKind::MissingFile:
      return "missing file";
    case DamageKind::Frame:
      return "frame";
    case DamageKind::Section:
      return "section";
    case DamageKind::Block:
      return "block";
    case DamageKind::Index:
      return "index";
  }
  return "?";
}

bool VerifyReport::sound() const noexcept {
  return std::all_of(damages.begin(), damages.end(), [](const Damage& damage) {
    return damage.kind == DamageKind::Index && damage.stores.empty() && damage.logs.empty();
  });
}

bool VerifyReport::refused() const noexcept {
  return std::any_of(damages.begin(), damages.end(),
                     [](const Damage& damage) { return damage.refusesDirectory; });
}

VerifyReport verifyJournal(const std::string& directory, const VerifyOptions& options,
                           const Environment& environment) {
  DirectoryScan scan(directory, environment, {.progress = options.progress});
  scan.run();
  return std::move(scan.report);
}

}  // namespace penstock::state
