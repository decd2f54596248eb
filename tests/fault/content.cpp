// SPDX-License-Identifier: Apache-2.0
#include "fault/content.h"

#include <cstring>
#include <exception>

namespace penstock::fault {

using state::Journal;
using state::LogChunk;
using state::LogReader;

void appendRecord(std::string& buffer, std::string_view record) {
  const auto length = static_cast<std::uint32_t>(record.size());
  buffer.append(reinterpret_cast<const char*>(&length), sizeof length);
  buffer.append(record);
}

namespace {

/// Cuts a chunk into the records that appendRecord made.
void splitRecords(const LogChunk& chunk, std::vector<std::string>& records) {
  std::size_t at = 0;
  for (std::uint32_t i = 0; i < chunk.count; ++i) {
    std::uint32_t length = 0;
    if (chunk.bytes.size() - at < sizeof length) throw std::runtime_error("chunk too short");
    std::memcpy(&length, chunk.bytes.data() + at, sizeof length);
    at += sizeof length;
    if (chunk.bytes.size() - at < length) throw std::runtime_error("record too short");
    records.emplace_back(reinterpret_cast<const char*>(chunk.bytes.data()) + at, length);
    at += length;
  }
  if (at != chunk.bytes.size()) throw std::runtime_error("bytes behind the last record");
}

std::string quoted(const std::string& text) {
  return "'" + text.substr(0, 24) + (text.size() > 24 ? "...'" : "'") + " (" +
         std::to_string(text.size()) + " B)";
}

}  // namespace

Content readContent(const std::shared_ptr<Journal>& journal, state::ReadLimit limit) {
  Content content;
  for (const state::StoreInfo& info : journal->stores()) {
    auto& keys = content.stores[info.name];
    const auto store = journal->store(info.id);
    store->scan("", "", [&](std::string_view key, std::string_view value) {
      keys.emplace(key, value);
      return true;
    });
    if (keys.size() != store->size()) throw std::runtime_error("size() is wrong: " + info.name);
  }
  for (const state::LogInfo& info : journal->logs()) {
    LogContent& log = content.logs[info.name];
    log.start = info.start;
    LogReader reader(journal, info.id, info.start);
    LogChunk chunk;
    std::uint64_t next = info.start;
    while (reader.next(chunk, limit)) {
      std::vector<std::string> records;
      splitRecords(chunk, records);
      if (chunk.baseOffset > next || chunk.baseOffset + chunk.count <= next) {
        throw std::runtime_error("log " + info.name + ": asked for offset " + std::to_string(next) +
                                 ", got a chunk at " + std::to_string(chunk.baseOffset));
      }
      const auto skip = static_cast<std::ptrdiff_t>(next - chunk.baseOffset);
      log.records.insert(log.records.end(), records.begin() + skip, records.end());
      next = chunk.baseOffset + chunk.count;
    }
    const std::uint64_t end = limit == state::ReadLimit::Written ? info.end : info.syncedEnd;
    if (next < end) {
      throw std::runtime_error("log " + info.name + " ends at " + std::to_string(next) +
                               ", should at " + std::to_string(end));
    }
  }
  return content;
}

std::string difference(const Content& expected, const Content& actual) {
  for (const auto& [name, keys] : expected.stores) {
    const auto found = actual.stores.find(name);
    if (found == actual.stores.end()) return "store " + name + " is missing";
    for (const auto& [key, value] : keys) {
      const auto at = found->second.find(key);
      if (at == found->second.end()) return "store " + name + " lost key " + quoted(key);
      if (at->second != value) {
        return "store " + name + " key " + quoted(key) + " is " + quoted(at->second) +
               ", should be " + quoted(value);
      }
    }
    for (const auto& [key, value] : found->second) {
      if (keys.count(key) == 0) return "store " + name + " has extra key " + quoted(key);
    }
  }
  for (const auto& [name, keys] : actual.stores) {
    if (expected.stores.count(name) == 0) return "extra store " + name;
  }
  for (const auto& [name, log] : expected.logs) {
    const auto found = actual.logs.find(name);
    if (found == actual.logs.end()) return "log " + name + " is missing";
    const LogContent& other = found->second;
    if (other.start + other.records.size() != log.start + log.records.size()) {
      return "log " + name + " ends at " + std::to_string(other.start + other.records.size()) +
             ", should at " + std::to_string(log.start + log.records.size());
    }
    if (other.start > log.start && !log.records.empty()) {
      return "log " + name + " starts at " + std::to_string(other.start) + ", trimmed only to " +
             std::to_string(log.start);
    }
    const std::size_t count = std::min(other.records.size(), log.records.size());
    for (std::size_t i = 1; i <= count; ++i) {
      const std::string& is = other.records[other.records.size() - i];
      const std::string& should = log.records[log.records.size() - i];
      if (is != should) {
        return "log " + name + " offset " + std::to_string(log.start + log.records.size() - i) +
               " is " + quoted(is) + ", should be " + quoted(should);
      }
    }
  }
  for (const auto& [name, log] : actual.logs) {
    if (expected.logs.count(name) == 0) return "extra log " + name;
  }
  return "";
}

Opened openAndRead(testsupport::SimFs& machine, const std::string& directory,
                   const state::JournalOptions& options) {
  Opened opened;
  opened.process = machine.startProcess();
  try {
    opened.journal = Journal::open(directory, options, opened.process->environment());
    opened.content = readContent(opened.journal);
  } catch (const state::Corruption& error) {
    opened.corruption = true;
    opened.file = error.file();
    opened.problem = std::string("Corruption: ") + error.what();
  } catch (const std::exception& error) {
    opened.problem = error.what();
  }
  return opened;
}

}  // namespace penstock::fault
