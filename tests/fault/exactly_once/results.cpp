// SPDX-License-Identifier: Apache-2.0
#include "results.h"

#include <fmt/format.h>
#include <penstock/record.h>

#include <functional>
#include <set>

#include "file/record_codec.h"
#include "file/topic_catalog.h"

namespace penstock::fault {
namespace {

void forEach(const std::shared_ptr<state::Journal>& journal, const std::string& topic,
             const std::function<void(const std::string&, const std::string&)>& visit) {
  for (const state::LogId log : file::TopicCatalog(journal).get(topic).logs) {
    state::LogReader reader(journal, log, journal->log(log).start);
    state::LogChunk chunk;
    file::RecordWalker walker(topic);
    while (reader.next(chunk, state::ReadLimit::Written)) {
      walker.start(chunk.bytes, chunk.baseOffset, chunk.count);
      RecordView record;
      while (walker.next(record)) visit(std::string(*record.key), std::string(*record.value));
    }
  }
}

/// Big-endian, as the serde of int64 writes it.
std::int64_t number(const std::string& bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return static_cast<std::int64_t>(value);
}

}  // namespace

Feeder::Feeder(std::shared_ptr<state::Journal> journal, std::int32_t partitions,
               std::uint64_t words, std::uint64_t seed)
    : journal_(std::move(journal)), words_(words), random_(seed) {
  file::TopicCatalog catalog(journal_);
  TopicConfig config;
  config.partitions = partitions;
  catalog.create("in", config);
  logs_ = catalog.get("in").logs;
}

void Feeder::feed(std::uint64_t count, state::Durability durability) {
  state::Commit commit;
  for (std::uint64_t i = 0; i < count; ++i) {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    const std::string id = std::to_string(fed_);
    const std::string word = "w" + std::to_string((random_ >> 33) % words_);
    RecordView record;
    record.key = id;
    record.value = word;
    record.timestamp.ms = static_cast<std::int64_t>(fed_);
    const state::LogId log = logs_[fed_ % logs_.size()];
    file::encodeRecord(record, commit.recordBuffer(log));
    commit.recordAdded(log, record.timestamp.ms);
    ++counts_[word];
    ++fed_;
  }
  static_cast<void>(journal_->commit(commit, durability));
}

std::uint64_t recordsIn(const std::shared_ptr<state::Journal>& journal, const std::string& topic) {
  const auto found = file::TopicCatalog(journal).find(topic);
  if (!found) return 0;
  std::uint64_t records = 0;
  for (const state::LogId log : found->logs) records += journal->log(log).end;
  return records;
}

std::string problemsOf(const std::shared_ptr<state::Journal>& input,
                       const std::shared_ptr<state::Journal>& application) {
  std::set<std::string> expectedIds;
  std::map<std::string, std::int64_t> expected;
  forEach(input, "in", [&](const std::string& id, const std::string& word) {
    expectedIds.insert(id);
    ++expected[word];
  });

  std::string problems;
  std::set<std::string> ids;
  forEach(application, "ids", [&](const std::string& id, const std::string&) {
    if (!ids.insert(id).second) problems += "id " + id + " twice\n";
  });
  for (const std::string& id : expectedIds) {
    if (!ids.contains(id)) problems += "id " + id + " missing\n";
  }
  if (ids.size() > expectedIds.size()) problems += "ids that nobody wrote\n";

  std::map<std::string, std::int64_t> counts;
  forEach(application, "counts", [&](const std::string& word, const std::string& value) {
    std::int64_t& count = counts[word];
    const std::int64_t next = number(value);
    if (next <= count) problems += fmt::format("{}: {} after {}\n", word, next, count);
    count = next;
  });
  for (const auto& [word, count] : expected) {
    const auto found = counts.find(word);
    const std::int64_t counted = found == counts.end() ? 0 : found->second;
    if (counted != count) problems += fmt::format("{}: {} instead of {}\n", word, counted, count);
  }
  if (counts.size() > expected.size()) problems += "counts of words that nobody wrote\n";
  constexpr std::size_t enough = 1000;
  if (problems.size() > enough) problems.resize(enough);
  return problems;
}

}  // namespace penstock::fault
