// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace penstock::testsupport {

/// Runs something in front of the next attempt to get its lock shared.
class HookedFile final : public state::File {
 public:
  HookedFile(std::unique_ptr<state::File> file, std::function<void(state::File&)>& hook)
      : file_(std::move(file)), hook_(hook) {}
  state::IoResult<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) override {
    return file_->read(offset, into);
  }
  state::IoStatus write(std::uint64_t offset,
                        std::span<const std::span<const std::byte>> from) override {
    return file_->write(offset, from);
  }
  state::IoResult<std::uint64_t> size() override { return file_->size(); }
  state::IoStatus truncate(std::uint64_t size) override { return file_->truncate(size); }
  state::IoStatus allocate(std::uint64_t size) override { return file_->allocate(size); }
  state::IoStatus sync() override { return file_->sync(); }
  void startWriteback(std::uint64_t offset, std::uint64_t length) override {
    file_->startWriteback(offset, length);
  }
  state::IoStatus dropCache(std::uint64_t offset, std::uint64_t length) override {
    return file_->dropCache(offset, length);
  }
  state::IoResult<bool> tryLock(state::LockKind kind) override {
    if (kind == state::LockKind::Shared && hook_) std::exchange(hook_, nullptr)(*file_);
    return file_->tryLock(kind);
  }
  state::IoStatus lock(state::LockKind kind) override { return file_->lock(kind); }
  state::IoStatus unlock() override { return file_->unlock(); }
  state::IoResult<bool> tryLockByte(std::uint64_t offset) override {
    return file_->tryLockByte(offset);
  }
  state::IoStatus unlockByte(std::uint64_t offset) override { return file_->unlockByte(offset); }

 private:
  std::unique_ptr<state::File> file_;
  std::function<void(state::File&)>& hook_;
};

/// Another file system, with `hook` in front of the first attempt to get PRESENCE shared, which
/// gets that file, and `beforeOpen` in front of each opening.
class HookedFiles final : public state::FileSystem {
 public:
  HookedFiles(state::FileSystem& files, std::function<void(state::File&)> hook,
              std::function<void(const std::string&)> beforeOpen = {})
      : files_(files), hook_(std::move(hook)), beforeOpen_(std::move(beforeOpen)) {}
  state::IoResult<std::unique_ptr<state::File>> open(const std::string& path,
                                                     state::OpenMode mode) override {
    if (beforeOpen_) beforeOpen_(path);
    auto opened = files_.open(path, mode);
    if (opened.ok() && path.ends_with("PRESENCE")) {
      opened.value = std::make_unique<HookedFile>(std::move(opened.value), hook_);
    }
    return opened;
  }
  state::IoStatus makeDirectories(const std::string& path) override {
    return files_.makeDirectories(path);
  }
  state::IoStatus rename(const std::string& from, const std::string& to) override {
    return files_.rename(from, to);
  }
  state::IoStatus remove(const std::string& path) override { return files_.remove(path); }
  state::IoStatus syncDirectory(const std::string& path) override {
    return files_.syncDirectory(path);
  }
  state::IoResult<std::vector<std::string>> list(const std::string& path) override {
    return files_.list(path);
  }
  state::IoResult<state::FileInfo> info(const std::string& path) override {
    return files_.info(path);
  }
  state::IoResult<std::string> resolve(const std::string& path) override {
    return files_.resolve(path);
  }
  state::IoStatus copyMode(const std::string& from, const std::string& to) override {
    return files_.copyMode(from, to);
  }
  state::IoResult<std::shared_ptr<state::SharedPage>> mapShared(const std::string& path) override {
    return files_.mapShared(path);
  }
  state::IoResult<std::uint64_t> freeBytes(const std::string& path) override {
    return files_.freeBytes(path);
  }
  std::string bootId() override { return files_.bootId(); }

 private:
  state::FileSystem& files_;
  std::function<void(state::File&)> hook_;
  std::function<void(const std::string&)> beforeOpen_;
};

}  // namespace penstock::testsupport
