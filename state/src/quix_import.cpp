// SPDX-License-Identifier: Apache-2.0

// Import of a legacy Quix directory, penstock/state/quix_import.h.
//
// 1. The first reading looks at everything and changes nothing: it lists directories, decodes
//    files, and keeps of each file its size and hash.
// 2. The second reading must find the same names, sizes and hashes; only then is the last batch
//    written.

#include "penstock/state/quix_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <set>
#include <system_error>

#include "bytes.h"
#include "frame.h"
#include "io_errors.h"
#include "quix_record.h"
#include "storage_path.h"
#include "storage_transfer.h"

namespace penstock::state {

namespace {

constexpr std::string_view unfinished = ".tmpf";
constexpr std::string_view backup = ".bckf";
constexpr std::size_t directoriesDeep = 64;    // of directories; the library nests 3 deep
constexpr std::size_t namedMax = 10;           // files in a message; arbitrary
constexpr std::uint64_t recordHeadBytes = 11;  // codec, type, length and checksum, at most

std::string lowerCase(std::string name) {
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

class QuixImport {
 public:
  QuixImport(std::string source, LocalFileStorage& into, const QuixImportOptions& options,
             const Environment& environment)
      : source_(std::move(source)),
        into_(into),
        options_(options),
        files_(*environment.files),
        importer_(into,
                  {.overwrite = options.overwrite,
                   .keysDiffer = true,  // else they clash, below
                   .batchBytes = options.batchBytes},
                  options.progress) {}

  QuixImportReport run() {
    const auto own = files_.info(into_.directory());
    throwUnlessOk(own, "looking at", into_.directory());
    own_ = own.value;
    const auto info = files_.info(source_);
    throwUnlessOk(info, "looking at", source_);
    if (!info.value.exists || !info.value.directory) {
      throw IoError(info.value.exists ? ENOTDIR : ENOENT,
                    source_ +
                        ": is no directory; name the one that the legacy LocalFileStorage "
                        "was given (by default ./state)",
                    source_);
    }
    Names seen;
    checkFolder({}, {}, 0, seen);
    refuseUnread();
    importer_.beginCopying();
    for (const Item& item : items_) copy(item);
    Names again;
    listAgain({}, again);
    if (again != seen) {
      throwChanged(firstDifference(seen, again), "is new or gone");
    }
    const ImportReport done = importer_.finish();
    report_.keys = done.keys;
    report_.batches = done.batches;
    return std::move(report_);
  }

 private:
  using Names = std::set<std::string>;  // relative to the source; directories end with '/'
  struct Item {
    std::string file;  // relative to the source
    std::string path;  // of its storage
    std::string key;
    std::uint64_t size = 0;
    std::uint64_t hash = 0;
  };
  struct Bytes {
    std::string bytes;
    std::string why;  // they could not be read
  };

  [[nodiscard]] std::string at(const std::string& relative) const {
    return relative.empty() ? source_ : source_ + '/' + relative;
  }

  void unread(const std::string& relative, std::string why) {
    report_.unread.push_back({relative, std::move(why)});
  }

  void unreadFolder(const std::string& relative, std::string why) {
    notEntered_.insert(relative);
    unread(relative, std::move(why));
  }

  // Names of a directory in order, so that reports are the same each time.
  std::vector<std::string> list(const std::string& relative) {
    auto names = files_.list(at(relative));
    throwUnlessOk(names, "listing", at(relative));
    std::sort(names.value.begin(), names.value.end());
    return std::move(names.value);
  }

  void refuseOwnDirectory(const FileInfo& info, const std::string& relative) const {
    if (info.device != own_.device || info.inode != own_.inode) return;
    throw InvalidArgument(fmt::format(
        "{}: is the directory of the storage that is imported into; nothing was imported. Move the "
        "legacy files to a directory of their own",
        at(relative)));
  }

  void checkFolder(const std::string& folder, const std::string& path, std::size_t depth,
                   Names& seen) {
    std::vector<std::string> names;
    try {
      const auto info = files_.info(at(folder));
      throwUnlessOk(info, "looking at", at(folder));
      refuseOwnDirectory(info.value, folder);
      names = list(folder);
    } catch (const IoError& error) {
      unreadFolder(folder, error.what());
      return;
    }
    if (depth > directoriesDeep) {
      unreadFolder(folder, fmt::format("it is nested more than {} deep", directoriesDeep));
      return;
    }
    try {
      importer_.expectStorage(path);
    } catch (const InvalidArgument& error) {  // too long a name, with those above it
      unreadFolder(folder, error.what());
      return;
    }
    if (!path.empty()) report_.subStorages.push_back(folder);
    const std::set<std::string_view> there(names.begin(), names.end());
    std::map<std::string, std::string> keys;  // lower-case: file
    for (const std::string& name : names) {
      const std::string relative = folder.empty() ? name : folder + '/' + name;
      const auto info = files_.info(at(relative));
      if (!info.ok()) {
        seen.insert(relative);
        unread(relative, std::generic_category().message(info.error));
        continue;
      }
      if (info.value.directory) {
        seen.insert(relative + '/');
        checkFolder(relative, pathBelow(path, name), depth + 1, seen);
        continue;
      }
      if (name.ends_with(unfinished)) continue;
      seen.insert(relative);
      std::string key = name;
      if (name.ends_with(backup)) {
        key.resize(key.size() - backup.size());
        if (there.contains(key)) continue;
      }
      const auto [same, fresh] = keys.try_emplace(lowerCase(key), relative);
      if (!fresh) {
        throw InvalidArgument(fmt::format(
            "{}: {:?} and {:?} differ in the case of A-Z alone: they are one key of the legacy "
            "library; nothing was imported. Remove one of them",
            source_, same->second, relative));
      }
      checkFile({.file = relative, .path = path, .key = std::move(key)});
    }
  }

  void checkFile(Item item) {
    const Bytes content = readFile(item.file);
    QuixRecord record;
    const std::string why =
        !content.why.empty() ? content.why : decode(content.bytes, item.file, record, true);
    if (!why.empty()) {
      unread(item.file, why);
      return;
    }
    try {
      (void)importer_.expect(item.path, item.key, items_.size());
    } catch (const InvalidArgument& error) {  // a key that is empty
      unread(item.file, error.what());
      return;
    }
    item.size = content.bytes.size();
    item.hash = hash64(content.bytes);
    items_.push_back(std::move(item));
  }

  Bytes readFile(const std::string& relative) {
    const std::string name = at(relative);
    const auto file = files_.open(name, OpenMode::Read);
    if (!file.ok()) return {{}, std::generic_category().message(file.error)};
    const auto size = file.value->size();
    if (!size.ok()) return {{}, std::generic_category().message(size.error)};
    if (size.value > LocalFileStorage::valueBytesMax + recordHeadBytes) {
      return {{}, fmt::format("it has {} bytes; values have up to 1 GiB", size.value)};
    }
    Bytes content{std::string(size.value, '\0'), {}};
    const auto got = file.value->read(0, std::as_writable_bytes(std::span(content.bytes)));
    if (!got.ok()) return {{}, std::generic_category().message(got.error)};
    content.bytes.resize(got.value);
    return content;
  }

  // Why it cannot be, or "". The first reading reports what the second only repeats.
  std::string decode(const std::string& bytes, const std::string& relative, QuixRecord& record,
                     bool reporting) {
    std::string why = decodeQuixRecord(bytes, record);
    if (!why.empty() && options_.rawFiles && bytes.size() <= LocalFileStorage::valueBytesMax) {
      detail::encodeBytes(detail::ValueTag::Bytes, bytes, record.stored);
      record.object = false;
      if (reporting) report_.raw.push_back(relative);
      return {};
    }
    if (!why.empty()) return why;
    if (record.stored.size() - 1 > LocalFileStorage::valueBytesMax) {
      return "its value has more than 1 GiB";
    }
    if (record.object && options_.pickledNoneAsNull &&
        isPickledNone(std::string_view(record.stored).substr(1))) {
      detail::encodeValue(Value(), record.stored);
      record.object = false;
    }
    if (record.object && reporting) report_.pickled.push_back(relative);
    return {};
  }

  void refuseUnread() {
    if (report_.unread.empty() || options_.skipDamaged) return;
    std::string named;
    for (std::size_t i = 0; i < std::min(report_.unread.size(), namedMax); ++i) {
      const QuixUnread& one = report_.unread[i];
      named += fmt::format("{}{:?}: {}", i == 0 ? "" : "; ", one.file, one.why);
    }
    if (report_.unread.size() > namedMax) named += "; ...";
    throw QuixUnreadable(
        fmt::format("{}: {} of its files cannot be read; nothing was imported. Ask for them to be "
                    "skipped, or, if SaveRaw wrote them, to be taken as they are. {}",
                    source_, report_.unread.size(), named),
        report_.unread);
  }

  void copy(const Item& item) {
    const Bytes content = readFile(item.file);
    if (!content.why.empty()) throwChanged(item.file, "cannot be read any more: " + content.why);
    if (content.bytes.size() != item.size || hash64(content.bytes) != item.hash) {
      throwChanged(item.file, "changed");
    }
    QuixRecord record;
    (void)decode(content.bytes, item.file, record, false);  // as the first time
    importer_.put(item.path, item.key, record.stored);
  }

  void listAgain(const std::string& folder, Names& names) {
    if (notEntered_.contains(folder)) return;
    std::vector<std::string> found;
    try {
      found = list(folder);
    } catch (const IoError&) {  // its names are missing
      return;
    }
    for (const std::string& name : found) {
      const std::string relative = folder.empty() ? name : folder + '/' + name;
      const auto info = files_.info(at(relative));
      if (info.ok() && info.value.directory) {
        names.insert(relative + '/');
        listAgain(relative, names);
      } else if (!info.ok() || !name.ends_with(unfinished)) {
        names.insert(relative);
      }
    }
  }

  static std::string firstDifference(const Names& left, const Names& right) {
    std::vector<std::string> different;
    std::set_symmetric_difference(left.begin(), left.end(), right.begin(), right.end(),
                                  std::back_inserter(different));
    return different.front();
  }

  [[noreturn]] void throwChanged(const std::string& relative, std::string_view how) const {
    throw SourceChanged(fmt::format(
        "{}: {} while it was imported. Stop the program that writes to {} and import again{}",
        at(relative), how, source_,
        importer_.batches() == 0 ? "; nothing was imported"
                                 : ", with overwrite: a part of it was imported already"));
  }

  const std::string source_;
  LocalFileStorage& into_;
  const QuixImportOptions& options_;
  FileSystem& files_;
  StorageImporter importer_;
  FileInfo own_;
  std::vector<Item> items_;
  Names notEntered_;  // directories that are listed as unread
  QuixImportReport report_;
};

}  // namespace

QuixImportReport importQuix(const std::string& sourceDirectory, LocalFileStorage& into,
                            const QuixImportOptions& options, const Environment& environment) {
  return QuixImport(sourceDirectory, into, options, environment).run();
}

}  // namespace penstock::state
