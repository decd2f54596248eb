// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fault/allocation/failing_new.h"

namespace penstock::fault {

/// A file system whose own allocations do not fail: SimFs is the test's, and calls of the seam do
/// not throw.
class ExemptFiles final : public state::FileSystem {
 public:
  explicit ExemptFiles(state::FileSystem& files) : files_(files) {}

  state::IoResult<std::unique_ptr<state::File>> open(const std::string& path,
                                                     state::OpenMode mode) override {
    const FailingNew::Exempt exempt;
    auto opened = files_.open(path, mode);
    if (opened.ok()) opened.value = std::make_unique<ExemptFile>(std::move(opened.value));
    return opened;
  }
  state::IoStatus makeDirectories(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.makeDirectories(path);
  }
  state::IoStatus rename(const std::string& from, const std::string& to) override {
    const FailingNew::Exempt exempt;
    return files_.rename(from, to);
  }
  state::IoStatus remove(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.remove(path);
  }
  state::IoStatus syncDirectory(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.syncDirectory(path);
  }
  state::IoResult<std::vector<std::string>> list(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.list(path);
  }
  state::IoResult<state::FileInfo> info(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.info(path);
  }
  state::IoResult<std::shared_ptr<state::SharedPage>> mapShared(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.mapShared(path);
  }
  state::IoResult<std::uint64_t> freeBytes(const std::string& path) override {
    const FailingNew::Exempt exempt;
    return files_.freeBytes(path);
  }
  std::string bootId() override {
    const FailingNew::Exempt exempt;
    return files_.bootId();
  }

 private:
  class ExemptFile final : public state::File {
   public:
    explicit ExemptFile(std::unique_ptr<state::File> file) : file_(std::move(file)) {}
    state::IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
      const FailingNew::Exempt exempt;
      return file_->read(offset, into);
    }
    state::IoStatus write(std::uint64_t offset,
                          std::span<const std::span<const std::byte>> pieces) override {
      const FailingNew::Exempt exempt;
      return file_->write(offset, pieces);
    }
    state::IoResult<std::uint64_t> size() override {
      const FailingNew::Exempt exempt;
      return file_->size();
    }
    state::IoStatus truncate(std::uint64_t size) override {
      const FailingNew::Exempt exempt;
      return file_->truncate(size);
    }
    state::IoStatus allocate(std::uint64_t size) override {
      const FailingNew::Exempt exempt;
      return file_->allocate(size);
    }
    state::IoStatus sync() override {
      const FailingNew::Exempt exempt;
      return file_->sync();
    }
    void startWriteback(std::uint64_t offset, std::uint64_t length) override {
      const FailingNew::Exempt exempt;
      file_->startWriteback(offset, length);
    }
    state::IoStatus dropCache(std::uint64_t offset, std::uint64_t length) override {
      const FailingNew::Exempt exempt;
      return file_->dropCache(offset, length);
    }
    state::IoResult<bool> tryLock(state::LockKind kind) override {
      const FailingNew::Exempt exempt;
      return file_->tryLock(kind);
    }
    state::IoStatus lock(state::LockKind kind) override {
      const FailingNew::Exempt exempt;
      return file_->lock(kind);
    }
    state::IoStatus unlock() override {
      const FailingNew::Exempt exempt;
      return file_->unlock();
    }

   private:
    std::unique_ptr<state::File> file_;
  };

  state::FileSystem& files_;
};

}  // namespace penstock::fault
