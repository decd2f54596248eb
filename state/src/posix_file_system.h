// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/file_system.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::state {

/// The file system of this machine.
///
/// Descriptors are O_CLOEXEC and never 0, 1 or 2, so that no stray print reaches a journal. EINTR
/// is retried except from fsync and fdatasync, whose errors are final (reliability R1). In a
/// forked child the files that ever held a lock are closed and answer EBADF: otherwise the child
/// would keep the lock of a dead parent alive (R7).
///
/// Threads: safe from any thread.
class PosixFileSystem final : public FileSystem {
 public:
  IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  IoStatus makeDirectories(const std::string& path) override;
  IoStatus rename(const std::string& from, const std::string& to) override;
  IoStatus remove(const std::string& path) override;
  IoStatus syncDirectory(const std::string& path) override;
  IoResult<std::vector<std::string>> list(const std::string& path) override;
  IoResult<FileInfo> info(const std::string& path) override;
  IoResult<std::string> resolve(const std::string& path) override;
  IoStatus copyMode(const std::string& from, const std::string& to) override;
  IoResult<std::shared_ptr<SharedPage>> mapShared(const std::string& path) override;
  IoResult<std::uint64_t> freeBytes(const std::string& path) override;
  std::string bootId() override;
};

/// Name of a network file system by its statfs magic number, else empty. FUSE is not one: it says
/// nothing about where the bytes are.
[[nodiscard]] std::string_view networkKindOf(std::uint64_t statfsMagic) noexcept;
/// The same for those that hand files on to another file system or to a program.
[[nodiscard]] std::string_view layeredKindOf(std::uint64_t statfsMagic) noexcept;

}  // namespace penstock::state
