// SPDX-License-Identifier: Apache-2.0

// Row 9 of the scoreboard on a real file system: strace makes the n-th use of a system call fail
// under a process that writes, once or from then on, in each of its threads. The call is not made,
// so what a sync that failed should have written is lost when the power goes. Needs root; run by
// scripts/fault.
//
// Short writes are not faked (`retval`): strace would say so of a write that it did not make.
//
// usage: penstock_failing_calls RUNS

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>

#include "fault/figures.h"
#include "fault/loop_disk.h"
#include "fault/writers.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

using testsupport::SimRandom;

constexpr unsigned secondsMax = 120;  // of one run: beyond it something hangs

struct Call {
  const char* systemCalls;  // `?`: not every machine has it
  bool sync;
  std::uint64_t most;  // uses of one thread in a run, about
};

constexpr Call kCalls[] = {
    {"openat", false, 10},   {"pread64", false, 8},
    {"pwritev", false, 40},  {"fdatasync", true, 20},
    {"fsync", true, 4},      {"?rename,?renameat,renameat2", false, 4},
    {"ftruncate", false, 3}, {"?unlink,unlinkat", false, 4},
    {"fallocate", false, 3},
};

struct Found {
  std::uint64_t runs = 0;
  std::uint64_t hit = 0;  // runs in which a call failed
  std::uint64_t failures = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t wrong = 0;
};

/// In a writer: until strace follows it. Without, nothing would fail and all would look well.
void waitForTracer() {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (std::chrono::steady_clock::now() < deadline) {
    std::ifstream status("/proc/self/status");
    if (!status) return;  // it has come, and lets this call fail
    for (std::string word; status >> word;) {
      if (word == "TracerPid:" && status >> word && word != "0") return;
    }
    ::poll(nullptr, 0, 1);
  }
  std::fprintf(stderr, "strace does not come\n");
  ::_exit(6);
}

/// What strace wrote down: how many calls it let fail, and the file whose sync was tried again
/// though it had failed.
struct Traced {
  std::uint64_t failures = 0;
  std::string retried;
};

/// Lines are `PID fdatasync(3</path>) = 0`, or two of them: `PID fdatasync(3</path> <unfinished`
/// and `PID <... fdatasync resumed>) = 0`.
Traced readTrace(const std::string& path) {
  Traced traced;
  std::ifstream file(path);
  std::map<std::string, std::string> syncing;  // by thread
  std::set<std::string> failed;
  for (std::string line; std::getline(file, line);) {
    const std::string thread = line.substr(0, line.find(' '));
    const std::size_t name = line.find("sync(");
    if (name != std::string::npos) {
      const std::size_t begin = line.find('<', name) + 1;
      syncing[thread] = line.substr(begin, line.find('>', begin) - begin);
      if (failed.contains(syncing[thread])) traced.retried = syncing[thread];
    }
    if (line.find("(INJECTED)") == std::string::npos) continue;
    ++traced.failures;
    if (line.find("sync") != std::string::npos) failed.insert(syncing[thread]);
  }
  return traced;
}

class Runs {
 public:
  explicit Runs(std::uint64_t seed) : random_(seed), disk_("ext4", "") {}

  /// Empty, or what was wrong.
  std::string run(std::uint64_t number, Found& found) {
    const Call& call = kCalls[number % std::size(kCalls)];
    const std::uint64_t nth = 1 + random_.below(call.most);
    const bool always = random_.oneIn(3);
    const bool powerCut = random_.oneIn(2);
    const std::string fault = std::string(call.systemCalls) +
                              ":error=" + (random_.oneIn(4) ? "ENOSPC" : "EIO") +
                              ":when=" + std::to_string(nth) + (always ? "+" : "");
    ::alarm(secondsMax);
    disk_.mount();
    Acknowledged acked;
    acked.written = acked.synced = there_;
    const Traced traced = writeUnder(call, fault, powerCut, acked);
    if (powerCut) {
      disk_.unmount();
      disk_.mount();
    }
    const Numbers& promised = powerCut || call.sync ? acked.synced : acked.written;
    std::optional<Numbers> now;
    std::string wrong =
        checkWritten(state(), state::Sharing::Exclusive, promised, number % 8 == 7, &now);
    there_ = now.value_or(there_);
    disk_.unmount();
    ::alarm(0);
    if (acked.afterFailure != 0) wrong = "acknowledged after a failed sync";
    if (!traced.retried.empty()) wrong = "synced again after a failed sync: " + traced.retried;
    ++found.runs;
    found.hit += traced.failures > 0 ? 1 : 0;
    found.failures += traced.failures;
    found.acknowledged += acked.total;
    return wrong.empty() ? "" : fault + (powerCut ? ", power cut: " : ", killed: ") + wrong;
  }

 private:
  [[nodiscard]] std::string state() const { return disk_.at() + "/state"; }

  Traced writeUnder(const Call& call, const std::string& fault, bool powerCut,
                    Acknowledged& acked) {
    const std::string trace = place_ / "trace";
    Writers writers(state(), state::Sharing::Exclusive, true, [](int) { waitForTracer(); });
    testing::Subprocess strace({"/usr/bin/strace", "-f", "-q", "-y", "-s0", "-o", trace, "-e",
                                std::string("trace=") + call.systemCalls, "-e", "inject=" + fault,
                                "-p", std::to_string(writers.processes().front())});
    writers.letWrite(1 + random_.below(1000), random_, acked);
    writers.takeSent(acked);
    const Numbers synced = acked.synced;
    if (powerCut) disk_.cutPower();
    static_cast<void>(writers.kill(acked, true));
    if (powerCut) acked.synced = synced;
    const testing::Finished finished = strace.wait();
    if (finished.exitCode != 0) throw std::runtime_error("strace: " + finished.err);
    return readTrace(trace);
  }

  SimRandom random_;
  const testing::TemporaryDirectory place_;
  LoopDisk disk_;
  Numbers there_{};  // found at the end of the last run
};

int failingCalls(std::uint64_t count) {
  Figures figures("9, strace");
  Found found;
  Runs runs(firstSeed());
  for (std::uint64_t number = 0; number < count && found.wrong == 0; ++number) {
    const std::string wrong = runs.run(number, found);
    if (wrong.empty()) continue;
    ++found.wrong;
    std::printf("row 9: PENSTOCK_FAULT_SEED=%llu run %llu, %s\n",
                static_cast<unsigned long long>(firstSeed()),
                static_cast<unsigned long long>(number), wrong.c_str());
  }
  figures.print(std::to_string(found.runs) + " runs on ext4, in " + std::to_string(found.hit) +
                " " + std::to_string(found.failures) + " calls failed, " +
                std::to_string(found.acknowledged) + " acknowledged commits, " +
                std::to_string(found.wrong) + " wrong");
  return found.wrong == 0 && found.hit * 2 > found.runs ? 0 : 1;
}

}  // namespace
}  // namespace penstock::fault

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: penstock_failing_calls RUNS\n");
    return 2;
  }
  try {
    return penstock::fault::failingCalls(std::strtoull(argv[1], nullptr, 10));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "row 9: %s\n", error.what());
    return 2;
  }
}
