// SPDX-License-Identifier: Apache-2.0
#include "storage_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "penstock/state/detail/storage_names.h"
#include "penstock/state/errors.h"

namespace penstock::state {

namespace {

std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '.';
    if (plain) {
      out.push_back(c);
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string name;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      name.push_back(text[at]);
      continue;
    }
    unsigned byte = 0;
    const std::string_view digits = text.substr(at + 1, 2);
    const char* end = digits.data() + digits.size();
    if (digits.size() != 2 || std::from_chars(digits.data(), end, byte, 16).ptr != end) {
      return std::nullopt;
    }
    name.push_back(static_cast<char>(byte));
    at += 2;
  }
  return name;
}

}  // namespace

std::string pathBelow(const std::string& path, std::string_view name) {
  if (name.empty() || name.size() > subStorageNameBytesMax) {
    throw InvalidArgument(
        fmt::format("the name {} of a sub-storage has {} bytes; names have 1 B to 255 B",
                    shownKey(name), name.size()));
  }
  return path.empty() ? escaped(name) : path + '/' + escaped(name);
}

std::optional<std::vector<std::string>> namesInPath(std::string_view path) {
  std::vector<std::string> names;
  for (std::string_view rest = path; !rest.empty();) {
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const auto name = unescaped(rest.substr(0, end));
    // Written the one way there is; so what ends with '/' is no path either.
    if (!name || name->empty() || name->size() > subStorageNameBytesMax ||
        escaped(*name) != rest.substr(0, end) || end + 1 == rest.size()) {
      return std::nullopt;
    }
    names.push_back(*name);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

std::optional<std::vector<std::string>> detail::subStoragesOf(std::string_view store) {
  if (store == rootStore) return std::vector<std::string>();
  if (!store.starts_with(rootStore) || store[rootStore.size()] != '/') return std::nullopt;
  const std::string_view path = store.substr(rootStore.size() + 1);
  return path.empty() ? std::nullopt : namesInPath(path);
}

std::string shownKey(std::string_view key) {
  constexpr std::size_t shownBytesMax = 80;
  return key.size() <= shownBytesMax
             ? fmt::format("{:?}", key)
             : fmt::format("{:?}... ({} bytes)", key.substr(0, shownBytesMax), key.size());
}

}  // namespace penstock::state
