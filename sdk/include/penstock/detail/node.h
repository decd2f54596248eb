// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>
#include <penstock/record_info.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The run-time side of an operator: one object per operator and task.
///
/// A record travels depth first: each operator calls `receive` of the operators behind it, one
/// indirect call each. Edges are typed; that both ends agree is checked once, when a task is
/// built. Nothing here allocates, locks or calls the system per record.
namespace penstock::detail {

class SharedValues;

class StoreBase;

/// Figures of one task since it was built.
struct TaskCounters {
  std::uint64_t recordsIn = 0;
  std::uint64_t recordsOut = 0;
  std::uint64_t skipped = 0;
  std::uint64_t deadLettered = 0;
};

/// A topic that a task writes to. The partition is that of the key when not given.
class Output {
 public:
  virtual ~Output() = default;
  /// Copies the record.
  virtual void send(std::optional<PartitionIndex> partition, const RecordView& record) = 0;
};

class Node;

/// What a failing operator was doing.
enum class Stage : std::uint8_t { Decode, Process, Encode };

/// What the task gives to its operators.
///
/// Threads: owned by the task thread.
class TaskServices {
 public:
  virtual ~TaskServices() = default;
  virtual StoreBase& store(std::string_view name) = 0;
  virtual SharedValues& shared() = 0;
  virtual Output& output(const Node& sink) = 0;          // the topic that its NodeSpec names
  [[nodiscard]] virtual std::int64_t nowMs() const = 0;  // wall clock
  virtual void schedule(const Node& node, std::chrono::milliseconds interval,
                        std::function<void(std::int64_t nowMs)> callback) = 0;
  /// Call it in a catch block. Returns when the record is to be dropped here (skipped or dead
  /// lettered), else throws RecordError, or the exception itself when it is Penstock's own.
  virtual void failed(const Node& node, const RecordInfo& info, Stage stage) = 0;
  virtual void deadLetter(const Node& node, const RecordInfo& info, Stage stage,
                          std::string_view reason) = 0;
  /// True unless the policy is Fail: then an aggregate is copied before a function changes it.
  [[nodiscard]] virtual bool survivesErrors() const noexcept = 0;

  TaskCounters counters;
  EventTime streamTime{-1};  // highest timestamp seen; -1: none yet
};

/// One operator of one task.
///
/// Threads: owned by the task thread.
class Node {
 public:
  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node() = default;

  void attach(std::string name, TaskServices& services) {
    name_ = std::move(name);
    services_ = &services;
  }
  /// Adds an operator behind this one; std::logic_error when the types do not fit.
  virtual void connect(Node& child) = 0;
  /// After all edges are there: looks up stores and outputs, lets user code register timers.
  virtual void open() {}
  /// At a commit, upstream first: forwards the last value per changed key.
  virtual void emitChanges() {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 protected:
  [[nodiscard]] TaskServices& services() const noexcept { return *services_; }
  [[noreturn]] void refuseChild(const Node& child) const;

 private:
  std::string name_;
  TaskServices* services_ = nullptr;
};

/// The first operator of a sub-topology: decodes what a topic holds.
class SourceNode : public Node {
 public:
  /// Records [first, first + count) of the batch.
  virtual void process(const RecordBatch& batch, std::size_t first, std::size_t count) = 0;
};

/// The receiving end of a typed edge.
template <typename K, typename V>
class Receiver {
 public:
  virtual void receive(const K& key, const V& value, const RecordInfo& info) = 0;

 protected:
  ~Receiver() = default;
};

/// The sending end of a typed edge.
template <typename K, typename V>
class Children {
 public:
  /// False when the types do not fit.
  bool add(Node& child) {
    auto* receiver = dynamic_cast<Receiver<K, V>*>(&child);
    if (receiver == nullptr) return false;
    receivers_.push_back(receiver);
    return true;
  }
  void forward(const K& key, const V& value, const RecordInfo& info) const {
    for (Receiver<K, V>* receiver : receivers_) receiver->receive(key, value, info);
  }
  [[nodiscard]] bool empty() const noexcept { return receivers_.empty(); }

 private:
  std::vector<Receiver<K, V>*> receivers_;
};

/// An operator between records of two types.
template <typename KIn, typename VIn, typename KOut, typename VOut>
class Operator : public Node, public Receiver<KIn, VIn> {
 public:
  void connect(Node& child) final {
    if (!children_.add(child)) refuseChild(child);
  }

 protected:
  void forward(const KOut& key, const VOut& value, const RecordInfo& info) const {
    children_.forward(key, value, info);
  }
  [[nodiscard]] bool hasChildren() const noexcept { return !children_.empty(); }

  /// Runs user code; false when it threw and the record is to be dropped here.
  template <typename Work>
  bool guarded(const RecordInfo& info, Work&& work) {
    try {
      work();
      return true;
    } catch (...) {
      services().failed(*this, info, Stage::Process);
      return false;
    }
  }

 private:
  Children<KOut, VOut> children_;
};

}  // namespace penstock::detail
