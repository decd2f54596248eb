// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_settings.h"

#include <penstock/error.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

namespace penstock::kafka {
namespace {

struct Rule {
  std::set<std::string_view> allowed;  // empty: the setting is not the user's at all
  std::string_view why;
};

constexpr std::string_view positionsAreOurs =
    "positions are committed with what was made of the records, never by themselves";
constexpr std::string_view noLoss = "records could be lost, or written twice or out of order";

const std::map<std::string_view, Rule>& rules() {
  static const std::map<std::string_view, Rule> table = {
      {"acks", {{"all", "-1"}, noLoss}},
      {"auto.commit.enable", {{"false"}, positionsAreOurs}},
      {"auto.offset.reset", {{}, "ConsumerOptions::offsetReset says where to begin"}},
      {"bootstrap.servers", {{}, "the brokers are in the address"}},
      {"enable.auto.commit", {{"false"}, positionsAreOurs}},
      {"enable.auto.offset.store", {{"false"}, positionsAreOurs}},
      {"enable.idempotence", {{"true"}, noLoss}},
      {"enable.partition.eof", {{"true"}, "positions behind control records are known by it"}},
      {"group.id", {{}, "ConsumerOptions::group names the group"}},
      {"group.protocol", {{"classic"}, "partitions are assigned by the classic protocol"}},
      {"metadata.broker.list", {{}, "the brokers are in the address"}},
      {"partition.assignment.strategy",
       {{"range", "roundrobin", "range,roundrobin", "roundrobin,range"},
        "a commit during a cooperative rebalance loses the assignment in librdkafka before 2.10, "
        "so that only the eager assignors are used"}},
      {"partitioner",
       {{"murmur2_random", "murmur2"},
        "keys go to the partitions where Kafka's Java client puts them"}},
      {"request.required.acks", {{"all", "-1"}, noLoss}},
      {"socket.max.fails",
       {{"1"}, "a request that is sent again on the same connection may be answered twice"}},
      {"transactional.id", {{}, "transactions are the runtime's"}},
  };
  return table;
}

std::chrono::milliseconds parseTimeout(const std::string& text) {
  long ms = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, ms);
  if (parsed.ec != std::errc{} || parsed.ptr != end || ms < 1 || ms > 3600000) {
    throw ConfigurationError("setting 'penstock.timeout.ms' is '" + text +
                             "'; expected milliseconds from 1 to 3600000");
  }
  return std::chrono::milliseconds(ms);
}

}  // namespace

void refuseContradictions(const SettingMap& settings) {
  for (const auto& [name, value] : settings) {
    const auto found = rules().find(name);
    if (found == rules().end()) continue;
    const Rule& rule = found->second;
    std::string plain = value;
    plain.erase(std::remove(plain.begin(), plain.end(), ' '), plain.end());
    if (rule.allowed.contains(plain)) continue;
    std::string message = "Kafka setting '" + name + "' cannot be '" + value + "' here: ";
    message += rule.why;
    if (!rule.allowed.empty()) {
      message += "; leave it out, or set it to ";
      message += *rule.allowed.begin();
    }
    throw ConfigurationError(message);
  }
}

TransportSettings parseSettings(const std::string& servers, const SettingMap& settings) {
  TransportSettings result;
  result.servers = servers;
  for (const auto& [name, value] : settings) {
    if (name.starts_with("file.")) continue;
    if (name == "penstock.timeout.ms") {
      result.timeout = parseTimeout(value);
    } else {
      result.values.emplace(name, value);
    }
  }
  refuseContradictions(result.values);
  return result;
}

}  // namespace penstock::kafka
