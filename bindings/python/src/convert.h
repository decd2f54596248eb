// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/value.h>
#include <pybind11/pybind11.h>

#include <string>
#include <string_view>

namespace penstock::python {

/// The UTF-8 of a str, valid while the str is; what came from bytes that are not UTF-8 goes back
/// to them (surrogateescape), with `scratch` as its memory. TypeError for anything else.
std::string_view textOf(pybind11::handle object, std::string& scratch);
/// The inverse of textOf.
pybind11::object toText(std::string_view bytes);

/// None, bool, int, float, str, bytes, bytearray, list, tuple and dict, and what says it is an
/// int (`__index__`). OverflowError beyond 64 bits; TypeError for anything else; InvalidArgument
/// nested too deeply.
state::Value toValue(pybind11::handle object);
pybind11::object fromValue(const state::Value& value);

}  // namespace penstock::python
