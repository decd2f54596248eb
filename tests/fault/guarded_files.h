// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <poll.h>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support/sim_fs.h"

namespace penstock::fault {

/// A file system that makes a `Guard(call)` around each call of another one, for what a test has to
/// do there. A lock of SimFs that is held elsewhere is waited for, without a guard.
template <typename Guard>
class GuardedFiles final : public state::FileSystem {
 public:
  explicit GuardedFiles(state::FileSystem& files) : files_(files) {}

  state::IoResult<std::unique_ptr<state::File>> open(const std::string& path,
                                                     state::OpenMode mode) override {
    const Guard guard(Call::Open);
    auto opened = files_.open(path, mode);
    if (opened.ok()) opened.value = std::make_unique<GuardedFile>(std::move(opened.value));
    return opened;
  }
  state::IoStatus makeDirectories(const std::string& path) override {
    const Guard guard(Call::MakeDirectories);
    return files_.makeDirectories(path);
  }
  state::IoStatus rename(const std::string& from, const std::string& to) override {
    const Guard guard(Call::Rename);
    return files_.rename(from, to);
  }
  state::IoStatus remove(const std::string& path) override {
    const Guard guard(Call::Remove);
    return files_.remove(path);
  }
  state::IoStatus syncDirectory(const std::string& path) override {
    const Guard guard(Call::SyncDirectory);
    return files_.syncDirectory(path);
  }
  state::IoResult<std::vector<std::string>> list(const std::string& path) override {
    const Guard guard(Call::List);
    return files_.list(path);
  }
  state::IoResult<state::FileInfo> info(const std::string& path) override {
    const Guard guard(Call::Info);
    return files_.info(path);
  }
  state::IoResult<std::string> resolve(const std::string& path) override {
    const Guard guard(Call::Info);
    return files_.resolve(path);
  }
  state::IoStatus copyMode(const std::string& from, const std::string& to) override {
    const Guard guard(Call::Info);
    return files_.copyMode(from, to);
  }
  state::IoResult<std::shared_ptr<state::SharedPage>> mapShared(const std::string& path) override {
    const Guard guard(Call::MapShared);
    return files_.mapShared(path);
  }
  state::IoResult<std::uint64_t> freeBytes(const std::string& path) override {
    const Guard guard(Call::FreeBytes);
    return files_.freeBytes(path);
  }
  std::string bootId() override {
    const Guard guard(Call::Info);
    return files_.bootId();
  }

 private:
  using Call = testsupport::SimCall;

  class GuardedFile final : public state::File {
   public:
    explicit GuardedFile(std::unique_ptr<state::File> file) : file_(std::move(file)) {}
    state::IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
      const Guard guard(Call::Read);
      return file_->read(offset, into);
    }
    state::IoStatus write(std::uint64_t offset,
                          std::span<const std::span<const std::byte>> pieces) override {
      const Guard guard(Call::Write);
      return file_->write(offset, pieces);
    }
    state::IoResult<std::uint64_t> size() override {
      const Guard guard(Call::Size);
      return file_->size();
    }
    state::IoStatus truncate(std::uint64_t size) override {
      const Guard guard(Call::Truncate);
      return file_->truncate(size);
    }
    state::IoStatus allocate(std::uint64_t size) override {
      const Guard guard(Call::Allocate);
      return file_->allocate(size);
    }
    state::IoStatus sync() override {
      const Guard guard(Call::Sync);
      return file_->sync();
    }
    void startWriteback(std::uint64_t offset, std::uint64_t length) override {
      const Guard guard(Call::Write);
      file_->startWriteback(offset, length);
    }
    state::IoStatus dropCache(std::uint64_t offset, std::uint64_t length) override {
      const Guard guard(Call::DropCache);
      return file_->dropCache(offset, length);
    }
    state::IoResult<bool> tryLock(state::LockKind kind) override {
      const Guard guard(Call::Lock);
      return file_->tryLock(kind);
    }
    state::IoStatus lock(state::LockKind kind) override {
      for (;; ::poll(nullptr, 0, 1)) {
        {
          const Guard guard(Call::Lock);
          const state::IoStatus status = file_->lock(kind);
          if (status.error != EDEADLK) return status;
        }
      }
    }
    state::IoStatus unlock() override {
      const Guard guard(Call::Lock);
      return file_->unlock();
    }
    state::IoResult<bool> tryLockByte(std::uint64_t offset) override {
      const Guard guard(Call::Lock);
      return file_->tryLockByte(offset);
    }
    state::IoStatus unlockByte(std::uint64_t offset) override {
      const Guard guard(Call::Lock);
      return file_->unlockByte(offset);
    }

   private:
    std::unique_ptr<state::File> file_;
  };

  state::FileSystem& files_;
};

}  // namespace penstock::fault
