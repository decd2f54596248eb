// SPDX-License-Identifier: Apache-2.0
#include "file_names.h"

#include <fmt/format.h>

#include <exception>
#include <span>
#include <string_view>

namespace penstock::state {

namespace {

std::optional<std::uint64_t> numberIn(const std::string& name, std::string_view prefix,
                                      std::string_view suffix, int base) {
  if (!name.starts_with(prefix) || !name.ends_with(suffix) ||
      name.size() <= prefix.size() + suffix.size()) {
    return std::nullopt;
  }
  const std::string digits =
      name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
  std::size_t used = 0;
  try {
    const std::uint64_t number = std::stoull(digits, &used, base);
    return used == digits.size() ? std::optional(number) : std::nullopt;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

}  // namespace

std::string fileName(std::uint64_t number, FileKind kind) {
  switch (kind) {
    case FileKind::Segment:
      return fmt::format("segment-{:010}.log", number);
    case FileKind::Snapshot:
      return fmt::format("snapshot-{:016x}.snap", number);
    case FileKind::Blob:
      return fmt::format("blob-{:016x}.blob", number);
    case FileKind::Archive:
      return fmt::format("archive-{:016x}.arch", number);
    case FileKind::Database:
      return fmt::format("database-{:016x}.rocksdb", number);
    case FileKind::Export:
      break;  // in no directory of a journal
  }
  return {};
}

std::optional<std::uint64_t> fileNumber(const std::string& name, FileKind kind) {
  std::optional<std::uint64_t> number;
  switch (kind) {
    case FileKind::Segment:
      number = numberIn(name, "segment-", ".log", 10);
      break;
    case FileKind::Snapshot:
      number = numberIn(name, "snapshot-", ".snap", 16);
      break;
    case FileKind::Blob:
      number = numberIn(name, "blob-", ".blob", 16);
      break;
    case FileKind::Archive:
      number = numberIn(name, "archive-", ".arch", 16);
      break;
    case FileKind::Database:
      number = numberIn(name, "database-", ".rocksdb", 16);
      break;
    case FileKind::Export:
      break;
  }
  return number && name == fileName(*number, kind) ? number : std::nullopt;
}

bool isDurableFile(const std::string& name) {
  return fileNumber(name, FileKind::Segment) || fileNumber(name, FileKind::Snapshot) ||
         fileNumber(name, FileKind::Blob) || fileNumber(name, FileKind::Archive) ||
         fileNumber(name, FileKind::Database);
}

std::string readSmall(File& file) {
  std::string text(512, '\0');
  const auto got = file.read(0, std::as_writable_bytes(std::span(text)));
  text.resize(got.ok() ? got.value : 0);
  while (!text.empty() && (text.back() == '\0' || text.back() == '\n')) text.pop_back();
  for (char& each : text) {
    if (each < ' ' || each > '~') each = '?';
  }
  return text;
}

}  // namespace penstock::state
