// SPDX-License-Identifier: Apache-2.0
#include "frames.h"

#include <gtest/gtest.h>
#include <algorithm>
#include <span>

namespace penstock::testsupport {

using state::FrameHeader;
using state::FrameView;
using state::JournalId;

namespace {

std::string textOf(const SimFs& machine, const std::string& path) {
  const auto bytes = machine.image(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void setText(SimFs& machine, const std::string& path, const std::string& text) {
  machine.setImage(path, std::as_bytes(std::span(text)));
}

}  // namespace

std::vector<FoundFrame> framesOf(const SimFs& machine, const std::string& path) {
  const std::string text = textOf(machine, path);
  const auto file = state::readFileHeader(text, path, state::FileKind::Segment);
  const JournalId id{file.journalLow, file.journalHigh};
  std::vector<FoundFrame> frames;
  FoundFrame frame;
  for (frame.offset = sizeof(file);
       state::parseFrame(std::string_view(text).substr(frame.offset),
                         {id, file.number, frame.offset}, frame.view) == state::FrameCheck::Valid;
       frame.offset += frame.view.header.frameBytes) {
    frames.push_back(frame);
  }
  return frames;
}

void reseal(SimFs& machine, const std::string& path, const FoundFrame& frame,
            const FrameChange& change) {
  std::string text = textOf(machine, path);
  FrameView view = frame.view;
  const std::uint64_t bytes = view.header.frameBytes;
  std::string body = text.substr(view.bodyOffset, frame.offset + bytes - view.bodyOffset);
  change(view.header, view.sections, body);
  std::string head;
  state::encodeFrame(view.header, view.sections, head);
  ASSERT_EQ(head.size() + body.size(), bytes) << "it does not fit its place";
  text.replace(frame.offset, bytes, head + body);
  setText(machine, path, text);
}

void rehash(state::SectionEntry& section, const std::string& body) {
  section.hash = state::hash64(std::string_view(body).substr(0, section.length));
}

void blank(SimFs& machine, const std::string& path, std::uint64_t from) {
  std::string text = textOf(machine, path);
  std::fill(text.begin() + static_cast<std::ptrdiff_t>(from), text.end(), '\0');
  setText(machine, path, text);
}

void flip(SimFs& machine, const std::string& path, std::uint64_t at) {
  auto bytes = machine.image(path);
  bytes.at(at) ^= std::byte{1};
  machine.setImage(path, bytes);
}

std::uint64_t placeOf(const SimFs& machine, const std::string& path, std::string_view text) {
  const std::size_t at = textOf(machine, path).find(text);
  EXPECT_NE(at, std::string::npos) << text << " is not in " << path;
  return at;
}

}  // namespace penstock::testsupport
