// SPDX-License-Identifier: Apache-2.0

// Row 4 of the scoreboard: power cuts of a real file system. An image on a loop device is mounted,
// writers write, the file system is shut down without flushing its log, everything is killed,
// unmounted, mounted again (which replays its log) and checked. Needs root; run by scripts/fault.
//
// usage: penstock_power_cut ext4|xfs CYCLES SEED [MOUNT OPTIONS]

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "fault/loop_disk.h"
#include "fault/writers.h"

namespace {

using penstock::state::Sharing;

int cycles(const std::string& kind, int count, std::uint64_t seed, const std::string& options) {
  penstock::fault::LoopDisk disk(kind, options);
  penstock::testsupport::SimRandom random(seed);
  penstock::fault::Acknowledged acked;
  const std::string directory = disk.at() + "/state";
  for (int cycle = 0; cycle < count; ++cycle) {
    const Sharing sharing = random.oneIn(3) ? Sharing::Shared : Sharing::Exclusive;
    disk.mount();
    {
      penstock::fault::Writers writers(directory, sharing);
      writers.letWrite(random.below(60), random, acked);
      writers.takeSent(acked);
      const penstock::fault::Numbers promised = acked.synced;
      disk.cutPower();
      static_cast<void>(writers.kill(acked, true));
      acked.synced = promised;
    }
    disk.unmount();
    disk.mount();
    const std::string problem = penstock::fault::checkWritten(
        directory, random.oneIn(2) ? sharing : Sharing::Exclusive, acked.synced, cycle % 8 == 7);
    if (!problem.empty()) {
      std::printf("row 4, %s: seed %llu, cycle %d: %s\n", kind.c_str(),
                  static_cast<unsigned long long>(seed), cycle, problem.c_str());
      return 1;
    }
    disk.unmount();
  }
  std::printf("row 4, %s: %d power cuts, %llu acknowledged commits, 0 violations\n", kind.c_str(),
              count, static_cast<unsigned long long>(acked.total));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: penstock_power_cut ext4|xfs CYCLES SEED [MOUNT OPTIONS]\n");
    return 2;
  }
  try {
    return cycles(argv[1], std::atoi(argv[2]), std::strtoull(argv[3], nullptr, 10),
                  argc > 4 ? argv[4] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "row 4: %s\n", error.what());
    return 2;
  }
}
