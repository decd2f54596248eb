// SPDX-License-Identifier: Apache-2.0
#include "copy_target.h"

#include "database.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>

#include "bytes.h"
#include "file_names.h"
#include "io_errors.h"

namespace penstock::state {

CopyTarget::CopyTarget(std::string directory, const Environment& environment,
                       const JournalId& journal)
    : directory_(std::move(directory)), environment_(environment) {
  throwUnlessOk(environment_.files->makeDirectories(directory_), "creating", directory_);
  const auto names = environment_.files->list(directory_);
  throwUnlessOk(names, "listing", directory_);
  if (!names.value.empty()) {
    const bool unfinished =
        std::any_of(names.value.begin(), names.value.end(),
                    [](const std::string& name) { return name.ends_with(temporarySuffix); });
    throw ConfigurationError(
        directory_ + (unfinished ? ": holds a copy that was interrupted (files that end in .tmp); "
                                   "remove it, or choose another directory"
                                 : ": is not empty; choose an empty directory, or one that is not "
                                   "there"));
  }
  const std::string name = path("JOURNAL");
  auto file = environment_.files->open(name, OpenMode::CreateNew);
  throwUnlessOk(file, "creating", name);
  const std::string text =
      fmt::format("penstock journal {} format {}\n", journal.text(), formatVersion);
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(text)};
  throwUnlessOk(file.value->write(0, pieces), "writing", name);
  throwUnlessOk(file.value->sync(), "syncing", name);
  throwUnlessOk(environment_.files->syncDirectory(directory_), "syncing", directory_);
}

std::unique_ptr<File> CopyTarget::create(const std::string& name) {
  const std::string temporary = path(name) + std::string(temporarySuffix);
  auto file = environment_.files->open(temporary, OpenMode::CreateNew);
  throwUnlessOk(file, "creating", temporary);
  files_[name] = 0;
  return std::move(file.value);
}

void CopyTarget::written(const std::string& name, File& file) {
  const auto size = file.size();
  throwUnlessOk(size, "reading the size of", path(name));
  throwUnlessOk(file.sync(), "syncing", path(name));
  files_[name] = size.value;
}

void CopyTarget::write(const std::string& name, std::string_view bytes) {
  const auto file = create(name);
  const std::array<std::span<const std::byte>, 1> pieces{asBytes(bytes)};
  throwUnlessOk(file->write(0, pieces), "writing", path(name));
  written(name, *file);
}

void CopyTarget::copy(const std::string& name, File& from, const std::string& fromPath,
                      std::uint64_t bytes, std::string_view tail, const Progress& progress) {
  const auto file = create(name);
  std::string buffer(std::min<std::uint64_t>(bytes, 1U << 20), '\0');
  std::uint64_t at = 0;
  while (at < bytes) {
    const auto want = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes - at));
    const auto got = from.read(at, std::as_writable_bytes(want));
    throwUnlessOk(got, "reading", fromPath);
    if (got.value == 0) {
      throw Corruption(fromPath, at,
                       fmt::format("{}: ends at offset {}, not at {}", fromPath, at, bytes));
    }
    const std::array<std::span<const std::byte>, 1> pieces{
        std::as_bytes(std::span(buffer).first(got.value))};
    throwUnlessOk(file->write(at, pieces), "writing", path(name));
    at += got.value;
    progress(got.value);
  }
  if (!tail.empty()) {
    const std::array<std::span<const std::byte>, 1> pieces{asBytes(tail)};
    throwUnlessOk(file->write(at, pieces), "writing", path(name));
  }
  written(name, *file);
}

void CopyTarget::drop(const std::string& name) {
  throwUnlessOk(environment_.files->remove(path(name) + std::string(temporarySuffix)), "removing",
                path(name));
  files_.erase(name);
}

void CopyTarget::publish(const std::string& newest) {
  const auto finish = [&](const std::string& name) {
    throwUnlessOk(environment_.files->rename(path(name) + std::string(temporarySuffix), path(name)),
                  "renaming", path(name));
  };
  const auto sync = [&] {
    throwUnlessOk(environment_.files->syncDirectory(directory_), "syncing", directory_);
  };
  sync();
  finish(newest);
  sync();
  for (const auto& [name, bytes] : files_) {
    if (name != newest) finish(name);
  }
  sync();
}

void CopyTarget::abandon() noexcept {
  try {
    for (const auto& [name, bytes] : files_) {
      (void)environment_.files->remove(path(name));
      (void)environment_.files->remove(path(name) + std::string(temporarySuffix));
    }
    for (const std::string& name : directories_) database::remove(path(name));
    (void)environment_.files->remove(path("JOURNAL"));
  } catch (const std::bad_alloc&) {  // what is left is no journal that anybody opens
  }
}

}  // namespace penstock::state
