// SPDX-License-Identifier: Apache-2.0
#include "fail_points.h"

#ifdef PENSTOCK_FAIL_POINTS
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace penstock {
namespace {

struct Chosen {
  std::string name;
  int left = 0;
  int signal = SIGKILL;

  Chosen() {
    const char* text = std::getenv("PENSTOCK_FAIL_POINT");
    if (text == nullptr) return;
    name = text;
    const auto colon = name.find(':');
    left = std::atoi(name.substr(colon + 1).c_str());
    if (name.ends_with(":stop")) signal = SIGSTOP;
    name.resize(colon);
  }
};

}  // namespace

void failPoint(const char* name) {
  static const Chosen chosen;
  static std::atomic<int> left{chosen.left};
  if (chosen.name == name && --left == 0) ::kill(::getpid(), chosen.signal);
}

bool planted(Planted bug) {
  static const int chosen = [] {
    const char* text = std::getenv("PENSTOCK_PLANTED_BUG");
    return text == nullptr ? 0 : std::atoi(text);
  }();
  return chosen == static_cast<int>(bug);
}

}  // namespace penstock
#endif
