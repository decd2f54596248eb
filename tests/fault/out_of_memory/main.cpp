// SPDX-License-Identifier: Apache-2.0

// Row 12 of the scoreboard with a real end of memory: processes that write are in a memory cgroup,
// one of them takes more and more, and the kernel kills it. What was acknowledged must be there, as
// in row 3. Needs root; run by scripts/fault.
//
// usage: penstock_out_of_memory KILLS

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "fault/figures.h"
#include "fault/writers.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

constexpr unsigned secondsMax = 120;  // of one round: beyond it something hangs
constexpr std::uint64_t limitBytes = 64 << 20;

/// Processes with a bound on their memory together; cgroups of either version.
class MemoryGroup {
 public:
  MemoryGroup() {
    const std::string first = "/sys/fs/cgroup/memory";
    const bool v1 = std::filesystem::exists(first + "/memory.limit_in_bytes");
    if (!v1) write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
    at_ = (v1 ? first : "/sys/fs/cgroup") + "/penstock-" + std::to_string(::getpid());
    events_ = at_ + (v1 ? "/memory.oom_control" : "/memory.events");
    std::filesystem::create_directory(at_);
    write(at_ + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), std::to_string(limitBytes));
  }
  ~MemoryGroup() {
    for (int tries = 0; ::rmdir(at_.c_str()) != 0 && tries < 100; ++tries) ::poll(nullptr, 0, 10);
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  void join() const { write(at_ + "/cgroup.procs", "0"); }
  /// How many the kernel has killed in it.
  [[nodiscard]] std::uint64_t killed() const {
    std::ifstream events(events_);
    for (std::string name, number; events >> name >> number;) {
      if (name == "oom_kill") return std::stoull(number);
    }
    throw std::runtime_error(events_ + " does not count oom_kill");
  }

 private:
  static void write(const std::string& path, const std::string& text) {
    std::ofstream file(path);
    file << text << std::flush;
    if (!file) throw std::runtime_error("cannot write " + text + " to " + path);
  }
  std::string at_;
  std::string events_;
};

[[noreturn]] void takeMemory(int startMs) {
  ::poll(nullptr, 0, startMs);
  constexpr std::size_t bytes = 64 << 10;
  for (;;) {
    void* memory = std::malloc(bytes);
    if (memory == nullptr) ::_exit(7);
    std::memset(memory, 1, bytes);
  }
}

struct Found {
  std::uint64_t killed = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t wrong = 0;
};

void killInRounds(std::uint64_t rounds, Found& found) {
  testsupport::SimRandom random(firstSeed());
  const testing::TemporaryDirectory place;
  const MemoryGroup group;
  Acknowledged acked;
  for (std::uint64_t round = 0; round < rounds && found.wrong == 0; ++round) {
    ::alarm(secondsMax);
    const auto sharing = round % 2 == 0 ? state::Sharing::Exclusive : state::Sharing::Shared;
    const std::uint64_t before = group.killed();
    const auto startMs = static_cast<int>(random.below(60));
    std::string problem;
    {
      Writers writers(place / "state", sharing, false, [&](int process) {
        group.join();
        if (process == 0) std::thread(takeMemory, startMs).detach();
      });
      while (writers.take(acked) && group.killed() == before) {
      }
      // The others go on.
      if (sharing == state::Sharing::Shared) writers.letWrite(random.below(60), random, acked);
      problem = writers.kill(acked);
    }
    if (group.killed() == before) problem = "the kernel has killed none";
    if (problem.empty()) {
      problem = checkWritten(place / "state", sharing, acked.written, round % 8 == 7);
    }
    if (!problem.empty()) {
      ++found.wrong;
      std::printf("row 12: PENSTOCK_FAULT_SEED=%llu round %llu: %s\n",
                  static_cast<unsigned long long>(firstSeed()),
                  static_cast<unsigned long long>(round), problem.c_str());
    }
  }
  found.killed = group.killed();
  found.acknowledged = acked.total;
}

int run(std::uint64_t rounds) {
  Figures figures("12, cgroup");
  Found found;
  killInRounds(rounds, found);
  figures.print(std::to_string(found.killed) + " killed for want of memory, " +
                std::to_string(found.acknowledged) + " acknowledged commits, " +
                std::to_string(found.wrong) + " wrong");
  return found.wrong == 0 && found.acknowledged > rounds ? 0 : 1;
}

}  // namespace
}  // namespace penstock::fault

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: penstock_out_of_memory KILLS\n");
    return 2;
  }
  try {
    return penstock::fault::run(std::strtoull(argv[1], nullptr, 10));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "row 12: %s\n", error.what());
    return 2;
  }
}
