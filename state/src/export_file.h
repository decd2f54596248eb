// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "snapshot.h"

/// A storage and its sub-storages as one file, docs/formats/export.md: the blocks, index and
/// footer of a snapshot, whose header says FileKind::Export, of no journal, and whose entries are
///
///   path, a zero byte                varint number of keys; first of the storage at that path
///   path, a zero byte, key           the stored value
///
/// A path holds no zero byte and comes before what it begins, so the order of a snapshot's keys
/// is that of storages, and of keys in each.
namespace penstock::state {

/// Reads such a file from front to end, any bytes for what they may be: nothing in it is trusted
/// before it was checked, and no more is allocated than the file has bytes.
///
/// Threads: owned by one thread.
/// Errors: Corruption naming file and offset; FormatTooNew.
class ExportFile {
 public:
  /// Checks header, footer and index. `file` outlives this.
  ExportFile(File& file, std::string path);
  ExportFile(const ExportFile&) = delete;
  ExportFile& operator=(const ExportFile&) = delete;

  struct Visitor {
    std::function<void(const std::string& path)> storage;
    std::function<void(const std::string& path, std::string_view key, std::string_view value)>
        entry;
  };
  /// Checks block after block against the index and visits what is in it. A file that changed
  /// since the constructor is Corruption.
  void visit(const Visitor& visitor) const;

 private:
  class Contents;

  [[nodiscard]] std::string read(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] std::string readBlock(const BlockRef& ref) const;
  [[noreturn]] void damaged(std::uint64_t offset, std::string_view what) const;

  File& file_;
  const std::string path_;
  SnapshotFooter footer_{};
  std::string index_;
  std::vector<BlockRef> blocks_;
};

}  // namespace penstock::state
