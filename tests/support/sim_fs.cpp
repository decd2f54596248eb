// SPDX-License-Identifier: Apache-2.0
#include "support/sim_fs.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#ifdef __SANITIZE_THREAD__
// A hook runs within a call, with the machine's lock held, and makes calls of its own: of one
// thread, so that no order of locks can hold up another.
extern "C" const char* __tsan_default_suppressions() {
  return "deadlock:penstock::testsupport::SimFs::operate\n";
}
#endif

namespace penstock::testsupport {

using state::File;
using state::FileInfo;
using state::IoResult;
using state::IoStatus;
using state::LockKind;
using state::OpenMode;
using state::SharedPage;

class SimFile;

namespace {

constexpr std::uint64_t kSector = 512;

/// Real memory, so that each process has its own address for it and can lose that address.
class PageMemory {
 public:
  PageMemory() : fd_(::memfd_create("sim-page", MFD_CLOEXEC)) {
    if (fd_ < 0 || ::ftruncate(fd_, SharedPage::kSize) != 0) {
      throw std::system_error(errno, std::generic_category(), "memfd of a shared page");
    }
  }
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;
  ~PageMemory() { ::close(fd_); }
  [[nodiscard]] int fd() const noexcept { return fd_; }

  void store(const std::vector<std::byte>& content) const {
    if (::pwrite(fd_, content.data(), content.size(), 0) < 0) std::terminate();
  }
  [[nodiscard]] std::vector<std::byte> load() const {
    std::vector<std::byte> content(SharedPage::kSize);
    if (::pread(fd_, content.data(), content.size(), 0) < 0) std::terminate();
    return content;
  }

 private:
  int fd_;
};

class SimSharedPage final : public SharedPage {
 public:
  SimSharedPage(std::shared_ptr<PageMemory> memory, SimClock& clock)
      : memory_(std::move(memory)), clock_(clock) {
    void* mapped = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory_->fd(), 0);
    if (mapped == MAP_FAILED) {
      throw std::system_error(errno, std::generic_category(), "mapping of a shared page");
    }
    data_ = static_cast<std::byte*>(mapped);
  }
  ~SimSharedPage() override { ::munmap(data_, kSize); }

  std::byte* data() noexcept override { return data_; }
  void wait(std::size_t wordOffset, std::uint32_t expected,
            std::chrono::milliseconds timeout) override {
    std::uint32_t word = 0;
    std::memcpy(&word, data_ + wordOffset, sizeof word);
    if (word == expected) clock_.advanceMs(timeout.count());
  }
  void wake(std::size_t) override {}

  /// What the owner writes from now on nobody else sees. Same address: pointers stay good.
  void detach() {
    const std::vector<std::byte> content(data_, data_ + kSize);
    if (::mmap(data_, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == MAP_FAILED) {
      std::terminate();
    }
    std::memcpy(data_, content.data(), kSize);
  }

 private:
  std::shared_ptr<PageMemory> memory_;
  SimClock& clock_;
  std::byte* data_ = nullptr;
};

std::vector<std::string_view> partsOf(std::string_view path) {
  std::vector<std::string_view> parts;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.push_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return parts;
}

void mix(std::uint64_t& hash, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes) {  // FNV-1a
    hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001B3ULL;
  }
}

void mix(std::uint64_t& hash, std::uint64_t number) {
  mix(hash, std::as_bytes(std::span(&number, 1)));
}

void mix(std::uint64_t& hash, std::string_view text) {
  mix(hash, text.size());
  mix(hash, std::as_bytes(std::span(text)));
}

}  // namespace

/// An unsynced write, truncation or allocation.
struct SimFs::DataChange {
  enum class Kind : std::uint8_t { Write, Truncate, Allocate };
  std::uint64_t order = 0;
  Kind kind = Kind::Write;
  std::uint64_t offset = 0;  // of a write; else the new size
  std::vector<std::byte> bytes;

  [[nodiscard]] std::uint64_t end() const { return offset + bytes.size(); }

  void apply(SparseImage& image) const {
    switch (kind) {
      case Kind::Write:
        image.write(offset, bytes);
        break;
      case Kind::Truncate:
        image.resize(offset);
        break;
      case Kind::Allocate:
        if (image.size() < offset) image.resize(offset);
        break;
    }
  }
};

/// An unsynced create (only `to`), removal (only `from`) or rename (both): one of its two
/// directories is 0 when it has no such side.
struct SimFs::NameChange {
  std::uint64_t order = 0;
  std::uint64_t fromDirectory = 0;
  std::string from;
  std::uint64_t toDirectory = 0;
  std::string to;
  std::uint64_t inode = 0;
};

struct SimFs::Inode {
  std::uint64_t id = 0;
  bool directory = false;
  // of a file
  SparseImage disk;
  SparseImage cache;  // what reads show; differs from disk + changes after a failed sync
  std::vector<DataChange> changes;
  std::vector<std::pair<const File*, LockKind>> locks;
  std::map<std::uint64_t, const File*> lockedBytes;
  std::shared_ptr<PageMemory> page;
  std::vector<std::byte> pageContent;  // of a page not mapped since boot or clone
  // of a directory
  std::map<std::string, std::uint64_t, std::less<>> diskNames;
  std::map<std::string, std::uint64_t, std::less<>> names;
};

class SimFile final : public File {
 public:
  SimFile(std::shared_ptr<SimProcess> process, SimFs::InodePtr inode, std::string path,
          bool writable)
      : process_(std::move(process)),
        machine_(process_->machine_),
        inode_(std::move(inode)),
        path_(std::move(path)),
        writable_(writable) {}

  ~SimFile() override {
    const std::lock_guard guard(machine_.mutex_);
    dropLock();
    std::erase_if(inode_->lockedBytes, [this](const auto& byte) { return byte.second == this; });
  }

  IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Read, path_)) return {0, error};
    return {inode_->cache.read(offset, into), 0};
  }

  IoStatus write(std::uint64_t offset,
                 std::span<const std::span<const std::byte>> pieces) override {
    const std::lock_guard guard(machine_.mutex_);
    const int error = machine_.enter(*process_, SimCall::Write, path_);
    if (error != 0 && (!process_->alive_ || machine_.crashed_)) return {error};
    if (!writable_) return {EBADF};
    std::vector<std::byte> bytes;
    for (const auto& piece : pieces) bytes.insert(bytes.end(), piece.begin(), piece.end());
    if (const int off = machine_.operate(*process_, SimCall::Write, path_, offset, bytes.size()))
      return {off};
    if (error != 0) {
      if (!machine_.random_.oneIn(4)) {  // else all of it is there, and reported as failed
        bytes.resize(static_cast<std::size_t>(machine_.random_.below(bytes.size() + 1)));
      }
      put(offset, std::move(bytes));
      return {error};
    }
    const std::uint64_t end = offset + bytes.size();
    const std::uint64_t used = machine_.usedBytes();
    const std::uint64_t size = inode_->cache.size();
    if (end > size && used + (end - size) > machine_.capacity_) {
      const std::uint64_t room = size + (machine_.capacity_ > used ? machine_.capacity_ - used : 0);
      bytes.resize(static_cast<std::size_t>(room > offset ? room - offset : 0));
      put(offset, std::move(bytes));
      return {ENOSPC};
    }
    if (bytes.size() > 1) {
      // The process may be killed, or the power cut, with a part of the write in the cache.
      const auto first = static_cast<std::size_t>(1 + machine_.random_.below(bytes.size() - 1));
      const auto middle = bytes.begin() + static_cast<std::ptrdiff_t>(first);
      put(offset, {bytes.begin(), middle});
      if (const int off = machine_.operate(*process_, SimCall::Write, path_, offset, bytes.size()))
        return {off};
      inode_->changes.pop_back();
    }
    put(offset, std::move(bytes));
    return {};
  }

  IoResult<std::uint64_t> size() override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Size, path_)) return {0, error};
    return {inode_->cache.size(), 0};
  }

  IoStatus truncate(std::uint64_t size) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Truncate, path_)) return {error};
    if (!writable_) return {EINVAL};
    if (const int off = machine_.operate(*process_, SimCall::Truncate, path_, size)) return {off};
    change({0, SimFs::DataChange::Kind::Truncate, size, {}});
    return {};
  }

  IoStatus allocate(std::uint64_t size) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Allocate, path_)) return {error};
    if (!writable_) return {EBADF};
    if (size <= inode_->cache.size()) return {};
    if (machine_.usedBytes() + (size - inode_->cache.size()) > machine_.capacity_) return {ENOSPC};
    if (const int off = machine_.operate(*process_, SimCall::Allocate, path_, size)) return {off};
    change({0, SimFs::DataChange::Kind::Allocate, size, {}});
    return {};
  }

  IoStatus sync() override {
    const std::lock_guard guard(machine_.mutex_);
    const int error = machine_.enter(*process_, SimCall::Sync, path_);
    if (error != 0 && (!process_->alive_ || machine_.crashed_)) return {error};
    if (const int off = machine_.operate(*process_, SimCall::Sync, path_)) {
      if (error != 0 && !machine_.crashed_) inode_->changes.clear();  // killed, it told nobody
      return {off};
    }
    if (error == 0) {
      for (const SimFs::DataChange& change : inode_->changes) change.apply(inode_->disk);
    }
    // After an error the kernel calls the pages clean: readers see them, the disk never will.
    inode_->changes.clear();
    return {error};
  }

  void startWriteback(std::uint64_t, std::uint64_t length) override {
    const std::lock_guard guard(machine_.mutex_);
    machine_.writebackBytes_ += length;
  }

  IoStatus dropCache(std::uint64_t offset, std::uint64_t length) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::DropCache, path_)) return {error};
    std::set<std::uint64_t> dirty;
    for (const SimFs::DataChange& change : inode_->changes) {
      if (change.bytes.empty()) continue;
      for (std::uint64_t page = change.offset / SparseImage::kPage;
           page <= (change.end() - 1) / SparseImage::kPage; ++page) {
        dirty.insert(page);
      }
    }
    // An unsynced truncation leaves no page to read the old bytes from.
    for (const SimFs::DataChange& change : inode_->changes) {
      if (change.kind != SimFs::DataChange::Kind::Write) return {};
    }
    const std::size_t pages = inode_->cache.pageCount();
    const std::size_t end =
        length == 0 ? pages
                    : std::min<std::size_t>(pages, (offset + length - 1) / SparseImage::kPage + 1);
    for (std::size_t page = offset / SparseImage::kPage; page < end; ++page) {
      if (dirty.count(page) == 0) inode_->cache.takePage(page, inode_->disk);
    }
    return {};
  }

  IoResult<bool> tryLock(LockKind kind) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Lock, path_)) return {false, error};
    dropLock();  // as Linux: a conversion that fails has lost the old lock
    for (const auto& [holder, held] : inode_->locks) {
      if (kind == LockKind::Exclusive || held == LockKind::Exclusive) return {false, 0};
    }
    inode_->locks.emplace_back(this, kind);
    return {true, 0};
  }

  IoStatus lock(LockKind kind) override {
    const IoResult<bool> got = tryLock(kind);
    if (!got.ok()) return {got.error};
    return {got.value ? 0 : EDEADLK};
  }

  IoStatus unlock() override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Lock, path_)) return {error};
    dropLock();
    return {};
  }

  IoResult<bool> tryLockByte(std::uint64_t offset) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Lock, path_)) return {false, error};
    return {inode_->lockedBytes.emplace(offset, this).first->second == this, 0};
  }

  IoStatus unlockByte(std::uint64_t offset) override {
    const std::lock_guard guard(machine_.mutex_);
    if (const int error = machine_.enter(*process_, SimCall::Lock, path_)) return {error};
    const auto at = inode_->lockedBytes.find(offset);
    if (at != inode_->lockedBytes.end() && at->second == this) inode_->lockedBytes.erase(at);
    return {};
  }

  void dropLock() {
    std::erase_if(inode_->locks, [this](const auto& lock) { return lock.first == this; });
  }

  [[nodiscard]] const SimProcess* process() const { return process_.get(); }

 private:
  void change(SimFs::DataChange change) {
    change.order = machine_.nextOrder_++;
    change.apply(inode_->cache);
    inode_->changes.push_back(std::move(change));
  }

  void put(std::uint64_t offset, std::vector<std::byte> bytes) {
    if (bytes.empty()) return;
    change({0, SimFs::DataChange::Kind::Write, offset, std::move(bytes)});
  }

  const std::shared_ptr<SimProcess> process_;
  SimFs& machine_;
  const SimFs::InodePtr inode_;
  const std::string path_;
  const bool writable_;
};

std::string_view nameOf(SimCall call) {
  constexpr std::array<std::string_view, kSimCalls> names{
      "open",  "read",   "write",  "size",   "truncate", "allocate", "sync", "drop", "lock",
      "mkdir", "rename", "remove", "fsyncd", "list",     "info",     "map",  "free"};
  return names[static_cast<std::size_t>(call)];
}

std::string_view nameOf(Damage damage) {
  switch (damage) {
    case Damage::NoneKept:
      return "none kept";
    case Damage::AllKept:
      return "all kept";
    case Damage::RandomSubset:
      return "random subset";
    case Damage::Torn512:
      return "torn at 512";
    case Damage::Torn4096:
      return "torn at 4096";
    case Damage::GarbageGrowth:
      return "garbage growth";
    case Damage::ZeroGrowth:
      return "zero growth";
    case Damage::Reordered:
      return "reordered";
    case Damage::Prefix:
      return "prefix";
    case Damage::NamesOnly:
      return "names only";
    case Damage::BytesOnly:
      return "bytes only";
  }
  return "?";
}

SimFs::SimFs(std::uint64_t seed) : random_(seed) {
  auto root = std::make_shared<Inode>();
  root->id = 1;
  root->directory = true;
  inodes_.emplace(1, std::move(root));
}

SimFs::~SimFs() {
  for (const auto& weak : processes_) {
    if (const auto process = weak.lock()) kill(*process);
  }
}

std::shared_ptr<SimProcess> SimFs::startProcess() {
  const std::lock_guard guard(mutex_);
  std::erase_if(processes_, [](const auto& weak) { return weak.expired(); });
  std::shared_ptr<SimProcess> process(new SimProcess(*this));
  processes_.push_back(process);
  return process;
}

std::unique_ptr<SimFs> SimFs::clone(std::uint64_t seed) const {
  const std::lock_guard guard(mutex_);
  auto copy = std::make_unique<SimFs>(seed);
  copy->inodes_.clear();
  for (const auto& [id, inode] : inodes_) {
    auto twin = std::make_shared<Inode>(*inode);
    twin->locks.clear();
    twin->lockedBytes.clear();
    if (inode->page) twin->pageContent = inode->page->load();
    twin->page.reset();
    copy->inodes_.emplace(id, std::move(twin));
  }
  copy->nameChanges_ = nameChanges_;
  copy->nextInode_ = nextInode_;
  copy->nextOrder_ = nextOrder_;
  copy->boot_ = boot_;
  copy->capacity_ = capacity_;
  copy->networkKind_ = networkKind_;
  copy->layeredKind_ = layeredKind_;
  copy->clock_.advanceMs((clock_.monotonicUs() - copy->clock_.monotonicUs()) / 1000);
  copy->clock_.jumpWallMs(clock_.wallMs() - copy->clock_.wallMs());
  return copy;
}

void SimFs::kill(SimProcess& process) {
  const std::lock_guard guard(mutex_);
  if (!process.alive_) return;
  process.alive_ = false;
  for (const auto& [id, inode] : inodes_) {
    const auto ofProcess = [&](const File* holder) {
      return static_cast<const SimFile*>(holder)->process() == &process;
    };
    std::erase_if(inode->locks, [&](const auto& lock) { return ofProcess(lock.first); });
    std::erase_if(inode->lockedBytes, [&](const auto& byte) { return ofProcess(byte.second); });
  }
  for (const auto& weak : process.pages_) {
    if (const auto page = weak.lock()) static_cast<SimSharedPage&>(*page).detach();
  }
  process.pages_.clear();
}

void SimFs::damageFile(Inode& inode, Damage damage, SimRandom& random, std::uint64_t prefixEnd,
                       const std::vector<const SparseImage*>& stale) const {
  SparseImage& disk = inode.disk;
  const std::uint64_t oldSize = disk.size();
  const std::size_t dropped = damage == Damage::Reordered && !inode.changes.empty()
                                  ? static_cast<std::size_t>(random.below(inode.changes.size()) + 1)
                                  : 0;
  // Keeps the parts of a write that `keep` chooses, cut at multiples of `grain`.
  const auto inParts = [&](const DataChange& change, std::uint64_t grain, auto keep) {
    for (std::uint64_t at = change.offset; at < change.end();) {
      const std::uint64_t next = std::min((at / grain + 1) * grain, change.end());
      if (keep()) {
        disk.write(at, std::span(change.bytes)
                           .subspan(static_cast<std::size_t>(at - change.offset),
                                    static_cast<std::size_t>(next - at)));
      }
      at = next;
    }
  };
  const auto grow = [&](const DataChange& change) {
    if (change.kind == DataChange::Kind::Write && disk.size() < change.end()) {
      disk.resize(change.end());
    }
  };
  std::size_t index = 0;
  for (const DataChange& change : inode.changes) {
    const bool write = change.kind == DataChange::Kind::Write;
    const bool coin = random.oneIn(2);
    switch (damage) {
      case Damage::NoneKept:
      case Damage::NamesOnly:
        break;
      case Damage::AllKept:
      case Damage::BytesOnly:
        change.apply(disk);
        break;
      case Damage::RandomSubset:
        if (coin) {
          change.apply(disk);
        } else if (random.oneIn(4)) {
          grow(change);
        }
        break;
      case Damage::Torn512:
      case Damage::Torn4096:
        if (!write) {
          if (coin) change.apply(disk);
          break;
        }
        inParts(change, damage == Damage::Torn512 ? kSector : SparseImage::kPage,
                [&] { return random.oneIn(2); });
        if (coin) grow(change);
        break;
      case Damage::GarbageGrowth:
      case Damage::ZeroGrowth:
        if (!write) {
          if (coin) change.apply(disk);
          break;
        }
        grow(change);
        if (damage == Damage::GarbageGrowth && change.end() > oldSize) {
          const std::uint64_t from = std::max(change.offset, oldSize);
          std::vector<std::byte> garbage(static_cast<std::size_t>(change.end() - from));
          if (random.oneIn(2) && !stale.empty()) {
            const SparseImage& other = *stale[random.below(stale.size())];
            const std::uint64_t shift =
                random.oneIn(2) ? 0 : random.below(other.size() / kSector + 1) * kSector;
            static_cast<void>(other.read(from + shift, garbage));
          } else {
            for (std::byte& byte : garbage) byte = static_cast<std::byte>(random.below(256));
          }
          disk.write(from, garbage);
        }
        break;
      case Damage::Reordered:
        if (index >= dropped) change.apply(disk);
        break;
      case Damage::Prefix:
        if (change.order < prefixEnd) {
          change.apply(disk);
        } else if (change.order == prefixEnd && write) {
          bool cut = false;
          inParts(change, kSector, [&] {
            cut = cut || random.oneIn(3);
            return !cut;
          });
        }
        break;
    }
    ++index;
  }
  inode.changes.clear();
}

void SimFs::crash(std::uint64_t seed, Damage damage) {
  const std::lock_guard guard(mutex_);
  for (const auto& weak : processes_) {
    if (const auto process = weak.lock()) kill(*process);
  }
  SimRandom random(seed);
  std::vector<std::uint64_t> orders;
  std::vector<const SparseImage*> stale;
  std::vector<SparseImage> before;  // of all files, as another file's freed blocks may be reused
  before.reserve(inodes_.size());
  for (const auto& [id, inode] : inodes_) {
    for (const DataChange& change : inode->changes) orders.push_back(change.order);
    if (!inode->directory) stale.push_back(&before.emplace_back(inode->cache));
  }
  for (const NameChange& change : nameChanges_) orders.push_back(change.order);
  std::sort(orders.begin(), orders.end());
  const std::uint64_t prefixEnd =
      orders.empty() ? 0 : orders[static_cast<std::size_t>(random.below(orders.size()))];

  std::map<std::uint64_t, InodePtr> rebooted;
  for (const auto& [id, inode] : inodes_) {
    auto twin = std::make_shared<Inode>(*inode);  // dead descriptors keep the old one
    twin->locks.clear();
    twin->lockedBytes.clear();
    damageFile(*twin, damage, random, prefixEnd, stale);
    twin->cache = twin->disk;
    if (twin->page || !twin->pageContent.empty()) {
      // Written back at any time, or never, or the block held something else.
      if (twin->page) twin->pageContent = twin->page->load();
      twin->page.reset();
      const std::uint64_t choice = random.below(3);
      for (std::byte& byte : twin->pageContent) {
        if (choice == 1) byte = std::byte{0};
        if (choice == 2) byte = static_cast<std::byte>(random.below(256));
      }
    }
    rebooted.emplace(id, std::move(twin));
  }
  inodes_ = std::move(rebooted);

  const std::size_t dropped = damage == Damage::Reordered && !nameChanges_.empty()
                                  ? static_cast<std::size_t>(random.below(nameChanges_.size() + 1))
                                  : 0;
  for (std::size_t i = 0; i < nameChanges_.size(); ++i) {
    bool keep = random.oneIn(2);
    switch (damage) {
      case Damage::NoneKept:
      case Damage::BytesOnly:
        keep = false;
        break;
      case Damage::AllKept:
      case Damage::NamesOnly:
        keep = true;
        break;
      case Damage::Reordered:
        keep = i >= dropped;
        break;
      case Damage::Prefix:
        keep = nameChanges_[i].order < prefixEnd;
        break;
      default:
        break;
    }
    if (keep) apply(nameChanges_[i], true);
  }
  nameChanges_.clear();

  // What no name leads to is gone.
  std::set<std::uint64_t> reached{1};
  std::vector<std::uint64_t> open{1};
  while (!open.empty()) {
    Inode& directory = *inodes_.at(open.back());
    open.pop_back();
    directory.names = directory.diskNames;
    for (const auto& [name, id] : directory.names) {
      if (reached.insert(id).second && inodes_.at(id)->directory) open.push_back(id);
    }
  }
  std::erase_if(inodes_, [&](const auto& entry) { return reached.count(entry.first) == 0; });

  ++boot_;
  crashed_ = false;
  crashAt_ = 0;
  faults_.clear();
}

std::uint64_t SimFs::operations() const {
  const std::lock_guard guard(mutex_);
  return operations_;
}

void SimFs::crashAfterOperation(std::uint64_t n, CrashStyle style) {
  const std::lock_guard guard(mutex_);
  crashAt_ = operations_ + n;
  crashStyle_ = style;
}

bool SimFs::crashed() const {
  const std::lock_guard guard(mutex_);
  return crashed_;
}

void SimFs::onOperation(std::function<void(const Operation&)> hook) {
  const std::lock_guard guard(mutex_);
  hook_ = std::move(hook);
}

void SimFs::fail(const SimFault& fault) {
  const std::lock_guard guard(mutex_);
  faults_.push_back({fault, 0});
}

void SimFs::clearFaults() {
  const std::lock_guard guard(mutex_);
  faults_.clear();
}

std::uint64_t SimFs::calls(SimCall call) const {
  const std::lock_guard guard(mutex_);
  return calls_[static_cast<std::size_t>(call)];
}

std::uint64_t SimFs::faultsHit() const {
  const std::lock_guard guard(mutex_);
  return faultsHit_;
}

std::uint64_t SimFs::writebackBytes() const {
  const std::lock_guard guard(mutex_);
  return writebackBytes_;
}

void SimFs::setCapacity(std::uint64_t bytes) {
  const std::lock_guard guard(mutex_);
  capacity_ = bytes;
}

void SimFs::setKinds(std::string networkKind, std::string layeredKind) {
  const std::lock_guard guard(mutex_);
  networkKind_ = std::move(networkKind);
  layeredKind_ = std::move(layeredKind);
}

SimFs::Place SimFs::resolve(std::string_view path) const {
  const std::vector<std::string_view> parts = partsOf(path);
  Place place;
  place.inode = inodes_.at(1);
  for (const std::string_view part : parts) {
    if (!place.inode) return {nullptr, "", nullptr, ENOENT};
    if (!place.inode->directory) return {nullptr, "", nullptr, ENOTDIR};
    place.parent = std::move(place.inode);
    place.name = part;
    const auto found = place.parent->names.find(part);
    place.inode = found == place.parent->names.end() ? nullptr : inodes_.at(found->second);
  }
  return place;
}

int SimFs::enter(const SimProcess& process, SimCall call, std::string_view path) {
  if (!process.alive_ || crashed_) return EIO;
  ++calls_[static_cast<std::size_t>(call)];
  int error = 0;
  for (ArmedFault& armed : faults_) {
    const SimFault& fault = armed.fault;
    if (fault.call != call || path.find(fault.path) == std::string_view::npos) continue;
    ++armed.seen;
    if (armed.seen == fault.nth || (fault.always && armed.seen > fault.nth)) error = fault.error;
  }
  if (error != 0) ++faultsHit_;
  return error;
}

int SimFs::operate(const SimProcess& process, SimCall call, std::string_view path,
                   std::uint64_t offset, std::uint64_t length) {
  ++operations_;
  if (crashAt_ != 0 && operations_ >= crashAt_) {
    crashed_ = true;
    if (crashStyle_ == CrashStyle::Throw) {
      throw SimCrash("power cut at operation " + std::to_string(operations_));
    }
    return EIO;
  }
  if (hook_ && !inHook_) {
    inHook_ = true;
    hook_({operations_, call, path, offset, length});
    inHook_ = false;
  }
  return process.alive_ ? 0 : EIO;
}

SimFs::InodePtr SimFs::create(const Place& place, bool directory) {
  auto inode = std::make_shared<Inode>();
  inode->id = nextInode_++;
  inode->directory = directory;
  inodes_.emplace(inode->id, inode);
  record({0, 0, "", place.parent->id, place.name, inode->id});
  return inode;
}

void SimFs::record(NameChange change) {
  change.order = nextOrder_++;
  apply(change, false);
  nameChanges_.push_back(std::move(change));
}

void SimFs::apply(const NameChange& change, bool toDisk) {
  const auto names = [&](std::uint64_t directory) {
    const auto found = inodes_.find(directory);
    if (found == inodes_.end()) return static_cast<decltype(&found->second->names)>(nullptr);
    return toDisk ? &found->second->diskNames : &found->second->names;
  };
  if (auto* from = names(change.fromDirectory)) {
    // A name that is somebody else's by now (its removal was kept, its creation was not) stays.
    const auto found = from->find(change.from);
    if (found != from->end() && found->second == change.inode) from->erase(found);
  }
  if (auto* to = names(change.toDirectory)) (*to)[change.to] = change.inode;
}

int SimFs::syncNames(const SimProcess& process, const InodePtr& directory, std::string_view path) {
  const int error = enter(process, SimCall::SyncDirectory, path);
  if (error != 0 && (!process.alive_ || crashed_)) return error;
  if (const int off = operate(process, SimCall::SyncDirectory, path)) return off;
  std::vector<NameChange> others;
  for (NameChange& change : nameChanges_) {
    const bool here = change.fromDirectory == directory->id || change.toDirectory == directory->id;
    if (!here) {
      others.push_back(std::move(change));
    } else if (error == 0) {
      apply(change, true);
    }
  }
  nameChanges_ = std::move(others);
  forgetUnnamed();
  return error;
}

void SimFs::forgetUnnamed() {
  // Open descriptors keep what they have; nothing else can find it again.
  std::set<std::uint64_t> named{1};
  for (const auto& [id, inode] : inodes_) {
    for (const auto& [name, child] : inode->names) named.insert(child);
    for (const auto& [name, child] : inode->diskNames) named.insert(child);
  }
  for (const NameChange& change : nameChanges_) named.insert(change.inode);
  std::erase_if(inodes_, [&](const auto& entry) { return named.count(entry.first) == 0; });
}

std::uint64_t SimFs::usedBytes() const {
  if (capacity_ == ~std::uint64_t{0}) return 0;
  std::set<std::uint64_t> named;
  std::uint64_t used = 0;
  for (const auto& [id, inode] : inodes_) {
    for (const auto& [name, child] : inode->names) named.insert(child);
  }
  for (const std::uint64_t id : named) used += inodes_.at(id)->cache.size();
  return used;
}

std::vector<std::string> SimFs::files() const {
  const std::lock_guard guard(mutex_);
  std::vector<std::string> paths;
  std::vector<std::pair<std::string, std::uint64_t>> open{{"", 1}};
  while (!open.empty()) {
    const auto [path, id] = open.back();
    open.pop_back();
    for (const auto& [name, child] : inodes_.at(id)->names) {
      if (inodes_.at(child)->directory) {
        open.emplace_back(path + "/" + name, child);
      } else {
        paths.push_back(path + "/" + name);
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<std::byte> SimFs::image(const std::string& path) const {
  const std::lock_guard guard(mutex_);
  const Place place = resolve(path);
  return place.inode ? place.inode->cache.bytes() : std::vector<std::byte>{};
}

std::vector<std::byte> SimFs::syncedImage(const std::string& path) const {
  const std::lock_guard guard(mutex_);
  const Place place = resolve(path);
  return place.inode ? place.inode->disk.bytes() : std::vector<std::byte>{};
}

void SimFs::setImage(const std::string& path, std::span<const std::byte> bytes) {
  const std::lock_guard guard(mutex_);
  Place place = resolve(path);
  if (!place.parent) throw std::invalid_argument("no directory for " + path);
  if (!place.inode) {
    place.inode = create(place, false);
    apply(nameChanges_.back(), true);
    nameChanges_.pop_back();
  }
  place.inode->changes.clear();
  place.inode->disk = SparseImage();
  place.inode->disk.write(0, bytes);
  place.inode->cache = place.inode->disk;
}

void SimFs::makeSyncedDirectory(const std::string& path) {
  const std::lock_guard guard(mutex_);
  const Place place = resolve(path);
  if (!place.parent || place.inode) throw std::invalid_argument("cannot make " + path);
  create(place, true);
  apply(nameChanges_.back(), true);
  nameChanges_.pop_back();
}

void SimFs::removeSynced(const std::string& path) {
  const std::lock_guard guard(mutex_);
  const Place place = resolve(path);
  if (!place.inode || !place.parent) throw std::invalid_argument("no " + path);
  place.parent->names.erase(place.name);
  place.parent->diskNames.erase(place.name);
}

std::uint64_t SimFs::digest() const {
  const std::lock_guard guard(mutex_);
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const auto& [id, inode] : inodes_) {
    mix(hash, id);
    for (const auto* names : {&inode->names, &inode->diskNames}) {
      mix(hash, names->size());
      for (const auto& [name, child] : *names) {
        mix(hash, name);
        mix(hash, child);
      }
    }
    for (const SparseImage* image : {&inode->disk, &inode->cache}) {
      mix(hash, image->size());
      mix(hash, image->bytes());
    }
    mix(hash, inode->changes.size());
  }
  mix(hash, nameChanges_.size());
  return hash;
}

namespace {

// Each process gets its own, so that nobody's (device, inode) table mixes two of them up.
std::atomic<std::uint64_t> nextDevice{1'000'000};

}  // namespace

SimProcess::SimProcess(SimFs& machine) : machine_(machine), device_(nextDevice++) {
  environment_ = {this, &machine.clock_, &machine.random_, false};
}

SimProcess::~SimProcess() = default;

void SimProcess::kill() { machine_.kill(*this); }

bool SimProcess::alive() const {
  const std::lock_guard guard(machine_.mutex_);
  return alive_;
}

IoResult<std::unique_ptr<File>> SimProcess::open(const std::string& path, OpenMode mode) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::Open, path)) return {nullptr, error};
  SimFs::Place place = machine_.resolve(path);
  if (place.error != 0) return {nullptr, place.error};
  if (place.inode && mode == OpenMode::CreateNew) return {nullptr, EEXIST};
  if (place.inode && place.inode->directory) return {nullptr, EISDIR};
  if (!place.inode) {
    if (mode == OpenMode::Read || mode == OpenMode::ReadWrite) return {nullptr, ENOENT};
    if (const int off = machine_.operate(*this, SimCall::Open, path)) return {nullptr, off};
    place.inode = machine_.create(place, false);
  }
  return {std::make_unique<SimFile>(shared_from_this(), place.inode, path, mode != OpenMode::Read),
          0};
}

IoStatus SimProcess::makeDirectories(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::MakeDirectories, path)) return {error};
  std::string current;
  for (const std::string_view part : partsOf(path)) {
    const SimFs::InodePtr parent = machine_.resolve(current).inode;
    const std::string parentPath = current;
    current += '/';
    current += part;
    const SimFs::Place place = machine_.resolve(current);
    if (place.error != 0) return {place.error};
    if (place.inode && !place.inode->directory) return {ENOTDIR};
    if (!place.inode) {
      if (const int off = machine_.operate(*this, SimCall::MakeDirectories, path)) return {off};
      machine_.create(place, true);
    }
    // Also for one that is there: its maker may have been killed before it synced the name.
    const bool unsynced = parent->diskNames.find(part) == parent->diskNames.end();
    if (unsynced) {
      if (const int error = machine_.syncNames(*this, parent, parentPath)) return {error};
    }
  }
  return {};
}

IoStatus SimProcess::rename(const std::string& from, const std::string& to) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::Rename, to)) return {error};
  const SimFs::Place source = machine_.resolve(from);
  const SimFs::Place target = machine_.resolve(to);
  if (!source.inode || !source.parent) return {source.error != 0 ? source.error : ENOENT};
  if (!target.parent) return {target.error != 0 ? target.error : EINVAL};
  if (target.inode == source.inode) return {};
  if (target.inode && target.inode->directory) return {EISDIR};
  if (const int off = machine_.operate(*this, SimCall::Rename, to)) return {off};
  machine_.record(
      {0, source.parent->id, source.name, target.parent->id, target.name, source.inode->id});
  return {};
}

IoStatus SimProcess::remove(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::Remove, path)) return {error};
  const SimFs::Place place = machine_.resolve(path);
  if (!place.inode || !place.parent) return {place.error != 0 ? place.error : ENOENT};
  if (place.inode->directory && !place.inode->names.empty()) return {ENOTEMPTY};
  if (const int off = machine_.operate(*this, SimCall::Remove, path)) return {off};
  machine_.record({0, place.parent->id, place.name, 0, "", place.inode->id});
  return {};
}

IoStatus SimProcess::syncDirectory(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  const SimFs::Place place = machine_.resolve(path);
  if (!alive_ || machine_.crashed_) return {EIO};
  if (!place.inode) return {place.error != 0 ? place.error : ENOENT};
  if (!place.inode->directory) return {ENOTDIR};
  return {machine_.syncNames(*this, place.inode, path)};
}

IoResult<std::vector<std::string>> SimProcess::list(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::List, path)) return {{}, error};
  const SimFs::Place place = machine_.resolve(path);
  if (!place.inode) return {{}, place.error != 0 ? place.error : ENOENT};
  if (!place.inode->directory) return {{}, ENOTDIR};
  std::vector<std::string> names;
  for (const auto& [name, id] : place.inode->names) names.push_back(name);
  for (std::size_t i = names.size(); i > 1; --i) {  // in no particular order
    std::swap(names[i - 1], names[static_cast<std::size_t>(machine_.random_.below(i))]);
  }
  return {std::move(names), 0};
}

IoResult<FileInfo> SimProcess::info(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::Info, path)) return {{}, error};
  const SimFs::Place place = machine_.resolve(path);
  FileInfo info;
  if (!place.inode) return {info, 0};
  info.exists = true;
  info.directory = place.inode->directory;
  info.regular = !info.directory;
  info.size = place.inode->cache.size();
  info.device = device_;
  info.inode = place.inode->id;
  info.networkKind = machine_.networkKind_;
  info.layeredKind = machine_.layeredKind_;
  return {info, 0};
}

// There are no links, and no modes.
IoResult<std::string> SimProcess::resolve(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  return {path, machine_.enter(*this, SimCall::Info, path)};
}

IoStatus SimProcess::copyMode(const std::string& /*from*/, const std::string& to) {
  const std::lock_guard guard(machine_.mutex_);
  return {machine_.enter(*this, SimCall::Info, to)};
}

IoResult<std::shared_ptr<SharedPage>> SimProcess::mapShared(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::MapShared, path)) return {nullptr, error};
  SimFs::Place place = machine_.resolve(path);
  if (place.error != 0) return {nullptr, place.error};
  if (place.inode && place.inode->directory) return {nullptr, EISDIR};
  if (!place.inode) {
    if (machine_.usedBytes() + SharedPage::kSize > machine_.capacity_) return {nullptr, ENOSPC};
    if (const int off = machine_.operate(*this, SimCall::MapShared, path)) return {nullptr, off};
    place.inode = machine_.create(place, false);
  }
  SimFs::Inode& inode = *place.inode;
  if (!inode.page) {
    inode.page = std::make_shared<PageMemory>();
    if (inode.pageContent.empty()) inode.pageContent = inode.cache.bytes();
    inode.pageContent.resize(SharedPage::kSize);
    inode.page->store(inode.pageContent);
    if (inode.cache.size() < SharedPage::kSize) inode.cache.resize(SharedPage::kSize);
  }
  auto page = std::make_shared<SimSharedPage>(inode.page, machine_.clock_);
  pages_.push_back(page);
  return {std::move(page), 0};
}

IoResult<std::uint64_t> SimProcess::freeBytes(const std::string& path) {
  const std::lock_guard guard(machine_.mutex_);
  if (const int error = machine_.enter(*this, SimCall::FreeBytes, path)) return {0, error};
  const std::uint64_t used = machine_.usedBytes();
  return {machine_.capacity_ > used ? machine_.capacity_ - used : 0, 0};
}

std::string SimProcess::bootId() {
  const std::lock_guard guard(machine_.mutex_);
  return "simulated-boot-" + std::to_string(machine_.boot_);
}

}  // namespace penstock::testsupport
