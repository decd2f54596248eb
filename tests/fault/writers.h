// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <penstock/state/journal.h>
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "support/sim_environment.h"

namespace penstock::fault {

/// Real processes that write until they are killed, and tell each acknowledged commit over a
/// pipe. Each of eight writers counts its own key up, with a record of the same commit.
inline constexpr int kWriters = 8;
using Numbers = std::array<std::uint32_t, kWriters>;  // of each writer's last commit

struct Acknowledged {
  Numbers written{};  // survives a kill
  Numbers synced{};   // survives power loss
  std::uint64_t total = 0;
  std::uint64_t afterFailure = 0;  // of a writer that had met JournalFailed before
};

state::JournalOptions writerOptions(state::Sharing sharing);

class Writers {
 public:
  /// Exclusive: one process of eight threads. Shared: eight processes. Call without threads of
  /// one's own running, as it forks. A writer whose commit fails ends with an error, or when
  /// `stubborn` tries some more and then keeps the journal open.
  /// `atStart` (may be empty) is called by each process, with its number, before it opens.
  Writers(const std::string& directory, state::Sharing sharing, bool stubborn = false,
          const std::function<void(int process)>& atStart = nullptr);
  ~Writers();  // kills what is left
  Writers(const Writers&) = delete;
  Writers& operator=(const Writers&) = delete;

  /// Reads one acknowledgement. False: no writer is left that writes.
  bool take(Acknowledged& acked);
  /// Reads what has been sent so far. Before a power cut: a sync that is under way when it comes
  /// may succeed without a byte on the disk, and what rests on it would be promised by nobody.
  void takeSent(Acknowledged& acked);
  /// Reads acknowledgements until there are `count` more (0: none), then goes on for a random
  /// instant without reading.
  void letWrite(std::uint64_t count, testsupport::SimRandom& random, Acknowledged& acked);
  /// Kills all, takes the last acknowledgements. Empty, or how a writer ended by itself. With
  /// `mayFail`, ending with an error is expected: the disk went away under it.
  std::string kill(Acknowledged& acked, bool mayFail = false);

  [[nodiscard]] const std::vector<pid_t>& processes() const { return children_; }

 private:
  std::vector<pid_t> children_;
  int acks_ = -1;
};

/// Opens the journal and looks for anything missing, for holes, and for state and records that do
/// not agree. Trims the log when `trim`. Empty: all well. Where it could be read, `found` (may be
/// null) gets how far each writer came.
std::string checkWritten(const std::string& directory, state::Sharing sharing,
                         const Numbers& atLeast, bool trim,
                         std::optional<Numbers>* found = nullptr);

}  // namespace penstock::fault
