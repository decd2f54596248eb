// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <penstock/error.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

/// Refuses a file that something stands in: whoever knows no length of it has not written it.
inline void refuseTaken(const std::string& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory || (!error && size == 0)) return;
  throw penstock::ConfigurationError(
      path + (error ? ": " + error.message()
                    : " is there already, and the store does not know it: name another output, or "
                      "the store that it was written with"));
}

/// Appends to a file whose length stands in a Datastore: what is behind that length was written by
/// a program that was killed before the store had it, and goes. Returns the length, on disk.
inline std::int64_t appendAt(const std::string& path, std::int64_t length, std::string_view text) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const auto check = [&](bool good, const char* doing) {
    if (good) return;
    const int error = errno;
    if (file >= 0) ::close(file);
    throw std::system_error(error, std::generic_category(), doing + (" " + path));
  };
  check(file >= 0, "opening");
  const off_t found = ::lseek(file, 0, SEEK_END);
  check(found >= 0, "looking for the end of");
  if (found < length) {
    ::close(file);
    throw std::runtime_error(path + " is shorter than what was written to it: is it another file?");
  }
  check(::ftruncate(file, length) == 0, "cutting");
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written =
        ::pwrite(file, text.data() + done, text.size() - done, length + static_cast<off_t>(done));
    check(written > 0, "writing");
    done += static_cast<std::size_t>(written);
  }
  check(::fdatasync(file) == 0, "syncing");
  ::close(file);
  return length + static_cast<std::int64_t>(text.size());
}
