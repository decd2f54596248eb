// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/file_backend.h"

#include <fmt/format.h>
#include <penstock/log.h>

#include <string_view>

#include "file/topic_catalog.h"
#include "open_journal.h"
#include "streams/runtime/task_position_codec.h"
#include "streams/topology.h"
#include "topics/address.h"

namespace penstock::streams {
namespace {

constexpr std::string_view kTopologyKey = "topology";

/// Partition counts by full topic name.
std::map<std::string, std::int32_t> partitionCounts(const ApplicationPlan& plan) {
  std::map<std::string, std::int32_t> counts;
  for (const OutputPlan& output : plan.outputs) counts[output.topic] = output.partitions;
  for (const SubtopologyPlan& subtopology : plan.subtopologies) {
    for (const InputPlan& input : subtopology.inputs) {
      counts[input.topic] = subtopology.partitions;
    }
  }
  return counts;
}

}  // namespace

FileBackend::FileBackend(const FileBackendOptions& options, const state::Environment& environment)
    : options_(options), environment_(environment) {
  options_.journal.sharing = state::Sharing::Shared;
  journal_ = openJournal(options_.directory, options_.journal, environment_);
}

std::shared_ptr<state::Journal> FileBackend::journalOf(const std::string& address) {
  if (address.empty()) return journal_;
  auto& journal = others_[address];
  if (!journal) {
    const topics::Address place = topics::parseAddress(address);
    if (place.kafka) {
      throw ConfigurationError("topics of " + address + " cannot be inputs of an application on " +
                               journal_->directory() + ": only another directory's can");
    }
    state::JournalOptions options = options_.journal;
    options.createDirectory = false;
    journal = openJournal(place.place, options, environment_);
  }
  return journal;
}

void FileBackend::prepare(ApplicationPlan& plan) {
  auto layout = std::make_shared<FileLayout>();
  layout->journal = journal_;
  layout->groupStore = journal_->declareStore(plan.application + " group");
  layout->durability = options_.durability;
  layout->clock = environment_.clock;
  layout->threads = environment_.threads;
  layout->outputs.resize(plan.outputs.size());
  group_ = journal_->store(layout->groupStore);

  // Upstream first: a repartition topic has its partitions before its reader asks for them.
  for (SubtopologyPlan& subtopology : plan.subtopologies) {
    auto& inputs = layout->inputs.emplace_back();
    for (const InputPlan& input : subtopology.inputs) inputs.push_back(findInput(plan, input));
    if (inputs.empty()) throw ConfigurationError("a sub-topology without an input topic");
    subtopology.partitions = static_cast<std::int32_t>(inputs[0].logs.size());
    for (std::size_t i = 1; i < inputs.size(); ++i) {
      if (inputs[i].logs.size() == inputs[0].logs.size()) continue;
      throw ConfigurationError(fmt::format(
          "topics {} and {} are read together but have {} and {} partitions: records of one key "
          "would not meet. Repartition one of them",
          subtopology.inputs[0].topic, subtopology.inputs[i].topic, inputs[0].logs.size(),
          inputs[i].logs.size()));
    }
    for (const std::size_t output : subtopology.outputs) {
      layout->outputs[output] = prepareOutput(subtopology.partitions, plan.outputs[output]);
    }
  }
  layout_ = layout;
  plan_ = &plan;
  checkTopology(plan);
}

FileLayout::Input FileBackend::findInput(const ApplicationPlan& plan, const InputPlan& input) {
  FileLayout::Input found;
  found.journal = journalOf(input.address);
  found.foreign = !found.journal->sameAs(*journal_);  // a copy has the same id
  if (const auto topic = file::TopicCatalog(found.journal).find(input.topic)) {
    found.logs = topic->logs;
  } else {
    throw ConfigurationError(fmt::format(
        "application {} reads topic {}, which is not in {}. Create it (penstock topics create) "
        "or correct the name",
        plan.application, input.topic, found.journal->directory()));
  }
  return found;
}

std::vector<state::LogId> FileBackend::prepareOutput(std::int32_t writerPartitions,
                                                     OutputPlan& output) {
  file::TopicCatalog catalog(journal_);
  const std::int32_t wanted = output.partitions == 0 ? writerPartitions : output.partitions;
  if (!catalog.find(output.topic)) {
    TopicConfig config;
    config.partitions = wanted;
    if (catalog.create(output.topic, config)) {
      log(LogLevel::Info, "file", "made a topic",
          {{"topic", output.topic},
           {"partitions", std::to_string(wanted)},
           {"directory", journal_->directory()}});
    }
  }
  const file::Topic topic = catalog.get(output.topic);
  const std::int32_t count = topic.partitions();
  if (output.repartition && wanted != count) {
    throw ConfigurationError(fmt::format(
        "repartition topic {} in {} has {} partitions, the application asks for {}: keys would "
        "change places and miss their state. Ask for {}, or use another application id",
        output.topic, journal_->directory(), count, wanted, count));
  }
  output.partitions = count;
  return topic.logs;
}

void FileBackend::checkTopology(const ApplicationPlan& plan) {
  const std::string now = plan.fingerprint(partitionCounts(plan));
  std::string before;
  bool known = false;  // what a topology without anything to remember leaves is empty, but known
  journal_->transact(
      [&](state::Commit& commit) {
        known = group_->get(kTopologyKey, before);
        if (!known) commit.put(layout_->groupStore, kTopologyKey, now);
      },
      state::Durability::Buffered);
  if (!known) return;
  const auto difference = explainDifference(before, now);
  if (!difference) return;
  throw ConfigurationError(fmt::format(
      "the topology of application {} no longer fits its state in {}:\n{}\nRestore what it was, "
      "or begin anew under another application id",
      plan.application, journal_->directory(), *difference));
}

std::unique_ptr<WorkerBackend> FileBackend::worker(const ApplicationPlan& plan, std::size_t) {
  return std::make_unique<FileWorker>(plan, layout_);
}

Offset FileBackend::end(const InputPlan& input, PartitionIndex partition) {
  const auto journal = journalOf(input.address);
  const file::Topic topic = file::TopicCatalog(journal).get(input.topic);
  const state::LogInfo info =
      journal->log(topic.logs.at(static_cast<std::size_t>(partition.value)));
  const bool foreign = !journal->sameAs(*journal_);
  return Offset{static_cast<std::int64_t>(foreign ? info.syncedEnd : info.end)};
}

std::optional<Offset> FileBackend::committed(const TaskId& task, std::size_t input) {
  std::string bytes;
  if (!group_->get(plan_->taskKey(task), bytes)) return std::nullopt;
  const auto position = decodePosition(bytes);
  if (!position || input >= position->inputs.size()) return std::nullopt;
  return Offset{static_cast<std::int64_t>(position->inputs[input].at.offset)};
}

std::string FileBackend::holder(const TaskId& task) {
  std::string holder;
  if (layout_->owned->contains(task)) return {};
  if (journal_->tryClaim(FileLayout::claimName(*plan_, task), &holder)) return {};
  return holder;
}

}  // namespace penstock::streams
