// SPDX-License-Identifier: Apache-2.0
#include "io_errors.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace penstock::state {

bool isDiskFull(int error) noexcept { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

void throwIoError(int error, std::string_view doing, const std::string& path) {
  const std::string reason = std::generic_category().message(error);
  if (isDiskFull(error)) {
    throw DiskFull(fmt::format("{} {}: {}; nothing was written, it works again once there is space",
                               doing, path, reason),
                   error, path);
  }
  const char* advice = "";
  if (error == EACCES || error == EPERM) {
    advice = "; check the owner and permissions of the directory";
  } else if (error == EROFS) {
    advice = "; the file system is read-only, choose another directory";
  } else if (error == ENOTDIR || error == EISDIR) {
    advice = "; a file and a directory are in each other's place";
  } else if (error == ENOENT) {
    advice = "; it is not there, or cannot be: check the path";
  } else if (error == EIO) {
    advice = "; the disk may be failing: look into the system's log";
  } else if (error == EMFILE || error == ENFILE) {
    advice = "; too many files are open: raise the limit (ulimit -n)";
  }
  throw IoError(error, fmt::format("{} {}: {}{}", doing, path, reason, advice), path);
}

}  // namespace penstock::state
