// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <exception>
#include <future>
#include <optional>
#include <utility>

namespace penstock::python {

/// What an `...Async` method returns: a result that is there, or a write that is on its way.
///
/// Threads: safe from any thread that holds the GIL; `result` waits without it.
class Pending {
 public:
  explicit Pending(std::future<void> waiting) : waiting_(waiting.share()) {}
  explicit Pending(pybind11::object value) : value_(std::move(value)) {}
  explicit Pending(std::exception_ptr error) : error_(std::move(error)) {}

  /// The result of `call`, or what it threw.
  template <typename Call>
  static Pending of(Call&& call) {
    try {
      return Pending(call());
    } catch (...) {
      return Pending(std::current_exception());
    }
  }

  [[nodiscard]] bool done() const;
  [[nodiscard]] pybind11::object result(std::optional<double> timeoutSeconds) const;

 private:
  std::shared_future<void> waiting_;
  pybind11::object value_ = pybind11::none();
  std::exception_ptr error_;
};

}  // namespace penstock::python
