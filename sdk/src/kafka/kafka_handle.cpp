// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_handle.h"

#include <penstock/error.h>
#include <penstock/kafka_error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>

#include "topics/transport.h"

namespace penstock::kafka {
namespace {

constexpr int recommendedVersion = 0x020a00ff;  // 2.10.0: what older ones do wrong is in K1

void onLog(const rd_kafka_t* client, int level, const char* facility, const char* text) {
  // Settings are shared by consumers and producers, so that each ignores some.
  if (std::strcmp(facility, "CONFWARN") == 0) return;
  LogLevel ours = LogLevel::Debug;
  if (level <= 3) {
    ours = LogLevel::Error;
  } else if (level == 4) {
    ours = LogLevel::Warning;
  } else if (level <= 6) {
    ours = LogLevel::Info;
  }
  if (!logEnabled(ours)) return;
  log(ours, "kafka", text,
      {{"client", client != nullptr ? rd_kafka_name(client) : ""}, {"facility", facility}});
}

/// The same news comes through the log; what matters comes back from the call it concerns.
void onError(rd_kafka_t* client, int error, const char* reason, void*) {
  const auto code = static_cast<rd_kafka_resp_err_t>(error);
  const bool fatal = code == RD_KAFKA_RESP_ERR__FATAL;
  log(fatal ? LogLevel::Error : LogLevel::Debug, "kafka", reason,
      {{"client", rd_kafka_name(client)}, {"error", rd_kafka_err2name(code)}});
}

void logVersionOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (rd_kafka_version() >= recommendedVersion) {
      log(LogLevel::Info, "kafka", "using librdkafka", {{"version", rd_kafka_version_str()}});
    } else {
      log(LogLevel::Info, "kafka", "using librdkafka",
          {{"version", rd_kafka_version_str()}, {"recommended", "2.10"}});
    }
  });
}

void set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  char reason[512];
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), reason, sizeof(reason)) !=
      RD_KAFKA_CONF_OK) {
    throw ConfigurationError("Kafka setting '" + name + "': " + reason);
  }
}

bool unreachable(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
      return true;
    default:
      return false;
  }
}

bool passing(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
      return true;
    default:
      return false;
  }
}

ErrorCode codeOf(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__DESTROY:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
    case RD_KAFKA_RESP_ERR_INVALID_TXN_STATE:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
      return ErrorCode::RestartTask;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return ErrorCode::FixData;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
      return ErrorCode::FixConfiguration;
    default:
      return ErrorCode::Retry;
  }
}

}  // namespace

PartitionList partitionList(const std::vector<TopicPartition>& partitions) {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (const TopicPartition& partition : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(),
                                      partition.partition.value);
  }
  return list;
}

PartitionList partitionList(const std::map<TopicPartition, Offset>& positions) {
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(positions.size())));
  for (const auto& [partition, offset] : positions) {
    rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(),
                                      partition.partition.value)
        ->offset = offset.value;
  }
  return list;
}

TopicPartition partitionOf(const rd_kafka_topic_partition_t& partition) {
  return {partition.topic, {partition.partition}};
}

std::string nameOf(const TopicPartition& partition) {
  return "topic '" + partition.topic + "' partition " + std::to_string(partition.partition.value);
}

std::exception_ptr kafkaError(rd_kafka_resp_err_t error, const std::string& doing,
                              const std::string& detail) {
  std::string message = doing + ": " + (detail.empty() ? rd_kafka_err2str(error) : detail) + " (" +
                        rd_kafka_err2name(error) + ")";
  switch (error) {
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
      return std::make_exception_ptr(
          state::Fenced(message + "; the group has given the partitions to other members"));
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
      message +=
          "; another process is in the group under the same identity (group.instance.id), "
          "as a copy of a state directory would be: let one of them run";
      break;
    default:
      break;
  }
  if (unreachable(error)) {
    message += "; is a broker running at this address?";
    return std::make_exception_ptr(BrokerUnreachable(error, message));
  }
  return std::make_exception_ptr(KafkaError(codeOf(error), error, message));
}

void throwKafka(rd_kafka_resp_err_t error, const std::string& doing, const std::string& detail) {
  std::rethrow_exception(kafkaError(error, doing, detail));
}

void check(rd_kafka_resp_err_t error, const std::string& doing) {
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) throwKafka(error, doing);
}

rd_kafka_resp_err_t askAgain(milliseconds timeout,
                             const std::function<rd_kafka_resp_err_t(milliseconds)>& question) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + timeout;
  milliseconds left = timeout;
  while (true) {
    const auto answer = question(left);
    left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
    if (!passing(answer) || left <= milliseconds(0)) return answer;
    std::this_thread::sleep_for(std::min(left, milliseconds(10)));
  }
}

rd_kafka_resp_err_t firstError(const rd_kafka_topic_partition_list_t& list) {
  for (int i = 0; i < list.cnt; ++i) {
    if (list.elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) return list.elems[i].err;
  }
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

int milliCount(milliseconds timeout) {
  return static_cast<int>(std::clamp<std::int64_t>(timeout.count(), 0, 3600000));
}

Client::Client(rd_kafka_type_t type, const ClientSettings& settings, Rebalance rebalance)
    : rebalance_(std::move(rebalance)), servers_(settings.servers) {
  connect(type, settings);
}

Client::Client(const ClientSettings& settings, Delivered delivered)
    : delivered_(std::move(delivered)), servers_(settings.servers) {
  connect(RD_KAFKA_PRODUCER, settings);
}

void Client::connect(rd_kafka_type_t type, const ClientSettings& settings) {
  if (const auto group = settings.values.find("group.id"); group != settings.values.end()) {
    group_ = group->second;
  }
  logVersionOnce();
  Conf conf(rd_kafka_conf_new());
  set(conf.get(), "bootstrap.servers", settings.servers);
  set(conf.get(), "client.id", "penstock");
  for (const auto& [name, value] : settings.values) set(conf.get(), name, value);
  rd_kafka_conf_set_opaque(conf.get(), this);
  rd_kafka_conf_set_log_cb(conf.get(), onLog);
  // Nobody polls a client that only asks questions: its events would pile up.
  if (type == RD_KAFKA_PRODUCER || rebalance_) rd_kafka_conf_set_error_cb(conf.get(), onError);
  if (delivered_) {
    rd_kafka_conf_set_dr_msg_cb(conf.get(), onDelivery);
    rd_kafka_conf_set_closesocket_cb(conf.get(), onClose);
  } else if (type == RD_KAFKA_PRODUCER) {
    rd_kafka_conf_set_events(conf.get(), RD_KAFKA_EVENT_DR);
  } else if (rebalance_) {
    rd_kafka_conf_set_rebalance_cb(conf.get(), onRebalance);
  }
  char reason[512];
  client_ = rd_kafka_new(type, conf.get(), reason, sizeof(reason));
  if (client_ == nullptr) {
    throw ConfigurationError("making a Kafka client for " + settings.servers + ": " + reason);
  }
  static_cast<void>(conf.release());  // it belongs to the client now
  if (rebalance_) rd_kafka_poll_set_consumer(client_);
}

Client Client::ofGroup(const TransportSettings& settings, const std::string& group) {
  ClientSettings asking{settings.servers, settings.values};
  asking.values["group.id"] = group;
  return Client(RD_KAFKA_CONSUMER, asking);
}

Client::~Client() {
  // Consumers have left their group by then, or never will: their time-out tells the others.
  rd_kafka_destroy_flags(client_, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

void Client::onRebalance(rd_kafka_t*, rd_kafka_resp_err_t event,
                         rd_kafka_topic_partition_list_t* partitions, void* self) {
  static_cast<Client*>(self)->rebalance_(event, partitions);
}

void Client::onDelivery(rd_kafka_t*, const rd_kafka_message_t* message, void* self) {
  static_cast<Client*>(self)->delivered_(*message);
}

int Client::onClose(int socket, void* self) {
  ++static_cast<Client*>(self)->connectionsLost_;
  return ::close(socket);
}

rd_kafka_resp_err_t Client::causeOf(rd_kafka_resp_err_t error) const {
  if (error != RD_KAFKA_RESP_ERR__FATAL) return error;
  char reason[8];
  const auto cause = rd_kafka_fatal_error(client_, reason, sizeof(reason));
  return cause == RD_KAFKA_RESP_ERR_NO_ERROR ? error : cause;
}

std::int32_t Client::partitionsOf(const std::string& topic, milliseconds timeout) {
  TopicHandle handle(rd_kafka_topic_new(client_, topic.c_str(), nullptr));
  const rd_kafka_metadata_t* raw = nullptr;
  check(rd_kafka_metadata(client_, 0, handle.get(), &raw, static_cast<int>(timeout.count())),
        "asking " + servers_ + " for topic '" + topic + "'");
  const Metadata metadata(raw);
  const rd_kafka_metadata_topic& found = metadata->topics[0];
  if (found.err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) return -1;
  if (found.err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) {
    check(found.err, "asking " + servers_ + " for topic '" + topic + "'");
  }
  return found.partition_cnt;
}

std::string Client::clusterId(milliseconds timeout) {
  char* raw = rd_kafka_clusterid(client_, milliCount(timeout));
  if (raw == nullptr) {
    throwKafka(RD_KAFKA_RESP_ERR__TIMED_OUT, "asking " + servers_ + " for its cluster id");
  }
  std::string id = raw;
  rd_kafka_mem_free(client_, raw);
  return id;
}

Offset Client::end(const TopicPartition& partition, milliseconds timeout) {
  return offsetsFor({{partition, RD_KAFKA_OFFSET_END}}, timeout).at(partition);
}

std::map<TopicPartition, Offset> Client::offsetsFor(
    const std::map<TopicPartition, std::int64_t>& wanted, milliseconds timeout) {
  std::map<TopicPartition, Offset> result;
  if (wanted.empty()) return result;
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(wanted.size())));
  for (const auto& [partition, time] : wanted) {
    rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(),
                                      partition.partition.value);
  }
  const std::string doing = "asking " + servers_ + " for offsets of ";
  TopicPartition asked = wanted.begin()->first;
  const auto failure = askAgain(timeout, [&](milliseconds left) {
    int i = 0;
    for (const auto& [partition, time] : wanted) list->elems[i++].offset = time;
    const auto whole =
        rd_kafka_offsets_for_times(client_, list.get(), static_cast<int>(left.count()));
    if (whole != RD_KAFKA_RESP_ERR_NO_ERROR) return whole;
    for (i = 0; i < list->cnt; ++i) {
      if (list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      asked = partitionOf(list->elems[i]);
      return list->elems[i].err;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
  });
  check(failure, doing + nameOf(asked));
  std::map<TopicPartition, std::int64_t> beyond;  // no record that young
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& entry = list->elems[i];
    const TopicPartition partition = partitionOf(entry);
    if (entry.offset >= 0) {
      result[partition] = Offset{entry.offset};
    } else if (wanted.at(partition) == RD_KAFKA_OFFSET_END) {
      throwKafka(RD_KAFKA_RESP_ERR__STATE, doing + nameOf(partition));
    } else {
      beyond[partition] = RD_KAFKA_OFFSET_END;
    }
  }
  result.merge(offsetsFor(beyond, timeout));
  return result;
}

std::map<TopicPartition, Committed> Client::committed(const std::vector<TopicPartition>& partitions,
                                                      milliseconds timeout) {
  std::map<TopicPartition, Committed> result;
  if (partitions.empty()) return result;
  const std::string doing = "asking for committed positions of group '" + group_ + "'";
  const PartitionList list = partitionList(partitions);
  const auto failure = askAgain(timeout, [&](milliseconds left) {
    const auto whole = rd_kafka_committed(client_, list.get(), milliCount(left));
    return whole != RD_KAFKA_RESP_ERR_NO_ERROR ? whole : firstError(*list);
  });
  check(failure, doing);
  for (int i = 0; i < list->cnt; ++i) {
    const rd_kafka_topic_partition_t& entry = list->elems[i];
    if (entry.offset < 0) continue;
    result[partitionOf(entry)] = {Offset{entry.offset},
                                  {static_cast<const char*>(entry.metadata), entry.metadata_size}};
  }
  return result;
}

}  // namespace penstock::kafka
