// SPDX-License-Identifier: Apache-2.0
//
// Goal: what is encoded is decoded, in the bytes of docs/formats/records.md; and bytes that are no
// records are refused, whatever they are, without reading outside of them.
#include "file/record_codec.h"

#include <gtest/gtest.h>
#include <penstock/state/errors.h>

#include <random>
#include <vector>

#include "support/test_seed.h"

namespace penstock::file {
namespace {

std::span<const std::byte> bytesOf(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// The record with its headers as views, alive as long as the record.
std::string encoded(const Record& record) {
  std::vector<HeaderView> headers;
  for (const Header& header : record.headers) {
    HeaderView& view = headers.emplace_back();
    view.name = header.name;
    if (header.value) view.value = *header.value;
  }
  RecordView view;
  if (record.key) view.key = *record.key;
  if (record.value) view.value = *record.value;
  view.timestamp = record.timestamp;
  view.headers = headers;
  std::string out;
  encodeRecord(view, out);
  return out;
}

/// Decodes from a heap copy of exactly the right size, so that AddressSanitizer sees a read
/// beyond it.
std::vector<Record> decoded(const std::string& text, std::uint32_t count) {
  const std::vector<char> exact(text.begin(), text.end());
  RecordWalker walker("topic/t/0");
  walker.start(std::as_bytes(std::span(exact)), 100, count);
  std::vector<Record> records;
  RecordView view;
  while (walker.next(view)) {
    EXPECT_EQ(view.offset.value, 100 + static_cast<std::int64_t>(records.size()));
    records.push_back(view.copy());
  }
  return records;
}

TEST(RecordCodec, WritesTheBytesOfTheDocument) {
  const Record record{"a", "xyz", EventTime{1}, {Header{"h", std::nullopt}}};
  const std::string expected(
      "\x07\x01\x00\x00\x00\x00\x00\x00\x00\x01\x03\x01"
      "axyz\x01\x00h",
      19);
  EXPECT_EQ(encoded(record), expected);
  EXPECT_EQ(decoded(expected, 1), std::vector<Record>{record});
}

TEST(RecordCodec, AbsentIsNotEmpty) {
  const std::vector<Record> records{
      {std::nullopt, std::nullopt, EventTime{0}, {}},
      {"", std::nullopt, EventTime{-1}, {}},
      {std::nullopt, "", EventTime{INT64_MIN}, {}},
      {"", "", EventTime{INT64_MAX}, {Header{"", ""}, Header{"", std::nullopt}}},
  };
  std::string text;
  for (const Record& record : records) text += encoded(record);
  EXPECT_EQ(decoded(text, 4), records);
}

TEST(RecordCodec, LengthsAtTheBordersOfTheirEncodingRoundTrip) {
  for (const std::size_t length : {0, 1, 126, 127, 128, 129, 16383, 16384, 2097151, 2097152}) {
    const Record record{std::string(length, 'k'), std::string(length, 'v'), EventTime{7}, {}};
    EXPECT_EQ(decoded(encoded(record), 1), std::vector<Record>{record}) << length;
  }
}

TEST(RecordCodec, SkipsToAnOffsetInsideAChunk) {
  std::string text;
  for (int i = 0; i < 5; ++i) {
    text += encoded(Record{std::to_string(i), "v", EventTime{i}, {}});
  }
  RecordWalker walker("topic/t/0");
  walker.start(bytesOf(text), 10, 5);
  walker.skipTo(13);
  RecordView view;
  ASSERT_TRUE(walker.next(view));
  EXPECT_EQ(view.key, "3");
  EXPECT_EQ(view.offset.value, 13);
  EXPECT_EQ(walker.left(), 1U);
}

TEST(RecordCodec, MalformedBytesAreRefusedByName) {
  const std::string good = encoded(Record{"k", "v", EventTime{1}, {Header{"h", "x"}}});
  const auto refused = [](const std::string& text, std::uint32_t count) {
    try {
      decoded(text, count);
    } catch (const state::Corruption& error) {
      const std::string said = error.what();
      return said.find("topic/t/0") != std::string::npos &&
             said.ends_with(state::Corruption::journalAdvice);
    }
    return false;
  };
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_TRUE(refused(good.substr(0, length), 1)) << "cut to " << length;
  }
  EXPECT_TRUE(refused(good + 'x', 1)) << "bytes behind the last record";
  EXPECT_TRUE(refused(good, 2)) << "fewer records than counted";
  EXPECT_TRUE(refused(good, 0)) << "more bytes than counted";
  EXPECT_TRUE(refused("\x08" + good.substr(1), 1)) << "an unknown flag";
  const std::string head("\x01\0\0\0\0\0\0\0\0", 9);
  EXPECT_TRUE(refused(head + "\xff\xff\xff\xff\x1f", 1)) << "a length beyond 32 bits";
  EXPECT_TRUE(refused(head + "\x80\x80\x80\x80\x80\x01", 1)) << "a length that never ends";
  const std::string headers("\x04\0\0\0\0\0\0\0\0", 9);
  EXPECT_TRUE(refused(headers + '\0', 1)) << "zero headers";
  EXPECT_TRUE(refused(headers + "\xff\xff\xff\xff\x0f", 1)) << "more headers than bytes";
}

TEST(RecordCodec, RandomRecordsRoundTripAndRandomDamageNeverEscapes) {
  std::mt19937 random(testing::testSeed());
  const auto text = [&] {
    std::string result(random() % (random() % 8 == 0 ? 300 : 20), '\0');
    for (char& c : result) c = static_cast<char>(random());
    return result;
  };
  const auto maybe = [&]() -> std::optional<std::string> {
    if (random() % 4 == 0) return std::nullopt;
    return text();
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<Record> records;
    std::string all;
    for (std::size_t i = random() % 6; i > 0; --i) {
      Record& record = records.emplace_back();
      record.key = maybe();
      record.value = maybe();
      record.timestamp.ms = static_cast<std::int64_t>(random()) << 31U;
      for (std::size_t h = random() % 4; h > 0; --h) record.headers.push_back({text(), maybe()});
      all += encoded(record);
    }
    ASSERT_EQ(decoded(all, static_cast<std::uint32_t>(records.size())), records);
    if (all.empty()) continue;
    for (std::size_t i = 1 + random() % 3; i > 0; --i) {
      all[random() % all.size()] = static_cast<char>(random());
    }
    try {
      (void)decoded(all, static_cast<std::uint32_t>(records.size()));
    } catch (const state::Corruption&) {
      // right as well: damage that makes another valid record is the checksum's to find
    }
  }
}

}  // namespace
}  // namespace penstock::file
