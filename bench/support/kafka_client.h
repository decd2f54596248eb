// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <librdkafka/rdkafka.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace penstock::bench {

/// A bare librdkafka client. A producer's delivery reports go to `delivered`, or are events when
/// there is none.
inline rd_kafka_t* kafkaClient(rd_kafka_type_t type, const std::string& servers,
                               const std::vector<std::pair<const char*, std::string>>& settings,
                               void (*delivered)(rd_kafka_t*, const rd_kafka_message_t*,
                                                 void*) = nullptr) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  char error[512];
  rd_kafka_conf_set(conf, "bootstrap.servers", servers.c_str(), error, sizeof(error));
  for (const auto& [name, value] : settings) {
    if (rd_kafka_conf_set(conf, name, value.c_str(), error, sizeof(error)) != RD_KAFKA_CONF_OK) {
      throw std::runtime_error(error);
    }
  }
  if (delivered != nullptr) {
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
  } else if (type == RD_KAFKA_PRODUCER) {
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
  }
  rd_kafka_t* made = rd_kafka_new(type, conf, error, sizeof(error));
  if (made == nullptr) throw std::runtime_error(error);
  return made;
}

}  // namespace penstock::bench
