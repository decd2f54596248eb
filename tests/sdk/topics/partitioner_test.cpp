// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <penstock/error.h>

#include <cstdint>
#include <limits>
#include <string>

#include "topics/transport.h"

namespace penstock::topics {
namespace {

/// Vectors of Kafka's own UtilsTest.testMurmur2 (Java, signed).
TEST(Partitioner, agreesWithKafkasJavaClient) {
  const struct {
    std::string key;
    std::int32_t hash;
  } vectors[] = {
      {"21", -973932308},
      {"foobar", -790332482},
      {"a-little-bit-long-string", -985981536},
      {"a-little-bit-longer-string", -1486304829},
      {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
      {"abc", 479470107},
  };
  for (const auto& vector : vectors) {
    const std::int32_t positive = vector.hash & 0x7fffffff;
    EXPECT_EQ(partitionForKey(vector.key, std::numeric_limits<std::int32_t>::max()).value, positive)
        << vector.key;
    EXPECT_EQ(partitionForKey(vector.key, 7).value, positive % 7) << vector.key;
    EXPECT_EQ(partitionForKey(vector.key, 1).value, 0) << vector.key;
  }
}

TEST(Partitioner, takesAnyBytes) {
  const std::string zeros(5, '\0');
  const std::string high = "\xff\xfe\x80";
  for (const std::string& key : {std::string(), zeros, high}) {
    const PartitionIndex partition = partitionForKey(key, 12);
    EXPECT_GE(partition.value, 0);
    EXPECT_LT(partition.value, 12);
  }
}

TEST(Partitioner, refusesNoPartitions) {
  EXPECT_THROW(static_cast<void>(partitionForKey("a", 0)), ConfigurationError);
  EXPECT_THROW(static_cast<void>(partitionForKey("a", -3)), ConfigurationError);
}

}  // namespace
}  // namespace penstock::topics
