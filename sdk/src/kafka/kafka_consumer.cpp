// SPDX-License-Identifier: Apache-2.0
#include "kafka/kafka_consumer.h"

#include <penstock/error.h>
#include <penstock/kafka_error.h>
#include <penstock/log.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace penstock::kafka {
namespace {

// librdkafka cannot read without a group id. Nothing is ever stored under this one.
constexpr const char* noGroup = "penstock-no-group";

ClientSettings clientSettings(const TransportSettings& settings, const ConsumerOptions& options) {
  refuseContradictions(options.extra);
  ClientSettings result{settings.servers, settings.values};
  for (const auto& [name, value] : options.extra) result.values[name] = value;
  result.values.emplace("isolation.level", "read_committed");
  result.values.emplace("partition.assignment.strategy", "range");
  result.values["group.id"] = options.group.empty() ? noGroup : options.group;
  result.values["enable.auto.commit"] = "false";
  result.values["enable.auto.offset.store"] = "false";
  result.values["auto.offset.reset"] = "error";
  result.values["enable.partition.eof"] = "true";
  return result;
}

milliseconds remaining(std::chrono::steady_clock::time_point deadline) {
  using Clock = std::chrono::steady_clock;
  return std::chrono::ceil<milliseconds>(
      std::max(deadline - Clock::now(), Clock::duration::zero()));
}

std::vector<TopicPartition> listOf(const std::set<TopicPartition>& partitions) {
  return {partitions.begin(), partitions.end()};
}

}  // namespace

KafkaConsumer::KafkaConsumer(const TransportSettings& settings, const ConsumerOptions& options)
    : settings_(settings), options_(options) {
  topics::checkConsumerOptions(options_);
  connect();
}

void KafkaConsumer::connect() {
  client_ = std::make_shared<Client>(
      RD_KAFKA_CONSUMER, clientSettings(settings_, options_),
      [this](rd_kafka_resp_err_t event, rd_kafka_topic_partition_list_t* partitions) {
        onRebalance(event, *partitions);
      });
  queue_.reset(rd_kafka_queue_get_consumer(client_->get()));
  char value[32] = "300000";
  std::size_t size = sizeof(value);
  rd_kafka_conf_get(rd_kafka_conf(client_->get()), "max.poll.interval.ms", value, &size);
  maxPollInterval_ = milliseconds(std::stol(value));
  const std::lock_guard lock(interruptMutex_);
  closing_ = false;
}

KafkaConsumer::~KafkaConsumer() {
  try {
    close();
  } catch (const std::exception& error) {
    log(LogLevel::Warning, "kafka", "closing a consumer failed", {{"error", error.what()}});
  }
}

Client& KafkaConsumer::open() {
  if (!client_) throw state::Closed("using a Kafka consumer: it was closed; make a new one");
  return *client_;
}

void KafkaConsumer::requireOwned(const TopicPartition& partition, const char* doing) {
  open();
  if (!announced_.contains(partition) && !positions_.contains(partition)) {
    throw ConfigurationError(std::string(doing) + " " + nameOf(partition) +
                             ": it is not assigned to this consumer");
  }
}

void KafkaConsumer::subscribe(const std::vector<std::string>& topics, RebalanceListener listener) {
  open();
  if (options_.group.empty()) {
    throw ConfigurationError(
        "subscribing without a group: name one in ConsumerOptions::group, or "
        "assign partitions");
  }
  if (topics.empty()) throw ConfigurationError("subscribing to no topics");
  PartitionList list(rd_kafka_topic_partition_list_new(static_cast<int>(topics.size())));
  for (const std::string& topic : topics) {
    topics::checkTopicName(topic);
    if (client_->partitionsOf(topic, settings_.timeout) < 0) {
      topics::throwUnknownTopic(topic, settings_.address());
    }
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
  }
  listener_ = std::move(listener);
  check(rd_kafka_subscribe(client_->get(), list.get()), "subscribing as '" + options_.group + "'");
  subscribed_ = true;
}

void KafkaConsumer::assign(const std::vector<TopicPartition>& partitions) {
  open();
  std::map<std::string, std::int32_t> counts;
  for (const TopicPartition& partition : partitions) {
    topics::checkTopicName(partition.topic);
    if (!counts.contains(partition.topic)) {
      counts[partition.topic] = client_->partitionsOf(partition.topic, settings_.timeout);
    }
    const std::int32_t count = counts[partition.topic];
    if (count < 0) topics::throwUnknownTopic(partition.topic, settings_.address());
    if (partition.partition.value < 0 || partition.partition.value >= count) {
      throw ConfigurationError("assigning " + nameOf(partition) + ": the topic has " +
                               std::to_string(count) + " partitions");
    }
  }
  if (std::exchange(subscribed_, false)) {
    check(disconnect(), "leaving group '" + options_.group + "'");
    connect();
  }
  granted_.clear();
  forget();
  announced_.insert(partitions.begin(), partitions.end());
  listenerTold_ = true;  // the listener hears of the group's doings
  if (announced_.empty()) rd_kafka_assign(client_->get(), nullptr);
  // Seeks may follow; what is missing then is found by the first poll. With
  // OffsetReset::Error that poll fails unless they came.
}

std::vector<TopicPartition> KafkaConsumer::assignment() {
  open();
  if (!announced_.empty()) return listOf(announced_);
  std::vector<TopicPartition> result;
  for (const auto& [partition, offset] : positions_) result.push_back(partition);
  return result;
}

void KafkaConsumer::forget() {
  if (client_ && announced_.empty() && !paused_.empty()) {
    // librdkafka keeps a partition paused over revocations and assignments.
    const PartitionList list =
        partitionList(std::vector<TopicPartition>(paused_.begin(), paused_.end()));
    (void)rd_kafka_resume_partitions(client_->get(), list.get());
  }
  announced_.clear();
  listenerTold_ = false;
  seeks_.clear();
  positions_.clear();
  marks_.clear();
  paused_.clear();
  atEnd_.clear();
  runs_.clear();
}

void KafkaConsumer::alsoRead(const std::vector<TopicPartition>& partitions) {
  announced_.insert(partitions.begin(), partitions.end());
}

void KafkaConsumer::announceAgain() {
  open();
  forget();
  // The group must not wait for what may fail again: it may have something new to say by now.
  rd_kafka_assign(client_->get(), nullptr);
  fetch(milliseconds(0));
  announced_ = granted_;
  rd_kafka_queue_yield(queue_.get());
}

void KafkaConsumer::leave() {
  if (!client_) return;
  if (std::exchange(subscribed_, false)) rd_kafka_unsubscribe(client_->get());
  close();
}

// ---- rebalances, on the polling thread, from inside fetch, subscribe's effects and close

void KafkaConsumer::onRebalance(rd_kafka_resp_err_t event,
                                const rd_kafka_topic_partition_list_t& partitions) {
  if (!subscribed_) {  // leaving
    rd_kafka_assign(client_->get(), nullptr);
  } else if (event == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    forget();
    for (int i = 0; i < partitions.cnt; ++i) granted_.insert(partitionOf(partitions.elems[i]));
    announced_ = granted_;
    membership_.reset(rd_kafka_consumer_group_metadata(client_->get()));
    if (announced_.empty()) rd_kafka_assign(client_->get(), nullptr);
  } else {
    onRevoke();
  }
  interrupt();  // so that a waiting poll looks what to do next
}

void KafkaConsumer::onRevoke() {
  runs_.clear();  // not given out: the next owner's
  std::vector<TopicPartition> given;
  for (const auto& [partition, offset] : positions_) given.push_back(partition);
  // A member that left because it polled too late is not always told so.
  const bool lost = late_ || rd_kafka_assignment_lost(client_->get()) != 0;
  const auto& tell = lost ? listener_.lost : listener_.revoked;
  if (!given.empty() && tell) {
    try {
      tell(given);
    } catch (...) {
      listenerError_ = std::current_exception();  // must not pass through librdkafka's frames
    }
  }
  granted_.clear();
  forget();
  rd_kafka_assign(client_->get(), nullptr);
}

void KafkaConsumer::begin() {
  if (announced_.empty()) return;
  if (!std::exchange(listenerTold_, true) && listener_.assigned) {
    listener_.assigned(listOf(announced_));
  }
  std::set<TopicPartition> unknown;
  for (const TopicPartition& partition : announced_) {
    if (!seeks_.contains(partition)) unknown.insert(partition);
  }
  seeks_.merge(beginnings(unknown));
  positions_ = std::exchange(seeks_, {});
  announced_.clear();
  startReading();
}

/// Makes librdkafka read what positions_ says, whatever it did before.
void KafkaConsumer::startReading() {
  const PartitionList list = partitionList(positions_);
  check(rd_kafka_assign(client_->get(), list.get()), "assigning partitions");
  if (!paused_.empty()) {
    const PartitionList paused = partitionList(listOf(paused_));
    check(rd_kafka_pause_partitions(client_->get(), paused.get()), "pausing partitions");
  }
}

/// Where partitions begin that nobody has sought in: committed, else as the options say.
std::map<TopicPartition, Offset> KafkaConsumer::beginnings(
    const std::set<TopicPartition>& partitions) {
  std::map<TopicPartition, Offset> result;
  if (!options_.group.empty()) result = committed(listOf(partitions), settings_.timeout);
  std::map<TopicPartition, std::int64_t> wanted;
  for (const TopicPartition& partition : partitions) {
    if (result.contains(partition)) continue;
    if (options_.offsetReset == OffsetReset::Error) {
      throw state::PositionOutOfRange(
          "reading " + nameOf(partition) + ": " +
          (options_.group.empty() ? "no position was given"
                                  : "group '" + options_.group + "' has no committed position") +
          "; seek, or choose OffsetReset::Earliest or Latest");
    }
    wanted[partition] = options_.offsetReset == OffsetReset::Earliest ? RD_KAFKA_OFFSET_BEGINNING
                                                                      : RD_KAFKA_OFFSET_END;
  }
  result.merge(client_->offsetsFor(wanted, settings_.timeout));
  return result;
}

// ---- reading

bool KafkaConsumer::poll(RecordBatch& batch, milliseconds timeout) {
  open();
  batch.clear();
  const auto deadline = Clock::now() + std::min(timeout, milliseconds(std::chrono::hours(24)));
  while (true) {
    if (listenerError_) std::rethrow_exception(std::exchange(listenerError_, {}));
    begin();
    if (take(batch)) return true;
    fetch(milliseconds(0));
    if (!ready() && announced_.empty() && !listenerError_ && !woken_) {
      fetch(remaining(deadline));
    }
    if (listenerError_ || !announced_.empty()) continue;
    if (take(batch)) return true;
    if (woken_.exchange(false) || Clock::now() >= deadline) return false;
  }
}

/// Takes what is there; with a time, waits for the first message.
void KafkaConsumer::fetch(milliseconds timeout) {
  if (!collecting_) {
    collecting_ = std::make_shared<MessageArray>(client_, options_.batchRecordsMax);
  }
  late_ = polled_ + maxPollInterval_ < Clock::now();
  collect(timeout);
  polled_ = Clock::now();
}

void KafkaConsumer::collect(milliseconds timeout) {
  rd_kafka_message_t** slots = collecting_->data();
  const std::size_t size = collecting_->size();
  std::size_t count = 0;
  if (timeout.count() > 0) {
    // A batch call would wait until the batch is full.
    slots[0] = rd_kafka_consume_queue(queue_.get(), milliCount(timeout));
    if (slots[0] == nullptr) return;
    count = 1;
  }
  if (count < size) {
    const auto more = rd_kafka_consume_batch_queue(queue_.get(), 0, slots + count, size - count);
    if (more > 0) count += static_cast<std::size_t>(more);
  }
  if (count > 0) sort(count);
}

/// Turns what was collected into runs, and leaves collecting_ empty.
void KafkaConsumer::sort(std::size_t count) {
  const std::shared_ptr<MessageArray> messages = std::exchange(collecting_, nullptr);
  messages->keep(count);
  std::size_t first = 0;
  while (first < count) {
    const rd_kafka_message_t& message = (*messages)[first];
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      sortError(message);
      ++first;
      continue;
    }
    std::size_t last = first + 1;
    while (last < count && (*messages)[last].rkt == message.rkt &&
           (*messages)[last].partition == message.partition &&
           (*messages)[last].err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      ++last;
    }
    Run run;
    run.source = {rd_kafka_topic_name(message.rkt), {message.partition}};
    run.messages = messages;
    run.begin = first;
    run.end = last;
    // Collected before a revocation in the same call: positions_ is empty until `begin`.
    if (positions_.contains(run.source)) runs_.push_back(std::move(run));
    first = last;
  }
}

void KafkaConsumer::sortError(const rd_kafka_message_t& message) {
  Run run;
  if (message.rkt != nullptr) {
    run.source = {rd_kafka_topic_name(message.rkt), {message.partition}};
  }
  const char* text = rd_kafka_message_errstr(&message);
  const std::string detail = text != nullptr ? text : "";
  switch (message.err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
      if (!positions_.contains(run.source)) return;
      run.next.value = message.offset;
      break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
      if (!positions_.contains(run.source)) return;
      run.error = std::make_exception_ptr(state::PositionOutOfRange(
          "reading " + nameOf(run.source) + " from offset " +
          std::to_string(positions_[run.source].value) + ": the topic does not hold it (" + detail +
          "); seek decides where to go on"));
      break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      try {
        topics::throwUnknownTopic(run.source.topic, settings_.address());
      } catch (...) {
        run.error = std::current_exception();
      }
      break;
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
      log(LogLevel::Warning, "kafka", "the group took the partitions away: " + detail,
          {{"group", options_.group}});
      return;
    default:
      run.error =
          kafkaError(client_->causeOf(message.err), "reading as '" + options_.group + "'", detail);
      try {
        std::rethrow_exception(run.error);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::Retry && !client_->failed()) {  // it goes on by itself
          log(LogLevel::Warning, "kafka", error.what());
          return;
        }
      }
  }
  runs_.push_back(std::move(run));
}

bool KafkaConsumer::ready() const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [this](const Run& run) { return !paused_.contains(run.source); });
}

/// The first run that is not paused. Ends of partitions on the way move positions only.
bool KafkaConsumer::take(RecordBatch& batch) {
  for (auto it = runs_.begin(); it != runs_.end();) {
    if (paused_.contains(it->source)) {
      ++it;
      continue;
    }
    const Run run = std::move(*it);
    it = runs_.erase(it);
    if (run.error) std::rethrow_exception(run.error);
    if (!run.messages) {
      Offset& position = positions_[run.source];
      position = std::max(position, run.next);
      atEnd_.insert(run.source);
      continue;
    }
    showMessages(run.messages, run.begin, run.end, batch);
    batch.source = run.source;
    positions_[run.source] = batch.next;
    marks_[run.source] = {batch.records.back().offset, hashOf(batch.records.back())};
    if (!atEnd_.empty()) atEnd_.erase(run.source);
    return true;
  }
  return false;
}

void KafkaConsumer::wakeup() {
  woken_ = true;
  interrupt();
}

void KafkaConsumer::interrupt() {
  const std::lock_guard lock(interruptMutex_);
  if (!closing_) rd_kafka_queue_yield(queue_.get());
}

// ---- positions

Offset KafkaConsumer::resolve(const TopicPartition& partition, const SeekTarget& target) {
  if (const Offset* offset = std::get_if<Offset>(&target)) {
    if (offset->value < 0) {
      throw ConfigurationError("seeking " + nameOf(partition) + " to offset " +
                               std::to_string(offset->value) + ": offsets begin with 0");
    }
    return *offset;
  }
  std::int64_t wanted = RD_KAFKA_OFFSET_BEGINNING;
  if (const EventTime* time = std::get_if<EventTime>(&target)) {
    wanted = std::max<std::int64_t>(time->ms, 0);
  } else if (std::holds_alternative<SeekEnd>(target)) {
    wanted = RD_KAFKA_OFFSET_END;
  }
  return client_->offsetsFor({{partition, wanted}}, settings_.timeout).at(partition);
}

void KafkaConsumer::seek(const TopicPartition& partition, const SeekTarget& target) {
  requireOwned(partition, "seeking");
  const Offset offset = resolve(partition, target);
  marks_.erase(partition);
  if (announced_.contains(partition)) {
    seeks_[partition] = offset;
    return;
  }
  std::erase_if(runs_, [&](const Run& run) { return run.source == partition; });
  positions_[partition] = offset;
  atEnd_.erase(partition);
  const PartitionList list = partitionList(std::map<TopicPartition, Offset>{{partition, offset}});
  const RdError failure(
      rd_kafka_seek_partitions(client_->get(), list.get(), milliCount(settings_.timeout)));
  if (!failure && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  // A partition that has stopped (position out of range) or not begun yet cannot be sought in:
  // begin all anew from where they stand, which is behind what was given out.
  runs_.clear();
  startReading();
}

Offset KafkaConsumer::position(const TopicPartition& partition) {
  requireOwned(partition, "asking for the position in");
  if (announced_.contains(partition)) {
    const auto sought = seeks_.find(partition);
    if (sought == seeks_.end()) seeks_.merge(beginnings({partition}));
    return seeks_.at(partition);
  }
  return positions_.at(partition);
}

std::map<TopicPartition, Offset> KafkaConsumer::positions(
    const std::vector<TopicPartition>& partitions) {
  std::set<TopicPartition> unknown;
  for (const TopicPartition& partition : partitions) {
    if (announced_.contains(partition) && !seeks_.contains(partition)) unknown.insert(partition);
  }
  if (!unknown.empty()) seeks_.merge(beginnings(unknown));
  std::map<TopicPartition, Offset> result;
  for (const TopicPartition& partition : partitions) result[partition] = position(partition);
  return result;
}

std::optional<Offset> KafkaConsumer::knownEnd(const TopicPartition& partition) const noexcept {
  if (!client_) return std::nullopt;
  const auto position = positions_.find(partition);
  // Behind an open transaction nobody can read: no lag.
  if (position != positions_.end() && atEnd(partition)) return position->second;
  std::int64_t low = -1;
  std::int64_t high = -1;
  const auto failure = rd_kafka_get_watermark_offsets(client_->get(), partition.topic.c_str(),
                                                      partition.partition.value, &low, &high);
  if (failure != RD_KAFKA_RESP_ERR_NO_ERROR || high < 0) return std::nullopt;
  return Offset{high};
}

// CLUSTER/OFFSET, or CLUSTER/OFFSET/RECORD:HASH when the last record before it is known: the same
// offset in another cluster, or in a topic made anew, is another record.

const std::string& KafkaConsumer::clusterId() {
  if (clusterId_.empty()) {
    char* id = rd_kafka_clusterid(client_->get(), milliCount(settings_.timeout));
    if (id == nullptr) {
      throwKafka(RD_KAFKA_RESP_ERR__TIMED_OUT,
                 "asking " + settings_.servers + " for its cluster id");
    }
    clusterId_ = id;
    rd_kafka_mem_free(client_->get(), id);
  }
  return clusterId_;
}

/// FNV-1a, because it is kept for long: of the timestamp, and of each field its size and begin.
std::uint64_t KafkaConsumer::hashOf(const RecordView& record) {
  constexpr std::size_t bytesMax = 256;  // arbitrary: enough to tell records apart
  std::uint64_t hash = 0xcbf29ce484222325;
  const auto add = [&hash](std::string_view bytes) {
    for (const char byte : bytes) {
      hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
  };
  add(std::to_string(record.timestamp.ms));
  for (const auto& field : {record.key, record.value}) {
    add(field ? "/" + std::to_string(field->size()) + "/" : "-");
    if (field) add(field->substr(0, bytesMax));
  }
  return hash;
}

std::string KafkaConsumer::bookmark(const TopicPartition& partition) {
  const Offset offset = position(partition);
  std::string text = clusterId() + "/" + std::to_string(offset.value);
  if (const auto mark = marks_.find(partition); mark != marks_.end()) {
    text +=
        "/" + std::to_string(mark->second.offset.value) + ":" + std::to_string(mark->second.hash);
  }
  return text;
}

std::optional<KafkaConsumer::Bookmark> KafkaConsumer::parseBookmark(const std::string& text) {
  const char* end = text.data() + text.size();
  const auto take = [end](const char*& at, char before, auto& number) {
    if (at == end || *at != before) return false;
    const auto parsed = std::from_chars(at + 1, end, number);
    at = parsed.ptr;
    return parsed.ec == std::errc{};
  };
  Bookmark result;
  const std::size_t slash = std::min(text.find('/'), text.size());
  result.cluster = text.substr(0, slash);
  const char* at = text.data() + slash;
  if (!take(at, '/', result.offset.value) || result.offset.value < 0) return std::nullopt;
  if (at == end) return result;
  Mark& mark = result.mark.emplace();
  if (!take(at, '/', mark.offset.value) || !take(at, ':', mark.hash)) return std::nullopt;
  if (at != end || mark.offset.value < 0 || mark.offset >= result.offset) return std::nullopt;
  return result;
}

/// Throws unless the record is the one that was read before, or is gone by now.
void KafkaConsumer::requireRecord(const TopicPartition& partition, const Mark& mark) {
  ConsumerOptions options;
  options.extra = options_.extra;
  options.batchRecordsMax = 1;
  KafkaConsumer reader(settings_, options);
  reader.assign({partition});
  reader.seek(partition, mark.offset);
  RecordBatch batch;
  const auto deadline = Clock::now() + settings_.timeout;
  while (!reader.poll(batch, milliseconds(100))) {
    if (reader.position(partition) > mark.offset) return;
    if (Clock::now() < deadline) continue;
    throwKafka(RD_KAFKA_RESP_ERR__TIMED_OUT,
               "reading offset " + std::to_string(mark.offset.value) + " of " + nameOf(partition));
  }
  const RecordView& found = batch.records.front();
  if (found.offset != mark.offset || hashOf(found) == mark.hash) return;
  throw state::PositionOutOfRange("seeking " + nameOf(partition) + ": offset " +
                                  std::to_string(mark.offset.value) +
                                  " is not the record that the bookmark stood behind: the topic "
                                  "is another one of that name");
}

void KafkaConsumer::seekBookmark(const TopicPartition& partition, const std::string& bookmark) {
  requireOwned(partition, "seeking");
  const auto kept = parseBookmark(bookmark);
  if (!kept) {
    throw ConfigurationError("seeking " + nameOf(partition) + ": '" + bookmark +
                             "' is not a bookmark of a Kafka topic");
  }
  const Offset offset = kept->offset;
  if (kept->cluster != clusterId()) {
    throw state::PositionOutOfRange("seeking " + nameOf(partition) + ": bookmark '" + bookmark +
                                    "' is from another cluster than " + clusterId());
  }
  const Offset start = resolve(partition, SeekBegin{});
  const Offset end = resolve(partition, SeekEnd{});
  if (offset < start || offset > end) {
    throw state::PositionOutOfRange(
        "seeking " + nameOf(partition) + " to the kept offset " + std::to_string(offset.value) +
        ": the topic holds [" + std::to_string(start.value) + ", " + std::to_string(end.value) +
        "); records are gone, or the topic is another one of that name");
  }
  if (kept->mark && kept->mark->offset >= start) requireRecord(partition, *kept->mark);
  seek(partition, offset);
  if (kept->mark) marks_[partition] = *kept->mark;
}

// librdkafka 2.0.2 reads again from an old offset when it is told to resume what is not paused.

void KafkaConsumer::pause(const std::vector<TopicPartition>& partitions) {
  std::vector<TopicPartition> changed;
  for (const TopicPartition& partition : partitions) {
    requireOwned(partition, "pausing");
    if (paused_.insert(partition).second) changed.push_back(partition);
  }
  if (changed.empty() || !announced_.empty()) return;  // startReading does it for those
  const PartitionList list = partitionList(changed);
  check(rd_kafka_pause_partitions(client_->get(), list.get()), "pausing partitions");
}

void KafkaConsumer::resume(const std::vector<TopicPartition>& partitions) {
  std::vector<TopicPartition> changed;
  for (const TopicPartition& partition : partitions) {
    requireOwned(partition, "resuming");
    if (paused_.erase(partition) > 0) changed.push_back(partition);
  }
  if (changed.empty() || !announced_.empty()) return;
  const PartitionList list = partitionList(changed);
  check(rd_kafka_resume_partitions(client_->get(), list.get()), "resuming partitions");
}

void KafkaConsumer::commit(const std::map<TopicPartition, Offset>& positions) {
  open();
  if (options_.group.empty()) {
    throw ConfigurationError("committing without a group: name one in ConsumerOptions::group");
  }
  if (positions.empty()) return;
  const std::string doing = "committing positions of group '" + options_.group + "'";
  const PartitionList list = partitionList(positions);
  const auto failure = askAgain(settings_.timeout, [&](milliseconds left) {
    // With a queue of its own the wait is bounded; the plain call waits for the coordinator.
    const Queue answers(rd_kafka_queue_new(client_->get()));
    const auto sent =
        rd_kafka_commit_queue(client_->get(), list.get(), answers.get(), nullptr, nullptr);
    if (sent != RD_KAFKA_RESP_ERR_NO_ERROR) return sent;
    const Event answer(rd_kafka_queue_poll(answers.get(), milliCount(left)));
    if (!answer) return RD_KAFKA_RESP_ERR__TIMED_OUT;
    const auto whole = rd_kafka_event_error(answer.get());
    const auto* stored = rd_kafka_event_topic_partition_list(answer.get());
    if (whole != RD_KAFKA_RESP_ERR_NO_ERROR || stored == nullptr) return whole;
    return firstError(*stored);
  });
  check(client_->causeOf(failure), doing);
}

std::map<TopicPartition, Offset> KafkaConsumer::committed(
    const std::vector<TopicPartition>& partitions, milliseconds timeout) {
  open();
  if (options_.group.empty()) {
    throw ConfigurationError("asking for committed positions without a group");
  }
  std::map<TopicPartition, Offset> result;
  const auto stored = client_->committed(partitions, timeout);
  for (const auto& [partition, at] : stored) result[partition] = at.offset;
  return result;
}

std::map<TopicPartition, Committed> KafkaConsumer::committedByGroup(
    const std::vector<TopicPartition>& partitions) {
  return open().committed(partitions, settings_.timeout);
}

rd_kafka_resp_err_t KafkaConsumer::disconnect() {
  {
    // A yield would end librdkafka's own wait too early, and its destruction would wait for ever.
    const std::lock_guard lock(interruptMutex_);
    closing_ = true;
  }
  // An assignment not taken up keeps librdkafka from leaving.
  if (!announced_.empty()) rd_kafka_assign(client_->get(), nullptr);
  announced_.clear();
  const auto failure = rd_kafka_consumer_close(client_->get());
  forget();
  collecting_.reset();
  queue_.reset();
  client_.reset();  // batches that are still out keep it
  return failure;
}

void KafkaConsumer::close() {
  if (!client_) return;
  const auto failure = disconnect();
  if (listenerError_) std::rethrow_exception(std::exchange(listenerError_, {}));
  check(failure, "closing a consumer of group '" + options_.group + "'");
}

}  // namespace penstock::kafka
