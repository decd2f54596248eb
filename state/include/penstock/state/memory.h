// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock::state {

/// What the stores of this process hold in memory: changes since their snapshots, the indexes of
/// snapshots, blocks of them that are kept for the next reader, and the files of Engine::Memory.
struct StoreMemory {
  std::uint64_t usedBytes = 0;
  std::uint64_t limitBytes = 0;
};

/// Threads: safe from any thread.
[[nodiscard]] StoreMemory storeMemory() noexcept;

/// Bounds the memory of all stores of the process together, whatever their journals; by default
/// half of what the machine, or the cgroup that the process started in, may use. Blocks are kept
/// up to half of the limit and read anew from their files beyond; above three quarters changes
/// are written to snapshots sooner. Beyond the limit writers wait for that, and where it does not
/// help a commit that changes a store is refused (MemoryExceeded). Nothing that is there is
/// dropped. Less than 16 MiB is InvalidArgument.
///
/// Threads: safe from any thread.
void setStoreMemoryLimit(std::uint64_t bytes);

}  // namespace penstock::state
