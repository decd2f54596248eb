// SPDX-License-Identifier: Apache-2.0

// Goal: every rule of importing a legacy Quix directory, and every refusal. Method: directories on
// the simulated file system, of records made here from the description of the format, with a
// CRC-32 of our own; those the description gives as examples are taken as they stand there.

#include "penstock/state/quix_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "quix_record.h"
#include "tests/support/message_of.h"
#include "tests/support/sim_fs.h"

namespace penstock::state {
namespace {

using penstock::testing::messageOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testsupport::Damage;
using testsupport::SimCall;
using testsupport::SimFs;
using testsupport::SimProcess;

std::string fromHex(std::string_view hex) {
  std::string bytes;
  for (std::size_t at = 0; at < hex.size();) {
    if (hex[at] == ' ') {
      ++at;
      continue;
    }
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(at, 2)), nullptr, 16)));
    at += 2;
  }
  return bytes;
}

// Bit by bit, as the definition of CRC-32 goes.
std::string withCrc(std::string bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  crc = ~crc;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(crc >> shift));
  return bytes;
}

template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

std::string quixBool(bool value) { return withCrc("bb" + raw<std::uint8_t>(value ? 1 : 0)); }
std::string quixLong(std::int64_t value) { return withCrc("bl" + raw(value)); }
std::string quixDouble(double value) { return withCrc("bd" + raw(value)); }
std::string quixString(std::string_view text) {
  std::string length;
  std::size_t left = text.size();
  for (; left >= 0x80; left >>= 7) length.push_back(static_cast<char>(left | 0x80));
  length.push_back(static_cast<char>(left));
  return withCrc("bs" + length + std::string(text));
}
std::string quixBytes(char type, std::string_view bytes) {
  return withCrc(std::string{'b', type} + raw(static_cast<std::int32_t>(bytes.size())) +
                 std::string(bytes));
}

Binary binary(std::string_view bytes) {
  const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
  return {first, first + bytes.size()};
}

std::vector<std::string> namesOf(const std::vector<QuixUnread>& files) {
  std::vector<std::string> names;
  for (const QuixUnread& file : files) names.push_back(file.file);
  return names;
}

class QuixImportTest : public ::testing::Test {
 protected:
  QuixImportTest() { machine_.makeSyncedDirectory("/old"); }

  void file(const std::string& name, std::string_view bytes) {
    machine_.setImage("/old/" + name, std::as_bytes(std::span(bytes)));
  }
  void folder(const std::string& name) { machine_.makeSyncedDirectory("/old/" + name); }
  [[nodiscard]] LocalFileStorage open(const LocalFileStorageOptions& options = {}) const {
    return LocalFileStorage("/new", options, process_->environment());
  }
  QuixImportReport import(const QuixImportOptions& options = {}) {
    return importQuix("/old", storage_, options, process_->environment());
  }

  SimFs machine_{1};
  std::shared_ptr<SimProcess> process_ = machine_.startProcess();
  LocalFileStorage storage_ = open();
};

TEST_F(QuixImportTest, ExampleRecordsOfTheFormatAreRead) {
  file("bool", fromHex("62 62 01 94 de ff ef"));
  file("long", fromHex("62 6c 7b 00 00 00 00 00 00 00 7d f5 43 4d"));
  file("double", fromHex("62 64 ae 47 e1 7a 14 ae f3 3f e2 6c cd 72"));
  file("string", fromHex("62 73 04 31 2e 32 33 d1 97 9a 54"));
  file("null", fromHex("62 61 ff ff ff ff 8e 17 71 ec"));
  const QuixImportReport report = import();
  EXPECT_EQ(report.keys, 5U);
  EXPECT_EQ(report.batches, 1U);
  EXPECT_THAT(report.subStorages, IsEmpty());
  EXPECT_THAT(report.unread, IsEmpty());
  EXPECT_THAT(storage_.getAllKeys(), ElementsAre("bool", "double", "long", "null", "string"));
  EXPECT_EQ(storage_.get<bool>("bool"), true);
  EXPECT_EQ(storage_.get<std::int64_t>("long"), 123);
  EXPECT_EQ(storage_.get<double>("double"), 1.23);
  EXPECT_EQ(storage_.get<std::string>("string"), "1.23");
  EXPECT_TRUE(storage_.get<Value>("null").isNull());
}

TEST_F(QuixImportTest, EveryTypeBecomesItsCounterpart) {
  const std::string text(20'000, 'x');  // its length takes three bytes
  file("false", quixBool(false));
  file("true as two", withCrc(std::string("bb\x02")));
  file("min", quixLong(std::numeric_limits<std::int64_t>::min()));
  file("max", quixLong(std::numeric_limits<std::int64_t>::max()));
  file("nan", quixDouble(std::numeric_limits<double>::quiet_NaN()));
  file("inf", quixDouble(-std::numeric_limits<double>::infinity()));
  file("zero", quixDouble(-0.0));
  file("denormal", quixDouble(std::numeric_limits<double>::denorm_min()));
  file("empty", quixString(""));
  file("text", quixString(text));
  file("nul", quixString(std::string_view("a\0\xC3\xA9", 4)));
  file("no bytes", quixBytes('a', ""));
  file("bytes", quixBytes('a', std::string_view("\0\xFF", 2)));
  file("null object", quixBytes('o', ""));
  file("long way to say 1", withCrc(std::string("bs\x81\x80\x00q", 6)));
  const QuixImportReport report = import();
  EXPECT_EQ(report.keys, 15U);
  EXPECT_EQ(storage_.get<bool>("false"), false);
  EXPECT_EQ(storage_.get<bool>("true as two"), true);
  EXPECT_EQ(storage_.get<std::int64_t>("min"), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(storage_.get<std::int64_t>("max"), std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(std::isnan(storage_.get<double>("nan")));
  EXPECT_EQ(storage_.get<double>("inf"), -std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::signbit(storage_.get<double>("zero")));
  EXPECT_EQ(storage_.get<double>("denormal"), std::numeric_limits<double>::denorm_min());
  EXPECT_EQ(storage_.get<std::string>("empty"), "");
  EXPECT_EQ(storage_.get<std::string>("text"), text);
  EXPECT_EQ(storage_.get<std::string>("nul"), std::string("a\0\xC3\xA9", 4));
  EXPECT_EQ(storage_.get<Binary>("no bytes"), Binary());
  EXPECT_EQ(storage_.get<Binary>("bytes"), binary(std::string_view("\0\xFF", 2)));
  EXPECT_TRUE(storage_.get<Value>("null object").isNull());
  EXPECT_EQ(storage_.get<std::string>("long way to say 1"), "q");
  EXPECT_THAT(report.pickled, IsEmpty());
}

TEST_F(QuixImportTest, AnObjectStaysAPickleThatNobodyDecodes) {
  const std::string list("\x80\x04]q\0.", 6);
  file("list", quixBytes('o', list));
  file("none", quixBytes('o', "\x80\x04N."));
  const QuixImportReport report = import();
  EXPECT_EQ(storage_.get<Binary>("list"), binary(list));
  EXPECT_EQ(storage_.get<Binary>("none"), binary("\x80\x04N."));
  EXPECT_THAT(report.pickled, ElementsAre("list", "none"));
}

TEST_F(QuixImportTest, ThePickleOfNoneBecomesNullWhenAsked) {
  for (const char protocol : {'\2', '\3', '\4', '\5'}) {
    file(std::string("none") + static_cast<char>('0' + protocol),
         quixBytes('o', std::string("\x80") + protocol + "N."));
  }
  file("true", quixBytes('o', "\x80\x04\x88."));
  file("older", quixBytes('o', "\x80\x01N."));
  file("newer", quixBytes('o', "\x80\x06N."));
  file("none at all", quixBytes('o', "N.\x80\x04"));
  file("longer", quixBytes('o', "\x80\x04N.."));
  file("binary", quixBytes('a', "\x80\x04N."));  // no object: bytes are bytes
  QuixImportOptions options;
  options.pickledNoneAsNull = true;
  EXPECT_THAT(import(options).pickled,
              ElementsAre("longer", "newer", "none at all", "older", "true"));
  for (const char* key : {"none2", "none3", "none4", "none5"}) {
    EXPECT_TRUE(storage_.get<Value>(key).isNull()) << key;
  }
  EXPECT_EQ(storage_.get<Binary>("true"), binary("\x80\x04\x88."));
  EXPECT_EQ(storage_.get<Binary>("binary"), binary("\x80\x04N."));
}

TEST_F(QuixImportTest, UnfinishedWritesAreIgnoredAndABackupCountsOnlyWithoutItsOriginal) {
  file("kept", quixLong(1));
  file("kept.tmpf", "torn");
  file("kept.bckf", quixLong(2));
  file("lost.bckf", quixLong(3));
  file("lost.tmpf", quixLong(4));
  file("other.tmpf", "");
  EXPECT_EQ(import().keys, 2U);
  EXPECT_THAT(storage_.getAllKeys(), ElementsAre("kept", "lost"));
  EXPECT_EQ(storage_.get<int>("kept"), 1);
  EXPECT_EQ(storage_.get<int>("lost"), 3);
}

TEST_F(QuixImportTest, EveryOtherNameIsAKeyAsItIs) {
  for (const char* name : {"~", "a~b", "Mixed", ".hidden", "a b", "tmpf", "\xFF\xFE", "\xC3\x84"}) {
    file(name, quixString(name));
  }
  EXPECT_EQ(import().keys, 8U);
  for (const std::string& key : storage_.getAllKeys()) {
    EXPECT_EQ(storage_.get<std::string>(key), key);
  }
  EXPECT_TRUE(storage_.containsKey("Mixed"));
}

TEST_F(QuixImportTest, AProgramFindsItsKeysInItsOwnSpellingInCompatibilityMode) {
  file("counter", quixLong(7));
  file("Mixed", quixLong(8));
  storage_ = open({.lowerCaseKeys = true});
  import();
  EXPECT_EQ(storage_.get<int>("Counter"), 7);
  EXPECT_EQ(storage_.get<int>("MIXED"), 8);
  EXPECT_THAT(open().getAllKeys(), ElementsAre("counter", "mixed"));
}

TEST_F(QuixImportTest, NamesThatDifferInCaseAloneAreRefusedAndBothNamed) {
  folder("sub");
  file("sub/Total", quixLong(1));
  file("sub/total", quixLong(2));
  file("one", quixLong(1));
  QuixImportOptions options;
  options.skipDamaged = true;  // which of them is meant is not for us to say
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(options); }),
              AllOf(HasSubstr("sub/Total"), HasSubstr("sub/total")));
  EXPECT_EQ(storage_.size(), 0U);
}

TEST_F(QuixImportTest, FilesThatCannotBeReadAreAllListedAndNothingIsImported) {
  folder("topic");
  file("good", quixLong(1));
  file("zero length", "");
  file("four", "abcd");
  std::string flipped = quixString("checksum");
  flipped[4] ^= 1;
  file("topic/flipped", flipped);
  file("codec", withCrc("zl" + raw<std::int64_t>(1)));
  file("no type", withCrc("b"));
  file("type", withCrc("bx1"));
  file("short long", withCrc("bl1234567"));
  file("long long", withCrc("bl123456789"));
  file("string beyond", withCrc("bs\x09"
                                "four"));
  file("string length", withCrc("bs\xFF\xFF\xFF\xFF\x0F"));  // above what .NET's int holds
  file("string longer", withCrc("bs\x80\x80\x80\x80\x80\x01"));
  file("string no length", withCrc("bs\x80"));
  file("binary below -1", withCrc("ba" + raw<std::int32_t>(-2)));
  file("object -1", withCrc("bo" + raw<std::int32_t>(-1)));
  file(".bckf", quixLong(2));  // of the empty key
  const auto expected =
      ElementsAre(".bckf", "binary below -1", "codec", "four", "long long", "no type", "object -1",
                  "short long", "string beyond", "string length", "string longer",
                  "string no length", "topic/flipped", "type", "zero length");
  try {
    import();
    FAIL() << "nothing was thrown";
  } catch (const QuixUnreadable& error) {
    EXPECT_THAT(namesOf(error.files()), expected);
    EXPECT_THAT(error.files()[12].why, HasSubstr("checksum"));
    EXPECT_THAT(error.files()[2].why, HasSubstr("codec"));
    EXPECT_THAT(error.files()[13].why, HasSubstr("type"));
    EXPECT_THAT(std::string(error.what()), AllOf(HasSubstr("15"), HasSubstr("\"four\"")));
    EXPECT_EQ(error.code(), ErrorCode::FixData);
  }
  EXPECT_EQ(storage_.size(), 0U);

  QuixImportOptions options;
  options.skipDamaged = true;
  const QuixImportReport report = import(options);
  EXPECT_THAT(namesOf(report.unread), expected);
  EXPECT_EQ(report.keys, 1U);
  EXPECT_THAT(storage_.getAllKeys(), ElementsAre("good"));
  EXPECT_EQ(storage_.subStorage("topic").size(), 0U);
}

TEST_F(QuixImportTest, SubDirectoriesBecomeSubStoragesOfTheirNames) {
  for (const char* name : {"Topic_a", "Topic_a/stream 1", "Topic_a/stream 1/state", "empty"}) {
    folder(name);
  }
  file("root", quixLong(0));
  file("Topic_a/root", quixLong(1));
  file("Topic_a/stream 1/state/scalar", quixLong(2));
  const QuixImportReport report = import();
  EXPECT_EQ(report.keys, 3U);
  EXPECT_THAT(report.subStorages,
              ElementsAre("Topic_a", "Topic_a/stream 1", "Topic_a/stream 1/state", "empty"));
  EXPECT_EQ(storage_.get<int>("root"), 0);
  const LocalFileStorage topic = storage_.subStorage("Topic_a");
  EXPECT_EQ(topic.get<int>("root"), 1);
  const LocalFileStorage state = topic.subStorage("stream 1").subStorage("state");
  EXPECT_THAT(state.getAllKeys(), ElementsAre("scalar"));
  EXPECT_EQ(state.get<int>("scalar"), 2);
}

TEST_F(QuixImportTest, RawFilesAreTakenAsTheyAreWhenAskedAndListed) {
  file("record", quixLong(5));
  file("raw", std::string_view("\0any bytes", 10));
  file("short", "x");
  file("empty", "");
  QuixImportOptions options;
  options.rawFiles = true;
  const QuixImportReport report = import(options);
  EXPECT_THAT(report.raw, ElementsAre("empty", "raw", "short"));
  EXPECT_THAT(report.unread, IsEmpty());
  EXPECT_EQ(storage_.get<int>("record"), 5);
  EXPECT_EQ(storage_.get<Binary>("raw"), binary(std::string_view("\0any bytes", 10)));
  EXPECT_EQ(storage_.get<Binary>("short"), binary("x"));
  EXPECT_EQ(storage_.get<Binary>("empty"), Binary());
}

TEST_F(QuixImportTest, WhatChangesWhileItIsImportedStopsIt) {
  folder("sub");
  const std::vector<std::pair<std::string, std::function<void()>>> changes{
      {"sub/a", [&] { file("sub/a", quixLong(2)); }},
      {"sub/a", [&] { file("sub/a", quixString("longer than it was")); }},
      {"sub/a", [&] { machine_.removeSynced("/old/sub/a"); }},
      {"sub/new", [&] { file("sub/new", quixLong(1)); }},
      {"folder", [&] { folder("folder"); }},
      {"old", [&] { machine_.removeSynced("/old/old"); }},
  };
  for (const auto& [name, change] : changes) {
    file("sub/a", quixLong(1));
    file("old", "damaged");  // skipped, but its going is a change too
    QuixImportOptions options;
    options.skipDamaged = true;
    options.progress = [&](const TransferProgress& progress) {
      if (progress.phase == TransferPhase::Checking) change();
    };
    EXPECT_THAT(messageOf<SourceChanged>([&] { import(options); }),
                AllOf(HasSubstr("/old/" + name), HasSubstr("nothing was imported")));
    EXPECT_EQ(storage_.subStorage("sub").size(), 0U);
    if (name == "sub/new") machine_.removeSynced("/old/sub/new");
    if (name == "folder") machine_.removeSynced("/old/folder");
  }
}

TEST_F(QuixImportTest, UnfinishedWritesThatComeAndGoAreNoChange) {
  file("a", quixLong(1));
  QuixImportOptions options;
  options.progress = [&](const TransferProgress&) { file("b.tmpf", "x"); };
  EXPECT_EQ(import(options).keys, 1U);
}

TEST_F(QuixImportTest, KeysThatAreThereAreRefusedByNameAndOverwrittenWhenAsked) {
  folder("sub");
  file("a", quixLong(1));
  file("b", quixLong(2));
  file("sub/c", quixLong(3));
  storage_.set("b", 20);
  storage_.subStorage("sub").set("c", 30);
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(); }),
              AllOf(HasSubstr("2 of the keys"), HasSubstr("\"b\""),
                    HasSubstr("\"c\" of sub-storage sub"), HasSubstr("nothing was imported")));
  EXPECT_THAT(storage_.getAllKeys(), ElementsAre("b"));
  EXPECT_EQ(storage_.get<int>("b"), 20);
  QuixImportOptions options;
  options.overwrite = true;
  EXPECT_EQ(import(options).keys, 3U);
  EXPECT_EQ(storage_.get<int>("b"), 2);
  EXPECT_EQ(storage_.subStorage("sub").get<int>("c"), 3);
}

TEST_F(QuixImportTest, AKeyThatIsSetMeanwhileIsNotOverwritten) {
  file("a", quixLong(1));
  file("b", quixLong(2));
  QuixImportOptions options;
  options.progress = [&](const TransferProgress& progress) {
    if (progress.phase == TransferPhase::Checking) storage_.set("b", 20);
  };
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(options); }), HasSubstr("\"b\""));
  EXPECT_THAT(storage_.getAllKeys(), ElementsAre("b"));
  EXPECT_EQ(storage_.get<int>("b"), 20);
}

TEST_F(QuixImportTest, TheStoragesOwnDirectoryIsNoSource) {
  file("a", quixLong(1));
  storage_ = LocalFileStorage("/old", {}, process_->environment());
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(); }), HasSubstr("/old"));
  storage_ = LocalFileStorage("/old/deep/below", {}, process_->environment());
  EXPECT_THAT(messageOf<InvalidArgument>([&] { import(); }), HasSubstr("/old/deep/below"));
  EXPECT_EQ(storage_.size(), 0U);
}

TEST_F(QuixImportTest, ASourceThatIsNoDirectoryIsNamed) {
  file("a", quixLong(1));
  const auto importFrom = [&](const std::string& source) {
    (void)importQuix(source, storage_, {}, process_->environment());
  };
  EXPECT_THAT(messageOf<IoError>([&] { importFrom("/nowhere"); }), HasSubstr("/nowhere"));
  EXPECT_THAT(messageOf<IoError>([&] { importFrom("/old/a"); }), HasSubstr("/old/a"));
}

TEST_F(QuixImportTest, FilesAndDirectoriesThatMayNotBeReadAreListedToo) {
  folder("closed");
  file("closed/inside", quixLong(1));
  file("forbidden", quixLong(1));
  file("rotten", quixLong(1));
  file("unknown", quixLong(1));
  file("fine", quixLong(1));
  machine_.fail({.call = SimCall::List, .error = EACCES, .always = true, .path = "/old/closed"});
  machine_.fail({.call = SimCall::Open, .error = EACCES, .always = true, .path = "forbidden"});
  machine_.fail({.call = SimCall::Read, .error = EIO, .always = true, .path = "rotten"});
  machine_.fail({.call = SimCall::Info, .error = EACCES, .always = true, .path = "unknown"});
  const auto expected = ElementsAre("closed", "forbidden", "rotten", "unknown");
  try {
    import();
    FAIL() << "nothing was thrown";
  } catch (const QuixUnreadable& error) {
    EXPECT_THAT(namesOf(error.files()), expected);
  }
  EXPECT_EQ(storage_.size(), 0U);
  QuixImportOptions options;
  options.skipDamaged = true;
  EXPECT_THAT(namesOf(import(options).unread), expected);
  EXPECT_THAT(storage_.getAllKeys(), ElementsAre("fine"));
}

TEST_F(QuixImportTest, DirectoriesNestedBeyondAllReasonAreListed) {
  std::string name = "d";
  for (int depth = 1; depth <= 70; ++depth, name += "/d") folder(name);
  try {
    import();
    FAIL() << "nothing was thrown";
  } catch (const QuixUnreadable& error) {
    ASSERT_EQ(error.files().size(), 1U);
    EXPECT_THAT(error.files()[0].why, HasSubstr("64"));
  }
}

TEST_F(QuixImportTest, DirectoriesNestedBeyondAllReasonAreSkippedWhenAsked) {
  std::string name = "d";
  for (int depth = 1; depth <= 70; ++depth, name += "/d") folder(name);
  file("a", quixLong(1));
  QuixImportOptions options;
  options.skipDamaged = true;
  EXPECT_EQ(import(options).keys, 1U);
}

TEST_F(QuixImportTest, NamesAndSizesThatNoStorageHasAreListed) {
  file(".bckf", quixLong(1));  // the backup of a key without a name
  file("unsized", quixLong(1));
  std::string deep;
  for (int i = 0; i < 40; ++i) {
    deep += (i == 0 ? "" : "/") + std::string(250, 'd');
    folder(deep);
  }
  {
    const auto huge = process_->open("/old/huge", OpenMode::CreateNew);
    ASSERT_TRUE(huge.value->truncate((std::uint64_t{1} << 30) + 1000).ok());
  }
  machine_.fail({.call = SimCall::Size, .error = EIO, .always = true, .path = "unsized"});
  QuixImportOptions options;
  options.skipDamaged = true;
  const QuixImportReport report = import(options);
  EXPECT_EQ(report.keys, 0U);
  std::map<std::string, std::string> why;
  for (const QuixUnread& one : report.unread) why[one.file.substr(0, 10)] = one.why;
  EXPECT_THAT(why[".bckf"], HasSubstr("key"));
  EXPECT_THAT(why["unsized"], HasSubstr("Input/output error"));
  EXPECT_THAT(why["huge"], HasSubstr("values have up to 1 GiB"));
  EXPECT_THAT(why[deep.substr(0, 10)], HasSubstr("is nested too deeply"));
  EXPECT_THAT(report.unread, ::testing::SizeIs(4));
}

TEST_F(QuixImportTest, WhatChangesBehindTheFirstBatchSaysThatAPartIsThere) {
  for (int i = 0; i < 10; ++i) file("k" + std::to_string(i), quixLong(i));
  QuixImportOptions options;
  options.batchBytes = 34;  // three of them
  machine_.onOperation([&](const SimFs::Operation& operation) {
    if (operation.path.starts_with("/new/segment-")) file("k9", quixLong(100));
  });
  const std::string said = messageOf<SourceChanged>([&] { import(options); });
  EXPECT_THAT(said, AllOf(HasSubstr("/old/k9: changed"), HasSubstr("with overwrite: a part")));
  machine_.onOperation({});
  options.overwrite = true;
  EXPECT_EQ(import(options).keys, 10U);
  EXPECT_EQ(storage_.get<int>("k9"), 100);
}

TEST_F(QuixImportTest, NothingInTheSourceIsWritten) {
  folder("sub");
  file("sub/a", quixLong(1));
  file("b.tmpf", "x");
  file("C.bckf", quixLong(2));
  std::vector<std::string> touched;
  machine_.onOperation([&](const SimFs::Operation& operation) {
    if (operation.path.starts_with("/old")) touched.emplace_back(operation.path);
  });
  EXPECT_EQ(import().keys, 2U);
  EXPECT_THAT(touched, IsEmpty());
}

TEST_F(QuixImportTest, WhatHasMoreThanABatchIsCutIntoAsFewAsHoldIt) {
  for (int i = 0; i < 10; ++i) file("k" + std::to_string(i), quixLong(i));  // 2 + 9 bytes each
  QuixImportOptions options;
  options.batchBytes = 34;  // three of them
  const QuixImportReport report = import(options);
  EXPECT_EQ(report.batches, 4U);
  EXPECT_EQ(report.keys, 10U);
  EXPECT_EQ(storage_.size(), 10U);
  storage_.clear();
  options.batchBytes = 110;
  EXPECT_EQ(import(options).batches, 1U);
  storage_.clear();
  options.batchBytes = 1;  // a value has room for itself always
  EXPECT_EQ(import(options).batches, 10U);
}

TEST_F(QuixImportTest, ProgressIsToldInBothPhases) {
  for (int i = 0; i < 1030; ++i) file("k" + std::to_string(i), quixLong(i));
  std::vector<std::pair<TransferPhase, std::uint64_t>> told;
  QuixImportOptions options;
  options.progress = [&](const TransferProgress& progress) {
    told.emplace_back(progress.phase, progress.keys);
    if (progress.phase == TransferPhase::Copying) {
      EXPECT_EQ(progress.keysTotal, 1030U);
    }
  };
  import(options);
  EXPECT_THAT(told, ElementsAre(std::pair(TransferPhase::Checking, 1024U),
                                std::pair(TransferPhase::Checking, 1030U),
                                std::pair(TransferPhase::Copying, 1024U),
                                std::pair(TransferPhase::Copying, 1030U)));
}

// Power cut at every operation of an import of one batch, with all kinds of damage.
TEST(QuixImportCrash, LeavesAllKeysOrNone) {
  bool finished = false;
  std::size_t cuts = 0;
  for (std::uint64_t n = 1; !finished; ++n) {
    SimFs machine(n);
    machine.makeSyncedDirectory("/old");
    machine.makeSyncedDirectory("/old/sub");
    for (int i = 0; i < 20; ++i) {
      const std::string record = quixString(std::string(1000, static_cast<char>('a' + i)));
      machine.setImage((i % 2 == 0 ? "/old/k" : "/old/sub/k") + std::to_string(i),
                       std::as_bytes(std::span(record)));
    }
    const auto process = machine.startProcess();
    try {
      LocalFileStorage storage("/new", {}, process->environment());
      storage.set("before", 1);
      machine.crashAfterOperation(n);
      (void)importQuix("/old", storage, {}, process->environment());
      finished = true;
    } catch (const Error&) {
      ++cuts;
    }
    process->kill();
    machine.crash(n, testsupport::kAllDamages[n % testsupport::kAllDamages.size()]);
    const auto after = machine.startProcess();
    LocalFileStorage storage("/new", {}, after->environment());
    const std::uint64_t keys = storage.size() - 1 + storage.subStorage("sub").size();
    EXPECT_TRUE(keys == 20 || (keys == 0 && !finished)) << keys << " keys after cut " << n;
    EXPECT_EQ(storage.get<int>("before"), 1);
  }
  EXPECT_GT(cuts, 3U);
}

TEST(QuixRecord, ChecksumIsThatOfZip) { EXPECT_EQ(crc32("123456789"), 0xCBF43926U); }

}  // namespace
}  // namespace penstock::state
