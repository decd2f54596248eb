// SPDX-License-Identifier: Apache-2.0

// Goal: what is exported comes back to the byte, as JSON lines and as a snapshot file; it is one
// state, whoever writes meanwhile; what is not whole is refused before anything is changed.

#include "penstock/state/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>
#include <tuple>

#include "bytes.h"
#include "commit_content.h"
#include "frame.h"
#include "penstock/state/cereal.h"
#include "snapshot.h"
#include "store_state.h"
#include "tests/support/build_paths.h"
#include "tests/support/message_of.h"
#include "tests/support/sim_fs.h"
#include "tests/support/temporary_directory.h"

namespace depot {

struct Order {
  static constexpr std::string_view storedName = "shop::Order";
  std::int64_t id = 0;
  std::vector<std::string> lines;
  template <typename Archive>
  void serialize(Archive& archive) {
    archive(id, lines);
  }
  bool operator==(const Order&) const = default;
};

}  // namespace depot

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using penstock::testing::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimProcess;

using Contents = std::map<std::string, std::map<std::string, std::string>>;

/// What every storage of a directory holds, as it is stored, by the names that the journal has.
Contents contentsOf(const std::string& directory, const Environment& environment) {
  const auto journal = Journal::open(directory, {}, environment);
  Contents contents;
  for (const StoreInfo& info : journal->stores()) {
    auto& keys = contents[info.name];
    journal->store(info.id)->scan({}, {}, [&](std::string_view key, std::string_view value) {
      keys.emplace(key, value);
      return true;
    });
  }
  return contents;
}

/// A storage "/from" to export and one "/to" to import into, on a simulated machine.
class TransferTest : public ::testing::Test {
 protected:
  [[nodiscard]] const Environment& environment() const { return process_->environment(); }
  [[nodiscard]] LocalFileStorage open(const std::string& directory,
                                      const LocalFileStorageOptions& options = {}) const {
    return LocalFileStorage(directory, options, environment());
  }
  [[nodiscard]] Contents exported() const { return contentsOf("/from", environment()); }
  [[nodiscard]] Contents imported() const { return contentsOf("/to", environment()); }

  void write(const std::string& path, std::string_view bytes) {
    machine_.setImage(path, std::as_bytes(std::span(bytes)));
  }
  [[nodiscard]] std::string read(const std::string& path) const {
    const auto bytes = machine_.image(path);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  [[nodiscard]] std::vector<std::string> filesIn(const std::string& directory) const {
    std::vector<std::string> names;
    for (const std::string& name : machine_.files()) {
      if (name.starts_with(directory + '/')) names.push_back(name.substr(directory.size() + 1));
    }
    return names;
  }

  TransferTest() { machine_.makeSyncedDirectory("/out"); }

  SimFs machine_{1};
  std::shared_ptr<SimProcess> process_ = machine_.startProcess();
  LocalFileStorage from_ = open("/from");
  LocalFileStorage to_ = open("/to");
};

/// The ways that an export can go.
struct Way {
  const char* name;
  ExportReport (*exportTo)(const LocalFileStorage&, const ExportOptions&, const Environment&);
  ImportReport (*importFrom)(LocalFileStorage&, const ImportOptions&, const Environment&);
};
std::stringstream stream;
const Way ways[] = {
    {"JsonLines",
     [](const LocalFileStorage& storage, const ExportOptions& options, const Environment& with) {
       return exportJsonLines(storage, "/out/file", options, with);
     },
     [](LocalFileStorage& into, const ImportOptions& options, const Environment& with) {
       return importJsonLines("/out/file", into, options, with);
     }},
    {"JsonStream",
     [](const LocalFileStorage& storage, const ExportOptions& options, const Environment&) {
       stream = {};
       return exportJsonLines(storage, stream, options);
     },
     [](LocalFileStorage& into, const ImportOptions& options, const Environment&) {
       stream.clear();
       stream.seekg(0);
       return importJsonLines(stream, into, options);
     }},
    {"Snapshot",
     [](const LocalFileStorage& storage, const ExportOptions& options, const Environment& with) {
       return exportSnapshot(storage, "/out/file", options, with);
     },
     [](LocalFileStorage& into, const ImportOptions& options, const Environment& with) {
       return importSnapshot("/out/file", into, options, with);
     }},
};

class EveryWay : public TransferTest, public ::testing::WithParamInterface<Way> {
 protected:
  ExportReport exportAll(const ExportOptions& options = {}) {
    return GetParam().exportTo(from_, options, environment());
  }
  ImportReport importAll(const ImportOptions& options = {}) {
    return GetParam().importFrom(to_, options, environment());
  }
};
INSTANTIATE_TEST_SUITE_P(Of, EveryWay, ::testing::ValuesIn(ways),
                         [](const auto& way) { return way.param.name; });

TEST_P(EveryWay, EveryValueComesBackToTheByte) {
  using Limits = std::numeric_limits<double>;
  int next = 0;
  const auto add = [&](const auto& value) { from_.set("v" + std::to_string(next++), value); };
  add(true);
  add(false);
  for (const std::int64_t value : {std::int64_t{0}, std::int64_t{-1}, INT64_MAX, INT64_MIN}) {
    add(value);
  }
  for (const double value :
       {0.0, -0.0, 1.0, -1e300, 0.1, 1.0 / 3, Limits::max(), Limits::min(), Limits::denorm_min(),
        -5 * Limits::denorm_min(), Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(),
        -Limits::quiet_NaN(), 9007199254740993.0,
        std::bit_cast<double>(std::uint64_t{0x7ff8000000000abc}),
        std::bit_cast<double>(std::uint64_t{0x7ff0000000000001})}) {
    add(value);
    add(Value(Value::List{value}));
  }
  for (const std::string& text : {std::string(), std::string("a\0b", 3), std::string("\n\r\t\"\\/"),
                                  std::string("\xFF\xC3"), std::string("\xF0\x9F\x90\x9F"),
                                  std::string("\xED\xA0\x80"), std::string("\xEF\xBB\xBFx")}) {
    add(text);
    add(Binary(reinterpret_cast<const std::byte*>(text.data()),
               reinterpret_cast<const std::byte*>(text.data()) + text.size()));
    add(Value(ValueMap{{text, 1}, {"other", text}}));
  }
  add(nullptr);
  add(Value(Value::List{}));
  add(Value(ValueMap{}));
  add(Value(ValueMap{{"b", 1}, {"a", Value::List{nullptr, true, "x"}}}));
  for (const char* name : {"$binary", "$double", "$string", "$$binary", "$other", "key", "end"}) {
    add(Value(ValueMap{{name, "NaN"}}));
  }
  Value deep = 1.5;
  for (std::size_t depth = 1; depth < Value::depthMax; ++depth) {
    deep = depth % 2 == 0 ? Value(Value::List{std::move(deep)})
                          : Value(ValueMap{{"m", std::move(deep)}});
  }
  add(deep);
  add(depot::Order{17, {"nut", std::string(300, 'b')}});
  add(std::string(100'000, 'x'));
  {
    // Of no type that is known here, and none that its type allows: kept all the same.
    const auto journal = Journal::open("/from", {}, environment());
    Commit commit;
    for (const std::string& bytes :
         {std::string("\x2A what a newer one wrote"), std::string("\x02\x07"), std::string("\x01x"),
          std::string("\x09"), std::string("\x09\x02\x01\0ab", 6),
          std::string("\x09\x01\x05\0a", 5), std::string("\x09\x01\x02\0\xFF\xFE\0", 7)}) {
      commit.put(journal->findStore("storage").value(), "raw" + std::to_string(next++), bytes);
    }
    (void)journal->commit(commit);
  }
  const ExportReport report = exportAll();
  EXPECT_EQ(report.keys, from_.size());
  EXPECT_EQ(report.storages, 1U);
  const ImportReport done = importAll();
  EXPECT_EQ(done.keys, from_.size());
  EXPECT_EQ(done.batches, 1U);
  EXPECT_EQ(imported(), exported());
}

TEST_P(EveryWay, EveryKeyAndSubStorageComesBack) {
  for (const std::string& key :
       {std::string(1, '\0'), std::string("\0a\0", 3), std::string("a/b"), std::string("\n"),
        std::string("\xFF"), std::string(" "), std::string(LocalFileStorage::keyBytesMax, 'k')}) {
    from_.set(key, key);
  }
  LocalFileStorage below = from_;
  for (const std::string& name : {std::string("a"), std::string("b c"), std::string("\0\xFF/%", 4),
                                  std::string("."), std::string(255, '-')}) {
    below = below.subStorage(name);
    below.set("key", name);
    from_.subStorage(name).set("beside", name);
  }
  from_.subStorage("ab").set("sorts between a and a/...", 1);
  (void)from_.subStorage("empty").subStorage("emptier");
  const ExportReport report = exportAll();
  EXPECT_EQ(report.storages, 13U);
  EXPECT_EQ(importAll().storages, report.storages);
  EXPECT_EQ(imported(), exported());
}

TEST_P(EveryWay, AnEmptyStorageComesBackEmpty) {
  EXPECT_EQ(exportAll().keys, 0U);
  const ImportReport report = importAll();
  EXPECT_EQ(report.keys, 0U);
  EXPECT_EQ(report.batches, 0U);
  EXPECT_EQ(to_.size(), 0U);
}

TEST_P(EveryWay, ASubStorageIsExportedAsARootAndImportedBelowAnother) {
  from_.set("outside", 1);
  from_.subStorage("in").set("inside", 2);
  from_.subStorage("in").subStorage("deep").set("deeper", 3);
  from_.subStorage("inner").set("beside", 4);
  from_ = from_.subStorage("in");
  EXPECT_EQ(exportAll().keys, 2U);
  to_ = to_.subStorage("x").subStorage("y");
  EXPECT_EQ(importAll().keys, 2U);
  EXPECT_EQ(to_.get<int>("inside"), 2);
  EXPECT_EQ(to_.subStorage("deep").get<int>("deeper"), 3);
  const Contents all = imported();
  EXPECT_EQ(all.at("storage").size() + all.at("storage/x").size(), 0U);
  EXPECT_FALSE(all.contains("storage/inner"));
}

TEST_P(EveryWay, AnExportHoldsTheStateInWhichItBeganWhateverIsWrittenMeanwhile) {
  LocalFileStorage sub = from_.subStorage("sub");
  Batch batch = from_.batch();
  for (int i = 0; i < 3000; ++i) batch.set("key" + std::to_string(i), i);
  batch.into(sub).set("key", 1);
  batch.set("other", 2);
  from_.write(batch);
  const auto journal = Journal::open("/from", {}, environment());
  journal->snapshotStore(journal->findStore("storage").value());
  from_.set("key2999", -1);  // over the snapshot
  from_.remove("key2998");
  const Contents before = exported();
  ExportOptions options;
  bool changed = false;
  options.progress = [&](const TransferProgress& progress) {
    EXPECT_EQ(progress.keysTotal, 3001U);
    if (std::exchange(changed, true)) return;
    from_.set("key2999", 7);
    from_.set("zzz", 8);
    from_.subStorage("late").set("key", 1);
    sub.clear();
    journal->snapshotStore(journal->findStore("storage").value());
    journal->clean();
    from_.clear();
  };
  EXPECT_EQ(exportAll(options).keys, 3001U);
  EXPECT_TRUE(changed);
  EXPECT_EQ(from_.size(), 0U);
  importAll();
  EXPECT_EQ(imported(), before);
}

TEST_P(EveryWay, KeysThatAreThereAreRefusedByNameAndOverwrittenWhenAsked) {
  from_.set("a", 1);
  from_.set("b", 2);
  from_.subStorage("sub").set("c", 3);
  exportAll();
  to_.set("b", 20);
  to_.set("stays", 0);
  to_.subStorage("sub").set("c", 30);
  EXPECT_THAT(messageOf<InvalidArgument>([&] { importAll(); }),
              AllOf(HasSubstr("/to"), HasSubstr("2 of the keys"), HasSubstr("\"b\""),
                    HasSubstr("\"c\" of sub-storage sub"), HasSubstr("nothing was imported")));
  EXPECT_THAT(to_.getAllKeys(), ElementsAre("b", "stays"));
  ImportOptions options;
  options.overwrite = true;
  EXPECT_EQ(importAll(options).keys, 3U);
  EXPECT_EQ(to_.get<int>("a"), 1);
  EXPECT_EQ(to_.get<int>("b"), 2);
  EXPECT_EQ(to_.get<int>("stays"), 0);
  EXPECT_EQ(to_.subStorage("sub").get<int>("c"), 3);
}

TEST_P(EveryWay, OfManyKeysThatAreThereSomeAreNamed) {
  for (int i = 0; i < 100; ++i) {
    from_.set("key " + std::to_string(100 + i), i);
    to_.set("key " + std::to_string(100 + i), -1);
  }
  exportAll();
  const std::string said = messageOf<InvalidArgument>([&] { importAll(); });
  EXPECT_THAT(said, AllOf(HasSubstr("100 of the keys"), HasSubstr("\"key 100\""),
                          HasSubstr(", ...; nothing was imported")));
  EXPECT_EQ(said.find("key 150"), std::string::npos) << said;
}

TEST_P(EveryWay, AKeyWhoseTimeIsOverIsNoneThatIsThere) {
  from_.set("a", 1);
  exportAll();
  to_.set("a", 2, {.ttl = std::chrono::milliseconds(1)});
  EXPECT_THROW((void)importAll(), InvalidArgument);
  machine_.clock().advanceMs(1);
  EXPECT_EQ(importAll().keys, 1U);
  EXPECT_EQ(to_.get<int>("a"), 1);
}

TEST_P(EveryWay, KeysThatACompatibilityModeWouldMakeOneAreRefused) {
  from_.set("Total", 1);
  from_.set("total", 2);
  exportAll();
  to_ = open("/to", {.lowerCaseKeys = true});
  EXPECT_THAT(messageOf<InvalidArgument>([&] { importAll(); }), HasSubstr("otal"));
  EXPECT_EQ(to_.size(), 0U);
}

TEST_P(EveryWay, ProgressIsToldAndItsExceptionEndsTheTransfer) {
  Batch batch = from_.batch();
  for (int i = 0; i < 1500; ++i) batch.set("key" + std::to_string(i), i);
  from_.write(batch);
  std::vector<std::pair<TransferPhase, std::uint64_t>> told;
  const auto tell = [&](const TransferProgress& progress) {
    told.emplace_back(progress.phase, progress.keys);
  };
  ExportOptions toFile;
  toFile.progress = tell;
  exportAll(toFile);
  ImportOptions fromFile;
  fromFile.progress = [&](const TransferProgress&) { throw std::runtime_error("cancelled"); };
  EXPECT_THROW(importAll(fromFile), std::runtime_error);
  EXPECT_EQ(to_.size(), 0U);
  fromFile.progress = tell;
  importAll(fromFile);
  EXPECT_THAT(told, ElementsAre(std::pair(TransferPhase::Copying, 1024U),
                                std::pair(TransferPhase::Copying, 1500U),
                                std::pair(TransferPhase::Checking, 1024U),
                                std::pair(TransferPhase::Checking, 1500U),
                                std::pair(TransferPhase::Copying, 1024U),
                                std::pair(TransferPhase::Copying, 1500U)));
}

// Each writer keeps a number equal in the storage and in two sub-storages, one of which is made
// while exports go on; no export may see one of them ahead.
TEST(TransferWhileWriting, AnExportIsOneStateAcrossStorages) {
  const TemporaryDirectory directory;
  LocalFileStorage storage(directory / "from", {.durability = Durability::Buffered});
  LocalFileStorage sub = storage.subStorage("sub");
  std::atomic<bool> done{false};
  const auto writer = [&](const std::string& key) {
    for (std::int64_t i = 1; !done; ++i) {
      Batch batch = storage.batch();
      batch.set(key, i);
      batch.into(sub).set(key, i);
      batch.into(storage.subStorage(key)).set(key, i);
      storage.write(batch);
    }
  };
  std::thread first(writer, "first");
  std::thread second(writer, "second");
  std::set<std::string> states;
  for (int i = 0; i < 100000 && (i < 20 || states.size() < 20); ++i) {
    std::stringstream lines;
    exportJsonLines(storage, lines);
    const std::string snapshot = directory / "snapshot";
    exportSnapshot(storage, snapshot, {.replace = true});
    const TemporaryDirectory target;
    LocalFileStorage copy(target.path(), {.durability = Durability::Buffered});
    if (i % 2 == 0) {
      importJsonLines(lines, copy);
    } else {
      importSnapshot(snapshot, copy);
    }
    for (const std::string key : {"first", "second"}) {
      const auto number = copy.find<std::int64_t>(key);
      EXPECT_EQ(copy.subStorage("sub").find<std::int64_t>(key), number);
      EXPECT_EQ(copy.subStorage(key).find<std::int64_t>(key), number);
      if (number) states.insert(key + std::to_string(*number));
    }
    if (HasFailure()) break;
  }
  done = true;
  first.join();
  second.join();
  EXPECT_GE(states.size(), 20U);  // else nothing was written meanwhile
}

// JSON lines

class JsonLinesTest : public TransferTest {
 protected:
  ImportReport import(const std::string& text, const ImportOptions& options = {}) {
    write("/out/lines", text);
    return importJsonLines("/out/lines", to_, options, environment());
  }
  static constexpr std::string_view first =
      R"({"export":"penstock storage","version":1,"reader":1})"
      "\n";
};

TEST_F(JsonLinesTest, LinesAreWhatTheFormatSays) {
  from_.set("bool", true);
  from_.set("double", 1.0);
  from_.set("int", 17);
  from_.set("nan", std::numeric_limits<double>::quiet_NaN());
  from_.set("other nan", std::bit_cast<double>(std::uint64_t{0x7ff8000000000001}));
  from_.set("struct", depot::Order{1, {}});
  from_.set("text", "\xC3\xA4");
  from_.set("\xFF", Binary{std::byte{0}});
  from_.subStorage("a b").subStorage("c").set("list", Value(Value::List{1, "x", nullptr}));
  (void)from_.subStorage("empty");
  std::ostringstream out;
  exportJsonLines(from_, out);
  EXPECT_EQ(out.str(), std::string(first) +
                           R"({"key":"bool","value":true}
{"key":"double","value":1.0}
{"key":"int","value":17}
{"key":"nan","value":{"$double":"NaN"}}
{"key":"other nan","stored":{"$binary":"BAEAAAAAAPh/"}}
{"key":"struct","struct":{"type":"shop::Order","bytes":{"$binary":"AQAAAAAAAAAAAAAAAAAAAA=="}}}
{"key":"text","value":"ä"}
{"key":{"$string":"/w=="},"value":{"$binary":"AA=="}}
{"storage":["a b"]}
{"storage":["a b","c"],"key":"list","value":[1,"x",null]}
{"storage":["empty"]}
{"end":9}
)");
}

TEST_F(JsonLinesTest, ValuesThatExpireOrAreCompressedAreReadableAndKeepTheirTime) {
  LocalFileStorageOptions options;
  options.compressFromBytes = 100;
  LocalFileStorage compressing = open("/from", options);
  const std::string text(200, 'x');
  compressing.set("a", text);
  compressing.set("b", 1, {.ttl = std::chrono::milliseconds(1000)});
  compressing.set("c", text, {.ttl = std::chrono::milliseconds(2000)});
  compressing.set("d", depot::Order{1, {}}, {.ttl = std::chrono::milliseconds(2000)});
  std::ostringstream out;
  exportJsonLines(compressing, out);
  const std::int64_t now = machine_.clock().wallMs();
  EXPECT_THAT(out.str(), HasSubstr("{\"key\":\"a\",\"value\":\"" + text + "\"}\n"));
  EXPECT_THAT(
      out.str(),
      HasSubstr("{\"key\":\"b\",\"value\":1,\"expires\":" + std::to_string(now + 1000) + "}\n"));
  (void)import(out.str());
  exportSnapshot(compressing, "/out/file", {}, environment());
  LocalFileStorage other = open("/other");
  (void)importSnapshot("/out/file", other, {}, environment());
  for (LocalFileStorage* storage : {&to_, &other}) {
    EXPECT_EQ(storage->getString("a"), text);
    EXPECT_EQ(storage->getLong("b"), 1);
    EXPECT_EQ(storage->get<depot::Order>("d").id, 1);
  }
  machine_.clock().advanceMs(1000);
  for (LocalFileStorage* storage : {&to_, &other}) {
    EXPECT_FALSE(storage->containsKey("b"));
    EXPECT_EQ(storage->getString("c"), text);
  }
  machine_.clock().advanceMs(1000);
  for (LocalFileStorage* storage : {&to_, &other}) {
    EXPECT_THAT(storage->getAllKeys(), ElementsAre("a"));
  }
}

TEST_F(JsonLinesTest, ErrorsNameTheLineAndNothingIsImported) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"key":"b","value":1)", "JSON"},
      {R"({"key":"b","value":1,"expires":"soon"})", "\"expires\" must be a whole number"},
      {R"({"storage":["s"],"expires":1})", "\"expires\" must stand beside a value"},
      {R"({"key":"b","stored":{"$binary":"CgAAAAAAAAAAAQ=="},"expires":1})",
       "does not expire itself"},
      {R"(no JSON at all)", "JSON"},
      {R"(["key"])", "object"},
      {R"({})", "key"},
      {R"({"key":"b"})", "value"},
      {R"({"value":1})", "key"},
      {R"({"key":1,"value":1})", "string"},
      {R"({"key":"b","value":1,"stored":{"$binary":"AQ=="}})", "one of"},
      {R"({"key":"b","value":1,"values":1})", "values"},
      {R"({"key":"b","key":"b","value":1})", "key"},
      {R"({"key":"b","value":18446744073709551616})", "int64"},
      {R"({"key":"b","value":{"$binary":"?"}})", "base64"},
      {R"({"key":"b","stored":"AQ=="})", "binary"},
      {R"({"key":"b","stored":{"$binary":""}})", "something"},
      {R"({"key":"b","struct":1})", "object"},
      {R"({"key":"b","struct":{"type":"t"}})", "bytes"},
      {R"({"key":"b","struct":{"bytes":{"$binary":""},"more":1}})", "nothing else"},
      {R"({"key":"b","struct":{"type":1,"bytes":{"$binary":""}}})", "nothing else"},
      {R"({"key":"b","struct":{"type":"t","more":1}})", "nothing else"},
      {R"({"key":"b","struct":{"type":"t","bytes":"x"}})", "nothing else"},
      {R"({"end":1.5})", "number"},
      {R"({"key":"","value":1})", "empty"},
      {R"({"storage":"a","key":"b","value":1})", "list"},
      {R"({"storage":[1],"key":"b","value":1})", "strings"},
      {R"({"storage":[""],"key":"b","value":1})", "sub-storage"},
      {R"({"storage":["a"],"value":1})", "alone"},
      {R"({"key":"a","value":2})", "line 2"},  // there twice
      {R"({"export":"penstock storage","version":1,"reader":1})", "first"},
      {R"({"end":9})", "9 keys"},
      {R"({"end":1,"key":"b"})", "alone"},
      {R"({"end":-1})", "number"},
  };
  for (const auto& [line, why] : cases) {
    SCOPED_TRACE(line);
    const std::string text = std::string(first) + "{\"key\":\"a\",\"value\":1}\n\n" + line +
                             "\n{\"key\":\"z\",\"value\":1}\n{\"end\":3}\n";
    EXPECT_THAT(messageOf<InvalidArgument>([&] { import(text); }),
                AllOf(HasSubstr("/out/lines: line 4: "), HasSubstr(why)));
    std::istringstream in(text);
    EXPECT_THAT(messageOf<InvalidArgument>([&] { importJsonLines(in, to_); }),
                HasSubstr("the stream: line 4: "));
    EXPECT_EQ(to_.size(), 0U);
  }
  EXPECT_THAT(messageOf<InvalidArgument>(
                  [&] { import(std::string(first) + "{\"end\":0}\n{\"end\":0}\n"); }),
              HasSubstr("line 3"));
}

TEST_F(JsonLinesTest, ATypeWhoseNameIsTooLongForAnEnvelopeIsRefused) {
  const std::string line = R"({"key":"k","struct":{"type":")" + std::string(70'000, 't') +
                           R"(","bytes":{"$binary":"AQ=="}}})";
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(line, {.incomplete = true}); }),
              HasSubstr("\"struct\" must have a \"type\""));
}

TEST_F(JsonLinesTest, AnExportThatWasCutAnywhereIsRefused) {
  for (int i = 0; i < 20; ++i) from_.set("key" + std::to_string(i), i);
  std::ostringstream out;
  exportJsonLines(from_, out);
  const std::string whole = out.str();
  for (std::size_t length = 0; length + 1 < whole.size(); ++length) {  // the last '\n' may lack
    EXPECT_THAT(messageOf<InvalidArgument>([&] { import(whole.substr(0, length)); }),
                HasSubstr("line "))
        << length;
  }
  std::string missing = whole;  // a line of the middle
  const std::size_t at = missing.find(R"({"key":"key5")");
  missing.erase(at, missing.find('\n', at) + 1 - at);
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(missing); }),
              AllOf(HasSubstr("line 21"), HasSubstr("lines are missing")));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(whole.substr(0, whole.find('\n') + 1)); }),
              AllOf(HasSubstr("line 2"), HasSubstr("cut off")));
  EXPECT_EQ(to_.size(), 0U);
  EXPECT_EQ(import(whole.substr(0, whole.size() - 1)).keys, 20U);
}

TEST_F(JsonLinesTest, LinesOfPeopleAreTakenWhenTheyMayBeIncomplete) {
  const std::string text =
      "\r\n {\"value\": [1, 2.5], \"key\": \"a\", \"storage\": [\"s\"]}\r\n\n"
      "{\"key\":\"b\",\"value\":{\"\\u00e4\":-0.0}}";
  EXPECT_THROW(import(text), InvalidArgument);
  ImportOptions options;
  options.incomplete = true;
  EXPECT_EQ(import(text, options).keys, 2U);
  EXPECT_EQ(to_.subStorage("s").get<Value>("a"), Value(Value::List{1, 2.5}));
  EXPECT_EQ(to_.get<Value>("b"), Value(ValueMap{{"\xC3\xA4", -0.0}}));
}

TEST_F(JsonLinesTest, ANewerFormIsRefusedAsThatUnlessThisReaderMayReadIt) {
  EXPECT_THAT(messageOf<FormatTooNew>([&] {
                import("{\"export\":\"penstock storage\",\"version\":3,\"reader\":2}\n");
              }),
              AllOf(HasSubstr("line 1"), HasSubstr("version 2")));
  const std::string readable =
      "{\"export\":\"penstock storage\",\"version\":3,\"reader\":1,\"more\":0}\n{\"end\":0}\n";
  EXPECT_EQ(import(readable).keys, 0U);
}

TEST_F(JsonLinesTest, AFirstLineOfSomethingElseIsRefused) {
  for (const auto& [line, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"export":"another","version":1,"reader":1})", "first line of another export"},
           {R"({"export":"penstock storage","version":1})", "lacks the number \"reader\""},
           {R"({"export":"penstock storage","reader":1})", "lacks the number \"version\""},
           {R"({"export":"penstock storage","version":1,"reader":"1"})", "lacks the number"}}) {
    EXPECT_THAT(messageOf<InvalidArgument>([&, line = line] { import(std::string(line) + "\n"); }),
                AllOf(HasSubstr("line 1"), HasSubstr(why)));
  }
}

TEST_F(JsonLinesTest, AStreamThatFailsIsAnError) {
  from_.set("a", 1);
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  EXPECT_THROW(exportJsonLines(from_, out), IoError);
  std::istringstream in;
  in.setstate(std::ios::badbit);
  EXPECT_THROW(importJsonLines(in, to_), IoError);
}

TEST_F(JsonLinesTest, AStreamOfMoreThanABatchIsRefusedAndAFileIsCut) {
  for (int i = 0; i < 10; ++i) from_.set("k" + std::to_string(i), i);  // 2 + 9 bytes each
  std::stringstream lines;
  exportJsonLines(from_, lines);
  ImportOptions options;
  options.batchBytes = 109;
  EXPECT_THAT(messageOf<InvalidArgument>([&] { importJsonLines(lines, to_, options); }),
              AllOf(HasSubstr("line 11"), HasSubstr("109 bytes")));
  EXPECT_EQ(to_.size(), 0U);
  EXPECT_EQ(import(lines.str(), options).batches, 2U);
  to_.clear();
  options.batchBytes = 110;
  lines.clear();
  lines.seekg(0);
  EXPECT_EQ(importJsonLines(lines, to_, options).batches, 1U);
  EXPECT_EQ(imported(), exported());
}

TEST_F(JsonLinesTest, AFileThatChangesBetweenItsTwoReadingsIsNotImported) {
  const std::string before = std::string(first) + "{\"key\":\"a\",\"value\":1}\n{\"end\":1}\n";
  for (const char* line :
       {R"({"key":"a","value":2})", R"({"key":"b","value":1})",
        R"({"storage":["new"],"key":"a","value":1})", R"({"key":"a","value":1} )"}) {
    ImportOptions options;
    options.progress = [&](const TransferProgress& progress) {
      if (progress.phase != TransferPhase::Checking) return;
      write("/out/lines", std::string(first) + line + "\n{\"end\":1}\n");
    };
    EXPECT_THROW(import(before, options), SourceChanged) << line;
    EXPECT_EQ(to_.size(), 0U);
  }
}

// Snapshot files

class SnapshotFileTest : public TransferTest {
 protected:
  void fill() {
    for (int i = 0; i < 40; ++i) from_.set("key" + std::to_string(i), std::string(1000, 'v'));
    from_.subStorage("sub").set("key", 1);
    (void)from_.subStorage("empty");
  }
  std::string exportBytes() {
    exportSnapshot(from_, "/out/file", {.replace = true}, environment());
    return read("/out/file");
  }
  void expectRefused(const std::string& bytes) {
    write("/out/damaged", bytes);
    try {
      importSnapshot("/out/damaged", to_, {}, environment());
      ADD_FAILURE() << "imported";
    } catch (const Corruption& error) {
      EXPECT_EQ(error.file(), "/out/damaged");
      EXPECT_THAT(error.what(), AllOf(HasSubstr("/out/damaged"), HasSubstr("export again")));
    }
  }
};

TEST_F(SnapshotFileTest, EveryChangedBitIsFoundBeforeAnythingIsImported) {
  fill();
  const std::string whole = exportBytes();
  ASSERT_GT(whole.size(), 40'000U);  // of several blocks
  for (std::size_t at = 0; at < whole.size(); at += at < 200 || at + 400 > whole.size() ? 1 : 37) {
    SCOPED_TRACE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    expectRefused(damaged);
    if (HasFailure()) break;
  }
  EXPECT_THAT(contentsOf("/to", environment()).at("storage"), IsEmpty());
}

TEST_F(SnapshotFileTest, AFileThatWasCutAnywhereOrGrewIsRefused) {
  from_.set("key", 1);
  const std::string whole = exportBytes();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    expectRefused(whole.substr(0, length));
    if (HasFailure()) break;
  }
  expectRefused(whole + '\0');
  expectRefused(whole + whole);
  expectRefused(std::string(whole.size(), '\0'));
  EXPECT_EQ(to_.size(), 0U);
}

TEST_F(SnapshotFileTest, PartsOfTwoExportsAreNoExport) {
  fill();
  const std::string one = exportBytes();
  from_.set("key1", std::string(1000, 'w'));
  const std::string other = exportBytes();
  ASSERT_EQ(one.size(), other.size());
  expectRefused(one.substr(0, sizeof(FileHeader)) + other.substr(sizeof(FileHeader)));
  for (std::size_t at = 4096; at < one.size(); at += 4096) {
    expectRefused(one.substr(0, at) + other.substr(at));
  }
}

TEST_F(SnapshotFileTest, DamageIsNamedByItsPlace) {
  fill();
  const std::string whole = exportBytes();
  SnapshotFooter footer{};
  std::memcpy(&footer, whole.data() + whole.size() - sizeof(footer), sizeof(footer));
  const std::tuple<std::size_t, std::size_t, const char*> cases[] = {
      {20, 0, "header"},
      {sizeof(FileHeader) + 100, sizeof(FileHeader), "block"},
      {footer.indexOffset + 24, footer.indexOffset, "index"},
      {whole.size() - 20, whole.size() - sizeof(footer), "footer"}};
  for (const auto& [at, offset, what] : cases) {
    std::string damaged = whole;
    damaged[at] ^= 1;
    write("/out/damaged", damaged);
    try {
      importSnapshot("/out/damaged", to_, {}, environment());
      ADD_FAILURE() << "imported";
    } catch (const Corruption& error) {
      EXPECT_EQ(error.offset(), offset);
      EXPECT_THAT(error.what(), HasSubstr(what));
    }
  }
}

TEST_F(SnapshotFileTest, ANewerFormIsRefusedAsThat) {
  from_.set("key", 1);
  std::string bytes = exportBytes();
  FileHeader header{};
  std::memcpy(&header, bytes.data(), sizeof(header));
  EXPECT_EQ(header.kind, FileKind::Export);
  EXPECT_EQ(header.minimumReader, 1U);
  EXPECT_EQ(header.journalLow | header.journalHigh, 0U);  // of no directory
  const auto importWith = [&](FileHeader changed) {
    changed.checksum =
        hash64({reinterpret_cast<const char*>(&changed), offsetof(FileHeader, checksum)});
    std::string file = bytes;
    std::memcpy(file.data(), &changed, sizeof(changed));
    write("/out/newer", file);
    return importSnapshot("/out/newer", to_, {}, environment());
  };
  FileHeader newer = header;
  newer.minimumReader = formatVersion + 1;
  EXPECT_THROW(importWith(newer), FormatTooNew);
  newer = header;
  newer.incompatibleFeatures = 2;
  EXPECT_THROW(importWith(newer), FormatTooNew);
  newer = header;
  newer.version = formatVersion + 7;
  newer.compatibleFeatures = ~std::uint64_t{0};
  EXPECT_EQ(importWith(newer).keys, 1U);
}

TEST_F(SnapshotFileTest, ASnapshotOfADirectoryIsNoExport) {
  from_.set("key", 1);
  const auto journal = Journal::open("/from", {}, environment());
  journal->snapshotStore(journal->findStore("storage").value());
  std::string found;
  for (const std::string& name : filesIn("/from")) {
    if (name.ends_with(".snap")) found = "/from/" + name;
  }
  ASSERT_FALSE(found.empty());
  EXPECT_THAT(messageOf<Corruption>([&] { importSnapshot(found, to_, {}, environment()); }),
              HasSubstr("no snapshot file of a storage"));
}

// Each checksum is right: only what the file says is wrong.
TEST_F(SnapshotFileTest, EntriesThatNoExportHasAreRefusedByTheirPlace) {
  using Entries = std::vector<std::pair<std::string, std::string>>;
  const std::string longKey(LocalFileStorage::keyBytesMax + 1, 'k');
  const auto of = [](const std::string& path, const std::string& key) { return path + '\0' + key; };
  const std::pair<Entries, const char*> cases[] = {
      {{}, "lacks keys"},
      {{{"no zero", "x"}}, "has an entry of no storage"},
      {{{of("", "key"), "\x01"}}, "has a key of no storage"},
      {{{of("s", ""), "\0"}}, "lacks keys"},  // the first is not the root
      {{{of("", ""), "\x02"}, {of("", "b"), "\x01"}, {of("", "a"), "\x01"}}, "out of order"},
      {{{of("", ""), "\x02"}, {of("", "b"), "\x01"}, {of("", "b"), "\x01"}}, "out of order"},
      {{{of("", ""), std::string(1, '\0')}, {of("", "a"), "\x01"}}, "has a key of no storage"},
      {{{of("", ""), "\x01"}, {of("s", "a"), "\x01"}}, "has a key of no storage"},
      {{{of("", ""), "\x02"}, {of("", "a"), "\x01"}}, "lacks keys"},
      {{{of("", ""), "\x01"}, {of("s", ""), std::string(1, '\0')}}, "lacks keys"},
      {{{of("", ""), "\x01"}, {of("", "a"), ""}}, "beyond the limits"},
      {{{of("", ""), "\x01"}, {of("", longKey), "\x01"}}, "beyond the limits"},
      {{{of("", ""), ""}}, "has a storage that cannot be read"},
      {{{of("", ""), std::string(2, '\0')}}, "has a storage that cannot be read"},
      {{{of("", ""), std::string(1, '\0')}, {of("a//b", ""), std::string(1, '\0')}},
       "has a storage that cannot be read"},
  };
  for (const auto& [entries, why] : cases) {
    SCOPED_TRACE(why);
    write("/out/crafted", "");
    const auto file = environment().files->open("/out/crafted", OpenMode::ReadWrite);
    ASSERT_TRUE(file.ok());
    SnapshotWriter writer(*file.value, "/out/crafted", {}, 7, 0, 0, 0, FileKind::Export);
    for (const auto& [name, value] : entries) writer.add(name, value);
    (void)writer.finish();
    EXPECT_THAT(
        messageOf<Corruption>([&] { importSnapshot("/out/crafted", to_, {}, environment()); }),
        AllOf(HasSubstr(why), HasSubstr("/out/crafted"), HasSubstr("offset ")));
  }
  EXPECT_THAT(contentsOf("/to", environment()).at("storage"), IsEmpty());
}

/// An export of one block, sealed with what a test makes of it.
struct CraftedExport {
  std::string entries;  // of the block, with their starts behind them
  std::uint32_t count = 0;
  BlockRef ref{};
  SnapshotFooter footer{};
  std::string indexTail;  // bytes behind the index's one entry
  std::string firstKey;

  void add(std::string_view key, std::string_view value) {
    if (count++ == 0) firstKey = key;
    starts_.push_back(static_cast<std::uint32_t>(sizeof(BlockHeader) + entries.size()));
    putFixed(entries, static_cast<std::uint32_t>(key.size()));
    putFixed(entries, static_cast<std::uint32_t>(value.size()));
    entries += key;
    entries += value;
  }
  void putStarts(std::uint32_t shift = 0) {
    for (const std::uint32_t start : starts_) putFixed(entries, start + shift);
  }
  /// The file; `change` sees index entry and footer before they are sealed.
  [[nodiscard]] std::string bytes(const std::function<void(CraftedExport&)>& change = {}) {
    constexpr std::uint64_t number = 7;
    const FileHeader header = makeFileHeader(FileKind::Export, {}, number, 0, 0, 0);
    BlockHeader block{};
    block.magic = blockMagic;
    block.length = static_cast<std::uint32_t>(sizeof(block) + entries.size());
    block.fileOffset = sizeof(header);
    block.number = number;
    block.count = count;
    block.hash = blockHash(block, entries);
    ref = {block.fileOffset, block.length, block.count, block.hash, {}};
    footer = {};
    footer.magic = footerMagic;
    footer.number = number;
    footer.entries = count;
    footer.blocks = 1;
    footer.indexOffset = sizeof(header) + block.length;
    if (change) change(*this);
    std::string index;
    putFixed(index, ref.offset);
    putFixed(index, ref.length);
    putFixed(index, ref.count);
    putFixed(index, ref.hash);
    putText(index, firstKey);
    index += indexTail;
    if (footer.indexBytes == 0) footer.indexBytes = index.size();
    footer.indexHash = hash64(index);
    footer.checksum =
        hash64({reinterpret_cast<const char*>(&footer), offsetof(SnapshotFooter, checksum)});
    std::string file(reinterpret_cast<const char*>(&header), sizeof(header));
    file.append(reinterpret_cast<const char*>(&block), sizeof(block));
    file += entries + index;
    file.append(reinterpret_cast<const char*>(&footer), sizeof(footer));
    return file;
  }

 private:
  std::vector<std::uint32_t> starts_;
};

TEST_F(SnapshotFileTest, IndexAndFooterThatDoNotFitAreRefusedThoughTheirChecksumsAreRight) {
  const auto crafted = [] {
    CraftedExport file;
    file.add(std::string(1, '\0'), "\x01");
    file.add(std::string("\0key", 4), "\x01");
    file.putStarts();
    return file;
  };
  write("/out/whole", crafted().bytes());
  EXPECT_EQ(importSnapshot("/out/whole", to_, {}, environment()).keys, 1U);
  to_.clear();
  using Change = std::function<void(CraftedExport&)>;
  const std::pair<Change, const char*> cases[] = {
      {[](auto& file) { file.footer.magic += 1; }, "has no whole footer"},
      {[](auto& file) { file.footer.number += 1; }, "has no whole footer"},
      {[](auto& file) { file.footer.indexOffset = 8; }, "footer that does not fit its size"},
      {[](auto& file) { file.footer.indexOffset = 1 << 20; }, "footer that does not fit its size"},
      {[](auto& file) { file.footer.indexBytes = 3; }, "footer that does not fit its size"},
      {[](auto& file) { file.footer.blocks = 2; }, "has an index that does not fit it"},
      {[](auto& file) { file.footer.entries = 3; }, "has an index that does not fit it"},
      {[](auto& file) { file.ref.offset += 1; }, "has an index that does not fit it"},
      {[](auto& file) { file.ref.length += 1; }, "has an index that does not fit it"},
      {[](auto& file) { file.ref.length -= 1; }, "has an index that does not fit it"},
      {[](auto& file) { file.ref.count = 0; }, "has an index that does not fit it"},
      {[](auto& file) { file.ref.count = 100; }, "has an index that does not fit it"},
      {[](auto& file) { file.indexTail = "more"; }, "has an index that does not fit it"},
      {[](auto& file) { file.ref.hash += 1; }, "has a damaged block"},
      {[](auto& file) { file.firstKey = "other"; }, "has a block that cannot be read"},
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    SCOPED_TRACE("case " + std::to_string(i));
    write("/out/crafted", crafted().bytes(cases[i].first));
    EXPECT_THAT(
        messageOf<Corruption>([&] { importSnapshot("/out/crafted", to_, {}, environment()); }),
        HasSubstr(cases[i].second));
  }
  EXPECT_EQ(to_.size(), 0U);
}

TEST_F(SnapshotFileTest, ABlockWhoseEntriesDoNotFitIsRefusedThoughItsHashIsRight) {
  CraftedExport shifted;
  shifted.add(std::string(1, '\0'), std::string(1, '\0'));
  shifted.putStarts(1);
  CraftedExport longer;
  longer.add(std::string(1, '\0'), std::string(1, '\0'));
  longer.entries[0] = 100;  // the length of its key
  longer.putStarts();
  CraftedExport more;
  more.add(std::string(1, '\0'), std::string(1, '\0'));
  more.entries += "more";
  more.putStarts();
  for (CraftedExport* file : {&shifted, &longer, &more}) {
    write("/out/crafted", file->bytes());
    EXPECT_THAT(
        messageOf<Corruption>([&] { importSnapshot("/out/crafted", to_, {}, environment()); }),
        HasSubstr("has a block that cannot be read"));
  }
}

TEST_F(SnapshotFileTest, AFileThatIsCutWhileItIsImportedIsRefused) {
  fill();
  const std::string whole = exportBytes();
  ImportOptions options;
  options.progress = [&](const TransferProgress& progress) {
    if (progress.phase == TransferPhase::Checking) write("/out/file", whole.substr(0, 5000));
  };
  EXPECT_THAT(
      messageOf<Corruption>([&] { importSnapshot("/out/file", to_, options, environment()); }),
      HasSubstr("became shorter while it was read"));
  EXPECT_EQ(to_.size(), 0U);
}

TEST_F(SnapshotFileTest, WhatHasMoreThanABatchIsCut) {
  fill();
  exportBytes();
  ImportOptions options;
  options.batchBytes = 10'000;
  EXPECT_EQ(importSnapshot("/out/file", to_, options, environment()).batches, 5U);
  EXPECT_EQ(imported(), exported());
}

// Files that are written

class NewFileTest : public SnapshotFileTest {};

TEST_F(NewFileTest, AFileThatIsThereIsReplacedOnlyWhenAsked) {
  from_.set("key", 1);
  write("/out/file", "precious");
  EXPECT_THAT(
      messageOf<InvalidArgument>([&] { exportSnapshot(from_, "/out/file", {}, environment()); }),
      HasSubstr("/out/file"));
  EXPECT_THROW(exportJsonLines(from_, "/out/file", {}, environment()), InvalidArgument);
  EXPECT_EQ(read("/out/file"), "precious");
  EXPECT_THROW(exportSnapshot(from_, "/out", {.replace = true}, environment()), InvalidArgument);
  exportSnapshot(from_, "/out/file", {.replace = true}, environment());
  EXPECT_EQ(importSnapshot("/out/file", to_, {}, environment()).keys, 1U);
  EXPECT_THAT(filesIn("/out"), ElementsAre("file"));
}

TEST_F(NewFileTest, MayLieInTheRootAndBeLargerThanItsBuffer) {
  const std::string value(3 << 20, 'x');
  from_.set("key", value);
  exportJsonLines(from_, "/file", {}, environment());
  EXPECT_GT(read("/file").size(), value.size());
  EXPECT_EQ(importJsonLines("/file", to_, {}, environment()).keys, 1U);
  EXPECT_EQ(to_.get<std::string>("key"), value);
}

TEST_F(NewFileTest, AnExportThatFailsLeavesWhatWasThereAndNothingElse) {
  fill();
  write("/out/file", "before");
  const std::pair<SimCall, const char*> calls[] = {
      {SimCall::Open, "/out/file."},
      {SimCall::Write, "/out/file."},
      {SimCall::Sync, "/out/file."},
      {SimCall::Rename, "/out/file"},
  };
  for (const auto& [call, path] : calls) {
    for (const int error : {EIO, ENOSPC}) {
      machine_.fail({.call = call, .error = error, .path = path});
      const ExportOptions options{.replace = true, .progress = {}};
      if (error == EIO) {
        EXPECT_THAT(
            messageOf<IoError>([&] { exportSnapshot(from_, "/out/file", options, environment()); }),
            HasSubstr("/out/file"));
      } else {
        EXPECT_THROW(exportJsonLines(from_, "/out/file", options, environment()), DiskFull);
      }
      machine_.clearFaults();
      EXPECT_EQ(read("/out/file"), "before");
      EXPECT_THAT(filesIn("/out"), ElementsAre("file"));
    }
  }
  machine_.fail({.call = SimCall::SyncDirectory, .path = "/out"});
  EXPECT_THROW(exportSnapshot(from_, "/out/file", {.replace = true}, environment()), IoError);
}

TEST(NewFileCrash, LeavesAllOfAnExportOrWhatWasThere) {
  bool finished = false;
  std::size_t olds = 0;
  for (std::uint64_t n = 1; !finished; ++n) {
    for (const testsupport::Damage damage : testsupport::kAllDamages) {
      SCOPED_TRACE(std::to_string(n) + " " + std::string(nameOf(damage)));
      SimFs machine(n);
      machine.makeSyncedDirectory("/out");
      const auto process = machine.startProcess();
      LocalFileStorage storage("/from", {}, process->environment());
      storage.set("key", "old");
      exportSnapshot(storage, "/out/file", {}, process->environment());
      storage.set("key", std::string(3000, 'n'));
      finished = false;
      machine.crashAfterOperation(n);
      try {
        exportSnapshot(storage, "/out/file", {.replace = true}, process->environment());
        finished = true;
      } catch (const Error&) {
      }
      process->kill();
      machine.crash(n, damage);
      const auto after = machine.startProcess();
      LocalFileStorage copy("/to", {}, after->environment());
      EXPECT_EQ(importSnapshot("/out/file", copy, {}, after->environment()).keys, 1U);
      const bool old = copy.get<std::string>("key") == "old";
      EXPECT_FALSE(old && finished);
      olds += old ? 1 : 0;
    }
  }
  EXPECT_GT(olds, 10U);
}

// Golden files, written by PENSTOCK_WRITE_GOLDEN=1: these bytes must still be produced, and read.

std::string goldenFile(const std::string& name) {
  return penstock::testing::sourceDirectory() + "/tests/state/golden/export-1/" + name;
}

TEST_F(TransferTest, GoldenExportsAreStillWrittenAndRead) {
  from_.set("a", true);
  from_.set("b", Value(Value::List{1, -0.0, "x", nullptr}));
  from_.set(std::string("\0\xFF", 2), std::string("\xFF"));
  from_.subStorage("a b").subStorage("c").set("order", depot::Order{17, {"nut"}});
  from_.subStorage("a b").set("long", std::string(20'000, 'l'));
  (void)from_.subStorage("empty");
  exportSnapshot(from_, "/out/storage.penstock", {}, environment());
  exportJsonLines(from_, "/out/storage.jsonl", {}, environment());
  for (const char* name : {"storage.penstock", "storage.jsonl"}) {
    const std::string written = read(std::string("/out/") + name);
    if (std::getenv("PENSTOCK_WRITE_GOLDEN") != nullptr) {
      std::filesystem::create_directories(goldenFile(""));
      std::ofstream(goldenFile(name), std::ios::binary) << written;
    }
    std::ifstream in(goldenFile(name), std::ios::binary);
    const std::string kept((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    EXPECT_TRUE(written == kept) << name;
    write(std::string("/out/kept-") + name, kept);
  }
  importSnapshot("/out/kept-storage.penstock", to_, {}, environment());
  EXPECT_EQ(imported(), exported());
  to_.clear();
  importJsonLines("/out/kept-storage.jsonl", to_, {}, environment());
  EXPECT_EQ(imported(), exported());
}

}  // namespace
}  // namespace penstock::state
