// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <utility>

namespace penstock::python {

/// The result of `work`, which may wait and touches no Python object.
template <typename Work>
auto withoutGil(Work&& work) {
  const pybind11::gil_scoped_release unlocked;
  return std::forward<Work>(work)();
}

/// For what syncs, or joins threads, when it goes.
struct DeleteWithoutGil {
  template <typename Type>
  void operator()(Type* object) const {
    const pybind11::gil_scoped_release unlocked;
    delete object;
  }
};
template <typename Type>
using Owned = std::unique_ptr<Type, DeleteWithoutGil>;

}  // namespace penstock::python
