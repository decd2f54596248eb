// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/errors.h>
#include <penstock/state/file_system.h>
#include <penstock/state/value.h>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::state {

/// How a Datastore is opened.
struct DatastoreOptions {
  // Changes behaviour.
  /// How long a change waits for the key's lock, from 1 ms to one day; then LockTimeout.
  std::chrono::milliseconds lockTimeout{10'000};
  /// SQLite and PostgreSQL: the table. Created when absent.
  std::string table = "penstock_datastore";
  /// PostgreSQL: `table` is one that Reshuffle's SQLStoreAdapter made and may be using now (`id
  /// varchar primary key, value varchar`): values are kept as JSON text, which lacks NaN,
  /// infinities, binary, text that is not UTF-8, and integers beyond 2^53: these are refused. A
  /// revision is then the hash of the value, and namespaces are written `name:key`.
  bool reshuffleTable = false;
};

/// Which of a key's values: another one after each change, and never one that the key had before,
/// also when it was removed and created again. To be compared with == only.
struct Revision {
  std::uint64_t created = 0;  // a random number of the key's creation; 0: the key is absent
  std::uint64_t changes = 0;  // 1 then, one more with each change
  bool operator==(const Revision&) const = default;
};

/// A key with its value and revision at one moment.
struct DatastoreEntry {
  std::string key;
  std::optional<Value> value;  // nullopt: absent
  Revision revision;
};

/// What `Datastore::update` found and left.
struct DatastoreUpdate {
  std::optional<Value> previous;  // nullopt: the key was absent
  std::optional<Value> current;   // nullopt: it still is
  bool changed = false;           // false: nothing was written
};

/// Whether `Datastore::compareAndSet` wrote, and the revision that the key has now.
struct CompareAndSet {
  bool applied = false;
  Revision revision;
};

/// Named values that threads, processes and machines share, each changed atomically.
///
/// Use it for a last read position, a counter or the list of what was seen, that several programs
/// read, modify and write. For values of one program use LocalFileStorage, which batches and is
/// quicker; for state that follows a topic penstock::Application.
///
/// What it reaches is up to the address:
///
/// | address | shared by | kept |
/// |---|---|---|
/// | `memory:` | the threads of the process | in this object, until its last handle goes |
/// | `file:DIR` | the processes of the machine | in a journal, synced |
/// | `sqlite:FILE` | the processes of the machine | in an SQLite database in WAL mode, synced |
/// | `postgresql://...` | all machines | in a table, as durable as the server's commits |
///
/// SQLite and PostgreSQL need the library to be built with them (PENSTOCK_SQLITE,
/// PENSTOCK_POSTGRESQL). What is stored and given back is the same everywhere, to the bit of a NaN.
///
/// Keys are 1 B - 512 B of UTF-8 without NUL that do not begin with U+0001. Values have up to
/// 64 MiB as stored, nested up to Value::depthMax deep.
///
/// Ownership: a handle; copies and namespaces are handles to the same store.
/// Threads: safe from any thread.
/// Waiting: reads never wait for a lock. Changes of a key wait for each other, and for an `update`
/// of the key that runs, up to the lock timeout; those of other keys do not. A lock is free as soon
/// as its holder's process has died.
/// Errors: InvalidArgument for a key or value beyond the limits, LockTimeout and NestedUpdate: at
/// these nothing was changed. Unavailable when a database cannot be reached; OutcomeUnknown when
/// it went while it was writing; ConfigurationError for wrong credentials, a missing permission, a
/// table of somebody else's; SourceChanged when the database or the file of locks was replaced or
/// removed meanwhile; Corruption for what Datastore never wrote; Closed in a forked child; and
/// those of LocalFileStorage for `file:`. After all of them but Closed and JournalFailed the
/// object can still be used.
/// Durability: a change is on disk when the call returns (`memory:` excepted).
/// Cost: a change reads the value once and writes it once, under the lock; what it costs is the
/// sync, and with PostgreSQL the four round trips.
///
///     Datastore store = Datastore::open("file:shared");
///     auto [before, now, changed] = store.update("visits", [](std::optional<Value> found) {
///       return Value(found ? found->asInt64() + 1 : 1);
///     });
class Datastore {
 public:
  static constexpr std::size_t keyBytesMax = 512;
  static constexpr std::size_t valueBytesMax = std::size_t{64} << 20;
  static constexpr std::size_t namespaceBytesMax = 255;  // of one name
  static constexpr int optimisticAttempts = 100;

  /// Gets what is there, or nullopt, and says what shall be there; nullopt: leave it.
  using Updater = std::function<std::optional<Value>(std::optional<Value> found)>;

  /// Opens, or creates.
  [[nodiscard]] static Datastore open(const std::string& address,
                                      const DatastoreOptions& options = {},
                                      const Environment& environment = Environment::real());

  // Reading: the last committed value, at once.
  /// nullopt when absent.
  [[nodiscard]] std::optional<Value> get(std::string_view key) const;
  [[nodiscard]] DatastoreEntry getWithRevision(std::string_view key) const;
  /// The keys of this namespace that begin with `prefix`, in order of their bytes. Those of
  /// namespaces in it are not among them.
  [[nodiscard]] std::vector<std::string> list(std::string_view prefix = {}) const;

  // Changing.
  /// Gives back what is stored. For read-modify-write use `update`.
  Value set(std::string_view key, Value value);
  /// Replaces what is there by what `change` makes of it, while every other change of the key, in
  /// any process, waits; `change` runs once. It may do I/O and use the store, but for changes of
  /// this key (NestedUpdate) through this object or its copies. What it throws is passed on, and
  /// nothing is changed. Nothing is written when it gives nullopt or the value that it got.
  DatastoreUpdate update(std::string_view key, const Updater& change);
  /// The same without holding the lock while `change` runs: when others have changed the key
  /// meanwhile it runs again, so it must have no side effects. Conflict after `optimisticAttempts`.
  DatastoreUpdate updateOptimistic(std::string_view key, const Updater& change);
  /// Writes if the key still has that revision; Revision{} is that of an absent key.
  CompareAndSet compareAndSet(std::string_view key, const Revision& expected, Value value);
  /// False, and nothing is written, when the key is there.
  bool createOnly(std::string_view key, Value value);
  /// Whether it was there.
  bool remove(std::string_view key);

  /// Returns as soon as a key has another revision than the one given with it: those that have.
  /// Empty after `timeout` (at most one day). What is changed and changed again meanwhile is
  /// reported once, with the last of it. Changes by other processes are noticed at once with
  /// `file:`, within 20 ms with `sqlite:`, at once with PostgreSQL, within a second there when they
  /// were made by Reshuffle or by a process that was killed just then.
  /// `meanwhile` is called at least every 500 ms of the wait, by the calling thread, which holds no
  /// lock then: what it throws ends the wait and is passed on.
  [[nodiscard]] std::vector<DatastoreEntry> watch(
      const std::map<std::string, Revision>& known, std::chrono::milliseconds timeout,
      const std::function<void()>& meanwhile = {}) const;

  /// A part of the store with keys of its own: `name` is 1 B - 255 B of UTF-8 without NUL.
  /// Namespaces nest, up to 1,024 B of names and what separates them.
  [[nodiscard]] Datastore namespace_(std::string_view name) const;
  /// Moves all that is in namespace `from` of this one, inner namespaces too, to namespace `to`;
  /// how many keys. Key by key, each under its lock: an error or a kill leaves each key in one of
  /// the two (or, with the same value, in both), and the same call goes on from there. Revisions
  /// begin anew. Conflict, with that key where it was, when `to` has it with another value.
  /// Programs that use `from` are to be stopped first: what they write there afterwards stays.
  std::size_t renameNamespace(std::string_view from, std::string_view to);

 private:
  struct Space;
  explicit Datastore(std::shared_ptr<const Space> space);
  std::shared_ptr<const Space> space_;
};

}  // namespace penstock::state
