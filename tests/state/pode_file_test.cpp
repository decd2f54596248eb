// SPDX-License-Identifier: Apache-2.0
//
// Goal: cases S11 to S17 for the files of Pode: every version and encoding is read, what has a type
// comes out as it came in, and what is no state of Pode's is refused by file and place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <penstock/state/shared_state.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/message_of.h"
#include "support/sim_fs.h"

namespace penstock::state {
namespace {

using nlohmann::json;
using penstock::testing::messageOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testsupport::SimFs;

const std::string path = "/data/state.json";

class PodeFile : public ::testing::Test {
 protected:
  PodeFile() { machine_.makeSyncedDirectory("/data"); }

  [[nodiscard]] std::string text() const {
    const auto bytes = machine_.image(path);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  void write(std::string_view text) {
    machine_.setImage(path, std::as_bytes(std::span(text.data(), text.size())));
  }
  void import(std::string_view text) {
    write(text);
    EXPECT_EQ(state_.importPode(path), Restored::Restored);
  }
  /// What importing and exporting makes of a file.
  std::string roundTrip(std::string_view text, int version) {
    import(text);
    state_.exportPode(path, {.version = version, .compress = true});
    return this->text();
  }
  /// A value, alone in a file of version 2.
  static std::string typed(const std::string& node) {
    return R"({"__pode_state_metadata__":{"Version":2,"Timestamp":"2026-01-01T00:00:00.000Z"},)"
           R"("__pode_state_data__":{"Type":"ConcurrentDictionary","Items":[{"Key":"a","Value":)"
           R"({"Type":"ConcurrentDictionary","Items":[{"Key":"Value","Value":)" +
           node + R"(},{"Key":"Scope","Value":[{"Type":"String","Value":"General"}]}]}}]}})" + "\n";
  }
  Value valueOf(const std::string& node) {
    import(typed(node));
    return *state_.get("a");
  }

  SimFs machine_{1};
  std::shared_ptr<testsupport::SimProcess> process_ = machine_.startProcess();
  SharedState state_{{}, process_->environment()};
};

TEST_F(PodeFile, S11VersionZeroIsAPlainMap) {
  import(R"({"Region": "north", "limit": 5, "none": null,
             "list": [1, [2.5]], "map": {"z": 1, "a": 2}})");
  EXPECT_THAT(state_.names(), ElementsAre("Region", "limit", "none", "list", "map"));
  EXPECT_EQ(*state_.get("Region"), Value("north"));
  EXPECT_EQ(*state_.get("limit"), Value(5));
  EXPECT_TRUE(state_.get("none")->isNull());
  EXPECT_EQ(*state_.get("list"), Value(Value::List{1, Value::List{2.5}}));
  EXPECT_EQ(state_.get("map")->asMap().begin()->first, "z");
  EXPECT_THAT(state_.entry("Region")->scopes, IsEmpty());
}

TEST_F(PodeFile, S11VersionOneHasEntriesAndVersionZeroMayBeMixedIn) {
  import(R"({
    "counter": {"Value": 8, "Scope": []},
    "users": {"Scope": ["General", "Users"], "Value": ["a", "b"]},
    "one": {"Value": null, "Scope": "General"},
    "none": {"Value": 0, "Scope": null},
    "raw": 7,
    "object": {"Scope": "mine", "Value": 1, "More": 2},
    "scope": {"Scope": ["mine"]},
    "other": {"Value": 1, "Scope": 5}
  })");
  const auto check = [&](const char* name, const Value& value,
                         const std::vector<std::string>& scopes) {
    const auto entry = state_.entry(name);
    EXPECT_EQ(*entry->value, value) << name;
    EXPECT_EQ(entry->scopes, scopes) << name;
  };
  check("counter", 8, {});
  check("users", Value::List{"a", "b"}, {"General", "Users"});
  check("one", nullptr, {"General"});
  check("none", 0, {});
  check("raw", 7, {});
  check("object", ValueMap{{"Scope", "mine"}, {"Value", 1}, {"More", 2}}, {});
  check("scope", ValueMap{{"Scope", Value::List{"mine"}}}, {});
  check("other", ValueMap{{"Value", 1}, {"Scope", 5}}, {});
}

TEST_F(PodeFile, S11VersionTwoIsReadWithItsTypes) {
  import(R"({ "__pode_state_data__": { "Items": [
      { "Value": { "Items": [
          { "Key": "Scope", "Value": { "Value": "General", "Type": "String" } },
          { "Key": "Value", "Value": { "Value": 8, "Type": "Int32" } } ],
        "Type": "ConcurrentDictionary" }, "Key": "counter" },
      { "Key": "limits", "Value": { "Type": "ConcurrentDictionary", "Items": [
          { "Key": "Value", "Value": { "Type": "OrderedDictionary", "Items": [
              { "Key": "since", "Value": { "Type": "DateTime",
                                           "Value": "2026-01-02T03:04:05.0000000Z" } },
              { "Key": "pair", "Value": [ { "Type": "Int32", "Value": 1 }, null ] } ] } },
          { "Key": "Scope", "Value": [] } ] } } ], "Type": "ConcurrentDictionary" },
    "__pode_state_metadata__": { "Timestamp": "2026-08-13T10:00:00.000Z", "Version": 2 } })");
  EXPECT_THAT(state_.names(), ElementsAre("counter", "limits"));
  EXPECT_EQ(*state_.get("counter"), Value(8));
  EXPECT_THAT(state_.entry("counter")->scopes, ElementsAre("General"));
  EXPECT_EQ(*state_.get("limits"),
            Value(ValueMap{{"since", ValueMap{{"$pode.DateTime", "2026-01-02T03:04:05.0000000Z"}}},
                           {"pair", Value::List{1, nullptr}}}));
}

TEST_F(PodeFile, S11EveryEncodingOfPowerShellIsRead) {
  const std::u16string wide = u"{\"n\u00fc\": \"\U0001F600 \u20ac\"}";
  const std::string narrow = "{\"n\xc3\xbc\": \"\xf0\x9f\x98\x80 \xe2\x82\xac\"}";
  const auto bytes = [&](bool bigEndian, bool mark) {
    std::string result;
    const auto put = [&](char16_t unit) {
      const char low = static_cast<char>(unit & 0xff);
      const char high = static_cast<char>(unit >> 8);
      result += bigEndian ? std::string{high, low} : std::string{low, high};
    };
    if (mark) put(0xfeff);
    for (const char16_t unit : wide) put(unit);
    return result;
  };
  for (const std::string& text : {narrow, "\xef\xbb\xbf" + narrow, bytes(false, true),
                                  bytes(true, true), bytes(false, false), bytes(true, false)}) {
    import(text);
    EXPECT_EQ(*state_.get("n\xc3\xbc"), Value("\xf0\x9f\x98\x80 \xe2\x82\xac"));
    // Cut off anywhere, it is refused there.
    for (std::size_t size = 0; size < text.size(); ++size) {
      write(text.substr(0, size));
      try {
        (void)state_.importPode(path);
        ADD_FAILURE() << size;
      } catch (const Corruption& error) {
        EXPECT_LE(error.offset(), size);
        EXPECT_THAT(error.what(), HasSubstr(path));
      }
    }
  }
  write(std::string("\xff\xfe{\0\"\0\x3d\xd8\"\0", 10));  // half of two
  EXPECT_THAT(messageOf<Corruption>([&] { (void)state_.importPode(path); }),
              HasSubstr("offset 6: half a character of two"));
  std::string bad = bytes(false, true);
  bad[2] = '[';
  write(bad);
  EXPECT_THAT(messageOf<Corruption>([&] { (void)state_.importPode(path); }),
              HasSubstr("offset 14:"));  // behind the colon
}

// What a Value has no room for, too.
TEST_F(PodeFile, S12WhatVersionTwoSaysComesOutAsItCameIn) {
  const std::vector<std::string> nodes{
      "null",
      R"({"Type":"String","Value":""})",
      R"({"Type":"String","Value":"2026-01-02T03:04:05.0000000Z"})",  // S14
      R"({"Type":"Char","Value":"x"})",
      R"({"Type":"Boolean","Value":false})",  // S15
      R"({"Type":"Int32","Value":0})",
      R"({"Type":"Int32","Value":-2147483648})",
      R"({"Type":"Int64","Value":2147483648})",
      R"({"Type":"Int64","Value":-9223372036854775808})",
      R"({"Type":"UInt64","Value":18446744073709551615})",
      R"({"Type":"BigInteger","Value":123456789012345678901234567890})",
      R"({"Type":"Double","Value":0.1})",
      R"({"Type":"Double","Value":"NaN"})",
      R"({"Type":"Double","Value":"-Infinity"})",
      R"({"Type":"Decimal","Value":1.10})",
      R"({"Type":"Decimal","Value":79228162514264337593543950335})",
      R"({"Type":"DateTime","Value":"2026-01-02T03:04:05.0000000+02:00"})",
      R"({"Type":"TimeSpan","Value":36000000000})",
      R"({"Type":"Guid","Value":"c56a4180-65aa-42ec-a945-5fd21dec0538"})",
      R"({"Type":"Version","Value":"1.2.3"})",  // of no type that is known
      R"({"Type":"Odd","Value":0})",
      R"({"Type":"Odd","Value":null})",
      "[]",  // S13
      R"([{"Type":"Int32","Value":1}])",
      R"([[],[[{"Type":"String","Value":"x"}]],[],null])",
      R"({"Type":"List","Items":[]})",
      R"({"Type":"HashSet","Items":[{"Type":"Int32","Value":1}]})",
      R"({"Type":"SortedSet","Items":[{"Type":"String","Value":"b"}]})",
      R"({"Type":"ConcurrentBag","Items":[[],null]})",
      R"({"Type":"PodeConcurrentList","Items":[]})",
      R"({"Type":"PodeConcurrentSet","Items":[]})",
      R"({"Type":"Stack","Items":[{"Type":"Int32","Value":1}]})",
      R"({"Type":"OrderedDictionary","Items":[{"Key":"z","Value":null},{"Key":"a","Value":[]}]})",
      R"({"Type":"Hashtable","Items":[]})",
      R"({"Type":"SyncHashtable","Items":[{"Key":"Type","Value":null}]})",
      R"({"Type":"OrderedHashtable","Items":[{"Key":"$pode","Value":null}]})",
      R"({"Type":"Dictionary","Items":[{"Key":"$pode.Guid","Value":null}]})",
      R"({"Type":"ConcurrentDictionary","Items":[{"Key":"$$pode","Value":null}]})",
      R"({"Type":"PodeConcurrentOrderedDictionary","Items":[{"Key":"$binary","Value":null}]})",
      R"({"Type":"PSCustomObject","Items":[{"Key":"","Value":{"Type":"Hashtable","Items":[]}}]})",
      R"({"Type":"OrderedDictionary","Items":[{"Key":"$pode.Guid","Value":null}]})",
      R"({"Type":"SortedDictionary","Items":[{"Key":"a","Value":null}]})",
  };
  std::string all;
  for (const std::string& node : nodes) {
    EXPECT_EQ(roundTrip(typed(node), 2), typed(node));
    all += (all.empty() ? "[" : ",") + node;
  }
  // In a saved file too, and expanded.
  const std::string text = typed(all + "]");
  import(text);
  state_.save("/data/saved.json");
  SharedState restored({}, process_->environment());
  ASSERT_EQ(restored.restore("/data/saved.json"), Restored::Restored);
  restored.exportPode(path);
  EXPECT_EQ(json::parse(this->text()), json::parse(text));
  EXPECT_THAT(this->text(), HasSubstr("\n  \"__pode_state_data__\": {\n    \"Type\": "));
}

TEST_F(PodeFile, NumbersOfOtherSizesBecomeOurs) {
  for (const char* type : {"SByte", "Byte", "Int16", "UInt16", "UInt32", "Int64", "UInt64"}) {
    EXPECT_EQ(valueOf(R"({"Type":")" + std::string(type) + R"(","Value":100})"), Value(100));
  }
  EXPECT_EQ(valueOf(R"({"Type":"Single","Value":0.5})"), Value(0.5));
  EXPECT_EQ(valueOf(R"({"Type":"Double","Value":3})"), Value(3.0));
  EXPECT_EQ(valueOf(R"({"Type":"Double","Value":1e3})"), Value(1000.0));
  EXPECT_EQ(valueOf(R"({"Type":"Double","Value":-0.0})").type(), ValueType::Double);
}

TEST_F(PodeFile, AMapOfPodesIsUsedLikeAnyOther) {
  import(typed(R"({"Type":"Hashtable","Items":[{"Key":"values","Value":[]}]})"));
  state_.update("a", [](std::optional<Value> hash) {
    hash->asMap()["values"].asList().push_back(7);
    return *hash;
  });
  state_.exportPode(path, {.compress = true});
  EXPECT_EQ(text(), typed(R"({"Type":"Hashtable","Items":[{"Key":"values","Value":)"
                          R"([{"Type":"Int32","Value":7}]}]})"));
}

TEST_F(PodeFile, VersionOneComesOutPlain) {
  import(typed(R"({"Type":"Hashtable","Items":[
      {"Key":"day","Value":{"Type":"DateTime","Value":"2026-01-02T03:04:05.0000000Z"}},
      {"Key":"ticks","Value":{"Type":"TimeSpan","Value":5}},
      {"Key":"big","Value":{"Type":"UInt64","Value":18446744073709551615}},
      {"Key":"price","Value":{"Type":"Decimal","Value":1.10}},
      {"Key":"$pode","Value":{"Type":"HashSet","Items":[{"Type":"Int32","Value":1}]}},
      {"Key":"$binary","Value":[]}]})"));
  state_.set("text", "x");
  state_.exportPode(path, {.version = 1, .compress = true});
  const std::string expected =
      R"({"a":{"Value":{"day":"2026-01-02T03:04:05.0000000Z","ticks":5,)"
      R"("big":18446744073709551615,"price":1.10,"$pode":[1],"$binary":[]},"Scope":["General"]},)"
      R"("text":{"Value":"x","Scope":[]}})"
      "\n";
  EXPECT_EQ(text(), expected);
  EXPECT_NE(roundTrip(expected, 1), expected) << "1.10 is a double now";
  EXPECT_EQ(json::parse(text()), json::parse(expected));
  EXPECT_EQ(*state_.get("text"), Value("x"));
}

TEST_F(PodeFile, OnlyWhatIsSelectedIsExported) {
  state_.set("a", 1, {"General"});
  state_.set("b", 2);
  state_.exportPode(path, {.version = 1, .scopes = {"General"}, .compress = true});
  EXPECT_EQ(text(), "{\"a\":{\"Value\":1,\"Scope\":[\"General\"]}}\n");
  state_.exportPode(path, {.version = 1, .exclude = {"a"}});
  EXPECT_EQ(text(), "{\n  \"b\": {\n    \"Value\": 2,\n    \"Scope\": []\n  }\n}\n");
  state_.exportPode(path, {.include = {"none"}});
  EXPECT_EQ(state_.importPode(path), Restored::Restored);
  EXPECT_THAT(state_.names(), IsEmpty());
}

TEST_F(PodeFile, WhatPodeCannotSayIsRefusedByName) {
  const auto refused = [&](const Value& value, int version) {
    state_.set("the name", value);
    const std::string message =
        messageOf<InvalidArgument>([&] { state_.exportPode(path, {.version = version}); });
    EXPECT_THAT(message, HasSubstr("the name"));
    EXPECT_THAT(machine_.files(), ::testing::Not(::testing::Contains(path)));
    return message;
  };
  for (const int version : {1, 2}) {
    EXPECT_THAT(refused(Value::List{Binary{std::byte{1}}}, version), HasSubstr("bytes"));
    EXPECT_THAT(refused("\xff", version), HasSubstr("UTF-8"));
    EXPECT_THAT(refused(ValueMap{{"\xff", 1}}, version), HasSubstr("UTF-8"));
    EXPECT_THAT(refused(ValueMap{{"$pode.Decimal", "x"}}, version), HasSubstr("no number"));
    EXPECT_THAT(refused(ValueMap{{"$pode.Guid", ValueMap{}}}, version), HasSubstr("is a map"));
    Value deep = 1;
    for (std::size_t i = 0; i < Value::depthMax; ++i) deep = Value::List{std::move(deep)};
    EXPECT_THAT(refused(deep, version), HasSubstr("more than 128 deep"));
  }
  EXPECT_THAT(refused(std::nan(""), 1), HasSubstr("not finite"));
  state_.set("__pode_state_metadata__", 1);
  state_.remove("the name");
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state_.exportPode(path, {.version = 1}); }),
              HasSubstr("__pode_state_metadata__"));
  EXPECT_THAT(messageOf<InvalidArgument>([&] { state_.exportPode(path, {.version = 3}); }),
              HasSubstr("version 1 or 2, not 3"));
}

TEST_F(PodeFile, S17NestingUpToTheLimitComesBackAndBeyondItIsRefused) {
  for (const std::string kind : {"list", "map"}) {
    Value value = 1;
    for (std::size_t depth = 1; depth < Value::depthMax; ++depth) {
      value = kind == "list" ? Value(Value::List{value}) : Value(ValueMap{{"m", value}});
    }
    for (const int version : {1, 2}) {
      state_.set("deep", value);
      state_.exportPode(path, {.version = version, .compress = true});
      SharedState read({}, process_->environment());
      ASSERT_EQ(read.importPode(path), Restored::Restored);
      EXPECT_EQ(*read.get("deep"), value);
      std::string beyond = text();  // one more level
      const std::string inner = version == 1 ? "1" : R"({"Type":"Int32","Value":1})";
      beyond.replace(beyond.find(inner + (kind == "list" ? "]" : "}")), inner.size(),
                     "[" + inner + "]");
      write(beyond);
      EXPECT_THAT(messageOf<Corruption>([&] { (void)read.importPode(path); }),
                  HasSubstr("nested more than"));
    }
  }
}

TEST_F(PodeFile, S8AndS10ImportingReplacesAllOrMerges) {
  state_.set("mine", 1);
  EXPECT_EQ(state_.importPode("/data/none.json"), Restored::NotFound);
  write(R"({"theirs": 2})");
  (void)state_.importPode(path, {.merge = true});
  EXPECT_THAT(state_.names(), ElementsAre("mine", "theirs"));
  (void)state_.importPode(path);
  EXPECT_THAT(state_.names(), ElementsAre("theirs"));
  import("{}");  // a state of Pode's with nothing in it
  EXPECT_THAT(state_.names(), IsEmpty());
}

TEST_F(PodeFile, S9WhatIsNoStateOfPodesIsRefusedByFileAndPlace) {
  state_.set("mine", 1);
  const std::string meta = R"({"__pode_state_metadata__":{"Version":2},"__pode_state_data__":)";
  const std::vector<std::pair<std::string, std::string>> damaged{
      {"", "empty"},
      {"\xef\xbb\xbf \n", "empty"},
      {"null", "null instead of a state"},
      {"[]", "the file is no object"},
      {"{\"a\": 1,}", "offset 9: JSON"},
      {"{\"a\": 1, \"a\": 2}", "'a' is there twice"},
      {"{\"\": 1}", "a name has 0 bytes"},
      {R"({"__pode_state_metadata__":1})", "has no \"Version\""},
      {R"({"__pode_state_metadata__":{"Version":1}})", "says version 1"},
      {R"({"__pode_state_metadata__":{"Version":2}})", "has no \"__pode_state_data__\""},
      {meta + "5}", "__pode_state_data__ has no list \"Items\""},
      {meta + R"({"Items":[{"Key":"a"}]}})", "Items[0] must have \"Key\" and \"Value\""},
      {meta + R"({"Items":[{"Key":1,"Value":null}]}})", "a key that is no string"},
      {meta + R"({"Items":[{"Key":"a","Value":null}]}})", "\"a\" has no list \"Items\""},
      {meta + R"({"Items":[{"Key":"a","Value":{"Items":[]}}]}})",
       "must have \"Value\" and \"Scope\""},
      {typed("5"), "must have \"Type\""},
      {typed(R"({"Type":"","Value":1})"), "must have \"Type\""},
      {typed(R"({"Type":"Int32"})"), "must have \"Type\""},
      {typed(R"({"Type":"Int32","Other":1})"), "neither a \"Value\" nor"},
      {typed(R"({"Type":"Int32","Value":"x"})"), "is of type Int32, but its value is no int64"},
      {typed(R"({"Type":"Int32","Value":99999999999999999999})"), "no int64"},
      {typed(R"({"Type":"Boolean","Value":0})"), "no bool"},
      {typed(R"({"Type":"Double","Value":"x"})"), "no number"},
      {typed(R"({"Type":"Decimal","Value":"1"})"), "no number"},
      {typed(R"({"Type":"UInt64","Value":true})"), "no number"},
      {typed(R"({"Type":"Guid","Value":1})"), "no string"},
      {typed(R"({"Type":"Odd","Value":[]})"), "no scalar"},
      {typed(R"({"Type":"Hashtable","Items":[{"Key":"x","Value":null},{"Key":"x","Value":null}]})"),
       "has the key \"x\" twice"},
      {typed(R"([[{"Type":"Hashtable","Items":[{"Key":"x","Value":7}]}]])"), "\"a\"[0][0].x must"},
  };
  for (const auto& [text, says] : damaged) {
    write(text);
    EXPECT_THAT(messageOf<Corruption>([&] { (void)state_.importPode(path); }),
                AllOf(HasSubstr(path + ": offset "), HasSubstr(says)))
        << text;
  }
  write(R"({"__pode_state_metadata__":{"Version":3},"__pode_state_data__":[]})");
  EXPECT_THAT(messageOf<FormatTooNew>([&] { (void)state_.importPode(path); }),
              AllOf(HasSubstr(path), HasSubstr("version 3")));
  write(R"({"Metadata":{"Product":"Pode"},"Data":{"Type":"Hashtable","Items":[]}})");
  EXPECT_THAT(messageOf<ForeignFile>([&] { (void)state_.importPode(path); }),
              AllOf(HasSubstr(path), HasSubstr("never released")));
  EXPECT_THAT(state_.names(), ElementsAre("mine"));
}

TEST_F(PodeFile, WhatSaveHasWrittenIsNoStateOfPodes) {
  for (const bool compress : {false, true}) {
    state_.set("mine", 1);
    state_.save(path, {.compress = compress});
    EXPECT_THAT(messageOf<ForeignFile>([&] { (void)state_.importPode(path); }),
                AllOf(HasSubstr(path), HasSubstr("restore")));
    EXPECT_THAT(state_.names(), ElementsAre("mine"));
  }
}

TEST_F(PodeFile, IsRefusedAfterClose) {
  state_.close();
  EXPECT_THROW((void)state_.importPode(path), Closed);
  EXPECT_THROW(state_.exportPode(path), Closed);
}

}  // namespace
}  // namespace penstock::state
