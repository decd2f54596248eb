// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace penstock::state {

/// What a store's changes in memory lie over: its content on disk as of one sequence. Each engine
/// has its own kind. Does not change any more.
///
/// Threads: safe from any thread.
/// Errors: Corruption naming the file.
class StoreBase {
 public:
  StoreBase() = default;
  StoreBase(const StoreBase&) = delete;
  StoreBase& operator=(const StoreBase&) = delete;
  virtual ~StoreBase() = default;

  /// `hash` is hash64(key). `value` points into `scratch`, or to what stays while this lives.
  virtual bool find(std::string_view key, std::uint64_t hash, std::string& scratch,
                    std::string_view& value) const = 0;
  [[nodiscard]] virtual std::uint64_t entries() const = 0;
  [[nodiscard]] virtual std::uint64_t covers() const noexcept = 0;
  [[nodiscard]] virtual std::size_t memoryBytes() const noexcept = 0;

  /// Walks the entries in order of keys.
  ///
  /// Threads: owned by one thread.
  class Cursor {
   public:
    Cursor() = default;
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;
    virtual ~Cursor() = default;
    [[nodiscard]] virtual bool valid() = 0;
    [[nodiscard]] virtual std::string_view key() = 0;
    [[nodiscard]] virtual std::string_view value() = 0;
    /// Whether key and value stay while the base lives; else until `next`.
    [[nodiscard]] virtual bool stay() = 0;
    virtual void next() = 0;
  };
  /// At the first key that is not before `from`.
  [[nodiscard]] virtual std::unique_ptr<Cursor> cursor(std::string_view from) const = 0;

  /// Makes `find` quick where much was read and there is memory for it.
  virtual void quicken() const {}
  struct Scrubbed {
    std::uint64_t bytes = 0;
    std::uint64_t damaged = 0;  // blocks
  };
  /// Reads the next blocks, up to about `bytes` of them, from the disk and verifies them; nothing
  /// when all had their turn in this `pass`. By one thread.
  virtual Scrubbed scrub(std::uint64_t /*bytes*/, std::uint64_t /*pass*/) const { return {}; }
};

}  // namespace penstock::state
