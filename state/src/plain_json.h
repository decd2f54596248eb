// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/state/value.h>

#include <string>
#include <string_view>

/// JSON as programs in JavaScript write and read it: no object has a meaning of its own, and
/// numbers are doubles.
namespace penstock::state {

/// One line. InvalidArgument for what would come back as something else: integers beyond 2^53, NaN,
/// infinities, binary, strings that are not UTF-8.
std::string toPlainJson(const Value& value);
/// Integers beyond 2^53 become doubles, as there. InvalidArgument for what is no JSON, is nested
/// more than Value::depthMax deep, or has a name twice in one object.
Value fromPlainJson(std::string_view json);

}  // namespace penstock::state
