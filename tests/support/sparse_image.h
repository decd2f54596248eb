// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace penstock::testsupport {

/// Bytes of a simulated file. Copies share pages until one is written, and pages of zeros take
/// no memory: a fault test copies the whole machine at every operation.
///
/// Threads: thread-compatible: one writer or many readers.
class SparseImage {
 public:
  static constexpr std::size_t kPage = 4096;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// New bytes are zeros, also after a shrink.
  void resize(std::uint64_t size) {
    pages_.resize(pagesFor(size));
    if (size < size_ && size % kPage != 0 && pages_.back()) {
      Page& last = writable(pages_.size() - 1);
      std::fill(last.begin() + static_cast<std::ptrdiff_t>(size % kPage), last.end(), std::byte{0});
    }
    size_ = size;
  }

  [[nodiscard]] std::size_t read(std::uint64_t offset, std::span<std::byte> into) const {
    if (offset >= size_) return 0;
    const std::size_t length =
        static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), size_ - offset));
    for (std::size_t done = 0; done < length;) {
      const std::uint64_t at = offset + done;
      const std::size_t within = static_cast<std::size_t>(at % kPage);
      const std::size_t count = std::min(kPage - within, length - done);
      const auto& page = pages_[static_cast<std::size_t>(at / kPage)];
      if (page) {
        std::memcpy(into.data() + done, page->data() + within, count);
      } else {
        std::memset(into.data() + done, 0, count);
      }
      done += count;
    }
    return length;
  }

  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    if (offset + bytes.size() > size_) resize(offset + bytes.size());
    for (std::size_t done = 0; done < bytes.size();) {
      const std::uint64_t at = offset + done;
      const std::size_t within = static_cast<std::size_t>(at % kPage);
      const std::size_t count = std::min(kPage - within, bytes.size() - done);
      std::memcpy(writable(static_cast<std::size_t>(at / kPage)).data() + within,
                  bytes.data() + done, count);
      done += count;
    }
  }

  [[nodiscard]] std::size_t pageCount() const noexcept { return pages_.size(); }
  /// Makes page `index` that of `other`, or zeros where `other` ends before.
  void takePage(std::size_t index, const SparseImage& other) {
    pages_[index] = index < other.pages_.size() ? other.pages_[index] : nullptr;
  }

  [[nodiscard]] std::vector<std::byte> bytes() const {
    std::vector<std::byte> all(static_cast<std::size_t>(size_));
    static_cast<void>(read(0, all));
    return all;
  }

 private:
  using Page = std::array<std::byte, kPage>;

  static std::size_t pagesFor(std::uint64_t size) {
    return static_cast<std::size_t>((size + kPage - 1) / kPage);
  }

  Page& writable(std::size_t index) {
    std::shared_ptr<Page>& page = pages_[index];
    if (!page) {
      page = std::make_shared<Page>();
      page->fill(std::byte{0});
    } else if (page.use_count() > 1) {
      page = std::make_shared<Page>(*page);
    }
    return *page;
  }

  std::uint64_t size_ = 0;
  std::vector<std::shared_ptr<Page>> pages_;  // null: zeros
};

}  // namespace penstock::testsupport
