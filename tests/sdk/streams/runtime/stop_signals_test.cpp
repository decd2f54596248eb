// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/stop_signals.h"

#include <gtest/gtest.h>

#include <csignal>

namespace penstock::streams {
namespace {

volatile std::sig_atomic_t reachedTheProgram = 0;

/// The program's own handler, as it was before.
class OwnHandler {
 public:
  explicit OwnHandler(int signal) : signal_(signal) {
    reachedTheProgram = 0;
    before_ = std::signal(signal, [](int) { reachedTheProgram = 1; });
  }
  ~OwnHandler() { std::signal(signal_, before_); }
  OwnHandler(const OwnHandler&) = delete;
  OwnHandler& operator=(const OwnHandler&) = delete;

 private:
  int signal_;
  void (*before_)(int);
};

TEST(StopSignalsTest, SeesTermAndInt) {
  for (const int signal : {SIGTERM, SIGINT}) {
    const OwnHandler own(signal);
    const StopSignals signals;
    EXPECT_EQ(signals.received(), 0);
    std::raise(signal);
    EXPECT_EQ(signals.received(), signal);
    EXPECT_EQ(reachedTheProgram, 0);
  }
}

TEST(StopSignalsTest, SecondSignalReachesTheProgramsOwnHandler) {
  const OwnHandler own(SIGTERM);
  const StopSignals signals;
  std::raise(SIGTERM);
  std::raise(SIGTERM);
  EXPECT_EQ(reachedTheProgram, 1);
}

TEST(StopSignalsTest, AreOnlyThoseSinceItWasMade) {
  const OwnHandler own(SIGTERM);
  {
    const StopSignals signals;
    std::raise(SIGTERM);
  }
  const StopSignals signals;
  EXPECT_EQ(signals.received(), 0);
  std::raise(SIGTERM);
  EXPECT_EQ(signals.received(), SIGTERM);
}

TEST(StopSignalsTest, HandlersAreAsBeforeWhenItIsGone) {
  const OwnHandler own(SIGINT);
  { const StopSignals signals; }
  std::raise(SIGINT);
  EXPECT_EQ(reachedTheProgram, 1);
}

}  // namespace
}  // namespace penstock::streams
