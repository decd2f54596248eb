// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstdint>
#include <stdexcept>

namespace penstock::testing {

/// While it lives, no file of this process can grow beyond `bytes`: a disk that is full for every
/// thread, without a mount or root. The system says EFBIG, which is DiskFull like ENOSPC.
class FullDisk {
 public:
  explicit FullDisk(std::uint64_t bytes) {
    if (::getrlimit(RLIMIT_FSIZE, &before_) != 0) throw std::runtime_error("getrlimit");
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit full{bytes, before_.rlim_max};
    if (::setrlimit(RLIMIT_FSIZE, &full) != 0) throw std::runtime_error("setrlimit");
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = SIG_DFL;
};

}  // namespace penstock::testing
