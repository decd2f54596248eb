// SPDX-License-Identifier: Apache-2.0
#include "store_state.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "commit_content.h"

namespace penstock::state {

namespace {

/// An entry of the upper layers; the views point into a layer, or see detach().
struct Change {
  std::string_view key;
  std::string_view value;
  bool tombstone = false;
};

bool inRange(std::string_view key, std::string_view from, std::string_view to) {
  return key >= from && (to.empty() || key < to);
}

/// The entries of `upper` over `lower` in a range, in order of keys.
std::vector<Change> collect(const PackedMap* lower, const PackedMap* upper, std::string_view from,
                            std::string_view to) {
  std::vector<Change> changes;
  const auto take = [&](std::string_view key, std::string_view value, bool tombstone) {
    if (inRange(key, from, to)) changes.push_back({key, value, tombstone});
  };
  if (lower != nullptr) {
    lower->forEach([&](std::string_view key, std::string_view value, bool tombstone) {
      std::string_view newer;
      if (upper == nullptr || upper->find(key, newer) == PackedMap::Found::Absent) {
        take(key, value, tombstone);
      }
    });
  }
  if (upper != nullptr) upper->forEach(take);
  std::sort(changes.begin(), changes.end(),
            [](const Change& left, const Change& right) { return left.key < right.key; });
  return changes;
}

/// Moves what `changes` point to into one buffer, so that they outlive a change of the layers.
/// A vector and not a string: moving a short string moves its bytes.
std::vector<char> detach(std::vector<Change>& changes) {
  std::size_t bytes = 0;
  for (const Change& change : changes) bytes += change.key.size() + change.value.size();
  std::vector<char> copies;
  copies.reserve(bytes);
  for (Change& change : changes) {
    const auto keep = [&](std::string_view text) {
      const std::size_t at = copies.size();
      copies.insert(copies.end(), text.begin(), text.end());
      return std::string_view(copies.data() + at, text.size());
    };
    change.key = keep(change.key);
    change.value = keep(change.value);
  }
  return copies;
}

/// Calls visit(key, value) for `changes` over `snapshot` in a range until it returns false.
template <typename Visit>
void merge(const std::vector<Change>& changes, const SnapshotReader* snapshot,
           std::string_view from, std::string_view to, Visit&& visit) {
  std::optional<SnapshotReader::Cursor> cursor;
  if (snapshot != nullptr) cursor.emplace(*snapshot, from);
  const auto below = [&] {
    return cursor && cursor->valid() && (to.empty() || cursor->key() < to);
  };
  auto change = changes.begin();
  while (change != changes.end() || below()) {
    if (change == changes.end() || (below() && cursor->key() < change->key)) {
      if (!visit(cursor->key(), cursor->value())) return;
      cursor->next();
      continue;
    }
    if (below() && cursor->key() == change->key) cursor->next();
    if (!change->tombstone && !visit(change->key, change->value)) return;
    ++change;
  }
}

}  // namespace

StoreState::StoreState(StoreId id, std::string name, std::shared_ptr<SnapshotReader> snapshot)
    : id_(id),
      name_(std::move(name)),
      overlay_(std::make_unique<PackedMap>()),
      snapshot_(std::move(snapshot)) {
  counting_ = !snapshot_;
  if (snapshot_) covers_ = snapshot_->covers();
}

StoreState::Found StoreState::findLower(std::string_view key, std::string_view& value) const {
  if (frozen_) {
    if (const Found found = frozen_->find(key, value); found != Found::Absent) return found;
  }
  if (snapshot_ && snapshot_->find(key, value)) return Found::Value;
  return Found::Absent;
}

StoreState::Found StoreState::find(std::string_view key, std::string_view& value) const {
  const Found found = overlay_->find(key, value);
  return found != Found::Absent ? found : findLower(key, value);
}

bool StoreState::get(std::string_view key, std::string& value) const {
  const std::shared_lock lock(mutex_);
  checkReadable();
  std::string_view found;
  if (find(key, found) != Found::Value) return false;
  value.assign(found);
  return true;
}

bool StoreState::contains(std::string_view key) const {
  const std::shared_lock lock(mutex_);
  checkReadable();
  std::string_view found;
  return find(key, found) == Found::Value;
}

std::uint64_t StoreState::size() const {
  {
    const std::shared_lock lock(mutex_);
    checkReadable();
    if (counting_) return size_;
  }
  const std::unique_lock lock(mutex_);
  if (counting_) return size_;
  size_ = snapshot_ ? snapshot_->entries() : 0;
  const auto count = [&](bool tombstone, Found below) {
    if (tombstone) {
      size_ -= below == Found::Value ? 1 : 0;
    } else {
      size_ += below == Found::Value ? 0 : 1;
    }
  };
  std::string_view value;
  if (frozen_) {
    frozen_->forEach([&](std::string_view key, std::string_view, bool tombstone) {
      const bool below = snapshot_ && snapshot_->find(key, value);
      count(tombstone, below ? Found::Value : Found::Absent);
    });
  }
  overlay_->forEach([&](std::string_view key, std::string_view, bool tombstone) {
    count(tombstone, findLower(key, value));
  });
  counting_ = true;
  return size_;
}

void StoreState::scan(std::string_view from, std::string_view to,
                      const std::function<bool(std::string_view, std::string_view)>& visit) const {
  std::vector<Change> changes;
  std::vector<char> copies;
  std::shared_ptr<SnapshotReader> snapshot;
  {
    const std::shared_lock lock(mutex_);
    checkReadable();
    changes = collect(frozen_.get(), overlay_.get(), from, to);
    copies = detach(changes);
    snapshot = snapshot_;
  }
  merge(changes, snapshot.get(), from, to, visit);
}

// The frame that brings a change is on disk by now, so a snapshot that cannot be read just then
// may cost the count (which the next asker takes again), not the change.

void StoreState::put(std::string_view key, std::string_view value) {
  const Found before = overlay_->put(key, value);
  if (before == Found::Value || !counting_) return;
  try {
    std::string_view old;
    if (before == Found::Tombstone || findLower(key, old) != Found::Value) ++size_;
  } catch (const Error&) {
    counting_ = false;
  }
}

void StoreState::erase(std::string_view key) {
  try {
    std::string_view old;
    if (counting_ && find(key, old) == Found::Value) --size_;
  } catch (const Error&) {
    counting_ = false;
  }
  overlay_->erase(key);
}

bool StoreState::apply(std::string_view changes) {
  changedBytes_ += changes.size();
  return forEachChange(changes, [&](StoreOp op, std::string_view key, std::string_view value) {
    switch (op) {
      case StoreOp::Put:
        put(key, value);
        break;
      case StoreOp::Erase:
        erase(key);
        break;
      case StoreOp::Clear:
        overlay_ = std::make_unique<PackedMap>();
        frozen_.reset();
        snapshot_.reset();
        size_ = 0;
        counting_ = true;
        clearedSinceFreeze_ = true;
        break;
      case StoreOp::ErasePrefix: {
        std::vector<std::string> doomed;
        const std::string prefix(key);
        merge(collect(frozen_.get(), overlay_.get(), prefix, {}), snapshot_.get(), prefix, {},
              [&](std::string_view found, std::string_view) {
                if (!found.starts_with(prefix)) return false;
                doomed.emplace_back(found);
                return true;
              });
        for (const std::string& found : doomed) erase(found);
        break;
      }
    }
  });
}

void StoreState::replaceWith(StoreState&& fresh) {
  const std::scoped_lock lock(mutex_, fresh.mutex_);
  overlay_ = std::move(fresh.overlay_);
  frozen_.reset();
  snapshot_ = std::move(fresh.snapshot_);
  clearedSinceFreeze_ = true;
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

bool StoreState::freeze() {
  const std::unique_lock lock(mutex_);
  checkReadable();  // a snapshot would make what is missing look like all there is
  if (freezing_) return false;
  auto empty = std::make_unique<PackedMap>();
  frozen_ = std::exchange(overlay_, std::move(empty));
  frozenBytes_ = changedBytes_;
  changedBytes_ = 0;
  clearedSinceFreeze_ = false;
  freezing_ = true;
  return true;
}

bool StoreState::visitFrozen(
    const std::function<void(std::string_view, std::string_view)>& visit) const {
  std::shared_ptr<const PackedMap> frozen;
  std::shared_ptr<SnapshotReader> snapshot;
  {
    const std::shared_lock lock(mutex_);
    frozen = frozen_;
    snapshot = snapshot_;
  }
  if (!frozen) return false;
  merge(collect(nullptr, frozen.get(), {}, {}), snapshot.get(), {}, {},
        [&](std::string_view key, std::string_view value) {
          visit(key, value);
          return true;
        });
  const std::shared_lock lock(mutex_);
  return !clearedSinceFreeze_;
}

void StoreState::installSnapshot(std::shared_ptr<SnapshotReader> snapshot) {
  const std::unique_lock lock(mutex_);
  freezing_ = false;
  frozenBytes_ = 0;
  covers_ = snapshot->covers();
  if (clearedSinceFreeze_) return;  // what is here now is younger
  frozen_.reset();
  snapshot_ = std::move(snapshot);
}

void StoreState::thaw() {
  const std::unique_lock lock(mutex_);
  if (!frozen_) {
    freezing_ = false;
    frozenBytes_ = 0;
    return;
  }
  auto whole = std::make_unique<PackedMap>();
  const auto put = [&](std::string_view key, std::string_view value, bool tombstone) {
    if (tombstone) {
      whole->erase(key);
    } else {
      whole->put(key, value);
    }
  };
  frozen_->forEach(put);
  overlay_->forEach(put);
  overlay_ = std::move(whole);
  frozen_.reset();
  changedBytes_ += std::exchange(frozenBytes_, 0);
  freezing_ = false;
}

std::uint64_t StoreState::covers() const {
  const std::shared_lock lock(mutex_);
  return covers_;
}

std::uint64_t StoreState::changedBytes() const {
  const std::shared_lock lock(mutex_);
  return changedBytes_;
}

std::size_t StoreState::memoryBytes() const {
  const std::shared_lock lock(mutex_);
  return overlay_->memoryBytes() + (frozen_ ? frozen_->memoryBytes() : 0) +
         (snapshot_ ? snapshot_->memoryBytes() : 0);
}

}  // namespace penstock::state
