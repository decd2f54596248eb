// SPDX-License-Identifier: Apache-2.0
#include "fault/allocation/failing_new.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace penstock::fault {
namespace {

constexpr int kCounted = 1;
constexpr int kExempt = -1;
thread_local int mode = 0;
std::atomic<bool> armed{false};
std::atomic<bool> always{false};
std::atomic<bool> everyThread{false};
std::atomic<std::uint64_t> first{0};  // what `left` was
std::atomic<std::uint64_t> left{0};   // until the one that fails; it is 1 then
std::atomic<bool> failed{false};

bool fails() {
  if (!armed.load(std::memory_order_relaxed)) return false;
  if (mode == kExempt || (mode != kCounted && !everyThread.load())) return false;
  std::uint64_t now = left.load();
  while (now > 1 && !left.compare_exchange_weak(now, now - 1)) {
  }
  if (now > 1) return false;
  if (now == 0 && !always.load()) return false;
  left = 0;
  failed = true;
  return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (fails()) throw std::bad_alloc();
  if (bytes == 0) bytes = 1;
  const std::size_t mask = alignment - 1;  // aligned_alloc wants a multiple
  void* memory =
      alignment == 0 ? std::malloc(bytes) : std::aligned_alloc(alignment, (bytes + mask) & ~mask);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void FailingNew::arm(std::uint64_t nth, bool stays, bool all) {
  first = nth;
  left = nth;
  always = stays;
  everyThread = all;
  failed = false;
  armed = true;
}

void FailingNew::disarm() { armed = false; }
bool FailingNew::hit() { return failed; }
std::uint64_t FailingNew::counted() { return first - left; }

FailingNew::Counted::Counted() : before_(mode) { mode = kCounted; }
FailingNew::Counted::~Counted() { mode = before_; }
FailingNew::Exempt::Exempt() : before_(mode) { mode = kExempt; }
FailingNew::Exempt::~Exempt() { mode = before_; }

}  // namespace penstock::fault

void* operator new(std::size_t bytes) { return penstock::fault::allocate(bytes, 0); }
void* operator new[](std::size_t bytes) { return penstock::fault::allocate(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return penstock::fault::allocate(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return penstock::fault::allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
