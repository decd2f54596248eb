// SPDX-License-Identifier: Apache-2.0
//
// Goal: cases S6 to S10 and S13 to S18 of shared state: a save writes exactly what was selected, at
// one moment; what is read back is what was written; whatever else is in a file is refused before
// anything is changed, by file and offset.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/shared_state.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <limits>
#include <thread>

#include "frame.h"
#include "support/build_paths.h"
#include "support/message_of.h"
#include "support/sim_fs.h"
#include "support/temporary_directory.h"

namespace penstock::state {
namespace {

using namespace std::chrono_literals;
using penstock::testing::messageOf;
using penstock::testing::sourceDirectory;
using penstock::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testsupport::SimFs;

const std::string path = "/data/state.json";

class SharedStateSave : public ::testing::Test {
 protected:
  SharedStateSave() { machine_.makeSyncedDirectory("/data"); }

  [[nodiscard]] std::string textOf(const std::string& file) const {
    const auto bytes = machine_.image(file);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  [[nodiscard]] std::string text() const { return textOf(path); }
  void write(std::string_view text) {
    machine_.setImage(path, std::as_bytes(std::span(text.data(), text.size())));
  }
  /// The names in the file, read by another state.
  std::vector<std::string> savedNames() {
    SharedState other({}, environment());
    EXPECT_EQ(other.restore(path), Restored::Restored);
    return other.names();
  }
  [[nodiscard]] const Environment& environment() const { return process_->environment(); }

  SimFs machine_{1};
  std::shared_ptr<testsupport::SimProcess> process_ = machine_.startProcess();
  SharedState state_{{}, environment()};
};

std::string sealed(const std::string& rest) {
  char seal[64];
  std::snprintf(seal, sizeof seal, "%016lx:%zu", hash64(rest), rest.size());
  return R"({"penstock":"shared state","seal":")" + std::string(seal) + '"' + rest;
}

TEST_F(SharedStateSave, S6WritesExactlyWhatItsFormatSays) {
  SharedState state({.application = "shop"}, environment());
  state.set("counter", 8);
  state.set("users", Value::List{"a", "b"}, {"General", "Users"});
  state.set("empty", ValueMap{{"list", Value::List{}}, {"map", ValueMap{}}});
  state.save(path, {.compress = true});
  EXPECT_EQ(text(), sealed(R"(,"version":1,"reader":1,"application":"shop",)"
                           R"("saved":"2026-01-01T00:00:00.000Z","values":[)"
                           R"({"name":"counter","value":8},)"
                           R"({"name":"users","value":["a","b"],"scopes":["General","Users"]},)"
                           R"({"name":"empty","value":{"list":[],"map":{}}}]})"
                           "\n"));
  state.save(path, {.exclude = {"empty"}});
  EXPECT_EQ(text(), sealed(R"(,
  "version": 1,
  "reader": 1,
  "application": "shop",
  "saved": "2026-01-01T00:00:00.000Z",
  "values": [
    {
      "name": "counter",
      "value": 8
    },
    {
      "name": "users",
      "value": [
        "a",
        "b"
      ],
      "scopes": [
        "General",
        "Users"
      ]
    }
  ]
}
)"));
  state.save(path, {.include = {"none"}});
  EXPECT_THAT(text(), ::testing::EndsWith("  \"values\": []\n}\n"));
  EXPECT_THAT(savedNames(), IsEmpty());
}

TEST_F(SharedStateSave, S6TheThreeFiltersIntersect) {
  state_.set("plain", 1);
  state_.set("general", 2, {"General"});
  state_.set("users", 3, {"Users", "General"});
  const std::vector<std::pair<SharedSaveOptions, std::vector<std::string>>> cases{
      {{}, {"plain", "general", "users"}},
      {{.include = {"users", "plain", "unknown"}}, {"plain", "users"}},
      {{.exclude = {"general"}}, {"plain", "users"}},
      {{.scopes = {"General"}}, {"general", "users"}},
      {{.include = {"plain", "users"}, .scopes = {"General"}}, {"users"}},
      {{.include = {"general", "users"}, .exclude = {"users"}}, {"general"}},
      {{.include = {"general", "users"}, .exclude = {"general"}, .scopes = {"Users"}}, {"users"}},
      {{.include = {"general"}, .scopes = {"Users"}}, {}},
  };
  for (const auto& [options, names] : cases) {
    state_.save(path, options);
    EXPECT_EQ(savedNames(), names);
  }
}

TEST_F(SharedStateSave, S7AFilteredSaveReplacesTheFileAndAMergingOneKeepsTheOthers) {
  state_.set("a", 1, {"one"});
  state_.set("b", 1);
  state_.save(path);
  state_.save(path, {.include = {"a"}});
  EXPECT_THAT(savedNames(), ElementsAre("a"));

  SharedState other({}, environment());
  other.set("c", 3);
  other.set("a", 2, {"two"});
  other.save(path, {.merge = true});
  SharedState read({}, environment());
  (void)read.restore(path);
  EXPECT_THAT(read.names(), ElementsAre("a", "c"));
  EXPECT_EQ(*read.get("a"), Value(2));
  EXPECT_THAT(read.entry("a")->scopes, ElementsAre("two"));
}

TEST_F(SharedStateSave, AMergeIntoNoFileWritesOneAndIntoADamagedOneLeavesIt) {
  state_.set("a", 1);
  state_.save(path, {.merge = true});
  EXPECT_THAT(savedNames(), ElementsAre("a"));
  write("{");
  EXPECT_THROW(state_.save(path, {.merge = true}), Corruption);
  EXPECT_EQ(text(), "{");
}

TEST_F(SharedStateSave, S8NoFileIsNotFoundAndChangesNothing) {
  state_.set("a", 1);
  EXPECT_EQ(state_.restore("/data/none.json"), Restored::NotFound);
  EXPECT_EQ(state_.restore("/none/none.json"), Restored::NotFound);
  EXPECT_THAT(state_.names(), ElementsAre("a"));
}

TEST_F(SharedStateSave, S9EachKindOfBadFileIsRefusedByNameAndPlace) {
  state_.set("a", 1, {"scope"});
  const auto file = [](const std::string& values, const std::string& reader = "1") {
    return sealed(R"(,"version":2,"reader":)" + reader +
                  R"(,"application":"","saved":"","values":[)" + values + "]}\n");
  };
  struct Case {
    std::string text;
    std::string says;
    std::uint64_t offset;
  };
  const std::string whole = file(R"({"name":"a","value":1})");
  std::string flipped = whole;
  flipped[whole.size() - 8] = '#';
  const std::vector<Case> damaged{
      {"", "empty", 0},
      {" \n", "nothing but blanks", 0},
      {" null\n", "null instead of a state", 1},
      {"{}", "{} instead of a state", 0},
      {whole.substr(0, 20), "cut off", 20},
      {whole.substr(0, 50), "cut off", 50},
      {whole.substr(0, 90), "it ends at byte 90 of 142: it was cut off", 90},
      {whole + " ", "1 bytes follow its end", whole.size()},
      {flipped, "bytes 55 to 142 are not what was written", 55},
      {sealed(",}\n"), "JSON", 56},
      {sealed("}\n"), "the file has no \"version\"", 0},
      {file("1"), "values[0] is no object", 0},
      {file("{}"), "values[0] has no \"name\"", 0},
      {file(R"({"name":"a"})"), "values[0] has no \"value\"", 0},
      {file(R"({"name":1,"value":1})"), "\"name\" is no string", 0},
      {file(R"({"name":"","value":1})"), "a name of 0 bytes", 0},
      {file(R"({"name":"a","value":1,"more":1})"), "members that do not belong there", 0},
      {file(R"({"name":"a","value":1,"scopes":[1]})"), "a scope that is no string", 0},
      {file(R"({"name":"a","value":1,"stored":{"$binary":"AQ=="}})"), "both", 0},
      {file(R"({"name":"a","stored":{"$binary":"/w=="}})"), "\"stored\" that is no value", 0},
      {file(R"({"name":"a","value":1},{"name":"a","value":1})"), "values[1] has the name", 0},
  };
  for (const Case& one : damaged) {
    write(one.text);
    for (const bool merge : {false, true}) {
      try {
        (void)state_.restore(path, {.merge = merge});
        ADD_FAILURE() << one.text;
      } catch (const Corruption& error) {
        EXPECT_THAT(error.what(), AllOf(StartsWith(path + ": offset "), HasSubstr(one.says),
                                        HasSubstr("no file of a save before it")));
        EXPECT_EQ(error.file(), path);
        EXPECT_EQ(error.offset(), one.offset) << error.what();
      }
    }
  }
  write(file("", "2"));
  EXPECT_THAT(messageOf<FormatTooNew>([&] { (void)state_.restore(path); }),
              AllOf(HasSubstr(path), HasSubstr("version 2")));
  for (const char* foreign : {"{\"a\": 1}", "[]", "hello", "\xef\xbb\xbf{}"}) {
    write(foreign);
    EXPECT_THAT(messageOf<ForeignFile>([&] { (void)state_.restore(path); }),
                AllOf(HasSubstr(path), HasSubstr("importPode")));
  }
  EXPECT_THAT(state_.names(), ElementsAre("a"));
  EXPECT_THAT(state_.entry("a")->scopes, ElementsAre("scope"));
}

TEST_F(SharedStateSave, S9AFileThatIsCutOffAtAnyByteOrHasAnyByteChangedIsRefused) {
  state_.set("a", ValueMap{{"text", "x\ny"}, {"list", Value::List{1, 2.5, nullptr}}}, {"scope"});
  SharedState other({}, environment());
  other.set("mine", 1);
  for (const bool compress : {false, true}) {
    state_.save(path, {.compress = compress});
    const std::string whole = text();
    for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
      write(whole.substr(0, bytes));
      EXPECT_THROW((void)other.restore(path), Corruption) << bytes;
    }
    for (std::size_t at = 0; at < whole.size(); ++at) {
      for (const int bit : {1, 2, 4, 8, 16, 32, 64}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ bit);
        write(changed);
        EXPECT_THROW((void)other.restore(path), Error) << at;
      }
    }
  }
  EXPECT_THAT(other.names(), ElementsAre("mine"));
}

TEST_F(SharedStateSave, TheFileOfAnotherApplicationIsRefusedByBothNames) {
  SharedState shop({.application = "shop"}, environment());
  SharedState bank({.application = "bank"}, environment());
  shop.set("a", 1);
  shop.save(path);
  EXPECT_THAT(messageOf<ForeignFile>([&] { (void)bank.restore(path); }),
              AllOf(HasSubstr("\"shop\""), HasSubstr("\"bank\"")));
  EXPECT_THROW(bank.save(path, {.merge = true}), ForeignFile);
  EXPECT_EQ(state_.restore(path), Restored::Restored);  // without a name nothing is checked
  state_.save(path);
  EXPECT_EQ(bank.restore(path), Restored::Restored);
}

TEST_F(SharedStateSave, S10RestoringReplacesAllOrMerges) {
  state_.set("both", 1, {"file"});
  state_.set("file", 1);
  state_.save(path);
  const auto before = [&](SharedState& state) {
    state.set("memory", 2, {"memory"});
    state.set("both", ValueMap{{"deep", 2}}, {"memory"});
  };
  SharedState replaced({}, environment());
  before(replaced);
  EXPECT_EQ(replaced.restore(path), Restored::Restored);
  EXPECT_THAT(replaced.names(), ElementsAre("both", "file"));

  SharedState merged({}, environment());
  before(merged);
  EXPECT_EQ(merged.restore(path, {.merge = true}), Restored::Restored);
  EXPECT_THAT(merged.names(), ElementsAre("memory", "both", "file"));
  EXPECT_EQ(*merged.get("both"), Value(1));
  EXPECT_THAT(merged.entry("both")->scopes, ElementsAre("file"));
}

// All that JSON has no room for, too.
TEST_F(SharedStateSave, S13ToS16EveryValueComesBack) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const std::vector<Value> values{
      nullptr,
      true,
      false,
      0,
      -1,
      std::numeric_limits<std::int64_t>::max(),
      std::numeric_limits<std::int64_t>::min(),
      0.0,
      -0.0,
      1.0,
      0.1,
      1e300,
      5e-324,
      infinity,
      -infinity,
      "",
      "text",
      "2026-01-02T03:04:05.0000000Z",
      "\xff\xfe",
      std::string("\0", 1),
      "\xf0\x9f\x98\x80",
      Binary{},
      Binary{std::byte{0}, std::byte{255}},
      Value::List{},
      Value::List{1},
      Value::List{Value::List{}, Value::List{Value::List{1}}, Value::List{}},
      ValueMap{},
      ValueMap{{"z", 1}, {"a", 2}, {"m", ValueMap{{"y", 1}, {"b", 2}}}},
      ValueMap{{"$binary", "AAA="}},
      ValueMap{{"$$string", 1}},
      ValueMap{{"$double", "NaN"}},
      ValueMap{{"\xff", 1}},
      ValueMap{{"$pode.Guid", "x"}}};
  for (std::size_t i = 0; i < values.size(); ++i)
    state_.set("value " + std::to_string(i), values[i]);
  state_.set(std::string("\0\xff", 2), std::nan(""));
  for (const bool compress : {false, true}) {
    state_.save(path, {.compress = compress});
    SharedState read({}, environment());
    ASSERT_EQ(read.restore(path), Restored::Restored);
    EXPECT_EQ(read.names(), state_.names());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const SharedValue value = read.get("value " + std::to_string(i));
      EXPECT_EQ(*value, values[i]) << values[i].toJson();
      EXPECT_EQ(value->type(), values[i].type());
      if (values[i].type() == ValueType::Map && !values[i].asMap().empty()) {  // order too
        EXPECT_EQ(value->asMap().begin()->first, values[i].asMap().begin()->first);
      }
    }
    EXPECT_TRUE(std::isnan(read.get(std::string("\0\xff", 2))->asDouble()));
    EXPECT_TRUE(std::signbit(read.get("value 8")->asDouble()));
  }
}

Value nested(std::size_t depth) {
  Value value = 1;
  for (std::size_t i = 1; i < depth; ++i) {
    value = i % 2 == 0 ? Value(Value::List{std::move(value)}) : Value(ValueMap{{"m", value}});
  }
  return value;
}

TEST_F(SharedStateSave, S17NestingUpToTheLimitIsSavedAndRestoredAndBeyondItRefusedOnBothSides) {
  state_.set("hundred", nested(100));
  state_.set("limit", nested(Value::depthMax));
  state_.save(path);
  const std::string whole = text();
  SharedState read({}, environment());
  ASSERT_EQ(read.restore(path), Restored::Restored);
  EXPECT_EQ(*read.get("limit"), nested(Value::depthMax));

  state_.set("beyond", nested(Value::depthMax + 1));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state_.save(path); }),
              AllOf(HasSubstr("\"beyond\""), HasSubstr("more than 128 deep")));
  EXPECT_EQ(text(), whole) << "the old file stays";

  for (const std::size_t depth : {Value::depthMax + 1, Value::depthMax + 2, Value::depthMax * 10}) {
    std::string value(depth - 1, '[');
    value += '1' + std::string(depth - 1, ']');
    write(sealed(R"(,"version":1,"reader":1,"application":"","saved":"","values":[{"name":"a",)"
                 R"("value":)" +
                 value + "}]}\n"));
    EXPECT_THAT(messageOf<Corruption>([&] { (void)read.restore(path); }), HasSubstr("nested"));
  }
  EXPECT_THAT(read.names(), ElementsAre("hundred", "limit"));
}

TEST_F(SharedStateSave, OneGenerationIsKeptBeforeTheLast) {
  for (int i = 1; i <= 3; ++i) {
    state_.set("a", i);
    state_.save(path);
  }
  SharedState previous({}, environment());
  ASSERT_EQ(previous.restore(path + ".previous"), Restored::Restored);
  EXPECT_EQ(*previous.get("a"), Value(2));
  EXPECT_THAT(machine_.files(), ElementsAre(path, path + ".lock", path + ".previous"));
  write("");
  EXPECT_THAT(messageOf<Corruption>([&] { (void)state_.restore(path); }),
              HasSubstr("is kept as " + path + ".previous: restore that"));
}

TEST_F(SharedStateSave, WhatIsDamagedTakesNotThePlaceOfTheGenerationBefore) {
  for (int i = 1; i <= 2; ++i) {
    state_.set("a", i);
    state_.save(path);
  }
  const std::string kept = textOf(path + ".previous");
  for (const std::string& damage : {std::string(), text().substr(0, text().size() - 1)}) {
    write(damage);
    state_.save(path);
    EXPECT_EQ(textOf(path + ".previous"), kept);
  }
  write("{\"a\": 1}");  // somebody else's: it is kept
  state_.save(path);
  EXPECT_EQ(textOf(path + ".previous"), "{\"a\": 1}");
}

TEST_F(SharedStateSave, FilesOfThisVersionAreStillWrittenAndRead) {
  const std::string golden = sourceDirectory() + "/tests/state/golden/shared-1/state.json";
  SharedState state({.application = "golden"}, environment());
  state.set("counter", 8);
  state.set("users", Value::List{"a", "b"}, {"General", "Users"});
  state.set("bytes", Binary{std::byte{0}, std::byte{255}});
  state.set("nan", std::nan(""));
  state.set("names", ValueMap{{"\xff", 1}, {"ü", "\xfe"}});
  state.set("\xff", ValueMap{{"z", 0.5}, {"a", Value::List{}}, {"$binary", nullptr}});
  state.save(path);
  std::ifstream in(golden, std::ios::binary);
  const std::string kept{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(text(), kept);
  write(kept);
  SharedState read({.application = "golden"}, environment());
  ASSERT_EQ(read.restore(path), Restored::Restored);
  for (const SharedEntry& entry : state.snapshot()) {
    if (entry.name != "nan") {
      EXPECT_EQ(*read.get(entry.name), *entry.value);
    }
    EXPECT_EQ(read.entry(entry.name)->scopes, entry.scopes);
  }
}

TEST_F(SharedStateSave, IsRefusedAfterCloseAndInTheFunctionOfAnUpdate) {
  state_.update("a", [&](const std::optional<Value>&) {
    EXPECT_THROW(state_.save(path), InvalidArgument);
    EXPECT_THROW((void)state_.restore(path), InvalidArgument);
    return Value(1);
  });
  state_.close();
  EXPECT_THROW(state_.save(path), Closed);
  EXPECT_THROW((void)state_.restore(path), Closed);
  EXPECT_THAT(machine_.files(), IsEmpty());
}

// Symbolic links, modes and what is no file: on real files, which SimFs has none of.
class SharedStateFiles : public ::testing::Test {
 protected:
  std::vector<std::string> names(const std::string& in) const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ / in)) {
      found.push_back(entry.path().filename());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  static Value restored(const std::string& file) {
    SharedState state;
    EXPECT_EQ(state.restore(file), Restored::Restored) << file;
    return state.getOr("a", nullptr);
  }
  static std::filesystem::perms modeOf(const std::string& file) {
    return std::filesystem::status(file).permissions();
  }

  TemporaryDirectory directory_;
  SharedState state_;
};

TEST_F(SharedStateFiles, ALinkIsFollowedAndStays) {
  std::filesystem::create_directory(directory_ / "app");
  std::filesystem::create_directory(directory_ / "kept");
  const std::string link = directory_ / "app/state.json";
  const std::string target = directory_ / "kept/state.json";
  const std::string second = directory_ / "second.json";
  std::filesystem::create_symlink("../kept/state.json", link);
  std::filesystem::create_symlink(link, second);
  EXPECT_EQ(state_.restore(link), Restored::NotFound);
  for (int i = 1; i <= 2; ++i) {
    state_.set("a", i);
    state_.save(i == 1 ? link : second);
    EXPECT_EQ(restored(target), Value(i));
    EXPECT_EQ(restored(link), Value(i));
  }
  EXPECT_EQ(restored(target + ".previous"), Value(1));
  EXPECT_THAT(names("app"), ElementsAre("state.json"));
  EXPECT_THAT(names("kept"), ElementsAre("state.json", "state.json.lock", "state.json.previous"));

  state_.exportPode(link);
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(state_.importPode(second), Restored::Restored);

  const auto locked = Environment::real().files->open(target + ".lock", OpenMode::ReadWrite);
  ASSERT_TRUE(locked.value->tryLock(LockKind::Exclusive).value);
  EXPECT_THROW(state_.save(second, {.atMost = 10ms}), LockTimeout) << "all names have one lock";
}

TEST_F(SharedStateFiles, LinksInARingAreAnError) {
  std::filesystem::create_symlink("b", directory_ / "a");
  std::filesystem::create_symlink("a", directory_ / "b");
  EXPECT_THAT(messageOf<IoError>([&] { state_.save(directory_ / "a"); }),
              HasSubstr(directory_ / "a"));
  EXPECT_THAT(names(""), ElementsAre("a", "b"));
}

TEST_F(SharedStateFiles, WhatIsNoFileIsRefusedAndNothingIsLeftBehind) {
  state_.set("a", 1);
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::filesystem::create_symlink(pipe, directory_ / "to pipe");
  std::filesystem::create_directory(directory_ / "folder");
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "the path \"\" is empty"},
      {pipe, pipe + ": is a device, pipe or socket"},
      {directory_ / "to pipe", "to pipe: is a device, pipe or socket"},
      {directory_ / "folder", "folder: is a directory"}};
  const std::vector<std::function<void(const std::string&)>> calls{
      [&](const std::string& at) { state_.save(at); },
      [&](const std::string& at) { (void)state_.restore(at); },
      [&](const std::string& at) { state_.exportPode(at); },
      [&](const std::string& at) { (void)state_.importPode(at); }};
  for (const auto& [at, says] : cases) {
    for (const auto& call : calls) {
      EXPECT_THAT(messageOf<InvalidArgument>([&, &at = at] { call(at); }), HasSubstr(says));
    }
  }
  EXPECT_THAT(names(""), ElementsAre("folder", "pipe", "to pipe"));
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_FALSE(std::filesystem::exists(".lock"));
}

TEST_F(SharedStateFiles, TheModeOfAFileIsKept) {
  using std::filesystem::perms;
  const std::string file = directory_ / "state.json";
  state_.set("a", 1);
  state_.save(file);
  EXPECT_EQ(modeOf(file), perms(0600));
  for (const perms mode : {perms(0640), perms(0644), perms(0600)}) {
    std::filesystem::permissions(file, mode);
    state_.save(file);
    EXPECT_EQ(modeOf(file), mode);
    EXPECT_EQ(modeOf(file + ".previous"), mode) << "holds the same";
  }
}

TEST(SharedStateCut, S18EverySavedFileIsOneMoment) {
  constexpr int writers = 8;
  constexpr int saves = 40;
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  SharedState state;
  state.createLock("pair");
  state.set("left", 0);
  state.set("right", 0);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < writers; ++t) {
    threads.emplace_back([&] {
      while (!stop) {
        const SharedGuard guard = state.lock("pair", SharedState::forever);
        const std::int64_t next = state.get("left")->asInt64() + 1;
        state.set("left", next);
        state.set("right", next);
      }
    });
  }
  std::int64_t last = 0;
  for (int i = 0; i < saves; ++i) {
    state.save(file, {.compress = i % 2 == 0});
    SharedState read;
    ASSERT_EQ(read.restore(file), Restored::Restored);
    EXPECT_EQ(*read.get("left"), *read.get("right"));
    EXPECT_GE(read.get("left")->asInt64(), last);
    last = read.get("left")->asInt64();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(last, 0);
}

// Each of two threads that save under a lock of its own would wait for the other one's.
TEST(SharedStateCut, SavesUnderLocksDoNotWaitForEachOther) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  SharedState state;
  std::vector<std::future<void>> savers;
  for (const char* name : {"one", "two"}) {
    state.createLock(name);
    savers.push_back(std::async(std::launch::async, [&, name] {
      for (int i = 0; i < 20; ++i) {
        const SharedGuard guard = state.lock(name, 30s);
        state.set(name, i);
        state.save(file);
      }
    }));
  }
  for (auto& saver : savers) saver.get();
  SharedState read;
  ASSERT_EQ(read.restore(file), Restored::Restored);
  EXPECT_EQ(*read.get("one"), Value(19));
  EXPECT_EQ(*read.get("two"), Value(19));
}

TEST(SharedStateCut, ARestoreTakesTheWholeStateBetweenUpdates) {
  const TemporaryDirectory directory;
  const std::string file = directory / "state.json";
  SharedState state;
  state.set("a", 1000);
  state.set("b", 1000);
  state.save(file);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) {
      state.update("a", [](const std::optional<Value>& a) { return a->asInt64() + 1; });
    }
  });
  for (int i = 0; i < 50; ++i) {
    (void)state.restore(file, {.merge = i % 2 == 0});
    EXPECT_GE(state.get("a")->asInt64(), 1000);
    EXPECT_EQ(state.names(), (std::vector<std::string>{"a", "b"}));
  }
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace penstock::state
