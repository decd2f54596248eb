// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/datastore.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datastore/key_locks.h"

namespace penstock::state::datastore {

/// What is kept under a key.
struct Row {
  Revision revision;
  std::string bytes;  // of the value, as Adapter::encode gives them
};

/// The lock of one key, and what may be done under it. Destruction frees the lock, whatever became
/// of it, and throws nothing.
///
/// Threads: owned by one thread.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;
  [[nodiscard]] virtual std::optional<Row> read() = 0;
  /// On disk when it returns.
  virtual void write(const Row& row) = 0;
  virtual void erase() = 0;
};

/// What a Datastore stands on. Keys are whole: with the names of their namespaces, and checked.
///
/// Threads: safe from any thread.
/// Errors: as penstock/state/datastore.h says.
class Adapter {
 public:
  Adapter() = default;
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;
  virtual ~Adapter() = default;

  /// Waits for no lock of a key.
  [[nodiscard]] virtual std::optional<Row> read(const std::string& key) = 0;
  [[nodiscard]] virtual std::unique_ptr<Session> lock(const std::string& key,
                                                      Deadline deadline) = 0;
  /// In any order.
  [[nodiscard]] virtual std::vector<std::string> list(const std::string& prefix) = 0;

  /// While it lives, changes are noticed.
  class Watch {
   public:
    Watch() = default;
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    virtual ~Watch() = default;
    /// Returns when something may have changed since the last call, or since the watch was made,
    /// and at the deadline.
    virtual void wait(Deadline deadline) = 0;
  };
  [[nodiscard]] virtual std::unique_ptr<Watch> watch() = 0;

  // The one encoding of values, keys and revisions, but for tables of others.
  [[nodiscard]] virtual std::string encode(const Value& value) const;
  /// nullopt: not what `encode` gives.
  [[nodiscard]] virtual std::optional<Value> decode(std::string_view bytes) const;
  /// What the keys of a namespace begin with, that of its parent being `prefix`.
  [[nodiscard]] virtual std::string prefixBelow(const std::string& prefix,
                                                std::string_view name) const;
  /// What a key's value gets when `bytes` are written over `found` (null: over nothing).
  [[nodiscard]] virtual Revision revisionAfter(const Row* found, std::string_view bytes,
                                               Random& random) const;
  /// In front of the name of a namespace, in no key.
  static constexpr char reserved = '\x01';
};

[[nodiscard]] std::unique_ptr<Adapter> openMemory();
[[nodiscard]] std::unique_ptr<Adapter> openFile(const std::string& directory,
                                                const Environment& environment);
[[nodiscard]] std::unique_ptr<Adapter> openSqlite(const std::string& file,
                                                  const DatastoreOptions& options,
                                                  const Environment& environment);
[[nodiscard]] std::unique_ptr<Adapter> openPostgresql(const std::string& address,
                                                      const DatastoreOptions& options);

}  // namespace penstock::state::datastore
