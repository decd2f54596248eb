// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace penstock::fault {

/// Counts the states that a row tried and keeps the first of what was wrong: a broken journal
/// breaks ten thousand states, and one of them is enough to read.
class Violations {
 public:
  explicit Violations(std::string row) : row_(std::move(row)) {}
  ~Violations() {
    std::printf("%s: %llu states, %llu violations\n", row_.c_str(),
                static_cast<unsigned long long>(states_), static_cast<unsigned long long>(count_));
  }
  Violations(const Violations&) = delete;
  Violations& operator=(const Violations&) = delete;

  void state() { ++states_; }
  /// `where` has to hold the seed and whatever else finds the state again.
  void add(const std::string& where, const std::string& what) {
    if (++count_ <= 5) ADD_FAILURE() << row_ << ": " << where << ": " << what;
  }
  [[nodiscard]] std::uint64_t states() const { return states_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] bool enough() const { return count_ >= 5; }

 private:
  const std::string row_;
  std::uint64_t states_ = 0;
  std::uint64_t count_ = 0;
};

}  // namespace penstock::fault
