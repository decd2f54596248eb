// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::format {

/// A directory: names of files and their bytes.
using Files = std::map<std::string, std::string>;

/// Bytes as lower-case hexadecimal digits, and back.
std::string hex(std::string_view bytes);
std::string unhex(std::string_view digits);

/// What the engine finds in a directory, through its public interface, as journal_reader.py says
/// it. Claims and epochs cannot be listed there: those that `reader` names are asked for. The
/// directory is opened on a simulated machine, so `files` stay as they are.
nlohmann::json engineReads(const Files& files, const nlohmann::json& reader);

/// What journal_reader.py says of each directory.
std::vector<nlohmann::json> pythonReads(const std::vector<std::string>& directories,
                                        const std::vector<std::string>& options = {});

/// How the readers disagree; empty when they do not. Content has to be the same. Where the engine
/// refuses, the reader must refuse too and name the same file, and the same place if that is
/// behind the file's header. `stricter` counts the parts that only the reader refuses: it looks
/// at bytes that the engine does not need.
std::string disagreement(nlohmann::json reader, nlohmann::json engine, std::uint64_t& stricter);

}  // namespace penstock::format
