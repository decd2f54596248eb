// SPDX-License-Identifier: Apache-2.0
#include "new_file.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "bytes.h"
#include "io_errors.h"

namespace penstock::state {

namespace {

constexpr std::size_t bufferBytes = 1U << 20;  // arbitrary

std::string directoryOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return path.substr(0, slash == 0 ? 1 : slash);
}

}  // namespace

void refuseOther(const FileInfo& info, const std::string& path) {
  if (!info.exists || info.regular) return;
  throw InvalidArgument(fmt::format("{}: is a {}; give the name of a file", path,
                                    info.directory ? "directory" : "device, pipe or socket"));
}

NewFile::NewFile(const Environment& environment, std::string path, bool replace)
    : files_(*environment.files),
      path_(std::move(path)),
      temporary_(fmt::format("{}.{:016x}.tmp", path_, environment.random->next())),
      replace_(replace) {
  refuseTaken();
  auto opened = files_.open(temporary_, OpenMode::CreateNew);
  throwUnlessOk(opened, "creating", temporary_);
  file_ = std::move(opened.value);
}

NewFile::~NewFile() {
  if (!published_) (void)files_.remove(temporary_);
}

void NewFile::refuseTaken() const {
  const auto info = files_.info(path_);
  throwUnlessOk(info, "looking at", path_);
  refuseOther(info.value, path_);
  if (info.value.exists && !replace_) {
    throw InvalidArgument(path_ +
                          ": is there already; choose another name, or ask for it to be replaced");
  }
}

void NewFile::append(std::string_view bytes) {
  buffer_ += bytes;
  if (buffer_.size() >= bufferBytes) writeBuffer();
}

void NewFile::writeBuffer() {
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(buffer_)};
  throwUnlessOk(file_->write(offset_, pieces), "writing", temporary_);
  offset_ += buffer_.size();
  buffer_.clear();
}

void NewFile::publish() {
  if (!buffer_.empty()) writeBuffer();
  throwUnlessOk(file_->sync(), "syncing", temporary_);
  refuseTaken();
  throwUnlessOk(files_.rename(temporary_, path_), "renaming to", path_);
  published_ = true;
  throwUnlessOk(files_.syncDirectory(directoryOf(path_)), "syncing the directory of", path_);
}

}  // namespace penstock::state
