// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/record_info.h>

#include <functional>
#include <type_traits>
#include <utility>

namespace penstock::detail {

/// Calls a user's function of (key, value), with a RecordInfo behind when it takes one.
template <typename F, typename K, typename V, typename... More>
decltype(auto) call(F& function, const K& key, const V& value, const RecordInfo& info,
                    More&&... more) {
  if constexpr (std::is_invocable_v<F&, const K&, const V&, const RecordInfo&, More...>) {
    return std::invoke(function, key, value, info, std::forward<More>(more)...);
  } else {
    static_assert(std::is_invocable_v<F&, const K&, const V&, More...>,
                  "the function has to take (const Key&, const Value&), and may take a const "
                  "penstock::RecordInfo& behind them; then what the operator adds");
    return std::invoke(function, key, value, std::forward<More>(more)...);
  }
}

/// The same for functions that may take the value alone (mapValues, flatMapValues).
template <typename F, typename K, typename V, typename... More>
decltype(auto) callValue(F& function, const K& key, const V& value, const RecordInfo& info,
                         More&&... more) {
  if constexpr (std::is_invocable_v<F&, const V&, More...>) {
    return std::invoke(function, value, std::forward<More>(more)...);
  } else {
    return call(function, key, value, info, std::forward<More>(more)...);
  }
}

template <typename F, typename K, typename V>
using CallResult = std::remove_cvref_t<decltype(call(std::declval<F&>(), std::declval<const K&>(),
                                                     std::declval<const V&>(),
                                                     std::declval<const RecordInfo&>()))>;
template <typename F, typename K, typename V>
using CallValueResult = std::remove_cvref_t<decltype(callValue(
    std::declval<F&>(), std::declval<const K&>(), std::declval<const V&>(),
    std::declval<const RecordInfo&>()))>;

}  // namespace penstock::detail
