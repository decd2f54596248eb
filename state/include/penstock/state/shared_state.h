// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <penstock/state/value.h>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock::state {

/// A value as it was at some moment: nobody changes it any more. Null when there was none.
using SharedValue = std::shared_ptr<const Value>;

/// One name of a SharedState, as it was at some moment.
struct SharedEntry {
  std::string name;
  SharedValue value;                // never null
  std::vector<std::string> scopes;  // as they were given; often none
};

/// Which names are meant: those that pass all four. An empty list, or pattern, lets all pass.
struct SharedFilter {
  std::vector<std::string> include = {};  // these names; one that is not there is ignored
  std::vector<std::string> exclude = {};  // not these
  std::vector<std::string> scopes = {};   // with one of these scopes: names without any do not pass
  /// A regular expression (ECMAScript without back-references) that is found in the name. Its time
  /// never grows without bound, but repetitions of repetitions may cost seconds a name: a pattern
  /// has to come from who is trusted with that.
  std::string pattern = {};

  static constexpr std::size_t patternBytesMax = 256;  // a longer one is InvalidArgument
};

/// What `SharedState::update` found and left.
struct SharedUpdate {
  SharedValue previous;  // null: the name was absent
  SharedValue current;
};

/// A named lock, held until the guard goes.
///
/// Threads: owned by the thread that took it.
class [[nodiscard]] SharedGuard {
 public:
  SharedGuard(SharedGuard&& other) noexcept = default;
  SharedGuard& operator=(SharedGuard&& other) noexcept = default;

 private:
  friend class SharedState;
  explicit SharedGuard(std::shared_ptr<void> held) : held_(std::move(held)) {}
  std::shared_ptr<void> held_;
};

/// How a SharedState is made.
struct SharedStateOptions {
  /// Whose state it is. Stands in every file; a file of another application is not restored.
  /// Empty: not checked, on either side.
  std::string application = {};
};

/// What `SharedState::save` writes, and how. The lists are as in SharedFilter.
struct SharedSaveOptions {
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};
  std::vector<std::string> scopes = {};
  bool compress = false;  // one line without blanks
  /// Names that are only in the file stay in it; else it holds what was selected and nothing more.
  bool merge = false;
  /// To wait for threads that hold locks, and for others who save to the same file.
  std::chrono::milliseconds atMost = std::chrono::seconds(30);
};

/// How a file is restored.
struct SharedRestoreOptions {
  /// Names that are not in the file stay; those that are get its value and scopes. Else the file
  /// takes the place of all that is there.
  bool merge = false;
  std::chrono::milliseconds atMost = std::chrono::seconds(30);  // for threads that hold locks
};

/// What `SharedState::exportPode` writes, and how. See SharedSaveOptions.
struct PodeExportOptions {
  int version = 2;  // of Pode's files; 1: without types, for Pode before 2.14
  std::vector<std::string> include = {};
  std::vector<std::string> exclude = {};
  std::vector<std::string> scopes = {};
  bool compress = false;
  std::chrono::milliseconds atMost = std::chrono::seconds(30);
};

/// When a SharedState saves itself, and where. The occasions may be combined; only what changed
/// since the last such save is an occasion at all, but for the first one.
struct AutosaveOptions {
  std::string path = {};
  SharedSaveOptions save = {};
  std::chrono::milliseconds interval{0};  // by the clock that never jumps; 0: not
  std::string cron = {};                  // see penstock/state/cron.h; UTC; empty: not
  /// So long after a change; those that come in the meantime are saved with it. nullopt: not.
  std::optional<std::chrono::milliseconds> afterChange = std::nullopt;
  bool atShutdown = true;  // by `close`, or the destructor
  /// Told of a save that failed, by the thread that saves; it is tried again on the next occasion.
  /// May not close the state or ask for another autosave.
  std::function<void(const std::exception&)> onFailure = {};
};

/// What became of it.
struct AutosaveStatus {
  std::uint64_t saves = 0;
  std::uint64_t failures = 0;
  std::string lastFailure = {};  // empty once a save went well again
};

/// Whether there was a file.
enum class Restored : std::uint8_t {
  NotFound,  // nothing was changed
  Restored,
};

/// Named values that every thread of a process shares.
///
/// Use it for what handlers, timers and requests of one program must agree on: settings, the last
/// of something, lists of some thousand values. It lives in memory; what is to outlast the process
/// is saved to a file. Where each change must survive a crash by itself use `LocalFileStorage`.
///
/// Names are 1 - 512 bytes of any kind, compared byte by byte, and keep the order in which they
/// came; a name that is set again keeps its place. Each has a value – null is one, and not the
/// same as none – and any number of scopes, words that say what it belongs to.
///
/// Ownership: what calls return are snapshots that nobody changes and that stay valid.
/// Threads: safe from any thread. Each call is one step; `update` is the way to change a value
/// depending on what it was. What belongs together in several names is written under a `lock`:
/// `snapshot` and the calls that write a file wait until no other thread holds one.
/// Errors: InvalidArgument for a name beyond the limits; Closed after `close` and in a forked
/// child; the rest is said at each call.
/// Durability: none, but for what was saved to a file.
/// Cost: a read takes a lock for the time that it takes to find the name, and copies nothing;
/// writes of names that share a stripe (of 16) wait for each other's `update` functions.
///
///     SharedState state;
///     state.set("hits", 0, {"web"});
///     state.update("hits", [](std::optional<Value> hits) { return hits->asInt64() + 1; });
///     state["greeting"] = "hello";
class SharedState {
 public:
  using Change = std::function<Value(std::optional<Value>)>;

  static constexpr std::size_t nameBytesMax = 512;
  /// As a time to wait: there is no end to it.
  static constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

  explicit SharedState(const SharedStateOptions& options = {},
                       const Environment& environment = Environment::real());
  /// Closes it. Only `close` itself reports if that fails.
  ~SharedState();
  SharedState(const SharedState&) = delete;
  SharedState& operator=(const SharedState&) = delete;

  // One name.
  /// Sets value and scopes: those that it had are gone.
  void set(std::string_view name, Value value, std::vector<std::string> scopes = {});
  /// Null when absent.
  [[nodiscard]] SharedValue get(std::string_view name) const;
  [[nodiscard]] Value getOr(std::string_view name, Value fallback) const;
  [[nodiscard]] std::optional<SharedEntry> entry(std::string_view name) const;
  [[nodiscard]] bool contains(std::string_view name) const;
  /// Returns what was removed; null when absent.
  SharedValue remove(std::string_view name);
  /// Sets the name to `change(found)`, where `found` is a copy of its value or nullopt, as one step
  /// that no other write comes between; scopes stay. Reads go on meanwhile. `change` may read this
  /// state; a call that writes, locks or saves in there is InvalidArgument. What it throws is
  /// passed on and nothing is changed.
  SharedUpdate update(std::string_view name, const Change& change);

  /// A name, to be read and written like a variable. Reads null when absent; writing keeps the
  /// scopes.
  ///
  /// Threads: as the state, which must outlive it.
  class Item {
   public:
    Item& operator=(Value value);
    Item& operator=(const Item& other) { return *this = static_cast<Value>(other); }
    operator Value() const;

   private:
    friend class SharedState;
    Item(SharedState& state, std::string_view name) : state_(state), name_(name) {}
    SharedState& state_;
    std::string name_;
  };
  [[nodiscard]] Item operator[](std::string_view name) { return {*this, name}; }

  // All names.
  /// In the order in which they came.
  [[nodiscard]] std::vector<std::string> names(const SharedFilter& filter = {}) const;
  /// All of them at one moment at which no other thread holds a lock; the calling thread may.
  /// LockTimeout after `atMost`.
  [[nodiscard]] std::vector<SharedEntry> snapshot(
      const SharedFilter& filter = {},
      std::chrono::milliseconds atMost = std::chrono::seconds(30)) const;

  // Locks. Their names have nothing to do with those of values.
  /// InvalidArgument when it is there already.
  void createLock(std::string_view name);
  void findOrCreateLock(std::string_view name);
  /// Waits for it, at most so long. A thread that holds a lock may take it again, and others too.
  /// A snapshot holds back who holds none yet.
  /// Errors: InvalidArgument for a name that was not created; LockTimeout. Builds with assertions
  /// also refuse, with LockOrder, to take two locks in an order that could make two threads wait
  /// for each other for ever.
  SharedGuard lock(std::string_view name, std::chrono::milliseconds atMost);

  // Files, docs/formats/shared-state.md. A path is taken as the system takes it; its directory has
  // to be there. InvalidArgument for an empty one, and where something that is no file is there.
  /// Writes what passes all three lists, as it is at one moment (see `snapshot`), in the place of
  /// what was there, which is kept as `<path>.previous` unless it was damaged. When it returns, the
  /// file is on disk; at any instant before, and after any error, a crash or `kill -9`, the old
  /// file or the new one is there as a whole. Where the path is a symbolic link, all this is done
  /// where it leads. The mode of the file stays (0600 for a new one); owner and group are the
  /// saver's. Who saves to the same file at the same time, in this process or another, waits:
  /// `<path>.lock` stays behind, empty. Errors: InvalidArgument, naming it, for a value nested more
  /// than Value::depthMax deep; LockTimeout; DiskFull and IoError; with `merge` those of `restore`,
  /// and SourceChanged for a file that somebody replaced meanwhile. After an IoError of syncing,
  /// the new file may be there already, but is not known to be on disk.
  void save(const std::string& path, const SharedSaveOptions& options = {});
  /// Reads what `save` has written. All of it is checked before anything is changed.
  /// Errors: Corruption, with file and offset, for a file that is empty, cut off or damaged;
  /// ForeignFile for one that no shared state, or another application, has written; FormatTooNew;
  /// LockTimeout; IoError.
  Restored restore(const std::string& path, const SharedRestoreOptions& options = {});

  // Files of Pode, a web framework for PowerShell whose states these are modelled on.
  /// Reads a file that Pode has saved: versions 0, 1, the two mixed, 2; UTF-8 or UTF-16. What a
  /// Value has no room for is kept as a map with a mark: `{"$pode.DateTime": "2026-…"}`,
  /// `{"$pode.HashSet":
  /// [...]}`; a map that is no ordered dictionary has a member "$pode" that says what it is.
  /// Errors: as `restore`; Corruption also for what is no state of Pode's; ForeignFile for what
  /// `save` has written.
  Restored importPode(const std::string& path, const SharedRestoreOptions& options = {});
  /// Writes a file for Pode, in the way of `save`. What was imported of version 2 comes out as it
  /// came in; integers of all sizes as Int32 or, where that is too small, Int64.
  /// Errors: as `save`; InvalidArgument, naming it, for a value that Pode has no room for (bytes,
  /// strings that are not UTF-8; in version 1, NaN and infinities), and for another version.
  void exportPode(const std::string& path, const PodeExportOptions& options = {});

  /// From now on saves by itself, in a thread of its own. Takes the place of what was asked before.
  /// Call it behind `restore`: what is saved at shutdown replaces the file.
  /// Errors: InvalidArgument for no path, no occasion, or a cron line that is none.
  void autosave(const AutosaveOptions& options);
  [[nodiscard]] AutosaveStatus autosaveStatus() const;

  /// Every later call fails with Closed, waiting ones do at once. Idempotent. If it saves (see
  /// AutosaveOptions::atShutdown), then what was there when writes began to fail, at a moment at
  /// which no other thread holds a lock.
  /// Errors: those of `save`; the state is open then, and does not save itself until it is closed
  /// again.
  void close();

  /// Saves if it is time to. For environments without threads.
  void testingTick();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::state
