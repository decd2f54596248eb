// SPDX-License-Identifier: Apache-2.0

// penstock.state.sharedstate.SharedState.
//
// The GIL is released where C++ may wait: for a lock, for the function of an update, which needs
// the GIL, for a file, and for the thread that saves, which may be calling on_failure. Reads keep
// it: what they wait for is held for a moment, by who never waits for the GIL meanwhile.

#include <penstock/state/shared_state.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "convert.h"
#include "gil.h"
#include "register.h"

namespace penstock::python {
namespace py = pybind11;

namespace {

using state::Restored;
using state::SharedEntry;
using state::SharedState;
using state::SharedValue;
using state::Value;

/// What Python code defines.
py::object partOf(const char* name) {
  return py::module_::import("penstock.state.sharedstate").attr(name);
}

py::object fromShared(const SharedValue& value) {
  return value ? fromValue(*value) : py::object(py::none());
}

py::object fromTexts(const std::vector<std::string>& texts) {
  py::list list;
  for (const std::string& text : texts) list.append(toText(text));
  return list;
}

py::object fromEntry(const SharedEntry& entry) {
  return partOf("SharedEntry")(toText(entry.name), fromValue(*entry.value),
                               fromTexts(entry.scopes));
}

/// `at_most`: seconds, or None, which is for ever.
std::chrono::milliseconds atMostOf(std::optional<double> seconds) {
  return seconds ? millisecondsOf(*seconds, "at_most") : SharedState::forever;
}

/// The arguments include, exclude and scopes of options that have such lists.
template <typename Options>
void select(Options& options, const py::handle& include, const py::handle& exclude,
            const py::handle& scopes) {
  options.include = textsOf(include, "include");
  options.exclude = textsOf(exclude, "exclude");
  options.scopes = textsOf(scopes, "scopes");
}

state::SharedFilter filterOf(const py::handle& include, const py::handle& exclude,
                             const py::handle& scopes, const py::handle& pattern) {
  state::SharedFilter filter;
  select(filter, include, exclude, scopes);
  filter.pattern = Text(pattern);
  return filter;
}

state::SharedSaveOptions saveOptionsOf(const py::handle& include, const py::handle& exclude,
                                       const py::handle& scopes, bool compress, bool merge,
                                       std::optional<double> atMost) {
  state::SharedSaveOptions options;
  select(options, include, exclude, scopes);
  options.compress = compress;
  options.merge = merge;
  options.atMost = atMostOf(atMost);
  return options;
}

/// A lock, and the right to give it back before its object goes.
class Guard {
 public:
  explicit Guard(state::SharedGuard held) : held_(std::move(held)) {}
  void release() { held_.reset(); }

 private:
  std::optional<state::SharedGuard> held_;
};

// One name.

Owned<SharedState> create(const py::handle& application) {
  return Owned<SharedState>(new SharedState({.application = Text(application)}));
}

void set(SharedState& self, const py::handle& name, const py::handle& value,
         const py::handle& scopes) {
  const Text key(name);
  Value stored = toValue(value);
  std::vector<std::string> words = textsOf(scopes, "scopes");
  withoutGil([&] { self.set(key, std::move(stored), std::move(words)); });
}

py::object get(const SharedState& self, const py::handle& name) {
  return fromShared(self.get(Text(name)));
}

py::object getOr(const SharedState& self, const py::handle& name, const py::object& fallback) {
  const SharedValue value = self.get(Text(name));
  return value ? fromValue(*value) : fallback;
}

py::object entry(const SharedState& self, const py::handle& name) {
  const std::optional<SharedEntry> found = self.entry(Text(name));
  return found ? fromEntry(*found) : py::object(py::none());
}

bool contains(const SharedState& self, const py::handle& name) { return self.contains(Text(name)); }

py::object remove(SharedState& self, const py::handle& name) {
  const Text key(name);
  return fromShared(withoutGil([&] { return self.remove(key); }));
}

py::object update(SharedState& self, const py::handle& name, const py::function& fn,
                  const py::handle& fallback) {
  const Text key(name);
  const Value absent = toValue(fallback);
  const auto done = withoutGil([&] {
    return self.update(key, [&](const std::optional<Value>& found) {
      const py::gil_scoped_acquire locked;
      return toValue(fn(fromValue(found.value_or(absent))));
    });
  });
  return partOf("SharedUpdate")(done.previous ? fromValue(*done.previous) : fromValue(absent),
                                fromValue(*done.current));
}

void setItem(SharedState& self, const py::handle& name, const py::handle& value) {
  const Text key(name);
  Value stored = toValue(value);
  withoutGil([&] { self[key] = std::move(stored); });
}

// All names.

py::object names(const SharedState& self, const py::handle& include, const py::handle& exclude,
                 const py::handle& scopes, const py::handle& pattern) {
  const auto filter = filterOf(include, exclude, scopes, pattern);
  return fromTexts(withoutGil([&] { return self.names(filter); }));
}

py::object snapshot(const SharedState& self, const py::handle& include, const py::handle& exclude,
                    const py::handle& scopes, const py::handle& pattern,
                    std::optional<double> atMost) {
  const auto filter = filterOf(include, exclude, scopes, pattern);
  const auto time = atMostOf(atMost);
  py::list entries;
  for (const SharedEntry& entry : withoutGil([&] { return self.snapshot(filter, time); })) {
    entries.append(fromEntry(entry));
  }
  return entries;
}

// Locks.

void createLock(SharedState& self, const py::handle& name) { self.createLock(Text(name)); }

void findOrCreateLock(SharedState& self, const py::handle& name) {
  self.findOrCreateLock(Text(name));
}

/// Waits in steps, so that Ctrl-C works. Who holds no lock may lose its place before a snapshot
/// with each; nobody waits for a lock in order of arrival.
Guard lock(SharedState& self, const py::handle& name, std::optional<double> atMost) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds step{200};
  const Text key(name);
  const auto time = atMostOf(atMost);
  const bool forever = time > std::chrono::years(100);  // as C++ has it
  const auto end = forever ? Clock::time_point::max() : Clock::now() + time;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    const auto part = std::clamp(left, std::chrono::milliseconds(0), step);
    try {
      return Guard(withoutGil([&] { return self.lock(key, part); }));
    } catch (const state::LockTimeout&) {
      if (left <= step) {
        throw state::LockTimeout("shared state: the lock " + py::repr(name).cast<std::string>() +
                                 " was not free within " +
                                 py::str(py::float_(*atMost)).cast<std::string>() + " s");
      }
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

// Files.

void save(SharedState& self, const py::handle& path, const py::handle& include,
          const py::handle& exclude, const py::handle& scopes, bool compress, bool merge,
          std::optional<double> atMost) {
  const std::string file = pathOf(path);
  const auto options = saveOptionsOf(include, exclude, scopes, compress, merge, atMost);
  withoutGil([&] { self.save(file, options); });
}

bool restore(SharedState& self, const py::handle& path, bool merge, std::optional<double> atMost) {
  const std::string file = pathOf(path);
  const state::SharedRestoreOptions options{merge, atMostOf(atMost)};
  return withoutGil([&] { return self.restore(file, options); }) == Restored::Restored;
}

bool importPode(SharedState& self, const py::handle& path, bool merge,
                std::optional<double> atMost) {
  const std::string file = pathOf(path);
  const state::SharedRestoreOptions options{merge, atMostOf(atMost)};
  return withoutGil([&] { return self.importPode(file, options); }) == Restored::Restored;
}

void exportPode(SharedState& self, const py::handle& path, int version, const py::handle& include,
                const py::handle& exclude, const py::handle& scopes, bool compress,
                std::optional<double> atMost) {
  const std::string file = pathOf(path);
  state::PodeExportOptions options;
  options.version = version;
  select(options, include, exclude, scopes);
  options.compress = compress;
  options.atMost = atMostOf(atMost);
  withoutGil([&] { self.exportPode(file, options); });
}

/// The exception that is being handled, as the one that Python would get.
py::object currentError() {
  const py::cpp_function rethrow(
      [error = std::current_exception()] { std::rethrow_exception(error); });
  try {
    rethrow();
  } catch (py::error_already_set& raised) {
    return raised.value();
  }
  return py::none();
}

/// `fn` for a thread that is not Python's, which may be the one that drops it.
std::function<void(const std::exception&)> failureHandler(py::function fn) {
  const std::shared_ptr<py::function> shared(new py::function(std::move(fn)),
                                             [](py::function* last) {
                                               const py::gil_scoped_acquire locked;
                                               delete last;
                                             });
  return [shared](const std::exception&) {
    const py::gil_scoped_acquire locked;
    try {
      (*shared)(currentError());
    } catch (py::error_already_set& raised) {
      raised.discard_as_unraisable(*shared);
    }
  };
}

void autosave(const py::object& object, const py::handle& path, std::optional<double> interval,
              const py::handle& cron, std::optional<double> afterChange, bool atShutdown,
              const std::optional<py::function>& onFailure, const py::handle& include,
              const py::handle& exclude, const py::handle& scopes, bool compress, bool merge,
              std::optional<double> atMost) {
  auto& self = object.cast<SharedState&>();
  state::AutosaveOptions options;
  options.path = pathOf(path);
  options.save = saveOptionsOf(include, exclude, scopes, compress, merge, atMost);
  if (interval) options.interval = millisecondsOf(*interval, "interval");
  options.cron = Text(cron);
  if (afterChange) options.afterChange = millisecondsOf(*afterChange, "after_change");
  options.atShutdown = atShutdown;
  if (onFailure) options.onFailure = failureHandler(*onFailure);
  withoutGil([&] { self.autosave(options); });
  partOf("_closed_at_exit").attr("add")(object);
}

py::object autosaveStatus(const SharedState& self) {
  const state::AutosaveStatus status = self.autosaveStatus();
  return partOf("AutosaveStatus")(status.saves, status.failures, toText(status.lastFailure));
}

void close(SharedState& self) {
  withoutGil([&] { self.close(); });
}

}  // namespace

void registerSharedState(py::module_& module) {
  py::class_<Guard>(module, "SharedGuard",
                    "A lock of a SharedState, held until release(), the end of its with block, or\n"
                    "until the object goes. Owned by the thread that took it.")
      .def("release", &Guard::release, "Gives the lock back;\nnothing when that was done before.")
      .def("__enter__", [](const py::object& self) { return self; })
      .def("__exit__", [](Guard& self, const py::args&) { self.release(); });

  const py::tuple none;
  py::class_<SharedState, Owned<SharedState>> type(
      module, "SharedState",
      "Named values that every thread of a process shares.\n\n"
      "    state = SharedState()\n"
      "    state.set(\"hits\", 0, [\"web\"])\n"
      "    state.update(\"hits\", lambda hits: hits + 1)\n"
      "    state[\"greeting\"] = \"hello\"\n\n"
      "It lives in memory; what is to outlast the process is saved to a file. Where each change\n"
      "must survive a crash by itself use LocalFileStorage.\n\n"
      "Names are str of 1 to 512 bytes, and keep the order in which they came; a name that is set\n"
      "again keeps its place. Each has a value, as LocalFileStorage's (None is one, and not the\n"
      "same as none: see `in` and get_or), and any number of scopes, words that say what it\n"
      "belongs to. What is read is a copy.\n\n"
      "Safe from any thread; other Python threads run while a call waits. Each call is one step;\n"
      "update is the way to change a value depending on what it was. What belongs together in\n"
      "several names is written under a lock: snapshot and the calls that write a file wait until\n"
      "no other thread holds one.\n\n"
      "at_most is a time in seconds, None for ever; LockTimeout (a TimeoutError) after it. Ctrl-C\n"
      "ends the wait for a lock, and other calls once they are done.\n\n"
      "Errors: InvalidArgument (a ValueError) for a name beyond the limits; Closed after close()\n"
      "and in a forked child; the rest is said at each method.");
  type.def(py::init(&create), py::kw_only(), py::arg("application") = "",
           "application: whose state it is. Stands in every file; a file of another one is not\n"
           "restored. Empty: not checked, on either side.");

  type.def("set", &set, py::arg("name"), py::arg("value"), py::arg("scopes") = none,
           "Sets value and scopes;\nthe scopes that it had are gone.");
  type.def("get", &get, py::arg("name"), "The value;\nNone when absent.");
  type.def("get_or", &getOr, py::arg("name"), py::arg("default"),
           "The value;\ndefault when absent.");
  type.def("entry", &entry, py::arg("name"),
           "The SharedEntry: name, value and scopes;\nNone when absent.");
  type.def("remove", &remove, py::arg("name"), "Returns what was removed;\nNone when absent.");
  type.def(
      "update", &update, py::arg("name"), py::arg("fn"), py::arg("default") = py::none(),
      "Sets the name to fn(value), default when absent, as one step that no other write comes\n"
      "between; scopes stay, and reads go on meanwhile. Returns a SharedUpdate: old and new.\n"
      "fn may read this state; a call that writes, locks or saves in there is\n"
      "InvalidArgument. What it raises comes out as it is, and nothing is changed. What it\n"
      "returns is stored, None too.");
  type.def("__getitem__", &get, py::arg("name"));
  type.def("__setitem__", &setItem, py::arg("name"), py::arg("value"));  // keeps the scopes
  type.def("__contains__", &contains, py::arg("name"));

  type.def(
      "names", &names, py::kw_only(), py::arg("include") = none, py::arg("exclude") = none,
      py::arg("scopes") = none, py::arg("pattern") = "",
      "The names that pass all four filters, in the order in which they came: of include, not\n"
      "of exclude, with one of scopes, and in which pattern, a regular expression of\n"
      "ECMAScript (256 bytes at most, no back-references), is found. An empty one lets all\n"
      "pass. Repetitions of repetitions may cost seconds a name: trust who gives a pattern.");
  type.def("__iter__", [](const SharedState& self) {
    return py::iter(fromTexts(withoutGil([&] { return self.names(); })));
  });
  type.def("snapshot", &snapshot, py::kw_only(), py::arg("include") = none,
           py::arg("exclude") = none, py::arg("scopes") = none, py::arg("pattern") = "",
           py::arg("at_most") = 30.0,
           "The entries whose names pass, at one moment at which no other thread holds a lock;\n"
           "the calling one may. Filters are as in names.");

  type.def("create_lock", &createLock, py::arg("name"),
           "Makes a lock, whose name has nothing to do with those of values.\n"
           "InvalidArgument when it is there already.");
  type.def("find_or_create_lock", &findOrCreateLock, py::arg("name"),
           "As create_lock,\nbut it may be there.");
  type.def(
      "lock", &lock, py::arg("name"), py::arg("at_most"),
      "Waits for a lock and takes it:\n\n"
      "    with state.lock(\"pair\", 5):\n"
      "        state[\"left\"], state[\"right\"] = 1, 1\n\n"
      "A thread that holds a lock may take it again, and others too. InvalidArgument for a\n"
      "name that was not created; LockTimeout. Builds with assertions also refuse, with\n"
      "LockOrder, an order of locks that could make two threads wait for each other for ever.");

  type.def("save", &save, py::arg("path"), py::kw_only(), py::arg("include") = none,
           py::arg("exclude") = none, py::arg("scopes") = none, py::arg("compress") = false,
           py::arg("merge") = false, py::arg("at_most") = 30.0,
           "Writes what passes all three filters (see names), as it is at one moment (see\n"
           "snapshot), in the place of the file, which is kept as PATH.previous. compress: one\n"
           "line. merge: names that are only in the file stay in it. When it returns the file is\n"
           "on disk; at any instant before, and after any error, the old file or the new one is\n"
           "there as a whole. A symbolic link is followed, and the mode of the file stays. Who\n"
           "saves to the same file at the same time waits. Errors: InvalidArgument for a value\n"
           "nested more than 128 deep and for a path where something that is no file is;\n"
           "LockTimeout, DiskFull, IoError; with merge those of restore, and SourceChanged.");
  type.def("restore", &restore, py::arg("path"), py::kw_only(), py::arg("merge") = false,
           py::arg("at_most") = 30.0,
           "Reads what save has written, in the place of all that is there; merge: names that are\n"
           "not in the file stay. Returns whether there was a file. All of it is checked before\n"
           "anything is changed: Corruption for one that is empty, cut off or damaged;\n"
           "InvalidArgument, ForeignFile, FormatTooNew, LockTimeout, IoError.");
  type.def("import_pode", &importPode, py::arg("path"), py::kw_only(), py::arg("merge") = false,
           py::arg("at_most") = 30.0,
           "As restore, of a file that Pode has saved (versions 0, 1 and 2). What a value has no\n"
           "room for is kept as a map with a mark, {\"$pode.DateTime\": \"2026-...\"}.");
  type.def(
      "export_pode", &exportPode, py::arg("path"), py::kw_only(), py::arg("version") = 2,
      py::arg("include") = none, py::arg("exclude") = none, py::arg("scopes") = none,
      py::arg("compress") = false, py::arg("at_most") = 30.0,
      "As save, a file for Pode, of version 1 or 2. InvalidArgument for a value that Pode has\n"
      "no room for.");
  type.def(
      "autosave", &autosave, py::arg("path"), py::kw_only(), py::arg("interval") = py::none(),
      py::arg("cron") = "", py::arg("after_change") = py::none(), py::arg("at_shutdown") = true,
      py::arg("on_failure") = py::none(), py::arg("include") = none, py::arg("exclude") = none,
      py::arg("scopes") = none, py::arg("compress") = false, py::arg("merge") = false,
      py::arg("at_most") = 30.0,
      "From now on saves by itself, in a thread of its own, when something has changed: every\n"
      "interval seconds; at the minutes of cron, a line of five fields or @hourly and its\n"
      "kin, in UTC; after_change seconds after a change, with those that come meanwhile; and\n"
      "at shutdown: by close(), when the object goes, and when the interpreter exits (not\n"
      "when it is killed). The rest is as for save. Takes the place of what was asked before.\n"
      "Call it behind restore: what is saved at shutdown replaces the file.\n\n"
      "on_failure is called with the error of a save that failed, by the thread that saves;\n"
      "it is tried again on the next occasion. It may not close the state or call autosave.\n"
      "InvalidArgument for no path, no occasion, or a cron line that is none.");
  type.def("autosave_status", &autosaveStatus,
           "The AutosaveStatus: saves, failures, last_failure (\"\" once a save went well again).");

  type.def("close", &close,
           "Every later call fails with Closed, waiting ones do at once. Saves, if autosave says\n"
           "so; when that fails the state stays open.");
  type.def("__enter__", [](const py::object& self) { return self; });
  type.def("__exit__", [](SharedState& self, const py::args&) { close(self); });
}

}  // namespace penstock::python
