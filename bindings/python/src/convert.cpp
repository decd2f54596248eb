// SPDX-License-Identifier: Apache-2.0
#include "convert.h"

#include <penstock/state/errors.h>

#include <cmath>
#include <utility>

namespace penstock::python {
namespace py = pybind11;
using state::Value;
using state::ValueMap;
using state::ValueType;

namespace {

[[noreturn]] void raise(PyObject* type, const std::string& message) {
  PyErr_SetString(type, message.c_str());
  throw py::error_already_set();
}

std::string typeNameOf(py::handle object) { return Py_TYPE(object.ptr())->tp_name; }

std::int64_t toInt64(py::handle object) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow != 0) {
    raise(PyExc_OverflowError,
          "int does not fit 64 bits (-9223372036854775808 to 9223372036854775807); store it as "
          "str or bytes");
  }
  if (value == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return value;
}

std::span<const std::byte> view(const char* data, py::ssize_t size) {
  return std::as_bytes(std::span(data, static_cast<std::size_t>(size)));
}

Value toValueAt(py::handle object, std::size_t depth) {
  // A list may hold itself.
  if (depth > Value::depthMax) {
    throw state::InvalidArgument("the value is nested more than " +
                                 std::to_string(Value::depthMax) + " deep; flatten it");
  }
  PyObject* const raw = object.ptr();
  if (raw == Py_None) return {};
  if (PyBool_Check(raw)) return raw == Py_True;  // before int, which it is one of
  if (PyLong_Check(raw)) return toInt64(object);
  if (PyFloat_Check(raw)) return PyFloat_AS_DOUBLE(raw);
  if (PyUnicode_Check(raw)) {
    std::string scratch;
    return textOf(object, scratch);
  }
  if (PyBytes_Check(raw)) return view(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw));
  if (PyByteArray_Check(raw)) return view(PyByteArray_AS_STRING(raw), PyByteArray_GET_SIZE(raw));
  if (PyList_Check(raw) || PyTuple_Check(raw)) {
    Value::List items;
    for (const py::handle item : py::reinterpret_borrow<py::sequence>(object)) {
      items.push_back(toValueAt(item, depth + 1));
    }
    return items;
  }
  if (PyDict_Check(raw)) {
    std::vector<ValueMap::Entry> entries;
    for (const auto& [name, member] : py::reinterpret_borrow<py::dict>(object)) {
      std::string scratch;
      entries.emplace_back(textOf(name, scratch), toValueAt(member, depth + 1));
    }
    return ValueMap(std::move(entries));
  }
  if (PyIndex_Check(raw)) {  // numpy integers
    return toInt64(py::reinterpret_steal<py::object>(PyNumber_Index(raw)));
  }
  raise(PyExc_TypeError, "cannot store a " + typeNameOf(object) +
                             "; types are None, bool, int, float, str, bytes, bytearray, list, "
                             "tuple and dict with str keys");
}

}  // namespace

std::string_view textOf(py::handle object, std::string& scratch) {
  if (!PyUnicode_Check(object.ptr())) {
    raise(PyExc_TypeError, "a name must be a str, not " + typeNameOf(object));
  }
  py::ssize_t size = 0;
  if (const char* text = PyUnicode_AsUTF8AndSize(object.ptr(), &size)) {
    return {text, static_cast<std::size_t>(size)};
  }
  PyErr_Clear();
  const auto bytes = py::reinterpret_steal<py::bytes>(
      PyUnicode_AsEncodedString(object.ptr(), "utf-8", "surrogateescape"));
  if (!bytes) throw py::error_already_set();
  scratch = std::string(bytes);
  return scratch;
}

py::object toText(std::string_view bytes) {
  auto text = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
      bytes.data(), static_cast<py::ssize_t>(bytes.size()), "surrogateescape"));
  if (!text) throw py::error_already_set();
  return text;
}

std::vector<std::string> textsOf(py::handle object, const char* argument) {
  if (PyUnicode_Check(object.ptr())) {
    const std::string text = py::repr(object).cast<std::string>();
    raise(PyExc_TypeError,
          argument + (" must be several str, in a list: [" + text + "] instead of " + text));
  }
  std::vector<std::string> texts;
  for (const py::handle item : py::iter(object)) texts.push_back(Text(item));
  return texts;
}

std::string pathOf(py::handle object) {
  return py::module_::import("os").attr("fsencode")(object).cast<std::string>();
}

std::chrono::milliseconds millisecondsOf(double seconds, const char* argument) {
  if (!(seconds >= 0)) {
    throw state::InvalidArgument(std::string(argument) + " is a number of seconds, 0 or more");
  }
  using Milliseconds = std::chrono::milliseconds;
  const double rounded = std::round(seconds * 1000);
  if (rounded == 0 && seconds > 0) return Milliseconds(1);
  constexpr Milliseconds most = Milliseconds::max();
  if (rounded >= static_cast<double>(most.count())) return most;
  return Milliseconds(static_cast<Milliseconds::rep>(rounded));
}

Value toValue(py::handle object) { return toValueAt(object, 1); }

py::object fromValue(const Value& value) {
  switch (value.type()) {
    case ValueType::Null:
      return py::none();
    case ValueType::Bool:
      return py::bool_(value.asBool());
    case ValueType::Int64:
      return py::int_(value.asInt64());
    case ValueType::Double:
      return py::float_(value.asDouble());
    case ValueType::String:
      return toText(value.asString());
    case ValueType::Binary: {
      const state::Binary& bytes = value.asBinary();
      return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    case ValueType::List: {
      py::list items;
      for (const Value& item : value.asList()) items.append(fromValue(item));
      return items;
    }
    case ValueType::Map: {
      py::dict members;
      for (const auto& [name, member] : value.asMap()) members[toText(name)] = fromValue(member);
      return members;
    }
  }
  return py::none();
}

}  // namespace penstock::python
