// SPDX-License-Identifier: Apache-2.0
//
// One save after the other, of all threads and processes, by a lock on a file beside it:
//
//   lock ─ read the old file ─ take the cut ─ write, sync: the old one as `.previous`, rename, sync
//   the directory ─ write, sync: the new one, rename, sync the directory ─ unlock
//
// 1. The cut is taken under the lock, so that no file goes back in time.
// 2. At the path there is always a whole file, if there ever was one: the old one is copied to
//    `.previous`, not renamed.
// 3. `.previous` is never replaced by what is known to be damaged.
// 4. Files that a killed save left behind go with the next one: under the lock nobody is writing.
#include "shared_state_save.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "bytes.h"
#include "io_errors.h"
#include "new_file.h"
#include "penstock/state/errors.h"
#include "penstock/state/transfer.h"
#include "shared_state_file.h"

namespace penstock::state {

namespace {

using std::chrono::steady_clock;

constexpr const char* previousEnd = ".previous";
constexpr auto lockInterval = std::chrono::milliseconds(2);  // between tries; arbitrary

steady_clock::time_point endOf(std::chrono::milliseconds atMost) {
  return steady_clock::now() + std::min<std::chrono::milliseconds>(atMost, std::chrono::years(100));
}

std::unique_ptr<File> lockFor(FileSystem& files, const std::string& path,
                              std::chrono::milliseconds atMost, steady_clock::time_point until) {
  const std::string name = path + ".lock";
  auto opened = files.open(name, OpenMode::ReadWriteCreate);
  throwUnlessOk(opened, "opening", name);
  for (;;) {
    const auto locked = opened.value->tryLock(LockKind::Exclusive);
    throwUnlessOk(locked, "locking", name);
    if (locked.value) return std::move(opened.value);
    if (steady_clock::now() >= until) {
      throw LockTimeout(fmt::format("{}: others saved to it for {} ms", path, atMost.count()));
    }
    std::this_thread::sleep_for(lockInterval);
  }
}

bool isLeftOver(std::string_view name, std::string_view of) {
  constexpr std::size_t digits = 16;  // as NewFile has them
  constexpr std::string_view end = ".tmp";
  return name.size() == of.size() + 1 + digits + end.size() && name.starts_with(of) &&
         name[of.size()] == '.' && name.ends_with(end) &&
         name.substr(of.size() + 1, digits).find_first_not_of("0123456789abcdef") ==
             std::string_view::npos;
}

void removeLeftOvers(FileSystem& files, const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "./" : path.substr(0, slash + 1);
  const std::string base = path.substr(slash == std::string::npos ? 0 : slash + 1);
  const auto listed = files.list(directory);
  throwUnlessOk(listed, "listing", directory);
  for (const std::string& name : listed.value) {
    if (isLeftOver(name, base) || isLeftOver(name, base + previousEnd)) {
      (void)files.remove(directory + name);
    }
  }
}

bool isDamaged(const std::string& text, const std::string& path) {
  if (text.empty()) return true;
  if (!looksLikeSharedFile(text)) return false;
  try {
    checkSharedFile(text, path);
    return false;
  } catch (const Corruption&) {
    return true;
  }
}

bool sameFile(const FileInfo& left, const FileInfo& right) {
  return left.exists == right.exists && left.device == right.device && left.inode == right.inode &&
         left.size == right.size;
}

/// `like`: the file whose mode it gets, if there is one.
void write(const Environment& environment, const std::string& path, const std::string& like,
           const std::string& text, const std::function<void()>& beforePublishing) {
  NewFile file(environment, path, true);
  const IoStatus moded = environment.files->copyMode(like, file.temporary());
  if (moded.error != ENOENT) throwUnlessOk(moded, "setting the mode of", file.temporary());
  file.append(text);
  beforePublishing();
  file.publish();
}

}  // namespace

std::string fileAt(FileSystem& files, const std::string& path) {
  if (path.empty()) throw InvalidArgument("shared state: the path \"\" is empty; name a file");
  const auto found = files.info(path);
  throwUnlessOk(found, "looking at", path);
  refuseOther(found.value, path);
  auto resolved = files.resolve(path);
  throwUnlessOk(resolved, "resolving", path);
  return std::move(resolved.value);
}

std::string previousOf(FileSystem& files, const std::string& path) {
  std::string previous = path + previousEnd;
  const auto found = files.info(previous);
  return found.ok() && found.value.regular ? previous : "";
}

std::optional<std::string> readWholeFile(FileSystem& files, const std::string& path) {
  auto opened = files.open(path, OpenMode::Read);
  if (opened.error == ENOENT) return std::nullopt;
  throwUnlessOk(opened, "opening", path);
  const auto size = opened.value->size();
  throwUnlessOk(size, "reading", path);
  std::string text(size.value, '\0');
  const auto got = opened.value->read(0, {reinterpret_cast<std::byte*>(text.data()), text.size()});
  throwUnlessOk(got, "reading", path);
  text.resize(got.value);
  return text;
}

void replaceFile(SharedLocks& locks, const Environment& environment, const std::string& path,
                 std::chrono::milliseconds atMost, bool keepOthers, const MakeText& make) {
  FileSystem& files = *environment.files;
  const steady_clock::time_point until = endOf(atMost);
  const SharedLocks::Rest rest(locks);
  const std::unique_ptr<File> lock = lockFor(files, path, atMost, until);
  removeLeftOvers(files, path);
  const auto found = files.info(path);
  throwUnlessOk(found, "looking at", path);
  const std::optional<std::string> before = readWholeFile(files, path);
  const std::string text = make(before, until);
  if (before && !isDamaged(*before, path)) {
    write(environment, path + previousEnd, path, *before, [] {});
  }
  write(environment, path, path, text, [&] {
    if (!keepOthers) return;
    const auto now = files.info(path);
    throwUnlessOk(now, "looking at", path);
    if (sameFile(now.value, found.value)) return;
    throw SourceChanged(path + ": was replaced while this was merged into it; save again");
  });
}

}  // namespace penstock::state
