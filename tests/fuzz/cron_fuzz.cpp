// SPDX-License-Identifier: Apache-2.0

// Any text as a line of cron: it is refused, or names whole minutes that come one after the other.
// Built and run by scripts/fuzz.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "penstock/state/cron.h"
#include "penstock/state/errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const penstock::state::CronSchedule schedule(
        std::string_view(reinterpret_cast<const char*>(data), size));
    for (const std::int64_t at : {-1LL, 1'767'225'600'000LL, 4'102'444'799'999LL}) {
      const std::int64_t next = schedule.next(at);
      if (next <= at || next % 60'000 != 0 || schedule.next(next - 1) != next) std::abort();
    }
  } catch (const penstock::state::InvalidArgument&) {
  }
  return 0;
}
