// SPDX-License-Identifier: Apache-2.0

// Row 4 of the scoreboard: power cuts of a real file system. An image on a loop device is mounted,
// writers write, the file system is shut down without flushing its log, everything is killed,
// unmounted, mounted again (which replays its log) and checked. Needs root; run by scripts/fault.
//
// usage: penstock_power_cut ext4|xfs CYCLES SEED [MOUNT OPTIONS]

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "fault/writers.h"

namespace {

using penstock::state::Sharing;

void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

/// FS_IOC_SHUTDOWN without flushing: what is in the caches is gone.
void cutPower(const std::string& mount) {
  const int fd = ::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::uint32_t flags = 2;
  const int result = ::ioctl(fd, _IOR('X', 125, std::uint32_t), &flags);
  const int error = errno;
  ::close(fd);
  if (result != 0) throw std::runtime_error(std::string("shutdown: ") + std::strerror(error));
}

struct Workplace {
  explicit Workplace(const std::string& kind, std::string mountOptions)
      : options(std::move(mountOptions)) {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    place = pattern;
    std::filesystem::create_directory(place + "/mnt");
    run("truncate -s 320M " + place + "/image");  // XFS wants at least 300
    run("mkfs." + kind + " -q " + place + "/image");
  }
  ~Workplace() {
    if (mounted) (void)std::system(("umount " + place + "/mnt").c_str());
    std::filesystem::remove_all(place);
  }
  void mount() {
    run("mount -o loop" + (options.empty() ? "" : "," + options) + " " + place + "/image " + place +
        "/mnt");
    mounted = true;
  }
  void unmount() {
    run("umount " + place + "/mnt");
    mounted = false;
  }
  std::string place;
  std::string options;
  bool mounted = false;
};

int cycles(const std::string& kind, int count, std::uint64_t seed, const std::string& options) {
  Workplace workplace(kind, options);
  penstock::testsupport::SimRandom random(seed);
  penstock::fault::Acknowledged acked;
  const std::string directory = workplace.place + "/mnt/state";
  for (int cycle = 0; cycle < count; ++cycle) {
    const Sharing sharing = random.oneIn(3) ? Sharing::Shared : Sharing::Exclusive;
    workplace.mount();
    {
      penstock::fault::Writers writers(directory, sharing);
      writers.letWrite(random.below(60), random, acked);
      cutPower(workplace.place + "/mnt");
      static_cast<void>(writers.kill(acked, true));
    }
    workplace.unmount();
    workplace.mount();
    const std::string problem = penstock::fault::checkWritten(
        directory, random.oneIn(2) ? sharing : Sharing::Exclusive, acked.synced, cycle % 8 == 7);
    if (!problem.empty()) {
      std::printf("row 4, %s: seed %llu, cycle %d: %s\n", kind.c_str(),
                  static_cast<unsigned long long>(seed), cycle, problem.c_str());
      return 1;
    }
    workplace.unmount();
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
