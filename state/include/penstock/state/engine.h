// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace penstock::state {

/// How the content of a store is kept beside the journal. Commits are frames of the journal with
/// every engine, and what is read is the same; engines differ in what they need.
enum class Engine : std::uint8_t {
  /// Snapshot files. Changes since the last snapshot, and the snapshot as far as there is memory
  /// for it, are held in memory: for up to tens of millions of keys.
  File,
  /// As File, in a directory that exists in this process's memory only and goes with its last
  /// handle: for tests and caches. Takes about twice the memory.
  Memory,
  /// A RocksDB database in the directory: for stores larger than memory. Changes are collected in
  /// memory, as with File, and written to the database where File writes a snapshot. All
  /// databases of the process share one block cache and one write buffer, a quarter of the store
  /// memory and beside it (penstock/state/memory.h). For journals of one process (Exclusive), on
  /// real file systems, and where the library was built with it (PENSTOCK_ROCKSDB).
  RocksDb,
};

/// "file", "memory", "rocksdb".
[[nodiscard]] std::string_view toString(Engine engine) noexcept;

}  // namespace penstock::state
