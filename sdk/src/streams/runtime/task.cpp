// SPDX-License-Identifier: Apache-2.0
#include "streams/runtime/task.h"

#include <penstock/log.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "streams/runtime/worker.h"
#include "topics/transport.h"

namespace penstock::streams {
namespace {

// Between two slices the worker looks at the clock and at what waits for the commit: small
// enough that records which each make many outputs stay within commitBytesMax.
constexpr std::size_t kSliceMax = 512;
// A slice that takes longer is halved: far below the round's length and the commit interval.
constexpr std::int64_t kSliceUs = 4'000;
// Within a slice whether to stop is asked this often: functions may turn slow all at once.
constexpr std::size_t kStopCheck = 32;

}  // namespace

/// A topic of the plan, for one task.
class Task::TopicOutput final : public detail::Output {
 public:
  TopicOutput(WorkerBackend& backend, std::size_t number, std::int32_t partitions,
              PartitionIndex own)
      : backend_(backend),
        number_(number),
        partitions_(partitions),
        keyless_{own.value % partitions} {}

  void send(std::optional<PartitionIndex> partition, const RecordView& record) override {
    backend_.output(number_, partition ? *partition : partitionOf(record), record);
  }

 private:
  [[nodiscard]] PartitionIndex partitionOf(const RecordView& record) const {
    // Without a key the order within the task is kept.
    return record.key ? topics::partitionForKey(*record.key, partitions_) : keyless_;
  }

  WorkerBackend& backend_;
  std::size_t number_;
  std::int32_t partitions_;
  PartitionIndex keyless_;
};

Task::Task(const WorkerContext& context, const TaskId& id, WorkerBackend& backend)
    : context_(context), id_(id), backend_(backend) {
  const auto number = static_cast<std::size_t>(id.subtopology);
  const TaskPosition start = backend.start(id);
  for (std::size_t i = 0; i < start.next.size(); ++i) {
    Input& input = inputs_.emplace_back();
    input.position = start.next[i];
    input.batch.source = {context.plan->subtopologies[number].inputs[i].topic, id.partition};
  }
  ErrorHandling errors;
  errors.policy = context.options->errorPolicy;
  errors.deadLetterTopic = context.options->deadLetterTopic;
  errors.passedOver = [this](const std::string& message) {
    // A topic full of bad records must not fill the log: the 1st, 2nd, 4th, 8th...
    if (!std::has_single_bit(++passedOver_)) return;
    log(LogLevel::Warning, "runtime", "record passed over",
        {{"application", context_.plan->application},
         {"task", id_.name()},
         {"so_far", std::to_string(passedOver_)},
         {"error", message}});
  };
  graph_ = std::make_unique<TaskGraph>(*context.topology, number, *this, errors);
  graph_->restoreStreamTime(start.streamTime);
}

Task::~Task() = default;

std::shared_ptr<TaskStore> Task::store(std::size_t store, const std::string&) {
  return backend_.store(id_, store);
}

detail::Output& Task::output(const std::string& topic) {
  auto& output = outputs_[topic];
  if (!output) {
    const auto& all = context_.plan->outputs;
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const OutputPlan& each) { return each.topic == topic; });
    if (found == all.end()) {
      throw Error(ErrorCode::ReportBug, "topic " + topic + " is no output of the plan");
    }
    output = std::make_unique<TopicOutput>(backend_, static_cast<std::size_t>(found - all.begin()),
                                           found->partitions, id_.partition);
  }
  return *output;
}

std::int64_t Task::nowMs() const { return context_.clock->wallMs(); }

bool Task::fill(std::size_t number) {
  Input& input = inputs_[number];
  if (!input.empty()) return true;
  input.next = 0;
  input.batch.records.clear();
  input.last = backend_.fetch(id_, number, input.batch);
  if (input.last == FetchResult::AtEnd && input.batch.next > input.position) {
    input.position = input.batch.next;
  }
  return input.last == FetchResult::Records;
}

void Task::processRun(std::size_t number, std::size_t count) {
  Input& input = inputs_[number];
  while (count > 0) {
    const std::size_t some = std::min(count, kStopCheck);
    graph_->process(input.batch, input.next, some);
    input.next += some;
    count -= some;
    if (context_.stopping()) break;
  }
  input.position = input.empty() ? input.batch.next : input.batch.records[input.next].offset;
}

bool Task::processSlice() {
  const std::int64_t began = context_.clock->monotonicUs();
  if (!(inputs_.size() > 1 ? processMerged() : processNext())) return false;
  const std::int64_t took = context_.clock->monotonicUs() - began;
  if (took > kSliceUs) {
    slice_ = std::max<std::size_t>(slice_ / 2, 1);
  } else if (took < kSliceUs / 2) {
    slice_ = std::min(slice_ * 2, kSliceMax);
  }
  return true;
}

bool Task::processNext() {
  if (!fill(0)) return false;
  processRun(0, std::min(slice_, inputs_[0].batch.records.size() - inputs_[0].next));
  return true;
}

bool Task::processMerged() {
  bool any = false;
  bool all = true;
  bool pending = false;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const bool filled = fill(i);
    any = any || filled;
    all = all && filled;
    pending = pending || (!filled && inputs_[i].last == FetchResult::Pending);
  }
  if (!any) return false;
  if (all) {
    waitingSinceUs_.reset();
  } else if (pending || waitForOthers()) {
    return false;
  }
  // The input whose head is oldest, up to the head of the next oldest.
  std::size_t oldest = inputs_.size();
  std::int64_t until = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].empty()) continue;
    if (oldest == inputs_.size() || inputs_[i].headMs() < inputs_[oldest].headMs()) {
      if (oldest != inputs_.size()) until = inputs_[oldest].headMs();
      oldest = i;
    } else {
      until = std::min(until, inputs_[i].headMs());
    }
  }
  const Input& input = inputs_[oldest];
  std::size_t count = 1;
  const std::size_t most = std::min(slice_, input.batch.records.size() - input.next);
  while (count < most && input.batch.records[input.next + count].timestamp.ms <= until) ++count;
  processRun(oldest, count);
  return true;
}

bool Task::waitForOthers() {
  const std::int64_t idleUs = std::chrono::microseconds(context_.options->maxTaskIdle).count();
  if (idleUs == 0) return false;
  const std::int64_t now = context_.clock->monotonicUs();
  if (!waitingSinceUs_) waitingSinceUs_ = now;
  return now - *waitingSinceUs_ < idleUs;
}

bool Task::punctuate(std::int64_t wallMs) {
  if (graph_->nextPunctuationMs() > wallMs) return false;
  graph_->punctuate(wallMs);
  return true;
}

TaskPosition Task::position() const {
  TaskPosition position{id_, {}, graph_->streamTime()};
  for (const Input& input : inputs_) position.next.push_back(input.position);
  return position;
}

std::int64_t Task::lag() const {
  std::int64_t lag = 0;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const std::optional<Offset> end = backend_.knownEnd(id_, i);
    if (end) lag += std::max<std::int64_t>(0, end->value - inputs_[i].position.value);
  }
  return lag;
}

detail::TaskCounters Task::takeCounters() {
  const detail::TaskCounters now = graph_->counters();
  detail::TaskCounters since;
  since.recordsIn = now.recordsIn - taken_.recordsIn;
  since.recordsOut = now.recordsOut - taken_.recordsOut;
  since.skipped = now.skipped - taken_.skipped;
  since.deadLettered = now.deadLettered - taken_.deadLettered;
  taken_ = now;
  return since;
}

}  // namespace penstock::streams
