// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "streams/runtime/file_members.h"

namespace penstock::streams {
namespace {

TEST(TaskQuotaTest, SharesAddUpAndDifferByAtMostOne) {
  for (std::size_t members = 1; members <= 9; ++members) {
    for (std::int32_t partitions = 0; partitions <= 20; ++partitions) {
      for (std::int32_t subtopology = 0; subtopology < 12; ++subtopology) {
        std::int32_t sum = 0;
        std::int32_t least = partitions;
        std::int32_t most = 0;
        for (std::size_t rank = 0; rank < members; ++rank) {
          const std::int32_t quota = taskQuota(rank, members, subtopology, partitions);
          sum += quota;
          least = std::min(least, quota);
          most = std::max(most, quota);
        }
        ASSERT_EQ(sum, partitions) << members << " members, sub-topology " << subtopology;
        ASSERT_LE(most - least, 1) << members << " members, " << partitions << " partitions";
      }
    }
  }
}

TEST(TaskQuotaTest, WhoGetsOneMoreGoesRoundWithTheSubtopology) {
  std::vector<std::int32_t> sums(3);
  for (std::int32_t subtopology = 0; subtopology < 3; ++subtopology) {
    for (std::size_t rank = 0; rank < 3; ++rank) {
      sums[rank] += taskQuota(rank, 3, subtopology, 4);
    }
  }
  EXPECT_EQ(sums, (std::vector<std::int32_t>{4, 4, 4}));
}

}  // namespace
}  // namespace penstock::streams
