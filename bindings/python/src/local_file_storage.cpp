// SPDX-License-Identifier: Apache-2.0

// penstock.state.localfilestorage.LocalFileStorage.
//
// The GIL is released where C++ may wait: while opening, closing and writing. Reads keep it, as
// they copy from memory. What a Python object holds is copied, or its reference kept, before.

#include <penstock/state/local_file_storage.h>
#include <penstock/state/memory.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>

#include "convert.h"
#include "pending.h"
#include "register.h"

namespace penstock::python {
namespace py = pybind11;

namespace {

using state::LocalFileStorage;
using state::Value;

/// A storage that can be closed before its object goes.
class Storage {
 public:
  explicit Storage(LocalFileStorage storage) : storage_(std::move(storage)) {}
  Storage(Storage&& other) noexcept : storage_(std::exchange(other.storage_, std::nullopt)) {}
  Storage& operator=(Storage&&) = delete;
  ~Storage() { close(); }

  // A handle of one's own: another thread may close this object while the GIL is released.
  [[nodiscard]] LocalFileStorage handle() const {
    if (!storage_) throw state::Closed("the storage was closed; open it again");
    return *storage_;
  }
  [[nodiscard]] const LocalFileStorage& read() const {
    if (!storage_) throw state::Closed("the storage was closed; open it again");
    return *storage_;
  }
  void close() {
    if (!storage_) return;
    std::optional<LocalFileStorage> closing = std::exchange(storage_, std::nullopt);
    const py::gil_scoped_release unlocked;
    closing.reset();
  }

 private:
  std::optional<LocalFileStorage> storage_;
};

/// What `work` does with the storage, the GIL released: also while the handle goes, which may be
/// the last one and then syncs.
template <typename Work>
auto withoutGil(const Storage& self, Work&& work) {
  LocalFileStorage handle = self.handle();
  const py::gil_scoped_release unlocked;
  LocalFileStorage last = std::move(handle);
  return work(last);
}

Storage open(const py::object& directory, const std::string& durability, bool shared,
             bool createDirectory, bool allowNetworkFileSystem, bool lowerCaseKeys,
             double syncInterval, const std::optional<std::string>& engine) {
  state::LocalFileStorageOptions options;
  if (durability == "buffered") {
    options.durability = state::Durability::Buffered;
  } else if (durability != "synced") {
    throw ConfigurationError("durability is \"synced\" or \"buffered\", not \"" + durability +
                             "\"");
  }
  if (!(syncInterval > 0 && syncInterval <= 3600)) {
    throw ConfigurationError("sync_interval is a number of seconds above 0, up to 3600");
  }
  if (engine == "file") {
    options.engine = state::Engine::File;
  } else if (engine == "memory") {
    options.engine = state::Engine::Memory;
  } else if (engine == "rocksdb") {
    options.engine = state::Engine::RocksDb;
  } else if (engine) {
    throw ConfigurationError("engine is \"file\", \"memory\" or \"rocksdb\", not \"" + *engine +
                             "\"");
  }
  options.sharing = shared ? state::Sharing::Shared : state::Sharing::Exclusive;
  options.createDirectory = createDirectory;
  options.allowNetworkFileSystem = allowNetworkFileSystem;
  options.lowerCaseKeys = lowerCaseKeys;
  options.syncInterval = std::chrono::milliseconds(
      std::max<std::int64_t>(1, static_cast<std::int64_t>(syncInterval * 1000)));
  const std::string path =
      directory.is_none() ? LocalFileStorage::defaultDirectory() : pathOf(directory);
  const py::gil_scoped_release unlocked;
  return Storage(LocalFileStorage(path, options));
}

// Calls `store` with the value as the type it is stored with, the GIL released.
template <typename Store>
auto withValue(const py::handle& object, Store&& store) {
  PyObject* const raw = object.ptr();
  // The common types without a detour; a float is a double, and a bool is no int.
  if (PyFloat_CheckExact(raw)) {
    const double value = PyFloat_AS_DOUBLE(raw);
    const py::gil_scoped_release unlocked;
    return store(value);
  }
  if (PyBytes_CheckExact(raw)) {  // immutable, and the caller keeps it
    const auto value = std::as_bytes(
        std::span(PyBytes_AS_STRING(raw), static_cast<std::size_t>(PyBytes_GET_SIZE(raw))));
    const py::gil_scoped_release unlocked;
    return store(value);
  }
  if (PyUnicode_CheckExact(raw)) {
    std::string scratch;
    const std::string_view value = textOf(object, scratch);
    const py::gil_scoped_release unlocked;
    return store(value);
  }
  const Value value = toValue(object);
  const py::gil_scoped_release unlocked;
  return store(value);
}

void set(const Storage& self, const py::handle& key, const py::handle& value) {
  const Text name(key);
  LocalFileStorage handle = self.handle();
  withValue(value, [&](const auto& stored) {
    LocalFileStorage storage = std::move(handle);  // goes without the GIL
    storage.set(name, stored);
  });
}

py::object get(const Storage& self, const py::handle& key) {
  return fromValue(self.read().get<Value>(Text(key)));
}

py::object getOr(const Storage& self, const py::handle& key, const py::object& fallback) {
  const std::optional<Value> found = self.read().find<Value>(Text(key));
  return found ? fromValue(*found) : fallback;
}

bool containsKey(const Storage& self, const py::handle& key) {
  return self.read().containsKey(Text(key));
}

void remove(const Storage& self, const py::handle& key) {
  const Text name(key);
  withoutGil(self, [&](LocalFileStorage& storage) { storage.remove(name); });
}

void clear(const Storage& self) {
  withoutGil(self, [](LocalFileStorage& storage) { storage.clear(); });
}

void flush(const Storage& self) {
  withoutGil(self, [](LocalFileStorage& storage) { storage.flush(); });
}

py::object keys(const Storage& self, const py::handle& prefix) {
  py::list names;
  for (const std::string& key : self.read().keys(Text(prefix))) names.append(toText(key));
  return names;
}

py::object getAllKeys(const Storage& self) { return keys(self, py::str()); }

Storage subStorage(const Storage& self, const py::handle& name) {
  const Text key(name);
  return Storage(
      withoutGil(self, [&](LocalFileStorage& storage) { return storage.subStorage(key); }));
}

// The twins. Whatever is wrong comes from the result, not from the call.

Pending setAsync(const Storage& self, const py::handle& key, const py::handle& value) {
  return Pending::of([&] {
    const Text name(key);
    LocalFileStorage handle = self.handle();
    return withValue(value, [&](const auto& stored) {
      LocalFileStorage storage = std::move(handle);  // goes without the GIL
      return storage.setAsync(name, stored);
    });
  });
}

Pending removeAsync(const Storage& self, const py::handle& key) {
  return Pending::of([&] {
    const Text name(key);
    return withoutGil(self, [&](LocalFileStorage& storage) { return storage.removeAsync(name); });
  });
}

Pending clearAsync(const Storage& self) {
  return Pending::of([&] {
    return withoutGil(self, [](LocalFileStorage& storage) { return storage.clearAsync(); });
  });
}

Pending flushAsync(const Storage& self) {
  return Pending::of([&] {
    return withoutGil(self, [](LocalFileStorage& storage) { return storage.flushAsync(); });
  });
}

Pending getAsync(const Storage& self, const py::handle& key) {
  return Pending::of([&] { return get(self, key); });
}

Pending getOrAsync(const Storage& self, const py::handle& key, const py::object& fallback) {
  return Pending::of([&] { return getOr(self, key, fallback); });
}

Pending containsKeyAsync(const Storage& self, const py::handle& key) {
  return Pending::of([&] { return py::object(py::bool_(containsKey(self, key))); });
}

Pending getAllKeysAsync(const Storage& self) {
  return Pending::of([&] { return getAllKeys(self); });
}

// The spelling of the Quix document, and Python's.
template <typename Class, typename Method, typename... Extra>
void both(Class& type, const char* camel, const char* snake, Method method, const Extra&... extra) {
  type.def(camel, method, extra...);
  type.def(snake, method, extra...);
}

std::pair<std::uint64_t, std::uint64_t> storeMemory() {
  const state::StoreMemory memory = state::storeMemory();
  return {memory.usedBytes, memory.limitBytes};
}

}  // namespace

void registerLocalFileStorage(py::module_& module) {
  module.def("set_store_memory_limit", &state::setStoreMemoryLimit, py::arg("bytes"),
             "Bounds what all storages of the process hold in memory together; by default half of\n"
             "what the machine, or the cgroup, may use. Beyond it blocks are read anew, snapshots\n"
             "are written sooner, writers wait, and at last a write is refused: MemoryExceeded.\n"
             "InvalidArgument below 16 MiB.");
  module.def("store_memory", &storeMemory,
             "Bytes that all storages of the process hold in memory, and their limit.");
  py::class_<Storage> type(
      module, "LocalFileStorage",
      "A directory that keeps named values across restarts, crashes and power loss.\n\n"
      "Values are None, bool, int (64 bits), float, str, bytes, list and dict; bool stays bool,\n"
      "bytearray comes back as bytes and tuple as list. A set returns when it is on disk\n"
      "(durability \"synced\") or when it survives the process (\"buffered\", synced every\n"
      "sync_interval seconds). Every method has an ...Async twin whose result is waited for with\n"
      "result() or await. Safe from any thread. One process at a time has a directory open,\n"
      "unless all open it with shared=True. engine says how the content is kept: \"file\", the\n"
      "default; \"memory\", of which nothing is on disk; \"rocksdb\", for more than fits into\n"
      "memory, where the package was built with it. It is remembered, and may be changed.");
  type.def(py::init(&open), py::arg("directory") = py::none(), py::kw_only(),
           py::arg("durability") = "synced", py::arg("shared") = false,
           py::arg("create_directory") = true, py::arg("allow_network_file_system") = false,
           py::arg("lower_case_keys") = false, py::arg("sync_interval") = 0.1,
           py::arg("engine") = py::none(),
           "Opens, or creates, the directory: by default $PENSTOCK_STATE_DIR, else ./state.");
  type.def_property_readonly(
      "directory",
      [](const Storage& self) {
        return py::module_::import("os").attr("fsdecode")(py::bytes(self.read().directory()));
      },
      "Where the values are.");

  type.def("set", &set, py::arg("key"), py::arg("value"),
           "Sets the key. OverflowError for an int beyond 64 bits.");
  type.def("get", &get, py::arg("key"), "The key's value; KeyNotFound (a KeyError) when absent.");
  type.def("remove", &remove, py::arg("key"), "Removes the key; no error when absent.");
  type.def("clear", &clear, "Removes all keys, those of sub-storages too, as one step.");
  type.def("flush", &flush, "Returns when everything written before is on disk.");
  type.def("keys", &keys, py::arg("prefix") = "",
           "The keys that begin with prefix, in order of their bytes.");
  both(type, "getOr", "get_or", &getOr, py::arg("key"), py::arg("default"),
       "The key's value, or default when absent.");
  both(type, "containsKey", "contains_key", &containsKey, py::arg("key"),
       "Whether the key is there.");
  both(type, "getAllKeys", "get_all_keys", &getAllKeys, "All keys, in order of their bytes.");
  both(type, "subStorage", "sub_storage", &subStorage, py::arg("name"),
       "A storage of its own inside this one; clear() of this one clears it.");

  both(type, "setAsync", "set_async", &setAsync, py::arg("key"), py::arg("value"),
       "As set; returns at once.");
  both(type, "getAsync", "get_async", &getAsync, py::arg("key"), "As get.");
  both(type, "getOrAsync", "get_or_async", &getOrAsync, py::arg("key"), py::arg("default"),
       "As getOr.");
  both(type, "removeAsync", "remove_async", &removeAsync, py::arg("key"),
       "As remove; returns at once.");
  both(type, "clearAsync", "clear_async", &clearAsync, "As clear; returns at once.");
  both(type, "flushAsync", "flush_async", &flushAsync, "As flush; returns at once.");
  both(type, "containsKeyAsync", "contains_key_async", &containsKeyAsync, py::arg("key"),
       "As containsKey.");
  both(type, "getAllKeysAsync", "get_all_keys_async", &getAllKeysAsync, "As getAllKeys.");

  type.def("close", &Storage::close,
           "Syncs what is pending and releases the directory, once its sub-storages are closed "
           "too.");
  type.def("__enter__", [](const py::object& self) { return self; });
  type.def("__exit__", [](Storage& self, const py::args&) { self.close(); });

  type.def("__getitem__", &get, py::arg("key"));
  type.def("__setitem__", &set, py::arg("key"), py::arg("value"));
  type.def(
      "__delitem__",
      [](const Storage& self, const py::handle& key) {
        (void)self.read().get<Value>(Text(key));  // KeyNotFound, as a dict
        remove(self, key);
      },
      py::arg("key"));
  type.def("__contains__", &containsKey, py::arg("key"));
  type.def("__len__", [](const Storage& self) { return self.read().size(); });
  type.def("__iter__", [](const Storage& self) { return py::iter(getAllKeys(self)); });
}

}  // namespace penstock::python
