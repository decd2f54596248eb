// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "commit_content.h"

namespace penstock::state {

namespace {

void checkKey(std::string_view key) {
  if (key.empty()) {
    throw InvalidArgument("the key is empty; keys are 1 B to 64 KiB of any bytes");
  }
  if (key.size() > Commit::keyBytesMax) {
    throw InvalidArgument(
        fmt::format("the key has {} bytes; keys are 1 B to 64 KiB of any bytes", key.size()));
  }
}

}  // namespace

Commit::Content::Section& Commit::Content::section(SectionKind sectionKind, std::uint32_t id) {
  auto& index = sectionKind == SectionKind::Log ? logAt : storeAt;
  if (sectionKind == SectionKind::Catalog) id = 0;  // store ids begin at 1
  if (id >= index.size()) index.resize(id + 1, 0);
  if (index[id] == 0) {
    if (used == sections.size()) sections.emplace_back();
    Section& fresh = sections[used++];
    fresh.kind = sectionKind;
    fresh.id = id;
    index[id] = static_cast<std::uint32_t>(used);
  }
  return sections[index[id] - 1];
}

Commit::Content::Section& Commit::Content::wholeSection(SectionKind sectionKind, std::uint32_t id) {
  Section& found = section(sectionKind, id);
  if (found.bytes.size() > found.whole()) found.bytes.resize(found.whole());
  return found;
}

template <typename Encode>
void Commit::Content::addChange(StoreId store, Encode&& encode) {
  Section& section = wholeSection(SectionKind::Store, store.value);
  Chunk& chunk = openChunk(section);
  encode(section.bytes);  // when it throws, its bytes do not count
  chunk.end = section.bytes.size();
  ++chunk.count;
}

std::size_t Commit::Content::bytes() const noexcept {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < used; ++i) sum += sections[i].whole();
  return sum;
}

void Commit::Content::reset() noexcept {
  for (std::size_t i = 0; i < used; ++i) {
    Section& section = sections[i];
    (section.kind == SectionKind::Log ? logAt : storeAt)[section.id] = 0;
    section.bytes.clear();
    section.chunks.clear();
  }
  used = 0;
  requirements.clear();
  kind = FrameKind::Commit;
}

Commit::Commit() : content_(std::make_unique<Content>()) {}
Commit::~Commit() = default;
Commit::Commit(Commit&&) noexcept = default;
Commit& Commit::operator=(Commit&&) noexcept = default;

void Commit::put(StoreId store, std::string_view key, std::string_view value) {
  checkKey(key);
  if (value.size() > valueBytesMax) {
    throw InvalidArgument(
        fmt::format("the value has {} bytes; at most 1 GiB can be stored", value.size()));
  }
  content_->addChange(store, [&](std::string& bytes) {
    bytes.push_back(static_cast<char>(StoreOp::Put));
    putText(bytes, key);
    putText(bytes, value);
  });
}

void Commit::erase(StoreId store, std::string_view key) {
  checkKey(key);
  content_->addChange(store, [&](std::string& bytes) {
    bytes.push_back(static_cast<char>(StoreOp::Erase));
    putText(bytes, key);
  });
}

void Commit::clear(StoreId store) {
  content_->section(SectionKind::Store, store.value).chunks.clear();  // cannot matter any more
  content_->addChange(store, [](std::string& bytes) {
    bytes.push_back(static_cast<char>(StoreOp::Clear));
  });
}

void Commit::erasePrefix(StoreId store, std::string_view prefix) {
  checkKey(prefix);
  content_->addChange(store, [&](std::string& bytes) {
    bytes.push_back(static_cast<char>(StoreOp::ErasePrefix));
    putText(bytes, prefix);
  });
}

std::string& Commit::recordBuffer(LogId log) {
  return content_->wholeSection(SectionKind::Log, log.value).bytes;
}

void Commit::recordAdded(LogId log, std::int64_t timestampMs) {
  auto& section = content_->section(SectionKind::Log, log.value);
  auto& chunk = Content::openChunk(section);
  chunk.end = section.bytes.size();
  ++chunk.count;
  chunk.minTimeMs = std::min(chunk.minTimeMs, timestampMs);
  chunk.maxTimeMs = std::max(chunk.maxTimeMs, timestampMs);
}

void Commit::require(const Claim& claim) {
  content_->requirements.push_back({claim.name(), claim.incarnation()});
}

bool Commit::empty() const noexcept { return content_->used == 0; }
std::size_t Commit::bytes() const noexcept { return content_->bytes(); }
void Commit::reset() noexcept { content_->reset(); }

}  // namespace penstock::state
