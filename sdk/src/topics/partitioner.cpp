// SPDX-License-Identifier: Apache-2.0
#include <penstock/error.h>

#include <cstring>
#include <string>

#include "topics/transport.h"

namespace penstock::topics {
namespace {

/// MurmurHash2 with the seed of Kafka's Java client (Utils.murmur2). Little-endian words.
std::uint32_t murmur2(std::string_view data) {
  constexpr std::uint32_t seed = 0x9747b28c;
  constexpr std::uint32_t m = 0x5bd1e995;
  constexpr int r = 24;
  std::uint32_t h = seed ^ static_cast<std::uint32_t>(data.size());
  std::size_t i = 0;
  for (; i + 4 <= data.size(); i += 4) {
    std::uint32_t k = 0;
    std::memcpy(&k, data.data() + i, 4);
    k *= m;
    k ^= k >> r;
    k *= m;
    h *= m;
    h ^= k;
  }
  if (i < data.size()) {
    for (std::size_t tail = data.size() - i; tail > 0; --tail) {
      const auto byte = static_cast<unsigned char>(data[i + tail - 1]);
      h ^= static_cast<std::uint32_t>(byte) << (8 * (tail - 1));
    }
    h *= m;
  }
  h ^= h >> 13;
  h *= m;
  h ^= h >> 15;
  return h;
}

}  // namespace

PartitionIndex partitionForKey(std::string_view key, std::int32_t partitions) {
  if (partitions <= 0) {
    throw ConfigurationError("choosing one of " + std::to_string(partitions) + " partitions");
  }
  return {static_cast<std::int32_t>((murmur2(key) & 0x7fffffffU) %
                                    static_cast<std::uint32_t>(partitions))};
}

}  // namespace penstock::topics
