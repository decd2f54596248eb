// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace penstock::streams {

/// The durable side of one store of one task: its content as of the last commit, and where the
/// changes for the commit being built go. Lives until the task is given up.
///
/// Threads: owned by the task thread.
class TaskStore {
 public:
  virtual ~TaskStore() = default;
  /// What earlier commits made of it, including one still in flight; not what was put since.
  /// False: absent; `value` is then untouched.
  virtual bool get(std::string_view key, std::string& value) const = 0;
  virtual void scan(
      std::string_view from, std::string_view to,
      const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// `time`: of the latest record that changed it; for who keeps a changelog.
  virtual void put(std::string_view key, std::string_view value, EventTime time) = 0;
  virtual void erase(std::string_view key, EventTime time) = 0;
};

}  // namespace penstock::streams
