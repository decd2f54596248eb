// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/until_end.h"

#include <fmt/format.h>
#include <penstock/state/errors.h>

#include <algorithm>
#include <utility>

namespace penstock::streams {
namespace {

// Looking at all positions costs more than at those of one task.
constexpr std::int64_t kLookUs = 1'000'000;

}  // namespace

UntilEnd::UntilEnd(const ApplicationPlan& plan, Backend& backend, state::Clock& clock)
    : plan_(plan), backend_(backend), clock_(clock), movedUs_(clock.monotonicUs()) {
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
  if (through_.size() == plan_.subtopologies.size()) return true;
  checkProgress();
  return false;
}

std::vector<Offset> UntilEnd::positions() const {
  std::vector<Offset> result;
  for (std::size_t s = 0; s < plan_.subtopologies.size(); ++s) {
    for (std::size_t i = 0; i < plan_.subtopologies[s].inputs.size(); ++i) {
      for (std::int32_t p = 0; p < plan_.subtopologies[s].partitions; ++p) {
        const TaskId task{static_cast<std::int32_t>(s), PartitionIndex{p}};
        result.push_back(backend_.committed(task, i).value_or(Offset{-1}));
      }
    }
  }
  return result;
}

void UntilEnd::checkProgress() {
  const std::int64_t now = clock_.monotonicUs();
  if (now < nextLookUs_) return;
  nextLookUs_ = now + kLookUs;
  std::vector<Offset> at = positions();
  if (at != seen_) {
    seen_ = std::move(at);
    movedUs_ = now;
  }
  if (now - movedUs_ < kStalledUs) return;
  for (const auto& [place, ends] : ends_) {
    const auto& [s, i] = place;
    if (through_.contains(s)) continue;
    for (std::size_t p = 0; p < ends.size(); ++p) {
      const TaskId task{static_cast<std::int32_t>(s), PartitionIndex{static_cast<std::int32_t>(p)}};
      const Offset stands = backend_.committed(task, i).value_or(Offset{0});
      if (stands >= ends[p]) continue;
      const std::string holder = backend_.holder(task);
      if (holder.empty()) continue;
      throw state::OwnedElsewhere(fmt::format(
          "application {}, waiting for the end: task {} stands at {} of {} in topic {}, no task "
          "has moved for {} s, and this one belongs to {}. Is that process stopped?",
          plan_.application, task.name(), stands.value, ends[p].value,
          plan_.subtopologies[s].inputs[i].topic, kStalledUs / 1'000'000, holder));
    }
  }
}

}  // namespace penstock::streams
