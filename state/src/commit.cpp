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

std::size_t Commit::Content::bytes() const noexcept {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < used; ++i) sum += sections[i].bytes.size();
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
  auto& section = content_->section(SectionKind::Store, store.value);
  auto& chunk = Content::openChunk(section);
  section.bytes.push_back(static_cast<char>(StoreOp::Put));
  putText(section.bytes, key);
  putText(section.bytes, value);
  chunk.end = section.bytes.size();
  ++chunk.count;
}

void Commit::erase(StoreId store, std::string_view key) {
  checkKey(key);
  auto& section = content_->section(SectionKind::Store, store.value);
  auto& chunk = Content::openChunk(section);
  section.bytes.push_back(static_cast<char>(StoreOp::Erase));
  putText(section.bytes, key);
  chunk.end = section.bytes.size();
  ++chunk.count;
}

void Commit::clear(StoreId store) {
  auto& section = content_->section(SectionKind::Store, store.value);
  section.bytes.clear();  // nothing before it in this commit can matter
  section.chunks.clear();
  auto& chunk = Content::openChunk(section);
  section.bytes.push_back(static_cast<char>(StoreOp::Clear));
  chunk.end = section.bytes.size();
  ++chunk.count;
}

void Commit::erasePrefix(StoreId store, std::string_view prefix) {
  checkKey(prefix);
  auto& section = content_->section(SectionKind::Store, store.value);
  auto& chunk = Content::openChunk(section);
  section.bytes.push_back(static_cast<char>(StoreOp::ErasePrefix));
  putText(section.bytes, prefix);
  chunk.end = section.bytes.size();
  ++chunk.count;
}

std::string& Commit::recordBuffer(LogId log) {
  return content_->section(SectionKind::Log, log.value).bytes;
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
