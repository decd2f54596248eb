// SPDX-License-Identifier: Apache-2.0

// Row 11 of the scoreboard on real file systems: a small tmpfs and a small ext4 on a loop device
// are filled up to a level, met on each path that asks for space, and emptied again; then the same
// with inodes. Needs root; run by scripts/fault. Mounts in a namespace of its own.
//
// usage: penstock_full_disk tmpfs|ext4 LEVELS SEED

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "fault/disk_paths.h"
#include "support/sim_environment.h"
#include "support/temporary_directory.h"

namespace {

using penstock::fault::DiskPath;
using penstock::fault::DiskPathTrial;
using penstock::testsupport::SimRandom;

void run(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

/// A small file system, seen by this process alone.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& kind) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) {
      throw std::runtime_error("a mount namespace needs root");
    }
    std::filesystem::create_directory(at());
    if (kind == "tmpfs") {
      run("mount -t tmpfs -o size=24m,nr_inodes=200 none " + at());
    } else if (kind == "ext4") {
      run("truncate -s 48M " + (place_ / "image"));
      run("mkfs.ext4 -q -N 200 -m 0 " + (place_ / "image"));
      run("mount -o loop " + (place_ / "image") + " " + at());
    } else {
      throw std::runtime_error("tmpfs or ext4, not " + kind);
    }
  }
  ~SmallDisk() { static_cast<void>(std::system(("umount " + at()).c_str())); }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  [[nodiscard]] std::string at() const { return place_ / "mnt"; }

  /// Takes all but about `bytes`.
  void leaveBytes(std::uint64_t bytes) {
    struct statvfs now {};
    if (::statvfs(at().c_str(), &now) != 0) throw std::runtime_error("statvfs");
    const std::uint64_t there = std::uint64_t{now.f_bavail} * now.f_bsize;
    const int fd = ::open((at() + "/ballast").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) throw std::runtime_error("no ballast");
    const auto taken = static_cast<off_t>(there > bytes ? there - bytes : 0);
    for (off_t size = taken; size > 0 && ::posix_fallocate(fd, 0, size) != 0; size -= 64 << 10) {
    }
    ::close(fd);
  }
  /// Takes all inodes but `count`.
  void leaveInodes(std::uint64_t count) {
    std::filesystem::create_directory(at() + "/inodes");
    std::vector<std::string> made;
    for (int fd = 0; fd >= 0;) {
      const std::string name = at() + "/inodes/" + std::to_string(made.size());
      fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
      if (fd < 0) break;
      ::close(fd);
      made.push_back(name);
    }
    for (std::uint64_t i = 0; i < count && i < made.size(); ++i) std::filesystem::remove(made[i]);
  }
  void empty() {
    std::filesystem::remove(at() + "/ballast");
    std::filesystem::remove_all(at() + "/inodes");
  }

 private:
  penstock::testing::TemporaryDirectory place_;
};

struct Sums {
  std::uint64_t trials = 0;
  int rejected = 0;
  int wrong = 0;
};

void tryLevel(SmallDisk& disk, DiskPath path, bool inodes, std::uint64_t seed, Sums& sums) {
  constexpr std::uint64_t most[] = {8 << 10, 64 << 10, 5 << 19};
  SimRandom random(seed);
  const std::string directory = disk.at() + "/state";
  ++sums.trials;
  std::string wrong;
  try {
    DiskPathTrial trial(directory, path, seed, penstock::state::Environment::real());
    const auto check = [&](const char* when) {
      const std::string found = trial.wrong();
      if (wrong.empty() && !found.empty()) wrong = std::string(when) + ": " + found;
    };
    std::filesystem::create_directory(directory);
    trial.prepare();
    const std::uint64_t bytes = random.below(most[random.below(3)]);
    if (inodes) {
      disk.leaveInodes(random.below(5));
    } else {
      disk.leaveBytes(bytes);
    }
    trial.take();
    check("on a full disk");
    if (random.oneIn(4)) trial.reopen();
    check("opened again on a full disk");
    disk.empty();
    if (random.oneIn(4) && path != DiskPath::Page) trial.reopen();
    if (!trial.opened()) trial.reopen();
    trial.resume();
    check("with space again");
    trial.reopen();
    check("opened again");
    sums.rejected += trial.rejected();
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  disk.empty();
  std::filesystem::remove_all(directory);
  if (wrong.empty()) return;
  ++sums.wrong;
  std::printf("row 11: %s, %s, seed %llu: %s\n", std::string(nameOf(path)).c_str(),
              inodes ? "inodes" : "bytes", static_cast<unsigned long long>(seed), wrong.c_str());
}

int levels(const std::string& kind, std::uint64_t count, std::uint64_t seed) {
  const auto began = std::chrono::steady_clock::now();
  SmallDisk disk(kind);
  Sums sums;
  for (const bool inodes : {false, true}) {
    for (const DiskPath path : penstock::fault::kDiskPaths) {
      for (std::uint64_t level = 0; level < count && sums.wrong < 5; ++level) {
        tryLevel(disk, path, inodes, seed + level, sums);
      }
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  std::printf("row 11: %s, %llu levels of bytes and inodes, %d calls rejected, %d corrupt, "
              "%.1f s, seed %llu\n",
              kind.c_str(), static_cast<unsigned long long>(sums.trials), sums.rejected,
              sums.wrong, seconds.count(), static_cast<unsigned long long>(seed));
  return sums.wrong == 0 && sums.rejected > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: penstock_full_disk tmpfs|ext4 LEVELS SEED\n");
    return 2;
  }
  try {
    return levels(argv[1], std::strtoull(argv[2], nullptr, 10),
                  std::strtoull(argv[3], nullptr, 10));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "row 11: %s\n", error.what());
    return 2;
  }
}
