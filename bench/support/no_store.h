// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "streams/task_store.h"

namespace penstock::bench {

/// An empty store that throws away what it is given: hot state alone over it.
class NoStore final : public streams::TaskStore {
 public:
  bool get(std::string_view, std::string&) const override { return false; }
  void scan(std::string_view, std::string_view,
            const std::function<bool(std::string_view, std::string_view)>&) const override {}
  [[nodiscard]] std::uint64_t size() const override { return 0; }
  void put(std::string_view key, std::string_view value, EventTime) override {
    bytes += key.size() + value.size();
  }
  void erase(std::string_view, EventTime) override {}
  std::size_t bytes = 0;
};

}  // namespace penstock::bench
