// SPDX-License-Identifier: Apache-2.0
#include "pending.h"

#include <pybind11/stl.h>

#include <cmath>

#include "register.h"

namespace penstock::python {
namespace py = pybind11;

namespace {

// A write ends within a disk's time; so short a step keeps Ctrl-C working, at no cost worth
// speaking of.
constexpr std::chrono::milliseconds signalStep{100};

}  // namespace

bool Pending::done() const {
  return !waiting_.valid() ||
         waiting_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

py::object Pending::result(std::optional<double> timeoutSeconds) const {
  if (error_) std::rethrow_exception(error_);
  if (!waiting_.valid()) return value_;
  using Clock = std::chrono::steady_clock;
  constexpr double longest = 1e9;  // a duration must not overflow
  const double seconds = std::fmin(std::fmax(timeoutSeconds.value_or(longest), 0), longest);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(seconds));
  while (!done()) {
    if (Clock::now() >= end) {
      PyErr_SetString(PyExc_TimeoutError, "the write has not reached its durability yet");
      throw py::error_already_set();
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    const py::gil_scoped_release unlocked;
    waiting_.wait_until(std::min(end, Clock::now() + signalStep));
  }
  waiting_.get();
  return py::none();
}

void registerPending(py::module_& module) {
  py::class_<Pending>(module, "Pending",
                      "What an ...Async method returns. Wait for it with result() or await.")
      .def("done", &Pending::done, "Whether result() would return at once.")
      .def("result", &Pending::result, py::arg("timeout") = py::none(),
           "The value, or the error; waits up to timeout seconds (TimeoutError).")
      .def("__await__", [](const py::object& self) -> py::object {
        return py::module_::import("penstock._awaiting").attr("wait")(self).attr("__await__")();
      });
}

}  // namespace penstock::python
