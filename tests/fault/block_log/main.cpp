// SPDX-License-Identifier: Apache-2.0

// Rows 5 and 10 of the scoreboard: a real file system on a disk that is watched from below. Needs
// root; run by scripts/fault.
//
// Row 5 (`states`): writers write, everything the disk was asked to do is kept, and then disks are
// made as a power cut would have left them: all up to a flush, and any part of what came until the
// next one. Each is mounted, the journal opened and checked.
//
// Row 10 (`errors`): the disk answers EIO for a while. Nothing may be acknowledged after a failed
// sync, nor by a process that joins later, and what is served must be what the disk holds.
//
// usage: penstock_block_log states|errors ext4|xfs COUNT

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "fault/block_log/log_device.h"
#include "fault/content.h"
#include "fault/figures.h"
#include "fault/writers.h"
#include "support/temporary_directory.h"

namespace penstock::fault {
namespace {

using state::Durability;
using state::Journal;
using state::Sharing;
using testsupport::SimRandom;

constexpr std::uint64_t forEver = 1'000'000'000;
constexpr unsigned secondsMax = 300;  // of one run or trial: beyond it something hangs

/// An empty file system of one kind on a disk that is watched.
class Place {
 public:
  explicit Place(const std::string& kind) : kind_(kind) {
    std::filesystem::create_directory(at_ / "mnt");
    const int made = ::open((at_ / "disk").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (made < 0) throw std::runtime_error("no file to mount upon");
    ::close(made);
    // XFS wants at least 300 MiB
    disk_.emplace(at_ / "disk", std::uint64_t{kind == "xfs" ? 300U : 32U} << 20);
    const std::string make = (kind == "xfs" ? "mkfs.xfs -q -f " : "mkfs.ext4 -q -b 4096 ") +
                             disk_->path() + " && sync " + disk_->path();
    if (std::system(make.c_str()) != 0) throw std::runtime_error(make);
  }

  [[nodiscard]] LogDevice& disk() { return *disk_; }
  [[nodiscard]] std::string state() const { return at_ / "mnt/state"; }
  [[nodiscard]] Mount mount() const { return mount(disk_->path()); }
  [[nodiscard]] Mount mount(const std::string& device) const {
    return Mount(device, kind_, at_ / "mnt");
  }

 private:
  const std::string kind_;
  const testing::TemporaryDirectory at_;
  std::optional<LogDevice> disk_;
};

/// What a row found; the first of what was wrong is printed.
struct Found {
  explicit Found(std::string name) : row(std::move(name)) {}

  void add(std::uint64_t& count, std::uint64_t seed, const std::string& what) const {
    if (++count <= 5) {
      std::printf("row %s: PENSTOCK_FAULT_SEED=%llu: %s\n", row.c_str(),
                  static_cast<unsigned long long>(seed), what.c_str());
    }
  }

  const std::string row;
  std::uint64_t acknowledged = 0;
  std::uint64_t bad = 0;
  std::uint64_t unmountable = 0;
  std::uint64_t afterFailure = 0;
  std::uint64_t failedWrites = 0;
  std::uint64_t refused = 0;
};

// Row 5.

/// What was acknowledged when the disk had been asked for so much.
struct Promise {
  std::size_t requests = 0;
  Numbers synced{};
};

std::vector<Promise> writeAndBeKilled(Place& place, Sharing sharing, SimRandom& random,
                                      std::uint64_t seed, Found& found) {
  std::vector<Promise> promises(1);
  Acknowledged acked;
  const auto note = [&] { promises.push_back({place.disk().requests().size(), acked.synced}); };
  const Mount mount = place.mount();
  for (int round = 0; round < 3; ++round) {
    Writers writers(place.state(), sharing);
    for (std::uint64_t left = 40 + random.below(160); left > 0 && writers.take(acked); --left) {
      note();
    }
    std::string problem = writers.kill(acked);
    note();
    if (problem.empty()) problem = checkWritten(place.state(), sharing, acked.written, round == 1);
    if (!problem.empty()) found.add(found.bad, seed, "after a kill: " + problem);
  }
  found.acknowledged += acked.total;
  return promises;
}

void apply(const DiskImage& image, const DiskRequest& request) {
  if (request.kind == DiskRequest::Kind::Write) {
    std::copy_n(request.data, request.length, image.bytes() + request.offset);
  } else if (request.kind == DiskRequest::Kind::Erase) {
    image.erase(request.offset, request.length);
  }
}

/// As a disk may leave what no flush has come behind: done, not done, or done for some sectors. But
/// for the first block: of its superblock ext4 checks the sum before it replays its journal, so it
/// relies on a disk that does not tear it.
void applySome(const DiskImage& image, const DiskRequest& request, SimRandom& random) {
  constexpr std::uint64_t sector = 512;
  const std::uint64_t how = random.below(4);
  if (how == 0) return;
  if (how == 1 || request.offset == 0 || request.kind != DiskRequest::Kind::Write) {
    return apply(image, request);
  }
  const std::uint64_t upTo =
      how == 2 ? random.below(request.length / sector + 1) * sector : request.length;
  for (std::uint64_t at = 0; at < upTo; at += sector) {
    if (how == 3 && random.oneIn(2)) continue;
    std::copy_n(request.data + at, sector, image.bytes() + request.offset + at);
  }
}

void tryState(const Place& place, const DiskImage& image, Sharing sharing, const Numbers& atLeast,
              std::uint64_t seed, Found& found) {
  const LoopDevice loop(image.fd(), false);
  try {
    const Mount mount = place.mount(loop.path());
    const std::string problem = checkWritten(place.state(), sharing, atLeast, false);
    if (!problem.empty()) found.add(found.bad, seed, problem);
  } catch (const std::system_error& error) {  // of the mount: checkWritten throws none
    found.add(found.unmountable, seed, error.what());
  }
}

void tryStates(const std::string& kind, std::uint64_t seed, std::uint64_t count, Found& found) {
  SimRandom random(seed);
  const Sharing sharing = seed % 2 == 0 ? Sharing::Shared : Sharing::Exclusive;
  Place place(kind);
  const std::size_t from = place.disk().requests().size();
  const std::vector<Promise> promises = writeAndBeKilled(place, sharing, random, seed, found);
  const auto requests = place.disk().requests();
  std::vector<std::size_t> cuts;
  for (std::uint64_t i = 0; i < count; ++i) {
    cuts.push_back(from + random.below(requests.size() - from));
  }
  std::sort(cuts.begin(), cuts.end());

  const DiskImage flushed(place.disk().size());  // all requests before `done`
  const DiskImage image(place.disk().size());
  std::size_t done = 0;
  for (; done < from; ++done) apply(flushed, requests[done]);
  auto promise = promises.begin();
  for (std::size_t cut : cuts) {
    // Before a flush is over, more than after it may be missing.
    while (cut > done && requests[cut - 1].kind == DiskRequest::Kind::Flush) --cut;
    std::size_t flush = cut;
    while (flush > done && requests[flush - 1].kind != DiskRequest::Kind::Flush) --flush;
    for (; done < flush; ++done) apply(flushed, requests[done]);
    image.copyFrom(flushed);
    for (std::size_t i = done; i < cut; ++i) applySome(image, requests[i], random);
    while (promise + 1 != promises.end() && promise[1].requests <= cut) ++promise;
    tryState(place, image, random.oneIn(2) ? sharing : Sharing::Exclusive, promise->synced, seed,
             found);
  }
}

int states(const std::string& kind, std::uint64_t count) {
  constexpr std::uint64_t perRun = 50;
  const Figures figures("5, " + kind);
  Found found("5, " + kind);
  std::uint64_t tried = 0;
  std::uint64_t runs = 0;
  for (; tried < count; tried += std::min(perRun, count - tried)) {
    ::alarm(secondsMax);
    tryStates(kind, firstSeed() + runs++, std::min(perRun, count - tried), found);
  }
  figures.print(std::to_string(count) + " states of " + std::to_string(runs) + " runs, " +
                std::to_string(found.acknowledged) + " acknowledged commits, " +
                std::to_string(found.bad) + " bad, " + std::to_string(found.unmountable) +
                " unmountable");
  return found.bad + found.unmountable == 0 ? 0 : 1;
}

// Row 10.

/// Writers on a disk that fails, and more of them that join when all have given up.
void failUnderWriters(const std::string& kind, std::uint64_t seed, Found& found) {
  constexpr std::uint64_t counts[] = {1, 3, 20, forEver};
  SimRandom random(seed);
  const Sharing sharing = seed % 2 == 0 ? Sharing::Shared : Sharing::Exclusive;
  Place place(kind);
  LogDevice& disk = place.disk();
  Acknowledged acked;
  std::optional<Numbers> served;
  std::string problem;
  {
    const Mount mount = place.mount();
    {
      Writers writers(place.state(), sharing, true);
      for (std::uint64_t left = 20 + random.below(100); left > 0 && writers.take(acked); --left) {
      }
      disk.failWrites(random.below(20), counts[random.below(4)]);
      bool writing = true;
      for (int left = 1000; left > 0 && disk.failed() == 0 && writing; --left) {
        writing = writers.take(acked);
      }
      for (std::uint64_t left = random.oneIn(2) ? random.below(4) : 500; left > 0 && writing;
           --left) {
        writing = writers.take(acked);
      }
      if (!writing && sharing == Sharing::Shared) {
        Writers late(place.state(), sharing, true);
        for (int left = 50; left > 0 && late.take(acked); --left) {
        }
        static_cast<void>(late.kill(acked, true));
      }
      static_cast<void>(writers.kill(acked, true));
    }
    disk.failWrites(0, 0);
    // The cache still shows what the disk has not got. It may refuse; what it serves is promised.
    problem = checkWritten(place.state(), Sharing::Exclusive, acked.synced, false, &served);
  }
  Numbers promised = acked.synced;
  if (served) {
    for (std::size_t i = 0; i < promised.size(); ++i) {
      promised[i] = std::max(promised[i], (*served)[i]);
    }
  }
  if (!served || problem.empty()) {
    const Mount mount = place.mount();
    problem = checkWritten(place.state(), sharing, promised, false);
  }
  if (!problem.empty()) found.add(found.bad, seed, problem);
  if (acked.afterFailure != 0) {
    found.add(found.afterFailure, seed, "acknowledged after a failed sync");
  }
  found.acknowledged += acked.total;
  found.failedWrites += disk.failed();
}

/// A forked process with the journal open until it is killed.
class Member {
 public:
  Member(const std::string& directory, const state::JournalOptions& options,
         const std::function<void(const std::shared_ptr<Journal>&)>& work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::shared_ptr<Journal> journal;
      try {
        journal = Journal::open(directory, options);
        work(journal);
        if (::write(ends[1], "", 1) != 1) ::_exit(1);
      } catch (const std::exception&) {  // told by closing
      }
      ::close(ends[1]);
      for (;;) ::pause();
    }
    ::close(ends[1]);
    char told = 0;
    done_ = child_ > 0 && ::read(ends[0], &told, 1) == 1;
    ::close(ends[0]);
  }
  ~Member() { kill(); }
  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  [[nodiscard]] bool done() const { return done_; }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(std::exchange(child_, -1), nullptr, 0);
  }

 private:
  pid_t child_ = -1;
  bool done_ = false;
};

/// A write-back fails that no living member has been told of: the kernel takes the pages for clean
/// and says OK to the next sync. Who joins then must not build upon what only the cache has.
void joinAfterFailure(const std::string& kind, std::uint64_t seed, Found& found) {
  Place place(kind);
  state::JournalOptions options = writerOptions(Sharing::Shared);
  options.syncInterval = std::chrono::hours(1);
  const auto put = [](const std::shared_ptr<Journal>& journal, const char* key,
                      Durability durability) {
    state::Commit commit;
    commit.put(journal->declareStore("keys"), key, std::string(8000, 'v'));
    static_cast<void>(journal->commit(commit, durability));
  };
  bool acknowledged = false;
  {
    const Mount mount = place.mount();
    const Member idle(place.state(), options, [](const auto&) {});  // so that nobody recovers
    Member first(place.state(), options, [&](const auto& journal) {
      put(journal, "before", Durability::Synced);
      put(journal, "unsynced", Durability::Buffered);
    });
    if (!first.done() || !idle.done()) throw std::runtime_error("members fail without any fault");
    place.disk().failWrites(0, forEver);
    int failed = 0;
    for (const auto& entry : std::filesystem::directory_iterator(place.state())) {
      if (entry.path().extension() != ".log") continue;  // segments
      const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      if (::fdatasync(file) != 0) ++failed;
      ::close(file);
    }
    place.disk().failWrites(0, 0);
    if (failed == 0) throw std::runtime_error("no sync failed");
    first.kill();
    const Member late(place.state(), options,
                      [&](const auto& journal) { put(journal, "late", Durability::Synced); });
    acknowledged = late.done();
  }
  if (!acknowledged) ++found.refused;
  found.failedWrites += place.disk().failed();
  std::string problem;
  try {
    const Mount mount = place.mount();
    Content content = readContent(Journal::open(place.state(), options));
    const auto& keys = content.stores["keys"];
    if (keys.count("before") == 0) problem = "an acknowledged commit is lost";
    if (acknowledged && (keys.count("late") == 0 || keys.count("unsynced") == 0)) {
      problem = "a late joiner vouched for what only the cache had";
    }
  } catch (const std::exception& error) {
    problem = error.what();
  }
  if (!problem.empty()) found.add(found.bad, seed, problem);
}

int errors(const std::string& kind, std::uint64_t count) {
  const Figures figures("10, " + kind);
  Found found("10, " + kind);
  for (std::uint64_t seed = firstSeed(); seed < firstSeed() + count; ++seed) {
    ::alarm(secondsMax);
    failUnderWriters(kind, seed, found);
    joinAfterFailure(kind, seed, found);
  }
  figures.print(std::to_string(count) + " trials, " + std::to_string(found.failedWrites) +
                " writes failed, " + std::to_string(found.acknowledged) +
                " acknowledged commits, " + std::to_string(found.refused) +
                " late joiners refused, " + std::to_string(found.afterFailure) +
                " acknowledged after a failed sync, " + std::to_string(found.bad) + " lost");
  return found.afterFailure + found.bad == 0 ? 0 : 1;
}

int run(std::string_view row, const std::string& kind, std::uint64_t count) {
  if ((row != "states" && row != "errors") || (kind != "ext4" && kind != "xfs")) {
    std::fprintf(stderr, "usage: penstock_block_log states|errors ext4|xfs COUNT\n");
    return 2;
  }
  try {
    leaveMountNamespace();
    return row == "states" ? states(kind, count) : errors(kind, count);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "row %s: %s\n", row == "states" ? "5" : "10", error.what());
    return 2;
  }
}

}  // namespace
}  // namespace penstock::fault

int main(int argc, char** argv) {
  const std::string kind = argc == 4 ? argv[2] : "";
  return penstock::fault::run(argc == 4 ? argv[1] : "", kind,
                              argc == 4 ? std::strtoull(argv[3], nullptr, 10) : 0);
}
