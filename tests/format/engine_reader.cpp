// SPDX-License-Identifier: Apache-2.0
#include "engine_reader.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <penstock/state/journal.h>

#include <filesystem>
#include <sstream>

#include "frame.h"
#include "tests/support/build_paths.h"
#include "tests/support/sim_fs.h"
#include "tests/support/subprocess.h"

namespace penstock::format {

using nlohmann::json;
using namespace state;
using testsupport::SimFs;

std::string hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    out += digits[static_cast<unsigned char>(byte) >> 4];
    out += digits[static_cast<unsigned char>(byte) & 15];
  }
  return out;
}

std::string unhex(std::string_view digits) {
  std::string out;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  }
  return out;
}

namespace {

const std::string directory = "/journal";

std::string plain(std::string_view name) {
  std::string out;
  for (const char byte : name) {
    if (byte > 0x20 && byte < 0x7F && byte != '%') {
      out += byte;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(byte));
    }
  }
  return out;
}

std::string named(std::string_view plainName) {
  std::string out;
  for (std::size_t i = 0; i < plainName.size(); ++i) {
    if (plainName[i] != '%') {
      out += plainName[i];
    } else {
      out += static_cast<char>(std::stoi(std::string(plainName.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    }
  }
  return out;
}

json refused(const Corruption& damage) {
  const std::string file = damage.file() == directory
                               ? "."
                               : std::filesystem::path(damage.file()).filename().string();
  return {{"kind", "Corruption"}, {"file", file}, {"offset", damage.offset()}};
}

json readStore(Journal& journal, const StoreInfo& info) {
  json told = {{"id", info.id.value}};
  try {
    json entries = json::array();
    const auto store = journal.store(info.id);
    store->scan({}, {}, [&](std::string_view key, std::string_view value) {
      entries.push_back({hex(key), hex(value)});
      return true;
    });
    EXPECT_EQ(store->size(), entries.size()) << info.name;
    told["entries"] = std::move(entries);
  } catch (const Corruption& damage) {
    told["error"] = refused(damage);
  } catch (const FormatTooNew&) {
    told["error"] = {{"kind", "FormatTooNew"}};
  }
  return told;
}

/// The last offset that the log had reached in an epoch; null when the journal does not know it.
json reached(Journal& journal, const LogInfo& info, std::uint64_t epoch) {
  const auto known = [&](std::uint64_t offset) {
    try {
      journal.checkPosition(info.id, {.epoch = epoch, .offset = offset});
      return true;
    } catch (const PositionOutOfRange&) {
      return false;
    }
  };
  if (!known(info.start)) return nullptr;
  std::uint64_t low = info.start;
  std::uint64_t high = info.end + 1;  // not reached in any
  while (high - low > 1) (known((low + high) / 2) ? low : high) = (low + high) / 2;
  return low;
}

json readLog(const std::shared_ptr<Journal>& journal, const LogInfo& info, const json& epochs) {
  json told = {{"id", info.id.value},
               {"start", info.start},
               {"end", info.end},
               {"maxAgeMs", info.retention.maxAgeMs},
               {"maxBytes", info.retention.maxBytes},
               {"epochs", json::array()},
               {"sections", json::array()}};
  for (const json& epoch : epochs) {
    const std::string id = epoch.at(0);
    told["epochs"].push_back({id, reached(*journal, info, std::stoull(id, nullptr, 16))});
  }
  try {
    LogReader reader(journal, info.id, info.start);
    LogChunk chunk;
    while (reader.next(chunk, ReadLimit::Written)) {
      const std::string_view bytes(reinterpret_cast<const char*>(chunk.bytes.data()),
                                   chunk.bytes.size());
      told["sections"].push_back({chunk.baseOffset, chunk.count, hex(bytes)});
    }
  } catch (const Corruption& damage) {
    told["error"] = refused(damage);
  } catch (const FormatTooNew&) {
    told["error"] = {{"kind", "FormatTooNew"}};
  }
  return told;
}

/// How the newest segment ended, told by what recovery has put aside of it.
json endOf(const Files& before, const SimFs& machine, const Journal& journal,
           const JournalMetrics& metrics) {
  if (metrics.tornTails == 0) {
    const bool any = before.lower_bound("segment-") != before.lower_bound("segment.");
    return {{"kind", any ? "end" : "empty"}};
  }
  for (const std::string& path : machine.files()) {
    const auto torn = path.rfind(".torn-");
    const std::string name = std::filesystem::path(path).filename();
    if (torn == std::string::npos || before.contains(name)) continue;
    const std::string segment = name.substr(0, name.rfind(".torn-"));
    const std::uint64_t used = before.at(segment).find_last_not_of('\0') + 1;
    return {{"kind", "torn"},
            {"file", segment},
            {"offset", used - metrics.tornBytes},
            {"sequence", std::stoull(path.substr(torn + 6))}};
  }
  ADD_FAILURE() << journal.directory() << ": nothing was kept of the torn tail";
  return {};
}

}  // namespace

json engineReads(const Files& files, const json& reader) {
  SimFs machine(1);
  machine.makeSyncedDirectory(directory);
  for (const auto& [name, content] : files) {
    machine.setImage(directory + "/" + name, std::as_bytes(std::span(content)));
  }
  const auto process = machine.startProcess();
  json told;
  try {
    const auto journal = Journal::open(directory, {}, process->environment());
    told["verdict"] = endOf(files, machine, *journal, journal->metrics());
    if (told["verdict"]["kind"] == "empty") return told;
    told["journal"] = journal->id();
    told["stores"] = json::object();
    told["logs"] = json::object();
    told["claims"] = json::object();
    for (const StoreInfo& info : journal->stores()) {
      told["stores"][plain(info.name)] = readStore(*journal, info);
    }
    for (const LogInfo& info : journal->logs()) {
      told["logs"][plain(info.name)] =
          readLog(journal, info, reader.value("epochs", json::array()));
    }
    const json claims = reader.value("claims", json::object());
    for (const auto& claim : claims.items()) {
      const auto taken = journal->tryClaim(named(claim.key()));
      told["claims"][claim.key()] = taken->incarnation() - 1;
    }
    EXPECT_EQ(journal->tryClaim("nobody's")->incarnation(), 1U);
  } catch (const Corruption& damage) {
    told["verdict"] = refused(damage);
  } catch (const FormatTooNew&) {
    told["verdict"] = {{"kind", "FormatTooNew"}};
  }
  process->kill();
  return told;
}

std::vector<json> pythonReads(const std::vector<std::string>& directories,
                              const std::vector<std::string>& options) {
  std::vector<std::string> arguments{
      PENSTOCK_PYTHON, "-B",
      penstock::testing::sourceDirectory() + "/tests/format/journal_reader.py"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.insert(arguments.end(), directories.begin(), directories.end());
  const auto finished = penstock::testing::runProgram(arguments);
  EXPECT_EQ(finished.exitCode, 0) << finished.err;
  std::vector<json> told;
  std::istringstream lines(finished.out);
  for (std::string line; std::getline(lines, line);) told.push_back(json::parse(line));
  EXPECT_EQ(told.size(), directories.size());
  told.resize(directories.size());
  return told;
}

namespace {

/// Whether both refuse, as they must if the engine does. `part` names what was read.
std::string sameRefusal(const json& reader, const json& engine, const std::string& part) {
  const auto at = [](const json& place) { return place.value("offset", std::uint64_t{0}); };
  const bool sameKind = reader.at("kind") == engine.at("kind");
  const bool sameFile = !engine.contains("file") || reader.at("file") == engine.at("file");
  // A header is refused as a whole: which of its fields is at fault is not part of the format.
  const bool header = at(reader) < sizeof(FileHeader) || at(engine) < sizeof(FileHeader);
  const bool samePlace = header || at(reader) == at(engine);
  if (sameKind && sameFile && samePlace) return {};
  return fmt::format("{}: the reader says {}, the engine {}", part, reader.dump(), engine.dump());
}

}  // namespace

std::string disagreement(json reader, json engine, std::uint64_t& stricter) {
  const json verdict = reader.at("verdict");
  if (std::string found = sameRefusal(verdict, engine.at("verdict"), "directory"); !found.empty()) {
    return found;
  }
  if (verdict.value("sequence", 0) != engine.at("verdict").value("sequence", 0)) {
    return "the torn tail begins with another sequence";
  }
  if (verdict.at("kind") == "Corruption" || verdict.at("kind") == "FormatTooNew") return {};
  for (json* side : {&reader, &engine}) {
    side->erase("verdict");
    side->erase("epochs");  // which there are can only be asked of each log
  }
  for (const char* kind : {"stores", "logs"}) {
    if (!engine.contains(kind) || !reader.contains(kind)) continue;
    for (auto& [name, told] : engine[kind].items()) {
      if (!reader[kind].contains(name)) return fmt::format("only the engine has {}", name);
      json& other = reader[kind][name];
      if (told.contains("error")) {
        if (!other.contains("error")) return fmt::format("only the engine refuses {}", name);
        std::string found = sameRefusal(other["error"], told["error"], name);
        if (!found.empty()) return found;
      } else if (other.contains("error")) {
        ++stricter;
        if (!told.contains("sections")) told = other;  // a store is read or not
      }
      told.erase("error");
      other.erase("error");
    }
  }
  const json patch = json::diff(reader, engine);
  return patch.empty() ? "" : "from the reader to the engine: " + patch.dump().substr(0, 2000);
}

}  // namespace penstock::format
