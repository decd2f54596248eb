// SPDX-License-Identifier: Apache-2.0

// The private module `penstock._core`: a table of contents.

#include <penstock/version.h>

#include <string>

#include "register.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled part of penstock. Private: import from penstock and below.";
  module.attr("__version__") = std::string(penstock::version());
  penstock::python::registerErrors(module);
  penstock::python::registerPending(module);
  penstock::python::registerLocalFileStorage(module);
  penstock::python::registerDatastore(module);
  penstock::python::registerSharedState(module);
}
