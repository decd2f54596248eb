// SPDX-License-Identifier: Apache-2.0
//
// Goal: docs/formats.md is precise enough to write a second reader from it. Method: there is one,
// journal_reader.py, written from the page; and it and the engine have to say the same of the
// golden directories, of directories written at random, and of all these with damage in them.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <penstock/state/cereal.h>
#include <penstock/state/journal.h>
#include <penstock/state/local_file_storage.h>

#include <algorithm>
#include <bit>
#include <cereal/types/string.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>

#include "catalog.h"
#include "engine_reader.h"
#include "fault/scale.h"
#include "frame.h"
#include "history.h"
#include "snapshot.h"
#include "tests/support/build_paths.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_seed.h"

namespace penstock::format {
namespace {

using namespace state;
using fault::scaled;
using nlohmann::json;
using penstock::testing::TemporaryDirectory;
using penstock::testing::testSeed;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Files filesIn(const std::string& directory) {
  Files files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file()) files[entry.path().filename()] = content(entry.path());
  }
  return files;
}

std::vector<std::string> goldenDirectories() {
  std::vector<std::string> found;
  const std::string all = penstock::testing::sourceDirectory() + "/tests/state/golden";
  for (const auto& entry : std::filesystem::directory_iterator(all)) {
    if (entry.path().filename().string().starts_with("format-")) found.push_back(entry.path());
  }
  EXPECT_FALSE(found.empty());
  return found;
}

/// Directories that both readers look at, some at a time. Fails where they disagree.
class Cases {
 public:
  ~Cases() {
    std::printf("%llu directories, %llu parts that only the reader refuses;",
                static_cast<unsigned long long>(all_), static_cast<unsigned long long>(stricter_));
    for (const auto& [kind, count] : verdicts_) std::printf(" %s: %d", kind.c_str(), count);
    std::printf("\n");
  }

  /// `name` says in messages which it is; `check` is called with what the reader says.
  void add(std::string name, Files files, std::function<void(const json&)> check = {}) {
    pending_.push_back({std::move(name), std::move(files), std::move(check)});
    if (pending_.size() == pendingMax) compare();
  }

  void compare() {
    const TemporaryDirectory root;
    std::vector<std::string> directories;
    std::map<std::string, std::pair<std::string, std::string>> last;  // path and bytes by name
    for (const Case& one : pending_) {
      directories.push_back(root / std::to_string(directories.size()));
      std::filesystem::create_directory(directories.back());
      for (const auto& [file, bytes] : one.files) {
        // What a case has in common with the one before is there once.
        const std::string path = directories.back() + "/" + file;
        const auto before = last.find(file);
        if (before != last.end() && before->second.second == bytes) {
          std::filesystem::create_hard_link(before->second.first, path);
        } else {
          std::ofstream(path, std::ios::binary) << bytes;
          last[file] = {path, bytes};
        }
      }
    }
    const std::vector<json> told = pythonReads(directories);
    for (std::size_t i = 0; i < pending_.size() && failed_ < failedMax; ++i) {
      const Case& one = pending_[i];
      SCOPED_TRACE(one.name);
      const std::string found =
          disagreement(told[i], engineReads(one.files, told[i]), stricter_);
      EXPECT_EQ(found, "");
      if (one.check) one.check(told[i]);
      failed_ += found.empty() ? 0 : 1;
      ++verdicts_[told[i].at("verdict").at("kind")];
      ++all_;
    }
    pending_.clear();
  }

  [[nodiscard]] std::uint64_t stricter() const { return stricter_; }
  [[nodiscard]] int verdicts(const std::string& kind) { return verdicts_[kind]; }

 private:
  struct Case {
    std::string name;
    Files files;
    std::function<void(const json&)> check;
  };
  static constexpr std::size_t pendingMax = 256;  // arbitrary; each has its files in memory
  static constexpr int failedMax = 5;
  std::vector<Case> pending_;
  std::map<std::string, int> verdicts_;
  std::uint64_t all_ = 0;
  std::uint64_t stricter_ = 0;
  int failed_ = 0;
};

/// The same without the index footers of sealed segments, which are derived.
Files withoutIndexes(Files files) {
  for (auto& [name, bytes] : files) {
    const std::size_t footer = bytes.find("PINDEX01");
    if (name.starts_with("segment-") && footer != std::string::npos) bytes.resize(footer);
  }
  return files;
}

/// The newest segment: its name, and how much of it is used.
std::pair<std::string, std::size_t> active(const Files& files) {
  std::pair<std::string, std::size_t> found;
  for (const auto& [name, bytes] : files) {
    if (!name.starts_with("segment-") || !name.ends_with(".log")) continue;
    found = {name, bytes.find_last_not_of('\0') + 1};
  }
  return found;
}

TEST(JournalReader, AgreesWithTheEngineOnTheGoldenDirectories) {
  Cases cases;
  for (const std::string& golden : goldenDirectories()) {
    cases.add(golden, filesIn(golden), [](const json& told) {
      EXPECT_EQ(told.at("verdict").at("kind"), "end");
      EXPECT_EQ(told.at("stores").size(), 2U);
      EXPECT_EQ(told.at("logs").at("log").at("end"), 44);
      EXPECT_EQ(told.at("claims"), (json{{"task", 1}}));
      EXPECT_EQ(told.at("epochs").size(), 2U);
    });
  }
  cases.compare();
}

TEST(JournalReader, AgreesWithTheEngineOnDirectoriesWrittenAtRandom) {
  const std::uint32_t seed = testSeed();
  Cases cases;
  std::set<std::string> kinds;
  for (std::uint32_t run = 0; run < scaled(8U, 60U, 300U); ++run) {
    History history(seed + run);
    for (int session = 0; session < 4; ++session) {
      history.session();
      Files files = history.files();
      for (const auto& [name, bytes] : files) kinds.insert(name.substr(0, name.find('-')));
      const std::string name = "seed " + std::to_string(seed + run) + ", session " +
                               std::to_string(session) + ": " + history.end();
      cases.add(name + ", without indexes", withoutIndexes(files));
      cases.add(name, std::move(files));
    }
  }
  cases.compare();
  EXPECT_EQ(cases.stricter(), 0U);
  for (const char* kind : {"segment", "snapshot", "blob", "archive"}) {
    EXPECT_TRUE(kinds.contains(kind)) << kind;
  }
}

TEST(JournalReader, AgreesWithTheEngineOnTornTails) {
  const std::uint32_t seed = testSeed();
  std::mt19937_64 random(seed);
  Cases cases;
  for (std::uint32_t run = 0; run < scaled(4U, 20U, 100U); ++run) {
    History history(seed + run);
    history.session();
    history.session();
    const Files whole = history.files();
    const auto [name, used] = active(whole);
    for (int cut = 0; cut < 12; ++cut) {
      Files files = whole;
      std::string& bytes = files[name];
      const std::size_t base = sizeof(FileHeader) + 8;  // length of the base frame
      std::uint64_t baseBytes = 0;
      std::memcpy(&baseBytes, bytes.data() + base, sizeof(baseBytes));
      const std::size_t first = sizeof(FileHeader) + baseBytes;
      if (first >= used) break;
      const std::size_t at = first + random() % (used - first);
      const char* how = "cut off";
      switch (cut % 3) {
        case 0:
          bytes.resize(at);
          break;
        case 1:
          how = "zeros from there";
          std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), '\0');
          break;
        default:
          how = "garbage from there";
          bytes.resize(used);
          for (std::size_t i = at; i < used; ++i) bytes[i] = static_cast<char>(random());
      }
      cases.add("seed " + std::to_string(seed + run) + ", " + name + " at " + std::to_string(at) +
                    ": " + how,
                std::move(files));
    }
  }
  cases.compare();
  EXPECT_GT(cases.verdicts("torn"), 0);
}

/// Adds `flips` cases, spread evenly over the bytes of each kind of file.
void addFlips(Cases& cases, const std::string& name, const Files& whole, std::size_t flips,
              std::mt19937_64& random) {
  std::map<std::string, std::vector<std::string>> kinds;
  for (const auto& [file, bytes] : whole) {
    if (file.find(".torn-") == std::string::npos) kinds[file.substr(0, 4)].push_back(file);
  }
  for (const auto& [kind, names] : kinds) {
    if (kind != "segm" && kind != "snap" && kind != "blob" && kind != "arch") continue;
    for (const std::string& file : names) {
      const std::size_t used = whole.at(file).find_last_not_of('\0') + 1;
      const std::size_t places = std::min(used + 16, whole.at(file).size());
      const std::size_t count = std::max<std::size_t>(flips / kinds.size() / names.size(), 1);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = i * places / count + random() % (places / count + 1);
        if (at >= places) continue;
        Files files = whole;
        files[file][at] ^= static_cast<char>(1U << random() % 8);
        cases.add(name + ": " + file + ", byte " + std::to_string(at) + " of " +
                      std::to_string(used) + " flipped",
                  std::move(files));
      }
    }
  }
}

TEST(JournalReader, AgreesWithTheEngineWhereverAByteIsFlipped) {
  const std::uint32_t seed = testSeed();
  std::mt19937_64 random(seed);
  for (const std::string& golden : goldenDirectories()) {
    Cases cases;
    addFlips(cases, golden, filesIn(golden), scaled<std::size_t>(200, 6000, 60'000), random);
    cases.compare();
    EXPECT_GT(cases.verdicts("Corruption"), 0);
  }
  for (std::uint32_t run = 0; run < scaled(2U, 10U, 50U); ++run) {
    History history(seed + run);
    for (int session = 0; session < 3; ++session) history.session();
    Cases cases;
    const std::string name = "seed " + std::to_string(seed + run);
    addFlips(cases, name, history.files(), 100, random);
    addFlips(cases, name + ", without indexes", withoutIndexes(history.files()), 50, random);
    cases.compare();
  }
}

TEST(JournalReader, AgreesWithTheEngineOnSectionsOfManyPiecesAndOfNone) {
  for (const std::uint64_t blobBytes : {64ULL << 20, 1ULL << 20}) {
    testsupport::SimFs machine(1);
    const auto process = machine.startProcess();
    {
      JournalOptions options;
      options.blobBytes = blobBytes;
      const auto journal = Journal::open("/large", options, process->environment());
      Commit commit;
      commit.put(journal->declareStore("storage"), "key", std::string(2'100'000, 'v'));
      const LogId log = journal->declareLog("log");
      commit.recordBuffer(log) += std::string(1'100'000, 'r');
      commit.recordAdded(log, 1);
      (void)journal->commit(commit);
      const LogId empty = journal->declareLog("empty records");
      for (int i = 0; i < 3; ++i) {
        (void)commit.recordBuffer(empty);
        commit.recordAdded(empty, 1);
      }
      EXPECT_EQ(journal->commit(commit).baseOffsets.size(), 1U);
      EXPECT_EQ(journal->log(empty).end, 3U);
    }
    Files files;
    for (const std::string& path : machine.files()) {
      const std::vector<std::byte> image = machine.image(path);
      files[std::filesystem::path(path).filename()] = {
          reinterpret_cast<const char*>(image.data()), image.size()};
    }
    Cases cases;
    cases.add("blobs from " + std::to_string(blobBytes), files, [](const json& told) {
      EXPECT_EQ(told.at("logs").at("log").at("sections").at(0).at(2).get<std::string>().size(),
                2 * 1'100'000U);
      EXPECT_EQ(told.at("logs").at("empty%20records").at("sections"), (json{{0, 3, ""}}));
    });
    cases.compare();
  }
}

// ---- Values -----------------------------------------------------------------------------------

/// A struct as an application stores it.
struct Order {
  static constexpr std::string_view storedName = "Order";
  std::int32_t id = 0;
  std::string line;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(id, line);
  }
};

json valueJson(const Value& value) {
  switch (value.type()) {
    case ValueType::Null:
      return {{"null", nullptr}};
    case ValueType::Bool:
      return {{"bool", value.asBool()}};
    case ValueType::Int64:
      return {{"int64", value.asInt64()}};
    case ValueType::Double:
      return {{"double", fmt::format("{:016x}", std::bit_cast<std::uint64_t>(value.asDouble()))}};
    case ValueType::String:
      return {{"string", hex(value.asString())}};
    case ValueType::Binary: {
      const Binary& bytes = value.asBinary();
      return {{"binary", hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()})}};
    }
    case ValueType::List: {
      json items = json::array();
      for (const Value& item : value.asList()) items.push_back(valueJson(item));
      return {{"list", std::move(items)}};
    }
    case ValueType::Map: {
      json members = json::array();
      for (const auto& [name, member] : value.asMap()) {
        members.push_back(json::array({hex(name), valueJson(member)}));
      }
      return {{"map", std::move(members)}};
    }
  }
  return {};
}

TEST(JournalReader, ReadsTheValuesOfALocalFileStorage) {
  const TemporaryDirectory root;
  const Value tree = ValueMap{{"k", nullptr}, {"list", Value::List{true, "a", Value::List{}}}};
  std::map<std::string, Value> values{
      {"null", nullptr},         {"yes", true},
      {"int", -17},              {"double", 1.23},
      {"nan", std::nan("")},     {"text", std::string("\0\xFF", 2)},
      {"binary", Binary(3)},     {"tree", tree},
      {"empty", ValueMap{}},     {std::string("\0/../\xFF", 6), ""},
  };
  {
    LocalFileStorage storage(root.path());
    for (const auto& [key, value] : values) storage.set(key, value);
    storage.set("struct", Order{.id = 7, .line = "nut"});
    storage.subStorage("a b/%").subStorage("c").set("key", std::int16_t{5});
    LocalFileStorageOptions compressing;
    compressing.compressFromBytes = 100;
    LocalFileStorage other = LocalFileStorage(root.path(), compressing).subStorage("wrapped");
    other.set("goes", 1, {.ttl = std::chrono::hours(1)});
    other.set("large", std::string(500, 'x'), {.ttl = std::chrono::hours(1)});
    other.set("stays", std::string(500, 'y'));
  }
  const json told = pythonReads({root.path()}, {"--values"}).front();
  EXPECT_EQ(told.at("verdict").at("kind"), "end");
  const json& stores = told.at("stores");
  // values.md: "a b/%" is stored as a%20b%2F%25, which plain names write with one more %25 each.
  EXPECT_EQ(stores.at("storage/a%2520b%252F%2525/c").at("entries"),
            json::array({json::array({hex("key"), {{"int64", 5}}})}));
  std::map<std::string, json> found;
  for (const json& entry : stores.at("storage").at("entries")) found[entry[0]] = entry[1];
  EXPECT_EQ(found.size(), values.size() + 1);
  for (const auto& [key, value] : values) EXPECT_EQ(found[hex(key)], valueJson(value)) << key;
  const json& wrapped = stores.at("storage/wrapped").at("entries");
  ASSERT_EQ(wrapped.size(), 3U);
  EXPECT_EQ(wrapped[0][1].at("value"), (json{{"int64", 1}}));
  EXPECT_GT(wrapped[0][1].at("expires"), 1'700'000'000'000);
  EXPECT_EQ(wrapped[1][1].at("value"), (json{{"string", hex(std::string(500, 'x'))}}));
  EXPECT_EQ(wrapped[2][1], (json{{"string", hex(std::string(500, 'y'))}}));
  // cereal: 4 bytes of the number, 8 of the string's size, the string
  EXPECT_EQ(found[hex("struct")],
            (json{{"struct", {hex("Order"), "07000000" "0300000000000000" "6e7574"}}}));
}

TEST(JournalReader, AgreesWithTheEngineOnBytesThatAreNoValues) {
  const std::uint32_t seed = testSeed();
  std::mt19937_64 random(seed);
  const TemporaryDirectory root;
  const std::vector<std::string> whole{
      std::string("\1", 1), std::string("\2\1", 2), std::string("\3\0\0\0\0\0\0\0\7", 9),
      std::string("\4\0\0\0\0\0\0\0\7", 9), "\5text", "\6bytes",
      std::string("\7\2\0\0\0\2\1\2\0\0\0\5a", 13),
      std::string("\10\1\0\0\0k\1\0\0\0\1\1\0\0\0l\2\0\0\0\2\0", 22),
  };
  std::map<std::string, std::string> stored;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = whole[random() % whole.size()];
    for (auto changes = random() % 3; changes > 0 && !bytes.empty(); --changes) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<char>(random() % 12);
          break;
        case 1:
          bytes.erase(at, 1);
          break;
        default:
          bytes.insert(at, 1, static_cast<char>(random() % 4));
      }
    }
    // A struct's bytes are cereal's; a value that expires may have done so.
    if (!bytes.empty() && bytes[0] >= 9 && bytes[0] <= 11) continue;
    stored["key " + std::to_string(i)] = bytes;
  }
  for (const std::size_t depth : {std::size_t{128}, std::size_t{129}}) {
    std::string bytes(1, '\1');
    for (std::size_t level = 1; level < depth; ++level) {
      const auto length = static_cast<std::uint32_t>(bytes.size());
      std::string outer(5, '\7');
      std::memcpy(outer.data() + 1, &length, sizeof(length));
      bytes = outer + bytes;
    }
    stored["depth " + std::to_string(depth)] = bytes;
  }
  {
    const auto journal = Journal::open(root.path());
    Commit commit;
    const StoreId store = journal->declareStore("storage");
    for (const auto& [key, bytes] : stored) commit.put(store, key, bytes);
    (void)journal->commit(commit);
  }
  const json told = pythonReads({root.path()}, {"--values"}).front();
  const json& entries = told.at("stores").at("storage").at("entries");
  ASSERT_EQ(entries.size(), stored.size());
  const LocalFileStorage storage(root.path());
  std::size_t valid = 0;
  for (const json& entry : entries) {
    const std::string key = unhex(entry[0].get<std::string>());
    json engine;
    try {
      engine = valueJson(storage.get<Value>(key));
      ++valid;
    } catch (const TypeMismatch&) {
      EXPECT_TRUE(entry[1].contains("TypeMismatch")) << hex(stored[key]) << ": " << entry[1];
      continue;
    }
    EXPECT_EQ(entry[1], engine) << hex(stored[key]);
  }
  EXPECT_GT(valid, 100U);
  EXPECT_LT(valid, stored.size() - 100);
}

// ---- Refusals ---------------------------------------------------------------------------------

const std::string newest = "segment-0000000006.log";  // of the golden directory

/// Changes a file's header, and gives it the hash of what it says now.
void editHeader(std::string& bytes, const std::function<void(FileHeader&)>& edit) {
  FileHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  edit(header);
  std::memcpy(bytes.data(), &header, sizeof(header));
  header.checksum = hash64(std::string_view(bytes).substr(0, offsetof(FileHeader, checksum)));
  std::memcpy(bytes.data(), &header, sizeof(header));
}

/// Changes the last frame with a section, which becomes the last of all, and gives it the hash of
/// what it says now.
void editLastFrame(Files& files, const std::function<void(FrameHeader&, SectionEntry&)>& edit) {
  std::string& bytes = files[newest];
  FileHeader file{};
  std::memcpy(&file, bytes.data(), sizeof(file));
  std::size_t at = 0;
  FrameView frame;
  FrameView last;
  for (std::size_t next = sizeof(file); next < bytes.size(); next += frame.header.frameBytes) {
    const FramePlace place{{file.journalLow, file.journalHigh}, file.number, next};
    ASSERT_EQ(parseFrame(std::string_view(bytes).substr(next), place, frame), FrameCheck::Valid);
    if (frame.sections.size() != 1) continue;
    last = frame;
    at = next;
  }
  bytes.resize(at + last.header.frameBytes);
  edit(last.header, last.sections.front());
  std::string head;
  encodeFrame(last.header, last.sections, head);
  bytes.replace(at, head.size(), head);
}

/// Adds a frame with changes of the catalog, and a close: opening begins no epoch of its own.
void appendChanges(Files& files, const std::string& changes) {
  std::string& bytes = files[newest];
  FrameHeader header{};  // of the last frame, which is a close
  std::memcpy(&header, bytes.data() + bytes.size() - sizeof(header), sizeof(header));
  SectionEntry entry{};
  entry.kind = SectionKind::Catalog;
  entry.length = static_cast<std::uint32_t>(changes.size());
  entry.count = 1;
  entry.hash = hash64(changes);
  const auto append = [&](FrameKind kind, std::span<const SectionEntry> sections) {
    header.kind = kind;
    ++header.sequence;
    header.fileOffset += header.frameBytes;
    header.previousChecksum = header.checksum;
    encodeFrame(header, sections, bytes);
    if (!sections.empty()) bytes += changes;
    bytes.resize(padded(bytes.size()), '\0');
  };
  append(FrameKind::Commit, {&entry, 1});
  append(FrameKind::Close, {});
}

std::uint64_t numberOf(const std::string& file) {
  return std::stoull(file.substr(file.find('-') + 1), nullptr, 16);
}

std::string kindOf(const Files& files, const std::string& begins) {
  const auto at = files.lower_bound(begins);
  return at == files.end() ? "" : at->first;
}

struct Refusal {
  const char* name;
  std::function<void(Files&)> edit;
  const char* kind = "Corruption";  // null: it is read
  const char* part = "";            // that is refused: the whole directory, or a store or log
};

TEST(JournalReader, RefusesWhatTheEngineRefuses) {
  const std::string tests = penstock::testing::sourceDirectory() + "/tests/";
  const Files whole = filesIn(tests + "state/golden/format-1");
  const std::string snapshot = kindOf(whole, "snapshot-");
  const std::string archive = kindOf(whole, "archive-");
  const std::string blob = kindOf(whole, "blob-");
  const std::string sealed = "segment-0000000003.log";
  const auto header = [](const std::string& file, const std::function<void(FileHeader&)>& edit) {
    return [file, edit](Files& files) { editHeader(files[file], edit); };
  };
  const auto newer = [](FileHeader& of) { of.minimumReader = 2; };
  const auto feature = [](FileHeader& of) { of.incompatibleFeatures = 1ULL << 63; };
  const auto foreign = [](const std::string& file) {
    return [file](Files& files) { files[file] = std::string(files[file].size(), 'x'); };
  };
  const auto gone = [](const std::string& file) {
    return [file](Files& files) { files.erase(file); };
  };
  const auto swapped = [](const std::string& one, const std::string& other) {
    return [=](Files& files) { std::swap(files[one], files[other]); };
  };
  const auto journal = [](FileHeader& of) { of.journalHigh ^= 1; };
  const auto number = [](FileHeader& of) { ++of.number; };
  const auto kind = [](FileHeader& of) {
    of.kind = of.kind == FileKind::Blob ? FileKind::Archive : FileKind::Blob;
  };
  const auto changed = [](const std::function<void(std::string&)>& encode) {
    std::string changes;
    encode(changes);
    return [changes](Files& files) { appendChanges(files, changes); };
  };
  SnapshotEntry listed;  // as the golden directory has it, once it is known
  {
    SnapshotFooter footer{};
    const std::string& bytes = whole.at(snapshot);
    std::memcpy(&footer, bytes.data() + bytes.size() - sizeof(footer), sizeof(footer));
    listed = {numberOf(snapshot), footer.covers, bytes.size(), footer.checksum};
  }
  const auto installed = [&](std::uint64_t file, std::uint64_t covers) {
    SnapshotEntry entry = listed;
    entry.file = file;
    entry.covers = covers;
    return changed([&](std::string& out) { Catalog::installSnapshot(out, 1, entry); });
  };
  const char* const tooNew = "FormatTooNew";
  const std::vector<Refusal> refusals{
      {"foreign newest segment", foreign(newest)},
      {"foreign sealed segment", foreign(sealed), "Corruption", "log"},
      {"foreign snapshot", foreign(snapshot), "Corruption", "storage"},
      {"foreign blob", foreign(blob), "Corruption", "storage/other"},
      {"foreign archive", foreign(archive), "Corruption", "log"},
      {"newest segment for a newer reader", header(newest, newer), tooNew},
      {"sealed segment for a newer reader", header(sealed, newer), tooNew, "log"},
      {"snapshot for a newer reader", header(snapshot, newer), tooNew, "storage"},
      {"blob for a newer reader", header(blob, newer), tooNew, "storage/other"},
      {"archive for a newer reader", header(archive, newer), tooNew, "log"},
      {"unknown incompatible feature in the newest segment", header(newest, feature), tooNew},
      {"unknown incompatible feature in a snapshot", header(snapshot, feature), tooNew, "storage"},
      {"newer version that this reader can read",
       header(newest, [](FileHeader& of) { of.version = 2; }), nullptr},
      {"unknown compatible feature",
       header(newest, [](FileHeader& of) { of.compatibleFeatures = 1; }), nullptr},
      {"another byte order", header(newest, [](FileHeader& of) { of.byteOrderMark = 0x04030201; }),
       tooNew},
      {"damaged header that says it needs a newer reader",
       [](Files& files) { files[newest][12] = 2; }},
      {"newest segment of another journal", header(newest, journal)},
      {"newest segment whose frames are of another journal",
       header(newest, [](FileHeader& of) { of.journalLow ^= 1; })},
      {"snapshot of another journal", header(snapshot, journal), "Corruption", "storage"},
      {"blob of another journal", header(blob, journal), "Corruption", "storage/other"},
      {"archive of another journal", header(archive, journal), "Corruption", "log"},
      {"newest segment with another number", header(newest, number)},
      {"snapshot with another number", header(snapshot, number), "Corruption", "storage"},
      {"blob with another number", header(blob, number), "Corruption", "storage/other"},
      {"snapshot of another store", header(snapshot, [](FileHeader& of) { ++of.storeId; }),
       "Corruption", "storage"},
      {"newest segment of another kind", header(newest, kind)},
      {"snapshot of another kind", header(snapshot, kind), "Corruption", "storage"},
      {"blob of another kind", header(blob, kind), "Corruption", "storage/other"},
      {"segments swapped", swapped(sealed, "segment-0000000004.log"), "Corruption", "log"},
      {"newest segment swapped", swapped(newest, sealed)},
      {"archive and blob swapped", swapped(archive, blob), "Corruption", "log"},
      {"newest segment gone", gone(newest)},
      {"sealed segment gone", gone(sealed)},
      {"snapshot gone", gone(snapshot)},
      {"blob gone", gone(blob)},
      {"archive gone", gone(archive)},
      {"all segments gone",
       [](Files& files) {
         std::erase_if(files, [](const auto& file) { return file.first.starts_with("segment-"); });
       }},
      {"all but a snapshot gone",
       [&](Files& files) {
         std::erase_if(files, [&](const auto& file) { return file.first != snapshot; });
       }},
      {"nothing there", [](Files& files) { files.clear(); }, nullptr},
      {"JOURNAL gone", gone("JOURNAL"), nullptr},
      {"JOURNAL of another journal",
       [](Files& files) {
         files["JOURNAL"] = "penstock journal 0123456789abcdef0123456789abcdef format 1\n";
       }},
      {"JOURNAL damaged", [](Files& files) { files["JOURNAL"][0] = 'q'; }, nullptr},
      {"sealed segment too short", [&](Files& files) { files[sealed].resize(4000); }},
      {"sealed segment without its index",
       [&](Files& files) { files[sealed].resize(files[sealed].find("PINDEX01")); }, nullptr},
      {"archive without its index",
       [&](Files& files) { files[archive].resize(files[archive].find("PINDEX01")); }, "Corruption",
       "log"},
      {"snapshot too long", [&](Files& files) { files[snapshot] += '\0'; }},
      {"damage in a frame, and the last one behind it says that it was on disk",
       [](Files& files) { files[newest][files[newest].size() - 2 * sizeof(FrameHeader)] ^= 1; }},
      {"damage in the last frame",
       [](Files& files) { files[newest][files[newest].size() - sizeof(FrameHeader)] ^= 1; },
       nullptr},
      {"unknown kind of frame",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader& of, SectionEntry&) { of.kind = FrameKind{5}; });
       }},
      {"mark with a section",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader& of, SectionEntry&) { of.kind = FrameKind::Mark; });
       }},
      {"unknown kind of section",
       [](Files& files) {
         editLastFrame(files,
                       [](FrameHeader&, SectionEntry& entry) { entry.kind = SectionKind{4}; });
       }},
      {"unknown flag of a section",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader&, SectionEntry& entry) { entry.flags = 4; });
       }},
      {"section that goes on nowhere",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader&, SectionEntry& entry) { entry.flags = sectionMore; });
       }},
      {"frame of another history",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader& of, SectionEntry&) { of.previousChecksum ^= 1; });
       },
       nullptr},
      {"frame with the sequence after the next",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader& of, SectionEntry&) { ++of.sequence; });
       },
       nullptr},
      {"snapshot that is missing", installed(7, listed.covers + 1)},
      {"snapshot that covers less than the one before", installed(7, listed.covers - 1), nullptr},
      {"snapshot that covers more than there is", installed(listed.file, 1'000'000)},
      {"changes of what is not there",
       changed([](std::string& out) {
         Catalog::removeStore(out, 70);
         Catalog::removeLog(out, 70);
         Catalog::trimLog(out, 70, 1);
         Catalog::setRetention(out, 70, {});
         Catalog::installSnapshot(out, 70, {.file = 7, .covers = 9, .bytes = 1, .hash = 1});
         Catalog::removeFiles(out, {70});
       }),
       nullptr},
      {"file taken off that a log needs",
       changed([&](std::string& out) { Catalog::removeFiles(out, {numberOf(archive)}); }),
       "Corruption", "log"},
      {"blob of a sealed segment gone",
       changed([](std::string& out) {
         SealedFile file;
         file.number = 3;
         file.blobs = {7};
         Catalog::installArchive(out, file, {3});
       })},
      {"sealed segment without its index that does not end as listed",
       [&](Files& files) {
         files = withoutIndexes(std::move(files));
         SealedFile file;
         file.number = 3;
         file.firstSequence = 21;
         file.lastSequence = 32;
         file.endOffset = files[sealed].size();
         file.lastChecksum = 1;
         file.logs.push_back({.log = 1, .start = 11, .end = 22, .bytes = 1, .maxTimeMs = 0});
         std::string changes;
         Catalog::installArchive(changes, file, {3});
         appendChanges(files, changes);
       },
       "Corruption", "log"},
      {"unknown change of the catalog", changed([](std::string& out) { out += '\14'; })},
      {"change of the catalog that is cut off",
       changed([](std::string& out) {
         Catalog::newEpoch(out, 7);
         out.pop_back();
       })},
      {"more epochs than are kept",
       changed([](std::string& out) {
         for (std::uint64_t id = 1; id <= epochsKept; ++id) Catalog::newEpoch(out, id);
       }),
       nullptr},
      {"second base frame",
       [](Files& files) {
         editLastFrame(files, [](FrameHeader& of, SectionEntry&) { of.kind = FrameKind::Base; });
       },
       nullptr},
  };
  Cases cases;
  for (const Refusal& refusal : refusals) {
    Files files = whole;
    refusal.edit(files);
    const std::string part = refusal.part;
    cases.add(refusal.name, std::move(files), [&refusal, part](const json& told) {
      const json& verdict = told.at("verdict");
      if (refusal.kind != nullptr && part.empty()) {
        EXPECT_EQ(verdict.at("kind"), refusal.kind) << verdict;
        return;
      }
      EXPECT_TRUE(verdict.at("kind") == "end" || verdict.at("kind") == "torn" ||
                  verdict.at("kind") == "empty")
          << verdict;
      if (refusal.kind == nullptr || part.empty()) return;
      const json& list = told.at(part == "log" ? "logs" : "stores");
      EXPECT_EQ(list.at(part).value("error", json::object()).value("kind", ""), refusal.kind);
    });
  }
  cases.compare();
  EXPECT_EQ(cases.stricter(), 0U);
}

}  // namespace
}  // namespace penstock::format
