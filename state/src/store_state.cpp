// SPDX-License-Identifier: Apache-2.0
#include "store_state.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "commit_content.h"
#include "planted.h"

namespace penstock::state {

namespace {

// Layers are joined up to so many entries: 1 to 2 ms, for which writers wait; arbitrary.
constexpr std::size_t joinedEntriesMax = 16'384;
// ... and when the upper one has this part of the lower one's entries, so that an entry is copied
// a bounded number of times.
constexpr std::size_t joinedRatio = 4;

void addTo(PackedMap& map, const PackedMap& newer) {
  newer.forEach([&](std::string_view key, std::string_view value, bool tombstone) {
    if (tombstone) {
      map.erase(key, hash64(key));
    } else {
      map.put(key, hash64(key), value);
    }
  });
}

}  // namespace

StoreState::StoreState(StoreId id, std::string name, std::shared_ptr<const StoreBase> base)
    : id_(id), name_(std::move(name)), overlay_(std::make_unique<PackedMap>()) {
  counting_ = !base;
  if (base) covers_ = base->covers();
  below_.base = std::move(base);
}

StoreState::Found StoreState::find(std::string_view key, std::uint64_t hash, std::string& scratch,
                                   std::string_view& value) const {
  const Found found = overlay_->find(key, hash, value);
  return found != Found::Absent ? found : below_.find(key, hash, scratch, value);
}

bool StoreState::get(std::string_view key, std::string& value, std::size_t bytesMax) const {
  const std::uint64_t hash = hash64(key);
  const std::shared_lock lock(mutex_);
  checkReadable();
  std::string_view found;
  if (find(key, hash, value, found) != Found::Value) return false;
  value.assign(found.substr(0, bytesMax));
  return true;
}

bool StoreState::contains(std::string_view key) const {
  const std::shared_lock lock(mutex_);
  checkReadable();
  std::string scratch;
  std::string_view found;
  return find(key, hash64(key), scratch, found) == Found::Value;
}

std::uint64_t StoreState::size() const {
  {
    const std::shared_lock lock(mutex_);
    checkReadable();
    if (counting_) return size_;
  }
  const std::unique_lock lock(mutex_);
  checkReadable();
  if (counting_) return size_;
  pushOverlay();
  size_ = below_.count();
  counting_ = true;
  return size_;
}

// All memory is taken before anything is moved: a change that is lost here is lost for good once a
// snapshot is made without it.
void StoreState::pushOverlay() const {
  if (overlay_->entries() == 0) return;
  auto& layers = below_.layers;
  auto empty = std::make_unique<PackedMap>();
  auto pushed = std::make_shared<Layer>();
  layers.reserve(layers.size() + 1);
  pushed->take(std::exchange(overlay_, std::move(empty)));
  layers.push_back(std::move(pushed));
  while (layers.size() >= snapshotLayers_ + 2) {
    const PackedMap& upper = layers.back()->map();
    const PackedMap& lower = layers[layers.size() - 2]->map();
    if (upper.entries() * joinedRatio < lower.entries() ||
        upper.entries() + lower.entries() > joinedEntriesMax) {
      return;
    }
    auto joined = std::make_unique<PackedMap>();
    joined->reserve(upper.entries() + lower.entries());
    addTo(*joined, lower);
    addTo(*joined, upper);
    auto layer = std::make_shared<Layer>();
    layer->take(std::move(joined));
    layers.pop_back();
    layers.back() = std::move(layer);
  }
}

StoreImage StoreState::image() const {
  const std::unique_lock lock(mutex_);
  checkReadable();
  pushOverlay();
  return below_;
}

StoreState::Together::Together(std::vector<const StoreState*>& stores) : stores_(stores) {
  std::sort(stores_.begin(), stores_.end(), [](const StoreState* left, const StoreState* right) {
    return left->id() < right->id();
  });
  stores_.erase(std::unique(stores_.begin(), stores_.end()), stores_.end());
  for (; held_ < stores_.size(); ++held_) stores_[held_]->mutex_.lock();
}

StoreState::Together::~Together() {
  while (held_ > 0) stores_[--held_]->mutex_.unlock();
}

// The frame that brings a change is on disk by now, so a snapshot that cannot be read just then
// may cost the count (which the next asker takes again), not the change.

void StoreState::put(std::string_view key, std::uint64_t hash, std::string_view value) {
  const Found before = overlay_->put(key, hash, value);
  if (before == Found::Value || !counting_) return;
  try {
    std::string scratch;
    std::string_view old;
    if (before == Found::Tombstone || below_.find(key, hash, scratch, old) != Found::Value) ++size_;
  } catch (const std::exception&) {
    counting_ = false;
  }
}

void StoreState::erase(std::string_view key, std::uint64_t hash) {
  try {
    std::string scratch;
    std::string_view old;
    if (counting_ && find(key, hash, scratch, old) == Found::Value) --size_;
  } catch (const std::exception&) {
    counting_ = false;
  }
  overlay_->erase(key, hash);
}

bool StoreState::apply(std::string_view changes) {
  changedBytes_ += changes.size();
  // Puts and erases go through a queue, so that memory is fetched for some while others are made.
  struct Queued {
    std::uint64_t hash;
    std::string_view key;
    std::string_view value;
    bool erase;
  };
  constexpr std::size_t depth = 16;  // a power of two; more does not help
  std::array<Queued, depth> queue;
  std::size_t in = 0;
  std::size_t out = 0;
  const auto makeOne = [&] {
    const Queued& change = queue[out++ % depth];
    if (change.erase) {
      erase(change.key, change.hash);
    } else {
      put(change.key, change.hash, change.value);
    }
  };
  const auto makeAll = [&] {
    while (out < in) makeOne();
  };
  const auto add = [&](std::string_view key, std::string_view value, bool isErase) {
    if (in - out == depth) makeOne();
    const std::uint64_t hash = hash64(key);
    overlay_->prefetchSlot(hash);
    if (in - out >= depth / 2) overlay_->prefetchEntry(queue[(in - depth / 2) % depth].hash);
    queue[in++ % depth] = {hash, key, value, isErase};
  };
  const bool understood =
      forEachChange(changes, [&](StoreOp op, std::string_view key, std::string_view value) {
        switch (op) {
          case StoreOp::Put:
            add(key, value, false);
            break;
          case StoreOp::Erase:
            add(key, {}, true);
            break;
          case StoreOp::Clear:
            in = out = 0;
            overlay_ = std::make_unique<PackedMap>();
            below_ = {};
            snapshotLayers_ = 0;
            replaced_ = true;
            size_ = 0;
            counting_ = true;
            break;
          case StoreOp::ErasePrefix: {
            makeAll();
            pushOverlay();
            for (ImageCursor at(below_, key); at.valid() && at.key().starts_with(key); at.next()) {
              erase(at.key(), hash64(at.key()));
            }
            break;
          }
        }
      });
  makeAll();
  return understood;
}

void StoreState::replaceWith(StoreState&& fresh) {
  const std::scoped_lock lock(mutex_, fresh.mutex_);
  overlay_ = std::move(fresh.overlay_);
  below_ = std::move(fresh.below_);
  snapshotLayers_ = 0;
  replaced_ = true;
  size_ = fresh.size_;
  counting_ = fresh.counting_;
  changedBytes_ = fresh.changedBytes_;
  covers_ = fresh.covers_;
  damage_ = nullptr;
}

void StoreState::fail(std::exception_ptr damage) {
  const std::unique_lock lock(mutex_);
  damage_ = std::move(damage);
}

void StoreState::leaveOut(IsGone isGone) {
  const std::unique_lock lock(mutex_);
  isGone_ = std::move(isGone);
}

StoreState::IsGone StoreState::leftOut() const {
  const std::shared_lock lock(mutex_);
  return isGone_;
}

std::optional<StoreImage> StoreState::beginSnapshot() {
  const std::unique_lock lock(mutex_);
  checkReadable();  // a snapshot would make what is missing look like all there is
  if (snapshotting_) return std::nullopt;
  const std::size_t changes = overlay_->entries();
  pushOverlay();
  overlay_->reserve(changes / 2);  // it grows as the one before did
  StoreImage image = below_;
  snapshotting_ = true;
  snapshotLayers_ = below_.layers.size();
  replaced_ = false;
  snapshotBytes_ = std::exchange(changedBytes_, 0);
  return image;
}

void StoreState::installSnapshot(std::shared_ptr<const StoreBase> base) {
  const std::unique_lock lock(mutex_);
  snapshotting_ = false;
  snapshotBytes_ = 0;
  covers_ = base->covers();
  if (replaced_) return;           // what is here now is younger
  if (isGone_) counting_ = false;  // it may hold fewer
  const auto first = below_.layers.begin();
  below_.layers.erase(first, first + static_cast<std::ptrdiff_t>(snapshotLayers_));
  if (planted(Planted::SnapshotDropsWrites)) overlay_ = std::make_unique<PackedMap>();
  below_.base = std::move(base);
  snapshotLayers_ = 0;
}

void StoreState::giveUpSnapshot() {
  const std::unique_lock lock(mutex_);
  snapshotting_ = false;
  snapshotLayers_ = 0;
  changedBytes_ += std::exchange(snapshotBytes_, 0);
}

std::uint64_t StoreState::covers() const {
  const std::shared_lock lock(mutex_);
  return covers_;
}

std::uint64_t StoreState::changedBytes() const {
  const std::shared_lock lock(mutex_);
  return changedBytes_;
}

std::size_t StoreState::layers() const {
  const std::shared_lock lock(mutex_);
  return below_.layers.size();
}

std::shared_ptr<const StoreBase> StoreState::base() const {
  const std::shared_lock lock(mutex_);
  return below_.base;
}

void StoreState::quicken() const {
  if (const auto below = base()) below->quicken();
}

StoreBase::Scrubbed StoreState::scrub(std::uint64_t bytes, std::uint64_t pass) const {
  const auto below = base();
  return below ? below->scrub(bytes, pass) : StoreBase::Scrubbed();
}

std::size_t StoreState::memoryBytes() const {
  const std::shared_lock lock(mutex_);
  return overlay_->memoryBytes() + below_.memoryBytes();
}

std::size_t StoreState::changesMemoryBytes() const {
  const std::shared_lock lock(mutex_);
  return overlay_->memoryBytes() + below_.memoryBytes() -
         (below_.base ? below_.base->memoryBytes() : 0);
}

}  // namespace penstock::state
