// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/plan.h"

#include <algorithm>

namespace penstock::streams {

ApplicationPlan makePlan(const Topology& topology, const ApplicationOptions& options) {
  ApplicationPlan plan;
  plan.application = topology.application();
  plan.fingerprint = [&topology](const std::map<std::string, std::int32_t>& partitions) {
    return topology.fingerprint(partitions);
  };
  for (const TopologyTopic& topic : topology.outputs()) {
    plan.outputs.push_back({topic.name, topic.repartition, topic.partitions});
  }
  const auto numberOf = [&](const std::string& topic) {
    std::size_t number = 0;
    while (number < plan.outputs.size() && plan.outputs[number].topic != topic) ++number;
    if (number == plan.outputs.size()) plan.outputs.push_back({topic, false, 0});
    return number;
  };
  std::map<std::string, std::string> elsewhere = options.inputAddresses;
  for (const SubTopology& part : topology.subTopologies()) {
    SubtopologyPlan& subtopology = plan.subtopologies.emplace_back();
    subtopology.name = part.name;
    for (const TopologyTopic& input : part.inputs) {
      InputPlan& added = subtopology.inputs.emplace_back();
      added.topic = input.name;
      added.repartition = input.repartition;
      const auto address = elsewhere.find(input.name);
      if (address == elsewhere.end()) continue;
      added.address = address->second;
      elsewhere.erase(address);
    }
    for (const std::size_t store : part.stores) {
      const detail::StoreSpec& spec = topology.stores()[store];
      subtopology.stores.push_back({spec.name, spec.escapesKeys});
    }
    for (const TopologyTopic& output : part.outputs) {
      subtopology.outputs.push_back(numberOf(output.name));
    }
    if (options.errorPolicy == ErrorPolicy::DeadLetter) {
      const std::size_t letters = numberOf(options.deadLetterTopic);
      if (std::find(subtopology.outputs.begin(), subtopology.outputs.end(), letters) ==
          subtopology.outputs.end()) {
        subtopology.outputs.push_back(letters);
      }
    }
  }
  for (const SubtopologyPlan& subtopology : plan.subtopologies) {
    for (const InputPlan& input : subtopology.inputs) {
      if (options.errorPolicy != ErrorPolicy::DeadLetter || !input.address.empty() ||
          input.topic != options.deadLetterTopic) {
        continue;
      }
      throw ConfigurationError("ApplicationOptions::deadLetterTopic: the application reads topic " +
                               input.topic +
                               ": a record that fails would come back and fail for ever");
    }
  }
  if (!elsewhere.empty()) {
    throw ConfigurationError("ApplicationOptions::inputAddresses names topic " +
                             elsewhere.begin()->first + ", which the application does not read");
  }
  return plan;
}

}  // namespace penstock::streams
