// SPDX-License-Identifier: Apache-2.0
#include "memory_budget.h"

#include <fmt/format.h>
#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <penstock/state/memory.h>
#include <unistd.h>
#include <algorithm>
#include <cstddef>
#include <new>
#include <span>
#include <sstream>
#include <string>

namespace penstock::state {

namespace {

constexpr std::uint64_t limitMin = 16ULL << 20;

std::string contentOf(const std::string& path) {
  auto file = Environment::real().files->open(path, OpenMode::Read);
  if (!file.ok()) return {};
  std::string text(4096, '\0');
  const auto got = file.value->read(0, std::as_writable_bytes(std::span(text)));
  text.resize(got.ok() ? got.value : 0);
  return text;
}

void lowerTo(std::uint64_t& bytes, const std::string& path) {
  std::uint64_t limit = 0;
  if (std::istringstream(contentOf(path)) >> limit && limit > 0) {  // "max" is none
    bytes = std::min(bytes, limit);
  }
}

std::uint64_t memoryOfMachine() noexcept {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

/// Lowers `bytes` to what the cgroup of this process, or one above it, allows.
void lowerToCgroup(std::uint64_t& bytes) {
  std::istringstream groups(contentOf("/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {
    const bool unified = line.starts_with("0::");
    if (!unified && line.find(":memory:") == std::string::npos) continue;
    std::string group = line.substr(line.find(':', line.find(':') + 1) + 1);
    for (;;) {  // a container may see its own group as "/", or under the host's name
      if (unified) {
        lowerTo(bytes, "/sys/fs/cgroup" + group + "/memory.max");
      } else {
        lowerTo(bytes, "/sys/fs/cgroup/memory" + group + "/memory.limit_in_bytes");
      }
      if (group.empty() || group == "/") break;
      group.erase(group.rfind('/'));
    }
  }
}

}  // namespace

MemoryBudget::MemoryBudget() noexcept : limit_(0) {
  std::uint64_t bytes = memoryOfMachine();
  try {
    lowerToCgroup(bytes);
  } catch (const std::exception&) {  // no memory to read it
  }
  limit_ = std::max(limitMin, bytes / 2);
}

MemoryBudget& MemoryBudget::process() noexcept {
  // Never destroyed, as stores may have static storage; and asks for no memory, as some of those
  // that count theirs have none.
  alignas(MemoryBudget) static std::byte place[sizeof(MemoryBudget)];
  static auto* budget = new (place) MemoryBudget;
  return *budget;
}

StoreMemory storeMemory() noexcept {
  const MemoryBudget& budget = MemoryBudget::process();
  return {budget.used(), budget.limit()};
}

void setStoreMemoryLimit(std::uint64_t bytes) {
  if (bytes < limitMin) {
    throw InvalidArgument(fmt::format(
        "the memory of stores cannot be limited to {} bytes: less than {}", bytes, limitMin));
  }
  MemoryBudget::process().limitTo(bytes);
}

}  // namespace penstock::state
