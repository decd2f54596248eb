// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

namespace penstock::python {

// One per area, called by module.cpp in this order.
void registerErrors(pybind11::module_& module);
void registerPending(pybind11::module_& module);
void registerLocalFileStorage(pybind11::module_& module);
void registerDatastore(pybind11::module_& module);
void registerSharedState(pybind11::module_& module);

}  // namespace penstock::python
