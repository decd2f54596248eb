// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/serde.h>
#include <penstock/state/value.h>

#include <string>
#include <string_view>

namespace penstock {

/// A state::Value as one line of JSON; what JSON lacks as Value::toJson has it.
///
/// Threads: immutable after construction.
/// Errors: SerdeError for what is no JSON, or has no exact counterpart.
template <>
struct Serde<state::Value> {
  static constexpr bool neverEmpty = true;
  static std::string name() { return "json"; }
  static void encode(const state::Value& value, std::string& out) { out += value.toJson(); }
  static void decode(std::string_view bytes, state::Value& value) {
    try {
      value = state::Value::fromJson(bytes);
    } catch (const Error& error) {
      throw SerdeError(std::string("json: ") + error.what());
    }
  }
};

}  // namespace penstock
