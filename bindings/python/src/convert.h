// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/value.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::python {

/// The UTF-8 of a str, valid while the str is; what came from bytes that are not UTF-8 goes back
/// to them (surrogateescape), with `scratch` as its memory. TypeError for anything else.
std::string_view textOf(pybind11::handle object, std::string& scratch);
/// The inverse of textOf.
pybind11::object toText(std::string_view bytes);

/// A str argument as bytes, while the str lives. TypeError as textOf.
class Text {
 public:
  explicit Text(pybind11::handle object) : view_(textOf(object, scratch_)) {}
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  operator std::string_view() const { return view_; }
  operator std::string() const { return std::string(view_); }

 private:
  std::string scratch_;
  std::string_view view_;
};
/// Of an iterable of str; TypeError for a str, which is one of its letters.
std::vector<std::string> textsOf(pybind11::handle object, const char* argument);

/// Of str, bytes and os.PathLike.
std::string pathOf(pybind11::handle object);

/// Seconds to the millisecond, and to one of them above 0; the most there is for more than that.
/// InvalidArgument, naming the argument, below 0 and for NaN.
std::chrono::milliseconds millisecondsOf(double seconds, const char* argument);

/// None, bool, int, float, str, bytes, bytearray, list, tuple and dict, and what says it is an
/// int (`__index__`). OverflowError beyond 64 bits; TypeError for anything else; InvalidArgument
/// nested too deeply.
state::Value toValue(pybind11::handle object);
pybind11::object fromValue(const state::Value& value);

}  // namespace penstock::python
