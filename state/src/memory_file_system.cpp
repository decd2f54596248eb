// SPDX-License-Identifier: Apache-2.0
#include "memory_file_system.h"

#include <algorithm>
#include <boost/filesystem/operations.hpp>
#include <boost/filesystem/path.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <limits>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "heap_page.h"
#include "memory_budget.h"

namespace penstock::state {

namespace {

constexpr std::size_t pieceBytes = 256 * 1024;  // a file grows by; arbitrary
constexpr std::uint64_t device = std::numeric_limits<std::uint64_t>::max();  // of no real file

}  // namespace

struct MemoryFileSystem::Node {
  std::uint64_t inode = 0;

  std::shared_mutex mutex;
  std::vector<std::unique_ptr<char[]>> pieces;
  std::uint64_t size = 0;
  MemoryCharge memory;

  std::mutex lockMutex;
  std::condition_variable unlocked;
  int sharers = 0;
  bool owned = false;
  std::map<std::uint64_t, const OpenFile*> lockedBytes;

  /// Copies between the file, of which that part exists, and memory.
  template <typename Copy>
  void forEachPiece(std::uint64_t offset, std::size_t bytes, Copy&& copy) {
    for (std::size_t done = 0; done < bytes;) {
      const std::uint64_t at = offset + done;
      const std::size_t within = at % pieceBytes;
      const std::size_t part = std::min(bytes - done, pieceBytes - within);
      copy(pieces[at / pieceBytes].get() + within, done, part);
      done += part;
    }
  }
  void resize(std::uint64_t bytes) {
    const std::size_t wanted = (bytes + pieceBytes - 1) / pieceBytes;
    while (pieces.size() < wanted) {
      pieces.push_back(std::make_unique<char[]>(pieceBytes));
      memory.add(pieceBytes);
    }
    if (bytes < size) {  // what is behind reads as zeros when it grows again
      pieces.resize(wanted);
      memory.remove(memory.bytes() - wanted * pieceBytes);
      if (wanted > 0) {
        const std::size_t within = bytes - (wanted - 1) * pieceBytes;
        std::memset(pieces.back().get() + within, 0, pieceBytes - within);
      }
    }
    size = bytes;
  }
};

struct MemoryFileSystem::Directory {
  std::uint64_t inode = 0;
  std::size_t open = 0;
  std::map<std::string, std::shared_ptr<Node>, std::less<>> files;
  std::map<std::string, std::shared_ptr<SharedPage>, std::less<>> pages;
};

class MemoryFileSystem::OpenFile final : public File {
 public:
  OpenFile(MemoryFileSystem& system, std::string directory, std::shared_ptr<Node> node)
      : system_(system), directory_(std::move(directory)), node_(std::move(node)) {}
  ~OpenFile() override {
    (void)unlock();
    {
      const std::lock_guard guard(node_->lockMutex);
      std::erase_if(node_->lockedBytes, [this](const auto& byte) { return byte.second == this; });
    }
    node_.reset();
    system_.close(directory_);
  }

  IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    const std::shared_lock lock(node_->mutex);
    if (offset >= node_->size) return {0, 0};
    const auto bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), node_->size - offset));
    node_->forEachPiece(offset, bytes, [&](const char* piece, std::size_t at, std::size_t part) {
      std::memcpy(into.data() + at, piece, part);
    });
    return {bytes, 0};
  }
  IoStatus write(std::uint64_t offset,
                 std::span<const std::span<const std::byte>> pieces) override {
    const std::unique_lock lock(node_->mutex);
    for (const auto& bytes : pieces) {
      if (offset + bytes.size() > node_->size) node_->resize(offset + bytes.size());
      node_->forEachPiece(offset, bytes.size(), [&](char* piece, std::size_t at, std::size_t part) {
        std::memcpy(piece, bytes.data() + at, part);
      });
      offset += bytes.size();
    }
    return {};
  }
  IoResult<std::uint64_t> size() override {
    const std::shared_lock lock(node_->mutex);
    return {node_->size, 0};
  }
  IoStatus truncate(std::uint64_t size) override {
    const std::unique_lock lock(node_->mutex);
    node_->resize(size);
    return {};
  }
  IoStatus allocate(std::uint64_t /*size*/) override { return {EOPNOTSUPP}; }
  IoStatus sync() override { return {}; }
  void startWriteback(std::uint64_t /*offset*/, std::uint64_t /*length*/) override {}
  IoStatus dropCache(std::uint64_t /*offset*/, std::uint64_t /*length*/) override { return {}; }

  IoResult<bool> tryLock(LockKind kind) override {
    const std::lock_guard guard(node_->lockMutex);
    return {take(kind), 0};
  }
  IoStatus lock(LockKind kind) override {
    std::unique_lock guard(node_->lockMutex);
    node_->unlocked.wait(guard, [&] { return take(kind); });
    return {};
  }
  IoStatus unlock() override {
    {
      const std::lock_guard guard(node_->lockMutex);
      release();
    }
    node_->unlocked.notify_all();
    return {};
  }
  IoResult<bool> tryLockByte(std::uint64_t offset) override {
    const std::lock_guard guard(node_->lockMutex);
    return {node_->lockedBytes.emplace(offset, this).first->second == this, 0};
  }
  IoStatus unlockByte(std::uint64_t offset) override {
    const std::lock_guard guard(node_->lockMutex);
    const auto at = node_->lockedBytes.find(offset);
    if (at != node_->lockedBytes.end() && at->second == this) node_->lockedBytes.erase(at);
    return {};
  }

 private:
  // As flock: a lock that this file has becomes the new kind; one that cannot be had leaves it
  // with the old. Under lockMutex.
  bool take(LockKind kind) {
    const int othersSharing = node_->sharers - (shares_ ? 1 : 0);
    const bool othersOwn = node_->owned && !owns_;
    if (othersOwn || (kind == LockKind::Exclusive && othersSharing > 0)) return false;
    release();
    if (kind == LockKind::Exclusive) {
      owns_ = node_->owned = true;
    } else {
      shares_ = true;
      ++node_->sharers;
    }
    node_->unlocked.notify_all();
    return true;
  }
  void release() {
    if (std::exchange(owns_, false)) node_->owned = false;
    if (std::exchange(shares_, false)) --node_->sharers;
  }

  MemoryFileSystem& system_;
  const std::string directory_;
  std::shared_ptr<Node> node_;
  bool owns_ = false;
  bool shares_ = false;
};

MemoryFileSystem::MemoryFileSystem() = default;
MemoryFileSystem::~MemoryFileSystem() = default;

MemoryFileSystem::Place MemoryFileSystem::placeOf(const std::string& path) {
  const auto whole = boost::filesystem::absolute(path).lexically_normal();
  return {whole.parent_path().string(), whole.filename().string()};
}

MemoryFileSystem::Directory& MemoryFileSystem::directoryAt(const std::string& path) {
  const auto [at, isNew] = directories_.try_emplace(path);
  if (isNew) at->second.inode = nextInode_++;
  return at->second;
}

void MemoryFileSystem::close(const std::string& directory) noexcept {
  const std::lock_guard guard(mutex_);
  const auto at = directories_.find(directory);
  if (at != directories_.end() && --at->second.open == 0) directories_.erase(at);
}

IoResult<std::unique_ptr<File>> MemoryFileSystem::open(const std::string& path, OpenMode mode) {
  const Place place = placeOf(path);
  const std::lock_guard guard(mutex_);
  const bool create = mode == OpenMode::ReadWriteCreate || mode == OpenMode::CreateNew;
  const auto found = directories_.find(place.directory);
  const bool exists = found != directories_.end() && found->second.files.contains(place.name);
  if (!exists && !create) return {nullptr, ENOENT};
  if (exists && mode == OpenMode::CreateNew) return {nullptr, EEXIST};
  Directory& directory = directoryAt(place.directory);
  if (!exists) {
    auto node = std::make_shared<Node>();
    node->inode = nextInode_++;
    directory.files.emplace(place.name, std::move(node));
  }
  auto file =
      std::make_unique<OpenFile>(*this, place.directory, directory.files.find(place.name)->second);
  ++directory.open;
  return {std::move(file), 0};
}

IoStatus MemoryFileSystem::makeDirectories(const std::string& path) {
  const Place place = placeOf(path + "/x");
  const std::lock_guard guard(mutex_);
  (void)directoryAt(place.directory);
  return {};
}

IoStatus MemoryFileSystem::rename(const std::string& from, const std::string& to) {
  const Place source = placeOf(from);
  const Place target = placeOf(to);
  const std::lock_guard guard(mutex_);
  const auto directory = directories_.find(source.directory);
  if (directory == directories_.end()) return {ENOENT};
  if (source.directory != target.directory) return {EXDEV};
  auto& files = directory->second.files;
  const auto at = files.find(source.name);
  if (at == files.end()) return {ENOENT};
  auto node = files.extract(at);
  node.key() = target.name;
  files.erase(target.name);
  files.insert(std::move(node));
  return {};
}

IoStatus MemoryFileSystem::remove(const std::string& path) {
  const Place place = placeOf(path);
  const std::lock_guard guard(mutex_);
  const auto directory = directories_.find(place.directory);
  if (directory == directories_.end()) return {ENOENT};
  return {directory->second.files.erase(place.name) == 1 ? 0 : ENOENT};
}

IoStatus MemoryFileSystem::syncDirectory(const std::string& /*path*/) { return {}; }

IoResult<std::vector<std::string>> MemoryFileSystem::list(const std::string& path) {
  const Place place = placeOf(path + "/x");
  const std::lock_guard guard(mutex_);
  const auto directory = directories_.find(place.directory);
  if (directory == directories_.end()) return {{}, ENOENT};
  std::vector<std::string> names;
  for (const auto& [name, node] : directory->second.files) names.push_back(name);
  return {std::move(names), 0};
}

IoResult<FileInfo> MemoryFileSystem::info(const std::string& path) {
  FileInfo info;
  info.device = device;
  const Place place = placeOf(path);
  const Place asDirectory = placeOf(path + "/x");
  std::shared_ptr<Node> node;
  {
    const std::lock_guard guard(mutex_);
    if (const auto at = directories_.find(asDirectory.directory); at != directories_.end()) {
      info.exists = true;
      info.directory = true;
      info.inode = at->second.inode;
      return {info, 0};
    }
    const auto directory = directories_.find(place.directory);
    if (directory == directories_.end()) return {info, 0};
    const auto at = directory->second.files.find(place.name);
    if (at == directory->second.files.end()) return {info, 0};
    node = at->second;
  }
  info.exists = true;
  info.regular = true;
  info.inode = node->inode;
  const std::shared_lock lock(node->mutex);
  info.size = node->size;
  return {info, 0};
}

// There are no links, and no modes.
IoResult<std::string> MemoryFileSystem::resolve(const std::string& path) { return {path, 0}; }
IoStatus MemoryFileSystem::copyMode(const std::string& /*from*/, const std::string& /*to*/) {
  return {};
}

IoResult<std::shared_ptr<SharedPage>> MemoryFileSystem::mapShared(const std::string& path) {
  const Place place = placeOf(path);
  const std::lock_guard guard(mutex_);
  auto& page = directoryAt(place.directory).pages[place.name];
  if (!page) page = std::make_shared<HeapPage>();
  return {page, 0};
}

IoResult<std::uint64_t> MemoryFileSystem::freeBytes(const std::string& /*path*/) {
  return {std::numeric_limits<std::uint64_t>::max(), 0};
}

std::string MemoryFileSystem::bootId() { return "memory"; }

}  // namespace penstock::state
