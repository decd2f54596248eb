// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sim_environment.h"
#include "sparse_image.h"

namespace penstock::testsupport {

/// The calls of the seam, for counting and failing them.
enum class SimCall : std::uint8_t {
  Open,
  Read,
  Write,
  Size,
  Truncate,
  Allocate,
  Sync,
  DropCache,
  Lock,  // of files and of bytes
  MakeDirectories,
  Rename,
  Remove,
  SyncDirectory,
  List,
  Info,
  MapShared,
  FreeBytes,
};
inline constexpr std::size_t kSimCalls = 17;
std::string_view nameOf(SimCall call);

/// What a power cut does with what was not synced. "Names" are creates, renames and removals.
enum class Damage : std::uint8_t {
  NoneKept,       // exactly the synced state
  AllKept,        // as if everything had been synced
  RandomSubset,   // any writes, any names; sizes may grow without their bytes (zeros)
  Torn512,        // each sector of each write by itself
  Torn4096,       // each page of each write by itself
  GarbageGrowth,  // files have their new size, new parts are random or another file's old bytes
  ZeroGrowth,     // files have their new size, new parts are zeros
  Reordered,      // the last writes and names are there, the first ones are not
  Prefix,         // everything up to some operation, the one after it torn
  NamesOnly,      // all names, no bytes: a rename before its content
  BytesOnly,      // all bytes, no names
};
inline constexpr std::array<Damage, 11> kAllDamages{
    Damage::NoneKept, Damage::AllKept,    Damage::RandomSubset,  Damage::Torn512,
    Damage::Torn4096, Damage::ZeroGrowth, Damage::GarbageGrowth, Damage::Reordered,
    Damage::Prefix,   Damage::NamesOnly,  Damage::BytesOnly};
std::string_view nameOf(Damage damage);

/// A call to fail. A failed write leaves a random prefix behind; a failed sync loses the unsynced
/// bytes of that file or names of that directory, shows them to readers all the same, and the
/// next sync says OK; any other failed call does nothing.
struct SimFault {
  SimCall call = SimCall::Write;
  std::uint64_t nth = 1;  // the n-th such call (of such a path) from now on
  int error = EIO;
  bool always = false;  // it and all later ones
  std::string path;     // part of the path; empty: any
};

/// Thrown by the call at which `crashAfterOperation(n, CrashStyle::Throw)` cuts the power. Not an
/// Error of ours, so whoever catches those does not swallow it.
struct SimCrash : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// How the call that meets the power cut ends. All later calls fail with EIO.
enum class CrashStyle : std::uint8_t { Fail, Throw };

class SimProcess;

/// A machine with a disk, in memory: the weakest reading of POSIX that anything of ours may rely
/// on. File = synced image + unsynced writes; directory = synced names + unsynced changes.
///
/// Injects: power cuts at any operation with eleven kinds of damage; kills of single processes at
/// any operation, also within a write (locks and handles go, the cache stays); any call failing
/// at its n-th use, once or for ever, with any errno; short writes; lost bytes behind a failed
/// sync, with the truth behind dropCache; lost names behind a failed directory sync; a full disk;
/// rot (setImage); a shared page that is garbage after a power cut.
///
/// Does not inject: torn sectors (512 bytes are atomic, so an append never harms the sector's
/// older bytes); bytes that change while nobody writes them (use setImage); reordering against
/// a completed sync (a device that lies); a failed rename, remove or create that happened
/// nevertheless; ENOSPC for names; permissions, links; blocking: a lock that would wait is
/// EDEADLK, a wait on a shared page moves the clock and returns.
///
/// Deterministic: the same seed and calls give the same bits.
///
/// Threads: safe from any thread, though deterministic only with one.
class SimFs {
 public:
  /// What the hook is told. The path is the one the file was opened with.
  struct Operation {
    std::uint64_t number = 0;
    SimCall call = SimCall::Write;
    std::string_view path;
    std::uint64_t offset = 0;  // of a write, or the size asked for
    std::uint64_t length = 0;  // of a write
  };

  explicit SimFs(std::uint64_t seed);
  ~SimFs();
  SimFs(const SimFs&) = delete;
  SimFs& operator=(const SimFs&) = delete;

  /// A process with its own descriptors. All processes of this machine share files and clock.
  std::shared_ptr<SimProcess> startProcess();

  /// The machine as it is now, all processes killed: the cache survives, so unsynced bytes are
  /// readable, but still not on disk. For trying many ends of one run.
  [[nodiscard]] std::unique_ptr<SimFs> clone(std::uint64_t seed) const;

  /// Power cut and boot: processes die, unsynced things are damaged, the boot id changes.
  /// Ends what crashAfterOperation began and forgets faults.
  void crash(std::uint64_t seed, Damage damage);

  /// Operations are the calls that change something: a create, write (twice: before it, and with
  /// a part of it done), truncate, allocate, sync, rename, remove, directory sync.
  [[nodiscard]] std::uint64_t operations() const;
  /// Cuts the power before the n-th operation from now (1: the next).
  void crashAfterOperation(std::uint64_t n, CrashStyle style = CrashStyle::Fail);
  [[nodiscard]] bool crashed() const;
  /// Called before each operation is applied; may clone. May make calls on other files than the
  /// one of the operation, as somebody else does meanwhile: the hook is not called for those.
  void onOperation(std::function<void(const Operation&)> hook);

  void fail(const SimFault& fault);
  void clearFaults();
  /// How often a call was made, and how often one of the faults hit.
  [[nodiscard]] std::uint64_t calls(SimCall call) const;
  [[nodiscard]] std::uint64_t faultsHit() const;
  /// Bytes for which write-back was asked; none of them is safer for it here.
  [[nodiscard]] std::uint64_t writebackBytes() const;
  /// Writes and allocations beyond it get ENOSPC. Default: no bound.
  void setCapacity(std::uint64_t bytes);
  /// What the file system says it is, see state::FileInfo. Default: a local one.
  void setKinds(std::string networkKind, std::string layeredKind);

  // The disk by itself, for rot and comparisons. Paths of files, sorted.
  [[nodiscard]] std::vector<std::string> files() const;
  /// What a reader sees now / what surely survives. Empty when there is no such file.
  [[nodiscard]] std::vector<std::byte> image(const std::string& path) const;
  [[nodiscard]] std::vector<std::byte> syncedImage(const std::string& path) const;
  /// Replaces or creates a file, bytes and name synced. Its directory must exist.
  void setImage(const std::string& path, std::span<const std::byte> bytes);
  void makeSyncedDirectory(const std::string& path);
  void removeSynced(const std::string& path);
  /// A hash of everything: names, bytes, what is unsynced.
  [[nodiscard]] std::uint64_t digest() const;

  SimClock& clock() { return clock_; }
  SimRandom& random() { return random_; }

 private:
  friend class SimProcess;
  friend class SimFile;
  struct Inode;
  struct DataChange;
  struct NameChange;
  using InodePtr = std::shared_ptr<Inode>;
  struct Place {  // what a path means
    InodePtr parent;
    std::string name;
    InodePtr inode;  // null: not there
    int error = 0;
  };

  [[nodiscard]] Place resolve(std::string_view path) const;
  /// Counts the call; its errno when the machine is off, the process dead or a fault is due.
  int enter(const SimProcess& process, SimCall call, std::string_view path);
  /// Before an operation: hook and power cut.
  int operate(const SimProcess& process, SimCall call, std::string_view path,
              std::uint64_t offset = 0, std::uint64_t length = 0);
  InodePtr create(const Place& place, bool directory);
  void apply(const NameChange& change, bool toDisk);
  void record(NameChange change);
  int syncNames(const SimProcess& process, const InodePtr& directory, std::string_view path);
  void forgetUnnamed();
  /// Of all files that have a name; 0 while no capacity is set.
  [[nodiscard]] std::uint64_t usedBytes() const;
  void kill(SimProcess& process);
  void damageFile(Inode& inode, Damage damage, SimRandom& random, std::uint64_t prefixEnd,
                  const std::vector<const SparseImage*>& stale) const;

  mutable std::recursive_mutex mutex_;
  mutable SimClock clock_;
  SimRandom random_;
  std::map<std::uint64_t, InodePtr> inodes_;  // by id; 1 is the root
  std::vector<NameChange> nameChanges_;       // unsynced, in order
  std::uint64_t nextInode_ = 2;
  std::uint64_t nextOrder_ = 1;  // of unsynced changes of both kinds
  std::uint64_t boot_ = 1;
  std::uint64_t capacity_ = ~std::uint64_t{0};
  std::string networkKind_;
  std::string layeredKind_;
  std::vector<std::weak_ptr<SimProcess>> processes_;
  std::function<void(const Operation&)> hook_;
  bool inHook_ = false;
  std::uint64_t operations_ = 0;
  std::uint64_t crashAt_ = 0;  // operation number; 0: never
  CrashStyle crashStyle_ = CrashStyle::Fail;
  bool crashed_ = false;
  struct ArmedFault {
    SimFault fault;
    std::uint64_t seen = 0;
  };
  std::vector<ArmedFault> faults_;
  std::uint64_t faultsHit_ = 0;
  std::uint64_t writebackBytes_ = 0;
  std::array<std::uint64_t, kSimCalls> calls_{};
};

/// One process on a SimFs. Each has device numbers of its own, so that a table of open engines
/// by (device, inode) does not take two simulated processes for one.
///
/// Threads: safe from any thread.
class SimProcess final : public state::FileSystem, public std::enable_shared_from_this<SimProcess> {
 public:
  ~SimProcess() override;

  /// kill -9: locks and descriptors go, calls fail with EIO from now on, unsynced writes stay in
  /// the machine's cache. Shared pages become private copies, so that the objects of the dead
  /// process can be destroyed without a trace.
  void kill();
  [[nodiscard]] bool alive() const;
  /// To open journals with. No background threads.
  [[nodiscard]] const state::Environment& environment() const { return environment_; }

  state::IoResult<std::unique_ptr<state::File>> open(const std::string& path,
                                                     state::OpenMode mode) override;
  state::IoStatus makeDirectories(const std::string& path) override;
  state::IoStatus rename(const std::string& from, const std::string& to) override;
  state::IoStatus remove(const std::string& path) override;
  state::IoStatus syncDirectory(const std::string& path) override;
  state::IoResult<std::vector<std::string>> list(const std::string& path) override;
  state::IoResult<state::FileInfo> info(const std::string& path) override;
  state::IoResult<std::string> resolve(const std::string& path) override;
  state::IoStatus copyMode(const std::string& from, const std::string& to) override;
  state::IoResult<std::shared_ptr<state::SharedPage>> mapShared(const std::string& path) override;
  state::IoResult<std::uint64_t> freeBytes(const std::string& path) override;
  std::string bootId() override;

 private:
  friend class SimFs;
  friend class SimFile;
  explicit SimProcess(SimFs& machine);

  SimFs& machine_;
  const std::uint64_t device_;
  bool alive_ = true;
  std::vector<std::weak_ptr<state::SharedPage>> pages_;
  state::Environment environment_;
};

}  // namespace penstock::testsupport
