// SPDX-License-Identifier: Apache-2.0

// Every typed error is an exception of the same name; those that Python has a word for are that
// too (KeyNotFound is a KeyError). What a call of the system failed with has errno and filename.

#include <penstock/state/errors.h>

#include <type_traits>

#include "convert.h"
#include "register.h"

namespace penstock::python {
namespace py = pybind11;

namespace {

template <typename Error>
py::handle classOf;  // in Python; the module keeps it

/// What pybind11 would do by itself, but for texts that are not UTF-8, such as those that name a
/// file: they are a str as everywhere else.
template <typename Error>
void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const Error& error) {
    const py::object raised = classOf<Error>(toText(error.what()));
    if constexpr (requires { error.osError(); }) {  // what an OSError knows besides its text
      raised.attr("errno") = error.osError();
      if (!error.file().empty()) {
        raised.attr("filename") =
            py::module_::import("os").attr("fsdecode")(py::bytes(error.file()));
      }
    }
    PyErr_SetObject(classOf<Error>.ptr(), raised.ptr());
  }
}

/// With `builtin`, it is that one of Python's too.
template <typename Error>
void registerError(py::module_& module, const char* name, const char* doc,
                   const py::object& builtin = {}) {
  py::object bases = py::reinterpret_borrow<py::object>(PyExc_Exception);
  if (!std::is_same_v<Error, penstock::Error>) bases = module.attr("Error");
  if (builtin) bases = py::make_tuple(bases, builtin);
  classOf<Error> = py::exception<Error>(module, name, bases).release();
  classOf<Error>.attr("__doc__") = doc;
  py::register_exception_translator(&translate<Error>);
}

py::object builtin(const char* name) { return py::module_::import("builtins").attr(name); }

}  // namespace

void registerErrors(py::module_& module) {
  using namespace penstock::state;
  // The last one registered is tried first: the base comes before what is derived from it.
  registerError<penstock::Error>(module, "Error", "Base of every error that Penstock raises.");
  // KeyError would show the message in quotes.
  classOf<penstock::Error>.attr("__str__") = builtin("Exception").attr("__str__");

  registerError<ConfigurationError>(module, "ConfigurationError",
                                    "An option, address or name cannot be used as given.",
                                    builtin("ValueError"));
  registerError<KeyNotFound>(module, "KeyNotFound", "The key is not there.", builtin("KeyError"));
  registerError<TypeMismatch>(module, "TypeMismatch",
                              "The value was stored with a type that was not asked for.",
                              builtin("TypeError"));
  registerError<InvalidArgument>(module, "InvalidArgument", "A key or value is outside the limits.",
                                 builtin("ValueError"));
  registerError<Corruption>(module, "Corruption",
                            "Durable bytes are not what was written. Nothing was changed.");
  registerError<FormatTooNew>(module, "FormatTooNew",
                              "The directory was written by a newer Penstock.");
  registerError<OwnedElsewhere>(module, "OwnedElsewhere",
                                "The directory belongs to another process, which is named.");
  registerError<MemoryExceeded>(
      module, "MemoryExceeded",
      "The stores of the process hold as much memory as they may. Nothing was written.",
      builtin("MemoryError"));
  registerError<DiskFull>(module, "DiskFull", "No space. Nothing was written.", builtin("OSError"));
  registerError<IoError>(module, "IoError", "A call of the operating system failed.",
                         builtin("OSError"));
  registerError<JournalFailed>(module, "JournalFailed",
                               "A sync failed earlier: close and open again to recover.");
  registerError<Closed>(module, "Closed", "The object was closed, or is used in a forked child.");
  registerError<LockTimeout>(module, "LockTimeout",
                             "A lock was not free in time. What was to be done under it was not.",
                             builtin("TimeoutError"));
  registerError<NestedUpdate>(module, "NestedUpdate",
                              "An updater changes the key it is called for. Nothing was changed.");
  registerError<Conflict>(module, "Conflict",
                          "Others changed the key during each attempt. Nothing was changed.");
  registerError<Unavailable>(module, "Unavailable",
                             "A database cannot be reached. Nothing was changed.",
                             builtin("ConnectionError"));
  registerError<OutcomeUnknown>(
      module, "OutcomeUnknown",
      "The connection was lost while writing: the change is made, whole, or it is not.");
  registerError<LockOrder>(module, "LockOrder",
                           "Two locks are taken in one order here and in the other elsewhere.");
  registerError<ForeignFile>(module, "ForeignFile",
                             "The file is of another kind, or of another application.");
  registerError<SourceChanged>(module, "SourceChanged",
                               "A file was replaced by somebody else while it was used.");
}

}  // namespace penstock::python
