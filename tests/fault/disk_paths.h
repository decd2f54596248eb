// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/journal.h>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "fault/content.h"

namespace penstock::fault {

/// What of a journal asks for space of its own.
enum class DiskPath : std::uint8_t { Frames, Rollover, Snapshot, Archive, Blob, Page, Claims };
inline constexpr std::array<DiskPath, 7> kDiskPaths{
    DiskPath::Frames, DiskPath::Rollover, DiskPath::Snapshot, DiskPath::Archive,
    DiskPath::Blob,   DiskPath::Page,     DiskPath::Claims};
std::string_view nameOf(DiskPath path);

/// A full disk, made and taken away by the caller, met on one path: each call does its work or
/// throws DiskFull, and what it did is known.
class DiskPathTrial {
 public:
  DiskPathTrial(std::string directory, DiskPath path, std::uint64_t seed,
                const state::Environment& environment);

  /// With space: opens the directory and writes what the path needs to be taken.
  void prepare();
  /// Takes the path. Calls that met DiskFull are counted, any other error is passed on.
  void take();
  /// The same with space again: nothing may fail, nobody opened anything anew.
  void resume();
  /// Closes and opens, with or without space; DiskFull is counted.
  void reopen();
  void close() { journal_.reset(); }
  [[nodiscard]] bool opened() const { return journal_ != nullptr; }

  /// Empty when the journal holds what was told to be done, no more and no less.
  [[nodiscard]] std::string wrong() const;
  [[nodiscard]] const Content& expected() const { return expected_; }
  [[nodiscard]] const state::JournalOptions& options() const { return options_; }
  [[nodiscard]] int rejected() const { return rejected_; }
  [[nodiscard]] int done() const { return done_; }

 private:
  bool attempt(const std::function<void()>& call);
  void put(const std::string& key, std::size_t bytes, std::size_t recordBytes);
  void act(int number);

  const std::string directory_;
  const DiskPath path_;
  const std::uint64_t seed_;
  const state::Environment& environment_;
  state::JournalOptions options_;
  std::shared_ptr<state::Journal> journal_;
  Content expected_;
  int acts_ = 0;
  int rejected_ = 0;
  int done_ = 0;
};

}  // namespace penstock::fault
