// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/until_end.h"

#include <algorithm>

namespace penstock::streams {

UntilEnd::UntilEnd(const ApplicationPlan& plan, Backend& backend) : plan_(plan), backend_(backend) {
  for (std::size_t s = 0; s < plan.subtopologies.size(); ++s) {
    const auto& inputs = plan.subtopologies[s].inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i].repartition) ends_[{s, i}] = ends(s, inputs[i]);
    }
  }
}

std::vector<Offset> UntilEnd::ends(std::size_t subtopology, const InputPlan& input) const {
  std::vector<Offset> result;
  for (std::int32_t p = 0; p < plan_.subtopologies[subtopology].partitions; ++p) {
    result.push_back(backend_.end(input, PartitionIndex{p}));
  }
  return result;
}

bool UntilEnd::writersThrough(const std::string& topic) const {
  for (std::size_t s = 0; s < plan_.subtopologies.size(); ++s) {
    const auto& outputs = plan_.subtopologies[s].outputs;
    const bool writes = std::any_of(outputs.begin(), outputs.end(), [&](std::size_t output) {
      return plan_.outputs[output].topic == topic;
    });
    if (writes && !through_.contains(s)) return false;
  }
  return true;
}

bool UntilEnd::committedTo(std::size_t subtopology, std::size_t input,
                           const std::vector<Offset>& ends) const {
  for (std::size_t p = 0; p < ends.size(); ++p) {
    if (ends[p] == Offset{0}) continue;  // nothing was ever in it
    const TaskId task{static_cast<std::int32_t>(subtopology),
                      PartitionIndex{static_cast<std::int32_t>(p)}};
    const auto committed = backend_.committed(task, input);
    if (!committed || *committed < ends[p]) return false;
  }
  return true;
}

bool UntilEnd::reached() {
  for (std::size_t s = 0; s < plan_.subtopologies.size(); ++s) {
    if (through_.contains(s)) continue;
    const auto& inputs = plan_.subtopologies[s].inputs;
    bool through = true;
    for (std::size_t i = 0; through && i < inputs.size(); ++i) {
      if (inputs[i].repartition && !ends_.contains({s, i})) {
        if (!writersThrough(inputs[i].topic)) {
          through = false;
          break;
        }
        ends_[{s, i}] = ends(s, inputs[i]);
      }
      through = committedTo(s, i, ends_.at({s, i}));
    }
    if (through) through_.insert(s);
  }
  return through_.size() == plan_.subtopologies.size();
}

}  // namespace penstock::streams
