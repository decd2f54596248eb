// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock::fault {

/// The n-th allocation with operator new fails, once or with all that follow. It replaces the
/// global operators, so it has a program of its own. What malloc gives others is not counted.
///
/// Threads: arm and disarm from one; a thread is counted only within Counted, or, when armed for
/// every thread, everywhere but within Exempt.
class FailingNew {
 public:
  static void arm(std::uint64_t nth, bool always, bool everyThread = false);
  static void disarm();
  /// Whether one has failed since it was armed.
  [[nodiscard]] static bool hit();
  /// How many were counted since it was armed, none having failed.
  [[nodiscard]] static std::uint64_t counted();

  /// Allocations of this thread are counted while it lives: it is about the code under test.
  class Counted {
   public:
    Counted();
    ~Counted();
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

   private:
    int before_;
  };
  /// They are not: it is about the test's own code, called from within.
  class Exempt {
   public:
    Exempt();
    ~Exempt();
    Exempt(const Exempt&) = delete;
    Exempt& operator=(const Exempt&) = delete;

   private:
    int before_;
  };
};

}  // namespace penstock::fault
