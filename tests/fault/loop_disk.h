// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "support/temporary_directory.h"

namespace penstock::fault {

/// A file system on a loop device, seen by this process and its children alone, whose power can be
/// cut. Needs root.
class LoopDisk {
 public:
  LoopDisk(const std::string& kind, std::string mountOptions);  // ext4 or xfs; not mounted yet
  ~LoopDisk();
  LoopDisk(const LoopDisk&) = delete;
  LoopDisk& operator=(const LoopDisk&) = delete;

  [[nodiscard]] std::string at() const { return place_ / "mnt"; }
  void mount();
  void unmount();
  /// What is in the caches is gone, and nothing more gets to the disk until it is mounted anew.
  void cutPower() const;

 private:
  const testing::TemporaryDirectory place_;
  const std::string mountOptions_;
  bool mounted_ = false;
};

}  // namespace penstock::fault
