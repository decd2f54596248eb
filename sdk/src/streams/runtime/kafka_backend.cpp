// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/kafka_backend.h"

#include <fmt/format.h>
#include <penstock/error.h>
#include <penstock/log.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <vector>

#include "open_journal.h"
#include "streams/runtime/kafka_streams_worker.h"
#include "streams/topology.h"
#include "topics/transport.h"

namespace penstock::streams {
namespace {

// Asking the group is a round trip; whoever waits for the end asks for every task.
constexpr std::chrono::milliseconds committedAge{50};

constexpr std::string_view topologyKey = "topology";
constexpr std::string_view clusterKey = "cluster";

kafka::TransportSettings settingsOf(const std::string& servers, const ApplicationOptions& options) {
  if (!options.inputAddresses.empty()) {
    throw ConfigurationError(
        fmt::format("application {} on {}: ApplicationOptions::inputAddresses is for files only",
                    options.id, options.broker));
  }
  const auto isolation = options.kafka.find("isolation.level");
  if (isolation != options.kafka.end() && isolation->second != "read_committed") {
    throw ConfigurationError(
        fmt::format("application {} on {}: Kafka setting 'isolation.level' cannot be '{}' here: "
                    "records of transactions that are taken back would be processed; leave it "
                    "out, or set it to read_committed",
                    options.id, options.broker, isolation->second));
  }
  kafka::TransportSettings settings = kafka::parseSettings(servers, options.kafka);
  // A dead owner's open transaction hides what the next one has to read, this long at most.
  const std::string& timeout =
      settings.values.emplace("transaction.timeout.ms", "10000").first->second;
  const auto interval = options.commitInterval.count();
  if (options.guarantee == Guarantee::ExactlyOnce && interval > std::atoll(timeout.c_str()) / 2) {
    throw ConfigurationError(
        fmt::format("application {} on {}: a commitInterval of {} ms does not fit into a Kafka "
                    "transaction, which brokers end after transaction.timeout.ms {}; at most half "
                    "of it does. Commit more often, or set the Kafka setting higher",
                    options.id, options.broker, interval, timeout));
  }
  return settings;
}

/// Records carry event time, however old or wrong: it must neither purge nor refuse them.
TopicConfig internalTopic(std::int32_t partitions, const char* cleanup) {
  const std::string widest = std::to_string(std::numeric_limits<std::int64_t>::max());
  TopicConfig config;
  config.partitions = partitions;
  config.retentionMs = -1;
  config.extra = {{"cleanup.policy", cleanup},
                  {"message.timestamp.before.max.ms", widest},
                  {"message.timestamp.after.max.ms", widest}};
  return config;
}

std::shared_ptr<StreamsContext> contextOf(const std::string& servers,
                                          const ApplicationOptions& options) {
  auto context = std::make_shared<StreamsContext>();
  context->settings = settingsOf(servers, options);
  context->application = options.id;
  context->transactionTimeout = std::chrono::milliseconds(
      std::atoll(context->settings.values.at("transaction.timeout.ms").c_str()));
  context->guarantee = options.guarantee;
  return context;
}

}  // namespace

kafka::TransportSettings StreamsContext::producing() const {
  kafka::TransportSettings result = settings;
  std::string& batch = result.values.emplace("batch.size", "1000000").first->second;
  for (const auto& [topic, most] : batchBytesMax) {
    if (most < std::stoull(batch)) batch = std::to_string(most);
  }
  return result;
}

KafkaBackend::KafkaBackend(const std::string& servers, const ApplicationOptions& options)
    : options_(options),
      context_(contextOf(servers, options)),
      admin_(context_->settings),
      client_(kafka::Client::ofGroup(context_->settings, options.id)) {}

void KafkaBackend::prepare(ApplicationPlan& plan) {
  // Upstream first: a repartition topic has its partitions before its reader asks for them.
  for (SubtopologyPlan& subtopology : plan.subtopologies) {
    if (subtopology.inputs.empty()) {
      throw ConfigurationError("a sub-topology without an input topic");
    }
    subtopology.partitions = prepareInput(subtopology.inputs[0]);
    for (const InputPlan& input : subtopology.inputs) {
      const std::int32_t count = prepareInput(input);
      if (count == subtopology.partitions) continue;
      throw ConfigurationError(fmt::format(
          "topics {} and {} are read together but have {} and {} partitions: records of one key "
          "would not meet. Repartition one of them",
          subtopology.inputs[0].topic, input.topic, subtopology.partitions, count));
    }
    for (const std::size_t output : subtopology.outputs) {
      prepareOutput(subtopology.partitions, plan.outputs[output]);
    }
    const CommitStamp widest{
        ~std::uint64_t{0},
        ~std::uint64_t{0},
        {std::numeric_limits<std::int64_t>::max()},
        {subtopology.stores.size(), Offset{std::numeric_limits<std::int64_t>::max()}}};
    if (encodeStamp(widest).size() > stampBytesMax) {
      throw ConfigurationError(fmt::format(
          "{} stores are used together with topic {}: more than a group keeps positions of. Part "
          "them by a repartition topic",
          subtopology.stores.size(), subtopology.inputs[0].topic));
    }
    for (const StorePlan& store : subtopology.stores) {
      const std::string changelog = changelogTopic(plan.application, store);
      prepareChangelog(changelog, subtopology.partitions);
      context_->batchBytesMax[changelog] = admin_.batchBytesMax(changelog);
    }
  }
  state::JournalOptions journal;
  journal.sharing = state::Sharing::Shared;
  context_->journal = openJournal(options_.stateDirectory + "/" + plan.application, journal);
  context_->groupStore = context_->journal->declareStore("group");
  checkCluster();
  checkTopology(plan);
  plan_ = &plan;
}

std::int32_t KafkaBackend::prepareInput(const InputPlan& input) {
  const std::int32_t count = client_.partitionsOf(input.topic, context_->settings.timeout);
  if (count < 0) topics::throwUnknownTopic(input.topic, context_->settings.address());
  return count;
}

void KafkaBackend::prepareOutput(std::int32_t writerPartitions, OutputPlan& output) {
  const std::int32_t wanted = output.partitions == 0 ? writerPartitions : output.partitions;
  std::int32_t count = client_.partitionsOf(output.topic, context_->settings.timeout);
  if (count < 0) {
    TopicConfig config;
    config.partitions = wanted;
    if (output.repartition) {
      config = internalTopic(wanted, "delete");
      config.extra["segment.bytes"] = "52428800";  // purging frees whole segments only
    }
    createTopic(output.topic, config);
    count = wanted;
  }
  if (output.repartition && wanted != count) {
    throw ConfigurationError(fmt::format(
        "repartition topic {} on {} has {} partitions, the application asks for {}: keys would "
        "change places and miss their state. Ask for {}, or use another application id",
        output.topic, options_.broker, count, wanted, count));
  }
  output.partitions = count;
  try {
    context_->batchBytesMax[output.topic] = admin_.batchBytesMax(output.topic);
  } catch (const KafkaError& error) {
    // Who may write to a topic need not be one who may see its settings.
    if (error.code() != ErrorCode::FixConfiguration) throw;
    log(LogLevel::Info, "kafka", "may not see the largest batch that a topic takes",
        {{"topic", output.topic}, {"error", error.what()}});
  }
}

void KafkaBackend::prepareChangelog(const std::string& topic, std::int32_t partitions) {
  const auto found = admin_.describeTopic(topic);
  if (!found) {
    TopicConfig config = internalTopic(partitions, "compact");
    config.extra["delete.retention.ms"] = std::to_string(tombstonesKept.count());
    config.extra["segment.bytes"] = "104857600";  // the newest one is never compacted
    createTopic(topic, config);
    return;
  }
  if (found->partitions.size() != static_cast<std::size_t>(partitions)) {
    throw ConfigurationError(fmt::format(
        "changelog topic {} on {} has {} partitions, what is read has {}: each task needs one of "
        "its own. Restore what it was, or begin anew under another application id",
        topic, options_.broker, found->partitions.size(), partitions));
  }
  const auto policy = found->config.extra.find("cleanup.policy");
  if (policy == found->config.extra.end() || policy->second != "compact") {
    throw ConfigurationError(fmt::format(
        "changelog topic {} on {} has cleanup.policy {}: it would forget state. Set it to compact",
        topic, options_.broker, policy == found->config.extra.end() ? "delete" : policy->second));
  }
  const auto kept = found->config.extra.find("delete.retention.ms");
  if (kept == found->config.extra.end() ||
      std::atoll(kept->second.c_str()) < tombstonesKept.count()) {
    throw ConfigurationError(fmt::format(
        "changelog topic {} on {} has delete.retention.ms {}: a store that is away for longer "
        "would keep what was erased. Set it to {} or more",
        topic, options_.broker, kept == found->config.extra.end() ? "by default" : kept->second,
        tombstonesKept.count()));
  }
}

void KafkaBackend::createTopic(const std::string& topic, const TopicConfig& config) {
  if (!admin_.createTopic(topic, config)) return;
  log(LogLevel::Info, "kafka", "made a topic",
      {{"topic", topic},
       {"partitions", std::to_string(config.partitions)},
       {"brokers", context_->settings.servers}});
}

/// Positions are numbers in the topics of one cluster.
void KafkaBackend::checkCluster() {
  const std::string now = client_.clusterId(context_->settings.timeout);
  const auto group = context_->journal->store(context_->groupStore);
  std::string before;
  context_->journal->transact(
      [&](state::Commit& commit) {
        if (!group->get(clusterKey, before)) commit.put(context_->groupStore, clusterKey, now);
      },
      state::Durability::Buffered);
  if (before.empty() || before == now) return;
  throw ConfigurationError(fmt::format(
      "the state of application {} in {} belongs to Kafka cluster {}, {} is cluster {}: its "
      "positions mean nothing there. Use another state directory or application id",
      options_.id, context_->journal->directory(), before, options_.broker, now));
}

void KafkaBackend::checkTopology(const ApplicationPlan& plan) {
  std::map<std::string, std::int32_t> counts;
  for (const OutputPlan& output : plan.outputs) counts[output.topic] = output.partitions;
  for (const SubtopologyPlan& subtopology : plan.subtopologies) {
    for (const InputPlan& input : subtopology.inputs) {
      counts[input.topic] = subtopology.partitions;
    }
  }
  const std::string now = plan.fingerprint(counts);
  const auto group = context_->journal->store(context_->groupStore);
  std::string before;
  bool known = false;  // what a topology without anything to remember leaves is empty, but known
  context_->journal->transact(
      [&](state::Commit& commit) {
        known = group->get(topologyKey, before);
        if (!known) commit.put(context_->groupStore, topologyKey, now);
      },
      state::Durability::Buffered);
  if (!known) return;
  const auto difference = explainDifference(before, now);
  if (!difference) return;
  throw ConfigurationError(fmt::format(
      "the topology of application {} no longer fits its state in {}:\n{}\nRestore what it was, "
      "or begin anew under another application id",
      plan.application, context_->journal->directory(), *difference));
}

std::unique_ptr<WorkerBackend> KafkaBackend::worker(const ApplicationPlan& plan, std::size_t) {
  return std::make_unique<KafkaStreamsWorker>(plan, context_);
}

Offset KafkaBackend::end(const InputPlan& input, PartitionIndex partition) {
  return client_.end({input.topic, partition}, context_->settings.timeout);
}

std::optional<Offset> KafkaBackend::committed(const TaskId& task, std::size_t input) {
  const auto& subtopology = plan_->subtopologies[static_cast<std::size_t>(task.subtopology)];
  const std::lock_guard lock(mutex_);
  refreshCommitted();
  const auto found = committed_.find({subtopology.inputs.at(input).topic, task.partition});
  if (found == committed_.end()) return std::nullopt;
  return found->second.offset;
}

state::JournalMetrics KafkaBackend::journalMetrics() const {
  return context_->journal ? context_->journal->metrics() : state::JournalMetrics();
}

void KafkaBackend::refreshCommitted() {
  const auto now = std::chrono::steady_clock::now();
  if (now - committedAt_ < committedAge) return;
  std::vector<TopicPartition> all;
  for (const SubtopologyPlan& subtopology : plan_->subtopologies) {
    for (const InputPlan& input : subtopology.inputs) {
      for (std::int32_t p = 0; p < subtopology.partitions; ++p) all.push_back({input.topic, {p}});
    }
  }
  committed_ = client_.committed(all, context_->settings.timeout);
  committedAt_ = now;
}

}  // namespace penstock::streams
