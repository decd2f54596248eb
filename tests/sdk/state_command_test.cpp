// SPDX-License-Identifier: Apache-2.0
//
// Goal: `penstock state ...` as a person or a script meets it: what it prints, what it ends with.
// The binary itself is run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/local_file_storage.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/build_paths.h"
#include "support/subprocess.h"
#include "support/temporary_directory.h"

namespace penstock {
namespace {

using state::Journal;
using state::JournalOptions;
using state::LocalFileStorage;
using testing::Finished;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::runProgram;
using ::testing::StartsWith;
using testing::Subprocess;
using testing::TemporaryDirectory;

class StateCommand : public ::testing::Test {
 protected:
  static std::vector<std::string> commandLine(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {testing::buildDirectory() + "/sdk/penstock", "state"});
    return arguments;
  }
  static Finished run(const std::vector<std::string>& arguments, const std::string& input = {}) {
    return runProgram(commandLine(arguments), input);
  }
  /// Runs it, and expects that it succeeds.
  static std::string good(const std::vector<std::string>& arguments,
                          const std::string& input = {}) {
    const Finished finished = run(arguments, input);
    EXPECT_EQ(finished.exitCode, 0) << arguments[0] << ": " << finished.err;
    EXPECT_EQ(finished.err, "");
    return finished.out;
  }
  /// Runs it, and expects that exit code and one line on standard error, which it gives.
  static std::string refused(const std::vector<std::string>& arguments, int exitCode = 2) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.exitCode, exitCode) << finished.err;
    EXPECT_THAT(finished.err, StartsWith("penstock: "));
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
    return finished.err;
  }
  /// A closed storage with sealed segments, which nobody has cleaned.
  void fill() const {
    state::Environment environment = state::Environment::real();
    environment.threads = false;
    JournalOptions options;
    options.segmentBytes = 4096;
    const auto journal = Journal::open(state, options, environment);
    const auto store = journal->declareStore("storage");
    const auto log = journal->declareLog("log");
    state::Commit commit;
    for (int i = 0; i < 40; ++i) {
      commit.put(store, "key" + std::to_string(i), '\x05' + std::string(300, 'v'));
      commit.recordBuffer(log) += "record";
      commit.recordAdded(log, i);
      (void)journal->commit(commit, state::Durability::Buffered);
    }
  }
  /// Flips a bit of the value of the first key.
  void damage() const {
    const std::string path = state + "/segment-0000000001.log";
    std::string bytes;
    {
      std::ifstream file(path, std::ios::binary);
      bytes.assign(std::istreambuf_iterator<char>(file), {});
    }
    bytes[bytes.find("vvvvvvvvvv") + 5] ^= 1;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  TemporaryDirectory directory;
  std::string state = directory / "state";
};

TEST_F(StateCommand, VerifySaysThatASoundDirectoryIsSound) {
  fill();
  EXPECT_THAT(good({"verify", state}), HasSubstr("\nsound\n"));
  const auto json = nlohmann::json::parse(good({"verify", state, "--json"}));
  EXPECT_EQ(json["sound"], true);
  EXPECT_EQ(json["damages"].size(), 0U);
  EXPECT_EQ(json["use"], "nobody");
  EXPECT_GT(json["read"]["frames"], 40);
}

TEST_F(StateCommand, VerifyNamesDamageAndEndsWithThree) {
  fill();
  damage();
  const Finished finished = run({"verify", state});
  EXPECT_EQ(finished.exitCode, 3);
  EXPECT_THAT(finished.out, HasSubstr("segment-0000000001.log: the section at offset "));
  EXPECT_THAT(finished.out, HasSubstr("store \"storage\" cannot be read"));
  EXPECT_THAT(finished.out, Not(HasSubstr("\nsound\n")));
  EXPECT_THAT(finished.err, HasSubstr("damaged in 1 place;"));
  const auto json = nlohmann::json::parse(run({"verify", state, "--json"}).out);
  ASSERT_EQ(json["damages"].size(), 1U);
  EXPECT_EQ(json["damages"][0]["stores"][0], "storage");
  EXPECT_EQ(json["damages"][0]["kind"], "section");
}

TEST_F(StateCommand, VerifyNamesWhoHasTheDirectory) {
  const LocalFileStorage storage(state);
  EXPECT_THAT(good({"verify", state}), HasSubstr("in use by pid " + std::to_string(::getpid())));
}

TEST_F(StateCommand, ValuesOfEveryTypeAreWrittenReadAndListed) {
  { const LocalFileStorage storage(state); }
  const std::vector<std::vector<std::string>> values{
      {"text", "two words", "string", "two words\n", "\"two words\""},
      {"number", "-17", "int64", "-17\n", "-17"},
      {"share", "0.5", "double", "0.5\n", "0.5"},
      {"yes", "true", "bool", "true\n", "true"},
      {"bytes", "AAE=", "binary", "{\"$binary\":\"AAE=\"}\n", "AAE="},
      {"list", "[1,\"a\"]", "json", "[1,\"a\"]\n", "[1,\"a\"]"}};
  for (const auto& value : values) {
    EXPECT_EQ(good({"set", state, value[0], value[1], "--type", value[2]}), "");
    EXPECT_EQ(good({"get", state, value[0]}), value[3]);
  }
  EXPECT_EQ(good({"set", state, "nothing", "--type", "null"}), "");
  good({"set", state, "count", "3", "--type", "int64", "--sub", "a/b", "--sub", "c"});
  EXPECT_EQ(good({"get", state, "count", "--sub", "a/b", "--sub", "c"}), "3\n");
  const std::string listed = good({"ls", state});
  for (const auto& value : values) {
    EXPECT_THAT(listed, HasSubstr(value[0]));
    EXPECT_THAT(listed, HasSubstr(value[4]));
  }
  EXPECT_THAT(listed, HasSubstr("a/b/c"));
  EXPECT_EQ(LocalFileStorage(state).get<std::int64_t>("number"), -17);
  const auto json = nlohmann::json::parse(good({"ls", state, "--json", "--prefix", "n"}));
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[1]["key"], "number");
  EXPECT_EQ(json[1]["type"], "int64");
  EXPECT_EQ(json[1]["value"], -17);
  EXPECT_EQ(nlohmann::json::parse(good({"get", state, "share", "--json"}))["type"], "double");
}

TEST_F(StateCommand, ValuesThatExpireOrAreCompressedAreReadAsTheyAre) {
  {
    state::LocalFileStorageOptions options;
    options.compressFromBytes = 10;
    LocalFileStorage storage(state, options);
    storage.set("compressed", std::string(100, 'c'));
    storage.set("expires", 17, {.ttl = std::chrono::hours(1)});
    storage.set("gone", 18, {.ttl = std::chrono::milliseconds(1)});
    while (storage.containsKey("gone")) std::this_thread::yield();
  }
  EXPECT_EQ(good({"get", state, "compressed"}), std::string(100, 'c') + '\n');
  EXPECT_EQ(good({"get", state, "expires"}), "17\n");
  EXPECT_THAT(refused({"get", state, "gone"}, 1), HasSubstr("there is no key"));
  const std::string listed = good({"ls", state});
  EXPECT_THAT(listed, HasSubstr("string"));
  EXPECT_THAT(listed, HasSubstr("int64"));
  EXPECT_THAT(listed, Not(HasSubstr("gone")));
}

TEST_F(StateCommand, LongValuesAreShortenedInAList) {
  LocalFileStorage(state).set("long", std::string(5000, 'x'));
  EXPECT_LT(good({"ls", state}).size(), 400U);
  EXPECT_EQ(good({"get", state, "long"}).size(), 5001U);
}

TEST_F(StateCommand, StatSaysWhatADirectoryHoldsAlsoInUse) {
  fill();
  const auto json = nlohmann::json::parse(good({"stat", state, "--json"}));
  EXPECT_EQ(json["stores"][0]["name"], "storage");
  EXPECT_EQ(json["stores"][0]["keys"], 40);
  EXPECT_EQ(json["logs"][0]["end"], 40);
  EXPECT_EQ(json["use"], "nobody");
  EXPECT_GT(json["files"]["segments"]["files"], 1);
  const LocalFileStorage storage(state);
  const std::string text = good({"stat", state});
  EXPECT_THAT(text, HasSubstr("in use by pid"));
  EXPECT_THAT(text, HasSubstr("storage"));
  EXPECT_THAT(text, HasSubstr("no bound, no bound"));
}

TEST_F(StateCommand, CompactFreesWhatNobodyNeeds) {
  {
    JournalOptions options;
    options.segmentBytes = 4096;
    options.snapshotAfterBytes = 1ULL << 40;
    state::Environment environment = state::Environment::real();
    environment.threads = false;
    const auto journal = Journal::open(state, options, environment);
    const auto store = journal->declareStore("storage");
    state::Commit commit;
    for (int i = 0; i < 400; ++i) {
      commit.put(store, "key", '\x05' + std::to_string(i) + std::string(300, 'v'));
      (void)journal->commit(commit, state::Durability::Buffered);
    }
  }
  const auto json = nlohmann::json::parse(good({"compact", state, "--json"}));
  EXPECT_LT(json["bytesAfter"], json["bytesBefore"]);
  EXPECT_THAT(good({"get", state, "key"}), StartsWith("399v"));
  EXPECT_THAT(good({"compact", state}), HasSubstr("after "));
}

TEST_F(StateCommand, BackupCopiesADirectoryThatIsShared) {
  state::LocalFileStorageOptions options;
  options.sharing = state::Sharing::Shared;
  LocalFileStorage storage(state, options);
  storage.set("key", "value");
  const std::string copy = directory / "copy";
  EXPECT_THAT(good({"backup", state, copy}), HasSubstr("verified"));
  EXPECT_EQ(good({"get", copy, "key"}), "value\n");
  EXPECT_THAT(refused({"backup", state, copy}), HasSubstr("is not empty"));
}

TEST_F(StateCommand, BackupOfAnExclusiveDirectoryNamesTheHolderAndTheWay) {
  const LocalFileStorage storage(state);
  EXPECT_THAT(refused({"backup", state, directory / "copy"}, 4),
              ::testing::AllOf(HasSubstr("pid " + std::to_string(::getpid())),
                               HasSubstr("penstock::state::backup")));
  EXPECT_FALSE(std::filesystem::exists(directory / "copy"));
}

TEST_F(StateCommand, RepairSaysWhatItLosesBeforeItWritesAnything) {
  fill();
  damage();
  const std::string copy = directory / "repaired";
  const Finished asked = run({"repair", state, copy});
  EXPECT_EQ(asked.exitCode, 2);
  EXPECT_THAT(asked.err, HasSubstr("--yes"));
  EXPECT_THAT(asked.out, HasSubstr("store 'storage' ends at frame"));
  EXPECT_FALSE(std::filesystem::exists(copy));
  const std::string said = good({"repair", state, copy, "--yes"});
  EXPECT_LT(said.find("the copy will not have"), said.find("written and verified"));
  EXPECT_THAT(good({"verify", copy}), HasSubstr("\nsound\n"));
  EXPECT_EQ(run({"verify", state}).exitCode, 3) << "the source was touched";
}

TEST_F(StateCommand, RepairOfASoundDirectoryWritesNothing) {
  fill();
  EXPECT_THAT(good({"repair", state, directory / "copy", "--yes"}), HasSubstr("nothing to repair"));
  EXPECT_FALSE(std::filesystem::exists(directory / "copy"));
}

TEST_F(StateCommand, AnExportIsImportedElsewhereAlsoThroughAPipe) {
  {
    LocalFileStorage storage(state);
    storage.set("count", std::int64_t{7});
    storage.subStorage("orders").set("open", std::string("two"));
  }
  const std::string lines = good({"export", state});
  EXPECT_THAT(lines, HasSubstr("\"count\""));
  EXPECT_THAT(good({"export", state, directory / "file"}), HasSubstr("2 keys of 2 storages"));
  EXPECT_EQ(good({"export", state, directory / "snapshot", "--format", "snapshot", "--json"}),
            "{\"keys\":2,\"storages\":2}\n");

  EXPECT_EQ(good({"import", directory / "piped"}, lines), "2 keys of 2 storages, in 1 batch\n");
  good({"import", directory / "filed", directory / "file"});
  good({"import", directory / "whole", directory / "snapshot", "--format", "snapshot"});
  good({"import", directory / "below", directory / "file", "--sub", "old"});
  for (const std::string place : {"piped", "filed", "whole"}) {
    EXPECT_EQ(good({"export", directory / place}), lines) << place;
  }
  EXPECT_EQ(good({"get", directory / "below", "open", "--sub", "old", "--sub", "orders"}), "two\n");
  EXPECT_EQ(good({"export", directory / "below", "--sub", "old"}), lines);

  EXPECT_THAT(refused({"export", state, directory / "file"}, 1), HasSubstr("file"));
  good({"export", state, directory / "file", "--replace"});
  EXPECT_THAT(refused({"import", directory / "filed", directory / "file"}, 1), HasSubstr("count"));
  good({"import", directory / "filed", directory / "file", "--overwrite"});
}

TEST_F(StateCommand, ALegacyDirectoryIsImportedAndWhatIsLeftOutIsListed) {
  std::filesystem::create_directory(directory / "legacy");
  std::ofstream(directory / "legacy/raw") << "no record";
  EXPECT_THAT(refused({"import", state, directory / "legacy", "--format", "quix"}, 1),
              HasSubstr("raw"));
  EXPECT_THAT(good({"import", state, directory / "legacy", "--format", "quix", "--skip-damaged"}),
              HasSubstr("left out   raw: "));
  EXPECT_EQ(good({"import", state, directory / "legacy", "--format", "quix", "--raw-files"}),
            "1 keys, 0 sub-storages\nraw        raw\n");
  EXPECT_THAT(good({"get", state, "raw"}), HasSubstr("$binary"));
}

TEST_F(StateCommand, ATransferThatCannotBeIsRefusedBeforeAnythingIsMade) {
  EXPECT_THAT(refused({"export", state}), HasSubstr(state));
  EXPECT_THAT(refused({"import", state, directory / "absent"}), HasSubstr("absent"));
  EXPECT_THAT(refused({"import", state, "--format", "snapshot"}), HasSubstr("needs a path"));
  std::filesystem::create_directory(directory / "legacy");
  EXPECT_THAT(refused({"import", state, directory / "legacy"}), HasSubstr("--format quix"));
  EXPECT_THAT(refused({"import", state, directory / "legacy", "--skip-damaged"}),
              HasSubstr("--skip-damaged belongs to --format quix"));
  std::ofstream(directory / "text") << "text\n";
  EXPECT_THAT(refused({"import", state, directory / "text", "--format", "quix"}),
              HasSubstr("is no directory"));
  EXPECT_FALSE(std::filesystem::exists(state));
  { const LocalFileStorage storage(state); }
  EXPECT_THAT(refused({"export", state, "--sub", "no"}), HasSubstr("no sub-storage no"));
  EXPECT_THAT(refused({"export", state, "--format", "quix"}), HasSubstr("quix"));
  EXPECT_THAT(refused({"import", state, directory / "text"}, 1), HasSubstr("text"));
}

TEST_F(StateCommand, BadInputIsNamed) {
  { const LocalFileStorage storage(state); }
  EXPECT_THAT(refused({"set", state, "k", "seven", "--type", "int64"}),
              HasSubstr("'seven' is no int64"));
  EXPECT_THAT(refused({"set", state, "k", "99999999999999999999", "--type", "int64"}),
              HasSubstr("is no int64"));
  EXPECT_THAT(refused({"set", state, "k", "1x", "--type", "double"}), HasSubstr("is no double"));
  EXPECT_THAT(refused({"set", state, "k", "yes", "--type", "bool"}), HasSubstr("true or false"));
  EXPECT_THAT(refused({"set", state, "k", "#", "--type", "binary"}), HasSubstr("is not base64"));
  EXPECT_THAT(refused({"set", state, "k", "x", "--type", "null"}), HasSubstr("null"));
  refused({"set", state, "k", "{", "--type", "json"});
  EXPECT_THAT(refused({"set", state, "k", "x", "--type", "text"}), HasSubstr("text"));
  EXPECT_THAT(refused({"set", state, "", "x"}), HasSubstr("key"));
  EXPECT_THAT(refused({"set", state, std::string(70'000, 'k'), "x"}), HasSubstr("key"));
  EXPECT_THAT(refused({"set", state, "k", "x", "--sub", ""}), HasSubstr("sub"));
  EXPECT_THAT(refused({"get", state, ""}), HasSubstr("the key is empty"));
  EXPECT_THAT(refused({"get", state, "nothere"}, 1), HasSubstr("\"nothere\""));
  EXPECT_THAT(refused({"get", state, "k", "--sub", "nothere"}),
              HasSubstr("no sub-storage nothere"));
  for (const char* command : {"ls", "stat", "compact"}) {
    EXPECT_NE(run({command, directory / "none"}).exitCode, 0) << command;
  }
  EXPECT_NE(run({"set", directory / "none", "k", "v"}).exitCode, 0);
  EXPECT_FALSE(std::filesystem::exists(directory / "none"));
}

TEST_F(StateCommand, WrongUseIsOneLineAndExitCodeTwo) {
  refused({});
  EXPECT_THAT(refused({"verfiy", state}), HasSubstr("verfiy"));
  EXPECT_THAT(refused({"verify"}), HasSubstr("directory"));
  EXPECT_THAT(refused({"verify", directory / "none"}), HasSubstr("is not there"));
  EXPECT_THAT(refused({"verify", directory.path()}), HasSubstr("holds no journal"));
  EXPECT_FALSE(std::filesystem::exists(directory / "none"));
}

}  // namespace
}  // namespace penstock
