// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/serde.h>
#include <penstock/state/cereal.h>

#include <string>
#include <string_view>

namespace penstock {

/// Structs that have a cereal `serialize` (or `save` and `load`), and what cereal's headers for
/// standard types add. Bytes as <penstock/state/cereal.h> describes, without its envelope: the
/// type's name is in the topology's fingerprint, or in the mind of who shares the topic. Include
/// it before the struct is used in a stream.
///
/// Threads: immutable after construction.
/// Errors: SerdeError for bytes that are not those of the struct, as far as the bytes tell.
template <state::detail::CerealStruct T>
struct Serde<T> {
  static std::string name() { return "cereal:" + std::string(state::detail::storedName<T>()); }
  static void encode(const T& value, std::string& out) {
    state::detail::StructWriter writer(out);
    writer(value);
  }
  static void decode(std::string_view bytes, T& value) {
    try {
      value = T{};
      state::detail::StructReader reader(bytes);
      reader(value);
      if (!reader.atEnd()) throw SerdeError(name() + ": bytes are left over");
    } catch (const cereal::Exception& error) {
      throw SerdeError(name() + ": " + error.what());
    }
  }
};

}  // namespace penstock
