// SPDX-License-Identifier: Apache-2.0

// penstock.state.datastore.Datastore.
//
// The GIL is released in every call that opens, reads or writes, as each may wait for a disk, a
// database or a key's lock, whose holder may need the GIL to go on. Updaters take it again, in the
// thread that called.

#include <penstock/state/datastore.h>
#include <pybind11/stl.h>

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "convert.h"
#include "gil.h"
#include "register.h"

namespace penstock::python {
namespace py = pybind11;

namespace {

using state::Datastore;
using state::DatastoreEntry;
using state::Revision;
using state::Value;

/// The named tuple `name`, which Python code defines.
py::object tupleOf(const char* name) {
  return py::module_::import("penstock.state.datastore").attr(name);
}

py::object fromRevision(const Revision& revision) {
  return tupleOf("Revision")(revision.created, revision.changes);
}

Revision toRevision(const py::handle& revision) {
  try {
    const auto [created, changes] = revision.cast<std::pair<std::uint64_t, std::uint64_t>>();
    return {created, changes};
  } catch (const py::cast_error&) {
    throw py::type_error("a revision is one that was read, or Revision() for an absent key; not " +
                         py::repr(revision).cast<std::string>());
  }
}

py::object fromEntry(const DatastoreEntry& entry) {
  return tupleOf("DatastoreEntry")(toText(entry.key), fromValue(entry.value.value_or(nullptr)),
                                   fromRevision(entry.revision));
}

Owned<Datastore> open(const py::handle& address, double lockTimeout, const py::handle& table,
                      bool reshuffleTable) {
  constexpr double day = 86'400;
  if (!(lockTimeout >= 0.001 && lockTimeout <= day)) {
    throw ConfigurationError("lock_timeout is a number of seconds from 0.001 to 86400");
  }
  const std::string place = Text(address);
  const state::DatastoreOptions options{.lockTimeout = millisecondsOf(lockTimeout, "lock_timeout"),
                                        .table = Text(table),
                                        .reshuffleTable = reshuffleTable};
  return withoutGil(
      [&] { return Owned<Datastore>(new Datastore(Datastore::open(place, options))); });
}

py::object getOr(const Datastore& self, const py::handle& key, const py::object& fallback) {
  const Text name(key);
  const auto found = withoutGil([&] { return self.get(name); });
  return found ? fromValue(*found) : fallback;
}

py::object get(const Datastore& self, const py::handle& key) {
  return getOr(self, key, py::none());
}

py::object getWithRevision(const Datastore& self, const py::handle& key) {
  const Text name(key);
  return fromEntry(withoutGil([&] { return self.getWithRevision(name); }));
}

py::object list(const Datastore& self, const py::handle& prefix) {
  const Text text(prefix);
  py::list keys;
  for (const std::string& key : withoutGil([&] { return self.list(text); })) {
    keys.append(toText(key));
  }
  return keys;
}

py::object set(Datastore& self, const py::handle& key, const py::handle& value) {
  const Text name(key);
  Value stored = toValue(value);
  return fromValue(withoutGil([&] { return self.set(name, std::move(stored)); }));
}

/// `update` is the method of that name or its optimistic twin.
template <typename Update>
py::object changed(Datastore& self, Update update, const py::handle& key, const py::function& fn,
                   const py::handle& fallback) {
  const Text name(key);
  const Value absent = toValue(fallback);  // each call gets a copy, which it may spoil
  const auto change = [&](const std::optional<Value>& found) -> std::optional<Value> {
    const py::gil_scoped_acquire locked;
    const py::object wanted = fn(fromValue(found.value_or(absent)));
    if (wanted.is_none()) return std::nullopt;
    return toValue(wanted);
  };
  const auto done = withoutGil([&] { return (self.*update)(name, change); });
  return tupleOf("DatastoreUpdate")(fromValue(done.previous.value_or(absent)),
                                    fromValue(done.current.value_or(absent)), done.changed);
}

py::object update(Datastore& self, const py::handle& key, const py::function& fn,
                  const py::handle& fallback) {
  return changed(self, &Datastore::update, key, fn, fallback);
}

py::object updateOptimistic(Datastore& self, const py::handle& key, const py::function& fn,
                            const py::handle& fallback) {
  return changed(self, &Datastore::updateOptimistic, key, fn, fallback);
}

py::object compareAndSet(Datastore& self, const py::handle& key, const py::handle& revision,
                         const py::handle& value) {
  const Text name(key);
  const Revision expected = toRevision(revision);
  Value stored = toValue(value);
  const auto done =
      withoutGil([&] { return self.compareAndSet(name, expected, std::move(stored)); });
  return tupleOf("CompareAndSet")(done.applied, fromRevision(done.revision));
}

bool createOnly(Datastore& self, const py::handle& key, const py::handle& value) {
  const Text name(key);
  Value stored = toValue(value);
  return withoutGil([&] { return self.createOnly(name, std::move(stored)); });
}

bool remove(Datastore& self, const py::handle& key) {
  const Text name(key);
  return withoutGil([&] { return self.remove(name); });
}

py::object watch(const Datastore& self, const py::dict& known, double timeout) {
  std::map<std::string, Revision> revisions;
  for (const auto& [key, revision] : known) {
    revisions[Text(key)] = toRevision(revision);
  }
  const auto atMost = millisecondsOf(timeout, "timeout");
  const auto meanwhile = [] {
    const py::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  };
  py::list newer;
  for (const DatastoreEntry& entry :
       withoutGil([&] { return self.watch(revisions, atMost, meanwhile); })) {
    newer.append(fromEntry(entry));
  }
  return newer;
}

Owned<Datastore> namespaceOf(const Datastore& self, const py::handle& name) {
  const Text text(name);
  return Owned<Datastore>(new Datastore(self.namespace_(text)));
}

std::size_t renameNamespace(Datastore& self, const py::handle& from, const py::handle& to) {
  const Text oldName(from);
  const Text newName(to);
  return withoutGil([&] { return self.renameNamespace(oldName, newName); });
}

}  // namespace

void registerDatastore(py::module_& module) {
  py::class_<Datastore, Owned<Datastore>> type(
      module, "Datastore",
      "Named values that threads, processes and machines share, each changed atomically.\n\n"
      "    store = Datastore.open(\"file:./shared\")\n"
      "    store.update(\"visits\", lambda visits: visits + 1, 0)\n\n"
      "Use it for a counter, a last read position or what was already seen, that several programs\n"
      "read, modify and write. What it reaches is up to the address:\n\n"
      "    memory:           the threads of the process, until the object and its namespaces go\n"
      "    file:DIR          the processes of the machine; a journal, synced\n"
      "    sqlite:FILE       the processes of the machine; an SQLite database, synced\n"
      "    postgresql://...  all machines; a table, as durable as the server's commits\n\n"
      "Keys are str of 1 to 512 bytes of UTF-8, without NUL. Values are as LocalFileStorage's, up\n"
      "to 64 MiB; what is read is a copy. A value may be None, which reads as an absent key does:\n"
      "get_or, the default of update and the revision of an entry (false when absent) tell the\n"
      "two apart.\n\n"
      "Safe from any thread; other Python threads run while a call waits. Reads wait for no lock.\n"
      "Changes of a key wait for each other up to lock_timeout; a lock is free as soon as its\n"
      "holder's process has died. Ctrl-C ends a watch, and other calls once they are done.\n\n"
      "Errors: InvalidArgument (a ValueError) for a key or value beyond the limits; LockTimeout "
      "(a\n"
      "TimeoutError); NestedUpdate; Unavailable (a ConnectionError) when a database cannot be\n"
      "reached: at these nothing was changed. OutcomeUnknown when it went while it was writing:\n"
      "read the key before doing it again. ConfigurationError for a wrong address, credentials, a\n"
      "missing permission, a foreign table, or a database that the package was built without.\n"
      "Corruption; Closed in a forked child; and with file: those of LocalFileStorage.\n\n"
      "A change is on disk when the call returns (but for memory:).");
  type.def_static(
      "open", &open, py::arg("address"), py::kw_only(), py::arg("lock_timeout") = 10.0,
      py::arg("table") = "penstock_datastore", py::arg("reshuffle_table") = false,
      "Opens, or creates.\n\n"
      "lock_timeout: seconds that a change waits for its key's lock, 0.001 to 86400.\n"
      "table: of SQLite and PostgreSQL; created when absent.\n"
      "reshuffle_table: PostgreSQL: the table is one of Reshuffle's SQLStoreAdapter. Values are\n"
      "JSON text there: NaN, infinities, bytes and int beyond 2**53 are refused.");

  type.def("get", &get, py::arg("key"), "The last committed value, at once; None when absent.");
  type.def("get_or", &getOr, py::arg("key"), py::arg("default"), "As get; default when absent.");
  type.def("get_with_revision", &getWithRevision, py::arg("key"),
           "The DatastoreEntry: key, value and revision of one moment. Absent: None, and a\n"
           "revision that is false.");
  type.def("list", &list, py::arg("prefix") = "",
           "The keys of this namespace that begin with prefix, in order of their bytes; those of\n"
           "namespaces in it are not among them.");

  type.def("set", &set, py::arg("key"), py::arg("value"),
           "Stores the value and returns it as stored. For read-modify-write use update.");
  type.def("update", &update, py::arg("key"), py::arg("fn"), py::arg("default") = py::none(),
           "Replaces the value by fn(value), while every other change of the key, in any process,\n"
           "waits. Returns a DatastoreUpdate: old, new and changed.\n\n"
           "fn gets default when the key is absent, and is called once. When it returns None, or\n"
           "what it got, nothing is written (None itself is stored by set and compare_and_set).\n"
           "It may do I/O and use the store, but for changes of this key through this object or\n"
           "its namespaces: NestedUpdate. What it raises comes out as it is; nothing is changed\n"
           "then, and the lock is free.");
  type.def("update_optimistic", &updateOptimistic, py::arg("key"), py::arg("fn"),
           py::arg("default") = py::none(),
           "As update, but no lock is held while fn runs: when others have changed the key\n"
           "meanwhile it runs again, so it must have no side effects. Conflict after 100 times.");
  type.def("compare_and_set", &compareAndSet, py::arg("key"), py::arg("revision"), py::arg("value"),
           "Writes if the key still has that revision; Revision() is that of an absent key.\n"
           "Returns a CompareAndSet: applied, and the revision that the key has now.");
  type.def("create_only", &createOnly, py::arg("key"), py::arg("value"),
           "Writes if the key is absent;\nwhether it did.");
  type.def("remove", &remove, py::arg("key"), "Removes the key;\nwhether it was there.");

  type.def("watch", &watch, py::arg("known"), py::arg("timeout"),
           "Returns as soon as a key has another revision than known, a dict, gives it: the\n"
           "entries that have. Empty after timeout seconds, at most a day. Ctrl-C, like any\n"
           "signal whose handler raises, ends it within half a second.");
  type.def("namespace", &namespaceOf, py::arg("name"),
           "A part of the store with keys of its own: name is 1 to 255 bytes of UTF-8 without\n"
           "NUL. Namespaces nest.");
  type.def("rename_namespace", &renameNamespace, py::arg("old"), py::arg("new"),
           "Moves all that is in namespace old of this one, inner namespaces too, to namespace\n"
           "new; how many keys. Key by key: an error or a kill leaves each key in one of the two\n"
           "(or, with the same value, in both), and the same call goes on from there. Revisions\n"
           "begin anew. Conflict when new has a key with another value. Stop programs that use\n"
           "old first: what they write there afterwards stays.");
}

}  // namespace penstock::python
