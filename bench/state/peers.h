// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::bench {

using Keys = std::span<const std::string>;

/// Ends the benchmark, saying `what`, unless it holds.
inline void require(bool holds, std::string_view what) {
  if (!holds) throw std::runtime_error(std::string(what));
}

/// One of the systems compared: keys with values, and counters, which are values of 8 bytes; an
/// absent counter is 0. Unsynced writes survive the process in all of them, power loss in none.
///
/// Threads: `put` from any thread where `threads()`; else owned by one.
class Peer {
 public:
  Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  virtual ~Peer() = default;
  virtual void open(const std::string& directory) = 0;
  virtual void close() = 0;
  /// Adds one to each key, all in one atomic batch.
  virtual void addOne(Keys keys, bool sync) = 0;
  virtual std::int64_t sum(Keys keys) = 0;
  virtual void put(const std::string& key, std::string_view value, bool sync) = 0;
  /// False: the key is absent.
  virtual bool get(const std::string& key, std::string& value) = 0;
  /// Reads up to `count` values in order of their keys, the first one's being >= `from`. Returns
  /// how many there were.
  virtual std::size_t scan(const std::string& from, std::size_t count) = 0;
  /// Synced puts that wait together; false: the system has no such calls.
  virtual bool putPipelined(Keys /*keys*/, std::string_view /*value*/) { return false; }
  [[nodiscard]] virtual bool threads() const { return true; }
};

/// A system by name.
struct NamedPeer {
  std::string name;
  std::unique_ptr<Peer> peer;
};

/// Penstock first, then those that were installed when this was built, and last a sketch: an index
/// in memory and a log that is only appended to. It shows the limit; it is no store: it has no
/// snapshots, no cleaning, and takes damage for the end.
std::vector<NamedPeer> allPeers();
/// Penstock, opened so that other processes may share the directory.
NamedPeer sharedStorage();
/// One file for each key: written beside it, synced when asked for, renamed.
NamedPeer filePerKey();

}  // namespace penstock::bench
