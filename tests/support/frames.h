// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "frame.h"
#include "sim_fs.h"

namespace penstock::testsupport {

/// A valid frame and where it lies.
struct FoundFrame {
  std::uint64_t offset = 0;
  state::FrameView view;
};

/// The frames of a segment, from its base up to the first bytes that are none.
std::vector<FoundFrame> framesOf(const SimFs& machine, const std::string& path);

using FrameChange = std::function<void(
    state::FrameHeader&, std::vector<state::SectionEntry>& sections, std::string& body)>;

/// Changes header, sections or body of a frame in its place, and seals it again: no checksum of its
/// own is wrong, though the chain of what follows is. The frame keeps its length.
void reseal(SimFs& machine, const std::string& path, const FoundFrame& frame,
            const FrameChange& change);
/// The hash of the section's bytes, which begin the body.
void rehash(state::SectionEntry& section, const std::string& body);

/// Zeros from there to the end of the file.
void blank(SimFs& machine, const std::string& path, std::uint64_t from);
/// Another byte in that place.
void flip(SimFs& machine, const std::string& path, std::uint64_t at);
/// Where the file has that text, once at least.
std::uint64_t placeOf(const SimFs& machine, const std::string& path, std::string_view text);

}  // namespace penstock::testsupport
