// SPDX-License-Identifier: Apache-2.0
#include "segment_index.h"

#include <algorithm>
#include <cstring>

#include "planted.h"

namespace penstock::state {

namespace {

constexpr std::uint64_t indexMagic = 0x31305845'444e4950;  // "PINDEX01"

const std::vector<std::uint32_t>* lookUp(
    const std::map<std::uint64_t, std::vector<std::uint32_t>>& lists, std::uint64_t id) {
  const auto at = lists.find(id);
  return at == lists.end() ? nullptr : &at->second;
}

}  // namespace

void SegmentIndex::add(const SectionRef& ref) {
  const auto at = static_cast<std::uint32_t>(refs_.size());
  const bool first = refs_.empty() || (refs_.back().flags & sectionMore) == 0;
  refs_.push_back(ref);
  if (ref.blob != 0 && (blobs_.empty() || blobs_.back() != ref.blob)) blobs_.push_back(ref.blob);
  if (!first) return;
  (ref.kind == SectionKind::Log ? logs_ : stores_)[ref.id].push_back(at);
}

void SegmentIndex::add(const FrameView& frame) {
  std::uint64_t inlineAt = frame.bodyOffset;
  std::uint64_t blobAt = sizeof(FileHeader);
  for (const SectionEntry& section : frame.sections) {
    const bool external = (section.flags & sectionExternal) != 0;
    std::uint64_t& at = external ? blobAt : inlineAt;
    if (section.kind != SectionKind::Catalog) {
      SectionRef ref{};
      ref.sequence = frame.header.sequence;
      ref.id = section.id;
      ref.base = section.baseOffset;
      ref.blob = external ? frame.header.blob : 0;
      ref.offset = at;
      ref.hash = section.hash;
      ref.minTimeMs = section.minTimeMs;
      ref.maxTimeMs = section.maxTimeMs;
      ref.length = section.length;
      ref.count = section.count;
      ref.kind = section.kind;
      ref.flags = section.flags;
      add(ref);
    }
    at += section.length;
  }
}

const std::vector<std::uint32_t>* SegmentIndex::log(std::uint64_t id) const {
  return lookUp(logs_, id);
}

const std::vector<std::uint32_t>* SegmentIndex::store(std::uint64_t id) const {
  return lookUp(stores_, id);
}

std::optional<std::uint32_t> SegmentIndex::find(std::uint64_t logId, std::uint64_t offset) const {
  const auto* list = log(logId);
  if (list == nullptr) return std::nullopt;
  const auto after = std::upper_bound(
      list->begin(), list->end(), offset,
      [&](std::uint64_t left, std::uint32_t right) { return left < refs_[right].base; });
  if (after == list->begin()) return std::nullopt;
  const std::uint32_t at = *(after - 1);
  if (offset >= refs_[at].base + refs_[at].count) return std::nullopt;
  return at;
}

std::string SegmentIndex::encodeFooter(std::uint64_t journalLow, std::uint64_t segment,
                                       std::uint64_t fileOffset) const {
  const std::string_view entries(reinterpret_cast<const char*>(refs_.data()),
                                 refs_.size() * sizeof(SectionRef));
  IndexFooter footer{};
  footer.magic = indexMagic;
  footer.journalLow = journalLow;
  footer.segment = segment;
  footer.fileOffset = fileOffset;
  footer.entries = refs_.size();
  footer.entriesHash = hash64(entries);
  footer.checksum =
      hash64({reinterpret_cast<const char*>(&footer), offsetof(IndexFooter, checksum)});
  std::string out(reinterpret_cast<const char*>(&footer), sizeof(footer));
  out.append(entries);
  return out;
}

std::optional<SegmentIndex> SegmentIndex::decodeFooter(std::string_view bytes,
                                                       std::uint64_t journalLow,
                                                       std::uint64_t segment,
                                                       std::uint64_t fileOffset) {
  IndexFooter footer{};
  if (bytes.size() < sizeof(footer)) return std::nullopt;
  std::memcpy(&footer, bytes.data(), sizeof(footer));
  const bool ours = footer.journalLow == journalLow || planted(Planted::IdentityNotChecked);
  if (footer.magic != indexMagic || !ours || footer.segment != segment ||
      footer.fileOffset != fileOffset ||
      footer.checksum != hash64({bytes.data(), offsetof(IndexFooter, checksum)}) ||
      footer.entries > (bytes.size() - sizeof(footer)) / sizeof(SectionRef)) {
    return std::nullopt;
  }
  const auto entries = bytes.substr(sizeof(footer), footer.entries * sizeof(SectionRef));
  if (hash64(entries) != footer.entriesHash) return std::nullopt;
  SegmentIndex index;
  for (std::size_t i = 0; i < footer.entries; ++i) {
    SectionRef ref{};
    std::memcpy(&ref, entries.data() + i * sizeof(ref), sizeof(ref));
    index.add(ref);
  }
  if (!index.refs_.empty() && (index.refs_.back().flags & sectionMore) != 0) return std::nullopt;
  return index;
}

}  // namespace penstock::state
